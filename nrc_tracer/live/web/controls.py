"""viser's controls, with types that mypy accepts."""

from __future__ import annotations

from typing import Any


def set_value(control: Any, value: Any) -> None:
    """Set the value of a control in all pages that show it. viser's types declare it read-only for mypy."""
    control.value = value
