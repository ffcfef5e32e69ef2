"""Wavefront material libraries (.mtl): the values that each material states, without their interpretation."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nrc_tracer.errors import SceneError, nearest
from nrc_tracer.files.reading import reading
from nrc_tracer.scene.vectors import as_vec3

MAX_BYTES = 1 << 24
"""Largest accepted size of a library."""
MAX_MATERIALS = 65536
"""Largest accepted number of materials in a library."""
COLORS = ("ka", "kd", "ks", "ke", "tf")
NUMBERS = ("ns", "ni", "d", "tr", "illum", "pr", "pm", "ps", "pc", "pcr", "aniso", "anisor", "sharpness")
MAPS = (
    "map_ka", "map_kd", "map_ks", "map_ke", "map_ns", "map_d", "map_tr", "map_bump", "bump", "norm", "map_kn", "map_pr",
    "map_pm", "map_ps", "map_pc", "map_pcr", "disp", "map_disp", "decal", "refl", "map_refl",
)  # fmt: skip
SWITCHES = ("map_aat",)
"""Known keywords that mean nothing to a path tracer."""
OPTIONS = {
    "-blendu": 1, "-blendv": 1, "-cc": 1, "-clamp": 1, "-bm": 1, "-boost": 1, "-mm": 2, "-o": 3, "-s": 3, "-t": 3,
    "-texres": 1, "-imfchan": 1, "-type": 1,
}  # fmt: skip
"""Options of textures, and the largest number of values of each."""
_WORDS = ("-blendu", "-blendv", "-cc", "-clamp", "-imfchan", "-type")
_TOKEN = re.compile(r"\S+")

Warn = Callable[[str], None]


@dataclass(frozen=True)
class MtlTexture:
    """A texture as stated by a material.

    Attributes:
        place: File and line.
        file: Name of the image file, with slashes.
        options: The numbers or the word after each option, by the option (such as `-s`).
    """

    place: str
    file: str
    options: dict[str, tuple[float, ...] | str]

    def numbers(self, option: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """Return the numbers after an option; missing ones are those of `default`."""
        given = self.options.get(option)
        numbers = given if isinstance(given, tuple) else ()
        return (*numbers, *default[len(numbers) :])

    def word(self, option: str, default: str) -> str:
        """Return the word after an option."""
        given = self.options.get(option)
        return given if isinstance(given, str) else default


@dataclass
class MtlMaterial:
    """The statements after a `newmtl`, by keyword in lower case.

    Attributes:
        place: File and line.
        colors: Colours, as stated in the file.
        numbers: Single numbers.
        maps: Textures.
    """

    place: str
    colors: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    maps: dict[str, MtlTexture] = field(default_factory=dict)


def read_mtl(path: Path, warn: Warn) -> dict[str, MtlMaterial]:
    """Read a material library: its materials by name, in the order of the file.

    Names and paths may contain blanks; backslashes in paths become slashes. An unknown keyword gives one warning.

    Raises:
        SceneError: A value is missing, not a number or not finite, or the file is too large or has too many materials.
    """
    with reading(path, SceneError), path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise SceneError(f"{path}: a material library larger than {MAX_BYTES >> 20} MiB is not accepted")
    materials: dict[str, MtlMaterial] = {}
    current: MtlMaterial | None = None
    reported: set[str | None] = set()
    begun, number = "", 0
    for index, raw in enumerate(data.decode("utf-8-sig", "replace").split("\n"), 1):
        number = number if begun else index
        line = begun + re.sub(r"(?<!\S)#.*", "", raw).rstrip()
        begun = ""
        if line.endswith("\\"):
            begun = line[:-1] + " "
            continue
        words = line.split(maxsplit=1)
        if not words:
            continue
        keyword, rest, place = words[0].lower(), words[1] if len(words) > 1 else "", f"{path}:{number}"
        if keyword == "newmtl":
            if not rest:
                raise SceneError(f"{place}: newmtl needs a name")
            current = MtlMaterial(place)
            if rest in materials:
                warn(f'{place}: there is a material "{rest[:80]}" already; this one is left out')
            elif len(materials) == MAX_MATERIALS:
                raise SceneError(f"{place}: more than {MAX_MATERIALS} materials; split the library")
            else:
                materials[rest] = current
        elif current is None:
            if None not in reported:
                warn(f"{place}: a statement before the first newmtl is left out")
            reported.add(None)
        elif not _read_statement(current, keyword, rest, place, warn) and keyword not in reported:
            reported.add(keyword)
            hint = nearest(keyword[:40], (*COLORS, *NUMBERS, *MAPS))
            warn(f'{place}: "{words[0][:40]}" is not known{hint}; it is left out' if "mean" in hint else
                 f'{place}: "{words[0][:40]}" is not known; it is left out')  # fmt: skip
    return materials


def _read_statement(material: MtlMaterial, keyword: str, rest: str, place: str, warn: Warn) -> bool:
    """Add the statement of a line to a material. Returns whether the keyword is known."""
    if keyword in COLORS:
        words = rest.split()
        if words and words[0].lower() in ("spectral", "xyz"):
            warn(f"{place}: {keyword} {words[0]} is not supported and left out; give red, green and blue")
            return True
        if len(words) not in (1, 3) and len(words) < 3:
            raise SceneError(f"{place}: {keyword} needs three numbers, or one for grey")
        values = [_number(word, keyword, place) for word in words[:3]]
        material.colors[keyword] = as_vec3(values if len(values) == 3 else values * 3)
    elif keyword in NUMBERS:
        words = rest.split()
        if keyword == "d" and words and words[0].lower() == "-halo":
            warn(f"{place}: d -halo is not supported; the same opacity is used at all angles")
            words = words[1:]
        if not words:
            raise SceneError(f"{place}: {keyword} needs a number")
        material.numbers[keyword] = _number(words[0], keyword, place)
    elif keyword in MAPS:
        texture = _texture(rest, keyword, place, warn)
        if texture is not None:
            material.maps[keyword] = texture
    else:
        return keyword in SWITCHES
    return True


def _number(word: str, keyword: str, place: str) -> float:
    try:
        value = float(word) if "_" not in word else math.nan
    except ValueError:
        raise SceneError(f'{place}: {keyword} needs a number, not "{word[:40]}"') from None
    if not math.isfinite(value) or abs(value) > 3e38:
        raise SceneError(f'{place}: {keyword} needs a finite number, not "{word[:40]}"')
    return value


def _texture(rest: str, keyword: str, place: str, warn: Warn) -> MtlTexture | None:
    options: dict[str, tuple[float, ...] | str] = {}
    begin = 0
    while (token := _TOKEN.match(rest, _skip_blanks(rest, begin))) is not None:
        option = token[0].lower()
        if option not in OPTIONS:
            break
        begin = token.end()
        values: list[str] = []
        while len(values) < OPTIONS[option]:
            value = _TOKEN.match(rest, _skip_blanks(rest, begin))
            if value is None or (values and not _is_number(value[0])):
                break
            values.append(value[0])
            begin = value.end()
        if not values:
            raise SceneError(f"{place}: {keyword}: {option} needs a value")
        if option in _WORDS:
            options[option] = values[0].lower()
        else:
            options[option] = tuple(_number(value, f"{keyword} {option}", place) for value in values)
    file = rest[begin:].strip().strip('"').replace("\\", "/")
    if not file:
        warn(f"{place}: {keyword} names no file; it is left out")
        return None
    return MtlTexture(place, file, options)


def _skip_blanks(text: str, begin: int) -> int:
    while begin < len(text) and text[begin].isspace():
        begin += 1
    return begin


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
