"""Scenes of the cache's benchmark, and their references, which are rendered once and stored."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

import nrc_tracer as nrc
from benchmarks.data import ROOT, data_folder, find_scene
from nrc_tracer.cache import RadianceCache
from nrc_tracer.imaging.metrics import block_sums
from nrc_tracer.report.references import Reference, find_reference, reference_key
from nrc_tracer.scene.model import Scene
from nrc_tracer.tracer import Renderer

OWN = ("door-ajar", "window-room")
"""This project's scenes: a room lit through a door gap, and one whose coloured walls light each other."""
GIVEN = ("veach-ajar", "grey-white-room", "classroom", "modern-hall")
"""Published interiors; the first two that are available are used."""
DIRECT = "many-lights"
"""A directly lit scene."""

REFERENCE_ERROR = 0.01
"""Relative error at which a reference is good enough, however much time is left."""
TOO_NOISY = 1.0
"""Error in percent above which relMSE means little: its denominators, means of 8 x 8 pixels, are known to an eighth of it."""
SMOOTH = 8
"""Side in pixels of the blocks over which the reference is averaged for denominators."""


@dataclass(frozen=True)
class Stage:
    """A scene as the benchmark renders it.

    Attributes:
        name: Its name.
        scene: The scene.
        width: Width of the film [pixels].
        sampler: The sampler of all renders. The benchmark separates bias from variance, which needs independent samples.
        threads: Threads on the CPU, by default one per core.
        reference: Two independent images, shape [height, width, 3] each.
        height: Height of the film, by default in proportion to the width.
        device: The device to render on.
    """

    name: str
    scene: Scene
    width: int
    reference: Reference | None = None
    sampler: str = "independent"
    threads: int | None = None
    height: int | None = None
    device: str = "cpu"

    def renderer(self, cache: RadianceCache | None = None, mode: str = "raw", *, seed: int = 0) -> Renderer:
        """A compiled renderer of paths of any length; a cached image is not corrected unless the mode says so."""
        renderer = Renderer(
            self.scene,
            device=self.device,
            threads=self.threads,
            width=self.width,
            height=self.height,
            max_depth=-1,
            sampler=self.sampler,
            seed=seed,
            cache=cache,
            cache_mode=mode,
        )
        renderer.compile()
        return renderer

    @property
    def references(self) -> tuple[np.ndarray, np.ndarray]:
        """Both images of the reference."""
        return self.reference.first, self.reference.second

    @cached_property
    def level(self) -> np.ndarray:
        """The level that errors are relative to: the reference's means over 8 x 8 pixels, [height, width, 3].

        A noisy pixel of the reference would be weighted by its own noise, which would look like a bias of the compared image.
        """
        mean = np.asarray(self.reference.mean, np.float64)
        sums = block_sums(mean, SMOOTH) / block_sums(np.ones((*mean.shape[:2], 1)), SMOOTH)
        return sums.repeat(SMOOTH, axis=0).repeat(SMOOTH, axis=1)[: mean.shape[0], : mean.shape[1]]


def usual_scenes() -> list[str]:
    """The scenes with goals; a line is printed for each missing one."""
    given = [name for name in GIVEN if find_scene(name) is not None][:2]
    if len(given) < 2:
        print(
            f"skipped: {2 - len(given)} of 2 given interiors, as of {', '.join(GIVEN)} only {given or 'none'} are in "
            f"{data_folder()} (set NRC_DATA)"
        )
    return [*OWN, *given]


def usual_cache_folder() -> Path:
    """The default folder for references."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nrc-tracer" / "references"


def open_stage(name: str, *, width: int, folder: Path, seconds: float, threads: int | None = None) -> Stage | None:
    """Load a scene and its reference, rendering it for about `seconds` if necessary; None if the scene is not available."""
    path = find_scene(name)
    if path is None:
        print(f"skipped: {name}, which is neither a file nor in {ROOT / 'scenes'} or {data_folder()}")
        return None
    stage = Stage(path.stem if path.suffix == ".json" else name, nrc.load_scene(path), width, threads=threads)
    probe = stage.renderer()
    key = reference_key(stage.scene, width=probe.width, height=probe.height, max_depth=-1)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{stage.name}-{key}-{seconds:g}s.npz"
    # An existing reference is used whatever its error, because it has had its time
    reference = find_reference(
        file,
        lambda seed: replace(stage, sampler="sobol").renderer(seed=seed),
        error=float("inf") if file.exists() else REFERENCE_ERROR,
        most_seconds=seconds,
    )
    samples, error = reference.samples, 100.0 * reference.error
    print(
        f"\n{stage.name}, {probe.width} x {probe.height}; reference: 2 x {samples[0]} samples, error {error:.2g} %"
        f"{', stored before' if reference.reused else ''}",
        flush=True,
    )
    if reference.error > TOO_NOISY:
        print("  the reference is too noisy for relMSE: increase --reference-seconds")
    return replace(stage, reference=reference)
