"""The frame pipeline: paths, then reprojection while the camera moves, denoising, exposure and tone, with the time per stage.

It needs no session and no server:

    frames = Frames(InteractiveRenderer(scene))
    picture = frames.draw(view, Budget(320, 180, is_moving=True))
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import warp as wp

from nrc_tracer.imaging.denoising import denoise
from nrc_tracer.imaging.tonemap import eight_bits, tone_map
from nrc_tracer.live.history_materials import keeps_history
from nrc_tracer.live.layers import layer_colors
from nrc_tracer.live.picture import Picture, Statistic
from nrc_tracer.live.reprojection import Reprojection, Surfaces
from nrc_tracer.live.view import View
from nrc_tracer.live.world import Budget
from nrc_tracer.tracer.interactive import InteractiveRenderer

MOST_MOVING_SAMPLES = 8
"""Largest number of samples per pixel of a moving frame."""

FIRST_MOVING_SEED = 2**32
"""Seed of the first moving frame. The following count up, so that frames differ in their noise."""

PASS_SECONDS = 0.04
"""Longest time that a pass of a still image aims at [s]: between passes a frame can be interrupted."""

SETTLED_SAMPLES = 16
"""Samples per pixel of a still image below which it is averaged with the frames before it, so that it is not noisier."""

NOISE_SAMPLES = 2
"""Fewest samples per pixel from which noise is estimated."""


class Stages:
    """The time of each stage of a frame [ms], by name, in order."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def add(self, name: str, seconds: float) -> None:
        """Add time [s] to a stage."""
        self.times[name] = self.times.get(name, 0.0) + 1e3 * seconds

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)


