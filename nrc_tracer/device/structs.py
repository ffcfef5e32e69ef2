"""Arrays of Warp structs that are filled on the host."""

from typing import Any

import numpy as np


def zero_structs(struct: Any, count: int) -> np.ndarray:
    """A structured NumPy array [count] of a `wp.struct`, all zero, whose fields have the struct's names."""
    return np.zeros(count, struct.numpy_dtype())
