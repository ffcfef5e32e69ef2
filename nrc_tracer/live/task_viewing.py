"""Showing fitted models, tasks in training, images and photographs in the browser."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrc_tracer.errors import NrcError
from nrc_tracer.live.image_world import ImageWorld
from nrc_tracer.live.nerf_world import NerfWorld
from nrc_tracer.live.sdf_world import SdfWorld
from nrc_tracer.live.task_world import TaskWorld
from nrc_tracer.tasks.fitting import Fit
from nrc_tracer.tasks.image.arrays import array_source
from nrc_tracer.tasks.image.fit import ImageTask
from nrc_tracer.tasks.image.memory import default_memory
from nrc_tracer.tasks.image.neural_image import NeuralImage
from nrc_tracer.tasks.image.opening import open_source
from nrc_tracer.tasks.nerf.camera_path import upward
from nrc_tracer.tasks.nerf.fit import NerfTask
from nrc_tracer.tasks.nerf.neural_scene import NeuralScene
from nrc_tracer.tasks.nerf.reading import read_views
from nrc_tracer.tasks.nerf.views import Views
from nrc_tracer.tasks.sdf.fit import SdfTask
from nrc_tracer.tasks.sdf.shape import NeuralShape
from nrc_tracer.tasks.task import Task
from nrc_tracer.tasks.training import Training

if TYPE_CHECKING:
    from nrc_tracer.live.web.viewer import Viewer


def world_of(shown: Any, *, device: str | None = None, threads: int | None = None) -> TaskWorld | None:
    """The world of a model, a task, an image or photographs, or of a file that holds one; None for anything else.

    Args:
        shown: What is to be shown. A task continues its training without end.
        device: Torch device of models that are loaded; CUDA if available, if None.
        threads: Threads of these models on the CPU; one per core if None.

    Raises:
        NrcError: A file cannot be read.
    """
    import numpy as np

    from nrc_tracer.imaging import Image
    from nrc_tracer.live.path_kinds import IMAGE, PHOTOGRAPHS, SNAPSHOT, kind_of

    if isinstance(shown, str | Path):
        kind, path = kind_of(Path(shown)), Path(shown)
        if kind == SNAPSHOT:
            from nrc_tracer.tasks.ingp_models import load_ingp
            from nrc_tracer.tasks.loading import load

            is_ours = path.suffix.lower() == ".safetensors"
            shown = (load if is_ours else load_ingp)(path, device=device, threads=threads)
        elif kind == IMAGE:
            return ImageWorld(None, open_source(path, default_memory()))
        elif kind == PHOTOGRAPHS:
            shown = read_views(path)
        else:
            return None
    match shown:
        case Fit():
            return world_of(shown.model)
        case Task():
            return training_world(shown, Training(shown, seconds=math.inf))
        case NeuralImage():
            return ImageWorld(shown)
        case NeuralShape():
            return SdfWorld(shown)
        case NeuralScene():
            return NerfWorld(shown, background=1.0 if shown.has_alpha else 0.0)
        case Views():
            return NerfWorld.of_views(shown)
        case Image():
            return ImageWorld(None, array_source(shown.rgb, "image"))
        case np.ndarray():
            return ImageWorld(None, array_source(shown))
    return None


def training_world(task: Task, training: Training, watch: Callable[[], bool] = lambda: False) -> TaskWorld:
    """The world of a task in training; see `TaskWorld` for the arguments."""
    match task:
        case ImageTask():
            return ImageWorld.of_task(task, training, watch)
        case SdfTask():
            return SdfWorld.of_task(task, training, watch)
        case NerfTask():
            return NerfWorld.of_task(task, training, watch)
    raise NrcError(f"there is no view of a task of kind {type(task).__name__}")


def view_world(
    world: TaskWorld,
    name: str,
    listener: socket.socket,
    *,
    host: str = "127.0.0.1",
    frames_per_second: float = 20.0,
    samples: int | None = None,
) -> Viewer:
    """Show a world of a model or a task, at a socket that is bound; see `nrc_tracer.live.viewing.view` for the other arguments.

    After an error the socket is the caller's to close.
    """
    from nrc_tracer.live.task_saving import savings_of
    from nrc_tracer.live.view import PictureMode
    from nrc_tracer.live.web.choices import Shown
    from nrc_tracer.live.web.nerf_panel import NerfPanel
    from nrc_tracer.live.web.panning import PAN_WITH_ANY_BUTTON
    from nrc_tracer.live.web.sdf_panel import SdfPanel
    from nrc_tracer.live.web.task_panel import TaskPanel
    from nrc_tracer.live.web.viewer import Viewer

    up = None
    resolution, panel = "half", TaskPanel(world)
    if isinstance(world, NerfWorld):
        x, y, z = (float(value) for value in upward(world.cameras))
        up, panel = (x, y, z), NerfPanel(world)
    elif isinstance(world, SdfWorld):
        panel = SdfPanel(world)
    else:
        resolution = "full"
    if world.training is not None:
        world.training.progress.task.compile()
    return Viewer(
        world,
        name=name,
        host=host,
        port=listener.getsockname()[1],
        listener=listener,
        frames_per_second=frames_per_second,
        samples=samples,
        bounds=world.bounds,
        labels={label: Shown(PictureMode.OFF, layer) for label, layer in world.labels.items()},
        up=up,
        head=PAN_WITH_ANY_BUTTON if isinstance(world, ImageWorld) else "",
        resolution=resolution,
        savings=savings_of(world),
        add_panel=panel.add,
    )
