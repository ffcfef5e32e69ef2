"""Warp kernels of the optimizers, on CPU and CUDA from one source.

Each update is one function; a dense kernel applies it to a range of the parameters, a listed one to the entries of a grid that
lists name. An item is a stretch of parameters or of a list (one parameter on CUDA), and owns what it writes.
"""

from __future__ import annotations

from string import Template
from typing import Any

import warp as wp

wp.set_module_options({"enable_backward": False})

AHEAD = wp.constant(12)
"""How many entries of a list before its turn an entry is fetched: what comes from memory is waited for side by side."""

_PREFETCH = """
#if !defined(__CUDA_ARCH__)
    __builtin_prefetch(values.data + i);
#endif
"""


@wp.func_native(_PREFETCH)
def prefetch(values: wp.array[float], i: int):
    """Begin to fetch an element into the cache (CPU only)."""
    ...


@wp.func_native(_PREFETCH)
def prefetch(values: wp.array[int], i: int): ...  # noqa: F811


@wp.struct
class AdamRule:
    """What Adam does to one kind of parameters in one step.

    Attributes:
        learning_rate: Before the correction of the moments' bias.
        beta1, beta2: Decays of the moments.
        epsilon: Added to the root of the second moment.
        l2_reg: What of the weight is added to the gradient.
        relative_decay, absolute_decay: Lost by the weight, per unit of the corrected learning rate.
        gradient_limit, weight_limit: Greatest magnitudes; 0 for any.
        lowest_rate, highest_rate: Bounds of the learning rate over the root of the second moment (AdaBound).
        skip_zero: 1 if a parameter whose gradient is exactly zero rests.
        step: Number of the step, for what is rounded by chance.
    """

    learning_rate: wp.float32
    beta1: wp.float32
    beta2: wp.float32
    epsilon: wp.float32
    l2_reg: wp.float32
    relative_decay: wp.float32
    absolute_decay: wp.float32
    gradient_limit: wp.float32
    weight_limit: wp.float32
    lowest_rate: wp.float32
    highest_rate: wp.float32
    skip_zero: wp.int32
    step: wp.int32


_ADAM = Template("""
    const float* table = corrections.data;
    const int last = corrections.shape[0] - 1;
    const bool skip_zero = rule.skip_zero != 0;
    const float learning_rate = rule.learning_rate, epsilon = rule.epsilon, l2_reg = rule.l2_reg;
    const float beta1 = rule.beta1, rest1 = 1.0f - beta1, beta2 = rule.beta2, rest2 = 1.0f - beta2;
    const float relative_decay = rule.relative_decay, absolute_decay = rule.absolute_decay;
    const float lowest = rule.lowest_rate, highest = rule.highest_rate;
    const float gradient_limit = rule.gradient_limit != 0.0f ? rule.gradient_limit : 3.402823466e38f;
    const float weight_limit = rule.weight_limit != 0.0f ? rule.weight_limit : 3.402823466e38f;
    const unsigned key = (unsigned)rule.step * 0x9e3779b9u;

    // Of n parameters side by side: a loop without branches, which the compiler turns into vector instructions on the CPU
    auto update = [&](int n, const float* gradients, float* weights, auto* moment, auto* steps, auto place) {
#if !defined(__CUDA_ARCH__)
#pragma clang loop vectorize(assume_safety)
#endif
    for (int i = 0; i < n; ++i) {
        const float gradient = gradients[i], before = weights[i];
        $load
        const int t_before = steps[i];

        // Regularize, then clip the gradient
        float g = gradient + l2_reg * before;
        g = g > gradient_limit ? gradient_limit : g;
        g = g < -gradient_limit ? -gradient_limit : g;

        // Update the moments
        const float m = beta1 * m_before + rest1 * g;
        const float v = beta2 * v_before + rest2 * (g * g);

        // Correct their bias, and bound the rate; of NaN, from 0 / 0, the comparison makes the bound
        const int t = t_before + 1;
        const float rate = learning_rate * table[t < last ? t : last];
        float bounded = rate / (sqrtf(v) + epsilon);
        bounded = bounded > lowest ? bounded : lowest;
        bounded = bounded < highest ? bounded : highest;

        // Decay the weight and move it
        float w = (1.0f - relative_decay * rate) * before - wp::copysign(absolute_decay * rate, before);
        w -= bounded * m;
        w = w > weight_limit ? weight_limit : w;
        w = w < -weight_limit ? -weight_limit : w;

        const bool rests = skip_zero && gradient == 0.0f;
        weights[i] = rests ? before : w;
        $store
    }
    };
    $what
""")

