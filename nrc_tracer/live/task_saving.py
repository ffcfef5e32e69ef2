"""Saving fitted models and their pictures: the files that a browser downloads."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

from nrc_tracer.errors import NrcError
from nrc_tracer.live.nerf_world import NerfWorld
from nrc_tracer.live.saving import SavedFile, Saving
from nrc_tracer.live.sdf_world import SdfWorld
from nrc_tracer.live.task_world import TaskWorld
from nrc_tracer.live.view import View
from nrc_tracer.live.world import World

MESH_RESOLUTION = 128
"""Cells along the longest side of a saved mesh: drawing waits until it has been made."""


def savings_of(world: TaskWorld) -> tuple[Saving, ...]:
    """The kinds of files that the page of a world offers."""
    found = [Saving("PNG", "The picture as it is shown", save_shown)]
    if world.training is not None:
        found.append(Saving("Snapshot", "The model and its training, for decode, view and fit --resume", save_snapshot))
    if isinstance(world, SdfWorld) or (isinstance(world, NerfWorld) and world.scene is not None):
        found.append(Saving("Mesh", f"The surface as .ply, {MESH_RESOLUTION} cells along its longest side", save_mesh))
    return tuple(found)


def save_shown(world: World, client: str, view: View, name: str) -> SavedFile:
    """The picture that was drawn last for a client, as PNG. Raises `NrcError` if there is none."""
    import PIL.Image

    picture = _task_world(world).shown(client)
    if picture is None:
        raise NrcError("there is no picture to save yet; wait for the first one")
    file = io.BytesIO()
    PIL.Image.fromarray(picture.pixels).save(file, format="PNG")
    layer = "" if picture.view.layer is None else f"-{picture.view.layer}"
    return SavedFile(f"{name}{layer}.png", file.getvalue())


def save_snapshot(world: World, client: str, view: View, name: str) -> SavedFile:
    """The snapshot of a task in training. Raises `NrcError` if the world is none."""
    training = _task_world(world).training
    if training is None:
        raise NrcError("only a task in training has a snapshot to save")
    return _written(f"{name}.safetensors", training.progress.task.save)


def save_mesh(world: World, client: str, view: View, name: str) -> SavedFile:
    """The surface of a shape or of a radiance field. Raises `NrcError` if there is none, or a package is missing."""
    if isinstance(world, SdfWorld):
        shape = world.shape
        return _written(f"{name}.ply", lambda path: shape.write_mesh(path, MESH_RESOLUTION))
    if isinstance(world, NerfWorld) and world.scene is not None:
        scene = world.scene
        return _written(f"{name}.ply", lambda path: scene.write_mesh(path, MESH_RESOLUTION))
    raise NrcError("only shapes and radiance fields have a surface")


def _written(name: str, write: Callable[[Path], object]) -> SavedFile:
    """What a function writes into a file of this name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return SavedFile(name, path.read_bytes())


def _task_world(world: World) -> TaskWorld:
    if not isinstance(world, TaskWorld):
        raise NrcError("this is neither a fitted model nor a task")
    return world
