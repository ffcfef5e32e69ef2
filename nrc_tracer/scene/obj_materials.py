"""The materials of an OBJ file's material libraries (.mtl), as materials of the scene.

The format states colours for Phong's model and, in its extension for physically based rendering (keys `Pr`, `Pm`, `Ps`, `Pc`),
parameters of Disney's model. They are converted as follows:

* `Pr`, `Pm`, `Ps`, `Pc`, `Pcr`, `aniso` or a map of one of them: `Principled` with the base colour `Kd`.
* `illum` 4, 6, 7 or 9 with an index `Ni` other than 1: `Dielectric`; `Tf` tints light that passes through two boundaries.
* `Ks` with a black `Kd`: a perfect reflector of that colour, smooth with `illum` 3, 5 or 8, else rough.
* `Ks` otherwise: `Plastic`, whose coat of index `Ni` (1.5 if that is not above 1) has the colour `Ks`.
* Anything else, and `illum` 0 and 1: `Diffuse`.

The highlight (N . H)^Ns has the width of Beckmann's distribution with alpha = sqrt(2 / (Ns + 2)) (Walter et al., *Microfacet
Models for Refraction through Rough Surfaces*, 2007, section 5.2). A texture is multiplied by the colour of the same name, unless
that is black or absent. Its options transform it as in other readers: u' = s u + o, with v upwards. `-bm` is a height in scene
units. A bump map whose colours are those of a normal map is used as one, as many programs write it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.imaging import read_image
from nrc_tracer.scene.clearcoat import gloss_of
from nrc_tracer.scene.model import (
    Bitmap,
    Bump,
    Channel,
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
    Transform,
    Vec3,
    Wrap,
)
from nrc_tracer.scene.mtl_format import MtlMaterial, MtlTexture, read_mtl
from nrc_tracer.scene.names import unique_name
from nrc_tracer.scene.vectors import as_color, as_vec3

GREY = 0.5
"""Default of `Kd`."""
PBR = ("pr", "pm", "ps", "pc", "pcr", "aniso", "map_pr", "map_pm", "map_ps", "map_pc")
"""Keywords of the extension for physically based rendering."""
GLASS = (4, 6, 7, 9)
"""Values of `illum` with refraction."""
MIRRORS = (3, 5, 8)
"""Values of `illum` with mirror reflection."""
UNUSED = ("map_ns", "map_pcr", "disp", "map_disp", "decal", "refl", "map_refl")
"""Textures that are known and not supported."""
NORMALS = ("norm", "map_kn")
"""Keywords of normal maps."""
CHANNELS: dict[str, Channel] = {"r": "r", "g": "g", "b": "b", "m": "a", "l": "rgb"}
"""Channels of an image, by the value of the option -imfchan."""
DEFAULT_NS, DEFAULT_IOR = 1.0, 1.5
MIN_IOR, MAX_IOR = 0.1, 10.0


@dataclass
class ObjMaterialReader:
    """Reads the materials of an OBJ file from its libraries.

    Attributes:
        folder: Folder of the OBJ file.
        textured: Whether its mesh has texture coordinates; without them textures are left out.
        warnings: Warnings about what is missing or not supported, each only once.
        found: Materials of the libraries, by name.
        materials: Materials of the scene, by name.
        textures: Textures of the scene, by name.
        images: Pixels of the textures, by the name of their file.
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
        """Add a warning, unless there is the same one already."""
        self.warnings[message] = None

    def add_library(self, place: str, text: str) -> bool:
        """Read the libraries named after an `mtllib`: one file, or several without blanks in their names.

        Returns:
            Whether at least one of them exists.

        Raises:
            SceneError: As `read_mtl`.
        """
        text = text.strip('"').replace("\\", "/")
        files = [text] if _is_file(self.folder / text) else text.split()
        found = False
        for file in files:
            path = next((p for p in (self.folder / file, self.folder / file.rsplit("/", 1)[-1]) if _is_file(p)), None)
            if path is None:
                self.warn(f"{place}: there is no material library {(self.folder / file).as_posix()[:200]!r}; "
                          "its materials are left out")  # fmt: skip
                continue
            found = True
            for name, material in read_mtl(path, self.warn).items():
                self.found.setdefault(name, material)
                self._folders.setdefault(name, path.parent)
        return found

    def read(self, name: str) -> tuple[str, Color | None]:
        """Add one of the materials in `found` to the scene.

        Returns:
            The name of the scene's material, which is `name`, and its emission.
        """
        builder = _MaterialBuilder(self, name, self.found[name], self._folders[name])
        surface, emission = builder.surface(), builder.emission()
        modifiers: list[Callable[[str], Material | None]] = [builder.bumped, builder.masked]
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
        """Read a texture's image and return its name; None, with a warning, if it is missing or cannot be read."""
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
        """Return the name of a texture in the scene; the same one for an equal texture."""
        if texture not in self._names:
            name = unique_name(label, self.textures)
            self.textures[name] = texture
            self._names[texture] = name
        return self._names[texture]


