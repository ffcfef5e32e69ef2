"""Writing any scene in the package's own format: a JSON file, and a folder with its meshes, images and snapshots."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from nrc_tracer.errors import OutputError, SceneError
from nrc_tracer.files.atomic import replacing
from nrc_tracer.files.reading import reading
from nrc_tracer.imaging import pixel_extension, write_pixels
from nrc_tracer.scene.json_format import write_json
from nrc_tracer.scene.model import Bitmap, EnvironmentMap, Mesh, NeuralSdf, Scene, SdfSnapshot, Shape
from nrc_tracer.scene.ply_writer import write_ply
from nrc_tracer.scene.validate import image_files, mesh_files, snapshot_files, validate_scene

AnyShape = TypeVar("AnyShape", bound=Shape)

MAX_NAME = 80
"""Largest length of a file name without its extension [characters]."""


def write_scene(scene: Scene, path: str | Path) -> tuple[Path, ...]:
    """Write a scene that `load_scene` reads back, and that renders to the same bits.

    The folder `NAME_files` beside `NAME.json` gets mesh files as binary PLY, images as PNG (integers) or EXR (floats), and copies
    of snapshots. The JSON file is written last. An existing file is replaced only when the new one is complete.

    Args:
        scene: The scene, with all files that it names loaded.
        path: The file to write, with the extension `.json`.

    Returns:
        All files written, the JSON file first.

    Raises:
        OutputError: The extension is not `.json`, or a file cannot be written.
        SceneError: A file that the scene names is not loaded, or a snapshot cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise OutputError(f'{path}: a scene is written to a file ending in .json, not "{path.suffix}"')
    validate_scene(scene)
    folder = path.with_name(f"{path.stem}_files")
    meshes = _file_names((name for _, name in mesh_files(scene.description)), lambda _: ".ply")
    images = _file_names(
        (name for _, name in image_files(scene.description)),
        lambda name: pixel_extension(scene.images[name]),
        taken=meshes.values(),
    )
    snapshots = _file_names(
        (name for _, name in snapshot_files(scene.description)),
        lambda _: ".safetensors",
        taken=(*meshes.values(), *images.values()),
    )
    if meshes or images or snapshots:
        _make_folder(folder)
    for name, file in meshes.items():
        write_ply(scene.meshes[name], folder / file)
    for name, file in images.items():
        write_pixels(folder / file, scene.images[name])
    for name, file in snapshots.items():
        _copy(scene.snapshots[name], folder / file)

    files = {**meshes, **snapshots}
    description = msgspec.structs.replace(
        scene.description,
        shapes=tuple(_renamed(shape, scene, files, folder.name) for shape in scene.description.shapes),
        groups={
            name: tuple(_renamed(shape, scene, files, folder.name) for shape in group)
            for name, group in scene.description.groups.items()
        },
        textures={
            name: msgspec.structs.replace(texture, file=f"{folder.name}/{images[texture.file]}")
            if isinstance(texture, Bitmap)
            else texture
            for name, texture in scene.description.textures.items()
        },
        lights=tuple(
            msgspec.structs.replace(light, file=f"{folder.name}/{images[light.file]}")
            if isinstance(light, EnvironmentMap)
            else light
            for light in scene.description.lights
        ),
    )
    write_json(description, path)
    return (path, *(folder / file for file in (*meshes.values(), *images.values(), *snapshots.values())))


def _renamed(shape: AnyShape, scene: Scene, files: dict[str, str], folder: str) -> AnyShape:
    """Return a shape that names the written file in place of the original one."""
    if isinstance(shape, NeuralSdf):
        return msgspec.structs.replace(shape, file=f"{folder}/{files[shape.file]}")
    if not isinstance(shape, Mesh) or shape.file is None:
        return shape
    flat = shape.face_normals or scene.meshes[shape.file].normals is None
    return msgspec.structs.replace(shape, file=f"{folder}/{files[shape.file]}", face_normals=flat)


def _file_names(names: Iterable[str], extension: Callable[[str], str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Choose a file name for each name: in plain characters, and unique even if upper and lower case are not distinguished."""
    used = {name.lower() for name in taken}
    result: dict[str, str] = {}
    for name in names:
        if name in result:
            continue
        last = name.replace("\\", "/").rsplit("/", 1)[-1]
        plain = re.sub(
            r"\.(obj|ply|stl|serialized|png|jpe?g|tiff?|bmp|tga|exr|hdr|safetensors)$", "", last, flags=re.IGNORECASE
        )
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", plain)[:MAX_NAME].strip("_") or "file"
        number, candidate = 1, f"{stem}{extension(name)}"
        while candidate.lower() in used:
            number += 1
            candidate = f"{stem}_{number}{extension(name)}"
        used.add(candidate.lower())
        result[name] = candidate
    return result


def _copy(snapshot: SdfSnapshot, path: Path) -> None:
    """Copy a snapshot, unless `path` is the same file."""
    if path.exists() and path.samefile(snapshot.path):
        return
    with replacing(path) as temporary:
        with reading(snapshot.path, SceneError):
            source = snapshot.path.open("rb")
        with source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be created: {error.strerror or error}") from error
