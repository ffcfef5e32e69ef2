"""Which materials keep their light when the camera moves."""

from __future__ import annotations

from collections.abc import Mapping

from nrc_tracer.scene.model import (
    Blend,
    Bump,
    Conductor,
    Dielectric,
    Mask,
    Material,
    NormalMap,
    Principled,
    Sides,
    ThinDielectric,
)

SMOOTH = 0.1
"""Microfacet roughness alpha below which reflections move visibly against the surface."""


def keeps_history(materials: Mapping[str, Material]) -> list[int]:
    """Whether each material keeps its light, 1 or 0: first the default material, then all others in the scene's order.

    Smooth mirrors and glass do not: what they show moves differently from their surface.
    """
    return [1] + [int(not _is_specular(name, materials)) for name in materials]


def _is_specular(name: str, materials: Mapping[str, Material], depth: int = 0) -> bool:
    """Whether any part of a material is a smooth mirror or glass."""
    material = materials.get(name)
    if depth > len(materials):
        return False
    parts: tuple[str, ...] = ()
    match material:
        case Sides():
            parts = tuple(part for part in (material.front, material.back) if part is not None)
        case Blend():
            parts = material.materials
        case Mask() | Bump() | NormalMap():
            parts = (material.material,)
        case ThinDielectric():
            return True
        case Conductor() | Dielectric():
            return material.alpha is None or (isinstance(material.alpha, int | float) and material.alpha < SMOOTH)
        case Principled():
            rough, clear = material.roughness, material.spec_trans != 0.0
            metal = isinstance(material.metallic, int | float) and material.metallic > 0.5
            return clear or (metal and isinstance(rough, int | float) and rough**2 < SMOOTH)
    return any(_is_specular(part, materials, depth + 1) for part in parts)
