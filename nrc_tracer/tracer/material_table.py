"""Converts the materials of a scene to lobe records on a device."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import warp as wp

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import (
    Blend,
    Bump,
    Color,
    Conductor,
    Dielectric,
    Diffuse,
    Mask,
    Material,
    NormalMap,
    Plastic,
    Principled,
    Scalar,
    Scene,
    Sides,
    ThinDielectric,
)
from nrc_tracer.tracer.bsdf.coat import diffuse_fresnel_reflectance, rough_coat
from nrc_tracer.tracer.bsdf.leaf import BLACK, FIRST_NODE, NOTHING, NodeRecord
from nrc_tracer.tracer.bsdf.lobe import LobeRecord, Materials
from nrc_tracer.tracer.bsdf.principled_lobe import LAMBERT, PRINCIPLED_PARAMETERS, THIN
from nrc_tracer.tracer.bsdf.resolve import MIN_ALPHA
from nrc_tracer.tracer.bsdf.split_sum import split_sum_table
from nrc_tracer.tracer.texture_table import TextureTable
from nrc_tracer.tracer.textures import Param
from nrc_tracer.tracer.vocabulary import Distribution, LobeKind, NodeKind

PARAMETERS = ("color", "second", "eta", "k", "alpha_u", "alpha_v")
"""Fields of a lobe record that may be textured."""


def transmits(material: Material) -> bool:
    """Whether a material is principled and its lobe distinguishes front and back itself."""
    return isinstance(material, Principled) and (material.thin or material.spec_trans != 0.0)


class MaterialTable:
    """All materials of a scene. Each side of a material is a lobe, or a tree of masks, blends and maps whose leaves are lobes.

    Args:
        scene: The scene.
        textures: Its textures.
    """

    def __init__(self, scene: Scene, textures: TextureTable) -> None:
        self._textures = textures
        self._lobes: list[LobeRecord] = []
        self._sides: list[tuple[int, int]] = []
        self._nodes: list[NodeRecord] = []
        self._coats = [split_sum_table()]  # the first table, where `bsdf.reflectance` expects it
        self._more: list[Param] = []
        self._materials: dict[str | None, Material] = {None: Diffuse()}
        self._materials.update(scene.description.materials)
        self._lobe_of: dict[str | None, int] = {}
        self._side_of: dict[tuple[str | None, bool], int] = {}
        self._index: dict[str | None, int] = {}
        for name in self._materials:
            self._index[name] = len(self._sides)
            self._sides.append((self._side(name, False), self._side(name, True)))

    def index(self, name: str | None) -> int:
        """Number of a material; None is the default, a grey diffuse one."""
        if name not in self._index:
            raise SceneError(f'there is no material "{name}"')
        return self._index[name]

    def needs_uv(self, name: str | None) -> bool:
        """Whether a material needs texture coordinates, for a texture or for its tangent."""
        lobes, nodes = self._parts(name)
        return (
            any(self._textures.uses(texture)[0] for texture in self._looked_up(lobes, nodes))
            or any(node.kind in (NodeKind.BUMP, NodeKind.NORMAL_MAP) for node in nodes)
            or any(tuple(lobe.alpha_u.value) != tuple(lobe.alpha_v.value) for lobe in lobes)
        )

    def needs_colors(self, name: str | None) -> bool:
        """Whether a material needs vertex colours."""
        return any(self._textures.uses(texture)[1] for texture in self._looked_up(*self._parts(name)))

    def _parameters(self, lobe: LobeRecord) -> list[Param]:
        principled = lobe.kind in (LobeKind.PRINCIPLED, LobeKind.PRINCIPLED_TRANSMISSIVE)
        more = self._more[lobe.table : lobe.table + len(PRINCIPLED_PARAMETERS)] if principled else []
        return [getattr(lobe, name) for name in PARAMETERS] + more

    def upload(self, device: str) -> Materials:
        """Copy everything to a device."""
        materials = Materials()
        materials.lobes = wp.array(self._lobes, dtype=LobeRecord, device=device)
        materials.more = wp.array(self._more or [Param()], dtype=Param, device=device)
        materials.sides = wp.array(self._sides, dtype=wp.vec2i, device=device)
        materials.nodes = wp.array(self._nodes or [NodeRecord()], dtype=NodeRecord, device=device)
        materials.coat_tables = wp.array(np.concatenate(self._coats), dtype=float, device=device)
        return materials

    def _parts(self, name: str | None) -> tuple[list[LobeRecord], list[NodeRecord]]:
        """All lobes and nodes of a material."""
        pending = list(self._sides[self.index(name)])
        seen: set[int] = set()
        while pending:
            code = pending.pop()
            if code not in seen and code <= FIRST_NODE:
                node = self._nodes[FIRST_NODE - code]
                pending += [node.first, node.second]
            seen.add(code)
        return [self._lobes[c] for c in seen if c >= 0], [self._nodes[FIRST_NODE - c] for c in seen if c <= FIRST_NODE]

    def _looked_up(self, lobes: list[LobeRecord], nodes: list[NodeRecord]) -> Iterator[int]:
        for lobe in lobes:
            yield from (parameter.texture for parameter in self._parameters(lobe))
        yield from (node.value.texture for node in nodes)

    def _side(self, name: str | None, is_back: bool) -> int:
        """The code of one side of a material (`bsdf.leaf`)."""
        key = (name, is_back)
        if key not in self._side_of:
            self._side_of[key] = self._flatten(name, is_back)
        return self._side_of[key]

    def _flatten(self, name: str | None, is_back: bool) -> int:
        if name not in self._materials:
            raise SceneError(f'there is no material "{name}"')
        match material := self._materials[name]:
            case Sides():
                side = self._side(material.back if is_back else material.front, False)
                return self._node(NodeKind.TURN, side, side) if is_back and side <= FIRST_NODE else side
            case Mask():
                return self._mix(material.opacity, NOTHING, self._side(material.material, is_back))
            case Blend():
                return self._mix(material.weight, *(self._side(part, is_back) for part in material.materials))
            case Bump() | NormalMap():
                side = self._side(material.material, is_back)
                if side in (BLACK, NOTHING):
                    return side
                kind = NodeKind.BUMP if isinstance(material, Bump) else NodeKind.NORMAL_MAP
                upright = isinstance(material, NormalMap) and material.bitangent == "up"
                return self._node(kind, side, side, material.texture, material.scale, upright)
            case _:
                if is_back and not (getattr(material, "two_sided", True) or transmits(material)):
                    return BLACK
                if name not in self._lobe_of:
                    self._lobe_of[name] = len(self._lobes)
                    self._lobes.append(self._record(material))
                return self._lobe_of[name]

    def _mix(self, weight: Scalar, first: int, second: int) -> int:
        if first == second or weight == 0.0:
            return first
        return second if weight == 1.0 else self._node(NodeKind.MIX, first, second, weight)

    def _node(
        self, kind: NodeKind, first: int, second: int, value: Scalar = 0.0, scale: float = 1.0, upright: bool = False
    ) -> int:
        node = NodeRecord()
        node.is_upright = int(upright)
        node.kind, node.first, node.second, node.scale = int(kind), first, second, scale
        node.value = self._textures.param(value)
        self._nodes.append(node)
        return FIRST_NODE - len(self._nodes) + 1

    def _record(self, material: Material) -> LobeRecord:
        record = LobeRecord()
        for parameter in PARAMETERS:
            setattr(record, parameter, self._textures.param(0.0))
        record.ior = 1.0
        match material:
            case Diffuse():
                record.kind = int(LobeKind.DIFFUSE)
                record.color = self._textures.param(material.reflectance)
                record.nonlinear = int(material.qualitative)
                if material.alpha != 0.0:
                    self._roughen(record, material.alpha, "ggx", LobeKind.ROUGH_DIFFUSE)
            case Conductor():
                record.kind = int(LobeKind.CONDUCTOR)
                record.color = self._textures.param(material.specular_reflectance)
                record.eta, record.k = self._textures.param(material.eta), self._textures.param(material.k)
                self._roughen(record, material.alpha, material.distribution, LobeKind.ROUGH_CONDUCTOR)
            case Dielectric():
                record.kind = int(LobeKind.DIELECTRIC)
                self._specular(record, material.specular_reflectance, material.specular_transmittance)
                record.ior = material.int_ior / material.ext_ior
                if abs(record.ior - 1.0) > 1e-4:  # microfacets between equal media scatter nothing
                    self._roughen(record, material.alpha, material.distribution, LobeKind.ROUGH_DIELECTRIC)
            case ThinDielectric():
                record.kind = int(LobeKind.THIN_DIELECTRIC)
                self._specular(record, material.specular_reflectance, material.specular_transmittance)
                record.ior = material.int_ior / material.ext_ior
            case Plastic():
                record.kind = int(LobeKind.PLASTIC)
                self._specular(record, material.diffuse_reflectance, material.specular_reflectance)
                record.ior = material.int_ior / material.ext_ior
                record.nonlinear = int(material.nonlinear)
                self._coat(record, material)
            case Principled():
                record.kind = int(LobeKind.PRINCIPLED_TRANSMISSIVE if transmits(material) else LobeKind.PRINCIPLED)
                record.color = self._textures.param(material.base_color)
                record.nonlinear = material.thin * int(THIN) | (material.diffuse == "lambert") * int(LAMBERT)
                record.ior = material.eta or 0.0
                self._principled(record, material)
            case _:
                raise SceneError(f"a {type(material).__name__} cannot be a side of a material")
        return record

    def _specular(self, record: LobeRecord, color: Color, second: Color) -> None:
        record.color, record.second = self._textures.param(color), self._textures.param(second)

    def _roughen(
        self,
        record: LobeRecord,
        alpha: Scalar | tuple[Scalar, Scalar] | None,
        distribution: str,
        kind: LobeKind,
    ) -> None:
        if alpha is None:
            return
        record.kind = int(kind)
        record.distribution = int(Distribution[distribution.upper()])
        alpha_u, alpha_v = alpha if isinstance(alpha, tuple) else (alpha, alpha)
        record.alpha_u, record.alpha_v = self._textures.param(alpha_u), self._textures.param(alpha_v)

    def _principled(self, record: LobeRecord, material: Principled) -> None:
        if material.specular == 0.0 and transmits(material):  # as in Mitsuba: equal media have no microfacets
            material = msgspec.structs.replace(material, specular=1e-3)
        record.table = len(self._more)
        parameters = {name: self._textures.param(getattr(material, name)) for name in PRINCIPLED_PARAMETERS}
        self._more += parameters.values()
        record.alpha_u = parameters["anisotropic"]  # for `needs_uv` only: whether the tangent matters

    def _coat(self, record: LobeRecord, material: Plastic) -> None:
        if material.alpha is None:
            record.inner_reflectance = diffuse_fresnel_reflectance(1.0 / record.ior)
            return
        self._roughen(record, material.alpha, material.distribution, LobeKind.ROUGH_PLASTIC)
        alpha = max(material.alpha, float(MIN_ALPHA))
        table, record.inner_reflectance = rough_coat(alpha, record.ior, Distribution(record.distribution))
        record.table = sum(len(t) for t in self._coats)
        self._coats.append(table)
