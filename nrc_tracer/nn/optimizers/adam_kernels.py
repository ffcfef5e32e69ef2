"""Warp kernels of Adam, on CPU and CUDA from one source.

A dense kernel steps a range of the parameters, a listed kernel the entries in the lists of a grid. An item is a stretch of
parameters or of a list (one parameter on CUDA), and owns what it writes.
"""

# mypy: disable-error-code="valid-type"
# The types of the arrays are chosen at run time, and Warp checks what is done with them when it compiles a kernel.

from dataclasses import dataclass
from typing import Any

import warp as wp

from nrc_tracer.nn.optimizers.adam_snippets import list_snippet, range_snippet
from nrc_tracer.nn.touched_lists import ListedStretch, ListOrder, TouchedLists

wp.set_module_options({"enable_backward": False})

WHOLE = wp.constant(int(ListOrder.WHOLE))


@wp.struct
class AdamRule:
    """The hyperparameters of one step of Adam for one kind of parameters.

    Attributes:
        learning_rate: Learning rate before the bias correction.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        epsilon: Added to the square root of the second moment.
        l2_reg: Factor of the weight that is added to the gradient.
        relative_decay: Fraction of the weight that is lost, per unit of the corrected learning rate.
        absolute_decay: Amount of the weight that is lost, per unit of the corrected learning rate.
        gradient_limit: Largest magnitude of a gradient; 0 for no limit.
        weight_limit: Largest magnitude of a weight; 0 for no limit.
        lowest_rate: Lower bound of the learning rate divided by the square root of the second moment (AdaBound).
        highest_rate: Upper bound of the same.
        skip_zero: 1 if a parameter whose gradient is exactly zero rests.
        step: Number of the step, which seeds stochastic rounding.
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


@dataclass(frozen=True)
class AdamKernels:
    """Adam's step for one type of the moments.

    Attributes:
        update: Warp function that steps the parameters begin .. end - 1, each by its own step count; the gradient of parameter i
            is at i + shift.
        dense: Kernel that steps a range of the parameters.
        listed: Kernel that steps the listed entries of a grid (CPU only).
    """

    update: wp.Function
    dense: wp.Kernel
    listed: wp.Kernel


def _adam_kernels(moments: str, moments_type: Any, counts_type: Any) -> AdamKernels:
    """The kernels for one type of the moments: both moments of a parameter are one element of type `moments_type`."""

    @wp.func_native(range_snippet(moments))
    def update(
        begin: int,
        end: int,
        shift: int,
        rule: AdamRule,
        corrections: wp.array[float],
        gradient: wp.array[float],
        params: wp.array[float],
        moments: wp.array[moments_type],
        counts: wp.array[counts_type],
    ): ...

    @wp.func_native(list_snippet(moments))
    def update_list(
        stretch: ListedStretch,
        lists: TouchedLists,
        first: int,
        n_features: int,
        rule: AdamRule,
        corrections: wp.array[float],
        gradient: wp.array[float],
        params: wp.array[float],
        moments: wp.array[moments_type],
        counts: wp.array[counts_type],
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
        moments: wp.array[moments_type],
        counts: wp.array[counts_type],
    ):
        """Step the parameters begin .. end - 1."""
        first = begin + (base + wp.tid()) * stretch
        update(first, wp.min(first + stretch, end), 0, rule, corrections, gradient, params, moments, counts)

    @wp.kernel
    def adam_listed(
        base: int,
        stretches: wp.array[ListedStretch],
        lists: TouchedLists,
        begin: int,
        n_features: int,
        rule: AdamRule,
        corrections: wp.array[float],
        gradient: wp.array[float],
        params: wp.array[float],
        moments: wp.array[moments_type],
        counts: wp.array[counts_type],
    ):
        """Step the listed entries of a grid whose first parameter is `begin`; `gradient` holds their sums, see `Regions`."""
        stretch = stretches[base + wp.tid()]
        if stretch.order == WHOLE:
            first = begin + stretch.first * n_features
            last = first + (stretch.end - stretch.begin) * n_features
            shift = stretch.begin * n_features - first
            update(first, last, shift, rule, corrections, gradient, params, moments, counts)
        else:
            update_list(stretch, lists, begin, n_features, rule, corrections, gradient, params, moments, counts)

    return AdamKernels(update, adam_dense, adam_listed)


ADAM = {
    "float32": _adam_kernels("float32", wp.vec2, wp.int32),
    # One integer holds both moments, the first in its lower half; steps are counted up to 32,767
    "bfloat16": _adam_kernels("bfloat16", wp.int32, wp.int16),
}
"""The kernels for each type of the moments."""
