"""Parsing the text of attributes as numbers, vectors, colours and steps of transforms."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.mitsuba.node import Flat, Place, Wavelengths
from nrc_tracer.scene.model import LookAt, Matrix, Rotate, Scale, Step, Translate, Vec3
from nrc_tracer.scene.transforms import matrix, unnormalized_rotation
from nrc_tracer.scene.vectors import as_matrix, as_vec3
from nrc_tracer.scene.vertex_colors import decode_srgb

UNIT = 1e-3
"""Largest difference between 1 and the length of a rotation's axis that counts as the rounding of a unit vector."""


def parse_float(text: str, place: Place, what: str) -> float:
    """Parse a finite number.

    Raises:
        SceneError: It is not a finite number; the message begins with the place and `what`.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        place.fail(f'{what} must be a number, not "{text}"')
    return value


def parse_integer(text: str, place: Place, what: str) -> int:
    """Parse an integer. Errors as for `parse_float`."""
    if not re.fullmatch(r"\s*[+-]?\d{1,18}\s*", text, re.ASCII):
        place.fail(f'{what} must be an integer, not "{text}"')
    return int(text)


def parse_boolean(text: str, place: Place, what: str) -> bool:
    """Parse `true` or `false`. Errors as for `parse_float`."""
    if text.lower() not in ("true", "false"):
        place.fail(f'{what} must be "true" or "false", not "{text}"')
    return text.lower() == "true"


def parse_floats(text: str, place: Place, what: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    """Parse numbers separated by blanks or commas; their count must be in `counts`. Errors as for `parse_float`."""
    words = text.replace(",", " ").split()
    if len(words) not in counts:
        place.fail(f'{what} must have {" or ".join(map(str, counts))} numbers, not {len(words)}: "{text}"')
    return tuple(parse_float(word, place, what) for word in words)


def parse_vector(attributes: dict[str, str], place: Place, what: str, default: float | None = 0.0) -> Vec3:
    """Parse `x`, `y` and `z`, or a `value` with one or three numbers. A missing axis is `default`; None makes it an error."""
    axes = [axis for axis in "xyz" if axis in attributes]
    if "value" in attributes:
        if axes:
            place.fail(f"{what} has both value and {axes[0]}; give one")
        numbers = parse_floats(attributes["value"], place, what, (1, 3))
        return as_vec3(numbers if len(numbers) == 3 else numbers * 3)
    if default is None:
        if len(axes) < 3:
            place.fail(f"{what} needs x, y and z (or value)")
        default = 0.0
    x, y, z = (parse_float(attributes[axis], place, what) if axis in attributes else default for axis in "xyz")
    return x, y, z


def parse_rgb(text: str, place: Place, what: str) -> float | Vec3:
    """Parse linear RGB: one or three numbers, or sRGB as `#rrggbb`."""
    if text.strip().startswith("#"):
        digits = re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text.strip())
        if digits is None:
            place.fail(f'{what} must be "#rrggbb" or one or three numbers, not "{text}"')
        return decode_srgb_color(int(pair, 16) / 255.0 for pair in digits.groups())
    numbers = parse_floats(text, place, what, (1, 3))
    return as_vec3(numbers) if len(numbers) == 3 else numbers[0]


def decode_srgb_color(components: Iterable[float]) -> Vec3:
    """Decode sRGB components in [0, 1] to linear RGB."""
    return as_vec3(float(decode_srgb(np.array(component))) for component in components)


def parse_spectrum(text: str, place: Place, what: str) -> Flat | Wavelengths:
    """Parse one number, or pairs `wavelength:value` with ascending wavelengths [nm]."""
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
        place.fail(f"{what}: wavelengths must be in ascending order")
    return Wavelengths(tuple(pairs))


def parse_step(
    tag: str, attributes: dict[str, str], place: Place, warn: Callable[[Place, str], None] | None = None
) -> Step:
    """Parse one element of a <transform>.

    Args:
        tag: The element, such as "rotate".
        attributes: Its attributes.
        place: Its place.
        warn: Called with a warning about a <rotate> whose axis is not a unit vector: Mitsuba 2 and 3 use the axis as written,
            which scales too. None for the formats 0.x, whose renderers normalized the axis.

    Raises:
        SceneError: An attribute is malformed, unknown or missing, or the step is impossible, such as one with a zero axis.
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
    if warn is not None and isinstance(step, Rotate) and any(step.axis) and not _is_unit(step.axis):
        warn(
            place,
            f"the axis of <rotate> has length {math.hypot(*step.axis):.4g}, not 1; as in Mitsuba, this scales too",
        )
        return as_matrix(unnormalized_rotation(step.axis, step.angle))
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
            return as_matrix([*((*numbers[3 * row : 3 * row + 3], 0.0) for row in range(3)), (0.0, 0.0, 0.0, 1.0)])
        return as_matrix(numbers[4 * row : 4 * row + 4] for row in range(4))
    origin = as_vec3(parse_floats(_needed(attributes, "origin", tag, place), place, "origin", (3,)))
    target = as_vec3(parse_floats(_needed(attributes, "target", tag, place), place, "target", (3,)))
    up = as_vec3(parse_floats(attributes["up"], place, "up", (3,)) if attributes.get("up") else (0.0, 0.0, 0.0))
    if not any(up):  # As in Mitsuba, any direction will do: take the axis that is least along the view
        view = [abs(b - a) for a, b in zip(origin, target, strict=True)]
        up = as_vec3(1.0 if axis == view.index(min(view)) else 0.0 for axis in range(3))
    return LookAt(origin=origin, target=target, up=up)


def _is_unit(axis: Vec3) -> bool:
    return abs(math.hypot(*axis) - 1.0) <= UNIT


def _needed(attributes: dict[str, str], name: str, tag: str, place: Place) -> str:
    if name not in attributes:
        place.fail(f'<{tag}> needs the attribute "{name}"')
    return attributes[name]
