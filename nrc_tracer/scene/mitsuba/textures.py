"""Reading colours and textures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np

from nrc_tracer.scene.mitsuba import spectra
from nrc_tracer.scene.mitsuba.document import Document
from nrc_tracer.scene.mitsuba.node import Flat, Node, Place, Wavelengths
from nrc_tracer.scene.mitsuba.values import parse_float
from nrc_tracer.scene.model import Bitmap, Checkerboard, Color, Scalar, Texture, Vec3, VertexColor, Wrap
from nrc_tracer.scene.names import unique_name
from nrc_tracer.scene.vectors import as_vec3

SPECTRA = ("uniform", "rgb", "srgb", "rawconstant", "d65", "irregular", "regular", "blackbody")
"""Plugins for a constant colour, which can also be used as textures."""


@dataclass
class TextureReader:
    """Converts colour parameters to numbers or names of textures, and collects these textures.

    Attributes:
        document: The file.
        textures: The textures found so far, by their unique names.
        names: The name of each texture node, for its use as a colour and as a number.
        attributes: The attribute of the mesh that each texture `mesh_attribute` looks up, by the texture's name.
    """

    document: Document
    textures: dict[str, Texture] = field(default_factory=dict)
    names: dict[tuple[int, bool], str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)

    def color(self, node: Node, name: str, default: Color, emissive: bool = False, highest: float = np.inf) -> Color:
        """Return a colour parameter: a number, linear RGB or the name of a texture.

        Args:
            node: The plugin.
            name: The parameter.
            default: Value of a missing parameter.
            emissive: Whether it is an emission, for which a spectrum of equal energy is not white.
            highest: Largest allowed component, such as 1 for reflectances.

        A component that is negative or too large is clamped, with a warning.

        Raises:
            SceneError: It is not a colour.
        """
        node.known.add(name)
        child = self.document.child(node, name)
        if child is not None:
            return self._child(node, name, child, default, emissive, scalar=False)
        if name not in node.properties:
            return default
        item = node.properties[name]
        if item.tag not in ("rgb", "srgb", "spectrum", "float", "integer"):
            item.place.fail(f"{node}: {name} must be a colour or a texture, not a {item.tag}")
        value = self._spectrum(item.value, emissive, highest)
        return self._bounded(value, highest, f"{node}: {name}", item.place)

    def optical_constant(self, node: Node, name: str, default: Color) -> Color:
        """Return the real or imaginary part of a metal's index of refraction, as `color`.

        A negative component loses its sign, with a warning. That changes nothing: Fresnel's equations have only its square.
        """
        item = node.properties.get(name)
        value = item.value if item is not None and item.tag in ("rgb", "srgb", "spectrum", "float", "integer") else 0.0
        components = value if isinstance(value, tuple) else (value,)
        if item is None or not all(isinstance(x, int | float) for x in components) or min(components) >= 0.0:
            return self.color(node, name, default)
        node.known.add(name)
        self.document.warn(item.place, f"{node}: {name} is negative ({_text(value)}); its absolute value is used")
        return as_vec3(abs(x) for x in components) if isinstance(value, tuple) else abs(value)

    def _bounded(self, value: float | Vec3, highest: float, what: str, place: Place) -> float | Vec3:
        """Clamp a colour to 0 to `highest`, with a warning."""
        components = value if isinstance(value, tuple) else (value,)
        clamped = tuple(min(max(x, 0.0), highest) for x in components)
        if clamped == components:
            return value
        problem = "must not be negative" if min(components) < 0.0 else f"must not exceed {highest:g}"
        self.document.warn(place, f"{what} {problem}, it is {' '.join(f'{x:g}' for x in components)}; it is clamped")
        return as_vec3(clamped) if isinstance(value, tuple) else clamped[0]

    def plain_color(self, node: Node, name: str, default: float | Vec3, emissive: bool = False) -> float | Vec3:
        """Return a colour parameter that cannot be a texture; `default` replaces one, with a warning."""
        child = self.document.child(node, name)
        if child is None or child.tag != "texture" or child.plugin in SPECTRA:
            value = self.color(node, name, default, emissive)
            if not isinstance(value, str):
                return value
        place = node.place if child is None else child.place
        self.document.warn(place, f"{node}: {name} cannot be a texture yet; {_text(default)} is used")
        return default

    def scalar(self, node: Node, name: str, default: float) -> Scalar:
        """Return a number or the name of a texture. Errors as for `color`."""
        node.known.add(name)
        child = self.document.child(node, name)
        if child is not None:
            value = self._child(node, name, child, default, emissive=False, scalar=True)
        else:
            value = self.color(node, name, default)
        if isinstance(value, tuple):
            place = node.properties[name].place if child is None else child.place
            if len(set(value)) > 1:
                place.fail(f"{node}: {name} must be one number, not a colour")
            value = value[0]
        return value

    def constant(self, node: Node, value: Vec3) -> str:
        """Return the name of a texture that has the same value everywhere."""
        name = unique_name(f"{node.plugin}-{node.place.line}", self.textures, "-")
        file = self.document.add_image(name, np.array([[value]], np.float32))
        self.textures[name] = Bitmap(file=file, raw=True)
        return name

    def _child(self, node: Node, name: str, child: Node, default: Color, emissive: bool, scalar: bool) -> Color:
        if child.tag == "spectrum" or (child.tag == "texture" and child.plugin in SPECTRA):
            return self._spectrum_plugin(child, default, emissive, scalar)
        if child.tag != "texture":
            child.place.fail(f"{node}: {name} must be a colour or a texture, not a {child.tag}")
        readers: dict[str, Callable[[Node], Texture]] = {
            "bitmap": self._bitmap,
            "checkerboard": self._checkerboard,
            "mesh_attribute": self._mesh_attribute,
        }
        if child.plugin not in readers:
            message = f'texture "{child.plugin}" is not supported yet; {_text(default)} is used'
            self.document.warn(child.place, message)
            return default
        if child.plugin == "mesh_attribute" and emissive:
            child.ignore("name", "scale")
            self.document.warn(child.place, f"{child} as light is not supported; {_text(default)} is used")
            return default
        # A checkerboard that Mitsuba uses as a number has its two fields exchanged
        exchanged = scalar and child.plugin == "checkerboard"
        key = (id(child), exchanged)
        if key not in self.names:
            texture: Texture = readers[child.plugin](child)
            if exchanged and isinstance(texture, Checkerboard):
                texture = msgspec.structs.replace(texture, color0=texture.color1, color1=texture.color0)
            self.names[key] = unique_name(child.id or f"{child.plugin}-{child.place.line}", self.textures, "-")
            self.textures[self.names[key]] = texture
            if isinstance(texture, VertexColor):
                self.attributes[self.names[key]] = child.string("name")
            self.document.warn_unknown(child)
        return self.names[key]

    def _bitmap(self, node: Node) -> Bitmap:
        node.ignore("format", "accel", "filename")
        if not node.has("filename"):
            node.place.fail(f"{node} needs filename")
        given = node.string("filter_type", "bilinear").lower()
        if given not in ("bilinear", "nearest"):
            place = node.properties["filter_type"].place
            self.document.warn(place, f'{node}: filter_type "{given}" is not supported; bilinear is used')
        wrap: Wrap = node.choice("wrap_mode", "repeat", ("repeat", "mirror", "clamp"))
        return Bitmap(
            file=self.document.file_name(node),
            raw=node.boolean("raw", False),
            filter="nearest" if given == "nearest" else "bilinear",
            wrap=wrap,
            to_uv=node.transform("to_uv"),
        )

    def _checkerboard(self, node: Node) -> Checkerboard:
        color0, color1 = self.plain_color(node, "color0", 0.4), self.plain_color(node, "color1", 0.2)
        return Checkerboard(color0=color0, color1=color1, to_uv=node.transform("to_uv"))

    def _mesh_attribute(self, node: Node) -> VertexColor:
        scale = node.number("scale", 1.0)
        if scale < 0.0:
            node.properties["scale"].place.fail(f"{node}: scale must not be negative, it is {scale:g}")
        return VertexColor(factor=scale)

    @staticmethod
    def _spectrum(value: float | Vec3 | Flat | Wavelengths, emissive: bool, highest: float) -> float | Vec3:
        match value:
            case Flat(value=number):
                return spectra.flat_emission_to_rgb(number) if emissive else number
            case Wavelengths(pairs=pairs):
                table = np.array(pairs)
                if emissive:
                    return spectra.emission_to_rgb(table[:, 0], table[:, 1])
                return spectra.daylight_to_rgb(table[:, 0], table[:, 1], highest)
            case tuple():
                return value
            case _:
                return float(value)

    def _spectrum_plugin(self, node: Node, default: Color, emissive: bool, scalar: bool) -> Color:
        """Read a <spectrum type="...">, or a <texture> of the same type."""
        value: Color
        match node.plugin:
            case "uniform":
                node.ignore("wavelength_min", "wavelength_max")
                value = node.number("value", 1.0)
            case "rgb" | "srgb":
                node.ignore("unbounded")
                value = self.plain_color(node, "color", 1.0)
            case "rawconstant":
                node.known.add("value")
                item = node.properties.get("value")
                value = node.vector("value") if item and item.tag in ("vector", "point") else node.number("value")
            case "d65":
                value = self._d65(node, default, scalar)
            case "irregular" | "regular" | "blackbody":
                value = self._wavelengths(node, emissive)
            case _:
                self.document.warn(node.place, f"{node} is not supported yet; {_text(default)} is used")
                return default
        self.document.warn_unknown(node)
        return value if isinstance(value, str) else self._bounded(value, np.inf, str(node), node.place)

    def _d65(self, node: Node, default: Color, scalar: bool) -> Color:
        """Read D65, which is white by definition, times a scale, a colour or a texture."""
        nested = self.document.children(node, "texture")
        if nested:
            if node.has("scale"):
                self.document.warn(
                    node.properties["scale"].place, f"{node}: scale is not supported with a texture; it is ignored"
                )
            node.ignore(nested[0].name)
            return self._child(node, nested[0].name, nested[0], default, emissive=True, scalar=scalar)
        scale = node.number("scale", 1.0)
        color = self.plain_color(node, "color", 1.0)
        return as_vec3(scale * x for x in color) if isinstance(color, tuple) else scale * color

    def _wavelengths(self, node: Node, emissive: bool) -> float | Vec3:
        """Read a spectrum that is stated by values at wavelengths, or by a temperature."""
        if node.plugin == "blackbody":
            temperature, scale = node.number("temperature"), node.number("scale", 1.0)
            low, high = node.number("wavelength_min", 360.0), node.number("wavelength_max", 830.0)
            if temperature <= 0.0 or not 0.0 < low < high:
                node.place.fail(f"{node}: temperature > 0 and 0 < wavelength_min < wavelength_max must hold")
            wavelengths, values = spectra.blackbody(temperature, low, high)
            return spectra.emission_to_rgb(wavelengths, scale * values)
        if node.plugin == "regular":
            values = self._numbers(node, "values")
            wavelengths = np.linspace(node.number("wavelength_min"), node.number("wavelength_max"), len(values))
        else:
            wavelengths, values = self._numbers(node, "wavelengths"), self._numbers(node, "values")
        if len(wavelengths) != len(values) or len(values) < 2 or np.any(np.diff(wavelengths) <= 0.0):
            node.place.fail(f"{node} needs as many values as wavelengths, at least two, and ascending wavelengths")
        return self._spectrum(Wavelengths(tuple(zip(wavelengths, values, strict=True))), emissive, np.inf)

    @staticmethod
    def _numbers(node: Node, name: str) -> np.ndarray:
        words = node.string(name).replace(",", " ").split()
        return np.array([parse_float(word, node.properties[name].place, f"{node}: {name}") for word in words])


def _text(value: Color) -> str:
    return " ".join(f"{x:g}" for x in value) if isinstance(value, tuple) else f"{value}"
