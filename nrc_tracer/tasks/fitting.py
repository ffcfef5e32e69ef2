"""Fitting a model to an image, a shape or photographs with one call."""

from __future__ import annotations

import math
import operator
import os
import time as clock
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, SupportsIndex, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike

from nrc_tracer.errors import ConfigError, SnapshotError
from nrc_tracer.files.atomic import check_place
from nrc_tracer.imaging import Image
from nrc_tracer.interruption import InterruptedWarning
from nrc_tracer.nn.config import ModelConfig
from nrc_tracer.tasks.image import fit as image_fit
from nrc_tracer.tasks.image.arrays import array_source
from nrc_tracer.tasks.image.memory import default_memory, parse_bytes
from nrc_tracer.tasks.image.neural_image import NeuralImage
from nrc_tracer.tasks.image.opening import open_source
from nrc_tracer.tasks.image.pixels import Space
from nrc_tracer.tasks.nerf import fit as nerf_fit
from nrc_tracer.tasks.nerf.neural_scene import NeuralScene
from nrc_tracer.tasks.nerf.reading import read_views
from nrc_tracer.tasks.nerf.views import Views
from nrc_tracer.tasks.sdf import fit as sdf_fit
from nrc_tracer.tasks.sdf.mesh import UnitMesh, load_unit_mesh, unit_mesh
from nrc_tracer.tasks.sdf.shape import NeuralShape
from nrc_tracer.tasks.task import Task
from nrc_tracer.tasks.training import Watch, train

PathLike = str | os.PathLike[str]
Config = PathLike | Mapping[str, Any] | ModelConfig
"""Configuration of model and training in tiny-cuda-nn's JSON: a file, its contents, or a `ModelConfig`."""

SNAPSHOT_EVERY = 60.0
"""Seconds between snapshots during training."""

M = TypeVar("M", NeuralImage, NeuralShape, NeuralScene)


@dataclass(frozen=True)
class Fit(Generic[M]):
    """A fitted model, with scores and figures of its training.

    Attributes:
        model: What has been learnt: a `NeuralImage`, `NeuralShape` or `NeuralScene`.
        scores: Scores on held-out samples, such as `psnr` in dB, or `iou` and `mae`.
        steps: Number of steps in all, including those before `resume`.
        seconds: Time of this run's steps.
        loss: Mean loss of the last steps; NaN if this run took none.
        finished: Whether the training reached its end, without Ctrl-C and without the progress callback ending it.
        task: The task itself, with which training can be continued (`nrc_tracer.tasks.training.train`).
    """

    model: M
    scores: dict[str, float]
    steps: int
    seconds: float
    loss: float
    finished: bool
    task: Task

    def save(self, path: PathLike) -> Path:
        """Write a snapshot that `nrc_tracer.tasks.load` and `nrc-tracer decode` read, and from which training can be resumed.

        Raises:
            SnapshotError: The file cannot be written.
        """
        return self.task.save(path)

    def evaluate(self) -> dict[str, Any]:
        """The final scores from all held-out samples; may take minutes."""
        return self.task.evaluate()


def fit_image(
    image: PathLike | Image | np.ndarray,
    *,
    steps: SupportsIndex | None = None,
    seconds: float | None = None,
    space: Space | None = None,
    config: Config | None = None,
    batch: SupportsIndex | None = None,
    bilinear: bool = False,
    memory: SupportsIndex | str | None = None,
    device: str | torch.device | None = None,
    threads: SupportsIndex | None = None,
    seed: SupportsIndex = 1337,
    progress: Watch | None = None,
    snapshot: PathLike | None = None,
    resume: bool = False,
) -> Fit[NeuralImage]:
    """Learn the colours of an image by their positions.

    Training ends after `steps` or `seconds`, whichever comes first; without either, after 10,000 steps. Ctrl-C ends it after the
    current step: what has been learnt so far is returned, with the warning `InterruptedWarning`.

    Args:
        image: A file (TIFF, BigTIFF, EXR, PNG, JPEG, BMP, TGA, HDR, .npy) of any size, an `Image`, or an array [height, width] or
            [height, width, 1 to 4]: uint8 or uint16 (sRGB), float16 or float32 (linear light). Alpha is ignored.
        steps: Number of steps to end at, including those before `resume`.
        seconds: Training time, without compilation, scores and snapshots.
        space: Colour space of training, `srgb` or `linear`; the image's own if None.
        config: Configuration of model and training; chosen from the image's size if None.
        batch: Samples per step, a power of two; chosen for the device and the image if None.
        bilinear: Draw samples between pixels instead of at their centres.
        memory: Memory budget in bytes, or as text such as "1GiB"; half of the free memory if None. It decides the size of the
            model's table, and whether samples come from the whole image or from a moving set of its tiles.
        device: Torch device; CUDA if available, if None.
        threads: Threads on the CPU; one per core if None.
        seed: Seed of parameters and samples.
        progress: Called before the first step and after each with a `TrainingProgress`; ends the training by returning True.
        snapshot: File to keep the model and its training in, written every minute and at the end.
        resume: Go on from `snapshot`, to the same bits as without the stop.

    Returns:
        The fitted image, with its PSNR in dB as score.

    Raises:
        DataError: The image cannot be read, or does not fit into the memory.
        ConfigError: A number is out of range, or the configuration cannot be read.
        DeviceError: There is no such device.
        SnapshotError: The snapshot cannot be written, or it cannot be resumed with these data and options.
        KeyboardInterrupt: Ctrl-C was pressed before the first step, or twice.
    """
    budget = _budget(memory)
    if isinstance(image, Image):
        source = array_source(image.rgb, "image")
    elif isinstance(image, np.ndarray):
        source = array_source(image)
    else:
        source = open_source(image, budget)
    task = image_fit.ImageTask(
        source,
        space=space,
        config=config,
        batch=_optional("batch", batch),
        bilinear=bilinear,
        memory=budget,
        device=device,
        threads=_optional("threads", threads),
        seed=_integer("seed", seed, least=0),
    )
    run = _run(task, steps, seconds, image_fit.STEPS, progress, snapshot, resume)
    return Fit(task.image, *run, task)


