"""Held-out paths: the cache never trains on them, and its predictions are compared with the radiance they find."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.measurements import LEAST_PROBABILITY, QUERY_COST, Bias, SampleCost
from nrc_tracer.cache.records import BROKEN
from nrc_tracer.errors import CacheError

Predict = Callable[[Tensor], Tensor]


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
        again: The same as `tail` for a second continuation from the same cut; None if there was only one.
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
        """mean(T (C - L)) / mean(T L), and its standard error.

        T is the throughput of a path to its end in the cache, L the radiance found to scatter there and C the prediction. NaN
        without paths or light.
        """
        if not len(self):
            return Bias(math.nan, math.nan)
        t, tail = self.throughput.double(), self.tail.double()
        light = (t * tail).sum(dim=1)
        excess = (t * predict(self.features).double()).sum(dim=1) - light
        mean = float(light.mean())
        if not mean > 0.0:
            return Bias(math.nan, math.nan)
        bias = float(excess.mean()) / mean
        # Paths of a pixel are independent given the pixel, but pixels differ: pairs are the units
        spread = (excess - bias * light).view(-1, 2).mean(dim=1)
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
