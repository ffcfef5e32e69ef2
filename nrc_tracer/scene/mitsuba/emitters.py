"""Reading lights other than emitting shapes."""

from __future__ import annotations

from nrc_tracer.errors import SceneError, nearest
from nrc_tracer.scene.mitsuba.document import Document
from nrc_tracer.scene.mitsuba.node import Node
from nrc_tracer.scene.mitsuba.skies import read_sky
from nrc_tracer.scene.mitsuba.textures import TextureReader
from nrc_tracer.scene.model import ConstantLight, DirectionalLight, EnvironmentMap, Light, PointLight, SpotLight, Vec3
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.scene.vectors import as_vec3

SKIES = ("sunsky", "sky", "sun")
SUPPORTED = ("constant", "envmap", "point", "spot", "directional", *SKIES)


def read_emitter(node: Node, document: Document, textures: TextureReader) -> Light | None:
    """Read an emitter of the scene; None, with a warning, if it is not supported.

    Raises:
        SceneError: A parameter is malformed or missing.
    """
    node.ignore("sampling_weight")
    light: Light | None = None
    match node.plugin:
        case "constant":
            light = ConstantLight(radiance=textures.plain_color(node, "radiance", 1.0, emissive=True))
        case "envmap":
            node.ignore("mis_compensation")
            scale = node.number("scale", 1.0)
            if scale < 0.0:
                node.properties["scale"].place.fail(f"{node}: scale must not be negative, it is {scale:g}")
            light = EnvironmentMap(
                file=document.file_name(node), scale=scale, rows="pole_to_pole", to_world=node.transform()
            )
        case "point":
            intensity = textures.plain_color(node, "intensity", 1.0, emissive=True)
            light = PointLight(position=_placed(node, "position", (0.0, 0.0, 0.0), column=3), intensity=intensity)
        case "spot":
            light = _spot(node, document, textures)
        case "directional":
            irradiance = textures.plain_color(node, "irradiance", 1.0, emissive=True)
            direction = _placed(node, "direction", (0.0, 0.0, 1.0), column=2)
            if not any(direction):
                node.place.fail(f"{node}: direction is zero")
            light = DirectionalLight(direction=direction, irradiance=irradiance)
        case plugin if plugin in SKIES:
            light = read_sky(node, document, textures)
        case "timed_sunsky":
            document.warn(node.place, f"{node} is not supported; a constant sky of radiance 1 is used")
            return ConstantLight()
        case "area" if node.id:
            # A shape may refer to it
            if not document.is_used(node):
                document.warn(node.place, f'{node} "{node.id}" is in no shape and emits nothing; it is left out')
            return None
        case "area":
            node.place.fail(f"{node} must be inside the shape that emits")
        case _:
            hint = nearest(node.plugin, SUPPORTED)
            document.warn(node.place, f"{node} is not supported{hint}; it is left out")
            return None
    document.warn_unknown(node)
    return light


def _spot(node: Node, document: Document, textures: TextureReader) -> SpotLight:
    cutoff = node.number("cutoff_angle", 20.0)
    if not 0.0 < cutoff <= 90.0:
        node.properties["cutoff_angle"].place.fail(f"{node}: cutoff_angle must lie in (0, 90], it is {cutoff:g}")
    beam = node.number("beam_width", 0.75 * cutoff)
    if not 0.0 <= beam <= cutoff:
        node.properties["beam_width"].place.fail(f"{node}: beam_width must lie in [0, cutoff_angle], it is {beam:g}")
    if node.has("texture"):
        document.warn(node.place, f"{node}: texture is not supported yet; it is left out")
    return SpotLight(
        to_world=node.transform(),
        intensity=textures.plain_color(node, "intensity", 1.0, emissive=True),
        cutoff_angle=cutoff,
        beam_width=beam,
    )


def _placed(node: Node, name: str, default: Vec3, column: int) -> Vec3:
    """Return a point or vector parameter, or the column of to_world that replaces it."""
    value = node.vector(name, default)
    if not node.has("to_world"):
        return value
    if node.has(name):
        node.place.fail(f"{node} has both {name} and to_world; give one")
    try:
        return as_vec3(matrix(node.transform())[:3, column])
    except SceneError as error:
        node.properties["to_world"].place.fail(str(error))
