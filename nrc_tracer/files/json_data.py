"""JSON data whose numbers JSON can represent."""

from __future__ import annotations

import math
from typing import Any


def json_data(value: Any) -> Any:
    """Return dicts, lists and tuples as dicts with text keys and lists, in which infinities and NaN are None."""
    if isinstance(value, dict):
        return {str(key): json_data(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [json_data(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
