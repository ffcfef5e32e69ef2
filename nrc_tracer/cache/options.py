"""The options of a radiance cache: all that a user can choose."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from nrc_tracer.errors import CacheError, nearest

CONFIGS = Path(__file__).parent / "configs"
ENCODINGS = ("hash", "triangle-wave")


class CacheOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a cache.

    Attributes:
        encoding: Encoding of positions: `hash`, or `triangle-wave`, the paper's.
        config: Configuration of encoding, network, loss and optimizer in tiny-cuda-nn's JSON format, instead of the encoding's
            own: a file or its contents.
        spread: c: a path ends where its footprint is larger than c times that of the first vertex.
        train_spread: c of the suffixes of training paths; `spread` unless given.
        feature_size: Smallest distance that the hash grid resolves [scene units]; the grid's own unless given.
        train_frames: Frames of the warm-up; unless given, until the measured bias is small or the budget is used up.
        records: Training records of a frame; unless given, 24,576 on the CPU, and on CUDA 65,536 at 1920 x 1080 and in proportion
            to the pixels below that, but at least 12,288.
        steps: Steps of the optimizer in a training frame; unless given, 4 on CUDA, and on the CPU one per 1,024 records but at
            least 8.
        train_every: After the warm-up, frames per training frame at eight pixels per record; at other ratios training stays in
            proportion to rendering.
        decay_frames: The learning rate of the n-th training frame is 1 / (1 + n / decay_frames) times the configuration's, at
            least a tenth of it; None keeps it constant.
        capacity: Largest number of vertices of a path that are recorded.
        unbiased: u: share of training suffixes that end by Russian roulette alone instead of in the cache, after the warm-up.
        warm_up_unbiased: u during the warm-up. Until the cache has seen light, and after a change of the scene, u is 1.
        correction: Share of the image's paths that continue beyond their end in the cache, to correct it; in mode `on`.
        factorize: Whether the network learns radiance divided by reflectance.
        average: Whether rendering uses the average of the weights over training.
        freeze: Whether a trained cache learns no more.
        backend: What evaluates the network: `warp`, `reference` or `tinycudann`.
        precision: Precision of matrix products, as in `nrc_tracer.nn.Model`.
        deterministic: Whether a GPU trains to the same bits every time, which takes longer. The CPU always does.
        fused: Whether a GPU runs encoding and network in one kernel; and, once the cache has seen light and except in mode
            `unbiased`, launches frames as CUDA graphs. **It has never run on a GPU**: use it to try it. On the CPU a GPU's
            instructions are emulated, slowly. Excludes `deterministic`.
    """

    encoding: str = "hash"
    config: str | dict[str, Any] | None = None
    spread: float = 0.01
    train_spread: float | None = None
    feature_size: float | None = None
    train_frames: int | None = None
    records: int | None = None
    steps: int | None = None
    train_every: int = 8
    decay_frames: float | None = 16.0
    capacity: int = 16
    unbiased: float = 0.25
    warm_up_unbiased: float = 0.25
    correction: float = 0.5
    factorize: bool = True
    average: bool = True
    freeze: bool = False
    backend: str = "warp"
    precision: str = "auto"
    deterministic: bool = False
    fused: bool = False

    _BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        "spread": (0.0, math.inf),
        "train_spread": (0.0, math.inf),
        "feature_size": (1e-30, math.inf),
        "train_frames": (0, 2**31 - 1),
        "records": (1, 2**24),
        "steps": (1, 2**16),
        "train_every": (1, 2**31 - 1),
        "decay_frames": (1e-3, math.inf),
        "capacity": (2, 1024),
        "unbiased": (0.0, 1.0),
        "warm_up_unbiased": (0.0, 1.0),
        "correction": (1.0 / 64.0, 1.0),
    }

    _WHOLE: ClassVar[frozenset[str]] = frozenset({"train_frames", "records", "steps", "train_every", "capacity"})

    def __post_init__(self) -> None:
        for name, (low, high) in self._BOUNDS.items():
            value = getattr(self, name)
            if value is None:
                continue
            whole = name in self._WHOLE
            number = _plain_number(value, whole=whole)
            if number is None or not low <= number <= high:
                kind = "whole number" if whole else "number"
                raise CacheError(f"{name}: expected a {kind} from {low:g} to {high:g}, got {value!r:.40}")
            msgspec.structs.force_setattr(self, name, number)
        if self.fused and (self.deterministic or self.backend != "warp"):
            other = "deterministic" if self.deterministic else f'backend="{self.backend}"'
            raise CacheError(f"fused: not together with {other}; leave one of them out")
        if self.encoding not in ENCODINGS:
            raise CacheError(f'encoding: there is no "{self.encoding}"{nearest(self.encoding, ENCODINGS)}')

    @property
    def suffix_spread(self) -> float:
        """c of the suffixes of training paths."""
        return self.spread if self.train_spread is None else self.train_spread

    def document(self) -> str | PathLike[str] | Mapping[str, Any]:
        """The configuration of the network, as `nrc_tracer.nn.Model` takes it."""
        return CONFIGS / f"{self.encoding}.json" if self.config is None else self.config


def _plain_number(value: Any, *, whole: bool) -> int | float | None:
    """A number given by the user, of Python or NumPy, as one of Python; None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return float(value) if isinstance(value, numbers.Real) and not whole else None
