"""Telling finite values from infinities and NaN in kernels."""

import warp as wp


@wp.func
def all_finite(v: wp.vec3) -> bool:
    """Whether every component is finite: neither infinite nor NaN."""
    return wp.isfinite(v[0]) and wp.isfinite(v[1]) and wp.isfinite(v[2])
