"""Builds the sampling density of an environment map: blocks of texels, cut by halves into cells.

A table with an entry for every texel misses the processor's caches at each step of a search. Here dark and smooth regions have
large cells of constant density; only where the luminance varies strongly are the cells as small as the quarters of texels, in
which the density is bilinear as the luminance is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

MAX_BLOCKS = (256, 64)
"""Largest number of blocks down and across the image.

Blocks are flat because all points of a row of blocks share the stratification of one random number: a small bright light takes
nearly all of it, and little is left for the rest of its row.
"""
MAX_CELLS = 1 << 18
"""Number of cells beyond which none is cut."""
EXCESS = 0.001
"""Relative variance of luminance over density below which no cell is cut."""

_ROWS = 32
"""Number of rows of texels that are integrated at a time."""
THREADS = min(os.cpu_count() or 1, 8)
"""Number of threads that integrate."""


@dataclass(frozen=True)
class EnvironmentTree:
    """The density of sampling the points of a lat-long image.

    A node is either a cell or cut into two halves. The first rows * columns nodes are the blocks, row by row.

    Attributes:
        block_bits: Binary logarithms of the height and the width of a block [half texels].
        row_cdf: Cumulative probabilities of the rows of blocks, shape [rows + 1], float32.
        column_cdf: Cumulative probabilities of the blocks in each row, shape [rows, columns + 1], float32.
        values: Mean density of a cell [1 / area of the image]; for a node that is cut, the probability of its first half. Shape
            [nodes], float32.
        codes: -1 for a cell of constant density, -2 - i for the i-th bilinear cell. For a node that is cut, 2 * (index of its
            first half), plus 1 if the halves lie side by side and not one above the other; the second half follows the first.
            Shape [nodes], int32.
        corners: Density at the upper left, upper right, lower left and lower right corner of each bilinear cell, relative to the
            cell's mean density, shape [bilinear cells, 4], float32.
        excess: Relative variance of the luminance over the density.
    """

    block_bits: tuple[int, int]
    row_cdf: np.ndarray
    column_cdf: np.ndarray
    values: np.ndarray
    codes: np.ndarray
    corners: np.ndarray
    excess: float


def build_tree(corners: np.ndarray, *, excess: float = EXCESS, max_cells: int = MAX_CELLS) -> EnvironmentTree:
    """Cut an image into cells whose density follows its luminance times the sine of the polar angle, which is called power here.

    The weight of a cell is its area times the root mean square of the power: of all densities that are constant in each cell, the
    one in proportion to the weights has the least variance. Those cells are cut whose weight exceeds the integral most.

    Args:
        corners: Power at the corners of the quarters of texels, between which it is taken as bilinear, shape
            [2 height + 1, 2 width + 1].
        excess: Relative variance of luminance over density below which no cell is cut.
        max_cells: Number of cells beyond which none is cut, except at the image's edges.
    """
    image = _Image(corners)
    nodes = _Nodes(image)
    nodes.cut_at_edges()
    nodes.cut_by_cost(excess, max_cells)
    return nodes.tree()


def in_row_blocks(work: Callable[[int, int], None], rows: int) -> None:
    """Call `work(begin, end)` for a few rows of an image at a time, which stay in the processor's caches, on several threads."""
    begins = range(0, rows, _ROWS)
    ends = (min(begin + _ROWS, rows) for begin in begins)
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        for _ in pool.map(work, begins, ends):
            pass


