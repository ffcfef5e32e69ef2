"""Reading materials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from nrc_tracer.errors import nearest
from nrc_tracer.scene.mitsuba.document import Document
from nrc_tracer.scene.mitsuba.metals import METALS, find_metal
from nrc_tracer.scene.mitsuba.node import Node
from nrc_tracer.scene.mitsuba.principled import read_principled
from nrc_tracer.scene.mitsuba.textures import TextureReader
from nrc_tracer.scene.mitsuba.values import parse_float
from nrc_tracer.scene.model import (
    Blend,
    Bump,
    Conductor,
    Dielectric,
    Diffuse,
    Distribution,
    Mask,
    Material,
    NormalMap,
    Plastic,
    Principled,
    Scalar,
    Sides,
    ThinDielectric,
)
from nrc_tracer.scene.names import unique_name
from nrc_tracer.scene.nesting import nested_materials

IOR = {
    "vacuum": 1.0, "helium": 1.000036, "hydrogen": 1.000132, "air": 1.000277, "carbon dioxide": 1.00045,
    "water": 1.3330, "acetone": 1.36, "ethanol": 1.361, "carbon tetrachloride": 1.461, "glycerol": 1.4729,
    "benzene": 1.501, "silicone oil": 1.52045, "bromine": 1.661, "water ice": 1.31, "fused quartz": 1.458,
    "pyrex": 1.470, "acrylic glass": 1.49, "polypropylene": 1.49, "bk7": 1.5046, "sodium chloride": 1.544,
    "amber": 1.55, "pet": 1.5750, "diamond": 2.419,
}  # fmt: skip
"""Indices of refraction at 589 nm, by the names that Mitsuba uses (E. Hecht, *Optics*)."""

REFLECTANCES = (
    "reflectance",
    "diffuse_reflectance",
    "base_color",
    "diffuse",
    "color",
    "albedo",
    "specular_reflectance",
)
"""Parameters that give a bsdf of an unknown kind its colour, the best one first."""

OLDER_DISTRIBUTIONS = ("phong", "as")
"""Distributions of microfacets in the formats 0.x, where alpha means about what it does for Beckmann's."""


