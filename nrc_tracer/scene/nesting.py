"""Nested materials: which materials name others, checks for circles and depth, and which of them transmit light."""

from __future__ import annotations

from nrc_tracer.errors import SceneError
from nrc_tracer.scene import model
from nrc_tracer.scene.explain import member

MAX_NESTING = 64
"""Largest number of materials nested in each other."""


def nested_materials(material: model.Material) -> list[tuple[str, str]]:
    """Return the names of the materials nested in a material, each with the field that names it."""
    match material:
        case model.Sides():
            return [("front", material.front), ("back", material.back)]
        case model.Blend():
            return [(f"materials[{i}]", name) for i, name in enumerate(material.materials)]
        case model.Mask() | model.Bump() | model.NormalMap():
            return [("material", material.material)]
        case _:
            return []


def lets_through(material: model.Material) -> bool:
    """Return whether a material transmits light, and so cannot be one of two sides. The holes of a mask do not count."""
    if isinstance(material, model.Principled):
        return material.thin or material.spec_trans != 0.0
    return isinstance(material, model.Dielectric | model.ThinDielectric)


def check_nesting(materials: dict[str, model.Material]) -> None:
    """Check the nesting of all materials of a scene. The names in them must exist.

    Raises:
        SceneError: A material contains itself, is nested too deeply, or transmits light where a side must be opaque.
    """
    checked: dict[str, tuple[int, str | None]] = {}
    for name in materials:
        _check(name, materials, (), checked)


def _check(
    name: str,
    materials: dict[str, model.Material],
    chain: tuple[str, ...],
    checked: dict[str, tuple[int, str | None]],
) -> tuple[int, str | None]:
    """Return the depth of a material's nesting, and the name of a material in it that transmits light, if there is one."""
    if name in chain:
        circle = " -> ".join((*chain[chain.index(name) :], name))
        raise SceneError(f"{member('$.materials', name)}: the material contains itself: {circle}")
    if len(chain) + checked.get(name, (0, None))[0] > MAX_NESTING:
        place = member("$.materials", chain[0])
        raise SceneError(f"{place}: more than {MAX_NESTING} materials are nested in each other; use fewer levels")
    if name not in checked:
        material = materials[name]
        depth, clear = 0, name if lets_through(material) else None
        for field, inner in nested_materials(material):
            inner_depth, inner_clear = _check(inner, materials, (*chain, name), checked)
            if inner_clear is not None and isinstance(material, model.Sides):
                tag = materials[inner_clear].__struct_config__.tag
                place = f"{member('$.materials', name)}.{field}"
                raise SceneError(f'{place}: a side must be opaque, and "{inner_clear}" ({tag}) transmits light')
            depth, clear = max(depth, inner_depth + 1), clear or inner_clear
        checked[name] = depth, clear
    return checked[name]
