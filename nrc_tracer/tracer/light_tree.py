"""Builds the tree by which local lights are chosen (`nrc_tracer.tracer.lights.tree`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from nrc_tracer.tracer.light_bounds import LightBounds
from nrc_tracer.tracer.lights.tree import CHILD_BITS, CHILDREN

wp.set_module_options({"enable_backward": False, "max_unroll": 1})

BINS = wp.constant(12)
"""Number of intervals between which a node can be cut along an axis."""
MAX_CUTS_BY_COST = wp.constant(40)
"""Number of levels that are cut by cost. Below, nodes are halved by number, which bounds the depth of the tree."""
INFINITE = wp.constant(1.0e38)


@dataclass(frozen=True)
class LightTree:
    """A binary tree over lights, level by level. Node 0 is the root.

    Attributes:
        bounds: Bounds of the nodes.
        first: Number of a node's first child, which the second follows; of a single light -1 minus its number. [nodes], int32.
        trails: The way from the root to each light, [lights], uint64: from the lowest bit on, 1 for each second child.
    """

    bounds: LightBounds
    first: np.ndarray
    trails: np.ndarray


@wp.struct
class Leaves:
    """The lights of a tree that is being built."""

    low: wp.array[wp.vec3]
    high: wp.array[wp.vec3]
    center: wp.array[wp.vec3]
    shine: wp.array[wp.vec4]  # mean normal times intensity, and intensity


@wp.struct
class Bins:
    """Sums over the lights whose centres lie in the same interval along an axis."""

    low: wp.array[wp.vec3]
    high: wp.array[wp.vec3]
    shine: wp.array[wp.vec4]
    cost: wp.array[float]  # of all lights beyond a bin


@wp.struct
class Cut:
    """A cut of a node: lights whose interval along an axis is greater than `last` belong to the second child."""

    axis: int  # -1: none
    last: int
    cost: float


@wp.func
def solid_angle(cos_spread: float) -> float:
    """Solid angle into which normals within a cone shine, each weighted by its cosine (PBRT, 4th ed., 12.6.3)."""
    spread = wp.acos(wp.clamp(cos_spread, -1.0, 1.0))
    sine = wp.sin(spread)
    outer = wp.min(spread + 0.5 * wp.PI, wp.PI)
    falling = 2.0 * outer * sine - wp.cos(spread - 2.0 * outer) - 2.0 * spread * sine + cos_spread
    return wp.TAU * (1.0 - cos_spread) + 0.5 * wp.PI * falling


@wp.func
def group_cost(low: wp.vec3, high: wp.vec3, shine: wp.vec4) -> float:
    """Surface area orientation heuristic of a group of lights.

    The square of the box's diagonal stands for its area, because the importance of a node is that of a sphere around it. The
    spread follows from the mean normal: over a cone its length is (1 + cos(spread)) / 2.
    """
    if shine[3] <= 0.0:
        return INFINITE
    mean = wp.length(wp.vec3(shine[0], shine[1], shine[2])) / shine[3]
    return shine[3] * wp.length_sq(high - low) * solid_angle(wp.clamp(2.0 * mean - 1.0, -1.0, 1.0))


@wp.func
def interval(center: wp.vec3, axis: int, low: float, scale: float) -> int:
    """Number of the interval along an axis in which a light lies."""
    return wp.clamp(int((center[axis] - low) * scale), 0, BINS - 1)


@wp.func
def axis_scale(extent: wp.vec3, axis: int) -> float:
    """Intervals per length along an axis; 0 if the extent along it is none, or a rounding error."""
    if extent[axis] <= 1.0e-6 * wp.max(extent[0], wp.max(extent[1], extent[2])):
        return 0.0
    return float(BINS) / extent[axis]


@wp.func
def cheapest_cut(
    leaves: Leaves, bins: Bins, items: wp.array[int], begin: int, end: int, low: wp.vec3, extent: wp.vec3
) -> Cut:
    """The cheapest cut of a node between the intervals of any axis."""
    best = Cut()
    best.axis = -1
    best.cost = INFINITE
    longest = wp.max(extent[0], wp.max(extent[1], extent[2]))
    for axis in range(3):
        scale = axis_scale(extent, axis)
        if scale > 0.0:
            for k in range(BINS):
                bins.low[k] = wp.vec3(INFINITE)
                bins.high[k] = wp.vec3(-INFINITE)
                bins.shine[k] = wp.vec4(0.0)
            for i in range(begin, end):
                light = items[i]
                k = interval(leaves.center[light], axis, low[axis], scale)
                bins.low[k] = wp.min(bins.low[k], leaves.low[light])
                bins.high[k] = wp.max(bins.high[k], leaves.high[light])
                bins.shine[k] = bins.shine[k] + leaves.shine[light]

            # Cost of what lies beyond each interval, then of what lies up to it
            box_low = wp.vec3(INFINITE)
            box_high = wp.vec3(-INFINITE)
            shine = wp.vec4(0.0)
            for step in range(BINS - 1):
                k = BINS - 1 - step
                box_low = wp.min(box_low, bins.low[k])
                box_high = wp.max(box_high, bins.high[k])
                shine += bins.shine[k]
                bins.cost[k - 1] = group_cost(box_low, box_high, shine)
            box_low = wp.vec3(INFINITE)
            box_high = wp.vec3(-INFINITE)
            shine = wp.vec4(0.0)
            for k in range(BINS - 1):
                box_low = wp.min(box_low, bins.low[k])
                box_high = wp.max(box_high, bins.high[k])
                shine += bins.shine[k]
                cost = group_cost(box_low, box_high, shine)
                if cost < INFINITE and bins.cost[k] < INFINITE:
                    # A cut across a short side leaves long thin nodes, which this factor makes dear
                    cost = (cost + bins.cost[k]) * (longest / extent[axis])
                    if cost < best.cost:
                        best.axis = axis
                        best.last = k
                        best.cost = cost
    return best


@wp.kernel(enable_backward=False)
def cut_nodes(
    leaves: Leaves,
    bins: Bins,
    items: wp.array[int],
    ranges: wp.array[wp.vec2i],
    depths: wp.array[int],
    first: wp.array[int],
    trails: wp.array[wp.uint64],
):
    """Cut node after node, in one thread. `ranges` holds the part of `items` in each node; that of the root is given."""
    made = int(1)
    node = int(0)
    while node < made:
        begin = ranges[node][0]
        end = ranges[node][1]
        if end - begin == 1:
            first[node] = -1 - items[begin]
            node += 1
            continue

        # Find the cut
        low = leaves.center[items[begin]]
        high = low
        for i in range(begin, end):
            low = wp.min(low, leaves.center[items[i]])
            high = wp.max(high, leaves.center[items[i]])
        cut = Cut()
        cut.axis = -1
        if depths[node] < MAX_CUTS_BY_COST:
            cut = cheapest_cut(leaves, bins, items, begin, end, low, high - low)
        middle = (begin + end) // 2

        # Move the lights of the first child to the front
        if cut.axis >= 0:
            scale = axis_scale(high - low, cut.axis)
            middle = begin
            for i in range(begin, end):
                light = items[i]
                if interval(leaves.center[light], cut.axis, low[cut.axis], scale) <= cut.last:
                    items[i] = items[middle]
                    items[middle] = light
                    middle += 1
        for i in range(middle, end):
            trails[items[i]] = trails[items[i]] | (wp.uint64(1) << wp.uint64(depths[node]))
        first[node] = made
        for side in range(2):
            ranges[made + side] = wp.where(side == 0, wp.vec2i(begin, middle), wp.vec2i(middle, end))
            depths[made + side] = depths[node] + 1
        made += 2
        node += 1


def build_light_tree(lights: LightBounds) -> LightTree:
    """Build a tree over at least one light, whose intensities are positive (Conty Estevez and Kulla 2018, section 4)."""
    count = len(lights)
    node_count = 2 * count - 1
    ranges = wp.zeros(node_count, dtype=wp.vec2i, device="cpu")
    depths = wp.zeros(node_count, dtype=int, device="cpu")
    first = wp.zeros(node_count, dtype=int, device="cpu")
    trails = wp.zeros(count, dtype=wp.uint64, device="cpu")
    ranges.numpy()[0] = 0, count
    if count > 1:
        items = wp.array(np.arange(count), dtype=int, device="cpu")
        inputs = [_leaves(lights), _bins(), items, ranges, depths, first, trails]
        wp.launch(cut_nodes, dim=1, inputs=inputs, device="cpu")
    else:
        first.numpy()[0] = -1
    children, depth = first.numpy(), depths.numpy()
    bounds = LightBounds.zeros(node_count)
    is_leaf = children < 0
    bounds[is_leaf] = lights[-1 - children[is_leaf]]
    for level in range(depth.max(initial=0) - 1, -1, -1):
        begin, end = np.searchsorted(depth, [level, level + 1])
        nodes = begin + np.flatnonzero(~is_leaf[begin:end])
        bounds[nodes] = bounds[children[nodes]].joined(bounds[children[nodes] + 1])
    return LightTree(bounds, children, trails.numpy())


@dataclass(frozen=True)
class WideLightTree:
    """A tree over lights whose nodes have up to eight children each, level by level. Node 0 is the root.

    Attributes:
        bounds: Bounds of all children of all nodes, one after the other.
        place: Where each of them is: eight times the number of the node, plus the number of the child. [children], int64.
        children: Number of each child as a node; of a single light -1 minus its number. [8 nodes], int32.
        trails: The way from the root to each light, [lights], uint64: from the lowest bits on, the number of a child for each
            node, in `CHILD_BITS` bits.
    """

    bounds: LightBounds
    place: np.ndarray
    children: np.ndarray
    trails: np.ndarray


def widen(tree: LightTree) -> WideLightTree:
    """Leave out two of three levels of a binary tree: the children of a node are those that were up to three levels below it."""
    nodes, paths = np.zeros(1, np.int64), np.zeros(1, np.uint64)  # the nodes of a level as nodes of the binary tree
    chosen, places, numbers = [], [], []
    trails = np.zeros(len(tree.trails), np.uint64)
    made, shift = 0, 0
    while len(nodes):
        below = nodes[:, None]
        for _ in range(CHILD_BITS):
            below = _one_level_down(tree.first, below)
        exists = below >= 0
        child = np.cumsum(exists, axis=1) - 1
        path = (paths[:, None] | child.astype(np.uint64) << np.uint64(shift))[exists]
        places.append((CHILDREN * (made + np.arange(len(nodes)))[:, None] + child)[exists])
        made += len(nodes)
        below = below[exists]
        chosen.append(below)
        first = tree.first[below]
        is_leaf = first < 0
        trails[-1 - first[is_leaf]] = path[is_leaf]
        numbers.append(np.where(is_leaf, first, made + np.cumsum(~is_leaf) - 1))
        nodes, paths, shift = below[~is_leaf], path[~is_leaf], shift + CHILD_BITS
    place = np.concatenate(places)
    children = np.zeros(CHILDREN * made, np.int32)
    children[place] = np.concatenate(numbers)
    return WideLightTree(tree.bounds[np.concatenate(chosen)], place, children, trails)


def _one_level_down(first: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """The children of nodes in pairs, shape [n, 2 k] for [n, k]. A leaf stays in the first of its pair; -1 stands for none."""
    below = np.full((len(nodes), 2 * nodes.shape[1]), -1, np.int64)
    child = first[np.maximum(nodes, 0)]
    inner = (nodes >= 0) & (child >= 0)
    below[:, ::2] = np.where(inner, child, nodes)
    below[:, 1::2] = np.where(inner, child + 1, -1)
    return below


def _leaves(lights: LightBounds) -> Leaves:
    leaves = Leaves()
    # Only ratios matter: relative numbers do not overflow
    strength = lights.intensity / lights.intensity.max()
    size = np.abs(np.concatenate([lights.low, lights.high])).max() or 1.0
    mean = lights.axis * (strength * 0.5 * (1.0 + np.cos(lights.spread)))[:, None]
    leaves.low, leaves.high, leaves.center = (
        wp.array(points / size, dtype=wp.vec3, device="cpu") for points in (lights.low, lights.high, lights.center)
    )
    leaves.shine = wp.array(np.column_stack([mean, strength]), dtype=wp.vec4, device="cpu")
    return leaves


def _bins() -> Bins:
    bins = Bins()
    bins.low, bins.high = (wp.zeros(int(BINS), dtype=wp.vec3, device="cpu") for _ in range(2))
    bins.shine = wp.zeros(int(BINS), dtype=wp.vec4, device="cpu")
    bins.cost = wp.zeros(int(BINS), dtype=float, device="cpu")
    return bins
