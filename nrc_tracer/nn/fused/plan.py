"""The parameters that a fused kernel is compiled for: the network's shape, the source of its inputs, and its tiling."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from nrc_tracer.nn.fused.activations import EXPRESSIONS
from nrc_tracer.nn.mlp import Mlp

WIDTHS = (16, 32, 64, 128)
"""Widths of hidden layers that can be fused."""

SHARED_HALFS = 48 * 1024
"""Largest shared memory of a block, in halfs: 96 KiB, which every GPU since Ampere has, and an H100 twice per multiprocessor."""

RESIDENT_SUMS = 96
"""Most registers per thread for sums of weight gradients that stay there from the first row to the last."""

TILE_SUMS = 64
"""Most registers per thread for sums of weight gradients that are added to memory after each tile of rows."""


@dataclass(frozen=True)
class Shape:
    """The shape of a network, in multiples of 16.

    Attributes:
        n_input: Input columns.
        width: Columns of hidden layers.
        n_hidden_layers: Number of hidden layers.
        n_output: Output columns.
        activation: Name of the activation of hidden layers.
        output_activation: Name of the activation of the output.
    """

    n_input: int
    width: int
    n_hidden_layers: int
    n_output: int
    activation: str = "ReLU"
    output_activation: str = "None"

    @staticmethod
    def of(mlp: Mlp) -> Shape | None:
        """The shape of a network, or None if it cannot be fused."""
        config = mlp.config
        if config.n_neurons not in WIDTHS or config.n_hidden_layers < 1 or mlp.padded_output_dims > max(WIDTHS):
            return None
        if config.activation not in EXPRESSIONS or config.output_activation not in EXPRESSIONS:
            return None
        return Shape(
            mlp.n_input_dims,
            config.n_neurons,
            config.n_hidden_layers,
            mlp.padded_output_dims,
            config.activation,
            config.output_activation,
        )

    @cached_property
    def matrices(self) -> list[tuple[int, int, int]]:
        """Rows (outputs) and columns (inputs) of each matrix, and the index of its first weight."""
        columns = [self.n_input, *[self.width] * self.n_hidden_layers]
        rows = [*columns[1:], self.n_output]
        begins = [0]
        for out, n_in in zip(rows, columns, strict=True):
            begins.append(begins[-1] + out * n_in)
        return list(zip(rows, columns, begins[:-1], strict=True))

    @cached_property
    def n_params(self) -> int:
        """Number of weights."""
        rows, columns, begin = self.matrices[-1]
        return begin + rows * columns


@dataclass(frozen=True)
class GridColumns:
    """A grid that is encoded inside the kernel.

    Attributes:
        n_dims: Input dimensions.
        n_features: Features per level.
        n_levels: Number of levels.
        begin: Its first column among the network's inputs.
        others: Whether other columns are read from memory; else they are zero.
    """

    n_dims: int
    n_features: int
    n_levels: int
    begin: int = 0
    others: bool = False


@dataclass(frozen=True)
class Tiling:
    """How the rows of a block of threads are distributed.

    Attributes:
        warps: Warps per block.
        row_tiles: Tiles of 16 rows that a warp processes at a time: with more, weights are fetched less often.
    """

    warps: int
    row_tiles: int

    @property
    def threads(self) -> int:
        """Threads per block."""
        return 32 * self.warps

    @property
    def rows(self) -> int:
        """Rows that a block processes at a time."""
        return 16 * self.warps * self.row_tiles


@dataclass(frozen=True)
class Variant:
    """The parameters that a kernel is compiled for.

    Attributes:
        shape: The network.
        grid: The grid that is encoded inside; None if all inputs are read from memory.
        tiling: How rows are distributed.
    """

    shape: Shape
    grid: GridColumns | None
    tiling: Tiling

    @property
    def key(self) -> str:
        """A name for the variant."""
        shape, grid = self.shape, self.grid
        name = f"{shape.n_input}_{shape.width}x{shape.n_hidden_layers}_{shape.n_output}"
        name += f"_{shape.activation}_{shape.output_activation}_{self.tiling.warps}w{self.tiling.row_tiles}".lower()
        if grid:
            name += f"_grid{grid.n_dims}d{grid.n_levels}l{grid.n_features}f{grid.begin}{'o' * grid.others}"
        return name

    def resident_layers(self, taken: int = 0) -> int:
        """Number of layers, from the first on, whose weights fit into shared memory together with `taken` halfs."""
        return sum(taken + begin + rows * columns <= SHARED_HALFS for rows, columns, begin in self.shape.matrices)

    def resident_weights(self, taken: int = 0) -> int:
        """Number of weights of the resident layers."""
        return sum(r * c for r, c, _ in self.shape.matrices[: self.resident_layers(taken)])

    @property
    def activations(self) -> int:
        """Number of halfs for the inputs of all layers and the outputs of a block's rows, which the backward pass keeps."""
        shape = self.shape
        return self.tiling.rows * (shape.n_input + shape.width * shape.n_hidden_layers + shape.n_output)

    @cached_property
    def shares(self) -> list[Share]:
        """How each layer's weight gradient is divided among the warps."""
        return [Share.of(rows // 16, columns // 16, self.tiling.warps) for rows, columns, _ in self.shape.matrices]

    @property
    def sums_stay(self) -> bool:
        """Whether sums of weight gradients stay in registers; else they are added to memory after each tile of rows."""
        return sum(share.registers for share in self.shares) <= RESIDENT_SUMS

    def group(self, layer: int) -> int:
        """Columns of a warp's share that it sums at a time: all if sums stay, else as many as fit into TILE_SUMS registers."""
        share = self.shares[layer]
        return (
            share.own_columns if self.sums_stay else min(share.own_columns, max(1, TILE_SUMS // (8 * share.own_rows)))
        )


@dataclass(frozen=True)
class Share:
    """A warp's share of a matrix of `rows` x `columns` tiles of 16 x 16: every `down`-th row and every `across`-th column.

    Attributes:
        rows: Rows of the matrix, in tiles.
        columns: Columns of the matrix, in tiles.
        down: Number of warps along the rows.
        across: Number of warps along the columns.
    """

    rows: int
    columns: int
    down: int
    across: int

    @staticmethod
    def of(rows: int, columns: int, warps: int) -> Share:
        """The division with the fewest loads: a warp loads a fragment for each of its rows and of its columns."""
        choices = [d for d in (1, 2, 4, 8) if warps % d == 0]
        shares = [Share(rows, columns, down, warps // down) for down in choices]
        return min(shares, key=lambda share: (share.own_rows * share.own_columns, share.own_rows + share.own_columns))

    @property
    def own_rows(self) -> int:
        """Largest number of rows of a warp."""
        return -(-self.rows // self.down)

    @property
    def own_columns(self) -> int:
        """Largest number of columns of a warp."""
        return -(-self.columns // self.across)

    @property
    def registers(self) -> int:
        """Number of sums per thread."""
        return 8 * self.own_rows * self.own_columns


def forward_variant(shape: Shape, grid: GridColumns | None = None) -> Variant:
    """The variant for inference and the forward pass of training."""
    return Variant(shape, grid, Tiling(warps=4, row_tiles=2))


def backward_variant(shape: Shape, grid: GridColumns | None = None) -> Variant | None:
    """The variant for the backward pass, with the most rows that fit into shared memory; None if not even 32 rows fit."""
    wide = shape.width == 128
    choices = [Tiling(8, 1), Tiling(4, 1)] if wide else [Tiling(4, 2), Tiling(4, 1)]
    for tiling in [*choices, Tiling(2, 1)]:
        variant = Variant(shape, grid, tiling)
        if variant.activations <= SHARED_HALFS:
            return variant
    return None
