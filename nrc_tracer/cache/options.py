"""How a radiance cache works and learns: everything that a user may choose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from nrc_tracer.errors import CacheError, nearest

CONFIGS = Path(__file__).parent / "configs"
ENCODINGS = ("hash", "triangle-wave")


class CacheOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a cache.

    Attributes:
        encoding: `hash`, or `triangle-wave`, the paper's own.
        config: tiny-cuda-nn's JSON for encoding, network, loss and optimizer instead of the encoding's own: a file, or its
            contents.
        spread: c: a path ends where its footprint is more than c times that of the first vertex.
        train_spread: The same for the suffixes of training paths; `spread` unless given.
        feature_size: Smallest distance [scene units] that the hash grid tells apart; as fine as it goes unless given.
        train_frames: Frames of the warm-up; until the measured bias is small, or the budget for it is spent, unless given.
        records: Training records of a frame, about; unless given 12,288 on the CPU, and on CUDA 65,536 at 1920 x 1080 and in
            proportion to the pixels below that, but not fewer than 12,288.
        steps: Steps of the optimizer in a frame; 8 on the CPU and 4 on CUDA unless given.
        train_every: After the warm-up, one frame in so many trains, where a frame has eight pixels for a record; where it has
            more or fewer, so that training stays in proportion to rendering.
        decay_frames: The learning rate falls as 1 / (1 + n / decay_frames) in the n-th frame of training, but not below a tenth
            of the configuration's; None keeps it.
        capacity: Vertices of a path that are recorded at most.
        unbiased: u: the share of suffixes that end by roulette alone instead of in the cache, after the warm-up.
        warm_up_unbiased: The same during the warm-up.
        factorize: Whether the network learns radiance divided by reflectance.
        average: Whether rendering uses the average of the weights over training.
        freeze: Whether a cache that has been trained learns no more.
        backend: What runs the network: `warp`, `reference` or `tinycudann`.
        precision: Of matrix products, as in `nrc_tracer.nn.Model`.
        deterministic: On a GPU, train to the same bits every time, which takes longer. On the CPU it is always so.
        fused: On a GPU, encoding and network in one kernel; and once it is known how bright the scene is, but for `unbiased`
            rendering, frames that are launched as CUDA graphs. **It has never run on a GPU**: use it to try it. On the CPU the
            instructions of a GPU are emulated, slowly. Not together with `deterministic`.
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
    warm_up_unbiased: float = 1.0
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
    }

    _WHOLE: ClassVar[frozenset[str]] = frozenset({"train_frames", "records", "steps", "train_every", "capacity"})

    def __post_init__(self) -> None:
        for name, (low, high) in self._BOUNDS.items():
            value = getattr(self, name)
            if value is None:
                continue
            whole = name in self._WHOLE
            if (
                isinstance(value, bool)
                or not isinstance(value, int if whole else int | float)
                or not low <= value <= high
            ):
                kind = "whole number" if whole else "number"
                raise CacheError(f"{name}: expected a {kind} from {low:g} to {high:g}, got {value!r:.40}")
        if self.fused and (self.deterministic or self.backend != "warp"):
            other = "deterministic" if self.deterministic else f'backend="{self.backend}"'
            raise CacheError(f"fused: not together with {other}; leave one of them out")
        if self.encoding not in ENCODINGS:
            raise CacheError(f'encoding: there is no "{self.encoding}"{nearest(self.encoding, ENCODINGS)}')

    @property
    def suffix_spread(self) -> float:
        """c of training suffixes."""
        return self.spread if self.train_spread is None else self.train_spread

    def document(self) -> str | PathLike[str] | Mapping[str, Any]:
        """The configuration of the network, for `nrc_tracer.nn.Model`."""
        return CONFIGS / f"{self.encoding}.json" if self.config is None else self.config
