"""Paths on which a cache never trains, to measure what it says against what is there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nrc_tracer.cache.records import BROKEN, RecordBuffers

Predict = Callable[[Tensor], Tensor]

COLUMNS = ("features", "throughput", "tail", "before", "length", "depth")


class HeldOut:
    """Paths cut where they spread, and followed to their own end beyond that; two, one after the other, of each pixel.

    Args:
        tensors: By name: `features` [N, FEATURES] of the vertex of the cut; `throughput` [N, 3] to it, 0 where there is no cut;
            `tail` [N, 3], the radiance that was found to scatter there; `before` [N, 3], what was gathered up to it; `length` and
            `depth`, vertices of the whole path and up to the cut, [N].
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

        Returns:
            `v_0`: the variance of gathered[0] + T C, the cached sample; `v_l`: the mean of (T (L - C))^2, what correcting it
            costs; `t_0` and `t_l`: vertices to the end in the cache (and the query, as `query_cost` vertices) and beyond it;
            `best_probability`: sqrt(v_l t_0 / (v_0 t_l)), at most 1.
        """
        if not len(self):
            return {"v_0": math.nan, "v_l": math.nan, "t_0": math.nan, "t_l": math.nan, "best_probability": 1.0}
        tensors = {name: tensor.double() for name, tensor in self.tensors.items()}
        prediction = predict(self.tensors["features"]).double()
        cached = (tensors["before"] + tensors["throughput"] * prediction).view(-1, 2, 3)
        v_0 = float(0.5 * (cached[:, 0] - cached[:, 1]).square().mean())
        v_l = float((tensors["throughput"] * (tensors["tail"] - prediction)).square().mean())
        cut = tensors["depth"] > 0
        t_0 = float(torch.where(cut, tensors["depth"] + query_cost, tensors["length"]).mean())
        t_l = float(torch.where(cut, tensors["length"] - tensors["depth"], 0.0).mean())
        best = math.sqrt(v_l * t_0 / (v_0 * t_l)) if v_0 > 0.0 and t_l > 0.0 and math.isfinite(v_l) else 1.0
        return {"v_0": v_0, "v_l": v_l, "t_0": t_0, "t_l": t_l, "best_probability": min(max(best, 0.05), 1.0)}

    def best_probability(self, predict: Predict, query_cost: float) -> float:
        """With which probability paths should go on beyond the cache, to have the least error in a given time."""
        return self.variances(predict, query_cost)["best_probability"]


def join(old: Mapping[str, Tensor], new: Mapping[str, Tensor], *, most: int) -> dict[str, Tensor]:
    """Both together, and of them the last `most`."""
    if not old:
        return dict(new)
    return {name: torch.cat((old[name], new[name]))[-most:] for name in new}
