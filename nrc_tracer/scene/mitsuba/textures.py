"""Colours and textures."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nrc_tracer.scene.mitsuba import spectra
from nrc_tracer.scene.mitsuba.document import Document
from nrc_tracer.scene.mitsuba.node import Flat, Node, Place, Wavelengths
from nrc_tracer.scene.model import Bitmap, Checkerboard, Color, Scalar, Texture, Vec3


@dataclass
class TextureReader:
    """Turns colour parameters into numbers or names of textures, and collects those textures.

    Attributes:
        document: The file.
        textures: The textures met so far, by their unique names.
        names: The name of each texture node, once for use as a colour and once as a number.
    """

    document: Document
    textures: dict[str, Texture] = field(default_factory=dict)
    names: dict[tuple[int, bool], str] = field(default_factory=dict)

    def color(self, node: Node, name: str, default: Color, emissive: bool = False, highest: float = np.inf) -> Color:
        """Return a colour parameter: a number, linear RGB or the name of a texture.

        Args:
            node: The plugin.
            name: The parameter.
            default: What it is if absent.
            emissive: Whether it is light (a spectrum of equal energy is not white then).
            highest: The largest component that is allowed, as 1 for reflectances.

        Raises:
            SceneError: It is no colour, is negative or too large.
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
        value = self._spectrum(item.value, item.place, emissive)
        components = value if isinstance(value, tuple) else (value,)
        if min(components) < 0.0:
            item.place.fail(f"{node}: {name} must not be negative, it is {min(components):g}")
        if max(components) > highest:
            item.place.fail(f"{node}: {name} must not exceed {highest:g}, it is {max(components):g}")
        return value

    def plain_color(self, node: Node, name: str, default: float | Vec3, emissive: bool = False) -> float | Vec3:
        """Return a colour parameter where no texture is supported: `default` replaces it, with a warning."""
        child = self.document.child(node, name)
        if child is not None and child.tag == "texture":
            self.document.warn(child.place, f"{node}: {name} cannot be a texture yet; {_text(default)} is used")
            return default
        value = self.color(node, name, default, emissive)
        return default if isinstance(value, str) else value

    def scalar(self, node: Node, name: str, default: float) -> Scalar:
        """Return a number or the name of a texture; errors as `color`."""
        node.known.add(name)
        child = self.document.child(node, name)
        if child is not None:
            return self._child(node, name, child, default, emissive=False, scalar=True)
        value = self.color(node, name, default)
        if isinstance(value, tuple):
            place = node.properties[name].place
            if len(set(value)) > 1:
                place.fail(f"{node}: {name} must be one number, not a colour")
            value = value[0]
        return value

    def _child(self, node: Node, name: str, child: Node, default: Color, emissive: bool, scalar: bool) -> Color:
        if child.tag == "spectrum":
            return self._spectrum_plugin(child, default)
        if child.tag != "texture":
            child.place.fail(f"{node}: {name} must be a colour or a texture, not a {child.tag}")
        if child.plugin not in ("bitmap", "checkerboard"):
            message = f'texture "{child.plugin}" is not supported yet; {_text(default)} is used'
            self.document.warn(child.place, message)
            return default
        # As a number a checkerboard of Mitsuba has its two fields exchanged
        exchanged = scalar and child.plugin == "checkerboard"
        key = (id(child), exchanged)
        if key not in self.names:
            texture = self._bitmap(child) if child.plugin == "bitmap" else self._checkerboard(child, exchanged)
            self.names[key] = self._unique(child.id or f"{child.plugin}-{child.place.line}")
            self.textures[self.names[key]] = texture
            self.document.warn_unknown(child)
        return self.names[key]

    def _unique(self, name: str) -> str:
        candidate, number = name, 2
        while candidate in self.textures:
            candidate, number = f"{name}-{number}", number + 1
        return candidate

    def _bitmap(self, node: Node) -> Bitmap:
        node.ignore("format", "accel", "filename")
        if not node.has("filename"):
            node.place.fail(f"{node} needs filename")
        filter_name = node.string("filter_type", "bilinear").lower()
        if filter_name not in ("bilinear", "nearest"):
            place = node.properties["filter_type"].place
            self.document.warn(place, f'{node}: filter_type "{filter_name}" is not supported; bilinear is used')
            filter_name = "bilinear"
        return Bitmap(
            file=self.document.file_name(node),
            raw=node.boolean("raw", False),
            filter=filter_name,
            wrap=node.choice("wrap_mode", "repeat", ("repeat", "mirror", "clamp")),
            to_uv=node.transform("to_uv"),
        )

    def _checkerboard(self, node: Node, exchanged: bool) -> Checkerboard:
        color0, color1 = self.plain_color(node, "color0", 0.4), self.plain_color(node, "color1", 0.2)
        if exchanged:
            color0, color1 = color1, color0
        return Checkerboard(color0=color0, color1=color1, to_uv=node.transform("to_uv"))

    def _spectrum(self, value: float | Vec3 | Flat | Wavelengths, place: Place, emissive: bool) -> float | Vec3:
        match value:
            case Flat(value=number):
                return spectra.flat_emission_to_rgb(number) if emissive else number
            case Wavelengths(pairs=pairs):
                table = np.array(pairs)
                if np.all(table[:, 1] == table[0, 1]) and not emissive:
                    return float(table[0, 1])
                convert = spectra.emission_to_rgb if emissive else spectra.reflectance_to_rgb
                self.document.warn(place, "a spectrum given by wavelengths is turned into the RGB colour it looks like")
                return convert(table[:, 0], table[:, 1])
            case tuple():
                return value
            case _:
                return float(value)

    def _spectrum_plugin(self, node: Node, default: Color) -> Color:
        if node.plugin == "uniform":
            return node.number("value", 1.0)
        if node.plugin in ("rgb", "srgb"):
            return self.plain_color(node, "color", 1.0)
        if node.plugin == "d65":  # white, by definition
            return node.number("scale", 1.0)
        self.document.warn(node.place, f"{node} is not supported yet; {_text(default)} is used")
        return default


def _text(value: Color) -> str:
    return " ".join(f"{x:g}" for x in value) if isinstance(value, tuple) else f"{value}"
