"""The records of cut paths: for each cut the features of its vertex, and what was gathered from one cut to the next.

A path from the camera is cut at some of its vertices. Segment 0 is the part before the first cut, segment j the part after cut
j - 1. Each segment stores two quantities, both in units of radiance at its own start: `gathered`, the light found along it, and
the `throughput` to the cut at its end. So the radiance scattered at cut j is

    T_j = gathered[j + 1] + throughput[j + 1] T_(j + 1)

and the radiance that the camera sees is gathered[0] + throughput[0] T_0. A path ends by itself (escape, absorption, roulette),
which leaves a segment without a cut at its end, or at a cut where the cache's prediction replaces the rest.

This module is for kernels; `nrc_tracer.cache.buffers` has the same arrays as torch tensors.
"""

import warp as wp

# How a path ended
COMPLETE = wp.constant(0)
IN_CACHE = wp.constant(1)  # at its last cut, where the cache's prediction replaces the rest
BROKEN = wp.constant(2)  # at a value that is not finite: the whole path is dropped


@wp.struct
class Records:
    """Arrays of paths with up to `capacity` cuts each."""

    capacity: int
    features: wp.array2d[float]  # [paths * capacity, FEATURES]
    throughput: wp.array[wp.vec3]  # [paths * capacity]
    gathered: wp.array[wp.vec3]  # [paths * (capacity + 1)]
    count: wp.array[int]  # cuts of each path
    status: wp.array[int]
    length: wp.array[int]  # vertices of each path
    depth: wp.array[int]  # number of the vertex of the first cut, counted from 1; 0 without a cut
    pixel: wp.array[int]  # number of the pixel of each path
