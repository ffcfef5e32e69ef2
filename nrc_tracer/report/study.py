"""Rendering what a study compares: an image for each setting, budget and seed, and a long run of each setting."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nrc_tracer.errors import NrcError
from nrc_tracer.imaging import denoise
from nrc_tracer.report.settings import Budget, Setting

if TYPE_CHECKING:
    from nrc_tracer.tracer import Renderer

MakeRenderer = Callable[[Setting, int], "Renderer"]
"""Makes a renderer from a setting and a seed, with a new cache if the setting has one."""
Run = Callable[..., bool]
"""`nrc_tracer.tracer.run`, or a function with the same arguments."""
Say = Callable[[str, float], None]
"""Shows what is being done, and the fraction of the work that is done."""


def silent(words: str, share: float) -> None:
    """Show nothing."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One image of a study and its cost.

    Attributes:
        rgb: Linear Rec. 709, shape [height, width, 3], float32.
        samples: Samples per pixel.
        seconds: Time in `Renderer.step`, including warm-up and training of a cache.
        seed: Seed of its random numbers.
        dropped: Number of samples that were left out because they were not finite.
        cache: The renderer's report about its cache and its paths; empty if there is none.
        uncorrected: The same image before its correction, in the shape of `rgb`; None if it has none.
    """

    rgb: np.ndarray
    samples: int
    seconds: float
    seed: int
    dropped: int = 0
    cache: dict[str, Any] = field(default_factory=dict)
    uncorrected: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Shots:
    """All images of a study.

    Attributes:
        settings: The settings in the order of tables; the others are compared with the first.
        budgets: The budgets in the order of tables.
        images: For each setting and budget, one image per seed.
        curves: For each setting without denoising, images of one long run at increasing numbers of samples.
    """

    settings: tuple[Setting, ...]
    budgets: tuple[Budget, ...]
    images: dict[tuple[Setting, Budget], list[Shot]]
    curves: dict[Setting, list[Shot]]


def shoot(
    settings: Sequence[Setting],
    budgets: Sequence[Budget],
    make_renderer: MakeRenderer,
    *,
    seeds: int,
    seed: int = 0,
    run: Run | None = None,
    say: Say = silent,
    warn: Callable[[str], object] | None = None,
) -> Shots:
    """Render everything that a study compares.

    Every image has its own seed. All settings are rendered with one seed after the other, so that other work of the machine
    affects all settings alike. Each setting first renders one sample that is not measured, because first launches are slow.
    Where images are denoised, rendering has only that part of a time that denoising leaves. A setting whose denoising takes all
    of it is left out.

    Args:
        settings: What to compare.
        budgets: What each image may cost.
        make_renderer: Makes the renderers.
        seeds: Number of images per setting and budget, at least 2.
        seed: First seed.
        run: Renders until a budget is spent; `nrc_tracer.tracer.run` unless given.
        say: Shows what is being rendered.
        warn: Takes a sentence about each setting that is left out.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        NrcError: A renderer could not be made or run, or finished no sample within its budget.
    """
    if run is None:
        from nrc_tracer.tracer import run as render

        spend: Run = render
    else:
        spend = run
    settings, budgets = tuple(settings), tuple(budgets)
    longest = longest_budget(budgets)
    traced = [setting for setting in settings if not setting.denoised]
    total = len(settings) * (len(budgets) * seeds + 1) + len(traced)
    done = 0

    def ready(setting: Setting, what: str) -> Renderer:
        nonlocal done, seed
        say(f"{setting.name}: {what}", done / total)
        renderer = make_renderer(setting, seed)
        renderer.compile()
        done, seed = done + 1, seed + 1
        return renderer

    denoising: dict[Setting, float] = {}
    for setting in settings:
        renderer = ready(setting, "first launch")
        renderer.step(1)
        if setting.denoised:
            denoising[setting] = _denoising_seconds(renderer)
    shortest = min((budget.value for budget in budgets if budget.kind == "time"), default=math.inf)
    for setting, seconds in denoising.items():
        if seconds >= shortest and warn is not None:
            warn(f"{setting.name}: left out, because denoising takes {seconds:.2g} s of {shortest:g} s")
    settings = tuple(setting for setting in settings if denoising.get(setting, 0.0) < shortest)
    images: dict[tuple[Setting, Budget], list[Shot]] = {(s, b): [] for s in settings for b in budgets}
    for replicate in range(seeds):
        for budget in budgets:
            for setting in settings:
                renderer = ready(setting, f"{budget.name}, seed {replicate + 1} of {seeds}")
                _spend(spend, renderer, budget, less=denoising.get(setting, 0.0))
                if renderer.samples == 0:
                    raise NrcError(f"{setting.name} finished no sample within {budget.name}; give it more")
                images[setting, budget].append(_shot(renderer, seed - 1, denoised=setting.denoised))
    curves = {}
    for setting in traced:
        watch = _Watch(seed)
        renderer = ready(setting, f"{longest.name}, convergence")
        _spend(spend, renderer, longest, watch)
        curves[setting] = watch.finish(renderer)
    say("measuring", 1.0)
    return Shots(settings, budgets, images, curves)


def longest_budget(budgets: Sequence[Budget]) -> Budget:
    """Return the budget of convergence curves: the longest time, or the most samples if there is no time."""
    times = [budget for budget in budgets if budget.kind == "time"]
    return max(times or budgets, key=lambda budget: budget.value)


def _spend(
    run: Run,
    renderer: Renderer,
    budget: Budget,
    progress: Callable[[Renderer], None] | None = None,
    *,
    less: float = 0.0,
) -> None:
    """Render until the budget is spent; of a time, `less` seconds are left."""
    spp, time = (int(budget.value), None) if budget.kind == "samples" else (None, max(budget.value - less, 1e-3))
    if not run(renderer, spp=spp, time=time, progress=progress):
        raise KeyboardInterrupt


def _denoised(renderer: Renderer, rgb: np.ndarray) -> np.ndarray:
    """Return a renderer's image without its noise, guided by what the camera sees first."""
    return denoise(rgb, **renderer.layers(("albedo", "normal")))


