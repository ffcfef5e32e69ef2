"""What the materials of an OBJ file's .mtl scatter, as materials of the scene.

The format states colours for Phong's model and, in its extension for physically based rendering (keys `Pr`, `Pm`, `Ps`, `Pc`),
parameters of Disney's. What becomes of them:

* `Pr`, `Pm`, `Ps`, `Pc`, `Pcr`, `aniso` or a map of one: `Principled`, its base `Kd`.
* `illum` 4, 6, 7 or 9 with an index `Ni` other than 1: `Dielectric`; `Tf` filters what passes through two of its boundaries.
* `Ks` with a black `Kd`: a perfect reflector of that colour, smooth with `illum` 3, 5 or 8, else rough.
* `Ks` otherwise: `Plastic`, whose coat of index `Ni` (1.5 if that is not above 1) has the colour `Ks`.
* Anything else, and `illum` 0 and 1: `Diffuse`.

The highlight (N . H)^Ns has the width of Beckmann's distribution with alpha = sqrt(2 / (Ns + 2)) (Walter et al., *Microfacet
Models for Refraction through Rough Surfaces*, 2007, section 5.2). A texture multiplies the colour it stands beside; where that
is black, or absent, the texture is used alone. Its options move it as in other readers: u' = s u + o, v upwards. `-bm` is a
height in scene units; a bump map that is a normal map by its colours is used as such, as many programs write it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.imaging import read_image
from nrc_tracer.scene.model import (
    Bitmap,
    Bump,
    Color,
    Conductor,
    Dielectric,
    Diffuse,
    Mask,
    Material,
    Matrix,
    NormalMap,
    Plastic,
    Principled,
    Scalar,
    Texture,
)
from nrc_tracer.scene.mtl_format import MtlMaterial, MtlTexture, read_mtl

GREY = 0.5
PBR = ("pr", "pm", "ps", "pc", "pcr", "aniso", "map_pr", "map_pm", "map_ps", "map_pc")
GLASS = (4, 6, 7, 9)
MIRRORS = (3, 5, 8)
UNUSED = ("map_ns", "map_pcr", "disp", "map_disp", "decal", "refl", "map_refl")
NORMALS = ("norm", "map_kn")
CHANNELS = {"r": "r", "g": "g", "b": "b", "m": "a", "l": "rgb"}
DEFAULT_NS, DEFAULT_IOR = 1.0, 1.5
MIN_IOR, MAX_IOR = 0.1, 10.0
COAT_ROUGH, COAT_SMOOTH = 0.1, 0.001
"""Widths (alpha) of Burley's coat with gloss 0 and 1."""


