"""When a path ends in the cache: its footprint, compared with the footprint of the first vertex.

Mueller, Rousselle, Novak, Keller, *Real-time Neural Radiance Caching for Path Tracing* (2021), section 3.4, after Bekaert et al.,
*Custom Footprint Estimation* (2003).
"""

import warp as wp

from nrc_tracer.device.constants import INV_4PI

MIN_COSINE = wp.constant(1.0e-4)
"""Smallest cosine that footprints are divided by."""


@wp.func
def clamped_cosine(n: wp.vec3, d: wp.vec3) -> float:
    """|cos| of the angle at which a ray along `d` meets a surface with geometric normal `n`, at least 1e-4."""
    return wp.max(wp.abs(wp.dot(n, d)), MIN_COSINE)


@wp.func
def primary_area(distance: float, cosine: float) -> float:
    """a_0: the footprint of the first vertex, at the optical path length `distance` from the camera."""
    return distance * distance * INV_4PI / cosine


@wp.func
def spread_term(distance: float, pdf: float, cosine: float) -> float:
    """The term that a segment adds to the square root of the footprint's area.

    Args:
        distance: Length of the segment.
        pdf: Solid-angle density of its direction under the whole BSDF mixture, without Russian roulette.
        cosine: Cosine at its end, from `clamped_cosine`.
    """
    return distance / wp.sqrt(pdf * cosine)


@wp.func
def has_spread(root_area: float, area: float, c: float) -> bool:
    """Whether a footprint, the square of the sum `root_area` of its `spread_term`s, is larger than c a_0, a_0 being `area`."""
    return root_area * root_area > c * area
