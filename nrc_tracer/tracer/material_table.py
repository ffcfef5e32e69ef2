"""From the materials of a scene to lobe records on a device."""

from __future__ import annotations

import warp as wp

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import (
    Color,
    Conductor,
    Dielectric,
    Diffuse,
    Material,
    Plastic,
    Scalar,
    Scene,
    Sides,
    ThinDielectric,
)
from nrc_tracer.tracer.bsdf.coat import diffuse_fresnel_reflectance, rough_coat
from nrc_tracer.tracer.bsdf.lobe import MIN_ALPHA, LobeRecord, Materials
from nrc_tracer.tracer.texture_table import TextureTable
from nrc_tracer.tracer.vocabulary import Distribution, LobeKind

PARAMETERS = ("color", "second", "eta", "k", "alpha_u", "alpha_v")
"""What a texture may stand for in a lobe."""

BLACK = -1
"""Side of a material that scatters nothing."""


class MaterialTable:
    """All materials of a scene as pairs of lobes.

    Args:
        scene: The scene.
        textures: Its textures.
    """

    def __init__(self, scene: Scene, textures: TextureTable) -> None:
        self._textures = textures
        self._lobes: list[LobeRecord] = []
        self._sides: list[tuple[int, int]] = []
        self._coats: list = []
        self._index: dict[str | None, int] = {}
        materials = scene.description.materials
        self._add(None, Diffuse(), materials)
        for name, material in materials.items():
            self._add(name, material, materials)

    def index(self, name: str | None) -> int:
        """Number of a material; None is the default, grey diffuse."""
        if name not in self._index:
            raise SceneError(f'there is no material "{name}"')
        return self._index[name]

    def needs_uv(self, name: str | None) -> bool:
        """Whether a material looks anything up at texture coordinates, or takes its tangent from them."""
        lobes = [self._lobes[side] for side in self._sides[self.index(name)] if side != BLACK]
        return any(
            getattr(lobe, parameter).texture >= 0 or tuple(lobe.alpha_u.value) != tuple(lobe.alpha_v.value)
            for lobe in lobes
            for parameter in PARAMETERS
        )

    def upload(self, device: str) -> Materials:
        """Copy everything to a device."""
        materials = Materials()
        materials.lobes = wp.array(self._lobes, dtype=LobeRecord, device=device)
        materials.sides = wp.array(self._sides, dtype=wp.vec2i, device=device)
        tables = [value for table in self._coats for value in table] or [0.0]
        materials.coat_tables = wp.array(tables, dtype=float, device=device)
        return materials

    def _add(self, name: str | None, material: Material, materials: dict[str, Material]) -> None:
        if isinstance(material, Sides):
            front, back = self._lobe(materials[material.front]), self._lobe(materials[material.back])
        else:
            front = self._lobe(material)
            back = front if getattr(material, "two_sided", True) else BLACK
        self._index[name] = len(self._sides)
        self._sides.append((front, back))

    def _lobe(self, material: Material) -> int:
        self._lobes.append(self._record(material))
        return len(self._lobes) - 1

    def _record(self, material: Material) -> LobeRecord:
        record = LobeRecord()
        for parameter in PARAMETERS:
            setattr(record, parameter, self._textures.param(0.0))
        record.ior = 1.0
        match material:
            case Diffuse():
                record.kind = int(LobeKind.DIFFUSE)
                record.color = self._textures.param(material.reflectance)
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

    def _coat(self, record: LobeRecord, material: Plastic) -> None:
        if material.alpha is None:
            record.inner_reflectance = diffuse_fresnel_reflectance(1.0 / record.ior)
            return
        self._roughen(record, material.alpha, material.distribution, LobeKind.ROUGH_PLASTIC)
        alpha = max(material.alpha, float(MIN_ALPHA))
        table, record.inner_reflectance = rough_coat(alpha, record.ior, Distribution(record.distribution))
        record.table = sum(len(t) for t in self._coats)
        self._coats.append(table)
