"""Numbers in text files, many at a time."""

from __future__ import annotations

import re

import numpy as np

NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
"""A number that `parse_numbers` can parse as float64, to find out which one it cannot."""


def parse_numbers(text: bytes, dtype: type = np.float64) -> np.ndarray | None:
    """Parse numbers separated by blanks and line ends; None if one of them is malformed.

    Warning filters stay as they are, because they apply to all threads of the process.
    """
    # NumPy stops at a malformed number. The number at the end shows whether it came as far.
    text += b" 0"
    try:
        numbers: np.ndarray = np.fromstring(text, dtype=dtype, sep=" ")
    except (DeprecationWarning, ValueError):  # where warnings are errors, and in later versions of NumPy
        return None
    return numbers[:-1] if len(numbers) == _count_words(text) else None


def _count_words(text: bytes) -> int:
    """Return the number of words, separated by the six blanks of ASCII, in a text that is not empty."""
    codes = np.frombuffer(text, np.uint8)
    blank = (codes - np.uint8(ord("\t")) <= ord("\r") - ord("\t")) | (codes == ord(" "))
    return int(np.count_nonzero(blank[:-1] & ~blank[1:])) + int(not blank[0])
