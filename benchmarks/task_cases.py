"""The cases of `benchmarks.tasks`: images, a shape and radiance fields, with their scores."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import data_folder
from nrc_tracer.errors import DataError
from nrc_tracer.tasks.task import Task

DATA = data_folder()
"""Folder with published images, meshes and photographs."""
CACHE = Path(os.environ.get("NRC_BENCHMARK_CACHE", "benchmark-data"))
"""Folder for data that the cases make themselves."""


@dataclass(frozen=True)
class Case:
    """A task to train.

    Attributes:
        name: Name on the command line.
        what: Description.
        seconds: Training time.
        unit: Unit of the score; higher is better.
        digits: Digits of the score after the decimal point.
        make: Makes the task on a device with a number of threads.
        score: Takes the score during training.
        final: Takes all scores at the end.
    """

    name: str
    what: str
    seconds: float
    unit: str
    digits: int
    make: Callable[[str, int], Task]
    score: Callable[[Task], float]
    final: Callable[[Task], dict[str, Any]]


def _data(folder: str, pattern: str) -> Path:
    """The first file of a folder of the published data whose name matches."""
    found = sorted((DATA / folder).glob(pattern))
    if not found:
        raise DataError(f"needs {folder}/{pattern}, which does not exist (set NRC_DATA to its folder)")
    return found[0]


# Images


def _image(path: Path, space: str | None, device: str, threads: int) -> Task:
    from nrc_tracer.tasks.image.fit import ImageTask
    from nrc_tracer.tasks.image.opening import open_source

    return ImageTask(open_source(path, 8 * 2**30), space=space, device=device, threads=threads)


def _albert(device: str, threads: int) -> Task:
    return _image(_data("image", "albert.exr"), "srgb", device, threads)


def _iss_window(device: str, threads: int) -> Task:
    """The photograph reduced to 1536 x 1024 pixels by a box filter, cropped to the central 1024 x 1024."""
    from PIL import Image

    path = CACHE / "iss_window-1024.png"
    if not path.exists():
        source = _data("image", "iss_window*")
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(source) as picture:
            reduced = picture.convert("RGB").resize((1536, 1024), Image.Resampling.BOX)
        reduced.crop((256, 0, 1280, 1024)).save(path)
    return _image(path, None, device, threads)


def _earth(device: str, threads: int) -> Task:
    return _image(_data("image", "earth_viirs*"), None, device, threads)


def _whole_image(task: Task) -> dict[str, Any]:
    from nrc_tracer.tasks.image.quality import evaluate

    scores = evaluate(task.trainer.model, task.source, task.space, release=False)
    return {name: value for name, value in scores.items() if name.startswith("psnr")}


# Shapes


def _armadillo(device: str, threads: int) -> Task:
    from nrc_tracer.tasks.sdf.fit import SdfTask
    from nrc_tracer.tasks.sdf.mesh import load_unit_mesh

    return SdfTask(load_unit_mesh(_data("sdf", "armadillo.obj")), device=device, threads=threads)


# Radiance fields


def _fox(device: str, threads: int) -> Task:
    from nrc_tracer.tasks.nerf.fit import NerfTask
    from nrc_tracer.tasks.nerf.reading import read_views

    return NerfTask(read_views(_data("nerf", "fox")), device=device, threads=threads)


def _room(device: str, threads: int) -> Task:
    """Views of one of this project's scenes, rendered by its path tracer."""
    from nrc_tracer.tasks.nerf.fit import NerfTask
    from nrc_tracer.tasks.nerf.reading import read_views

    folder = CACHE / "room"
    if not (folder / "transforms_train.json").exists():
        raise DataError(
            f"there is no data set in {folder}; make it with: nrc-tracer dataset scenes/window-room.json -o {folder} --views 100 "
            "--spp 64 --denoise"
        )
    return NerfTask(read_views(folder), device=device, threads=threads)


def _psnr(task: Task) -> float:
    return float(np.mean([value for name, value in task.score().items() if name.startswith("psnr")]))


def _test_views(task: Task) -> dict[str, Any]:
    from nrc_tracer.tasks.nerf.evaluation import summary

    return summary(task.evaluation.full())


CASES = {
    case.name: case
    for case in (
        Case("albert", "1024 x 1024 pixels, EXR in sRGB", 60.0, "dB", 2, _albert, _psnr, _whole_image),
        Case("iss-window", "1024 x 1024 pixels of a photograph", 60.0, "dB", 2, _iss_window, _psnr, _whole_image),
        Case("earth", "15,000 x 15,000 pixels", 600.0, "dB", 2, _earth, _psnr, _whole_image),
        Case(
            "armadillo",
            "signed distance of 99,976 triangles",
            180.0,
            "IoU",
            5,
            _armadillo,
            lambda task: task.score()["iou"],
            lambda task: task.evaluate(),
        ),
        Case("fox", "50 photographs, every 8th held out", 600.0, "dB", 2, _fox, _psnr, _test_views),
        Case("room", "100 views of window-room, 200 x 200", 300.0, "dB", 2, _room, _psnr, _test_views),
    )
}
