"""Checks of a scene that go beyond the types of its fields, for scenes of every format."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np

from nrc_tracer.errors import SceneError, nearest
from nrc_tracer.scene import model
from nrc_tracer.scene.explain import explain, member
from nrc_tracer.scene.film import check_film
from nrc_tracer.scene.instances import shape_place
from nrc_tracer.scene.nesting import check_nesting, nested_materials
from nrc_tracer.scene.transforms import matrix

MAX_COUNT = 2**31 - 1
"""Largest number of samples or path segments. Kernels count in 32 bits."""
_REFLECTANCES = ("reflectance", "base_color", "diffuse_reflectance", "specular_reflectance", "specular_transmittance")
"""Colours of materials that lie in [0, 1]."""
_WEIGHTS = (
    "metallic", "roughness", "anisotropic", "specular", "spec_tint", "spec_trans", "flatness", "sheen", "sheen_tint",
    "clearcoat", "clearcoat_gloss", "diff_trans",
)  # fmt: skip
"""Other parameters of the principled material that lie in [0, 1]."""


def validate(description: model.SceneDescription, source: str | Path | None = None) -> None:
    """Check types, ranges, names of textures and materials, transforms, meshes given in place, lights, cameras and film.

    Args:
        description: The scene. Files that it names are not opened.
        source: The file that the scene was read from, with which messages begin.

    Raises:
        SceneError: Something is wrong; the message has the place, as in `$.shapes[3].material`, and the nearest known name.
    """
    try:
        _check_types(description)
        check_film(description.film)
        _check_camera(description.camera, "$.camera")
        for name, camera in description.cameras.items():
            _check_camera(camera, member("$.cameras", name))
        _check_count(description.sampler.spp, "$.sampler.spp")
        _check_count(description.integrator.max_depth or 0, "$.integrator.max_depth")
        _check_count(description.integrator.rr_depth, "$.integrator.rr_depth")
        for name, texture in description.textures.items():
            _check_texture(texture, description, member("$.textures", name))
        for name, material in description.materials.items():
            _check_material(material, description, member("$.materials", name))
        check_nesting(description.materials)
        for place, shape in shapes_with_places(description):
            _check_shape(shape, description, place)
        _check_lights(description.lights)
        if not description.shapes and not description.lights:
            _fail("$", "the scene is empty: it has neither shapes nor lights")
    except SceneError as error:
        if source is None:
            raise
        raise SceneError(f"{source}: {error}") from error


def shapes_with_places(description: model.SceneDescription) -> Iterator[tuple[str, model.Shape]]:
    """Yield every shape, then those of groups, each with its place for messages: `$.shapes[3]`, and its name if it has one."""
    for index, shape in enumerate(description.shapes):
        yield shape_place(shape, index), shape
    for name, group in description.groups.items():
        for index, shape in enumerate(group):
            yield shape_place(shape, index, member("$.groups", name)), shape


def mesh_files(description: model.SceneDescription) -> Iterator[tuple[str, str]]:
    """Yield every mesh file that the scene names, with its place."""
    for place, shape in shapes_with_places(description):
        if isinstance(shape, model.Mesh) and shape.file is not None:
            yield f"{place}.file", shape.file


def snapshot_files(description: model.SceneDescription) -> Iterator[tuple[str, str]]:
    """Yield every snapshot of a learnt shape that the scene names, with its place."""
    for place, shape in shapes_with_places(description):
        if isinstance(shape, model.NeuralSdf):
            yield f"{place}.file", shape.file


def image_files(description: model.SceneDescription) -> Iterator[tuple[str, str]]:
    """Yield every image file that the scene names, with its place."""
    for name, texture in description.textures.items():
        if isinstance(texture, model.Bitmap):
            yield f"{member('$.textures', name)}.file", texture.file
    for index, light in enumerate(description.lights):
        if isinstance(light, model.EnvironmentMap):
            yield f"$.lights[{index}].file", light.file


def validate_scene(scene: model.Scene) -> None:
    """Check as `validate` does, and that every file named in the scene has been loaded. Raises `SceneError`."""
    validate(scene.description, scene.source)
    files = ((mesh_files, scene.meshes), (image_files, scene.images), (snapshot_files, scene.snapshots))
    for names, loaded in files:
        for place, name in names(scene.description):
            if name not in loaded:
                _fail(place, f'"{name}" is not among the loaded files of the scene')


def _fail(place: str, message: str) -> NoReturn:
    raise SceneError(f"{place}: {message}")


def plain_numbers(value: object) -> object:
    """Convert NumPy's numbers and arrays, which scenes made in Python may contain, to Python's own types."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be part of a scene")


