"""What a scene is: frozen data, the same for every file format.

The classes are at once the Python API, the JSON format (`nrc-tracer schema` prints its schema) and the target of every
reader. Lengths are in scene units, angles in degrees, colours linear Rec. 709. Cameras look along their local +z with +y up
and +x to the *left* (Mitsuba's convention), so that `look_at` and Mitsuba's matrices mean the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

Vec2 = tuple[float, float]
Vec3 = tuple[float, float, float]
Row = tuple[float, float, float, float]
Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]

Color = float | Vec3 | str
"""A grey value, linear RGB, or the name of a texture of the scene."""
Scalar = float | str
"""A number, or the name of a texture of the scene (the luminance of its colour)."""


class Model(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True, tag_field="type"
):
    """Base of every class of the scene format."""


# --- Transforms: a list of steps, the first applied first


class Translate(Model, tag="translate"):
    """Move by `value`."""

    value: Vec3


class Rotate(Model, tag="rotate"):
    """Turn by `angle` degrees about `axis` through the origin, counter-clockwise seen from the axis' tip."""

    axis: Vec3
    angle: float


class Scale(Model, tag="scale"):
    """Scale by a factor, or by one factor an axis."""

    value: float | Vec3


class LookAt(Model, tag="look_at"):
    """Place the local origin at `origin`, +z towards `target`, +y as near to `up` as possible."""

    origin: Vec3
    target: Vec3
    up: Vec3 = (0.0, 1.0, 0.0)


class Matrix(Model, tag="matrix"):
    """Any affine map, as four rows that multiply column vectors; the last row is 0 0 0 1."""

    value: tuple[Row, Row, Row, Row]


Transform = tuple[Translate | Rotate | Scale | LookAt | Matrix, ...]


# --- Textures


Wrap = Literal["repeat", "mirror", "clamp"]


class Bitmap(Model, tag="bitmap"):
    """An image, looked up at (u, v) with v = 0 at the image's **top** row.

    `raw` turns off the sRGB decoding of 8- and 16-bit images (data such as roughness). `wrap` is for both axes, or one for
    each. `channel` takes one channel of the image as a grey value, `a` its opacity (1 where it has none). What is read is
    multiplied by `factor`. `to_uv` maps (u, v) before the look-up.
    """

    file: str
    raw: bool = False
    filter: Literal["bilinear", "nearest"] = "bilinear"
    wrap: Wrap | tuple[Wrap, Wrap] = "repeat"
    channel: Literal["rgb", "r", "g", "b", "a"] = "rgb"
    factor: float | Vec3 = 1.0
    to_uv: Transform = ()


class Checkerboard(Model, tag="checkerboard"):
    """Two colours that alternate every half unit of u and v: `color0` where both halves have the same parity."""

    color0: float | Vec3 = 0.4
    color1: float | Vec3 = 0.2
    to_uv: Transform = ()


class VertexColor(Model, tag="vertex_color"):
    """The mesh's own colours, interpolated between vertices, times `factor`; `channel` `a` takes their opacity as a grey value.

    `texture` is the name of another texture to multiply them with. White where the mesh has none.
    """

    channel: Literal["rgb", "a"] = "rgb"
    factor: float | Vec3 = 1.0
    texture: str | None = None


Texture = Bitmap | Checkerboard | VertexColor


# --- Materials. Opaque ones scatter on both sides unless `two_sided` is false (then the back is black).


class Diffuse(Model, tag="diffuse"):
    """Lambertian reflection."""

    reflectance: Color = 0.5
    two_sided: bool = True


class Conductor(Model, tag="conductor"):
    """A metal with complex index of refraction eta + i k (relative to the outside); eta 0, k 1 is a perfect mirror.

    Smooth if `alpha` is absent; else a microfacet surface of that roughness (a number, a texture, or one for each tangent
    direction), used as given.
    """

    eta: Color = 0.0
    k: Color = 1.0
    specular_reflectance: Color = 1.0
    alpha: Scalar | tuple[Scalar, Scalar] | None = None
    distribution: Literal["ggx", "beckmann"] = "ggx"
    two_sided: bool = True


class Dielectric(Model, tag="dielectric"):
    """The boundary of glass, water and the like: `int_ior` on the side away from the normal, `ext_ior` on the normal's."""

    int_ior: Positive = 1.5046
    ext_ior: Positive = 1.000277
    specular_reflectance: Color = 1.0
    specular_transmittance: Color = 1.0
    alpha: Scalar | tuple[Scalar, Scalar] | None = None
    distribution: Literal["ggx", "beckmann"] = "ggx"