def _denoising_seconds(renderer: Renderer) -> float:
    """Return the time that denoising takes once Open Image Denoise is loaded."""
    rgb = renderer.image().rgb
    _denoised(renderer, rgb)
    start = clock.perf_counter()
    _denoised(renderer, rgb)
    return clock.perf_counter() - start


def _shot(renderer: Renderer, seed: int, *, denoised: bool = False) -> Shot:
    """Return a renderer's image and its cost."""
    start = clock.perf_counter()
    image = renderer.image()
    rgb = _denoised(renderer, image.rgb) if denoised else image.rgb
    seconds = renderer.seconds + clock.perf_counter() - start  # the correction of a cached image takes time
    report = getattr(renderer, "cache_report", None)
    cache = (report() or {}) if callable(report) else {}
    before = renderer.moments()[0].astype(np.float32) if "correction" in cache and not denoised else None
    return Shot(rgb, renderer.samples, seconds, seed, image.dropped, dict(cache), before)


class _Watch:
    """Keeps the image whenever the samples reach the next power of two. Call it after every pass."""

    def __init__(self, seed: int) -> None:
        self.shots: list[Shot] = []
        self._seed = seed
        self._next = 1

    def __call__(self, renderer: Renderer) -> None:
        if renderer.samples < self._next:
            return
        self._keep(renderer)
        self._next = 2 ** int(renderer.samples).bit_length()

    def finish(self, renderer: Renderer) -> list[Shot]:
        """Return the images that were kept, and the one at the end of the run."""
        if renderer.samples > (self.shots[-1].samples if self.shots else 0):
            self._keep(renderer)
        return self.shots

    def _keep(self, renderer: Renderer) -> None:
        image = renderer.image()
        self.shots.append(Shot(image.rgb, renderer.samples, renderer.seconds, self._seed, image.dropped))