def _check_types(description: model.SceneDescription) -> None:
    """Check the types of fields, which msgspec only checks when it decodes, for scenes from other readers or made in Python."""
    shapes = _without_arrays(description.shapes)
    groups = {name: _without_arrays(group) for name, group in description.groups.items()}
    try:
        raw = msgspec.to_builtins(
            msgspec.structs.replace(description, shapes=shapes, groups=groups), enc_hook=plain_numbers
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise SceneError(f"$: {error}") from error
    problem = explain(raw, model.SceneDescription)
    if problem:
        raise SceneError(problem)


def _without_arrays(shapes: tuple[model.Shape, ...]) -> tuple[model.Shape, ...]:
    """Return the shapes without the arrays of meshes given in place, which `_check_mesh` checks."""
    arrays = {"positions": None, "normals": None, "uvs": None, "colors": None, "indices": None}
    return tuple(
        msgspec.structs.replace(shape, **arrays) if isinstance(shape, model.Mesh) else shape for shape in shapes
    )


def _check_count(count: int, place: str) -> None:
    if count > MAX_COUNT:
        _fail(place, f"must be <= {MAX_COUNT}, not {count}")


def _check_transform(transform: model.Transform, place: str) -> None:
    try:
        linear = matrix(transform)
    except SceneError as error:
        _fail(place, str(error))
    if not np.all(np.isfinite(linear)):
        _fail(place, "the transform is not finite")


def _check_camera(camera: model.Camera, place: str) -> None:
    _check_transform(camera.to_world, f"{place}.to_world")
    if camera.far is not None and camera.far <= camera.near:
        _fail(f"{place}.far", f"must be > near ({camera.near:g}), not {camera.far:g}")


# --- Textures and materials


def _check_texture(texture: model.Texture, description: model.SceneDescription, place: str) -> None:
    if isinstance(texture, model.Bitmap | model.VertexColor):
        _check_values(texture.factor, f"{place}.factor")
    if isinstance(texture, model.VertexColor):
        if texture.texture is not None:
            _check_name(texture.texture, description.textures, "texture", f"{place}.texture")
            if isinstance(description.textures[texture.texture], model.VertexColor):
                _fail(f"{place}.texture", "must name a bitmap or a checkerboard, not other vertex colours")
        return
    _check_transform(texture.to_uv, f"{place}.to_uv")
    if isinstance(texture, model.Checkerboard):
        _check_values(texture.color0, f"{place}.color0")
        _check_values(texture.color1, f"{place}.color1")


def _check_material(material: model.Material, description: model.SceneDescription, place: str) -> None:
    for field, name in nested_materials(material):
        _check_name(name, description.materials, "material", f"{place}.{field}")
    if isinstance(material, model.Bump | model.NormalMap):
        _check_name(material.texture, description.textures, "texture", f"{place}.texture")
    for field in ("opacity", "weight"):
        if hasattr(material, field):
            _check_color(getattr(material, field), description, f"{place}.{field}", 1.0)
    for field in (*_REFLECTANCES, *_WEIGHTS, "eta", "k", "alpha"):
        value = getattr(material, field, None)
        if value is None:
            continue
        for item in value if field == "alpha" and isinstance(value, tuple) else (value,):
            highest = 1.0 if field in _REFLECTANCES or field in _WEIGHTS else math.inf
            _check_color(item, description, f"{place}.{field}", highest)


def _check_color(value: model.Color, description: model.SceneDescription, place: str, highest: float) -> None:
    if isinstance(value, str):
        _check_name(value, description.textures, "texture", place)
    else:
        _check_values(value, place, highest)


def _check_values(value: float | model.Vec3, place: str, highest: float = math.inf) -> None:
    for number in value if isinstance(value, tuple) else (value,):
        if not 0.0 <= number <= highest:
            limits = "must not be negative" if math.isinf(highest) else f"must lie in [0, {highest:g}]"
            _fail(place, f"{limits}, not {number:g}")


def _check_name(name: str, known: Collection[str], kind: str, place: str) -> None:
    if name not in known:
        hint = nearest(name, known) if known else f" (the scene has no {kind}s)"
        _fail(place, f"there is no {kind} {json.dumps(name, ensure_ascii=False)}{hint}")


# --- Shapes


def _check_shape(shape: model.Shape, description: model.SceneDescription, place: str) -> None:
    if isinstance(shape, model.Instance):
        _check_name(shape.group, description.groups, "group", f"{place}.group")
        _check_transform(shape.to_world, f"{place}.to_world")
        return
    if shape.material is not None:
        _check_name(shape.material, description.materials, "material", f"{place}.material")
    if shape.emission is not None:
        _check_color(shape.emission, description, f"{place}.emission", math.inf)
        if isinstance(shape.emission, str) and isinstance(description.textures[shape.emission], model.VertexColor):
            _fail(f"{place}.emission", f'must name a bitmap or a checkerboard; "{shape.emission}" is a vertex_color')
    _check_transform(shape.to_world, f"{place}.to_world")
    if isinstance(shape, model.Mesh):
        _check_mesh(shape, place)
    if isinstance(shape, model.Cylinder) and shape.p0 == shape.p1:
        _fail(f"{place}.p1", "is the same point as p0")


def _check_mesh(mesh: model.Mesh, place: str) -> None:
    in_place = [
        name for name in ("positions", "normals", "uvs", "colors", "indices") if getattr(mesh, name) is not None
    ]
    if mesh.file is not None:
        if in_place:
            _fail(f"{place}.{in_place[0]}", "a mesh takes either a file or data in place, not both")
        return
    if mesh.color_attribute is not None:
        _fail(
            f"{place}.color_attribute", "names an attribute of a mesh file, and the mesh has none; give colors in place"
        )
    if mesh.positions is None or mesh.indices is None:
        _fail(place, "a mesh needs a file, or positions and indices")
    count = len(mesh.positions)
    if not mesh.indices:
        _fail(f"{place}.indices", "the mesh has no triangles")
    arrays: tuple[tuple[str, tuple[tuple[float, ...], ...] | None, int], ...] = (
        ("positions", mesh.positions, 3),
        ("normals", mesh.normals, 3),
        ("uvs", mesh.uvs, 2),
        ("colors", mesh.colors, _color_width(mesh)),
    )
    for name, rows, width in arrays:
        if rows is None:
            continue
        if len(rows) != count:
            _fail(f"{place}.{name}", f"has {len(rows)} entries for {count} positions")
        _check_rows(rows, width, np.float64, f"{place}.{name}")
    indices = _check_rows(mesh.indices, 3, np.int64, f"{place}.indices")
    outside = np.flatnonzero(np.any((indices < 0) | (indices >= count), axis=1))
    if outside.size:
        first = int(outside[0])
        _fail(f"{place}.indices[{first}]", f"{list(mesh.indices[first])} is outside 0 to {count - 1}")


def _color_width(mesh: model.Mesh) -> int:
    """Return how many numbers each of a mesh's colours must have: 4 if the first has an opacity, else 3."""
    return 4 if mesh.colors is not None and len(mesh.colors) and np.shape(mesh.colors[0]) == (4,) else 3


def _check_rows(rows: tuple[tuple[float, ...], ...], width: int, dtype: type, place: str) -> np.ndarray:
    try:
        array = np.asarray(rows)
        if dtype is np.int64 and array.dtype.kind not in "iu":
            raise ValueError("not integers")
        array = array.astype(dtype)
        if array.shape != (len(rows), width):
            raise ValueError(f"not {width} numbers each")
        with np.errstate(over="ignore"):
            finite = np.all(np.isfinite(array.astype(np.float32)), axis=1)
    except (ValueError, TypeError, OverflowError) as error:
        raise SceneError(f"{place}: not an array of {width} numbers each: {error}") from error
    if not np.all(finite):
        _fail(f"{place}[{int(np.argmin(finite))}]", "is not finite (in 32 bits)")
    return array


# --- Lights


def _check_lights(lights: tuple[model.Light, ...]) -> None:
    surrounding = [i for i, light in enumerate(lights) if isinstance(light, model.ConstantLight | model.EnvironmentMap)]
    if len(surrounding) > 1:
        _fail(f"$.lights[{surrounding[1]}]", "a scene takes only one constant light or environment")
    for index, light in enumerate(lights):
        place = f"$.lights[{index}]"
        for field in ("intensity", "irradiance", "radiance"):
            _check_values(getattr(light, field, 0.0), f"{place}.{field}")
        _check_transform(getattr(light, "to_world", ()), f"{place}.to_world")
        if isinstance(light, model.DirectionalLight) and not any(light.direction):
            _fail(f"{place}.direction", "must not be zero")
        if isinstance(light, model.SpotLight) and (light.beam_width or 0.0) > light.cutoff_angle:
            _fail(f"{place}.beam_width", f"must be <= cutoff_angle ({light.cutoff_angle:g}), not {light.beam_width:g}")
