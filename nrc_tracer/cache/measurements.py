"""What is measured of a cache on held-out paths: its bias, and variance and time of samples with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

LEAST_PROBABILITY = 0.05
"""Smallest probability of continuing beyond the cache: rarer corrections are fireflies."""

TOLERATED_BIAS = 0.03
"""Relative bias, and standard error of its estimate, below which the warm-up ends."""

QUERY_COST = 3.0
"""Time of a query on the CPU, in the time of one vertex of a path: a constant, so that decisions do not depend on a clock."""


class Bias(NamedTuple):
    """An estimate of the cache's relative bias; above 0 it is too bright.

    Attributes:
        value: The estimate; NaN where no light was found.
        error: Its standard error.
    """

    value: float
    error: float

    @property
    def is_small(self) -> bool:
        """Whether the bias exceeds `TOLERATED_BIAS` by at most its standard error, and that error is no larger than it."""
        return abs(self.value) <= TOLERATED_BIAS + self.error and self.error <= TOLERATED_BIAS

    @property
    def is_large(self) -> bool:
        """Whether the bias exceeds `TOLERATED_BIAS` by more than twice its standard error."""
        return abs(self.value) > TOLERATED_BIAS + 2.0 * self.error


@dataclass(frozen=True)
class SampleCost:
    """Variance and time of a sample of one pixel, means over pixels and channels.

    Continuing beyond the cut with probability q takes the time t_0 + q t_l and has the variance v_0 + v_l / q (slightly less, as
    v_l counts the squared error of the cache's mean at full weight); their product is least at q = sqrt(v_l t_0 / (v_0 t_l)).

    Attributes:
        v_0: Variance of gathered[0] + T C, the cached sample.
        v_l: Mean of (T (L - C))^2, the variance that correcting the cache adds.
        v: Variance of path tracing.
        t_0: Vertices of a path up to its end in the cache, and the query in vertices.
        t_l: Vertices of a path beyond its end in the cache.
        t: Vertices of a whole path.
        best_probability: That q, within [`LEAST_PROBABILITY`, 1].
        gain: Time of path tracing over that of the cache with that q, both to the same error.
    """

    v_0: float = math.nan
    v_l: float = math.nan
    v: float = math.nan
    t_0: float = math.nan
    t_l: float = math.nan
    t: float = math.nan
    best_probability: float = 1.0
    gain: float = 0.0