@dataclass
class ObjMaterialReader:
    """Reads the materials of an OBJ file from its libraries.

    Attributes:
        folder: Where the OBJ file is.
        textured: Whether its mesh has texture coordinates; without them textures are left out.
        warnings: What is missing or not supported, each once.
        found: What the libraries state, by name.
        materials: Of the scene.
        textures: Of the scene.
        images: What textures show, by the name of their file.
    """

    folder: Path
    textured: bool = True
    warnings: dict[str, None] = field(default_factory=dict)
    found: dict[str, MtlMaterial] = field(default_factory=dict)
    materials: dict[str, Material] = field(default_factory=dict)
    textures: dict[str, Texture] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)
    _folders: dict[str, Path] = field(default_factory=dict)
    _names: dict[Texture, str] = field(default_factory=dict)
    _missing: set[str] = field(default_factory=set)

    def warn(self, message: str) -> None:
        """Note something once."""
        self.warnings[message] = None

    def add_library(self, place: str, text: str) -> bool:
        """Read what stands after `mtllib`: one file, or several without blanks in their names; whether one is there.

        Raises:
            SceneError: As `read_mtl`.
        """
        text = text.strip('"').replace("\\", "/")
        files = [text] if _is_file(self.folder / text) else text.split()
        there = False
        for file in files:
            path = next((p for p in (self.folder / file, self.folder / file.rsplit("/", 1)[-1]) if _is_file(p)), None)
            if path is None:
                self.warn(f"{place}: there is no material library {(self.folder / file).as_posix()[:200]!r}; "
                          "its materials are left out")  # fmt: skip
                continue
            there = True
            for name, material in read_mtl(path, self.warn).items():
                self.found.setdefault(name, material)
                self._folders.setdefault(name, path.parent)
        return there

    def read(self, name: str) -> tuple[str, Color | None]:
        """Make a material of the scene of one that `found` has.

        Returns:
            Its name, which is `name`, and what it emits.
        """
        reader = _Surface(self, name, self.found[name], self._folders[name])
        surface, emission = reader.surface(), reader.emission()
        modifiers: list[Callable[[str], Material | None]] = [reader.bumped, reader.masked]
        label = name
        inner = f"{name} (surface)"
        self.materials[inner] = surface
        for modify in modifiers:
            modified = modify(inner)
            if modified is not None:
                inner = f"{name} ({type(modified).__name__.lower()})"
                self.materials[inner] = modified
        self.materials[label] = self.materials.pop(inner)
        return label, emission

    def image(self, texture: MtlTexture, folder: Path) -> str | None:
        """Read a texture's image and return its name; None, with a warning, if there is none that can be read."""
        if not self.textured:
            self.warn(f"{texture.place}: the mesh has no texture coordinates; textures are left out")
            return None
        candidates = (folder / texture.file, folder / texture.file.rsplit("/", 1)[-1])
        path = next((path for path in candidates if _is_file(path)), None)
        if path is None:
            self.warn(f"{texture.place}: there is no image {candidates[0].as_posix()[:200]!r}; it is left out")
            return None
        name = path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else path.as_posix()
        if name not in self.images and name not in self._missing:
            try:
                self.images[name] = read_image(path)
            except SceneError as error:
                self._missing.add(name)
                self.warn(f"{texture.place}: {error}; it is left out")
        return name if name in self.images else None

    def texture(self, texture: Texture, label: str) -> str:
        """Name a texture."""
        if texture not in self._names:
            name, number = label, 1
            while name in self.textures:
                name, number = f"{label} {number + 1}", number + 1
            self.textures[name] = texture
            self._names[texture] = name
        return self._names[texture]


