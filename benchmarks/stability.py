"""Stability of the radiance cache: flicker, drift, stale light after a change, and what it forgets off screen.

    python -m benchmarks.stability [--quick] [--threads 2] [--json [FILE]]

The scene is a small closed room with two lights. Errors are root mean square relative errors of the means of 16 x 16 blocks of
the image that the cache would show at that moment: it is frozen for two images with separate random numbers, whose noise
cancels against that of two uncached references. The number of frames until the error stays within 5 % is compared with that of
a cache that does not adapt, and of a new one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.machine import core_count, describe_machine, device_slug
from benchmarks.stability_figures import Error, Images, Recovery, compare, drift, flicker, plain_error
from benchmarks.stability_scenes import BACK, FRONT, room, seen_from
from nrc_tracer.cache import RadianceCache
from nrc_tracer.imaging.metrics import BLOCK, block_sums
from nrc_tracer.scene.model import Scene
from nrc_tracer.tracer import Renderer

RESULTS = Path(__file__).parent / "results"

WITHIN = 0.05
"""Error at which a change counts as completed."""
AS_BEFORE = 1.25
"""Factor of the earlier error at which a place counts as remembered as well as before."""

SETTINGS = {"records": 4096, "train_every": 1}
"""Settings of the cache with which one frame in five or six trains, as is usual for large films.

With the default settings, films as small as these would rarely train.
"""
SETTLED = 64
"""Number of frames after the warm-up and before the first change."""

PROBES = (0, 1, 2, 4, 8, 12, 16, 20, 24, 32, 48, 64, 128)
QUICK_PROBES = (0, 1, 4, 8, 16, 32, 48)
"""Numbers of frames after a change at which the error is measured."""

DARK = 1e-3
"""Factor by which the lights are dimmed."""

CHANGES: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "near light off": ({}, {"warm": 0.0}),
    "far light off": ({}, {"cool": 0.0}),
    "near light on": ({"warm": 0.0}, {}),
    "bright to dark": ({}, {"warm": DARK, "cool": DARK}),
    "dark to bright": ({"warm": DARK, "cool": DARK}, {}),
}
"""Lights before and after each change."""
QUICK_CHANGES = ("near light off", "bright to dark")


class Bench:
    """Renderers, references and settings of one run.

    Args:
        threads: Threads on the CPU.
        reference_samples: Samples per pixel of each of two references.
        probe_frames: Frames of each of the two images with which a cache is measured.
        folder: Folder for caches from which several measurements start.
    """

    def __init__(self, threads: int, reference_samples: int, probe_frames: int, folder: Path) -> None:
        self.threads, self.reference_samples, self.probe_frames = threads, reference_samples, probe_frames
        self._folder, self._seed = folder, 1000
        self._references: dict[str, Images] = {}

    def renderer(self, scene: Scene, cache: RadianceCache | None = None, seed: int = 0) -> Renderer:
        """A renderer of the scene."""
        return Renderer(scene, device="cpu", threads=self.threads, cache=cache, cache_mode="raw", seed=seed)

    def references(self, scene: Scene) -> Images:
        """Two uncached images, rendered once."""
        key = repr(scene.description)
        if key not in self._references:
            images = []
            for seed in (501, 502):
                renderer = self.renderer(scene, seed=seed)
                renderer.step(self.reference_samples)
                images.append(renderer.moments()[0])
            self._references[key] = (images[0], images[1])
        return self._references[key]

    def settled(self, scene: Scene, **settings: Any) -> RadianceCache:
        """A cache that has warmed up and been used for a while; every call for the same scene returns a separate, equal copy."""
        file = self._folder / f"{hashlib.sha256(repr(scene.description).encode()).hexdigest()}.safetensors"
        if not file.exists():
            renderer = self.renderer(scene, RadianceCache(**SETTINGS))
            renderer.step(SETTLED)
            renderer.cache.save(file)
        return RadianceCache.load(file, **settings)

    def fresh_seed(self) -> int:
        """A seed that was not used before in this run, so that no two images share their noise."""
        self._seed += 1
        return self._seed

    def measure(self, renderer: Renderer, references: Images) -> Error:
        """Measure what the renderer's cache shows now. The renderer begins a new image, and its cache does not change."""
        if not renderer.cache.is_trained:
            return Error(1.0, 0.0)
        images = []
        with_training = renderer.cache.options
        renderer.cache.options = msgspec.structs.replace(with_training, freeze=True)
        for _ in range(2):
            renderer.reset(seed=self.fresh_seed())
            renderer.step(self.probe_frames)
            images.append(renderer.moments()[0])
        renderer.cache.options = with_training
        renderer.reset(seed=self.fresh_seed())
        return compare((images[0], images[1]), references)


