"""Paths on which a cache never trains, to measure what it says against what is there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.records import BROKEN

Predict = Callable[[Tensor], Tensor]

LEAST_PROBABILITY = 0.05
"""Of going on beyond the cache: rarer corrections are fireflies."""


class HeldOut:
    """Paths cut where they spread, and followed to their own end beyond that; two, one after the other, of each pixel.

    Args:
        tensors: By name: `features` [N, FEATURES] of the vertex of the cut; `throughput` [N, 3] to it, 0 where there is no cut;
            `tail` [N, 3], the radiance that was found to scatter there, and, where it was looked for twice, `again`; `before`
            [N, 3], what was gathered up to it; `length` and `depth`, vertices of the whole path and up to the cut, [N].
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    @classmethod
    def of(cls, buffers: RecordBuffers, paths: int) -> dict[str, Tensor]:
        """Copies of what the first `paths` paths have left."""
        cut = (buffers.count[:paths, None] > 0) & (buffers.status[:paths, None] != int(BROKEN))
        tensors = {
            "features": torch.where(cut, buffers.features[:paths, 0], 0.5),
            "throughput": torch.where(cut, buffers.throughput[:paths, 0], 0.0),
            "tail": torch.where(cut, buffers.gathered[:paths, 1], 0.0),
            "before": torch.where(buffers.status[:paths, None] != int(BROKEN), buffers.gathered[:paths, 0], 0.0),
            "length": buffers.length[:paths].float(),
            "depth": buffers.depth[:paths].float(),
        }
        return {name: tensor.clone() for name, tensor in tensors.items()}

    def __len__(self) -> int:
        return len(self.tensors["tail"]) if self.tensors else 0

    def bias(self, predict: Predict) -> tuple[float, float]:
        """mean(T (L - C)) / mean(T L), and its standard error.

        T is the throughput of a path to its end in the cache, L what was found to scatter there and C what the cache says. Above
        0 the cache is too dark. NaN where nothing was measured or no light was found.
        """
        if not len(self):
            return math.nan, math.nan
        t, tail = self.tensors["throughput"].double(), self.tensors["tail"].double()
        light = (t * tail).sum(dim=1)
        missing = light - (t * predict(self.tensors["features"]).double()).sum(dim=1)
        mean = float(light.mean())
        if not mean > 0.0:
            return math.nan, math.nan
        bias = float(missing.mean()) / mean
        # Paths of a pixel are independent given the pixel, but pixels differ: pairs are the units
        spread = (missing - bias * light).view(-1, 2).mean(dim=1)
        return bias, float(spread.std()) / math.sqrt(max(len(spread), 1)) / mean

    def variances(self, predict: Predict, query_cost: float) -> dict[str, float]:
        """Of a pixel's sample, mean over pixels and channels: what decides how many paths should go on beyond the cache.

        Going on with probability q costs t_0 + q t_l and has the variance v_0 + v_l / q (a little less, as v_l counts what the
        cache is wrong by in the mean at its full weight); the product of both is least at q = sqrt(v_l t_0 / (v_0 t_l)).

        Returns:
            `v_0`: the variance of gathered[0] + T C, the cached sample; `v_l`: the mean of (T (L - C))^2, what correcting it
            costs; `v`: the variance of path tracing; `t_0` and `t_l`: vertices to the end in the cache (and the query, as
            `query_cost` vertices) and beyond it; `t`: vertices of a whole path; `best_probability`: that q, at most 1; `gain`:
            what path tracing needs of time for the same error, over what that q needs. NaN where nothing was measured, with a
            `best_probability` of 1 and no gain.
        """
        if not len(self):
            return _judge(math.nan, math.nan, math.nan, {}, query_cost)
        tensors = {name: tensor.double() for name, tensor in self.tensors.items()}
        prediction = predict(self.tensors["features"]).double()

        def variance(scattered: Tensor) -> float:
            pairs = (tensors["before"] + tensors["throughput"] * scattered).view(-1, 2, 3)
            return float(0.5 * (pairs[:, 0] - pairs[:, 1]).square().mean())

        v_0, v = variance(prediction), variance(tensors["tail"])
        v_l = float((tensors["throughput"] * (tensors["tail"] - prediction)).square().mean())
        return _judge(v_0, v_l, v, tensors, query_cost)

    def perfect(self, query_cost: float) -> dict[str, float]:
        """`variances` of a cache that gives just the mean of what is found: the best that any could do.

        It takes what was found `again` at the same vertices: the variance of what is found there is half of the mean square of
        the difference. Without it, as without anything measured, there is no gain.
        """
        if "again" not in self.tensors:
            return _judge(math.nan, math.nan, math.nan, {}, query_cost)
        tensors = {name: tensor.double() for name, tensor in self.tensors.items()}
        pairs = (tensors["before"] + tensors["throughput"] * tensors["tail"]).view(-1, 2, 3)
        v = float(0.5 * (pairs[:, 0] - pairs[:, 1]).square().mean())
        v_l = float(0.5 * (tensors["throughput"] * (tensors["tail"] - tensors["again"])).square().mean())
        return _judge(max(v - v_l, 0.0), v_l, v, tensors, query_cost)


def _judge(v_0: float, v_l: float, v: float, tensors: Mapping[str, Tensor], query_cost: float) -> dict[str, float]:
    """What variances mean for the probability of going on, and what it gains; see `HeldOut.variances`."""
    if not tensors:
        nothing = dict.fromkeys(("v_0", "v_l", "v", "t_0", "t_l", "t"), math.nan)
        return {**nothing, "best_probability": 1.0, "gain": 0.0}
    cut = tensors["depth"] > 0
    t = float(tensors["length"].mean())
    t_0 = float(torch.where(cut, tensors["depth"] + query_cost, tensors["length"]).mean())
    t_l = float(torch.where(cut, tensors["length"] - tensors["depth"], 0.0).mean())
    best, gain = 1.0, 0.0
    if v > 0.0 and t_l > 0.0 and math.isfinite(v_l):
        best = min(math.sqrt(v_l * t_0 / (v_0 * t_l)), 1.0) if v_0 > 0.0 else 1.0
        best = max(best, LEAST_PROBABILITY)
        gain = v * t / ((v_0 + v_l / best) * (t_0 + best * t_l))
    return {"v_0": v_0, "v_l": v_l, "v": v, "t_0": t_0, "t_l": t_l, "t": t, "best_probability": best, "gain": gain}


def join(old: Mapping[str, Tensor], new: Mapping[str, Tensor], *, most: int) -> dict[str, Tensor]:
    """Both together, and of them the last `most`; the new ones alone where they hold something else than the old."""
    if set(old) != set(new):
        return dict(new)
    return {name: torch.cat((old[name], new[name]))[-most:] for name in new}
