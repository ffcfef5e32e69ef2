"""The scattering of a glTF material: the metallic-roughness model and its extensions, as materials of the scene.

A material becomes `Principled` with Lambert's diffuse lobe, or something simpler: `Diffuse` without a specular reflection,
`Dielectric` and `ThinDielectric` for clear glass of a constant colour. Approximations without a warning:

* Clear thin glass is a pane with two boundaries, which transmits (1 - F) / (1 + F); the single boundary of glTF transmits 1 - F.
* KHR_materials_specular scales the reflectance at normal incidence, but not at grazing angles.
* KHR_materials_clearcoat is Burley's coat. Its index of refraction is 1.5 as in glTF, but it is a quarter as strong and has the
  longer tails of GTR1. Its gloss g has the width of glTF's coat, 0.1 (1 - g) + 0.001 g = clearcoatRoughness^2, within [0, 1].
* A solid tints light by the square root of the base colour at each of its two boundaries.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from nrc_tracer.scene.clearcoat import gloss_of
from nrc_tracer.scene.gltf.entry import Entry
from nrc_tracer.scene.gltf.textures import TextureReader, TextureUse
from nrc_tracer.scene.model import Color, Dielectric, Diffuse, Material, Principled, Scalar, ThinDielectric, Vec3
from nrc_tracer.scene.vectors import as_color, as_vec3

WHITE = (1.0, 1.0, 1.0)


class Base(NamedTuple):
    """The base colour of a material: a factor with opacity, times a texture, times vertex colours."""

    factor: Vec3
    opacity: float
    texture: TextureUse | None
    vertex_colors: bool

    @property
    def constant(self) -> bool:
        """Whether the base colour is the same everywhere."""
        return self.texture is None and not self.vertex_colors

    def color(self, textures: TextureReader, scale: Vec3 = WHITE) -> Color:
        """Return the colour times `scale`, for a material of the scene."""
        factor = as_vec3(a * b for a, b in zip(self.factor, scale, strict=True))
        return textures.color(self.texture, factor, vertex_colors=self.vertex_colors)


def read_base(material: Entry, textures: TextureReader, vertex_colors: bool) -> Base:
    """Read the base colour of a material."""
    pbr = material.entry("pbrMetallicRoughness")
    if pbr is None:
        return Base(WHITE, 1.0, None, vertex_colors)
    *factor, opacity = pbr.factors("baseColorFactor", 4, (1.0, 1.0, 1.0, 1.0))
    return Base(as_vec3(factor), opacity, textures.use(pbr, "baseColorTexture"), vertex_colors)


def read_bsdf(material: Entry, base: Base, textures: TextureReader) -> Material:
    """Read the scattering of a material, without its opacity and normal map.

    Raises:
        SceneError: A value or a texture is malformed.
    """
    metallic, roughness = _metallic_roughness(material, textures)
    ior = _ior(material)
    specular_factor, specular_texture = _specular(material, textures)
    transmission, transmission_texture = _transmission(material, textures)
    sheen = _sheen(material)
    clearcoat, gloss = _clearcoat(material, textures)
    plain = sheen == (0.0, 0.0) and clearcoat == 0.0
    if transmission == 0.0 and metallic == 0.0 and specular_factor == 0.0 and plain:
        return Diffuse(reflectance=base.color(textures))
    thin, absorption = _volume(material) if transmission > 0.0 else (False, WHITE)
    if transmission > 0.0 and specular_factor != 1.0:
        material.warn("KHR_materials_specular is not supported together with transmission; it is left out")
        specular_factor, specular_texture = 1.0, None
    clear = transmission == 1.0 and transmission_texture is None and metallic == 0.0 and roughness == 0.0
    if clear and plain and not base.vertex_colors and (thin or base.constant):
        return _glass(base, ior, thin, absorption, textures)
    # `specular` gives a reflectance of 0.08 specular; larger ones, and transmission, need the index of refraction itself
    reflectance = ((ior - 1.0) / (ior + 1.0)) ** 2
    by_eta = specular_factor == 1.0 and specular_texture is None and ior > 1.0
    specular = min(reflectance * specular_factor / 0.08, 1.0)
    return Principled(
        base_color=base.color(textures, absorption),
        metallic=metallic,
        roughness=roughness,
        specular=0.5 if by_eta else textures.scalar(specular_texture, "a", specular),
        eta=ior if by_eta else None,
        spec_trans=textures.scalar(transmission_texture, "r", transmission),
        sheen=sheen[0],
        sheen_tint=sheen[1],
        clearcoat=clearcoat,
        clearcoat_gloss=gloss,
        diffuse="lambert",
        thin=thin,
    )


def _glass(base: Base, ior: float, thin: bool, absorption: Vec3, textures: TextureReader) -> Material:
    if thin:
        return ThinDielectric(int_ior=ior, ext_ior=1.0, specular_transmittance=base.color(textures))
    tint = as_color(math.sqrt(a * b) for a, b in zip(base.factor, absorption, strict=True))
    return Dielectric(int_ior=ior, ext_ior=1.0, specular_transmittance=tint)


def _metallic_roughness(material: Entry, textures: TextureReader) -> tuple[Scalar, Scalar]:
    pbr = material.entry("pbrMetallicRoughness")
    if pbr is None:
        return 1.0, 1.0
    use = textures.use(pbr, "metallicRoughnessTexture")
    metallic, roughness = pbr.factor("metallicFactor", 1.0), pbr.factor("roughnessFactor", 1.0)
    return textures.scalar(use, "b", metallic), textures.scalar(use, "g", roughness)


def _ior(material: Entry) -> float:
    extension = material.extension("KHR_materials_ior")
    if extension is None:
        return 1.5
    ior = extension.number("ior", 1.5)
    if ior == 0.0:
        extension.warn("0 (reflect everything) is not supported; 1.5 is used", "ior")
        return 1.5
    if ior < 1.0:
        extension.fail(f"must be at least 1, not {ior:g}", "ior")
    return ior


def _specular(material: Entry, textures: TextureReader) -> tuple[float, TextureUse | None]:
    extension = material.extension("KHR_materials_specular")
    if extension is None:
        return 1.0, None
    factor = extension.factor("specularFactor", 1.0)
    color = as_vec3(extension.vector("specularColorFactor", 3, WHITE))
    if factor > 0.0 and "specularColorTexture" in extension:
        extension.warn("is not supported and left out", "specularColorTexture")
    if factor > 0.0 and color != WHITE:
        if min(color) < max(color):
            extension.warn("coloured reflections are not supported; the mean of the colour is used")
        factor *= max(sum(color) / 3.0, 0.0)
    use = textures.use(extension, "specularTexture")
    # The texture is in the alpha channel; without one it is 1
    return factor, use if use is not None and use.has_alpha else None


def _transmission(material: Entry, textures: TextureReader) -> tuple[float, TextureUse | None]:
    extension = material.extension("KHR_materials_transmission")
    if extension is None:
        return 0.0, None
    return extension.factor("transmissionFactor", 0.0), textures.use(extension, "transmissionTexture")


def has_thickness(material: Entry) -> bool:
    """Return whether the thickness of the absorbing volume behind a surface decides its colour."""
    transmission, volume = (material.extension(f"KHR_materials_{name}") for name in ("transmission", "volume"))
    if transmission is None or volume is None or transmission.factor("transmissionFactor", 0.0) == 0.0:
        return False
    absorbs = (
        min(volume.factors("attenuationColor", 3, WHITE)) < 1.0 and volume.number("attenuationDistance", 0.0) > 0.0
    )
    return absorbs and volume.number("thicknessFactor", 0.0) > 0.0


def _volume(material: Entry) -> tuple[bool, Vec3]:
    """Return whether the surface is thin, and the transmittance of the absorbing volume over the stated thickness."""
    extension = material.extension("KHR_materials_volume")
    if extension is None:
        return True, WHITE
    thickness = extension.number("thicknessFactor", 0.0)
    if thickness <= 0.0:
        return True, WHITE
    color = as_vec3(extension.factors("attenuationColor", 3, WHITE))
    distance = extension.number("attenuationDistance", 0.0)
    if color == WHITE or distance <= 0.0:  # absent: infinite
        return False, WHITE
    if "thicknessTexture" in extension:
        extension.warn("is not supported; thicknessFactor is used everywhere", "thicknessTexture")
    extension.warn(
        "absorption along the ray is not supported; the absorption over thicknessFactor is used for all light"
    )
    return False, as_vec3(channel ** min(thickness / distance, 100.0) for channel in color)


def _sheen(material: Entry) -> tuple[float, float]:
    """Return the weight and the tint of Burley's sheen."""
    extension = material.extension("KHR_materials_sheen")
    if extension is None:
        return 0.0, 0.0
    color = extension.factors("sheenColorFactor", 3, (0.0, 0.0, 0.0))
    if max(color) == 0.0:
        return 0.0, 0.0
    extension.warn("is approximated by a white sheen without textures and roughness")
    return sum(color) / 3.0, 0.0


def _clearcoat(material: Entry, textures: TextureReader) -> tuple[Scalar, float]:
    extension = material.extension("KHR_materials_clearcoat")
    if extension is None:
        return 0.0, 0.0
    factor = extension.factor("clearcoatFactor", 0.0)
    if factor == 0.0:
        return 0.0, 0.0
    for key in ("clearcoatRoughnessTexture", "clearcoatNormalTexture"):
        if key in extension:
            extension.warn("is not supported and left out", key)
    gloss = gloss_of(extension.factor("clearcoatRoughnessFactor", 0.0) ** 2)
    return textures.scalar(textures.use(extension, "clearcoatTexture"), "r", factor), gloss
