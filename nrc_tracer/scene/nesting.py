"""Materials that stand in others: which, that they do so neither in a circle nor too deep, and what light passes through."""

from __future__ import annotations

from nrc_tracer.errors import SceneError
from nrc_tracer.scene import model
from nrc_tracer.scene.explain import member

MAX_NESTING = 64
"""How deep materials may stand in others."""


def nested_materials(material: model.Material) -> list[tuple[str, str]]:
    """The names of materials in a material, each with the field that holds it."""
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
    """Whether a material refracts or passes light, and so cannot be one side of another. A mask's holes do not count."""
    if isinstance(material, model.Principled):
        return material.thin or material.spec_trans != 0.0
    return isinstance(material, model.Dielectric | model.ThinDielectric)


def check_nesting(materials: dict[str, model.Material]) -> None:
    """Check all materials of a scene; the names in them must exist.

    Raises:
        SceneError: One stands in itself, too deep in others, or lets light through where a side must be opaque.
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
    """How many materials deep a material is, and the name of what lets light through in it, if anything does."""
    if name in chain:
        circle = " -> ".join((*chain[chain.index(name) :], name))
        raise SceneError(f"{member('$.materials', name)}: the material stands in itself: {circle}")
    if len(chain) + checked.get(name, (0, None))[0] > MAX_NESTING:
        place = member("$.materials", chain[0])
        raise SceneError(f"{place}: more than {MAX_NESTING} materials stand in each other; leave some out")
    if name not in checked:
        material = materials[name]
        depth, clear = 0, name if lets_through(material) else None
        for field, inner in nested_materials(material):
            inner_depth, inner_clear = _check(inner, materials, (*chain, name), checked)
            if inner_clear is not None and isinstance(material, model.Sides):
                tag = materials[inner_clear].__struct_config__.tag
                place = f"{member('$.materials', name)}.{field}"
                raise SceneError(f'{place}: "{inner_clear}" is {tag}; a side takes what lets no light through')
            depth, clear = max(depth, inner_depth + 1), clear or inner_clear
        checked[name] = depth, clear
    return checked[name]