class ThinDielectric(Model, tag="thin_dielectric"):
    """A pane of glass modelled by one surface: reflections between its two sides included, no refraction."""

    int_ior: Positive = 1.5046
    ext_ior: Positive = 1.000277
    specular_reflectance: Color = 1.0
    specular_transmittance: Color = 1.0


class Plastic(Model, tag="plastic"):
    """A diffuse base under a dielectric coat, with the light that is reflected back and forth inside.

    `nonlinear` applies the base's colour at every internal reflection. Smooth coat if `alpha` is absent.
    """

    diffuse_reflectance: Color = 0.5
    specular_reflectance: Color = 1.0
    int_ior: Positive = 1.49
    ext_ior: Positive = 1.000277
    nonlinear: bool = False
    alpha: NonNegative | None = None
    distribution: Literal["ggx", "beckmann"] = "ggx"
    two_sided: bool = True


class Principled(Model, tag="principled"):
    """Disney's principled BSDF (Burley 2012 and 2015) in Mitsuba 3's form, glTF's metallic-roughness model a case of it.

    Roughness, metallic and all weights are in [0, 1]; microfacets are GGX with alpha = roughness^2. `eta` is the index of
    refraction of the inside over the outside; where it is absent, `specular` stands for it: the reflectance at normal incidence
    is 0.08 `specular`. `diffuse` chooses Burley's diffuse lobe or Lambert's, which glTF has: it gets what the dielectric above it
    does not reflect. With `spec_trans` 0 it is opaque; else light goes through, refracted, or straight on if `thin`. A thin
    surface is the same from both sides, and lets the share `diff_trans` of its diffuse light through; with Burley's lobe (as
    Mitsuba's `principledthin`) only the share `spec_trans` of it reflects specularly, with Lambert's all of it.
    """

    base_color: Color = 0.5
    metallic: Scalar = 0.0
    roughness: Scalar = 0.5
    anisotropic: Scalar = 0.0
    specular: Scalar = 0.5
    eta: Positive | None = None
    spec_tint: Scalar = 0.0
    spec_trans: Scalar = 0.0
    flatness: Scalar = 0.0
    sheen: Scalar = 0.0
    sheen_tint: Scalar = 0.0
    clearcoat: Scalar = 0.0
    clearcoat_gloss: Scalar = 0.0
    diff_trans: Scalar = 0.0
    diffuse: Literal["burley", "lambert"] = "burley"
    thin: bool = False
    two_sided: bool = True


class Mask(Model, tag="mask"):
    """A material that is there with probability `opacity`; where it is not, light passes straight on."""

    material: str
    opacity: Scalar = 0.5


class Blend(Model, tag="blend"):
    """`weight` of the second material and the rest of the first."""

    materials: tuple[str, str]
    weight: Scalar = 0.5


class Bump(Model, tag="bump"):
    """A material on a surface displaced along its normal by `scale` times a texture's luminance, in scene units."""

    material: str
    texture: str
    scale: float = 1.0


class NormalMap(Model, tag="normal_map"):
    """A material whose shading normal is a texture's colour: 2 colour - 1 in the frame of tangent, bitangent and normal.

    `scale` multiplies its x and y before normalization. The tangent follows the mesh's u, and a `right_handed` bitangent is
    normal x tangent even where texture coordinates are mirrored, as in Mitsuba 3.9. With `up`, as in glTF, x and y point to
    the right and the top of the image wherever it lies on the surface, turned and mirrored by the mesh or by `to_uv`.
    """

    material: str
    texture: str
    scale: float = 1.0
    bitangent: Literal["right_handed", "up"] = "right_handed"


class Sides(Model, tag="sides"):
    """Two opaque materials by name: one for the side of the normal, one for the back."""

    front: str
    back: str


Material = (
    Diffuse | Conductor | Dielectric | ThinDielectric | Plastic | Principled | Mask | Blend | Bump | NormalMap | Sides
)
"""Materials that name others may do so in any depth but not in a circle."""


# --- Shapes. All take a transform, the name of a material (grey diffuse if absent) and an emitted radiance.


class ShapeModel(Model):
    """What every shape has. `emission` is the radiance emitted on the side of the normal; `flip_normals` turns that side."""

    name: str = ""
    material: str | None = None
    emission: Color | None = None
    to_world: Transform = ()
    flip_normals: bool = False