class Frames:
    """Draws the frames of one client.

    While the camera moves, frames are averaged with what earlier ones found (`Reprojection`). When it is still, samples
    accumulate to the image that a new `Renderer` with this camera and size makes: without a cache, bit for bit.

    Args:
        renderer: Renders still images, with or without a cache; used by nothing else.
        mover: Renders moving frames, likewise; `renderer` unless given. The correction of a cached image needs more samples than
            a moving frame has, so its mover does without.
        seed: Seed of still images.
        reprojects: Whether moving frames are averaged.

    Attributes:
        renderer: The renderer. Its image is that of the last still frame, once there is one.
        mover: The renderer of moving frames.
        radiance: Linear radiance of the last picture, before denoising, [height, width, 3], float32; None before the first.
    """

    def __init__(
        self,
        renderer: InteractiveRenderer,
        *,
        mover: InteractiveRenderer | None = None,
        seed: int = 0,
        reprojects: bool = True,
    ) -> None:
        self.renderer, self.mover = renderer, mover or renderer
        self._seed, self._reprojects = seed, reprojects
        self.radiance: np.ndarray | None = None
        self._still: View | None = None  # the view whose samples are on the film
        self._film_seconds = 0.0
        self._moving_seed = FIRST_MOVING_SEED
        self._reprojection = Reprojection(renderer.launcher)
        self._keeps: wp.array | None = None

    def settle(self, view: View) -> None:
        """Let the renderer's image be that of a view, with at least one sample: a moving frame may have replaced it."""
        self._film_seconds = 0.0
        self._accumulate(view, Budget(view.width, view.height, seconds=0.0), Stages())

    def forget(self) -> None:
        """Begin anew after a change of the scene: neither samples nor history are kept."""
        self._still = self._keeps = None
        self._reprojection.forget()

    def draw(self, view: View, budget: Budget) -> Picture | None:
        """Draw a frame; None if it was interrupted, in which case the samples so far are kept."""
        stages = Stages()
        if budget.is_moving and view.layer is None:
            radiance = self._draw_moving(view, budget, stages)
            return self._picture(view, self.mover, radiance, stages, is_final=False)
        if not self._accumulate(view, budget, stages) or (self.renderer.samples > 1 and budget.interrupted()):
            return None
        with stages.time("film"):
            radiance = self.renderer.image().rgb
        self._film_seconds = 1e-3 * stages.times["film"]
        samples = self.renderer.samples
        settles = samples < SETTLED_SAMPLES and samples != budget.most_samples and self._reprojection.has_history
        if settles and view.layer is None:
            radiance = self._averaged(self.renderer, radiance, stages, keeps=False)
        return self._picture(view, self.renderer, radiance, stages, is_final=not (settles or budget.is_moving))

    def _draw_moving(self, view: View, budget: Budget, stages: Stages) -> np.ndarray:
        """Draw one frame at the budget's size, with as many samples as its time allows."""
        renderer, start = self.mover, time.perf_counter()
        self._still = None
        self._moving_seed += 1
        renderer.look(
            view.camera,
            width=budget.width,
            height=budget.height,
            seed=self._moving_seed,
            keeps_measurements=True,
        )
        self._step(renderer, 1, stages)
        spent = time.perf_counter() - start
        more = min(int((0.8 * budget.seconds - spent) / max(spent, 1e-6)), MOST_MOVING_SAMPLES - 1)
        if more > 0:
            self._step(renderer, more, stages)
        with stages.time("film"):
            radiance = renderer.image().rgb
        return self._averaged(renderer, radiance, stages, keeps=True) if self._reprojects else radiance

    def _averaged(
        self, renderer: InteractiveRenderer, radiance: np.ndarray, stages: Stages, *, keeps: bool
    ) -> np.ndarray:
        """A renderer's frame averaged with earlier ones; `keeps`: the later ones are averaged with it."""
        with stages.time("surfaces"):
            seen = self._surfaces(renderer)
        with stages.time("reproject"):
            return self._reprojection.add(radiance, seen, renderer.samples, keeps=keeps)

    def _accumulate(self, view: View, budget: Budget, stages: Stages) -> bool:
        """Add samples to the still image until the time is over; return False if something interrupted it."""
        renderer, start = self.renderer, time.perf_counter()
        seconds = max(budget.seconds, self._film_seconds)  # the correction of a cached image takes long itself
        size = (budget.width, budget.height)
        if self._still is None or view.moves_from(self._still) or size != (renderer.width, renderer.height):
            renderer.look(view.camera, width=budget.width, height=budget.height, seed=self._seed)
            self._still = view
        most = math.inf if budget.most_samples is None else budget.most_samples
        while renderer.samples < most:
            if budget.interrupted():
                return False
            left = seconds - (time.perf_counter() - start)
            if left <= 0.0 and renderer.samples > 0:
                break
            samples = 1 if renderer.samples == 0 else int(min(left, PASS_SECONDS) / renderer.seconds_per_sample)
            self._step(renderer, int(min(max(samples, 1), most - renderer.samples, renderer.samples or 1)), stages)
        return True

    def _step(self, renderer: InteractiveRenderer, samples: int, stages: Stages) -> None:
        """Add samples, and the time of the parts of this work to the stages."""
        frames = renderer.frames
        if frames is None:
            with stages.time("trace"):
                renderer.step(samples)
            return
        before = frames.seconds()
        renderer.step(samples)
        for name, seconds in frames.seconds().items():
            stages.add(name, seconds - before[name])

    def _surfaces(self, renderer: InteractiveRenderer) -> Surfaces:
        if self._keeps is None:
            keeps = keeps_history(renderer.scene.description.materials)
            self._keeps = wp.array(keeps, dtype=int, device=renderer.device)
        camera, film = renderer.film_records
        return Surfaces(camera, film, renderer.first_hits(), self._keeps, renderer.width, renderer.height)

    def _picture(
        self, view: View, renderer: InteractiveRenderer, radiance: np.ndarray, stages: Stages, *, is_final: bool
    ) -> Picture:
        self.radiance = radiance
        if view.layer is not None:
            with stages.time("layer"):
                colors = layer_colors(view.layer, renderer.layers([view.layer])[view.layer])
            pixels = eight_bits(colors)
        else:
            if view.denoise:
                with stages.time("denoise"):
                    guides = renderer.layers(["albedo", "normal"])
                    radiance = denoise(radiance, **guides)
            with stages.time("tone"):
                pixels = eight_bits(tone_map(radiance, view.tone, view.exposure))
        return Picture(
            pixels,
            view,
            samples=renderer.samples,
            is_final=is_final,
            stage_times=stages.times,
            statistics=_statistics(renderer, is_final),
        )


def _statistics(renderer: InteractiveRenderer, is_final: bool) -> dict[str, Statistic]:
    found = {"samples": Statistic(float(renderer.samples), "per pixel")}
    if is_final and renderer.samples >= NOISE_SAMPLES and math.isfinite(noise := renderer.noise()):
        found["noise"] = Statistic(100.0 * noise, "%")
    if renderer.dropped:
        found["dropped samples"] = Statistic(float(renderer.dropped))
    return found