def fit_sdf(
    mesh: PathLike | tuple[ArrayLike, ArrayLike] | UnitMesh,
    *,
    steps: SupportsIndex | None = None,
    seconds: float | None = None,
    sign: Literal["auto", "normal", "parity", "winding"] = "auto",
    config: Config | None = None,
    batch: SupportsIndex | None = None,
    device: str | torch.device | None = None,
    threads: SupportsIndex | None = None,
    seed: SupportsIndex = 1337,
    progress: Watch | None = None,
    snapshot: PathLike | None = None,
    resume: bool = False,
) -> Fit[NeuralShape]:
    """Learn the signed distance to a mesh.

    Training ends after `steps` or `seconds`, whichever comes first; without either, after 11,000 steps. Ctrl-C ends it after the
    current step: what has been learnt so far is returned, with the warning `InterruptedWarning`.

    Args:
        mesh: A mesh file (.obj, .ply, .stl, .glb, .gltf), or vertices [V, 3] and triangles [T, 3] as arrays.
        sign: How inside is told from outside: by the `normal` at the nearest point, by the `parity` of ray crossings, or by the
            `winding` number; `auto` chooses by the soundness of the mesh.
        config: Configuration of model and training; the paper's model if None.
        batch: Samples per step, at least 64; chosen for the device if None.
        steps, seconds, device, threads, seed, progress, snapshot, resume: As for `fit_image`.

    Returns:
        The fitted shape. Its scores are `iou`, intersection over union in the mesh's bounding box, and `mae`, mean absolute error
        of the distance in unit cubes, whose side is the mesh's longest side over 0.9.

    Raises:
        DataError: The mesh cannot be read, or encloses no volume.
        ConfigError, DeviceError, SnapshotError, KeyboardInterrupt: As for `fit_image`.
    """
    if isinstance(mesh, tuple):
        positions, indices = mesh
        mesh = unit_mesh(np.asarray(positions), np.asarray(indices))
    elif not isinstance(mesh, UnitMesh):
        mesh = load_unit_mesh(mesh)
    task = sdf_fit.SdfTask(
        mesh,
        config=config,
        batch=_optional("batch", batch),
        sign=sign,
        device=device,
        threads=_optional("threads", threads),
        seed=_integer("seed", seed, least=0),
    )
    run = _run(task, steps, seconds, sdf_fit.STEPS, progress, snapshot, resume)
    return Fit(task.shape, *run, task)


