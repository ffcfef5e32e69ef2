"""Loading a scene file and all files that it names."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from nrc_tracer.errors import SceneError, SceneWarning
from nrc_tracer.imaging import read_image
from nrc_tracer.scene.bare_mesh import read_bare_mesh
from nrc_tracer.scene.coordinates import coordinate_warnings
from nrc_tracer.scene.environment import surround
from nrc_tracer.scene.fitted import SOFT_SKY, sky_pixels
from nrc_tracer.scene.instances import placed_shapes
from nrc_tracer.scene.json_format import read_json
from nrc_tracer.scene.mesh_files import READERS, load_mesh, mesh_path
from nrc_tracer.scene.mirrored import turn_mirrored_meshes
from nrc_tracer.scene.model import Mesh, Scene, SceneDescription, TriangleMesh
from nrc_tracer.scene.neural_sdf import read_sdf_snapshot
from nrc_tracer.scene.validate import image_files, mesh_files, shapes_with_places, snapshot_files, validate

DECODERS = 4
"""Largest number of images that are decoded at once."""
SUPPORTED = ".json, .xml, .glb, .gltf, .obj, .ply, .stl"


def load_scene(
    path: str | Path,
    *,
    strict: bool = False,
    parameters: Mapping[str, str] | None = None,
    environment: str | Path | None = None,
    rotate_environment: float = 0.0,
) -> Scene:
    """Read a scene file and every mesh and image it names, each file once. Only the header of a learnt shape's snapshot is read.

    Unsupported contents of the file are reported in the scene's `warnings`, and as Python warnings of the category
    `SceneWarning`.

    Args:
        path: `.json` (the package's own format), `.xml` (Mitsuba 3), `.glb` or `.gltf` (glTF 2.0), or a single mesh (`.obj`,
            `.ply`, `.stl`), which gets a fitted camera and a soft sky. File names in it are relative to its folder.
        strict: Raise the first warning as an error.
        parameters: Values for the `$name`s of a Mitsuba file.
        environment: What surrounds the scene in place of its own environment: `white`, `sky` or an image file, with `:strength`
            if its radiance is to be multiplied (see `surround`).
        rotate_environment: Rotation of the environment map about the vertical [degrees].

    Raises:
        SceneError: Something is missing, malformed or impossible; the message names file and place.
    """
    path = Path(path)
    scene = surround(_read(path, parameters), environment, degrees=rotate_environment)
    description, messages = scene.description, scene.warnings
    emitting = any(placed.shape.emission is not None for placed in placed_shapes(description))
    if not description.lights and not emitting:
        messages = (*messages, "the scene has no light and no emitting shape; the image will be black")
    _announce(path, messages, strict)
    folder = path.parent
    attributes = _attributes(description)
    meshes, images, snapshots = dict(scene.meshes), dict(scene.images), dict(scene.snapshots)
    decoding = _Decoding(folder, (name for _, name in image_files(description) if name not in images))
    with decoding:  # images are decoded on other threads while meshes are read on this one
        for place, name in mesh_files(description):
            if name not in meshes:
                with _at(path, place, mesh_path(folder / name)):
                    meshes[name] = load_mesh(folder / name, attributes.get(name, ()))
    missing = tuple(_missing_attributes(description, meshes))
    _announce(path, missing, strict)
    if path.suffix.lower() == ".xml":
        description = turn_mirrored_meshes(description, meshes)
    for place, name in snapshot_files(description):
        if name not in snapshots:
            with _at(path, place, folder / name):
                snapshots[name] = read_sdf_snapshot(folder / name)
    for place, name in image_files(description):
        if name == SOFT_SKY:
            images[name] = sky_pixels()
        elif name not in images:
            with _at(path, place, folder / name):
                images[name] = decoding.image(name)
    scene = replace(scene, description=description, meshes=meshes, images=images, snapshots=snapshots, source=path)
    rough = coordinate_warnings(scene)
    _announce(path, rough, strict)
    return replace(scene, warnings=(*messages, *missing, *rough))


class _Decoding:
    """Decodes images on threads of its own while its block runs.

    Args:
        folder: The folder that names are relative to.
        names: The names of the images.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._folder, self._names = folder, sorted({*names} - {SOFT_SKY})
        self._pool = ThreadPoolExecutor(max_workers=DECODERS)
        self._found: dict[str, Future[np.ndarray]] = {}

    def __enter__(self) -> None:
        self._found = {name: self._pool.submit(read_image, self._folder / name) for name in self._names}

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)

    def image(self, name: str) -> np.ndarray:
        """The pixels of an image. Raises what `read_image` raised."""
        return self._found[name].result()


def _announce(path: Path, messages: Sequence[str], strict: bool) -> None:
    """Issue warnings about a scene; if `strict`, raise the first one as an error."""
    if strict and messages:
        raise SceneError(f"{path}: {messages[0]}" + (f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""))
    for message in messages:
        warnings.warn(message, SceneWarning, stacklevel=3)


def _attributes(description: SceneDescription) -> dict[str, set[str]]:
    """Return the attributes that shapes need of each mesh file."""
    found: dict[str, set[str]] = {}
    for _, shape in shapes_with_places(description):
        if isinstance(shape, Mesh) and shape.file is not None and shape.color_attribute is not None:
            found.setdefault(shape.file, set()).add(shape.color_attribute)
    return found


def _missing_attributes(description: SceneDescription, meshes: Mapping[str, TriangleMesh]) -> Iterator[str]:
    """Yield a warning for every shape whose mesh file lacks the attribute that the shape names."""
    for place, shape in shapes_with_places(description):
        if not isinstance(shape, Mesh) or shape.file is None or shape.color_attribute is None:
            continue
        if shape.color_attribute not in meshes[shape.file].attributes:
            yield f'{place}: "{shape.file}" has no attribute "{shape.color_attribute}"; white is used in its place'


def _read(path: Path, parameters: Mapping[str, str] | None) -> Scene:
    """Read the scene file itself. Meshes, images and snapshots in files of their own are still missing from the result."""
    extension = path.suffix.lower()
    if extension not in (".json", ".xml", ".glb", ".gltf", *READERS):
        raise SceneError(f'{path}: unknown scene format "{path.suffix}" (supported: {SUPPORTED})')
    if not path.is_file():
        raise SceneError(f"{path}: {'is a folder' if path.is_dir() else 'there is no such file'}")
    if parameters and extension != ".xml":
        raise SceneError(f"{path}: only Mitsuba XML files have parameters (given: {', '.join(parameters)})")
    if extension in READERS:
        scene = read_bare_mesh(path)
        validate(scene.description, path)
        return scene
    if extension == ".json":
        return Scene(read_json(path))
    if extension in (".glb", ".gltf"):
        from nrc_tracer.scene.gltf import read_gltf

        description, meshes, images, warnings, notes = read_gltf(path)
        validate(description, path)
        return Scene(description, meshes, images, path, warnings, notes)
    from nrc_tracer.scene.mitsuba import read_mitsuba_scene

    scene = read_mitsuba_scene(path, parameters=dict(parameters or {}))
    validate(scene.description, path)
    return scene


@contextlib.contextmanager
def _at(source: Path, place: str, file: Path) -> Iterator[None]:
    """Prefix the messages of errors about `file` with the place in the scene that names it."""
    try:
        if not file.exists():
            raise SceneError(f"{file}: there is no such file")
        yield
    except SceneError as error:
        raise SceneError(f"{source}: {place}: {error}") from error
    except (ValueError, OSError) as error:  # a null character in the name, a name too long
        raise SceneError(f"{source}: {place}: {str(file)!r} cannot be opened: {error}") from error
