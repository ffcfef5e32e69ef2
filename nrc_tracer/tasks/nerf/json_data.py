"""Reading JSON files that other programs wrote: the file as an object, and numbers that must be finite."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from nrc_tracer.errors import DataError
from nrc_tracer.files.reading import reading


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: The file cannot be read, or holds something else.
    """
    try:
        with reading(path, DataError):
            text = path.read_text(encoding="utf-8-sig")
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if not isinstance(root, dict):
        raise DataError(f"{path}: must be a JSON object, not a {type(root).__name__}")
    return root


def finite_number(value: Any, place: str) -> float:
    """A number from JSON.

    Raises:
        DataError: It is not a number, or not finite; the message begins with `place`.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError
        value = float(value)
        if not math.isfinite(value):
            raise ValueError
    except (ValueError, OverflowError):
        raise DataError(f"{place}: must be a finite number, not {str(value)[:40]}") from None
    return value