_EXACT = {
    "load": "const float m_before = ((float*)moment)[2 * i], v_before = ((float*)moment)[2 * i + 1];",
    "store": """
        ((float*)moment)[2 * i] = rests ? m_before : m;
        ((float*)moment)[2 * i + 1] = rests ? v_before : v;
        steps[i] = rests ? t_before : t;
""",
}

_COMPACT = {
    "load": """
        const unsigned packed = moment[i];
        union Bits { unsigned u; float f; };
        Bits low, high;
        low.u = packed << 16;
        high.u = packed & 0xffff0000u;
        const float m_before = low.f, v_before = high.f;
""",
    "store": """
        // Round to bfloat16 up or down by chance, so that on average nothing is lost
        unsigned dice = ((unsigned)place(i) ^ key) * 0x85ebca6bu;
        dice = (dice ^ dice >> 15) * 0xc2b2ae35u;
        dice ^= dice >> 16;
        low.f = m;
        high.f = v;
        low.u += dice & 0xffffu;
        high.u += dice >> 16;
        const unsigned rounded = low.u >> 16 | (high.u & 0xffff0000u);
        moment[i] = rests ? packed : rounded;
        steps[i] = (short)(rests || t > 32767 ? t_before : t);
""",
}

_RANGE = """
    update(end - begin, gradient.data + begin + shift, params.data + begin, moments.data + begin, counts.data + begin,
           [=](int i) { return begin + i; });
"""

_LIST = """
#if !defined(__CUDA_ARCH__)
    // Fetched ahead of their turn and brought together, so that they are waited for, and stepped, side by side
    constexpr int ROOM = 64;
    float g[ROOM], w[ROOM];
    auto first_moment = *moments.data;
    auto first_count = *counts.data;
    decltype(first_moment) m[ROOM];
    decltype(first_count) t[ROOM];
    int where[ROOM];
    const int mask = (1 << slot_bits) - 1;
    const int entries = ROOM / n_features;
    for (int from = begin; from < end; from += entries) {
        const int n = wp::min(entries, end - from);
        int count = 0;
        for (int k = from; k < from + n; ++k) {
            const int next = touched.data[wp::min(k + entries, end - 1)];
            const int ahead = first + next * n_features;
            __builtin_prefetch(params.data + ahead);
            __builtin_prefetch(moments.data + ahead);
            __builtin_prefetch(counts.data + ahead);
            const int entry = touched.data[k];
            int row = k;
            if (how < 0) {
                __builtin_prefetch(slots.data + next);
                row = (slots.data[entry] & mask) - how - 1;
            }
            for (int f = 0; f < n_features; ++f, ++count) {
                const int i = first + entry * n_features + f;
                where[count] = i;
                g[count] = gradient.data[row * n_features + f];
                w[count] = params.data[i];
                m[count] = moments.data[i];
                t[count] = counts.data[i];
            }
        }
        update(count, g, w, m, t, [&](int i) { return where[i]; });
        for (int i = 0; i < count; ++i) {
            params.data[where[i]] = w[i];
            moments.data[where[i]] = m[i];
            counts.data[where[i]] = t[i];
        }
    }
#endif
"""


@wp.func_native(_ADAM.substitute(_EXACT, what=_RANGE))
def adam_update(
    begin: int,
    end: int,
    shift: int,
    rule: AdamRule,
    corrections: wp.array[float],
    gradient: wp.array[float],
    params: wp.array[float],
    moments: wp.array[wp.vec2],
    counts: wp.array[int],
):
    """One step of the parameters i = begin .. end - 1, each by its own step count; their gradients are at i + shift."""
    ...


@wp.func_native(_ADAM.substitute(_COMPACT, what=_RANGE))
def adam_update(  # noqa: F811
    begin: int,
    end: int,
    shift: int,
    rule: AdamRule,
    corrections: wp.array[float],
    gradient: wp.array[float],
    params: wp.array[float],
    moments: wp.array[int],
    counts: wp.array[wp.int16],
):
    """The same with both moments of a parameter as bfloat16, the first in the lower half, and counts up to 32,767."""
    ...


@wp.func_native(_ADAM.substitute(_EXACT, what=_LIST))
def adam_update_list(
    begin: int,
    end: int,
    how: int,
    touched: wp.array[int],
    first: int,
    n_features: int,
    slots: wp.array[int],
    slot_bits: int,
    rule: AdamRule,
    corrections: wp.array[float],
    gradient: wp.array[float],
    params: wp.array[float],
    moments: wp.array[wp.vec2],
    counts: wp.array[int],
):
    """The same of the entries at the places begin .. end - 1 of a list (CPU only)."""
    ...


