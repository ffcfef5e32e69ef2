"""From a scene file to a scene that is ready to render."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from nrc_tracer.errors import SceneError
from nrc_tracer.imaging import read_image
from nrc_tracer.scene.json_format import read_json
from nrc_tracer.scene.mesh_files import load_mesh
from nrc_tracer.scene.model import Scene, SceneDescription
from nrc_tracer.scene.validate import image_files, mesh_files, validate

_LATER = {".glb": "glTF", ".gltf": "glTF", ".obj": "OBJ", ".ply": "PLY", ".stl": "STL"}


def load_scene(path: str | Path, *, strict: bool = False, parameters: Mapping[str, str] | None = None) -> Scene:
    """Read a scene file and every mesh and image it names, each file once.

    Args:
        path: `.json` (the package's own format) or `.xml` (Mitsuba 3). Names inside are relative to its folder.
        strict: Treat warnings as errors.
        parameters: Values for the `$name`s of a Mitsuba file.

    Raises:
        SceneError: Something is missing, malformed or impossible; the message names file and place.
    """
    path = Path(path)
    description, warnings = _read(path, parameters)
    shining = any(shape.emission is not None for shape in description.shapes)
    if not description.lights and not shining:
        warnings = (*warnings, "nothing in the scene shines, so the image will be black")
    if strict and warnings:
        raise SceneError(f"{path}: {warnings[0]}" + (f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""))
    folder = path.parent
    meshes = {}
    for place, name in mesh_files(description):
        if name not in meshes:
            with _at(path, place, folder / name):
                meshes[name] = load_mesh(folder / name)
    images = {}
    for place, name in image_files(description):
        if name not in images:
            with _at(path, place, folder / name):
                images[name] = read_image(folder / name)
    return Scene(description=description, meshes=meshes, images=images, source=path, warnings=warnings)


def _read(path: Path, parameters: Mapping[str, str] | None) -> tuple[SceneDescription, tuple[str, ...]]:
    extension = path.suffix.lower()
    if extension in _LATER:
        raise SceneError(f"{path}: {_LATER[extension]} is not supported as a scene yet (supported: .json, .xml)")
    if extension not in (".json", ".xml"):
        raise SceneError(f'{path}: unknown scene format "{path.suffix}" (supported: .json, .xml)')
    if not path.is_file():
        raise SceneError(f"{path}: {'is a folder' if path.is_dir() else 'there is no such file'}")
    if extension == ".json":
        if parameters:
            raise SceneError(f"{path}: parameters are only for Mitsuba XML files (given: {', '.join(parameters)})")
        return read_json(path), ()
    from nrc_tracer.scene.mitsuba import read_mitsuba

    description, warnings = read_mitsuba(path, parameters=dict(parameters or {}))
    validate(description, path)
    return description, tuple(str(warning) for warning in warnings)


@contextlib.contextmanager
def _at(source: Path, place: str, file: Path) -> Iterator[None]:
    """Begin the messages of errors about `file` with the place in the scene that names it."""
    try:
        if not file.exists():
            raise SceneError(f"{file}: there is no such file")
        yield
    except SceneError as error:
        raise SceneError(f"{source}: {place}: {error}") from error
    except (ValueError, OSError) as error:  # a null character in the name, a name too long
        raise SceneError(f"{source}: {place}: {str(file)!r} cannot be opened: {error}") from error