@dataclass
class _MaterialBuilder:
    """Builds the scene's material from one that a library states."""

    reader: ObjMaterialReader
    name: str
    given: MtlMaterial
    folder: Path

    def surface(self) -> Material:
        """Return the material without its normal map and opacity."""
        given, illum = self.given, int(min(max(self.given.numbers.get("illum", -1.0), -1.0), 100.0))
        for key in UNUSED:
            if key in given.maps:
                self.reader.warn(f"{given.maps[key].place}: {key} is not supported and left out")
        # Equal media do not refract
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
        """Return the radiance emitted on the side of the normal; None if there is none."""
        color = self._color("ke", 0.0, highest=3e38)
        return None if color == 0.0 else color

    def bumped(self, material: str) -> Material | None:
        """Return a material with its normal map or bump map; None if it has none."""
        key = next((key for key in (*NORMALS, "map_bump", "bump") if key in self.given.maps), None)
        used = None if key is None else self._map(key)
        if used is None:
            return None
        texture, image = used
        scale = texture.numbers("-bm", (1.0,))[0]
        pixels = self.reader.images[image]
        if key not in NORMALS and not _shows_normals(pixels):
            channel = _channel(texture, "l")
            return Bump(material=material, texture=self._bitmap(texture, image, 1.0, True, channel), scale=scale)
        if pixels.shape[2] < 3:
            self.reader.warn(f"{texture.place}: a grey image is not a normal map; it is left out")
            return None
        return NormalMap(
            material=material, texture=self._bitmap(texture, image, 1.0, raw=True), scale=scale, bitangent="up"
        )

    def masked(self, material: str) -> Material | None:
        """Return a material with its opacity; None if it is opaque everywhere, or is glass, which is transparent by itself."""
        numbers, maps = self.given.numbers, self.given.maps
        opacity = numbers["d"] if "d" in numbers else 1.0 - numbers.get("tr", 0.0)
        opacity = self._fraction("d" if "d" in numbers else "tr", opacity)
        if opacity == 0.0 and "d" not in numbers:
            opacity = 1.0
            self.reader.warn(
                f'{self.given.place}: "{self.name[:80]}": Tr is 1, which some programs write for an opaque material and others '
                "for an invisible one; it is opaque (d 0 makes it invisible)"
            )
        if isinstance(self.reader.materials[material], Dielectric):
            opacity = 1.0
        key = "map_d" if "map_d" in maps else "map_tr"
        used = self._map(key)
        if key == "map_tr" and used is not None:
            self.reader.warn(f"{maps[key].place}: map_Tr is not supported and left out; use map_d")
        elif used is not None:
            texture, image = used
            has_alpha = self.reader.images[image].shape[2] in (2, 4)
            channel = _channel(texture, "m" if has_alpha else "l")
            return Mask(material=material, opacity=self._bitmap(texture, image, opacity or 1.0, True, channel))
        if opacity == 0.0:
            self.reader.warn(f'{self.given.place}: "{self.name[:80]}" is invisible, as its opacity (d) is 0')
        return None if opacity == 1.0 else Mask(material=material, opacity=opacity)

    def _glass(self, ior: float) -> Dielectric:
        tint = as_color(math.sqrt(value) for value in self._bounded_color("tf", 1.0, highest=1.0))
        roughness = self._fraction("pr", self.given.numbers.get("pr", 0.0))
        return Dielectric(
            int_ior=self._ior(ior), ext_ior=1.0, specular_transmittance=tint, alpha=roughness**2 if roughness else None
        )

    def _principled(self, ior: float) -> Principled:
        numbers = self.given.numbers
        ns = min(max(numbers.get("ns", DEFAULT_NS), 0.0), 3e38)
        # Microfacets of the principled material have alpha = roughness^2
        roughness = (2.0 / (ns + 2.0)) ** 0.25 if "ns" in numbers else 0.5
        return Principled(
            base_color=self._color("kd", GREY),
            metallic=self._scalar("pm", 0.0),
            roughness=self._scalar("pr", roughness),
            anisotropic=self._fraction("aniso", numbers.get("aniso", 0.0)),
            eta=self._ior(ior) if ior > 1.0 else None,
            sheen=self._scalar("ps", 0.0),
            clearcoat=self._scalar("pc", 0.0),
            clearcoat_gloss=gloss_of(self._fraction("pcr", numbers.get("pcr", 0.0)) ** 2),
        )

    def _map(self, key: str) -> tuple[MtlTexture, str] | None:
        """Return a texture and the name of its image; None if the material has no such texture, or no usable image for it."""
        texture = self.given.maps.get(key)
        image = None if texture is None else self.reader.image(texture, self.folder)
        return None if texture is None or image is None else (texture, image)

    def _bounded_color(self, key: str, default: float, highest: float) -> Vec3:
        """Return a colour of the material, clamped to 0 to `highest`."""
        color = self.given.colors.get(key, (default, default, default))
        bounded = as_vec3(min(max(value, 0.0), highest) for value in color)
        if bounded != color:
            limits = "negative" if highest > 1.0 else "outside 0 to 1"
            self.reader.warn(f'{self.given.place}: "{self.name[:80]}": {key.capitalize()} is {limits}; it is clamped')
        return bounded

    def _color(self, key: str, default: float, highest: float = 1.0) -> Color:
        """Return a colour times its texture: the name of a texture if there is one, else a number if it is grey."""
        used = self._map(f"map_{key}")
        color = as_color(self._bounded_color(key, default, highest))
        if used is None:
            return color
        return self._bitmap(*used, 1.0 if color == 0.0 or key not in self.given.colors else color, raw=False)

    def _scalar(self, key: str, default: float) -> Scalar:
        """Return a number times its texture: the name of a texture if there is one."""
        used = self._map(f"map_{key}")
        value = self._fraction(key, self.given.numbers.get(key, default))
        if used is None:
            return value
        factor = self._fraction(key, self.given.numbers.get(key, 1.0)) or 1.0
        return self._bitmap(*used, factor, True, _channel(used[0], "l"))

    def _fraction(self, key: str, value: float) -> float:
        """Clamp a number to [0, 1]."""
        if not 0.0 <= value <= 1.0:
            self.reader.warn(
                f'{self.given.place}: "{self.name[:80]}": {key.capitalize()} is outside 0 to 1; it is clamped'
            )
        return min(max(value, 0.0), 1.0)

    def _ior(self, ior: float) -> float:
        """Clamp an index of refraction to the supported range."""
        if not MIN_IOR <= ior <= MAX_IOR:
            self.reader.warn(
                f'{self.given.place}: "{self.name[:80]}": Ni is outside {MIN_IOR} to {MAX_IOR}; it is clamped'
            )
        return min(max(ior, MIN_IOR), MAX_IOR)

    def _bitmap(
        self, texture: MtlTexture, image: str, factor: float | Vec3, raw: bool, channel: Channel = "rgb"
    ) -> str:
        """Add a texture to the scene and return its name."""
        for option in sorted(texture.options):
            if option in ("-cc", "-mm", "-boost", "-t", "-texres") and texture.options[option] not in (
                "off",
                (0.0, 1.0),
            ):
                self.reader.warn(f"{texture.place}: {option} is not supported and left out")
        if texture.word("-imfchan", "l") not in CHANNELS:
            self.reader.warn(
                f"{texture.place}: -imfchan {texture.word('-imfchan', '')[:20]} is not supported; all channels are used"
            )
        if channel in "gb" and self.reader.images[image].shape[2] < 3:
            channel = "rgb"
        to_uv: Transform = ()
        su, sv, _ = texture.numbers("-s", (1.0, 1.0, 1.0))
        ou, ov, _ = texture.numbers("-o", (0.0, 0.0, 0.0))
        if max(abs(value) for value in (su, sv, ou, ov)) > 1e6 or min(abs(su), abs(sv)) < 1e-6:
            self.reader.warn(f"{texture.place}: -s or -o is zero or too large; both are left out")
        elif (su, sv, ou, ov) != (1.0, 1.0, 0.0, 0.0):
            # In the file v points up, in a texture down
            rows = ((su, 0.0, 0.0, ou), (0.0, sv, 0.0, 1.0 - sv - ov), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
            to_uv = (Matrix(value=rows),)
        wrap: Wrap = "clamp" if texture.word("-clamp", "off") == "on" else "repeat"
        label = image.rsplit("/", 1)[-1]
        return self.reader.texture(
            Bitmap(file=image, raw=raw, wrap=wrap, channel=channel, factor=factor, to_uv=to_uv), label
        )


def _channel(texture: MtlTexture, default: str) -> Channel:
    """Return the channel of an image that a texture reads, by its option -imfchan."""
    return CHANNELS.get(texture.word("-imfchan", default), "rgb")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a null character
        return False


def _shows_normals(pixels: np.ndarray) -> bool:
    """Return whether an image is a normal map, judging by its mean colour: that of a flat surface is (0.5, 0.5, 1)."""
    if pixels.shape[2] < 3 or pixels.dtype == np.float32:
        return False
    red, green, blue = pixels[..., :3].mean(axis=(0, 1), dtype=np.float64) / np.iinfo(pixels.dtype).max
    return abs(red - 0.5) < 0.1 and abs(green - 0.5) < 0.1 and blue > 0.75