@wp.func_native(_ADAM.substitute(_COMPACT, what=_LIST))
def adam_update_list(  # noqa: F811
    begin: int,
    end: int,
    how: int,
    touched: wp.array[int],
    first: int,
    n_features: int,
    slots: wp.array[int],
    slot_bits: int,
    rule: AdamRule,
    corrections: wp.array[float],
    gradient: wp.array[float],
    params: wp.array[float],
    moments: wp.array[int],
    counts: wp.array[wp.int16],
): ...


@wp.kernel
def adam_dense(
    base: int,
    begin: int,
    end: int,
    stretch: int,
    rule: AdamRule,
    corrections: wp.array[float],
    gradient: wp.array[float],
    params: wp.array[float],
    moments: wp.array[Any],
    counts: wp.array[Any],
):
    """Step the parameters begin .. end - 1."""
    first = begin + (base + wp.tid()) * stretch
    adam_update(first, wp.min(first + stretch, end), 0, rule, corrections, gradient, params, moments, counts)


@wp.kernel
def adam_listed(
    base: int,
    stretches: wp.array[wp.vec3i],
    touched: wp.array[int],
    begin: int,
    n_features: int,
    slots: wp.array[int],
    slot_bits: int,
    rule: AdamRule,
    corrections: wp.array[float],
    gradient: wp.array[float],
    params: wp.array[float],
    moments: wp.array[Any],
    counts: wp.array[Any],
):
    """Step the listed entries of a grid whose first parameter is `begin`; `gradient` has their sums, see `Regions`."""
    stretch = stretches[base + wp.tid()]
    how = stretch[2]
    if how > 0:
        first = begin + (stretch[0] + how - 1) * n_features
        last = begin + (stretch[1] + how - 1) * n_features
        adam_update(first, last, stretch[0] * n_features - first, rule, corrections, gradient, params, moments, counts)
        return
    adam_update_list(
        stretch[0], stretch[1], how, touched, begin, n_features, slots, slot_bits, rule, corrections, gradient, params,
        moments, counts,
    )  # fmt: skip


ADAM_DENSE, ADAM_LISTED = (
    {
        "float32": wp.overload(kernel, {"moments": wp.array[wp.vec2], "counts": wp.array[int]}),
        "bfloat16": wp.overload(kernel, {"moments": wp.array[int], "counts": wp.array[wp.int16]}),
    }
    for kernel in (adam_dense, adam_listed)
)
"""The kernels for each type of the moments."""


@wp.func
def rest(done: int, step: int, decay: wp.array[wp.vec2], debias: float) -> float:
    """What is left at `step` of a debiased average's distance at step `done` < `step` from a weight that stays the same.

    Args:
        decay: d^k and 1 - d^k for k = 0, 1, 2, ...
        debias: 1 - d^step.
    """
    last = decay.shape[0] - 1
    power = decay[wp.min(step - done, last)]
    before = decay[wp.min(done, last)]
    return power[0] * before[1] / debias


@wp.func
def blended(average: float, weight: float, share: float) -> float:
    """An average after a step, of which the weight gets `share`."""
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
    """Bring the averages begin .. end - 1 up to `step`, their weights having stayed the same since they were updated."""
    first = begin + (base + wp.tid()) * stretch
    for i in range(first, wp.min(first + stretch, end)):
        done = wp.max(updated[i], complete)
        if done < step:
            weight = weights[i]
            averages[i] = weight + (averages[i] - weight) * rest(done, step, decay, debias)


@wp.func
def listed_entry(stretch: wp.vec3i, touched: wp.array[int], k: int) -> int:
    """The entry at place k of the lists; where its list has all entries of its region, they follow each other."""
    if stretch[2] > 0:
        return k + stretch[2] - 1
    return touched[k]


@wp.kernel
def ema_listed(
    base: int,
    stretches: wp.array[wp.vec3i],
    touched: wp.array[int],
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
    for k in range(stretch[0], stretch[1]):
        ahead = begin + listed_entry(stretch, touched, wp.min(k + AHEAD, stretch[1] - 1)) * n_features
        prefetch(weights, ahead)
        prefetch(averages, ahead)
        prefetch(updated, ahead)
        first = begin + listed_entry(stretch, touched, k) * n_features
        done = wp.max(updated[first], complete)  # and so are all features of an entry
        if done < step:
            left = rest(done, step, decay, debias)
            for i in range(first, first + n_features):
                weight = weights[i]
                averages[i] = weight + (averages[i] - weight) * left
                updated[i] = step
