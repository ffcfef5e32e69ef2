"""Rendering what a study compares: every setting, budget and seed once, and a long run of each setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nrc_tracer.errors import NrcError
from nrc_tracer.report.settings import Budget, Setting

if TYPE_CHECKING:
    from nrc_tracer.tracer import Renderer

MakeRenderer = Callable[[Setting, int], "Renderer"]
"""Makes a renderer, with a new cache if the setting has one, from a setting and a seed."""
Run = Callable[..., bool]
"""`nrc_tracer.tracer.run`, or what stands in for it."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One image of a study, and what it cost.

    Attributes:
        rgb: Linear Rec. 709, shape [height, width, 3], float32.
        samples: Samples per pixel in it.
        seconds: Time in `Renderer.step`, warm-up and training of a cache included.
        seed: Of its random numbers.
        dropped: Samples that were not finite.
        cache: What the renderer reports of its cache, and of its paths; empty if it reports nothing.
    """

    rgb: np.ndarray
    samples: int
    seconds: float
    seed: int
    dropped: int = 0
    cache: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Shots:
    """All images of a study.

    Attributes:
        settings: In the order of tables; the first is the one that others are compared with.
        budgets: Likewise.
        images: For each setting and budget, one image a seed.
        curves: For each setting, images of one long run at growing numbers of samples.
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
    say: Callable[[str, float], None] = lambda words, share: None,
) -> Shots:
    """Render everything that a study compares.

    Every image has a seed of its own. The order is seed by seed, so that what else the machine does falls on all settings
    alike. One unmeasured sample of each setting goes first, as first launches are slow.

    Args:
        settings: What to compare.
        budgets: What each may spend.
        make_renderer: Makes the renderers.
        seeds: Images of each setting and budget, at least 2.
        seed: Where seeds start.
        run: Renders until a budget is spent; `nrc_tracer.tracer.run` unless given.
        say: Told what is being rendered, and which share of the study is done.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        NrcError: A renderer could not be made or run, or made no sample within its budget.
    """
    if run is None:
        from nrc_tracer.tracer import run
    settings, budgets = tuple(settings), tuple(budgets)
    longest = longest_budget(budgets)
    total = len(settings) * (len(budgets) * seeds + 2)
    done = 0

    def ready(setting: Setting, what: str) -> Renderer:
        nonlocal done, seed
        say(f"{setting.name}: {what}", done / total)
        renderer = make_renderer(setting, seed)
        renderer.compile()
        done, seed = done + 1, seed + 1
        return renderer

    for setting in settings:
        ready(setting, "first launch").step(1)
    images: dict[tuple[Setting, Budget], list[Shot]] = {(s, b): [] for s in settings for b in budgets}
    for replicate in range(seeds):
        for budget in budgets:
            for setting in settings:
                renderer = ready(setting, f"{budget.name}, seed {replicate + 1} of {seeds}")
                _spend(run, renderer, budget)
                if renderer.samples == 0:
                    raise NrcError(f"{setting.name} made no sample within {budget.name}; give it more")
                images[setting, budget].append(_shot(renderer, seed - 1))
    curves = {}
    for setting in settings:
        watch = _Watch(seed)
        renderer = ready(setting, f"{longest.name}, convergence")
        _spend(run, renderer, longest, watch)
        curves[setting] = watch.finish(renderer)
    say("measuring", 1.0)
    return Shots(settings, budgets, images, curves)


def longest_budget(budgets: Sequence[Budget]) -> Budget:
    """The budget of convergence curves: the longest time, or the most samples if there is no time."""
    times = [budget for budget in budgets if budget.kind == "time"]
    return max(times or budgets, key=lambda budget: budget.value)


def _spend(run: Run, renderer: Renderer, budget: Budget, progress: Callable[[Renderer], None] | None = None) -> None:
    spp, time = (int(budget.value), None) if budget.kind == "samples" else (None, budget.value)
    if not run(renderer, spp=spp, time=time, progress=progress):
        raise KeyboardInterrupt


def _shot(renderer: Renderer, seed: int) -> Shot:
    image = renderer.image()
    report = getattr(renderer, "cache_report", None)
    cache = (report() or {}) if callable(report) else {}
    return Shot(image.rgb, renderer.samples, renderer.seconds, seed, image.dropped, dict(cache))


class _Watch:
    """Keeps the image whenever the samples reach the next power of two. Called after every pass."""

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
        """Return what was kept, and the image at the end of the run."""
        if renderer.samples > (self.shots[-1].samples if self.shots else 0):
            self._keep(renderer)
        return self.shots

    def _keep(self, renderer: Renderer) -> None:
        image = renderer.image()
        self.shots.append(Shot(image.rgb, renderer.samples, renderer.seconds, self._seed, image.dropped))
