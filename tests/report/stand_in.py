"""A fake renderer with known bias, variance and speed, and a `run` that uses its simulated time."""

from __future__ import annotations

import numpy as np

from nrc_tracer.imaging import Image
from nrc_tracer.report.settings import make_settings

SIZE = (24, 32)
TRUTH = 1.0 + 0.5 * np.sin(np.arange(SIZE[0] * SIZE[1] * 3) * 0.05).reshape(*SIZE, 3)
# Relative bias, standard deviation of a sample, seconds per sample, seconds of warm-up
KINDS = {"off": (0.0, 1.0, 0.01, 0.0), "raw": (0.05, 0.25, 0.02, 0.1), "unbiased": (0.0, 1.1, 0.02, 0.1)}
SETTINGS = make_settings(modes=("raw", "unbiased"))


def expected(relative_square: float) -> float:
    """The relMSE of an image whose squared error is proportional to the square of the truth."""
    return float(np.mean(relative_square * TRUTH**2 / (TRUTH**2 + 0.01 * TRUTH.mean() ** 2)))


class StandIn:
    """A renderer whose samples are the truth times 1 + bias + noise."""

    device, accel, notice, dropped = "cpu", "none", None, 0

    def __init__(self, mode="off", seed=0, deviation=None):
        self.bias, self.deviation, self.cost, self.seconds = KINDS[mode]
        self.deviation = self.deviation if deviation is None else deviation
        self.mode, self.seed, self.samples = mode, seed, 0
        self.height, self.width = SIZE
        self._random, self._sum = np.random.default_rng(seed), np.zeros_like(TRUTH)

    def compile(self):
        return 0.0

    def suggested_pass(self):
        return max(1, self.samples)

    def step(self, samples=1):
        noise = self._random.standard_normal(TRUTH.shape) * self.deviation * np.sqrt(samples)
        self._sum += TRUTH * (samples * (1.0 + self.bias) + noise)
        self.samples += samples
        self.seconds += samples * self.cost

    def image(self):
        return Image((self._sum / self.samples).astype(np.float32), samples=self.samples)

    def cache_report(self):
        if self.mode == "off":
            return {}
        used = {"trace": 0.5 * self.seconds, "query": 0.3 * self.seconds, "train": 0.2 * self.seconds}
        return {"mean_path_length": 2.5, "seconds": used, "warm_up_seconds": 0.1, "bias": self.bias}


def make_renderer(setting, seed):
    return StandIn(setting.mode, seed)


def run(renderer, *, spp=None, time=None, progress=None):
    while (spp is None or renderer.samples < spp) and (time is None or renderer.seconds < time):
        count = renderer.suggested_pass()
        count = count if spp is None else min(count, spp - renderer.samples)
        if time is not None:
            count = max(1, min(count, int((time - renderer.seconds) / renderer.cost)))
        renderer.step(count)
        if progress is not None:
            progress(renderer)
    return True
