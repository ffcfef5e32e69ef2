"""The radiance cache: its quality, gain and cost, as ratios to uncached rendering in the same run.

    python -m benchmarks.cache [--scenes NAME ...] [--quick] [--ablations] [--json [FILE]]

Each scene is rendered with paths of any length and independent samples. Measured are: brightness, structure and noise after 64
training frames, compared with the noise that a perfect cache would leave; relMSE at equal time, including training, and the
time at which uncached rendering overtakes; mode `unbiased`; times; and the hash encoding compared with the triangle wave. In a
directly lit scene, the loss is measured. Each figure is printed next to its goal. References are rendered once and stored.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cache_targets as targets
from benchmarks.cache_ablations import measure_ablations
from benchmarks.cache_costs import measure_costs, measure_encodings
from benchmarks.cache_figures import measure_bound, measure_plain, measure_quality, train
from benchmarks.cache_race import MEASURED, race
from benchmarks.cache_references import DIRECT, OWN, Stage, open_stage, usual_cache_folder, usual_scenes
from benchmarks.machine import core_count, describe_machine, device_slug
from nrc_tracer.cache import RadianceCache

RESULTS = Path(__file__).parent / "results"
PARTS = ("quality", "cost", "encodings", "equal-time")
TRAIN_FRAMES = 64
WIDTH, GIVEN_WIDTH, QUICK_WIDTH = 384, 320, 192
"""Widths of the films: of this project's scenes, of others, and of all scenes with `--quick` [pixels]."""


def show(verdicts: list[targets.Verdict]) -> list[dict[str, Any]]:
    """Print figures next to their goals, and return them for JSON."""
    for verdict in verdicts:
        mark = "" if verdict.passed else "  MISSED"
        print(f"    {verdict.what:<58}{verdict.value:>8.3f}   {verdict.target:<12}{mark}", flush=True)
    return [verdict.plain() for verdict in verdicts]


