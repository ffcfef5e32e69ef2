"""Saving what a page shows: the files that a browser downloads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
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

    While the camera moves there are no such samples: one is taken.

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
    if frames is None:
        raise NrcError("there is no picture to save yet; wait for the first one")
    frames.settle(view)
    renderer = frames.renderer
    image = renderer.image()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"picture.{kind}"
        if kind == "png":
            image.save(file, tone=view.tone, exposure=view.exposure)
        else:
            write_layers(file, image.rgb, renderer.layers(LAYERS))
        return SavedFile(f"{name}-{renderer.samples}spp.{kind}", file.read_bytes())


def save_cache(world: World, name: str) -> SavedFile:
    """The radiance cache with all that it has learnt, for `--cache-load`.

    Raises:
        NrcError: The scene is shown without a cache.
    """
    cache = _scene_world(world).renderer.cache
    if cache is None:
        raise NrcError("this scene is shown without a radiance cache, so there is none to save")
    with tempfile.TemporaryDirectory() as folder:
        file = cache.save(Path(folder) / "cache.safetensors")
        return SavedFile(f"{name}-cache.safetensors", file.read_bytes())


def save_scene(world: World, view: View, name: str) -> SavedFile:
    """The scene with all changes, and with the camera and the size of a view, as JSON. Files that it names are not included."""
    from nrc_tracer.scene.json_format import write_json

    description = _scene_world(world).scene.description
    film = replace(description.film, width=view.width, height=view.height, crop=None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scene.json"
        write_json(replace(description, camera=view.camera, film=film), file)
        return SavedFile(f"{name}.json", file.read_bytes())


@dataclass(frozen=True)
class Saving:
    """A kind of file that a page offers.

    Attributes:
        label: Label of its button.
        hint: What the file contains.
        save: Makes the file, from the world, the client, its view and the name of what is shown.
    """

    label: str
    hint: str
    save: Callable[[World, str, View, str], SavedFile]


SCENE_SAVINGS = (
    Saving(
        "PNG",
        "The picture with this exposure and tone, from all samples so far",
        lambda world, client, view, name: save_picture(world, client, view, "png", name),
    ),
    Saving(
        "EXR",
        "Linear radiance and all layers",
        lambda world, client, view, name: save_picture(world, client, view, "exr", name),
    ),
    Saving(
        "Scene",
        "JSON, with this camera and all changes; render it to get the same picture",
        lambda world, client, view, name: save_scene(world, view, name),
    ),
)
"""What can be saved of a scene."""

CACHE_SAVING = Saving(
    "Cache",
    "The radiance cache with all that it has learnt, for --cache-load",
    lambda world, client, view, name: save_cache(world, name),
)
"""The same for the radiance cache."""


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
