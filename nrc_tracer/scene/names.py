"""Names that are unique within a scene."""

from __future__ import annotations

from collections.abc import Container


def unique_name(label: str, taken: Container[str], separator: str = " ") -> str:
    """Return a name that is not taken yet: `label`, `label 2`, `label 3`, ..."""
    name, number = label, 1
    while name in taken:
        number += 1
        name = f"{label}{separator}{number}"
    return name
