"""The text of attributes as numbers, vectors, colours and transform steps."""

from __future__ import annotations

import itertools
import math
import re

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.mitsuba.node import Flat, Place, Wavelengths
from nrc_tracer.scene.model import LookAt, Matrix, Rotate, Scale, Translate, Vec3
from nrc_tracer.scene.transforms import matrix

Step = Translate | Rotate | Scale | LookAt | Matrix


def parse_float(text: str, place: Place, what: str) -> float:
    """Parse a finite number.

    Raises:
        SceneError: It is none; the message begins with the place and says what it should be.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        place.fail(f'{what} must be a number, not "{text}"')
    return value


def parse_integer(text: str, place: Place, what: str) -> int:
    """Parse an integer; errors as `parse_float`."""
    if not re.fullmatch(r"\s*[+-]?\d{1,18}\s*", text, re.ASCII):
        place.fail(f'{what} must be an integer, not "{text}"')
    return int(text)


def parse_boolean(text: str, place: Place, what: str) -> bool:
    """Parse `true` or `false`; errors as `parse_float`."""
    if text.lower() not in ("true", "false"):
        place.fail(f'{what} must be "true" or "false", not "{text}"')
    return text.lower() == "true"


def parse_floats(text: str, place: Place, what: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    """Parse numbers separated by blanks or commas, as many as one of `counts`; errors as `parse_float`."""
    words = text.replace(",", " ").split()
    if len(words) not in counts:
        place.fail(f'{what} must have {" or ".join(map(str, counts))} numbers, not {len(words)}: "{text}"')
    return tuple(parse_float(word, place, what) for word in words)


def parse_vector(attributes: dict[str, str], place: Place, what: str, default: float | None = 0.0) -> Vec3:
    """Parse `x`, `y`, `z` (each `default` if absent, None: all are needed), or `value` with one or three numbers."""
    axes = [axis for axis in "xyz" if axis in attributes]
    if "value" in attributes:
        if axes:
            place.fail(f"{what} has both value and {axes[0]}; give one")
        numbers = parse_floats(attributes["value"], place, what, (1, 3))
        return numbers if len(numbers) == 3 else numbers * 3
    if default is None and len(axes) < 3:
        place.fail(f"{what} needs x, y and z (or value)")
    return tuple(parse_float(attributes[axis], place, what) if axis in attributes else default for axis in "xyz")


def parse_rgb(text: str, place: Place, what: str) -> float | Vec3:
    """Parse linear RGB: one or three numbers, or sRGB as `#rrggbb`."""
    if text.strip().startswith("#"):
        digits = re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text.strip())
        if digits is None:
            place.fail(f'{what} must be "#rrggbb" or one or three numbers, not "{text}"')
        return tuple(srgb_to_linear(int(pair, 16) / 255.0) for pair in digits.groups())
    numbers = parse_floats(text, place, what, (1, 3))
    return numbers if len(numbers) == 3 else numbers[0]


def srgb_to_linear(value: float) -> float:
    """Decode one sRGB component in [0, 1] (IEC 61966-2-1)."""
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def parse_spectrum(text: str, place: Place, what: str) -> Flat | Wavelengths:
    """Parse one number, or pairs `wavelength:value` with rising wavelengths [nm]."""
    words = text.replace(",", " ").split()
    if len(words) == 1 and ":" not in words[0]:
        return Flat(parse_float(words[0], place, what))
    pairs = []
    for word in words:
        wavelength, colon, value = word.partition(":")
        if not colon:
            place.fail(f'{what}: "{word}" is not a pair wavelength:value')
        pairs.append((parse_float(wavelength, place, what), parse_float(value, place, what)))
    if not pairs or any(after[0] <= before[0] for before, after in itertools.pairwise(pairs)):
        place.fail(f"{what}: wavelengths must rise")
    return Wavelengths(tuple(pairs))


def parse_step(tag: str, attributes: dict[str, str], place: Place) -> Step:
    """Parse one element of a <transform>.

    Raises:
        SceneError: An attribute is malformed, unknown or absent, or the step has no meaning (a zero axis and the like).
    """
    allowed = {
        "translate": {"x", "y", "z", "value"},
        "scale": {"x", "y", "z", "value"},
        "rotate": {"x", "y", "z", "value", "angle"},
        "matrix": {"value"},
        "lookat": {"origin", "target", "up"},
    }
    tag = tag.lower()  # format 0.x writes lookAt
    if tag not in allowed:
        place.fail(f"<{tag}> is not a part of a transform (known: {', '.join(sorted(allowed))})")
    unknown = set(attributes) - allowed[tag]
    if unknown:
        place.fail(f'<{tag}> has no attribute "{min(unknown)}" (known: {", ".join(sorted(allowed[tag]))})')
    step = _step(tag, attributes, place)
    if isinstance(step, Rotate | LookAt) or (isinstance(step, Matrix) and step.value[3] != (0.0, 0.0, 0.0, 1.0)):
        try:
            matrix((step,))
        except SceneError as error:
            place.fail(str(error))
    return step


def _step(tag: str, attributes: dict[str, str], place: Place) -> Step:
    if tag == "translate":
        return Translate(value=parse_vector(attributes, place, "translate"))
    if tag == "scale":
        return Scale(value=parse_vector(attributes, place, "scale", 1.0))
    if tag == "rotate":
        angle = parse_float(_needed(attributes, "angle", tag, place), place, "angle")
        axis = {key: value for key, value in attributes.items() if key != "angle"}
        return Rotate(axis=parse_vector(axis, place, "rotate"), angle=angle)
    if tag == "matrix":
        numbers = parse_floats(_needed(attributes, "value", tag, place), place, "matrix", (16, 9))
        if len(numbers) == 9:
            rows = [(*numbers[3 * row : 3 * row + 3], 0.0) for row in range(3)] + [(0.0, 0.0, 0.0, 1.0)]
        else:
            rows = [numbers[4 * row : 4 * row + 4] for row in range(4)]
        return Matrix(value=tuple(rows))
    origin = parse_floats(_needed(attributes, "origin", tag, place), place, "origin", (3,))
    target = parse_floats(_needed(attributes, "target", tag, place), place, "target", (3,))
    up = parse_floats(attributes["up"], place, "up", (3,)) if attributes.get("up") else (0.0, 0.0, 0.0)
    if not any(up):  # Mitsuba takes any; the axis that is least along the view is one
        view = [abs(b - a) for a, b in zip(origin, target, strict=True)]
        up = tuple(1.0 if axis == view.index(min(view)) else 0.0 for axis in range(3))
    return LookAt(origin=origin, target=target, up=up)


def _needed(attributes: dict[str, str], name: str, tag: str, place: Place) -> str:
    if name not in attributes:
        place.fail(f'<{tag}> needs the attribute "{name}"')
    return attributes[name]
