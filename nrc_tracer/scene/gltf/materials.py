"""The materials of a glTF file: scattering, normal map, opacity and emission.

All materials scatter on both sides, whatever their `doubleSided`: that switch lets rasterizers skip the inside of closed objects,
whereas black backs in a path tracer would absorb light. Emission is only on the front side. Occlusion textures are ignored: a
path tracer computes occlusion itself.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from nrc_tracer.scene.gltf.bsdfs import WHITE, Base, has_thickness, read_base, read_bsdf
from nrc_tracer.scene.gltf.document import SUPPORTED, Document
from nrc_tracer.scene.gltf.entry import Entry
from nrc_tracer.scene.gltf.textures import TextureReader
from nrc_tracer.scene.model import (
    Bitmap,
    Color,
    Diffuse,
    Mask,
    Material,
    NormalMap,
    Principled,
    Scalar,
    Transform,
    VertexColor,
)
from nrc_tracer.scene.names import unique_name
from nrc_tracer.scene.vectors import as_vec3

KNOWN_EXTENSIONS = {name for name in SUPPORTED if name.startswith("KHR_materials_")}
DEFAULT = "glTF default"
"""Name of the material of a primitive without one: a rough white metal, as the format demands."""


class ReadMaterial(NamedTuple):
    """A material for shapes: its name, its emission, the set of texture coordinates of its textures, their transform for the
    normal map (None without one), and whether the thickness of a volume decides its colour."""

    name: str
    emission: Color | None
    uv_set: int | None
    normal_to_uv: Transform | None = None
    has_thickness: bool = False


class MaterialReader:
    """Reads materials when primitives use them, separately for meshes with and without vertex colours."""

    def __init__(self, document: Document, textures: TextureReader) -> None:
        self.document = document
        self.textures = textures
        self.materials: dict[str, Material] = {}
        self._read: dict[tuple[int | None, bool], ReadMaterial] = {}

    def read(self, index: int | None, vertex_colors: bool) -> ReadMaterial:
        """Read a material.

        Args:
            index: Index of the material in the file, or None for the format's default.
            vertex_colors: Whether the mesh has vertex colours, which are multiplied by the base colour.

        Raises:
            SceneError: A value, a texture or an image is malformed.
        """
        key = (index, vertex_colors)
        if key not in self._read:
            if index is None:
                base = Base(WHITE, 1.0, None, vertex_colors).color(self.textures)
                surface = Principled(base_color=base, metallic=1.0, roughness=1.0, diffuse="lambert")
                self._read[key] = ReadMaterial(self._name(DEFAULT, surface), None, None)
            else:
                self._read[key] = self._material(self.document.get("materials", index), vertex_colors, index)
        return self._read[key]

    def _material(self, entry: Entry, vertex_colors: bool, index: int) -> ReadMaterial:
        label = entry.name or f"material {index}"
        extensions = entry.entry("extensions")
        for name in extensions.value if extensions else ():
            if name not in KNOWN_EXTENSIONS:
                entry.warn(f"{name[:80]} is not supported and left out")
        base = read_base(entry, self.textures, vertex_colors)
        unlit = entry.extension("KHR_materials_unlit") is not None
        if unlit:
            surface: Material = Diffuse(reflectance=0.0)
            emission: Color | None = base.color(self.textures)
        else:
            surface = read_bsdf(entry, base, self.textures)
            emission = self._emission(entry)
        opacity = self._opacity(entry, base)
        has_map = not unlit and "normalTexture" in entry
        inner = label if opacity is None and not has_map else f"{label} (surface)"
        name = self._name(inner, surface)
        if has_map:
            name = self._normal_map(entry, name, label if opacity is None else f"{label} (normals)")
        mapped = self.materials[name]
        texture = self.textures.textures[mapped.texture] if isinstance(mapped, NormalMap) else None
        to_uv = texture.to_uv if isinstance(texture, Bitmap) else None
        if opacity is not None:
            name = self._name(label, Mask(material=name, opacity=opacity))
        if emission is not None:
            if entry.boolean("doubleSided", False):
                entry.warn("emission from both sides is not supported; only the front side emits")
            if opacity is not None:
                entry.warn("emission scaled by opacity is not supported; it is used in full")
        if "doubleSided" in entry and not entry.boolean("doubleSided", False):
            entry.warn("back faces are not culled; they are shown", "doubleSided")
        return ReadMaterial(name, emission, self._uv_set(entry), to_uv, not unlit and has_thickness(entry))

    def _name(self, label: str, material: Material) -> str:
        """Add a material to the scene and return its name."""
        name = unique_name(label, self.materials)
        self.materials[name] = material
        return name

    def _normal_map(self, entry: Entry, material: str, label: str) -> str:
        info = entry.required_entry("normalTexture")
        use = self.textures.use(entry, "normalTexture")
        if use is None:
            return material
        if use.channels < 3:
            info.warn("a grey image is not a normal map; it is left out")
            return material
        texture = self.textures.name(use.bitmap(), use.label)
        scale = info.number("scale", 1.0)
        return self._name(label, NormalMap(material=material, texture=texture, scale=scale, bitangent="up"))

    def _emission(self, entry: Entry) -> Color | None:
        factor = entry.vector("emissiveFactor", 3, (0.0, 0.0, 0.0))
        if min(factor) < 0.0:
            entry.fail("must not be negative", "emissiveFactor")
        extension = entry.extension("KHR_materials_emissive_strength")
        strength = 1.0
        if extension is not None:
            strength = extension.number("emissiveStrength", 1.0)
            if strength < 0.0:
                extension.fail("must not be negative", "emissiveStrength")
        radiance = as_vec3(min(value * strength, 3e38) for value in factor)
        if max(radiance) == 0.0:
            return None
        return self.textures.color(self.textures.use(entry, "emissiveTexture"), radiance)

    def _opacity(self, entry: Entry, base: Base) -> Scalar | None:
        """Return the probability that light meets the material, None if it always does.

        With alphaMode MASK it is 0 or 1 (see `ImageReader.mask`), with BLEND it can lie between.
        """
        mode = entry.choice("alphaMode", ("OPAQUE", "MASK", "BLEND"), "OPAQUE")
        if mode == "OPAQUE":
            return None
        factor, use = base.opacity, base.texture
        if use is not None and not use.has_alpha:
            use = None
        if mode == "BLEND":
            inner = self.textures.scalar(use, "a", factor)
            if not base.vertex_colors:
                return None if inner == 1.0 else inner
            if isinstance(inner, str):
                color = VertexColor(channel="a", texture=inner)
            else:
                color = VertexColor(channel="a", factor=inner)
            return self.textures.name(color, "vertex opacity")
        cutoff = entry.number("alphaCutoff", 0.5)
        if base.vertex_colors:
            entry.warn("the opacity of vertex colours is not supported with alphaMode MASK; it is taken as 1")
        if use is None:
            return None if factor >= cutoff else 0.0
        image = self.textures.images.mask(use.image, factor, cutoff, use.wrap, nearest=use.nearest)
        if np.all(self.textures.images.images[image]):
            return None
        bitmap = msgspec.structs.replace(use.bitmap(), file=image, channel="r", filter="nearest")
        return self.textures.name(bitmap, f"{use.label} (mask)")

    def _uv_set(self, entry: Entry) -> int | None:
        """Choose the single set of texture coordinates that a mesh can have: that of the base colour, or the first one used."""
        pbr = entry.entry("pbrMetallicRoughness")
        owners: list[tuple[Entry, str]] = []
        if pbr is not None:
            owners += [(pbr, "baseColorTexture"), (pbr, "metallicRoughnessTexture")]
        owners += [(entry, "normalTexture"), (entry, "emissiveTexture")]
        for name in ("transmission", "specular", "clearcoat"):
            extension = entry.extension(f"KHR_materials_{name}")
            owners += [] if extension is None else [(extension, f"{name}Texture")]
        chosen = None
        for owner, key in owners:
            uv_set = self.textures.uv_set(owner, key)
            chosen = uv_set if chosen is None else chosen
            if uv_set is not None and uv_set != chosen:
                owner.warn(f"a second set of texture coordinates is not supported; TEXCOORD_{chosen} is used", key)
        return chosen
