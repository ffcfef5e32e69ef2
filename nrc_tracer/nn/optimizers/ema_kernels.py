"""Warp kernels of the exponential moving average, on CPU and CUDA from one source.

An item is a stretch of parameters or of a list (one parameter on CUDA), and owns what it writes.
"""

from __future__ import annotations

import warp as wp

from nrc_tracer.nn.touched_lists import ListedStretch, ListOrder, TouchedLists

wp.set_module_options({"enable_backward": False})

WHOLE = wp.constant(int(ListOrder.WHOLE))

AHEAD = wp.constant(12)
"""How many entries ahead the entries of a list are prefetched, so that their loads overlap."""

_PREFETCH = """
#if !defined(__CUDA_ARCH__)
    __builtin_prefetch(values.data + i);
#endif
"""


@wp.func_native(_PREFETCH)
def prefetch(values: wp.array[float], i: int):
    """Prefetch an element into the cache (CPU only)."""
    ...


@wp.func_native(_PREFETCH)
def prefetch_count(values: wp.array[int], i: int):
    """`prefetch` for integers."""
    ...


@wp.func
def rest(done: int, step: int, decay: wp.array[wp.vec2], debias: float) -> float:
    """The factor by which a debiased average approaches a constant weight from step `done` to a later `step`.

    Args:
        decay: d^k and 1 - d^k for k = 0, 1, 2, ..., with the decay d of the average.
        debias: 1 - d^step.
    """
    last = decay.shape[0] - 1
    power = decay[wp.min(step - done, last)]
    before = decay[wp.min(done, last)]
    return power[0] * before[1] / debias


@wp.func
def blended(average: float, weight: float, share: float) -> float:
    """An average after a step in which the weight has the fraction `share` of it."""
    return average + share * (weight - average)


@wp.kernel
def ema_dense(
    base: int,
    begin: int,
    end: int,
    stretch: int,
    share: float,
    weights: wp.array[float],
    averages: wp.array[float],
):
    """Blend the weights begin .. end - 1 into averages that are up to date."""
    first = begin + (base + wp.tid()) * stretch
    for i in range(first, wp.min(first + stretch, end)):
        averages[i] = blended(averages[i], weights[i], share)


@wp.kernel
def ema_catch_up(
    base: int,
    begin: int,
    end: int,
    stretch: int,
    step: int,
    complete: int,
    decay: wp.array[wp.vec2],
    debias: float,
    weights: wp.array[float],
    averages: wp.array[float],
    updated: wp.array[int],
):
    """Bring the averages begin .. end - 1 up to `step`. Their weights have not changed since they were last updated."""
    first = begin + (base + wp.tid()) * stretch
    for i in range(first, wp.min(first + stretch, end)):
        done = wp.max(updated[i], complete)
        if done < step:
            weight = weights[i]
            averages[i] = weight + (averages[i] - weight) * rest(done, step, decay, debias)


@wp.func
def listed_entry(stretch: ListedStretch, touched: wp.array[int], k: int) -> int:
    """The entry at place k of the lists."""
    if stretch.order == WHOLE:
        return stretch.first + k - stretch.begin
    return touched[k]


@wp.kernel
def ema_listed(
    base: int,
    stretches: wp.array[ListedStretch],
    lists: TouchedLists,
    begin: int,
    n_features: int,
    step: int,
    complete: int,
    decay: wp.array[wp.vec2],
    debias: float,
    weights: wp.array[float],
    averages: wp.array[float],
    updated: wp.array[int],
):
    """`ema_catch_up` for listed entries, whose weights are about to change."""
    stretch = stretches[base + wp.tid()]
    for k in range(stretch.begin, stretch.end):
        ahead = begin + listed_entry(stretch, lists.touched, wp.min(k + AHEAD, stretch.end - 1)) * n_features
        prefetch(weights, ahead)
        prefetch(averages, ahead)
        prefetch_count(updated, ahead)
        first = begin + listed_entry(stretch, lists.touched, k) * n_features
        # Fused steps leave out features without a gradient, so the features of an entry may differ in their last step
        last = int(-1)
        left = float(0.0)
        for i in range(first, first + n_features):
            done = wp.max(updated[i], complete)
            if done < step:
                if done != last:
                    left = rest(done, step, decay, debias)
                    last = done
                weight = weights[i]
                averages[i] = weight + (averages[i] - weight) * left
                updated[i] = step