def fit_nerf(
    views: PathLike | Views,
    *,
    steps: SupportsIndex | None = None,
    seconds: float | None = None,
    aabb_scale: float | None = None,
    scale: float | None = None,
    offset: Sequence[float] | None = None,
    images: PathLike | None = None,
    near: float = nerf_fit.NEAR,
    background: Literal["random", "black"] = "random",
    refine_poses: bool = False,
    refine_exposure: bool = False,
    config: Config | None = None,
    batch: SupportsIndex | None = None,
    device: str | torch.device | None = None,
    threads: SupportsIndex | None = None,
    seed: SupportsIndex = 1337,
    progress: Watch | None = None,
    snapshot: PathLike | None = None,
    resume: bool = False,
) -> Fit[NeuralScene]:
    """Learn a scene, as a radiance field, from photographs with known cameras.

    Training ends after `steps` or `seconds`, whichever comes first; without either, after 6,000 steps on the CPU and 35,000 on
    CUDA. Ctrl-C ends it after the current step: what has been learnt so far is returned, with the warning `InterruptedWarning`.

    Args:
        views: A transforms.json (of instant-ngp, nerfstudio or Blender), a folder with one, or a COLMAP model with its images.
        aabb_scale: Side of the cube that holds the scene in unit cubes; the data's if None.
        scale: Factor from the data's units to unit cubes; the data's, or chosen from the cameras, if None.
        offset: Position of the data's origin in unit-cube space; the data's, or chosen from the cameras, if None.
        images: Folder of the photographs, if it is not the one that the data name. These four are for data read from a path.
        near: Distance from a camera at which its rays start, in unit cubes.
        background: What training lays behind the scene: a `random` colour for each ray, or `black`.
        refine_poses: Correct the cameras during training.
        refine_exposure: Correct the exposures of opaque photographs during training.
        config: Configuration of model and training; chosen for the scene's size and the device if None.
        batch: Approximate number of visible samples per step; chosen for the device if None.
        steps, seconds, device, threads, seed, progress, snapshot, resume: As for `fit_image`.

    Returns:
        The fitted scene, with its PSNR in dB on the held-out photographs as score: `psnr`, or `psnr_black` and `psnr_white` for
        transparent ones; no score if none are held out.

    Raises:
        DataError: The photographs cannot be read, or do not go with the options.
        ConfigError, DeviceError, SnapshotError, KeyboardInterrupt: As for `fit_image`.
    """
    if not isinstance(views, Views):
        views = read_views(views, aabb_scale=aabb_scale, scale=scale, offset=offset, images=images)
    elif any(option is not None for option in (aabb_scale, scale, offset, images)):
        raise ConfigError(
            "aabb_scale, scale, offset, images: are for data read from a path; these views have their own"
        )
    task = nerf_fit.NerfTask(
        views,
        config,
        options=nerf_fit.NerfOptions(
            near=near,
            batch=_optional("batch", batch),
            background=background,
            refine_poses=refine_poses,
            refine_exposure=refine_exposure,
        ),
        device=device,
        threads=_optional("threads", threads),
        seed=_integer("seed", seed, least=0),
    )
    default_steps = nerf_fit.STEPS[task.launcher.torch_device.type]
    run = _run(task, steps, seconds, default_steps, progress, snapshot, resume)
    return Fit(task.scene, *run, task)


def _run(
    task: Task,
    steps: SupportsIndex | None,
    seconds: float | None,
    default_steps: int,
    progress: Watch | None,
    snapshot: PathLike | None,
    resume: bool,
) -> tuple[dict[str, float], int, float, float, bool]:
    """Train a task. Returns its scores, steps, seconds and loss, and whether it finished."""
    end = _optional("steps", steps)
    if seconds is not None and not 0.0 < seconds < math.inf:
        raise ConfigError(f"seconds: must be above 0, not {seconds}")
    if end is None and seconds is None:
        end = default_steps
    path = None if snapshot is None else Path(snapshot)
    if path is not None:
        check_place(path, error=SnapshotError)
    if resume:
        if path is None:
            raise SnapshotError("resume: there is nothing to continue from; give a snapshot")
        task.resume(path)
    task.compile()
    saved = clock.perf_counter()

    def watch(state: Any) -> object:
        nonlocal saved
        if path is not None and state.steps and clock.perf_counter() - saved >= SNAPSHOT_EVERY:
            task.save(path)
            saved = clock.perf_counter()
        return None if progress is None else progress(state)

    done = train(task, steps=end, seconds=seconds, watch=watch)
    if done.interrupted and not task.number:
        raise KeyboardInterrupt
    if path is not None:
        task.save(path)
    if done.interrupted:
        words = f"interrupted after {task.number:,} steps: the result is what had been learnt by then"
        warnings.warn(words, InterruptedWarning, stacklevel=3)
    return task.score(), task.number, done.seconds, done.loss, done.finished


def _optional(name: str, value: SupportsIndex | None, least: int = 1) -> int | None:
    return None if value is None else _integer(name, value, least)


def _integer(name: str, value: SupportsIndex, least: int) -> int:
    """An integer of Python or NumPy. Raises `ConfigError` if it is not one, or below `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ConfigError(f"{name}: expected an integer of at least {least}, not {value!r:.40}") from None
    if number < least:
        raise ConfigError(f"{name}: expected an integer of at least {least}, not {number}")
    return number


def _budget(memory: SupportsIndex | str | None) -> int:
    """A memory budget in bytes. Raises `DataError` if it is not a size, or too small."""
    if memory is None:
        return default_memory()
    return parse_bytes(memory if isinstance(memory, str) else str(_integer("memory", memory, least=1)))
