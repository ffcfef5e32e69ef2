"""Frames with the radiance cache take turns with uncached ones: milliseconds of their parts, frames and segments per second."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nrc_tracer as nrc
from benchmarks.cache_costs import measure_costs
from benchmarks.cache_references import Stage
from benchmarks.data import find_scene
from benchmarks.scenes import rippled_ball

OWN = ("cornell-box", "door-ajar")
BALL = (354, 354)
"""Rows and columns of vertices, which give 250 thousand triangles."""
ENCODINGS = ("hash", "triangle-wave")
"""The second encoding is that of the paper, with a network of five layers of 64."""

COLUMNS = ("uncached", "trace", "query", "training", "both", "frame", "frames/s", "queries/path", "M segments/s")
COLUMNS += ("records in steps",)
"""Columns of the table. `both` is query plus training, and `frame` a whole frame after the warm-up, with its part of training."""


def stages(device: str, size: tuple[int, int]) -> Iterator[Stage]:
    """Yield the scenes of the benchmark."""
    width, height = size
    for name in OWN:
        yield Stage(name, nrc.load_scene(find_scene(name)), width, height=height, device=device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ball.xml"
        path.write_text(rippled_ball(Path(folder), width, *BALL))
        scene = nrc.load_scene(path)
    yield Stage(f"ball of {2 * (BALL[0] - 1) * (BALL[1] - 1):,} triangles", scene, width, height=height, device=device)


def measure_frames(device: str, size: tuple[int, int], rounds: int) -> list[dict[str, Any]]:
    """Measure the times of frames in each scene with each encoding, and print a table.

    Args:
        device: The device to render on.
        size: Size of the frames [pixels].
        rounds: Number of frames of each kind, whose times are reduced to medians.
    """
    print(f"\n{f'ms of {size[0]} x {size[1]} frames':<40}" + "".join(f"{name:>{len(name) + 2}}" for name in COLUMNS))
    rows = []
    # Fused networks and recorded frames are emulated on the CPU, so their times there mean nothing
    kinds = list(itertools.product(ENCODINGS, (False, True) if device.startswith("cuda") else (False,)))
    for stage in stages(device, size):
        for encoding, fused in kinds:
            costs = measure_costs(stage, rounds, encoding=encoding, fused=fused)
            plain = costs["uncached_frame_seconds"]
            seconds = {name: plain * costs[name] for name in ("trace", "query", "training", "query_and_training")}
            frame = plain * costs["cached_frame"]
            segments = costs["segments_per_path"] * size[0] * size[1] / frame
            cells = [f"{1e3 * value:.2f}" for value in (plain, *seconds.values(), frame)]
            cells += [f"{1.0 / frame:.1f}", f"{costs['queries_per_path']:.3f}", f"{segments / 1e6:.1f}"]
            cells.append(f"{costs['records']:,} in {costs['steps']}")
            line = "".join(f"{cell:>{len(name) + 2}}" for cell, name in zip(cells, COLUMNS, strict=True))
            label = f"{stage.name}, {encoding}{', fused' if fused else ''}"
            print(f"{label:<40}{line}", flush=True)
            row = {
                "scene": stage.name,
                "encoding": encoding,
                "fused": fused,
                "size": size,
                "uncached_seconds": plain,
                "seconds": seconds,
            }
            row |= {"frame_seconds": frame, "segments_per_second": segments}
            rows.append(row | {name: costs[name] for name in ("records", "steps", "queries_per_path")})
    return rows
