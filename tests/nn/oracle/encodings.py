"""Every encoding of a configuration, and the padding of a tree of them.

Source: tiny-cuda-nn's encodings; spherical harmonics use their definition by Legendre polynomials instead of a table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.polynomial import Legendre

from .grid import encode_grid, features_per_level, grid_levels, n_levels

GRIDS = {"grid", "hashgrid", "densegrid", "tiledgrid"}


@dataclass
class Node:
    """An encoding at its place in the tree: the inputs that it reads and the columns that it pads."""

    kind: str
    config: dict
    n_dims: int
    begin: int = 0
    width: int = 0
    pad: int = 0
    reduction: str = ""
    children: list[Node] = field(default_factory=list)

    @property
    def padded(self) -> int:
        if self.kind != "composite":
            return self.width + self.pad
        if self.reduction == "concatenation":
            return sum(child.padded for child in self.children)
        return self.children[0].padded if self.children else 0

    @property
    def required_alignment(self) -> int:
        if self.kind in GRIDS:
            return features_per_level(self.config)
        return math.lcm(*(child.required_alignment for child in self.children))

    @property
    def n_params(self) -> int:
        if self.kind in GRIDS:
            return sum(level.entries for level in grid_levels(self.config, self.n_dims)) * features_per_level(
                self.config
            )
        return sum(child.n_params for child in self.children)

    def pad_to(self, width: int) -> None:
        """Widen to `width` columns: concatenations widen their last member, and reductions all members."""
        if self.kind != "composite":
            self.pad = width - self.width
        elif self.reduction == "concatenation":
            if self.children:
                self.children[-1].pad_to(width - sum(child.padded for child in self.children[:-1]))
        else:
            for child in self.children:
                child.pad_to(width)

    def align(self, alignment: int) -> None:
        self.pad_to(_next_multiple(self.padded, math.lcm(alignment, self.required_alignment)))


def _next_multiple(value: int, divisor: int) -> int:
    return -(-value // divisor) * divisor


def _own_width(kind: str, config: dict, n_dims: int) -> int:
    if kind in GRIDS:
        return n_levels(config) * features_per_level(config)
    if kind == "sphericalharmonics":
        if n_dims != 3:
            raise ValueError("spherical harmonics take three inputs")
        return config.get("degree", 4) ** 2
    per_dim = {
        "empty": 0,
        "identity": 1,
        "oneblob": config.get("n_bins", 16),
        "frequency": 2 * config.get("n_frequencies", 12),
        "trianglewave": config.get("n_frequencies", 12),
    }
    return n_dims * per_dim[kind]


def _nrc(config: dict) -> dict:
    """The composite for the alias NRC: Mueller et al. 2021, *Real-time Neural Radiance Caching*, table 1."""
    wave = {"otype": "TriangleWave", "n_dims_to_encode": 3, "n_frequencies": config.get("n_frequencies", 12)}
    blob = {"otype": "OneBlob", "n_dims_to_encode": 5, "n_bins": config.get("n_bins", 4)}
    return {"otype": "Composite", "nested": [wave, blob, {"otype": "Identity"}]}


def build(config: dict, n_dims: int, alignment: int) -> Node:
    """The padded tree of a configuration. Alignment 0 does not widen the outermost encoding."""
    kind = config.get("otype", "OneBlob").lower()
    if kind in {"nrc", "oneblobfrequency"}:
        return build(_nrc(config), n_dims, alignment)
    if kind == "composite":
        node = _build_composite(config, n_dims)
    else:
        node = Node(kind, config, n_dims, width=_own_width(kind, config, n_dims))
    if alignment > 0:
        node.align(alignment)
    return node


def _build_composite(config: dict, n_dims: int) -> Node:
    node = Node("composite", config, n_dims, reduction=config.get("reduction", "Concatenation").lower())
    nested = config["nested"]
    explicit = any("dims_to_encode_begin" in n for n in nested)
    claimed = sum(n.get("n_dims_to_encode", 0) for n in nested)
    if not explicit and claimed > n_dims:
        raise ValueError("the nested encodings take more dimensions than there are")
    rest = None if explicit else n_dims - claimed
    begin = 0
    for member in nested:
        if "n_dims_to_encode" in member:
            begin = member.get("dims_to_encode_begin", begin)
            dims = member["n_dims_to_encode"]
        elif rest is None:
            raise ValueError("only one nested encoding may leave n_dims_to_encode out")
        else:
            dims, rest = rest, None
        if dims > 0:
            child = build(member, dims, 1)
            child.begin = begin
            node.children.append(child)
        begin += dims
    if node.reduction == "concatenation":
        so_far = 0
        for child, following in zip(node.children[:-1], node.children[1:], strict=True):
            child.pad_to(_next_multiple(so_far + child.padded, following.required_alignment) - so_far)
            so_far += child.padded
    else:
        alignment = node.required_alignment
        for child in node.children:
            child.align(alignment)
        if len({child.padded for child in node.children}) > 1:
            raise ValueError("only encodings of equal width can be summed or multiplied")
    return node


def n_params(config: dict, n_dims: int) -> int:
    """Number of parameters of an encoding: entries times features of all its grids."""
    return build(config, n_dims, 0).n_params


def output_dims(config: dict, n_dims: int, alignment: int = 1) -> int:
    """Number of columns of an encoding; alignment as in `encode`."""
    return build(config, n_dims, alignment if alignment > 1 else 0).padded


def encode(config: dict, x: np.ndarray, params: np.ndarray | None = None, alignment: int = 1) -> np.ndarray:
    """Encode float32 [N, D] to float64 [N, output_dims].

    Alignment 1 is an `Encoding` on its own, which tiny-cuda-nn builds with alignment 0: without padding except inside of a
    Composite. A larger alignment pads to its least common multiple with the features of the grids inside; 16 is used before a
    network.
    """
    x = np.asarray(x, np.float32)
    flat = np.zeros(0, np.float32) if params is None else np.asarray(params)
    node = build(config, x.shape[1], alignment if alignment > 1 else 0)
    if flat.size != node.n_params:
        raise ValueError(f"the encoding has {node.n_params} parameters, not {flat.size}")
    return _evaluate(node, x, flat)


def _evaluate(node: Node, x: np.ndarray, params: np.ndarray) -> np.ndarray:
    if node.kind == "composite":
        parts, offset = [np.zeros((len(x), 0))] if not node.children else [], 0
        for child in node.children:
            columns = x[:, child.begin : child.begin + child.n_dims]
            parts.append(_evaluate(child, columns, params[offset : offset + child.n_params]))
            offset += child.n_params
        if node.reduction == "concatenation":
            return np.concatenate(parts, axis=1)
        return sum(parts) if node.reduction == "sum" else math.prod(parts)
    if node.kind in GRIDS:
        value, fill = encode_grid(node.config, x, params), 0.0
    else:
        value, fill = _LEAVES[node.kind](node.config, x), 1.0
    padding = np.full((len(x), node.pad), fill)
    # Only spherical harmonics put their ones first
    order = (padding, value) if node.kind == "sphericalharmonics" else (value, padding)
    return np.concatenate(order, axis=1)


def _empty(config: dict, x: np.ndarray) -> np.ndarray:
    return np.zeros((len(x), 0))


def _identity(config: dict, x: np.ndarray) -> np.ndarray:
    scale, offset = (float(np.float32(config.get(key, default))) for key, default in (("scale", 1), ("offset", 0)))
    return x.astype(np.float64) * scale + offset


def _quartic_cdf(u: np.ndarray) -> np.ndarray:
    """Integral of (15/16) (1 - u^2)^2 from -1."""
    u = np.clip(u, -1.0, 1.0)
    return 0.5 + (15 / 16) * (u - (2 / 3) * u**3 + (1 / 5) * u**5)


def _oneblob(config: dict, x: np.ndarray) -> np.ndarray:
    """Integral over each bin of a quartic kernel with a radius of one bin, around x and its copies at x - 1 and x + 1."""
    bins = config.get("n_bins", 16)
    boundary = np.arange(bins + 1) / bins
    at = boundary - x.astype(np.float64)[:, :, None]
    cdf = sum(_quartic_cdf((at + copy) * bins) for copy in (-1.0, 0.0, 1.0))
    return np.diff(cdf, axis=2).reshape(len(x), -1)


def _frequency(config: dict, x: np.ndarray) -> np.ndarray:
    octave = 2.0 ** np.arange(config.get("n_frequencies", 12))
    turn = np.fmod(x.astype(np.float64)[:, :, None] * octave, 2.0) * np.pi
    return np.stack((np.sin(turn), np.cos(turn)), axis=3).reshape(len(x), -1)


def _triangle_wave(config: dict, x: np.ndarray) -> np.ndarray:
    k = np.arange(config.get("n_frequencies", 12))
    # A power of two and a quarter are exact, so the float32 sum rounds only once
    v = x[:, :, None] * np.exp2(k - 1).astype(np.float32) + (k / 4).astype(np.float32)
    v = v.astype(np.float64)
    return (4 * np.abs(v - np.floor(v) - 0.5) - 1).reshape(len(x), -1)


def _spherical_harmonics(config: dict, x: np.ndarray) -> np.ndarray:
    """Real harmonics with the Condon-Shortley phase, order m = -l..l within each l.

    Y_l^m = (-1)^m sqrt(2 (2l+1)/(4 pi) (l-|m|)!/(l+|m|)!) P_l^(|m|)(z) {Re, Im} (x + iy)^|m|, where P_l^(m) is the m-th
    derivative of the Legendre polynomial and Im is used for negative m; without the 2 for m = 0. In this form it is also a
    polynomial off the unit sphere.
    """
    direction = (x * np.float32(2) - np.float32(1)).astype(np.float64)
    equator = direction[:, 0] + 1j * direction[:, 1]
    columns = []
    for l in range(config.get("degree", 4)):  # noqa: E741
        for m in range(-l, l + 1):
            order = abs(m)
            norm = math.sqrt((2 * l + 1) / (4 * math.pi) * math.factorial(l - order) / math.factorial(l + order))
            polynomial = Legendre.basis(l).deriv(order) if order else Legendre.basis(l)
            around = np.imag(equator**order) if m < 0 else np.real(equator**order)
            factor = (-1) ** order * (math.sqrt(2) if m else 1)
            columns.append(factor * norm * polynomial(direction[:, 2]) * around)
    return np.stack(columns, axis=1)


_LEAVES = {
    "empty": _empty,
    "frequency": _frequency,
    "identity": _identity,
    "oneblob": _oneblob,
    "sphericalharmonics": _spherical_harmonics,
    "trianglewave": _triangle_wave,
}
