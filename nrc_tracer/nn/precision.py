"""The type of matrix products' operands, by name or as the fastest on this machine."""

from __future__ import annotations

import statistics
import time
from functools import cache

import torch

from nrc_tracer.errors import ConfigError, nearest

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def choose_precision(name: str, backend: str, device: torch.device) -> torch.dtype:
    """The type for a name. `auto` is float16 on CUDA; on the CPU it is bfloat16 if that is faster than float32.

    Raises:
        ConfigError: The name is unknown, or the backend does not support it.
    """
    known = ["auto", *DTYPES]
    if name not in known:
        raise ConfigError(f'precision: unknown "{name}"{nearest(str(name), known)}')
    if backend == "reference":
        if name in ("bfloat16", "float16"):
            raise ConfigError(f"precision: the reference backend has float32 and float64, not {name}")
        return DTYPES["float64" if name == "auto" else name]
    if name == "float64":
        raise ConfigError(f'precision: float64 needs backend="reference", not "{backend}"')
    if name != "auto":
        return DTYPES[name]
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if bfloat16_pays() else torch.float32


@cache
def bfloat16_pays(rows: int = 4096, width: int = 64, rounds: int = 7) -> bool:
    """Whether this CPU multiplies bfloat16 matrices faster than float32 ones: a short timed trial, once per process.

    The processor's flags are not enough: some processors have the instructions but are slower with them.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
        operands = {
            dtype: (torch.ones(rows, width, dtype=dtype), torch.ones(width, width, dtype=dtype)) for dtype in seconds
        }
        with torch.inference_mode():
            for turn in range(rounds + 1):
                for dtype, (x, weights) in operands.items():
                    start = time.perf_counter()
                    torch.mm(torch.relu(torch.mm(x, weights)), weights)
                    if turn:  # the first round is a warm-up
                        seconds[dtype].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return statistics.median(seconds[torch.bfloat16]) < statistics.median(seconds[torch.float32])