class Mesh(ShapeModel, tag="mesh"):
    """Triangles: from a `file` (OBJ, PLY, STL, or Mitsuba's serialized: `name.serialized#2` is its third mesh), or given
    in place by `positions` and `indices`.

    Without vertex normals the mesh gets smooth ones (an STL file stays flat); `face_normals` makes any mesh flat.
    `flip_v` replaces v by 1 - v.
    `colors` are linear RGB, or RGB and opacity, for each position (see `VertexColor`).
    """

    file: str | None = None
    positions: tuple[Vec3, ...] | None = None
    normals: tuple[Vec3, ...] | None = None
    uvs: tuple[Vec2, ...] | None = None
    colors: tuple[tuple[float, ...], ...] | None = None
    indices: tuple[tuple[int, int, int], ...] | None = None
    face_normals: bool = False
    flip_v: bool = False


class Sphere(ShapeModel, tag="sphere"):
    """An analytic sphere (the transform must scale uniformly)."""

    center: Vec3 = (0.0, 0.0, 0.0)
    radius: Positive = 1.0


class Rectangle(ShapeModel, tag="rectangle"):
    """The square [-1, 1]^2 in the xy plane; the normal is +z, uv runs from (0, 0) at (-1, -1) to (1, 1) at (1, 1)."""


class Cube(ShapeModel, tag="cube"):
    """The cube [-1, 1]^3; each face has uv from (0, 0) to (1, 1)."""


class Disk(ShapeModel, tag="disk"):
    """The unit disk in the xy plane; the normal is +z, uv is (r, phi / 2 pi)."""


class Cylinder(ShapeModel, tag="cylinder"):
    """An open cylinder around the segment `p0` - `p1`; normals point outwards."""

    p0: Vec3 = (0.0, 0.0, 0.0)
    p1: Vec3 = (0.0, 0.0, 1.0)
    radius: Positive = 1.0


class NeuralSdf(ShapeModel, kw_only=True, tag="neural-sdf"):
    """The surface of a signed distance that a network has learnt: a snapshot that `nrc-tracer fit sdf` wrote, as its `file`.

    The shape lies where the mesh lay that was learnt, and its normals point outwards. Before rendering it becomes triangles,
    from `resolution` cells along its longest side; it has no texture coordinates.
    """

    file: str
    resolution: Annotated[int, Meta(ge=8, le=2048)] = 256


class Instance(Model, tag="instance"):
    """All shapes of a group of the scene, placed once more by `to_world` after their own transforms."""

    group: str
    name: str = ""
    to_world: Transform = ()


GroupShape = Mesh | Sphere | Rectangle | Cube | Disk | Cylinder | NeuralSdf
Shape = GroupShape | Instance


# --- Lights that are not shapes


class PointLight(Model, tag="point"):
    """A point that shines alike in all directions with `intensity` [W/sr]."""

    position: Vec3 = (0.0, 0.0, 0.0)
    intensity: float | Vec3 = 1.0


class SpotLight(Model, tag="spot"):
    """A cone of light along local +z: full `intensity` [W/sr] within `beam_width`, falling linearly to 0 at `cutoff_angle`.

    Both angles [degrees] are measured from the axis; `beam_width` is 3/4 of `cutoff_angle` unless given.
    """

    to_world: Transform = ()
    intensity: float | Vec3 = 1.0
    cutoff_angle: Annotated[float, Meta(gt=0, le=90)] = 20.0
    beam_width: NonNegative | None = None


class DirectionalLight(Model, tag="directional"):
    """Light from infinitely far that travels along `direction`; `irradiance` is on a surface facing it [W/m^2]."""

    direction: Vec3
    irradiance: float | Vec3 = 1.0


class ConstantLight(Model, tag="constant"):
    """The same `radiance` from every direction."""

    radiance: float | Vec3 = 1.0


class EnvironmentMap(Model, tag="environment"):
    """A lat-long image around the scene. Local +y is the image's top row, +z its centre column, -z the seam where its left
    and right edges meet, +x a quarter from the left, as in Mitsuba: u = atan2(x, -z) / 2 pi, v = acos(y) / pi."""

    file: str
    scale: NonNegative = 1.0
    to_world: Transform = ()


Light = PointLight | SpotLight | DirectionalLight | ConstantLight | EnvironmentMap


# --- Camera, film, sampling


class Perspective(Model, tag="perspective"):
    """A pinhole, or with `aperture_radius` > 0 a thin lens focused at `focus_distance`.

    `fov` [degrees] spans the axis named by `fov_axis`. With a `principal_point_offset` (x, y) (lens shift), as fractions of
    the image's width and height, a pixel sees what lay x to the right and y below it without. Only what lies between the
    planes `near` and `far` is seen.
    """

    to_world: Transform = ()
    fov: Annotated[float, Meta(gt=0, lt=180)] = 45.0
    fov_axis: Literal["x", "y", "diagonal", "smaller", "larger"] = "x"
    aperture_radius: NonNegative = 0.0
    focus_distance: Positive = 1.0
    principal_point_offset: Vec2 = (0.0, 0.0)
    near: NonNegative = 0.0
    far: Positive | None = None