def follow(bench: Bench, renderer: Renderer, references: Images, probes: Sequence[int]) -> Recovery:
    """Continue rendering, and measure at the frames of `probes`."""
    recovery, done, total = Recovery(), 0, 0.0
    for frame in probes:
        if frame > done:
            renderer.step(frame - done)
            total = total + (frame - done) * renderer.moments()[0]
            done = frame
        recovery.frames.append(frame)
        recovery.errors.append(bench.measure(renderer, references))
    film = total / done
    recovery.film = compare((film, film), references).blocks
    return recovery


# A scene at rest


def measure_static(bench: Bench, frames: int) -> dict[str, Any]:
    """Compare frames of a still scene for a cache that continues to learn and a frozen copy, with the same random numbers.

    The difference of the two is due to learning alone. Changes are root mean squares over blocks, relative to the block's mean.
    """
    scene = room()
    references = bench.references(scene)
    caches = {"learning": bench.settled(scene), "frozen": bench.settled(scene, freeze=True)}
    renderers = {name: bench.renderer(scene, cache, seed=99) for name, cache in caches.items()}
    before = bench.measure(renderers["learning"], references)
    for renderer in renderers.values():
        renderer.reset(seed=99)
    steps_before = renderers["learning"].cache.trainer.steps
    means = {name: np.stack([frame_means(renderer) for _ in range(frames)]) for name, renderer in renderers.items()}
    steps = renderers["learning"].cache.trainer.steps - steps_before
    after = bench.measure(renderers["learning"], references)
    return {
        "frames": frames,
        "training_frames": steps // renderers["learning"].frames.steps,
        **flicker(means["learning"], means["frozen"]),
        **drift(means["learning"], means["frozen"]),
        "before": plain_error(before),
        "after": plain_error(after),
    }


def frame_means(renderer: Renderer) -> np.ndarray:
    """Add a frame, and return the means of its blocks, [rows, columns, 3]."""
    sums = renderer.moments()[0] * renderer.samples
    renderer.step(1)
    return block_sums(renderer.moments()[0] * renderer.samples - sums) / BLOCK**2


# Changes of the light


def measure_change(bench: Bench, name: str, variants: Sequence[str], probes: Sequence[int]) -> dict[str, Recovery]:
    """Measure how each variant of a cache reacts to a change of the light."""
    lights_before, lights_after = CHANGES[name]
    before, after = room(**lights_before), room(**lights_after)
    references = bench.references(after)
    found = {}
    for variant in variants:
        renderer = VARIANTS[variant](bench, bench.settled(before), before, after)
        found[variant] = follow(bench, renderer, references, probes)
    return found


def adapting(bench: Bench, cache: RadianceCache, before: Scene, after: Scene) -> Renderer:
    """Change the scene by `Renderer.update`."""
    renderer = bench.renderer(before, cache)
    renderer.update(after)
    return renderer


def not_adapting(bench: Bench, cache: RadianceCache, before: Scene, after: Scene) -> Renderer:
    """Change the scene without the training frames of an update: the cache continues to learn as if nothing had happened."""
    return bench.renderer(after, cache)


def beginning_anew(bench: Bench, cache: RadianceCache, before: Scene, after: Scene) -> Renderer:
    """Start a new cache, which trains in its first frames like one that adapts."""
    renderer = bench.renderer(after, RadianceCache(train_frames=0, **SETTINGS))
    renderer.update(after)
    return renderer


VARIANTS: dict[str, Callable[[Bench, RadianceCache, Scene, Scene], Renderer]] = {
    "kept": adapting,
    "not adapting": not_adapting,
    "begun anew": beginning_anew,
}


# Looking away


def measure_return(bench: Bench, away: int, probes: Sequence[int]) -> dict[str, Any]:
    """Look at one half of the room, then for `away` frames at the other, and back."""
    scene = room()
    references = {"front": bench.references(scene), "back": bench.references(seen_from(scene, BACK))}
    renderer = bench.renderer(scene, bench.settled(scene))
    before = bench.measure(renderer, references["front"])
    renderer.reset(camera=BACK)
    there = bench.measure(renderer, references["back"])
    renderer.step(away)
    there_after = bench.measure(renderer, references["back"])
    renderer.reset(camera=FRONT)
    recovery = follow(bench, renderer, references["front"], probes)
    return {
        "frames_away": away,
        "before": plain_error(before),
        "first_look": plain_error(there),
        "after_looking": plain_error(there_after),
        "on_return": plain_error(recovery.errors[0]),
        "frames_until_as_before": recovery.until(AS_BEFORE * before.blocks),
        "recovery": recovery.plain(),
    }


# Tables