class _Image:
    """Integrals over boxes of an image.

    A box is a row of four integers: y and x of its corner, and the binary logarithms of its height and width [half texels].
    """

    def __init__(self, corners: np.ndarray) -> None:
        # Only ratios matter. Relative to the largest value, squares fit into float32, which halves the traffic of large maps
        self.corners: np.ndarray = np.empty(corners.shape, np.float32)
        self.height, self.width = corners.shape[0] // 2, corners.shape[1] // 2
        self.sums = np.zeros((2, self.height + 1, self.width + 1))
        scale = 1.0 / (corners.max() or 1.0)

        def take(begin: int, end: int) -> None:
            rows = slice(2 * begin, 2 * end + 1)  # the last is the first of the next rows, with the same values
            self.corners[rows] = corners[rows] * scale
            for moment, sums in zip(_moments(*_ends(self.corners[rows])), self.sums, strict=True):
                quarters = moment.reshape(end - begin, 2, self.width, 2)
                pairs = quarters[:, 0] + quarters[:, 1]
                added = sums[begin + 1 : end + 1, 1:]
                added[:] = 0.25 * (pairs[..., 0] + pairs[..., 1])
                np.cumsum(added, axis=1, out=added)

        in_row_blocks(take, self.height)
        np.cumsum(self.sums, axis=1, out=self.sums)

    def crosses(self, boxes: np.ndarray) -> np.ndarray:
        """Whether boxes cross the lower and the right edge of the image, shape [n, 2]. Boxes that lie outside do not."""
        edge = 2 * np.array([self.height, self.width])
        begin, end = boxes[:, :2], boxes[:, :2] + (1 << boxes[:, 2:])
        return np.all(begin < edge, axis=1, keepdims=True) & (end > edge)

    def is_outside(self, boxes: np.ndarray) -> np.ndarray:
        """Whether boxes lie beyond the lower or the right edge of the image."""
        return np.any(boxes[:, :2] >= 2 * np.array([self.height, self.width]), axis=1)

    def integrals(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Integral of the power over each box [texels], and weight of the box."""
        found = np.zeros((2, len(boxes)))
        is_part = (boxes[:, 2:] < 1).any(axis=1)
        found[:, ~is_part] = self._of_texels(boxes[~is_part])
        is_part &= ~self.is_outside(boxes)
        found[:, is_part] = self._of_parts(boxes[is_part])
        weight = np.sqrt(0.25 * 2.0 ** boxes[:, 2:].sum(axis=1) * found[1])
        return found[0], np.where(_is_quarter(boxes), found[0], np.maximum(weight, found[0]))

    def _of_texels(self, boxes: np.ndarray) -> np.ndarray:
        begin, end = boxes[:, :2] >> 1, (boxes[:, :2] + (1 << boxes[:, 2:])) >> 1
        (top, left), (low, right) = (np.minimum(at, [self.height, self.width]).T for at in (begin, end))
        s = self.sums
        return np.maximum(s[:, low, right] - s[:, top, right] - s[:, low, left] + s[:, top, left], 0.0)

    def _of_parts(self, boxes: np.ndarray) -> np.ndarray:
        """Integrals over quarters and halves of texels, by the one or two quarters of each."""
        first, last = boxes[:, :2], boxes[:, :2] + (1 << boxes[:, 2:]) - 1
        moments = [np.stack(_moments(*self.quarter(at[:, 0], at[:, 1]))) for at in (first, last)]
        area = 0.25 * 2.0 ** boxes[:, 2:].sum(axis=1)
        return 0.5 * (moments[0] + moments[1]) * area

    def quarter(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Power at the corners of quarters of texels."""
        c = self.corners
        return c[y, x], c[y, x + 1], c[y + 1, x], c[y + 1, x + 1]


class _Nodes:
    """The nodes of the tree, of which the first are the blocks."""

    def __init__(self, image: _Image) -> None:
        self.image = image
        size = np.array([image.height, image.width])
        self.block_bits = 1 + np.ceil(np.log2(np.maximum(size / MAX_BLOCKS, 1.0))).astype(np.int64)
        self.blocks = tuple(-(-2 * size >> self.block_bits))
        corner = np.indices(self.blocks).reshape(2, -1).T << self.block_bits
        self.boxes = np.concatenate([corner, np.broadcast_to(self.block_bits, corner.shape)], axis=1)
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
            possible = (bits > 0) & ((bits > 1) | (other <= 1))
            halves = _halves(boxes, np.where(possible, axis, 1 - axis))
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
            weight = np.where(cell & ~self.image.is_outside(self.boxes), 2.0 ** self.boxes[:, 2:].sum(axis=1), 0.0)
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
        area = 2.0 ** self.boxes[:, 2:].sum(axis=1) / (4 * self.image.height * self.image.width)
        values[cell] = (probability / area)[cell]
        codes, corners = self._bilinear_cells()
        return EnvironmentTree(
            tuple(self.block_bits.tolist()), row_cdf, column_cdf, values, codes, corners, float(excess)
        )

    def _bilinear_cells(self) -> tuple[np.ndarray, np.ndarray]:
        """The codes of all nodes, and the corners of the cells whose density is bilinear."""
        found = np.flatnonzero((self.codes < 0) & _is_quarter(self.boxes) & (self.integral > 0.0))
        corners = np.stack(self.image.quarter(*self.boxes[found, :2].T), axis=1)
        corners = (corners / corners.mean(axis=1, keepdims=True)).astype(np.float32)
        codes = self.codes.astype(np.int32)
        codes[found] = -2 - np.arange(len(found))
        return codes, corners


def _is_quarter(boxes: np.ndarray) -> np.ndarray:
    """Whether boxes are quarters of texels."""
    return (boxes[:, 2:] == 0).all(axis=1)


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


def _moments(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean square of a bilinear function with the values a, b in the upper and c, d in the lower corners."""
    mean = 0.25 * (a + b + c + d)
    across, down, twist = 0.5 * (b + d - a - c), 0.5 * (c + d - a - b), a + d - b - c
    return mean, mean**2 + (across**2 + down**2) / 12.0 + twist**2 / 144.0


def _cumulative(weights: np.ndarray) -> np.ndarray:
    """Cumulative probabilities along the last axis from 0 to 1; uniform where all weights are 0."""
    sums = np.cumsum(np.where(weights.sum(axis=-1, keepdims=True) > 0.0, weights, 1.0), axis=-1)
    return np.insert(sums / sums[..., -1:], 0, 0.0, axis=-1).astype(np.float32)