@dataclass
class BsdfReader:
    """Converts bsdf nodes to materials, and collects these.

    Attributes:
        document: The file.
        textures: The reader of colours.
        materials: The materials found so far, by their unique names.
        names: The name of each bsdf node, by its Python id and whether it is inside `twosided`.
        open: The bsdfs that are being read, to find circles.
    """

    document: Document
    textures: TextureReader
    materials: dict[str, Material] = field(default_factory=dict)
    names: dict[tuple[int, bool], str] = field(default_factory=dict)
    open: list[Node] = field(default_factory=list)

    def name(self, node: Node, two_sided: bool = False) -> str:
        """Read a bsdf, unless it has been read before, and return the name of its material."""
        key = (id(node), two_sided)
        if key not in self.names:
            material = self.material(node, two_sided)
            name = unique_name(node.id or f"{node.plugin}-{node.place.line}", self.materials, "-")
            self.names[key] = name
            self.materials[name] = material
        return self.names[key]

    def attributes(self, name: str) -> list[str]:
        """Return the attributes of a mesh that a material looks up, each once."""
        found: dict[str, None] = {}
        for part in self._parts(self.materials[name]):
            values = [value for value in msgspec.structs.astuple(part) if isinstance(value, str)]
            found |= dict.fromkeys(
                self.textures.attributes[value] for value in values if value in self.textures.attributes
            )
        return list(found)

    def default_material(self, *, emits: bool) -> str:
        """Return the name of the material of a shape without a bsdf: grey, or black if the shape emits."""
        if emits:
            self.materials.setdefault("default-emitter-bsdf", Diffuse(reflectance=0.0, two_sided=False))
            return "default-emitter-bsdf"
        self.materials.setdefault("default-bsdf", Diffuse(two_sided=False))
        return "default-bsdf"

    def material(self, node: Node, two_sided: bool) -> Material:
        """Read a bsdf. `two_sided` is set inside `twosided`.

        Raises:
            SceneError: A parameter is malformed, or the bsdf contains itself.
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
        readers: dict[str, Callable[[Node], Material]] = {
            "diffuse": self._diffuse,
            "roughdiffuse": self._rough_diffuse,
            "conductor": self._conductor,
            "roughconductor": self._conductor,
            "dielectric": self._dielectric,
            "roughdielectric": self._dielectric,
            "thindielectric": self._thin_dielectric,
            "plastic": self._plastic,
            "roughplastic": self._plastic,
            "principled": self._principled,
            "principledthin": self._principled,
        }
        modifiers: dict[str, Callable[[Node, bool], Material]] = {
            "mask": self._mask,
            "blendbsdf": self._blend,
            "bumpmap": self._bump,
            "normalmap": self._normal_map,
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
            return ThinDielectric(int_ior=1.0, ext_ior=1.0)  # transmits everything
        if node.plugin in modifiers:
            material = modifiers[node.plugin](node, two_sided)
            self.document.warn_unknown(node)
            return material
        hint = nearest(node.plugin, (*readers, "twosided", "null", *modifiers))
        return self._replacement(node, two_sided, f"{node} is not supported{hint}")

    def _replacement(self, node: Node, two_sided: bool, problem: str) -> Material:
        """Return a material for a bsdf that is not supported, made of what is known in it, with a warning.

        These are the bsdfs inside it, mixed by its `weights` (equally without them), or else its reflectance.
        """
        nested = self.document.children(node, "bsdf")
        if nested:
            used = f"the {nested[0]} in it is used" if len(nested) == 1 else "the bsdfs in it are mixed"
            self.document.warn(node.place, f"{problem}; {used}")
            return self._mixture(nested, self._weights(node, len(nested)), two_sided)
        for name in REFLECTANCES:
            if node.has(name):
                self.document.warn(node.place, f"{problem}; a diffuse one with its {name} is used")
                return Diffuse(reflectance=self.textures.color(node, name, 0.5, highest=1.0), two_sided=two_sided)
        self.document.warn(node.place, f"{problem}; a grey diffuse one is used")
        return Diffuse(two_sided=two_sided)

    def _weights(self, node: Node, count: int) -> list[float]:
        """Return the weights of the `count` parts of a mixture, of sum 1."""
        item = node.properties.get("weights")
        words = str(item.value).replace(",", " ").split() if item is not None else []
        weights = [max(parse_float(word, item.place, "weights"), 0.0) for word in words] if item is not None else []
        if len(weights) != count or not sum(weights) > 0.0:
            weights = [1.0] * count
        return [weight / sum(weights) for weight in weights]

    def _mixture(self, nested: list[Node], weights: list[float], two_sided: bool) -> Material:
        """Return bsdfs mixed by weights, as a chain of mixtures of two."""
        if len(nested) == 1:
            return self.material(nested[0], two_sided)
        rest = sum(weights[1:])
        if rest == 0.0:
            return self.material(nested[0], two_sided)
        others = self._mixture(nested[1:], weights[1:], two_sided)
        name = unique_name(f"{nested[1].plugin}-{nested[1].place.line}", self.materials, "-")
        self.materials[name] = others
        return Blend(materials=(self.name(nested[0], two_sided), name), weight=rest / (weights[0] + rest))

    def _twosided(self, node: Node) -> Material:
        nested = self.document.children(node, "bsdf")
        if len(nested) not in (1, 2):
            node.place.fail(f"{node} must contain one or two bsdfs, it contains {len(nested)}")
        node.ignore("allow_transmission", *(child.name for child in node.children))
        self.document.warn_unknown(node)
        sides = [self.material(child, two_sided=True) for child in nested]
        for child, side in zip(nested, sides, strict=True):
            if any(_transmits(part) for part in self._parts(side)):
                child.place.fail(f"{node} cannot contain a {child}, which transmits light")
        if len(nested) == 1:
            if not self._is_mapped(sides[0]):
                return sides[0]
            # Seen from the back the map is mirrored, so each side needs its own
            front = self.name(nested[0], two_sided=True)
            return Sides(front=front, back=front)
        for child, side in zip(nested, sides, strict=True):
            if isinstance(side, Sides):
                child.place.fail(f"{node} cannot contain another one with two bsdfs")
        return Sides(front=self.name(nested[0], two_sided=True), back=self.name(nested[1], two_sided=True))

    def _nested(self, node: Node, two_sided: bool, count: int = 1) -> list[str]:
        """Return the names of the materials of the `count` bsdfs inside a bsdf."""
        nested = self.document.children(node, "bsdf")
        if len(nested) != count:
            wanted = "one bsdf" if count == 1 else f"{count} bsdfs"
            node.place.fail(f"{node} must contain {wanted}, it contains {len(nested)}")
        node.ignore(*(child.name for child in node.children if self.document.resolve(child).tag == "bsdf"))
        return [self.name(child, two_sided) for child in nested]

    def _fraction(self, node: Node, name: str, default: float) -> Scalar:
        """Read a number that is clamped to 1, or a texture."""
        value = self.textures.scalar(node, name, default)
        return value if isinstance(value, str) else min(value, 1.0)

    def _mask(self, node: Node, two_sided: bool) -> Mask:
        return Mask(material=self._nested(node, two_sided)[0], opacity=self._fraction(node, "opacity", 0.5))

    def _blend(self, node: Node, two_sided: bool) -> Blend:
        if not node.has("weight"):
            node.place.fail(f"{node} needs weight")
        first, second = self._nested(node, two_sided, 2)
        return Blend(materials=(first, second), weight=self._fraction(node, "weight", 0.5))

    def _bump(self, node: Node, two_sided: bool) -> Material:
        (material,) = self._nested(node, two_sided)
        # The only texture is the parameter, whatever its name
        textures = [child for child in node.children if self.document.resolve(child).tag == "texture"]
        if len(textures) != 1:
            node.place.fail(f"{node} must contain one texture, it contains {len(textures)}")
        textures[0].name = textures[0].name or "texture"
        return self._map(node, Bump(material=material, texture=textures[0].name, scale=node.number("scale", 1.0)))

    def _normal_map(self, node: Node, two_sided: bool) -> Material:
        (material,) = self._nested(node, two_sided)
        if self.document.child(node, "normalmap") is None:
            node.place.fail(f"{node} needs the texture normalmap")
        return self._map(node, NormalMap(material=material, texture="normalmap"))

    def _map(self, node: Node, material: Bump | NormalMap) -> Material:
        """Replace the name of the texture's parameter by the name of the texture in the scene."""
        for option in ("flip_invalid_normals", "use_shadowing_function"):
            if not node.boolean(option, True):
                self.document.warn(node.place, f"{node}: {option} cannot be turned off; it stays on")
        is_normal = isinstance(material, NormalMap)
        texture = (self.textures.color if is_normal else self.textures.scalar)(node, material.texture, 0.0)
        if is_normal and isinstance(texture, tuple):
            texture = self.textures.constant(node, texture)
        if not isinstance(texture, str):  # a constant height, or not supported, and a warning has been given
            return self.materials[material.material]
        return msgspec.structs.replace(material, texture=texture)

    def _parts(self, material: Material) -> Iterator[Material]:
        """Yield a material and all materials nested in it."""
        yield material
        for _, name in nested_materials(material):
            yield from self._parts(self.materials[name])

    def _is_mapped(self, material: Material) -> bool:
        return any(isinstance(part, Bump | NormalMap) for part in self._parts(material))

    def _diffuse(self, node: Node) -> Diffuse:
        return Diffuse(reflectance=self.textures.color(node, "reflectance", 0.5, highest=1.0))

    def _rough_diffuse(self, node: Node) -> Diffuse:
        return Diffuse(
            reflectance=self.textures.color(node, "reflectance", 0.5, highest=1.0),
            alpha=self.textures.scalar(node, "alpha", 0.2),
            qualitative=node.boolean("use_fast_approx", False),
        )

    def _conductor(self, node: Node) -> Conductor:
        rough = node.plugin == "roughconductor"
        specular = self.textures.color(node, "specular_reflectance", 1.0, highest=1.0)
        eta, k = self.textures.optical_constant(node, "eta", 0.0), self.textures.optical_constant(node, "k", 1.0)
        metal = node.string("material", "none")
        if metal.lower() != "none":
            place = node.properties["material"].place
            if node.has("eta", "k"):
                place.fail(f"{node} has both material and eta or k; give one")
            found = find_metal(metal)
            if found is None:
                place.fail(f'{node}: no index of refraction is known for "{metal}"{nearest(metal, METALS)}')
            eta, k = found
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

    def _principled(self, node: Node) -> Principled:
        return read_principled(node, self.textures)

    def _distribution(self, node: Node, rough: bool) -> Distribution:
        if not rough:
            return "ggx"  # unused
        node.ignore("sample_visible")
        given = node.properties.get("distribution")
        if given is not None and str(given.value).lower() in OLDER_DISTRIBUTIONS:
            node.ignore("distribution")
            self.document.warn(given.place, f'{node}: distribution "{given.value}" is not supported; beckmann is used')
            return "beckmann"
        return node.choice("distribution", "beckmann", ("beckmann", "ggx"))

    def _roughness(self, node: Node) -> Scalar | tuple[Scalar, Scalar]:
        if not node.has("alpha_u", "alpha_v"):
            return self.textures.scalar(node, "alpha", 0.1)
        if not (node.has("alpha_u") and node.has("alpha_v")) or node.has("alpha"):
            node.place.fail(f"{node} needs either alpha, or alpha_u and alpha_v")
        return self.textures.scalar(node, "alpha_u", 0.1), self.textures.scalar(node, "alpha_v", 0.1)

    def _ior(self, node: Node, name: str, default: str) -> float:
        item = node.properties.get(name)
        place = node.place if item is None else item.place
        if item is None or item.tag == "string":
            material = node.string(name, default)
            if material.lower() not in IOR:
                hint = nearest(material.lower(), IOR)
                place.fail(f'{node}: no index of refraction is known for "{material}"{hint}')
            return IOR[material.lower()]
        value = node.number(name)
        if value <= 0.0:
            place.fail(f"{node}: {name} must be > 0, it is {value:g}")
        return value


def _transmits(material: Material) -> bool:
    if isinstance(material, Dielectric | ThinDielectric):
        return True
    return isinstance(material, Principled) and (material.spec_trans != 0.0 or material.diff_trans != 0.0)