def show_static(found: dict[str, Any]) -> None:
    """Print flicker and drift."""
    print(f"\nat rest, {found['frames']} frames, {found['training_frames']} of which train")
    print(f"  {'change of blocks from frame to frame':<46}{found['change']:>8.4f}")
    print(f"  {'frozen':<46}{found['change_frozen']:>8.4f}{found['change_ratio']:>8.3f} x")
    share = found["change_by_learning"] / found["change_frozen"]
    print(f"  {'by learning alone':<46}{found['change_by_learning']:>8.4f}{share:>8.3f} x")
    print(f"  {'largest drift of the mean, relative to frozen':<46}{found['largest_drift']:>8.4f}")
    for when in ("before", "after"):
        print(
            f"  {f'error of blocks {when}':<46}{found[when]['block_error']:>8.4f}{found[when]['image_mean']:>8.3f} x brightness"
        )


def show_change(name: str, found: dict[str, Recovery], adapted: int) -> None:
    """Print the rows of one change."""
    anew = found["begun anew"].until(WITHIN)
    for variant, recovery in found.items():
        until = recovery.until(WITHIN)
        ratio = f"{until / anew:.2f} x" if until is not None and anew else "-"
        shown = [
            recovery.errors[recovery.frames.index(f)].blocks for f in (recovery.frames[0], adapted, recovery.frames[-1])
        ]
        columns = "".join(f"{x:>10.3f}" for x in shown)
        reached = "never" if until is None else until
        print(f"  {name:<16}{variant:<14}{reached:>8}{ratio:>9}{columns}{recovery.film:>10.3f}", flush=True)


def show_return(found: dict[str, Any]) -> None:
    """Print how much was forgotten."""
    until = found["frames_until_as_before"]
    print(f"\nlooking away for {found['frames_away']} frames, and back: error of blocks")
    rows = {
        "before": found["before"],
        "first look at the other half": found["first_look"],
        f"there after {found['frames_away']} frames": found["after_looking"],
        "on return": found["on_return"],
    }
    for row, error in rows.items():
        ratio = error["block_error"] / found["before"]["block_error"] if found["before"]["block_error"] else math.inf
        print(f"  {row:<46}{error['block_error']:>8.4f}{ratio:>8.2f} x{error['image_mean']:>8.3f} x brightness")
    print(f"  frames until as before (x {AS_BEFORE:g}): {'never' if until is None else until}", flush=True)


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer frames, changes and samples")
    parser.add_argument("--threads", type=int, default=core_count(), help="threads on the CPU")
    parser.add_argument("--changes", nargs="+", choices=CHANGES, help="changes of the light to measure (default: all)")
    parser.add_argument("--only-changes", action="store_true", help="leave out the still scene and looking away")
    parser.add_argument(
        "--json",
        nargs="?",
        type=Path,
        const=Path(),
        help="write results to this file, or without a name to benchmarks/results",
    )
    arguments = parser.parse_args()
    quick = arguments.quick
    probes = QUICK_PROBES if quick else PROBES
    variants = ("kept", "begun anew") if quick else tuple(VARIANTS)
    names = arguments.changes or (QUICK_CHANGES if quick else tuple(CHANGES))
    machine = describe_machine(("nrc-tracer", "warp-lang", "torch")) | {"device": "cpu", "threads": arguments.threads}
    print(", ".join(f"{k} {v}" for k, v in machine.items()))
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.threads, 128 if quick else 1024, 8 if quick else 16, Path(folder))
        document: dict[str, Any] = {"machine": machine, "quick": quick}
        if not arguments.only_changes:
            document["static"] = measure_static(bench, 64 if quick else 256)
            show_static(document["static"])
        print(f"\nframes until the error of blocks stays within {100 * WITHIN:g} %; errors by frames after the change")
        head = "".join(f"{f'at {f}':>10}" for f in (probes[0], 32, probes[-1]))
        print(f"  {'change':<16}{'cache':<14}{'frames':>8}{'/ anew':>9}{head}{'film':>10}")
        document["changes"] = {}
        for name in names:
            found = measure_change(bench, name, variants, probes)
            show_change(name, found, 32)
            document["changes"][name] = {
                variant: {"frames_until_within": recovery.until(WITHIN), **recovery.plain()}
                for variant, recovery in found.items()
            }
        if not arguments.only_changes:
            document["look_away"] = measure_return(bench, 64 if quick else 256, probes[:-2])
            show_return(document["look_away"])
    print(f"\n{time.time() - start:.0f} s in total")
    if arguments.json is not None:
        name = f"stability-{device_slug(None, arguments.threads)}.json"
        file = RESULTS / name if arguments.json == Path() else arguments.json
        file.write_text(json.dumps(document, indent=1) + "\n")
        print(f"written to {file}")


if __name__ == "__main__":
    main()