@dataclass
class _Surface:
    """One material on its way from the file to the scene."""

    reader: ObjMaterialReader
    name: str
    given: MtlMaterial
    folder: Path

    def surface(self) -> Material:
        """What scatters, on an unchanged normal and where the material is there."""
        given, illum = self.given, int(min(max(self.given.numbers.get("illum", -1.0), -1.0), 100.0))
        for key in UNUSED:
            if key in given.maps:
                self.reader.warn(f"{given.maps[key].place}: {key} is not supported and left out")
        # Refraction between equal media is none
        ior = given.numbers.get("ni", 1.0)
        if illum in GLASS and ior != 1.0:
            return self._glass(ior)
        if any(key in given.numbers or key in given.maps for key in PBR):
            return self._principled(ior)
        specular = self._color("ks", 0.0) if illum not in (0, 1) else 0.0
        diffuse = self._color("kd", 0.0 if "ks" in given.colors and specular != 0.0 else GREY)
        if specular == 0.0:
            return Diffuse(reflectance=diffuse)
        alpha = math.sqrt(2.0 / (max(given.numbers.get("ns", DEFAULT_NS), 0.0) + 2.0))
        if diffuse == 0.0:
            smooth = illum in MIRRORS
            return Conductor(specular_reflectance=specular, alpha=None if smooth else alpha, distribution="beckmann")
        return Plastic(
            diffuse_reflectance=diffuse,
            specular_reflectance=specular,
            int_ior=self._ior(ior) if ior > 1.0 else DEFAULT_IOR,
            ext_ior=1.0,
            alpha=alpha,
            distribution="beckmann",
        )

    def emission(self) -> Color | None:
        """What it emits on the side of its normal; None if nothing."""
        color = self._color("ke", 0.0, highest=3e38)
        return None if color == 0.0 else color

    def bumped(self, material: str) -> Material | None:
        """The material on the normals of its normal map or bump map; None if it has none."""
        maps = self.given.maps
        key = next((key for key in (*NORMALS, "map_bump", "bump") if key in maps), None)
        image = None if key is None else self.reader.image(maps[key], self.folder)
        if image is None:
            return None
        scale = maps[key].numbers("-bm", (1.0,))[0]
        pixels = self.reader.images[image]
        if key not in NORMALS and not _shows_normals(pixels):
            channel = CHANNELS.get(maps[key].word("-imfchan", "l"), "rgb")
            return Bump(material=material, texture=self._bitmap(maps[key], image, 1.0, raw=True, channel=channel),
                        scale=scale)  # fmt: skip
        if pixels.shape[2] < 3:
            self.reader.warn(f"{maps[key].place}: a grey image is not a normal map; it is left out")
            return None
        texture = self._bitmap(maps[key], image, 1.0, raw=True)
        return NormalMap(material=material, texture=texture, scale=scale, bitangent="up")

    def masked(self, material: str) -> Material | None:
        """The material where it is there; None if that is everywhere, as in glass, which is clear by itself."""
        numbers, maps = self.given.numbers, self.given.maps
        opacity = numbers["d"] if "d" in numbers else 1.0 - numbers.get("tr", 0.0)
        opacity = self._share("d" if "d" in numbers else "tr", opacity)
        if isinstance(self.reader.materials[material], Dielectric):
            opacity = 1.0
        key = "map_d" if "map_d" in maps else "map_tr"
        image = self.reader.image(maps[key], self.folder) if key in maps else None
        if key == "map_tr" and image is not None:
            self.reader.warn(f"{maps[key].place}: map_Tr is not supported and left out; map_d is")
            image = None
        if image is not None:
            has_alpha = self.reader.images[image].shape[2] in (2, 4)
            channel = CHANNELS.get(maps[key].word("-imfchan", "m" if has_alpha else "l"), "rgb")
            return Mask(
                material=material, opacity=self._bitmap(maps[key], image, opacity or 1.0, raw=True, channel=channel)
            )
        if opacity == 0.0:
            self.reader.warn(f'{self.given.place}: "{self.name[:80]}" is invisible, its opacity (d) is 0')
        return None if opacity == 1.0 else Mask(material=material, opacity=opacity)

    def _glass(self, ior: float) -> Dielectric:
        tint = self._color("tf", 1.0)
        tint = tuple(math.sqrt(value) for value in tint) if isinstance(tint, tuple) else math.sqrt(tint)
        roughness = self._share("pr", self.given.numbers.get("pr", 0.0))
        return Dielectric(
            int_ior=self._ior(ior), ext_ior=1.0, specular_transmittance=tint, alpha=roughness**2 if roughness else None
        )

    def _principled(self, ior: float) -> Principled:
        numbers = self.given.numbers
        ns = min(max(numbers.get("ns", DEFAULT_NS), 0.0), 3e38)
        # Microfacets of the principled material have alpha = roughness^2
        roughness = (2.0 / (ns + 2.0)) ** 0.25 if "ns" in numbers else 0.5
        coat = self._share("pcr", numbers.get("pcr", 0.0)) ** 2
        return Principled(
            base_color=self._color("kd", GREY),
            metallic=self._scalar("pm", 0.0),
            roughness=self._scalar("pr", roughness),
            anisotropic=self._share("aniso", numbers.get("aniso", 0.0)),
            eta=self._ior(ior) if ior > 1.0 else None,
            sheen=self._scalar("ps", 0.0),
            clearcoat=self._scalar("pc", 0.0),
            clearcoat_gloss=min(max((COAT_ROUGH - coat) / (COAT_ROUGH - COAT_SMOOTH), 0.0), 1.0),
        )

    def _color(self, key: str, default: float, highest: float = 1.0) -> Color:
        """A colour times its texture: a number if it is grey, a name if there is a texture."""
        texture = self.given.maps.get(f"map_{key}")
        image = None if texture is None else self.reader.image(texture, self.folder)
        color = self.given.colors.get(key, (default,) * 3)
        bounded = tuple(min(max(value, 0.0), highest) for value in color)
        if bounded != color:
            limits = "negative" if highest > 1.0 else "outside 0 to 1"
            self.reader.warn(f'{self.given.place}: "{self.name[:80]}": {key.capitalize()} is {limits}; it is bounded')
        grey = bounded[0] if bounded[0] == bounded[1] == bounded[2] else bounded
        if image is None:
            return grey
        factor = 1.0 if max(bounded) == 0.0 or key not in self.given.colors else grey
        return self._bitmap(texture, image, factor, raw=False)

    def _scalar(self, key: str, default: float) -> Scalar:
        texture = self.given.maps.get(f"map_{key}")
        image = None if texture is None else self.reader.image(texture, self.folder)
        value = self._share(key, self.given.numbers.get(key, default))
        if image is None:
            return value
        channel = CHANNELS.get(texture.word("-imfchan", "l"), "rgb")
        return self._bitmap(texture, image, self._share(key, self.given.numbers.get(key, 1.0)) or 1.0, True, channel)

    def _share(self, key: str, value: float) -> float:
        if not 0.0 <= value <= 1.0:
            self.reader.warn(
                f'{self.given.place}: "{self.name[:80]}": {key.capitalize()} is outside 0 to 1; it is bounded'
            )
        return min(max(value, 0.0), 1.0)

    def _ior(self, ior: float) -> float:
        if not MIN_IOR <= ior <= MAX_IOR:
            self.reader.warn(
                f'{self.given.place}: "{self.name[:80]}": Ni is outside {MIN_IOR} to {MAX_IOR}; it is bounded'
            )
        return min(max(ior, MIN_IOR), MAX_IOR)

    def _bitmap(
        self, texture: MtlTexture, image: str, factor: float | tuple[float, ...], raw: bool, channel: str = "rgb"
    ) -> str:
        for option in sorted(texture.options):
            if option in ("-cc", "-mm", "-boost", "-t", "-texres") and texture.options[option] not in (
                "off",
                (0.0, 1.0),
            ):
                self.reader.warn(f"{texture.place}: {option} is not supported and left out")
        if texture.word("-imfchan", "l") not in CHANNELS:
            self.reader.warn(
                f"{texture.place}: -imfchan {texture.word('-imfchan', '')[:20]} is not supported; all are used"
            )
        if channel in "gb" and self.reader.images[image].shape[2] < 3:
            channel = "rgb"
        to_uv = ()
        su, sv, _ = texture.numbers("-s", (1.0, 1.0, 1.0))
        ou, ov, _ = texture.numbers("-o", (0.0, 0.0, 0.0))
        if max(abs(value) for value in (su, sv, ou, ov)) > 1e6 or min(abs(su), abs(sv)) < 1e-6:
            self.reader.warn(f"{texture.place}: -s or -o is zero or too large; both are left out")
        elif (su, sv, ou, ov) != (1.0, 1.0, 0.0, 0.0):
            # The file's v points up, a texture's down
            rows = ((su, 0.0, 0.0, ou), (0.0, sv, 0.0, 1.0 - sv - ov), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
            to_uv = (Matrix(value=rows),)
        wrap = "clamp" if texture.word("-clamp", "off") == "on" else "repeat"
        label = image.rsplit("/", 1)[-1]
        return self.reader.texture(
            Bitmap(file=image, raw=raw, wrap=wrap, channel=channel, factor=factor, to_uv=to_uv), label
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a null character
        return False


def _shows_normals(pixels: np.ndarray) -> bool:
    """Whether an image is a normal map by its mean colour, (0.5, 0.5, 1) where the surface is flat."""
    if pixels.shape[2] < 3 or pixels.dtype == np.float32:
        return False
    red, green, blue = pixels[..., :3].mean(axis=(0, 1), dtype=np.float64) / np.iinfo(pixels.dtype).max
    return abs(red - 0.5) < 0.1 and abs(green - 0.5) < 0.1 and blue > 0.75
