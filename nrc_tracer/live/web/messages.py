"""Which messages of a page are accepted: their size, their kinds, their values, and their number per second."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

from viser import _messages as viser_messages
from viser.infra import Message

LARGEST_MESSAGE = 64 * 1024
"""Largest size of a message from a page [bytes]."""

MESSAGES_PER_SECOND = 400.0
"""Number of messages per second that a page may send in the long run; viser's page sends at most 50 for what is dragged."""

BURST = 1200.0
"""Number of messages that a page may send at once, beyond that rate."""

LONGEST_TEXT = 4096
"""Largest number of characters of a text from a page."""

LONGEST_LIST = 64
"""Largest number of elements of a list from a page."""

FARTHEST = 1e12
"""Largest magnitude of a number from a page."""

LARGEST_WINDOW = 16384
"""Largest width and height of a page's window [pixels]."""


# A page may leave while something is sent to it
warnings.filterwarnings("ignore", message=r"Queued a \w+ on a closed connection")

# A malformed message is reported by `BadMessage` alone
warnings.filterwarnings("ignore", message=r"\[viser\] .* does not match annotation")


class BadMessage(ValueError):
    """A message that viser's page does not send. Its sender is disconnected."""


class Rate:
    """Counts the messages of a client, as a bucket that drains at a constant rate.

    Args:
        now: The clock [s].
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._level, self._last = now, 0.0, now()

    def count(self) -> None:
        """Count a message. Raises `BadMessage` if there are too many."""
        now = self._now()
        self._level = max(0.0, self._level - (now - self._last) * MESSAGES_PER_SECOND) + 1.0
        self._last = now
        if self._level > BURST:
            raise BadMessage("too many messages")


def read_message(raw: str | bytes) -> Message:
    """Decode and check a message from a page.

    Raises:
        BadMessage: The message is malformed, or of a kind that the viewer's page does not send.
    """
    if not isinstance(raw, bytes):
        raise BadMessage("a message must be binary")
    try:
        message = viser_messages.Message.deserialize(raw)
        check = _CHECKS.get(type(message))
        if check is None:
            raise BadMessage(f"the viewer takes no {type(message).__name__}")
        check(message)
    except BadMessage:
        raise
    except Exception as error:  # viser raises whatever a malformed message leads to
        raise BadMessage(f"a message is malformed: {type(error).__name__}") from error
    return message


def _check_camera(message: Any) -> None:
    _check_pose(message)
    for direction in (message.look_at, message.up_direction):
        _check_numbers(direction, 3)
    _check_numbers((message.fov, message.near, message.far), 3)
    if not 0.0 < message.fov < math.pi:
        raise BadMessage("a field of view must lie between 0 and 180 degrees")
    for side in (message.image_width, message.image_height):
        if not (isinstance(side, int) and 0 <= side <= LARGEST_WINDOW):
            raise BadMessage("a window's size is out of range")


def _check_update(message: Any) -> None:
    """Check the new value of a control. Whether the control offers this value is checked where the value is used."""
    if not isinstance(message.uuid, str) or not isinstance(message.updates, dict):
        raise BadMessage("an update needs a control and its values")
    if not set(message.updates) <= {"value"}:
        raise BadMessage("only the value of a control may be changed")
    for value in message.updates.values():
        _check_value(value)


def check_new_value(value: Any, present: Any) -> None:
    """Check a new value of a control, which comes from a page: its type must be that of the present value.

    viser alone would convert it: text becomes a number, which may be NaN or too large for the messages to other pages.

    Raises:
        BadMessage: The control cannot take the value.
    """
    if isinstance(present, tuple | list):
        fits = isinstance(value, tuple | list) and len(value) == len(present)
        fits = fits and all(_is_number(element) and math.isfinite(element) for element in value)
        if all(isinstance(element, int) for element in present):  # a colour
            fits = fits and all(0 <= element <= 255 for element in value)
    elif isinstance(present, bool | str):
        fits = type(value) is type(present)
    else:
        fits = _is_number(value) if isinstance(present, int | float) else True
    if not fits:
        raise BadMessage("a value does not fit its control")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_any(message: Any) -> None:
    """Check the fields of a message of numbers and texts."""
    for field in dataclasses.fields(message):
        _check_value(getattr(message, field.name))


def _check_gizmo(message: Any) -> None:
    _check_any(message)
    _check_pose(message)


def _check_pose(message: Any) -> None:
    """Check a rotation and a position."""
    _check_numbers(message.wxyz, 4)
    _check_numbers(message.position, 3)
    if not 0.5 < math.hypot(*message.wxyz) < 2.0:
        raise BadMessage("a rotation must be a unit quaternion")


def _check_value(value: Any, depth: int = 0) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise BadMessage("a text is too long")
    elif isinstance(value, int | float):
        _check_numbers((value,), 1)
    elif isinstance(value, list | tuple) and depth < 2 and len(value) <= LONGEST_LIST:
        for element in value:
            _check_value(element, depth + 1)
    else:
        raise BadMessage("a value has an unexpected type")


def _check_numbers(values: Any, length: int) -> None:
    if not isinstance(values, tuple) or len(values) != length:
        raise BadMessage("a list has the wrong length")
    for value in values:
        if not isinstance(value, int | float) or not (math.isfinite(value) and abs(value) <= FARTHEST):
            raise BadMessage("a number is out of range")


_CHECKS: dict[type, Callable[[Any], None]] = {
    viser_messages.ViewerCameraMessage: _check_camera,
    viser_messages.GuiUpdateMessage: _check_update,
    viser_messages.ScenePointerMessage: _check_any,
    viser_messages.TransformControlsDragStartMessage: _check_any,
    viser_messages.TransformControlsUpdateMessage: _check_gizmo,
    viser_messages.TransformControlsDragEndMessage: _check_any,
}
