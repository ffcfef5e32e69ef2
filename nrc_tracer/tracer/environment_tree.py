"""Builds the sampling density of an environment map: blocks of texels, cut by halves into cells of constant density.

A table with an entry for every texel misses the processor's caches at each step of a search. Here dark and smooth regions have
large cells, and small bright lights have cells of down to 1/16 of a texel, so that a few thousand cells are enough for most maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SUBTEXEL_BITS = 4
"""Cells are at least 2^-4 texels wide and high."""
MAX_BLOCKS = (32, 64)
"""Largest number of blocks down and across the image."""
MAX_CELLS = 1 << 16
"""Number of cells beyond which none is cut."""
EXCESS = 0.005
"""Relative variance of luminance over density below which no cell is cut."""


@dataclass(frozen=True)
class EnvironmentTree:
    """The density of sampling the points of a lat-long image.

    Attributes:
        block_bits: Binary logarithm of the width and height of a block [texels].
        row_cdf: Cumulative probabilities of the rows of blocks, shape [rows + 1], float32.
        column_cdf: Cumulative probabilities of the blocks in each row, shape [rows, columns + 1], float32.
        values: Of a node that is cut, the probability of its first half; of a cell, its density, where the image has an area of 1.
            Shape [nodes], float32. The first rows * columns nodes are the blocks.
        codes: Of a node that is cut, 2 * (index of its first half) + 1 if the halves lie side by side, + 0 if one lies above the
            other; of a cell, -1. Shape [nodes], int32. The second half follows the first.
        excess: Relative variance of the luminance over the density.
    """

    block_bits: int
    row_cdf: np.ndarray
    column_cdf: np.ndarray
    values: np.ndarray
    codes: np.ndarray
    excess: float


def build_tree(
    corners: np.ndarray, sines: np.ndarray, *, excess: float = EXCESS, max_cells: int = MAX_CELLS
) -> EnvironmentTree:
    """Cut an image into cells whose density follows its luminance times the sine of the polar angle.

    A cell's weight is the root mean square of this product times the cell's area: of all densities that are constant in each cell,
    this one has the least variance. The cells are cut in which the weight exceeds the integral most.

    Args:
        corners: Luminance at the corners of the quarters of texels, shape [2 height + 1, 2 width + 1]. It is bilinear between them.
        sines: Sine of the polar angle at each row of texels, shape [height].
        excess: Relative variance of luminance over density below which no cell is cut.
        max_cells: Number of cells beyond which none is cut, except at the image's edges.
    """
    image = _Image(corners, sines)
    nodes = _Nodes(image)
    nodes.cut_at_edges()
    nodes.cut_by_cost(excess, max_cells)
    return nodes.tree()


class _Image:
    """Integrals over boxes of an image.

    A box is a row of four integers: y and x of its corner, and the binary logarithms of its height and width; the unit is the
    smallest cell, 2^-SUBTEXEL_BITS texels.
    """

    def __init__(self, corners: np.ndarray, sines: np.ndarray) -> None:
        self.corners = np.asarray(corners, np.float64)
        self.sines = np.asarray(sines, np.float64)
        self.height, self.width = (n // 2 for n in self.corners.shape)
        quarters = _moments(*_ends(self.corners))
        self.sums = np.stack([_sums(m) for m in self._of_texels(quarters)])

    def _of_texels(self, quarters: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Integrals over texels of the luminance times the sine and of its square, from means over quarters of texels."""
        mean, square = (m.reshape(self.height, 2, self.width, 2).mean(axis=(1, 3)) for m in quarters)
        return mean * self.sines[:, None], square * self.sines[:, None] ** 2

    def crosses(self, boxes: np.ndarray) -> np.ndarray:
        """Whether boxes cross the lower and the right edge of the image, shape [n, 2]. Boxes that lie outside do not."""
        edge = np.array([self.height, self.width]) << SUBTEXEL_BITS
        begin, end = boxes[:, :2], boxes[:, :2] + (1 << boxes[:, 2:])
        return (begin < edge).all(axis=1)[:, None] & (end > edge)

    def integrals(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Integral of the luminance times the sine over each box, and weight of the box."""
        found = np.empty((2, len(boxes)))
        within = (boxes[:, 2:] < SUBTEXEL_BITS).any(axis=1)
        found[:, within] = self._within_texels(boxes[within])
        found[:, ~within] = self._over_texels(boxes[~within])
        area = 2.0 ** (boxes[:, 2:].sum(axis=1) - 2 * SUBTEXEL_BITS)
        return found[0], np.maximum(np.sqrt(area * found[1]), found[0])

    def _over_texels(self, boxes: np.ndarray) -> np.ndarray:
        begin = boxes[:, :2] >> SUBTEXEL_BITS
        end = begin + (1 << np.maximum(boxes[:, 2:] - SUBTEXEL_BITS, 0))
        (top, left), (low, right) = (np.minimum(c, [self.height, self.width]).T for c in (begin, end))
        s = self.sums
        return np.maximum(s[:, low, right] - s[:, top, right] - s[:, low, left] + s[:, top, left], 0.0)

    def _within_texels(self, boxes: np.ndarray) -> np.ndarray:
        """Integrals over boxes that are each a part of one texel, quarter by quarter."""
        scale = 2.0 ** (1 - SUBTEXEL_BITS)  # coordinates in quarters' widths
        begin, size = boxes[:, :2] * scale, 2.0 ** boxes[:, 2:] * scale
        texel = boxes[:, :2] >> SUBTEXEL_BITS
        inside = (texel < [self.height, self.width]).all(axis=1)
        texel = np.minimum(texel, [self.height - 1, self.width - 1])
        found = np.zeros((2, len(boxes)))
        for quarter in ((0, 0), (0, 1), (1, 0), (1, 1)):
            origin = 2 * texel + quarter
            low = np.clip(begin - origin, 0.0, 1.0)
            high = np.clip(begin + size - origin, 0.0, 1.0)
            j, i = origin.T
            ends = (self.corners[j, i], self.corners[j, i + 1], self.corners[j + 1, i], self.corners[j + 1, i + 1])
            part = [_bilinear(ends, y, x) for y in (low[:, 0], high[:, 0]) for x in (low[:, 1], high[:, 1])]
            area = 0.25 * (high - low).prod(axis=1) * inside
            found += np.stack(_moments(*part)) * area
        sine = self.sines[texel[:, 0]]
        return found * np.stack([sine, sine**2])


class _Nodes:
    """The nodes of the tree, of which the first are the blocks."""

    def __init__(self, image: _Image) -> None:
        self.image = image
        needed = max(image.height / MAX_BLOCKS[0], image.width / MAX_BLOCKS[1], 1.0)
        self.block_bits = int(np.ceil(np.log2(needed)))
        size = 1 << self.block_bits
        self.blocks = (-(-image.height // size), -(-image.width // size))
        corner = np.indices(self.blocks).reshape(2, -1).T << (self.block_bits + SUBTEXEL_BITS)
        self.boxes = np.concatenate([corner, np.full_like(corner, self.block_bits + SUBTEXEL_BITS)], axis=1)
        self.integral, self.weight = image.integrals(self.boxes)
        self.codes = np.full(len(self.boxes), -1)
        self.cuts: list[np.ndarray] = []  # the nodes that each step has cut

    def cut_at_edges(self) -> None:
        """Cut nodes until each lies inside or outside the image."""
        while True:
            leaves = np.flatnonzero(self.codes < 0)
            crosses = self.image.crosses(self.boxes[leaves])
            if not crosses.any():
                return
            chosen = crosses.any(axis=1)
            self._cut(leaves[chosen], crosses[chosen, 1].astype(np.int64))

    def cut_by_cost(self, excess: float, max_cells: int) -> None:
        """Cut the nodes whose weight exceeds their integral most, until the relative variance is small enough."""
        accepted = (np.sqrt(1.0 + excess) - 1.0) * self.integral[self.codes < 0].sum()
        limit = np.inf
        while True:
            leaves = np.flatnonzero(self.codes < 0)
            cost = self.weight[leaves] - self.integral[leaves]
            room = max_cells - len(leaves)
            if cost.sum() <= accepted or room <= 0:
                return
            cost[self.boxes[leaves, 2:].sum(axis=1) == 0] = 0.0
            # Half of the largest cost is the limit for a while, then a lower one: much like cutting one node at a time
            limit = max(min(limit, 0.5 * cost.max()), accepted / (2 * max_cells))
            chosen = np.flatnonzero(cost >= limit)
            if not len(chosen):
                return
            if len(chosen) > room:
                chosen = chosen[np.argsort(-cost[chosen], kind="stable")[:room]]
            self._cut(leaves[chosen], self._better_axis(self.boxes[leaves[chosen]]))

    def _better_axis(self, boxes: np.ndarray) -> np.ndarray:
        """The axis along which cutting leaves the smaller weights. Texels are only cut where they are nodes of their own."""
        weights = []
        for axis in (0, 1):
            bits, other = boxes[:, 2 + axis], boxes[:, 3 - axis]
            possible = (bits > 0) & ((bits > SUBTEXEL_BITS) | (other <= SUBTEXEL_BITS))
            halves = _halves(np.where(possible[:, None], boxes, boxes + [0, 0, 1, 1]), np.full(len(boxes), axis))
            weights.append(np.where(possible, sum(self.image.integrals(half)[1] for half in halves), np.inf))
        return (weights[1] < weights[0]).astype(np.int64)

    def _cut(self, nodes: np.ndarray, axes: np.ndarray) -> None:
        """Cut nodes by half, each along its axis."""
        self.codes[nodes] = 2 * (len(self.codes) + 2 * np.arange(len(nodes))) + axes
        new = np.stack(_halves(self.boxes[nodes], axes), axis=1).reshape(-1, 4)
        integral, weight = self.image.integrals(new)
        self.boxes = np.concatenate([self.boxes, new])
        self.integral, self.weight = np.append(self.integral, integral), np.append(self.weight, weight)
        self.codes = np.append(self.codes, np.full(len(new), -1))
        self.cuts.append(nodes)

    def tree(self) -> EnvironmentTree:
        """Compute probabilities and densities from the weights of the cells. Densities are those of the rounded tables."""
        cell = self.codes < 0
        weight = np.where(cell, self.weight, 0.0)
        integral = self.integral[cell].sum()
        excess = (weight.sum() / integral) ** 2 - 1.0 if integral > 0.0 else 0.0
        if not weight.sum() > 0.0:  # a black image: uniform density
            inside = ~(self.boxes[:, :2] >= np.array([self.image.height, self.image.width]) << SUBTEXEL_BITS).any(
                axis=1
            )
            weight = np.where(cell & inside, 2.0 ** self.boxes[:, 2:].sum(axis=1), 0.0)
        for nodes in reversed(self.cuts):
            first = self.codes[nodes] >> 1
            weight[nodes] = weight[first] + weight[first + 1]
        blocks = weight[: self.blocks[0] * self.blocks[1]].reshape(self.blocks)
        row_cdf, column_cdf = _cumulative(blocks.sum(axis=1)), _cumulative(blocks)

        probability = np.empty(len(weight))
        probability[: blocks.size] = (
            np.diff(row_cdf.astype(np.float64))[:, None] * np.diff(column_cdf.astype(np.float64))
        ).ravel()
        values = np.empty(len(weight), np.float32)
        for nodes in self.cuts:
            first = self.codes[nodes] >> 1
            values[nodes] = np.where(
                weight[nodes] > 0.0, weight[first] / np.where(weight[nodes] > 0.0, weight[nodes], 1.0), 0.5
            )
            probability[first] = probability[nodes] * values[nodes]
            probability[first + 1] = probability[nodes] * (1.0 - values[nodes].astype(np.float64))
        area = 2.0 ** (self.boxes[:, 2:].sum(axis=1) - 2 * SUBTEXEL_BITS) / (self.image.height * self.image.width)
        values[cell] = (probability / area)[cell]
        return EnvironmentTree(self.block_bits, row_cdf, column_cdf, values, self.codes.astype(np.int32), float(excess))


def _halves(boxes: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both halves of boxes, each cut along its axis."""
    rows = np.arange(len(boxes))
    first = boxes.copy()
    first[rows, 2 + axes] -= 1
    second = first.copy()
    second[rows, axes] += 1 << first[rows, 2 + axes]
    return first, second


def _ends(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return corners[:-1, :-1], corners[:-1, 1:], corners[1:, :-1], corners[1:, 1:]


def _bilinear(ends: tuple[np.ndarray, ...], y: np.ndarray, x: np.ndarray) -> np.ndarray:
    top, low = ends[0] * (1.0 - x) + ends[1] * x, ends[2] * (1.0 - x) + ends[3] * x
    return top * (1.0 - y) + low * y


def _moments(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean square of a bilinear function with the values a, b in the upper and c, d in the lower corners."""
    mean = 0.25 * (a + b + c + d)
    across, down, twist = 0.5 * (b + d - a - c), 0.5 * (c + d - a - b), a + d - b - c
    return mean, mean**2 + (across**2 + down**2) / 12.0 + twist**2 / 144.0


def _sums(values: np.ndarray) -> np.ndarray:
    """Sums over the rectangles from the upper left corner, shape [height + 1, width + 1]."""
    return np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))


def _cumulative(weights: np.ndarray) -> np.ndarray:
    """Cumulative probabilities along the last axis from 0 to 1; uniform where all weights are 0."""
    sums = np.cumsum(np.where(weights.sum(axis=-1, keepdims=True) > 0.0, weights, 1.0), axis=-1)
    return np.insert(sums / sums[..., -1:], 0, 0.0, axis=-1).astype(np.float32)