def show_quality(stage: Stage, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure quality after 64 training frames, on frames that were not used for training."""
    plain = measure_plain(stage, 2 * arguments.frames)
    cache = RadianceCache(train_frames=TRAIN_FRAMES)
    renderer = train(stage, cache)
    bound = measure_bound(stage, arguments.split_frames, cache)
    figures = measure_quality(stage, renderer, arguments.frames, plain, bound)
    red, green, blue = figures["image_mean_by_channel"]
    print(f"  after {TRAIN_FRAMES} training frames ({arguments.frames} frames not trained on)")
    figures["verdicts"] = show(targets.judge_quality(figures))
    print(
        f"    by channel {red:.3f} {green:.3f} {blue:.3f}; variance {figures['variance']:.3g}, perfect cache "
        f"{figures['bound']:.3g}, which is 1/{figures['uncached_variance_over_bound']:.2f} of uncached (relative variance: "
        f"{figures['relative_variance_over_bound']:.2f} x, 1/{figures['uncached_relative_variance_over_bound']:.2f})"
    )
    return figures


def show_race(stage: Stage, times: list[float]) -> dict[str, Any]:
    """Measure errors at equal time."""
    figures = race(stage, times)
    print("  at equal time, warm-up and training included")
    figures["verdicts"] = show(targets.judge_race(figures))
    for point in figures["points"]:
        _print_point(point)
    unbiased = figures["unbiased"]
    numbers = (*MEASURED, "best_probability", "continue_probability")
    names = ", ".join(f"{name} {unbiased[name]:.3g}" for name in numbers if unbiased[name] is not None)
    predicted = unbiased["predicted_error_ratio"]
    print(
        f"    unbiased: {names}; predicted relMSE / uncached {'unknown' if predicted is None else f'{predicted:.2f}'}"
    )
    return figures


def show_direct(stage: Stage, seconds: float) -> dict[str, Any]:
    """Measure a scene in which there is little to gain."""
    figures = race(stage, [seconds], unbiased=False)
    print("  directly lit, at equal time")
    figures["verdicts"] = show(targets.judge_direct(figures))
    _print_point(figures["points"][0])
    return figures


def _print_point(point: dict[str, Any]) -> None:
    off, on, overtakes = point["off"], point["on"], point["crossing_seconds"]
    print(
        f"    {point['seconds']:g} s: uncached {off['samples']} samples, relMSE {off['rel_mse']:.3g}; cached {on['samples']}, "
        f"{on['rel_mse']:.3g} (noise {on['variance']:.3g}; warm-up {point['on_report']['warm_up_seconds']:.1f} s); ratio trimmed "
        f"{point['on_ratio_trimmed']:.3f}, {point['raw_ratio_trimmed']:.3f} without correction, which uncached overtakes "
        f"{'never' if overtakes is None else f'at {overtakes:.0f} s'}"
    )
    _print_blocks(point)


def _print_blocks(point: dict[str, Any]) -> None:
    """Print errors of block means and of the mean, of which noise hides little."""
    for name in ("off", "on", "raw", "unbiased"):
        if name in point:
            found = point[name]
            print(
                f"      {name:<9} relMSE {found['rel_mse']:.4f}; errors of means over 8 x 8 and 32 x 32 pixels "
                f"{found['block_error_8']:.4f}, {found['block_error_32']:.4f}; image mean {found['mean']:.4f}"
            )


def show_costs(stage: Stage, rounds: int) -> dict[str, Any]:
    """Measure times."""
    costs = measure_costs(stage, rounds)
    print(f"  cost, in uncached frames of {1e3 * costs['uncached_frame_seconds']:.0f} ms")
    costs["verdicts"] = show(targets.judge_cost(costs))
    print(f"    tracing to the cache {costs['trace']:.2f}, {costs['queries_per_path']:.2f} queries per path; a training frame "
          f"{costs['training']:.2f} ({costs['records']} records, {costs['steps']} steps)")  # fmt: skip
    return costs


def show_encodings(stage: Stage, frames: int) -> dict[str, Any]:
    """Compare the hash grid with the triangle wave."""
    encodings = measure_encodings(stage, train_frames=TRAIN_FRAMES, frames=frames)
    print("  encodings")
    encodings["verdicts"] = show(targets.judge_encodings(encodings))
    for name in ("hash", "triangle-wave"):
        e = encodings[name]
        times = f"{1e3 * e['training_frame_seconds']:.0f} + {1e3 * e['view_frame_seconds']:.0f} ms"
        print(f"    {name}: relMSE {e['rel_mse']:.4f}, mean {e['mean']:.3f}; training + view frame {times}")
    return encodings


def show_ablations(stage: Stage, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and print a table of variants."""
    plain = measure_plain(stage, 2 * arguments.frames)
    cache = RadianceCache(train_frames=0)
    bound = measure_bound(stage, arguments.split_frames, cache)
    print("  variants: 32 frames of warm-up and 32 that render and train; then frames that were not trained on")
    print(f"    {'':<42}{'image mean':>11}{'block error':>13}{'rel. variance':>15}{'/ perfect':>11}")

    def say(name: str, figures: list[dict[str, Any]]) -> None:
        keys = ("image_mean", "block_error", "relative_variance_ratio", "variance_over_bound")
        mean = [float(np.mean([f[key] for f in figures])) for key in keys]
        print(f"    {name:<42}{mean[0]:>11.3f}{mean[1]:>13.3f}{mean[2]:>15.3f}{mean[3]:>11.2f}", flush=True)
        if len(figures) > 1:
            spread = [float(np.std([f[key] for f in figures], ddof=1)) for key in keys]
            print(
                f"    {'  spread of seeds':<42}{spread[0]:>11.3f}{spread[1]:>13.3f}{spread[2]:>15.3f}{spread[3]:>11.2f}"
            )

    found = measure_ablations(
        stage,
        plain,
        bound,
        frames=arguments.frames // 2,
        seeds=arguments.seeds,
        only=arguments.only,
        say=say,
    )
    return found


def measure(stage: Stage, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything for one scene, and print the results as they become available."""
    begin = time.time()
    found: dict[str, Any] = {"scene": stage.name, "width": stage.width, "height": stage.reference.first.shape[0]}
    found |= {"reference_samples": stage.reference.samples, "reference_error": stage.reference.error}
    if stage.name == DIRECT:
        found["direct"] = show_direct(stage, arguments.times[0])
    elif arguments.ablations:
        found["ablations"] = show_ablations(stage, arguments)
    else:
        parts = {
            "quality": lambda: show_quality(stage, arguments),
            "cost": lambda: show_costs(stage, arguments.rounds),
            "encodings": lambda: show_encodings(stage, arguments.frames // 4),
            "equal-time": lambda: show_race(stage, arguments.times),
        }
        found |= {part: parts[part]() for part in arguments.parts}
    print(f"  {time.time() - begin:.0f} s")
    return found


def read_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--scenes",
        nargs="+",
        metavar="NAME",
        help=f"names of scenes, or files (default: the usual four; {DIRECT} is lit directly)",
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="the parts to measure (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="only this project's scenes, at a smaller size and for less time"
    )
    parser.add_argument(
        "--ablations", action="store_true", help="measure the effect of each part of the cache instead, in door-ajar"
    )
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="only these variants of --ablations")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds for --ablations")
    parser.add_argument(
        "--times", type=float, nargs="+", metavar="SECONDS", help="times of equal-time runs (default: 10 60)"
    )
    parser.add_argument("--frames", type=int, help="frames that are compared with the reference (default: 64)")
    parser.add_argument("--rounds", type=int, default=9, help="number of timings for each median")
    parser.add_argument(
        "--width",
        type=int,
        help=f"width of all films (default: {WIDTH} for this project's scenes, {GIVEN_WIDTH} for others)",
    )
    parser.add_argument("--threads", type=int, default=core_count())
    parser.add_argument("--references", type=Path, default=usual_cache_folder(), help="folder of stored references")
    parser.add_argument("--reference-seconds", type=float, help="time for rendering a missing reference (default: 240)")
    parser.add_argument(
        "--json",
        nargs="?",
        type=Path,
        const=Path(),
        help="write results to this file, or without a name to benchmarks/results",
    )
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.times = sorted(arguments.times or ([2.0, 6.0] if quick else [10.0, 60.0]))
    arguments.frames = arguments.frames or (32 if quick else 64)
    arguments.split_frames = max(8, arguments.frames // 2)
    arguments.reference_seconds = arguments.reference_seconds or (20.0 if quick else 240.0)
    return arguments


def main() -> None:
    """Measure, print and write the results."""
    arguments = read_arguments()
    machine = describe_machine(("nrc-tracer", "warp-lang", "torch")) | {"device": "cpu", "threads": arguments.threads}
    print(", ".join(f"{k} {v}" for k, v in machine.items()))
    start, results = time.time(), []
    names = arguments.scenes
    if not names:
        names = [OWN[0]] if arguments.ablations else [*(OWN if arguments.quick else usual_scenes()), DIRECT]
    for name in names:
        own = (Path(__file__).parent.parent / "scenes" / f"{name}.json").is_file()
        width = arguments.width or (QUICK_WIDTH if arguments.quick else WIDTH if own else GIVEN_WIDTH)
        stage = open_stage(
            name,
            width=width,
            folder=arguments.references,
            seconds=arguments.reference_seconds,
            threads=arguments.threads,
        )
        if stage is not None:
            results.append(measure(stage, arguments))
    print(f"\n{time.time() - start:.0f} s in total")
    if arguments.json is not None:
        kind = "cache-ablations" if arguments.ablations else "cache"
        file = (
            RESULTS / f"{kind}-{device_slug(None, arguments.threads)}.json"
            if arguments.json == Path()
            else arguments.json
        )
        settings = {key: getattr(arguments, key) for key in ("times", "frames", "split_frames", "rounds", "quick")}
        document = {"machine": machine, "settings": settings, "results": results}
        file.write_text(json.dumps(document, indent=1) + "\n")
        print(f"written to {file}")


if __name__ == "__main__":
    main()
