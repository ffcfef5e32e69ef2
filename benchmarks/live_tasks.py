"""The viewer of models and tasks, measured by a real websocket client.

    python -m benchmarks.live_tasks [--cases fox armadillo image] [--size 320 180] [--json [FILE]]

* `fox`: from the start of the training, the seconds of training at the picture that is written to `--pictures`, and the fraction
  of steps per second that a page with a still camera costs; then, with the training paused, frames per second while moving.
* `armadillo`: how well the outline of the picture that a page has after 5 s agrees with that of the mesh (intersection over
  union), and the time until they agree to 0.9.
* `image`: frames per second of panning and zooming over an image of 469 million pixels, of the fitted image and of its source.

Data come from `NRC_DATA`. The image repeats the largest one there, in a temporary file of 1.4 GB.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from benchmarks.data import data_folder
from benchmarks.machine import core_count, describe_machine, device_slug
from benchmarks.page_client import Arrival, PageClient
from nrc_tracer.live.task_edits import Pause
from nrc_tracer.live.task_viewing import training_world, view_world
from nrc_tracer.live.task_world import TaskWorld
from nrc_tracer.live.view import View
from nrc_tracer.live.web.binding import bound_socket
from nrc_tracer.live.web.cameras import pose_of
from nrc_tracer.live.web.viewer import Viewer
from nrc_tracer.live.world import Budget
from nrc_tracer.tasks.image.fit import ImageTask
from nrc_tracer.tasks.image.opening import open_source
from nrc_tracer.tasks.nerf.fit import NerfTask
from nrc_tracer.tasks.nerf.reading import read_views
from nrc_tracer.tasks.sdf.fit import SdfTask
from nrc_tracer.tasks.sdf.mesh import load_unit_mesh
from nrc_tracer.tasks.task import Task
from nrc_tracer.tasks.training import Training

RESULTS = Path(__file__).parent / "results"
MOVES_PER_SECOND = 60.0
PATIENCE = 60.0
RECOGNISABLE = 15.0
"""Time of training after which the fox is looked at [s]."""
SHAPE = 5.0
"""Time after the start of the page at which the armadillo is looked at [s]."""
TURN = 8.0
"""Time of a phase in which something is counted [s]."""
SIDE = 21_650
"""Side of the large image [pixels]: 469 million pixels in all."""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--size", type=int, nargs=2, default=(320, 180), metavar=("WIDTH", "HEIGHT"), help="pixels")
    parser.add_argument("--pictures", type=Path, help="folder for the pictures that have arrived")
    parser.add_argument("--json", nargs="?", const="", metavar="FILE", help="write the results")
    options = parser.parse_args()
    found = {}
    for name in options.cases:
        found[name] = CASES[name]((options.size[0], options.size[1]), options.pictures)
        print(name, json.dumps(found[name]), flush=True)
    if options.json is not None:
        file = Path(options.json or RESULTS / f"live-tasks-{device_slug(None, core_count())}.json")
        known = json.loads(file.read_text())["cases"] if file.exists() else {}
        result = {"machine": describe_machine(("warp-lang", "torch", "viser")), "cases": {**known, **found}}
        file.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {file}")


@contextlib.contextmanager
def viewed(task: Task, name: str) -> Iterator[tuple[TaskWorld, Viewer]]:
    """The viewer of a task in training without end."""
    world = training_world(task, Training(task, seconds=math.inf))
    with view_world(world, name, bound_socket("127.0.0.1", 0)) as viewer:
        yield world, viewer


def page(world: TaskWorld, viewer: Viewer, size: tuple[int, int]) -> PageClient:
    """A page with a window of this size, whose first picture has arrived."""
    start = world.start
    client = PageClient(viewer.url, size, pose_of(start.camera, start.width / start.height, world.bounds))
    if not client.wait(lambda c: "Resolution" in c.controls, PATIENCE):
        raise SystemExit("the page has no controls")
    client.choose("Resolution", "full")
    return client


def frames_per_second(client: PageClient, move: Callable[[float], None]) -> tuple[float, list[Arrival]]:
    """Pictures per second while something moves, after a second, and the pictures."""
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < TURN + 1.0:
        move(now)
        time.sleep(1.0 / MOVES_PER_SECOND)
    arrivals = client.since(start + 1.0)
    return (len(arrivals) - 1) / (arrivals[-1].time - arrivals[0].time), arrivals


def keep(arrival: Arrival, folder: Path | None, name: str) -> None:
    """Write a picture that has arrived."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(arrival.pixels()).save(folder / f"{name}.png")


def fox(size: tuple[int, int], pictures: Path | None) -> dict[str, Any]:
    """A radiance field."""
    task = NerfTask(read_views(data_folder() / "nerf" / "fox"))
    with viewed(task, "fox") as (world, viewer):
        client = page(world, viewer, size)
        training = world.training
        assert training is not None
        while training.progress.seconds < RECOGNISABLE:
            time.sleep(0.02)
        early = client.since(0.0)[-1]
        keep(early, pictures, "fox-early")
        rates: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(2):
            for is_watched in (True, False):
                if is_watched and client is None:
                    client = page(world, viewer, size)
                elif not is_watched:
                    client.close()
                    client = None
                    while viewer.pages:
                        time.sleep(0.02)
                start, steps = time.perf_counter(), training.progress.steps
                time.sleep(TURN)
                rates[is_watched].append((training.progress.steps - steps) / (time.perf_counter() - start))
        client = page(world, viewer, size)
        viewer._session.edit(Pause(True))
        client.wait(lambda c: c.arrivals and c.arrivals[-1].kind == "png", PATIENCE)
        keep(client.since(0.0)[-1], pictures, "fox")
        rate, arrivals = frames_per_second(client, lambda now: client.turn(8.0 * math.sin(now)))
        client.close()
        watched, alone = (sum(rates[key]) / len(rates[key]) for key in (True, False))
        return {
            "training at the early picture [s]": round(RECOGNISABLE, 1),
            "size of the early picture": list(early.pixels().shape[1::-1]),
            "score of the field [dB]": None if world.score.last is None else round(world.score.last, 2),
            "steps/s, watched": round(watched, 2),
            "steps/s, alone": round(alone, 2),
            "slowed by being watched [%]": round(100.0 * (1.0 - watched / alone), 1),
            "frames/s moving": round(rate, 1),
            "size of moving frames": list(arrivals[-1].pixels().shape[1::-1]),
        }


