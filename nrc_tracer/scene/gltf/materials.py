"""Materials of a glTF file: surface, normal map, opacity, emission.

All materials scatter on both sides, whatever `doubleSided` says: that switch is for rasterizers, which save the work of
drawing the inside of closed objects, and a path tracer that turned backs black would let less light through a room's walls
than there is. Emission is on the front side alone. Occlusion textures are passed over: a path tracer finds occlusion itself.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from nrc_tracer.scene.gltf.bsdfs import Base, read_base, read_bsdf
from nrc_tracer.scene.gltf.document import SUPPORTED, Document
from nrc_tracer.scene.gltf.entry import Entry
from nrc_tracer.scene.gltf.textures import TextureReader, unique
from nrc_tracer.scene.model import Color, Diffuse, Mask, Material, NormalMap, Principled, Transform, VertexColor

KNOWN_EXTENSIONS = {name for name in SUPPORTED if name.startswith("KHR_materials_")}
DEFAULT = "glTF default"
"""The material of a primitive that names none: a rough white metal, as the format has it."""


class ReadMaterial(NamedTuple):
    """A material as shapes use it: its name, what it emits, the set of texture coordinates of its textures, and what is done
    to those before its normal map is looked up (None without one)."""

    name: str
    emission: Color | None
    uv_set: int | None
    normal_to_uv: Transform | None = None


class MaterialReader:
    """Reads materials when a primitive asks for them, once with and once without vertex colours."""

    def __init__(self, document: Document, textures: TextureReader) -> None:
        self.document = document
        self.textures = textures
        self.materials: dict[str, Material] = {}
        self._read: dict[tuple[int | None, bool], ReadMaterial] = {}

    def read(self, index: int | None, vertex_colors: bool) -> ReadMaterial:
        """Read a material.

        Args:
            index: Its number in the file, or None for the format's default.
            vertex_colors: Whether the mesh has colours of its own, which multiply the base colour.

        Raises:
            SceneError: A value, a texture or an image is malformed.
        """
        key = (index, vertex_colors)
        if key not in self._read:
            if index is None:
                base = Base((1.0, 1.0, 1.0, 1.0), None, vertex_colors).color(self.textures)
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
        to_uv = self.textures.textures[mapped.texture].to_uv if isinstance(mapped, NormalMap) else None
        if opacity is not None:
            name = self._name(label, Mask(material=name, opacity=opacity))
        if emission is not None:
            if entry.boolean("doubleSided", False):
                entry.warn("emission from both sides is not supported; it shines on its front side")
            if opacity is not None:
                entry.warn("what a transparent material emits is not made less by its opacity")
        return ReadMaterial(name, emission, self._uv_set(entry), to_uv)

    def _name(self, label: str, material: Material) -> str:
        name = unique(label, self.materials)
        self.materials[name] = material
        return name

    def _normal_map(self, entry: Entry, material: str, label: str) -> str:
        info = entry.entry("normalTexture")
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
        strength = 1.0 if extension is None else extension.number("emissiveStrength", 1.0)
        if strength < 0.0:
            extension.fail("must not be negative", "emissiveStrength")
        radiance = tuple(min(value * strength, 3e38) for value in factor)
        if max(radiance) == 0.0:
            return None
        return self.textures.color(self.textures.use(entry, "emissiveTexture"), radiance)

    def _opacity(self, entry: Entry, base: Base) -> float | str | None:
        """Return the share of light that meets the material, None if all does.

        With alphaMode MASK it is 0 or 1 (see `ImageReader.mask`), with BLEND a probability: light passes at random.
        """
        mode = entry.choice("alphaMode", ("OPAQUE", "MASK", "BLEND"), "OPAQUE")
        if mode == "OPAQUE":
            return None
        factor, use = base.factor[3], base.texture
        if use is not None and not use.has_alpha:
            use = None
        if mode == "BLEND":
            inner = self.textures.scalar(use, "a", factor)
            if not base.vertex_colors:
                return None if inner == 1.0 else inner
            nested = isinstance(inner, str)
            color = VertexColor(channel="a", factor=1.0 if nested else inner, texture=inner if nested else None)
            return self.textures.name(color, "vertex opacity")
        cutoff = entry.number("alphaCutoff", 0.5)
        if base.vertex_colors:
            entry.warn("the opacity of vertex colours is not supported with alphaMode MASK; it is taken as 1")
        if use is None:
            return None if factor >= cutoff else 0.0
        wraps = (use.wrap, use.wrap) if isinstance(use.wrap, str) else use.wrap
        image = self.textures.images.mask(use.image, factor, cutoff, wraps)
        if np.all(self.textures.images.images[image]):
            return None
        bitmap = msgspec.structs.replace(use.bitmap(), file=image, channel="r", filter="nearest")
        return self.textures.name(bitmap, f"{use.label} (mask)")

    def _uv_set(self, entry: Entry) -> int | None:
        """Choose the one set of texture coordinates that a mesh can have: the base colour's, or the first one used."""
        pbr = entry.entry("pbrMetallicRoughness")
        owners = [(pbr, key) for key in ("baseColorTexture", "metallicRoughnessTexture") if pbr is not None]
        owners += [(entry, "normalTexture"), (entry, "emissiveTexture")]
        keys = {
            "transmission": ("transmissionTexture",),
            "specular": ("specularTexture",),
            "clearcoat": ("clearcoatTexture",),
        }
        for name, textures in keys.items():
            extension = entry.extension(f"KHR_materials_{name}")
            owners += [(extension, key) for key in textures if extension is not None]
        chosen = None
        for owner, key in owners:
            uv_set = self.textures.uv_set(owner, key)
            chosen = uv_set if chosen is None else chosen
            if uv_set is not None and uv_set != chosen:
                owner.warn(f"a second set of texture coordinates is not supported; TEXCOORD_{chosen} is used", key)
        return chosen
