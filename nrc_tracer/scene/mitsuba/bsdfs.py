"""Materials."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from nrc_tracer.errors import nearest
from nrc_tracer.scene.mitsuba.document import Document
from nrc_tracer.scene.mitsuba.node import Node
from nrc_tracer.scene.mitsuba.textures import TextureReader
from nrc_tracer.scene.model import (
    Conductor,
    Dielectric,
    Diffuse,
    Material,
    Plastic,
    Scalar,
    Sides,
    ThinDielectric,
    Vec3,
)

IOR = {
    "vacuum": 1.0, "helium": 1.000036, "hydrogen": 1.000132, "air": 1.000277, "carbon dioxide": 1.00045,
    "water": 1.3330, "acetone": 1.36, "ethanol": 1.361, "carbon tetrachloride": 1.461, "glycerol": 1.4729,
    "benzene": 1.501, "silicone oil": 1.52045, "bromine": 1.661, "water ice": 1.31, "fused quartz": 1.458,
    "pyrex": 1.470, "acrylic glass": 1.49, "polypropylene": 1.49, "bk7": 1.5046, "sodium chloride": 1.544,
    "amber": 1.55, "pet": 1.5750, "diamond": 2.419,
}  # fmt: skip
"""Indices of refraction at 589 nm, by the names Mitsuba knows (E. Hecht, *Optics*)."""

METALS: dict[str, Vec3] = {
    "Ag": (0.972, 0.960, 0.915), "Al": (0.913, 0.922, 0.924), "Au": (1.000, 0.766, 0.336), "Cr": (0.550, 0.556, 0.554),
    "Cu": (0.955, 0.638, 0.538), "W": (0.504, 0.498, 0.478),
}  # fmt: skip
"""Reflectance at normal incidence, linear Rec. 709."""
GREY_METAL = (0.7, 0.7, 0.7)

WRAPPERS = ("mask", "bumpmap", "normalmap", "blendbsdf")
"""Plugins that hold others and are not supported yet: the first one they hold is used."""


@dataclass
class BsdfReader:
    """Turns bsdf nodes into materials, and collects these.

    Attributes:
        document: The file.
        textures: The reader of colours.
        materials: The materials met so far, by their unique names.
        names: The name of each bsdf node, as it is and inside `twosided`.
    """

    document: Document
    textures: TextureReader
    materials: dict[str, Material] = field(default_factory=dict)
    names: dict[tuple[int, bool], str] = field(default_factory=dict)
    open: list[Node] = field(default_factory=list)

    def name(self, node: Node, two_sided: bool = False) -> str:
        """Read a bsdf, unless that is done, and return the name of its material."""
        key = (id(node), two_sided)
        if key not in self.names:
            material = self.material(node, two_sided)
            name = node.id or f"{node.plugin}-{node.place.line}"
            candidate, number = name, 2
            while candidate in self.materials:
                candidate, number = f"{name}-{number}", number + 1
            self.names[key] = candidate
            self.materials[candidate] = material
        return self.names[key]

    def default_material(self, *, emits: bool) -> str:
        """Return the name of what a shape without a bsdf is made of: grey, or black if it is an emitter."""
        if emits:
            self.materials.setdefault("default-emitter-bsdf", Diffuse(reflectance=0.0, two_sided=False))
            return "default-emitter-bsdf"
        self.materials.setdefault("default-bsdf", Diffuse(two_sided=False))
        return "default-bsdf"

    def material(self, node: Node, two_sided: bool) -> Material:
        """Read a bsdf; `two_sided` if it stands inside `twosided`.

        Raises:
            SceneError: A parameter is malformed, or the bsdf holds itself.
        """
        if any(node is other for other in self.open):
            node.place.fail(f"{node} refers to itself")
        self.open.append(node)
        try:
            material = self._read(node, two_sided)
        finally:
            self.open.pop()
        return material

    def _read(self, node: Node, two_sided: bool) -> Material:
        readers = {
            "diffuse": self._diffuse,
            "conductor": self._conductor,
            "roughconductor": self._conductor,
            "dielectric": self._dielectric,
            "roughdielectric": self._dielectric,
            "thindielectric": self._thin_dielectric,
            "plastic": self._plastic,
            "roughplastic": self._plastic,
        }
        if node.plugin in readers:
            material = readers[node.plugin](node)
            if hasattr(material, "two_sided"):
                material = msgspec.structs.replace(material, two_sided=two_sided)
            self.document.warn_unknown(node)
            return material
        if node.plugin == "twosided":
            return self._twosided(node)
        if node.plugin == "null":
            return ThinDielectric(int_ior=1.0, ext_ior=1.0)  # lets everything through
        if node.plugin in WRAPPERS:
            nested = self.document.children(node, "bsdf")
            if not nested:
                node.place.fail(f"{node} holds no bsdf")
            self.document.warn(node.place, f"{node} is not supported yet; the {nested[0]} in it is used alone")
            return self.material(nested[0], two_sided)
        if node.plugin == "principled":
            color = self.textures.color(node, "base_color", 0.5, highest=1.0)
            self.document.warn(node.place, f"{node} is not supported yet; a diffuse one of its base_color is used")
            return Diffuse(reflectance=color, two_sided=two_sided)
        hint = nearest(node.plugin, (*readers, "twosided", "null", "principled", *WRAPPERS))
        self.document.warn(node.place, f"{node} is not supported{hint}; a grey diffuse one is used")
        return Diffuse(two_sided=two_sided)

    def _twosided(self, node: Node) -> Material:
        nested = self.document.children(node, "bsdf")
        if len(nested) not in (1, 2):
            node.place.fail(f"{node} must hold one or two bsdfs, it holds {len(nested)}")
        node.ignore("allow_transmission", *(child.name for child in node.children))
        self.document.warn_unknown(node)
        sides = [self.material(child, two_sided=True) for child in nested]
        for child, side in zip(nested, sides, strict=True):
            if isinstance(side, Dielectric | ThinDielectric):
                child.place.fail(f"{node} cannot hold a {child}: light passes through it")
        if len(nested) == 1:
            return sides[0]
        for child, side in zip(nested, sides, strict=True):
            if isinstance(side, Sides):
                child.place.fail(f"{node} cannot hold another with two bsdfs")
        return Sides(front=self.name(nested[0], two_sided=True), back=self.name(nested[1], two_sided=True))

    def _diffuse(self, node: Node) -> Diffuse:
        return Diffuse(reflectance=self.textures.color(node, "reflectance", 0.5, highest=1.0))

    def _conductor(self, node: Node) -> Conductor:
        rough = node.plugin == "roughconductor"
        metal = node.string("material", "none")
        specular = self.textures.color(node, "specular_reflectance", 1.0, highest=1.0)
        eta, k = self.textures.color(node, "eta", 0.0), self.textures.color(node, "k", 1.0)
        if metal.lower() != "none" and "eta" not in node.properties:
            tint = METALS.get(metal, GREY_METAL)
            place = node.properties["material"].place
            text = " ".join(f"{x:g}" for x in tint)
            self.document.warn(place, f'{node}: the metal "{metal}" is not supported yet; a mirror of {text} is used')
            eta, k = 0.0, 1.0
            specular = specular if isinstance(specular, str) else _product(specular, tint)
        alpha = self._roughness(node) if rough else None
        return Conductor(
            eta=eta, k=k, specular_reflectance=specular, alpha=alpha, distribution=self._distribution(node, rough)
        )

    def _dielectric(self, node: Node) -> Dielectric:
        rough = node.plugin == "roughdielectric"
        return Dielectric(
            int_ior=self._ior(node, "int_ior", "bk7"),
            ext_ior=self._ior(node, "ext_ior", "air"),
            specular_reflectance=self.textures.color(node, "specular_reflectance", 1.0, highest=1.0),
            specular_transmittance=self.textures.color(node, "specular_transmittance", 1.0, highest=1.0),
            alpha=self._roughness(node) if rough else None,
            distribution=self._distribution(node, rough),
        )

    def _thin_dielectric(self, node: Node) -> ThinDielectric:
        return ThinDielectric(
            int_ior=self._ior(node, "int_ior", "bk7"),
            ext_ior=self._ior(node, "ext_ior", "air"),
            specular_reflectance=self.textures.color(node, "specular_reflectance", 1.0, highest=1.0),
            specular_transmittance=self.textures.color(node, "specular_transmittance", 1.0, highest=1.0),
        )

    def _plastic(self, node: Node) -> Plastic:
        rough = node.plugin == "roughplastic"
        alpha = None
        if rough:
            child = self.document.child(node, "alpha")
            if child is not None:
                child.place.fail(f"{node}: alpha must be a number, not a {child.tag}")
            alpha = node.number("alpha", 0.1)
            if alpha < 0.0:
                node.properties["alpha"].place.fail(f"{node}: alpha must not be negative, it is {alpha:g}")
        return Plastic(
            diffuse_reflectance=self.textures.color(node, "diffuse_reflectance", 0.5, highest=1.0),
            specular_reflectance=self.textures.color(node, "specular_reflectance", 1.0, highest=1.0),
            int_ior=self._ior(node, "int_ior", "polypropylene"),
            ext_ior=self._ior(node, "ext_ior", "air"),
            nonlinear=node.boolean("nonlinear", False),
            alpha=alpha,
            distribution=self._distribution(node, rough),
        )

    def _distribution(self, node: Node, rough: bool) -> str:
        if not rough:
            return "ggx"  # there is none
        node.ignore("sample_visible")
        return node.choice("distribution", "beckmann", ("beckmann", "ggx"))

    def _roughness(self, node: Node) -> Scalar | tuple[Scalar, Scalar]:
        if not node.has("alpha_u", "alpha_v"):
            return self.textures.scalar(node, "alpha", 0.1)
        if not (node.has("alpha_u") and node.has("alpha_v")) or node.has("alpha"):
            node.place.fail(f"{node} needs either alpha, or alpha_u and alpha_v")
        return self.textures.scalar(node, "alpha_u", 0.1), self.textures.scalar(node, "alpha_v", 0.1)

    def _ior(self, node: Node, name: str, default: str) -> float:
        item = node.properties.get(name)
        if item is None or item.tag == "string":
            value = node.string(name, default)
            if value.lower() not in IOR:
                item.place.fail(f'{node}: no index of refraction is known for "{value}"{nearest(value.lower(), IOR)}')
            return IOR[value.lower()]
        value = node.number(name)
        if value <= 0.0:
            item.place.fail(f"{node}: {name} must be > 0, it is {value:g}")
        return value


def _product(value: float | Vec3, tint: Vec3) -> Vec3:
    factors = value if isinstance(value, tuple) else (value,) * 3
    return tuple(a * b for a, b in zip(factors, tint, strict=True))
