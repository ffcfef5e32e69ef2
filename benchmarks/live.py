"""The viewer, measured by a real websocket client: frames per second while moving, latency, time to the first picture.

    python -m benchmarks.live [--scenes door-ajar cornell-box] [--size 320 180] [--seconds 6] [--json [FILE]]

* `first picture`: from the start of the command `nrc-tracer view` until its first picture has arrived, with compiled kernels.
* `frames/s`: pictures that arrive while the camera turns, and their size.
* `latency`: from a move of the camera at rest until the first picture of it has arrived, median and 90th percentile.
* `error`: relMSE of a moving frame after a turn, against that of one path-traced frame in the same time, both relative to a
  path-traced reference. An uncached frame that takes n times as long counts with n times its error.

Scenes are those of `scenes/`, and Mitsuba's published ones from `NRC_DATA`. JSON of several runs is merged by scene.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

import nrc_tracer as nrc
from benchmarks.data import find_scene
from benchmarks.machine import core_count, describe_machine, device_slug
from benchmarks.page_client import PageClient
from nrc_tracer.live.scene_world import SceneWorld
from nrc_tracer.live.view import PictureMode, View
from nrc_tracer.live.web.cameras import pose_of
from nrc_tracer.live.world import Budget
from nrc_tracer.scene.model import Camera, Rotate

RESULTS = Path(__file__).parent / "results"
PATIENCE = 60.0
MOVES_PER_SECOND = 60.0
REPEATS = 15


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=["door-ajar", "cornell-box"])
    parser.add_argument("--size", type=int, nargs=2, default=(320, 180), metavar=("WIDTH", "HEIGHT"), help="pixels")
    parser.add_argument("--seconds", type=float, default=6.0, help="time of the turn [s]")
    parser.add_argument("--learning", type=float, default=8.0, help="time that the cache has to learn before [s]")
    parser.add_argument("--reference", type=int, default=256, help="samples per pixel of the reference; 0: no errors")
    parser.add_argument("--json", nargs="?", const="", metavar="FILE", help="write the results")
    options = parser.parse_args()
    size = (options.size[0], options.size[1])
    found = {}
    for name in options.scenes:
        path = find_scene(name)
        if path is None:
            print(f"{name}: not found, skipped")
            continue
        row = page_figures(path, size, options.seconds, options.learning)
        if options.reference:
            row |= error_figures(path, size, options.reference, options.learning)
        found[name] = row
        print(name, json.dumps(row), flush=True)
    if options.json is not None and found:
        file = Path(options.json or RESULTS / f"live-{device_slug(None, core_count())}.json")
        known = json.loads(file.read_text())["scenes"] if file.exists() else {}
        result = {"machine": describe_machine(("warp-lang", "torch", "viser")), "scenes": {**known, **found}}
        file.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {file}")


def page_figures(path: Path, size: tuple[int, int], seconds: float, learning: float) -> dict[str, Any]:
    """Start the command and measure what a page sees."""
    scene = nrc.load_scene(path)
    pose = pose_of(scene.description.camera, size[0] / size[1])
    start = time.perf_counter()
    # fmt: off
    command = [
        sys.executable, "-m", "nrc_tracer", "view", str(path), "--port", "0", "--fps", "30", "--quiet",
        "--width", str(size[0]), "--height", str(size[1]),
    ]
    # fmt: on
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            client = PageClient(server.stdout.readline().strip(), size, pose)
            if not client.wait(lambda c: c.arrivals, PATIENCE):
                raise SystemExit(f"{path}: no picture within {PATIENCE:g} s")
            first = client.arrivals[0].time - start
            client.choose("Resolution", "full")
            time.sleep(learning)
            moving = turn(client, seconds)
            latencies = sorted(latency(client, number) for number in range(REPEATS))
            client.close()
        finally:
            server.terminate()
    return {
        "first picture [s]": round(first, 2),
        "frames/s": round((len(moving) - 1) / (moving[-1].time - moving[0].time), 1),
        "size of moving frames": list(moving[-1].pixels().shape[1::-1]),
        "latency [ms]": round(1e3 * statistics.median(latencies)),
        "latency, 90th percentile [ms]": round(1e3 * latencies[int(0.9 * len(latencies))]),
    }


def turn(client: PageClient, seconds: float) -> list[Any]:
    """Turn the camera to and fro; return the pictures that have arrived after the first second."""
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < seconds + 1.0:
        client.turn(15.0 * math.sin(now))
        time.sleep(1.0 / MOVES_PER_SECOND)
    return client.since(start + 1.0)


def latency(client: PageClient, number: int) -> float:
    """Time from a move at rest until the first picture of it has arrived [s]."""
    rested = time.perf_counter()
    if not client.wait(lambda c: c.arrivals[-1].kind == "png" and c.arrivals[-1].time > rested, PATIENCE):
        raise SystemExit("the picture did not become still")
    start = time.perf_counter()
    client.turn(5.0 + (number % 2))
    client.wait(lambda c: any(a.kind == "jpeg" and a.time > start for a in reversed(c.arrivals)), PATIENCE)
    return next(a.time for a in client.since(start) if a.kind == "jpeg") - start


def error_figures(path: Path, size: tuple[int, int], samples: int, learning: float) -> dict[str, Any]:
    """The error of a moving frame with the cache against path-traced frames of equal cost."""
    scene = nrc.load_scene(path)
    width, height = size
    world = SceneWorld(scene, cache=nrc.RadianceCache(), max_depth=-1, width=width, height=height)
    world.renderer.compile()
    budget = Budget(width, height, is_moving=True, seconds=0.0)
    views = [
        dataclasses.replace(world.start, camera=turned(world.start.camera, degrees), width=width, height=height)
        for degrees in np.arange(0.0, 12.0, 0.5)
    ]
    world.draw("a", views[0], budget)
    end = time.perf_counter() + learning
    while time.perf_counter() < end:
        if world.is_training:
            world.advance(0.1)
        else:
            world.draw("a", views[0], Budget(width, height, seconds=0.1))
    seconds = [timed(world, "a", view, budget)[0] for view in views]
    moving = radiance(world, "a")
    last = dataclasses.replace(views[-1], mode=PictureMode.OFF)
    plain, errors = [], []
    reference = nrc.render(
        scene, camera=last.camera, width=width, height=height, spp=samples, max_depth=-1, seed=99
    ).rgb
    for number in range(4):  # each a new client, which has no history
        plain.append(timed(world, f"plain {number}", last, budget)[0])
        errors.append(relative_error(radiance(world, f"plain {number}"), reference))
    cost = statistics.median(seconds[4:]) / statistics.median(plain[1:])
    equal = statistics.mean(errors) / cost
    return {
        "time of a moving frame [ms]": round(1e3 * statistics.median(seconds[4:])),
        "time of a path-traced frame [ms]": round(1e3 * statistics.median(plain[1:])),
        "error": round(relative_error(moving, reference) / equal, 3),
    }


def turned(camera: Camera, degrees: float) -> Camera:
    """A camera that is turned about its vertical axis."""
    return replace(camera, to_world=(Rotate((0.0, 1.0, 0.0), degrees), *camera.to_world))


def timed(world: SceneWorld, client: str, view: View, budget: Budget) -> tuple[float, Any]:
    """The time of a frame [s], and the frame."""
    start = time.perf_counter()
    picture = world.draw(client, view, budget)
    return time.perf_counter() - start, picture


def radiance(world: SceneWorld, client: str) -> np.ndarray:
    """The linear radiance of a client's last frame, [height, width, 3]."""
    frames = world.frames(client)
    assert frames is not None
    assert frames.radiance is not None
    return frames.radiance


def relative_error(image: np.ndarray, reference: np.ndarray) -> float:
    """relMSE, of radiances that are clipped at ten times the reference's mean so that single pixels do not decide it."""
    most = 10.0 * float(reference.mean())
    image, reference = np.minimum(image, most), np.minimum(reference, most)
    return float(np.mean(np.square(image - reference) / (np.square(reference) + 1e-2 * float(reference.mean()) ** 2)))


if __name__ == "__main__":
    main()
