"""Numbers in text files, many at a time."""

from __future__ import annotations

import re
import warnings

import numpy as np

NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
"""A number that `parse_numbers` can parse as float64, to find out which one it cannot."""


def parse_numbers(text: bytes, dtype: type = np.float64) -> np.ndarray | None:
    """Parse numbers separated by blanks and line ends; None if one of them is malformed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.fromstring(text, dtype=dtype, sep=" ")
        except (DeprecationWarning, ValueError):
            return None
