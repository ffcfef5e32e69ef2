"""The renderers to measure: ours and Mitsuba 3, behind one small interface, each in its own process."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection

import numpy as np

from tests.agreement import mitsuba_oracle

ENGINES = ("ours sobol", "ours independent", "mitsuba llvm", "mitsuba scalar")


class Ours:
    """nrc_tracer.

    Args:
        path: Mitsuba XML file.
        width: Width of the film.
        sampler: `sobol` or `independent`.
    """

    def __init__(self, path: str, width: int, sampler: str) -> None:
        import nrc_tracer as nrc

        self._renderer = nrc.Renderer(nrc.load_scene(path), device="cpu", width=width, sampler=sampler)
        self._renderer.compile()

    def render(self, spp: int, seed: int) -> np.ndarray:
        """Render `spp` samples per pixel, chosen by `seed`."""
        self._renderer.reset(seed=seed)
        self._renderer.step(spp)
        return self._renderer.image().rgb


class Mitsuba:
    """Mitsuba 3.

    Args:
        path: Mitsuba XML file.
        variant: `llvm_ad_rgb` or `scalar_rgb`.
    """

    def __init__(self, path: str, variant: str) -> None:
        self._mi = mitsuba_oracle.load(variant)
        self._scene = self._mi.load_file(path)

    def render(self, spp: int, seed: int) -> np.ndarray:
        """Render `spp` samples per pixel."""
        return np.array(self._mi.render(self._scene, spp=spp, seed=seed))[..., :3]


def serve(pipe: Connection, engine: str, path: str, width: int) -> None:
    """Load a scene and send the time that took [s], then render jobs from the pipe until None arrives."""
    try:
        start = time.perf_counter()
        kind, variant = engine.split()
        renderer = (
            Ours(path, width, variant)
            if kind == "ours"
            else Mitsuba(path, f"{variant}{'_ad' * (variant == 'llvm')}_rgb")
        )
        renderer.render(4, 0)
        pipe.send(time.perf_counter() - start)
        while (job := pipe.recv()) is not None:
            start = time.perf_counter()
            image = renderer.render(*job)
            pipe.send((time.perf_counter() - start, image))
    except Exception as error:
        pipe.send(RuntimeError(f"{engine}: {error}"))
