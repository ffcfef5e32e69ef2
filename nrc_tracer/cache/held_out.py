"""Held-out paths: the cache never trains on them, and its predictions are compared with the radiance they find."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.records import BROKEN
from nrc_tracer.errors import CacheError

Predict = Callable[[Tensor], Tensor]

LEAST_PROBABILITY = 0.05
"""Smallest probability of continuing beyond the cache: rarer corrections are fireflies."""

TOLERATED_BIAS = 0.03
"""Relative bias, and standard error of its estimate, below which the warm-up ends."""

QUERY_COST = 3.0
"""Time of a query on the CPU, in the time of one vertex of a path: a constant, so that decisions do not depend on a clock."""


class Bias(NamedTuple):
    """An estimate of the cache's relative bias; above 0 it is too dark.

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


@dataclass(frozen=True)
class HeldOut:
    """Paths cut where their footprint has spread, and followed beyond the cut to their own end; two in turn per pixel.

    Attributes:
        features: Features of the vertex of the cut, [N, FEATURES].
        throughput: Throughput to the cut, [N, 3]; 0 without a cut.
        tail: Radiance that the path found to scatter at the cut, [N, 3].
        before: Radiance gathered up to the cut, [N, 3].
        length: Vertices of the whole path, [N].
        depth: Number of the vertex of the cut, counted from 1, [N]; 0 without a cut.
        again: As `tail`, found by a second continuation from the same cut; None where there was only one.
    """

    features: Tensor
    throughput: Tensor
    tail: Tensor
    before: Tensor
    length: Tensor
    depth: Tensor
    again: Tensor | None = None

    @classmethod
    def empty(cls, device: torch.device | str = "cpu") -> HeldOut:
        """No paths."""
        return cls(
            features=torch.zeros((0, FEATURES), device=device),
            **{name: torch.zeros((0, 3), device=device) for name in ("throughput", "tail", "before")},
            **{name: torch.zeros(0, device=device) for name in ("length", "depth")},
        )

    @classmethod
    def of(cls, buffers: RecordBuffers, paths: int) -> HeldOut:
        """Copy the records of the first `paths` paths."""
        cut = (buffers.count[:paths, None] > 0) & (buffers.status[:paths, None] != int(BROKEN))
        return cls(
            features=torch.where(cut, buffers.features[:paths, 0], 0.5),
            throughput=torch.where(cut, buffers.throughput[:paths, 0], 0.0),
            tail=torch.where(cut, buffers.gathered[:paths, 1], 0.0),
            before=torch.where(buffers.status[:paths, None] != int(BROKEN), buffers.gathered[:paths, 0], 0.0),
            length=buffers.length[:paths].float(),
            depth=buffers.depth[:paths].float(),
        )

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: torch.device) -> HeldOut:
        """The paths that `tensors` gave.

        Raises:
            CacheError: They are of another kind.
        """
        empty = cls.empty()
        shapes = {name: tensor.shape[1:] for name, tensor in empty.tensors().items()} | {"again": (3,)}
        rows = {len(tensor) for tensor in tensors.values() if tensor.ndim}
        fits = set(shapes) - {"again"} <= set(tensors) <= set(shapes) and len(rows) == 1
        if not fits or any(tensor.shape[1:] != shapes[name] for name, tensor in tensors.items()):
            raise CacheError("radiance cache: its held-out paths are damaged")
        return cls(**{name: tensor.to(device, torch.float32, copy=True) for name, tensor in tensors.items()})

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}

    def __len__(self) -> int:
        return len(self.tail)

    def joined(self, new: HeldOut, *, most: int) -> HeldOut:
        """The last `most` of these paths and then `new`; `new` alone if only one of the two has a second continuation."""
        if (self.again is None) != (new.again is None):
            return new
        ours = self.tensors()
        return HeldOut(**{name: torch.cat((ours[name], tensor))[-most:] for name, tensor in new.tensors().items()})

    def bias(self, predict: Predict) -> Bias:
        """mean(T (L - C)) / mean(T L), and its standard error.

        T is the throughput of a path to its end in the cache, L the radiance found to scatter there and C the prediction. NaN
        without paths or light.
        """
        if not len(self):
            return Bias(math.nan, math.nan)
        t, tail = self.throughput.double(), self.tail.double()
        light = (t * tail).sum(dim=1)
        missing = light - (t * predict(self.features).double()).sum(dim=1)
        mean = float(light.mean())
        if not mean > 0.0:
            return Bias(math.nan, math.nan)
        bias = float(missing.mean()) / mean
        # Paths of a pixel are independent given the pixel, but pixels differ: pairs are the units
        spread = (missing - bias * light).view(-1, 2).mean(dim=1)
        return Bias(bias, float(spread.std()) / math.sqrt(max(len(spread), 1)) / mean)

    def cost(self, predict: Predict, query_cost: float = QUERY_COST) -> SampleCost:
        """Variance and time of a sample with the cache, its correction and path tracing.

        Args:
            predict: Gives the cache's predictions for features.
            query_cost: Time of a query in vertices of a path.

        Returns:
            The cost; without paths a `best_probability` of 1 and no gain.
        """
        if not len(self):
            return SampleCost()
        t, tail = self.throughput.double(), self.tail.double()
        prediction = predict(self.features).double()
        v_l = float((t * (tail - prediction)).square().mean())
        return self._cost(self._variance(prediction), v_l, self._variance(tail), query_cost)

    def perfect_cost(self, query_cost: float = QUERY_COST) -> SampleCost:
        """`cost` of a cache that predicts exactly the mean radiance: the best that any cache could do.

        It needs a second continuation: the variance of the radiance found beyond a cut is half the mean squared difference of
        the two. Without one, as without paths, there is no gain.
        """
        if self.again is None or not len(self):
            return SampleCost()
        t, tail = self.throughput.double(), self.tail.double()
        v = self._variance(tail)
        v_l = float(0.5 * (t * (tail - self.again.double())).square().mean())
        return self._cost(max(v - v_l, 0.0), v_l, v, query_cost)

    def _variance(self, scattered: Tensor) -> float:
        """Variance within pixels of samples that find this radiance at their cut."""
        pairs = (self.before.double() + self.throughput.double() * scattered).view(-1, 2, 3)
        return float(0.5 * (pairs[:, 0] - pairs[:, 1]).square().mean())

    def _cost(self, v_0: float, v_l: float, v: float, query_cost: float) -> SampleCost:
        length, depth = self.length.double(), self.depth.double()
        cut = depth > 0
        t = float(length.mean())
        t_0 = float(torch.where(cut, depth + query_cost, length).mean())
        t_l = float(torch.where(cut, length - depth, 0.0).mean())
        best, gain = 1.0, 0.0
        if v > 0.0 and t_l > 0.0 and math.isfinite(v_l):
            best = min(math.sqrt(v_l * t_0 / (v_0 * t_l)), 1.0) if v_0 > 0.0 else 1.0
            best = max(best, LEAST_PROBABILITY)
            gain = v * t / ((v_0 + v_l / best) * (t_0 + best * t_l))
        return SampleCost(v_0, v_l, v, t_0, t_l, t, best, gain)