class Orthographic(Model, tag="orthographic"):
    """Parallel rays along local +z; the image spans [-1, 1] in local x, scaled by the transform."""

    to_world: Transform = ()
    near: NonNegative = 0.0
    far: Positive | None = None


Camera = Perspective | Orthographic


class Film(Model, tag=False):
    """The image: its size in pixels, an optional crop window (x, y, width, height), and the reconstruction filter."""

    width: Annotated[int, Meta(ge=1, le=65536)] = 512
    height: Annotated[int, Meta(ge=1, le=65536)] = 512
    crop: tuple[int, int, int, int] | None = None
    filter: Literal["box", "tent", "gaussian"] = "box"
    filter_radius: Positive | None = None
    """Half width in pixels: 0.5 for the box and 1 for the tent unless given; four standard deviations (2) for the Gaussian."""


class Sampler(Model, tag=False):
    """How random numbers are made, and how many samples each pixel gets."""

    type: Literal["sobol", "independent"] = "sobol"
    spp: Annotated[int, Meta(ge=1)] = 64


class Integrator(Model, tag=False):
    """Path length. `max_depth` counts segments from the camera on: 1 shows only what shines, 2 adds direct light; null is
    without limit. From depth `rr_depth` on, paths are ended at random by their throughput."""

    max_depth: Annotated[int, Meta(ge=0)] | None = None
    rr_depth: Annotated[int, Meta(ge=1)] = 5


class SceneDescription(Model, tag=False):
    """A whole scene as a file states it. File names are relative to the scene file.

    `camera` is the one that is used unless another of `cameras` is asked for by name. `groups` are not there themselves, only
    their instances are.
    """

    camera: Camera = Perspective()
    cameras: dict[str, Camera] = {}
    film: Film = Film()
    sampler: Sampler = Sampler()
    integrator: Integrator = Integrator()
    textures: dict[str, Texture] = {}
    materials: dict[str, Material] = {}
    groups: dict[str, tuple[GroupShape, ...]] = {}
    shapes: tuple[Shape, ...] = ()
    lights: tuple[Light, ...] = ()


# --- A loaded scene


@dataclass(frozen=True)
class TriangleMesh:
    """Triangles in local space.

    Attributes:
        positions: Vertex positions, shape [vertex_count, 3], float32.
        indices: Vertex indices, shape [triangle_count, 3], int32, counter-clockwise seen from the normal's side.
        normals: Unit vertex normals, shape [vertex_count, 3], float32, or None for flat faces.
        uvs: Texture coordinates, shape [vertex_count, 2], float32, or None.
        colors: Vertex colours, linear RGB and opacity, shape [vertex_count, 4], float32, or None.
    """

    positions: np.ndarray
    indices: np.ndarray
    normals: np.ndarray | None = None
    uvs: np.ndarray | None = None
    colors: np.ndarray | None = None


@dataclass(frozen=True)
class SdfSnapshot:
    """What is known of a learnt signed distance before its network is loaded.

    The network takes u = (x - `center`) `scale` + 1/2 in the unit cube to the distance times `scale`, negative inside.

    Attributes:
        path: The file.
        center: Shape [3], float64.
        scale: Above 0.
        bounds: Lower and upper corner of the box around the mesh that was learnt, shape [2, 3], float64.
    """

    path: Path
    center: np.ndarray
    scale: float
    bounds: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A scene ready to render: the description and everything its file names stand for.

    Attributes:
        description: What is in the scene.
        meshes: The triangles of every `Mesh.file`, by that name. Meshes given in place are not in here.
        images: The pixels of every `Bitmap.file` and `EnvironmentMap.file`, by that name: shape [height, width, 3]
            (or 1 or 4 channels), uint8, uint16 or float32; float is linear.
        source: The file it was read from, if any.
        snapshots: The headers of every `NeuralSdf.file`, by that name.
        warnings: What the file asks for that is not supported, and what was done instead.
        notes: What was added because the file leaves it open, such as a camera.
    """

    description: SceneDescription
    meshes: dict[str, TriangleMesh] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)
    source: Path | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    snapshots: dict[str, SdfSnapshot] = field(default_factory=dict)