def armadillo(size: tuple[int, int], pictures: Path | None) -> dict[str, Any]:
    """A signed distance."""
    task = SdfTask(load_unit_mesh(data_folder() / "sdf" / "armadillo.obj"))
    probe = training_world(task, Training(task))
    outline = foreground(drawn(probe, size, "mesh"))
    start = time.perf_counter()
    with viewed(task, "armadillo") as (world, viewer):
        client = page(world, viewer, size)

        def agreement(arrival: Arrival) -> float:
            found = foreground(np.asarray(PIL.Image.fromarray(arrival.pixels()).resize(size)))
            return float((found & outline).sum() / (found | outline).sum())

        time.sleep(max(0.0, start + SHAPE - time.perf_counter()))
        early = client.since(0.0)[-1]
        keep(early, pictures, "armadillo-early")
        if not client.wait(lambda c: c.arrivals and agreement(c.arrivals[-1]) > 0.9, PATIENCE):
            raise SystemExit("the shape did not appear")
        arrival = client.since(0.0)[-1]
        keep(arrival, pictures, "armadillo")
        training = world.training
        assert training is not None
        seconds = training.progress.seconds
        client.close()
    return {
        "outline after 5 s [IoU]": round(agreement(early), 3),
        "size of the picture after 5 s": list(early.pixels().shape[1::-1]),
        "outline of 0.9 after [s]": round(arrival.time - start, 2),
        "outline of 0.9 after training [s]": round(seconds, 2),
    }


def drawn(world: TaskWorld, size: tuple[int, int], layer: str) -> np.ndarray:
    """A layer from the first camera, uint8 [height, width, 3]."""
    view = View(world.start.camera, *size, layer=layer)
    picture = world.draw("probe", view, Budget(*size, seconds=1e3, most_samples=1))
    assert picture is not None
    return picture.pixels


def foreground(pixels: np.ndarray) -> np.ndarray:
    """Where a picture differs from the background, whose rows have one colour each, bool [height, width]."""
    difference = np.abs(pixels.astype(int) - pixels[:, :1].astype(int)).max(axis=2)
    return difference > 24


def image(size: tuple[int, int], pictures: Path | None) -> dict[str, Any]:
    """A fitted image of 469 million pixels, and its source."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.npy"
        write_large(path)
        task = ImageTask(open_source(path, 4 * 2**30), memory=4 * 2**30)
        with viewed(task, "large") as (world, viewer):
            client = page(world, viewer, size)
            start = world.training
            assert start is not None
            while start.progress.steps < 40:
                time.sleep(0.02)
            viewer._session.edit(Pause(True))
            for label in ("fit", "source"):
                client.choose("Show", label)
                rate, arrivals = frames_per_second(client, lambda now: look_at_image(client, size, now))
                keep(arrivals[-1], pictures, f"image-{label}")
                found[f"frames/s, {label}"] = round(rate, 1)
                found[f"size of moving frames, {label}"] = list(arrivals[-1].pixels().shape[1::-1])
            client.close()
            found["megapixels"] = round(task.source.pixels / 1e6)
            found["parameters"] = task.trainer.model.n_params
    return found


def write_large(path: Path) -> None:
    """Write an array of `SIDE` x `SIDE` pixels that repeats the largest image of the data."""
    source = open_source(data_folder() / "image" / "iss_window_8256x5504.jpg", 4 * 2**30)
    large = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(SIDE, SIDE, 3))
    columns = np.arange(SIDE) % source.width
    for top in range(0, SIDE, 512):
        rows = np.arange(top, min(top + 512, SIDE)) % source.height
        for row, y in enumerate(rows):
            large[top + row] = source.read(0, int(y), source.width, 1)[0][columns]
    large.flush()


def look_at_image(client: PageClient, size: tuple[int, int], now: float) -> None:
    """Pan in a circle, and zoom between the whole image and single pixels."""
    distance = 1000.0 * 2.0 ** (-5.0 * (1.0 - math.cos(2.0 * now)))
    x, y = 200.0 * math.cos(now), 200.0 * math.sin(now)
    client.send(
        type="ViewerCameraMessage",
        wxyz=[0.0, 1.0, 0.0, 0.0],
        position=[x, y, distance],
        look_at=[x, y, 0.0],
        up_direction=[0.0, 1.0, 0.0],
        fov=math.radians(45.0),
        near=0.01,
        far=1000.0,
        image_width=size[0],
        image_height=size[1],
    )


CASES: dict[str, Callable[[tuple[int, int], Path | None], dict[str, Any]]] = {
    "fox": fox,
    "armadillo": armadillo,
    "image": image,
}

if __name__ == "__main__":
    main()
