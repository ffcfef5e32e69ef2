"""Saving what a page shows: the files that a browser downloads."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec.structs import replace

from nrc_tracer.errors import NrcError
from nrc_tracer.live.view import View
from nrc_tracer.live.world import World

if TYPE_CHECKING:
    from nrc_tracer.live.scene_world import SceneWorld


class SavedFile(NamedTuple):
    """A file to download.

    Attributes:
        name: Its name.
        data: Its contents.
    """

    name: str
    data: bytes


def save_picture(world: World, client: str, view: View, kind: Literal["png", "exr"], name: str) -> SavedFile:
    """The picture that a client has, from all samples so far, as `nrc-tracer render` writes it.

    Args:
        world: The world, which must be a scene.
        client: The client.
        view: Its tone operator and exposure are those of the PNG.
        kind: `png`, or `exr` with all layers.
        name: Name of the scene.

    Raises:
        NrcError: There is no picture yet.
    """
    from nrc_tracer.imaging import write_layers
    from nrc_tracer.tracer.layers import LAYERS

    frames = _scene_world(world).frames(client)
    if frames is None or frames.renderer.samples == 0:
        raise NrcError("there is no picture to save yet; wait for the first one")
    renderer = frames.renderer
    image = renderer.image()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"picture.{kind}"
        if kind == "png":
            image.save(file, tone=view.tone, exposure=view.exposure)
        else:
            write_layers(file, image.rgb, renderer.layers(LAYERS))
        return SavedFile(f"{name}-{renderer.samples}spp.{kind}", file.read_bytes())


def save_scene(world: World, view: View, name: str) -> SavedFile:
    """The scene with all changes, and with the camera and the size of a view, as JSON. Files that it names are not included."""
    from nrc_tracer.scene.json_format import write_json

    description = _scene_world(world).scene.description
    film = replace(description.film, width=view.width, height=view.height, crop=None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scene.json"
        write_json(replace(description, camera=view.camera, film=film), file)
        return SavedFile(f"{name}.json", file.read_bytes())


def can_denoise() -> bool:
    """Whether Open Image Denoise is installed."""
    from nrc_tracer.imaging import check_denoiser

    try:
        check_denoiser()
    except NrcError:
        return False
    return True


def _scene_world(world: World) -> SceneWorld:
    from nrc_tracer.live.scene_world import SceneWorld

    if not isinstance(world, SceneWorld):
        raise NrcError("only scenes can be saved")
    return world
