"""Reading Mitsuba's principled materials, for solids and for thin surfaces."""

from __future__ import annotations

import msgspec

from nrc_tracer.scene.mitsuba.node import Node
from nrc_tracer.scene.mitsuba.textures import TextureReader
from nrc_tracer.scene.model import Checkerboard, Principled, Scalar, Vec3
from nrc_tracer.scene.vectors import as_vec3

_SOLID = (
    "metallic", "roughness", "anisotropic", "spec_tint", "spec_trans", "flatness", "sheen", "sheen_tint", "clearcoat",
    "clearcoat_gloss",
)  # fmt: skip
_THIN = ("roughness", "anisotropic", "spec_tint", "spec_trans", "flatness", "sheen", "sheen_tint")
_SOLID_RATES = ("main_specular_sampling_rate", "clearcoat_sampling_rate", "diffuse_reflectance_sampling_rate")
_THIN_RATES = (
    "specular_reflectance_sampling_rate", "specular_transmittance_sampling_rate", "diffuse_reflectance_sampling_rate",
    "diffuse_transmittance_sampling_rate",
)  # fmt: skip
"""Mitsuba's sampling rates of the lobes, which do not change the image."""


def read_principled(node: Node, textures: TextureReader) -> Principled:
    """Read a `principled` or `principledthin`.

    Raises:
        SceneError: A parameter is malformed or outside its range.
    """
    thin = node.plugin == "principledthin"
    node.ignore(*(_THIN_RATES if thin else _SOLID_RATES))
    weights = {name: _weight(node, textures, name) for name in (_THIN if thin else _SOLID)}
    diff_trans = _weight(node, textures, "diff_trans", highest=2.0) if thin else 0.0
    if node.has("eta") and node.has("specular"):
        node.place.fail(f"{node} needs either eta or specular, not both")
    material = Principled(
        base_color=textures.color(node, "base_color", 0.5, highest=1.0),
        diff_trans=_halved(diff_trans, textures),
        specular=0.5 if thin else _specular(node),
        eta=_eta(node, textures),
        thin=thin,
    )
    return msgspec.structs.replace(material, **weights)


def _eta(node: Node, textures: TextureReader) -> float | None:
    if not node.has("eta"):
        return None
    child = textures.document.child(node, "eta")
    if child is not None:
        textures.document.warn(child.place, f"{node}: eta cannot be a {child.tag} yet; 1.5 is used")
        node.known.add("eta")
        return 1.5
    eta = node.number("eta")
    if eta <= 0.0:
        node.properties["eta"].place.fail(f"{node}: eta must be > 0, it is {eta:g}")
    return eta


def _specular(node: Node) -> float:
    value = node.number("specular", 0.5)
    if not 0.0 <= value <= 1.0:
        node.properties["specular"].place.fail(f"{node}: specular must lie in [0, 1], it is {value:g}")
    return value


def _weight(node: Node, textures: TextureReader, name: str, highest: float = 1.0) -> Scalar:
    value = textures.scalar(node, name, 0.5 if name == "roughness" else 0.0)
    if not isinstance(value, str) and not 0.0 <= value <= highest:
        node.properties[name].place.fail(f"{node}: {name} must lie in [0, {highest:g}], it is {value:g}")
    return value


def _halved(value: Scalar, textures: TextureReader) -> Scalar:
    """Return half of `diff_trans`, whose maximum in Mitsuba is 2."""
    if not isinstance(value, str):
        return 0.5 * value
    name = f"{value}-halved"
    texture = textures.textures[value]
    parts = ("color0", "color1") if isinstance(texture, Checkerboard) else ("factor",)
    textures.textures[name] = msgspec.structs.replace(texture, **{p: _half(getattr(texture, p)) for p in parts})
    return name


def _half(value: float | Vec3) -> float | Vec3:
    return as_vec3(0.5 * x for x in value) if isinstance(value, tuple) else 0.5 * value
