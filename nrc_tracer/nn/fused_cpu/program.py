"""Programs of the fused kernels: the parts of a model's encoding, the layers of its networks, and the places of their results.

Each item of a kernel works in a *slab* of memory. It holds the features of a *stretch* of points and, for a *block* of rows of
that stretch, the results of the layers. Places in a slab are counted in floats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nrc_tracer.nn.encodings.composite import CompositeEncoding
from nrc_tracer.nn.encodings.empty import EmptyEncoding
from nrc_tracer.nn.encodings.encoding import Encoding
from nrc_tracer.nn.encodings.frequency import FrequencyEncoding
from nrc_tracer.nn.encodings.grid import GridEncoding
from nrc_tracer.nn.encodings.identity import IdentityEncoding
from nrc_tracer.nn.encodings.one_blob import OneBlobEncoding
from nrc_tracer.nn.encodings.spherical_harmonics import SphericalHarmonicsEncoding
from nrc_tracer.nn.encodings.triangle_wave import TriangleWaveEncoding
from nrc_tracer.nn.fused_cpu.activation_snippets import KEEPS_INPUT, NUMBERS
from nrc_tracer.nn.mlp import ALIGNMENT
from nrc_tracer.nn.radiance_field import DENSITY_OUTPUTS, OUTPUTS, RadianceField
from nrc_tracer.nn.structure import Structure

GROUPS = 32
"""Largest number of groups of stretches. The weights' gradients are summed in each group, and then over the groups in order, so
that they do not depend on the number of threads."""

STRETCH = 384
"""Smallest number of points that a model with grids encodes at a time if there are as many. A multiple of all block sizes."""

LONGEST, FEATURES = 6, 2**17
"""Bounds of the number of points that are encoded at a time, so that a level's table and the features stay in the cache: the
number of STRETCHes, and the number of features of the points."""

SHORT_STRETCH = 96
"""Number of points that are encoded at a time by models without grids, whose features then stay in the first-level cache. A
multiple of all block sizes, and a divisor of STRETCH."""

CORNER_WORK = 32
"""Work that takes as long as reading an entry of a grid, as a rough figure [multiplications]."""

MAX_WIDTH = 256
"""Largest width of a fused layer [neurons]."""

EMPTY = -1
GRID, ONE_BLOB, FREQUENCY, TRIANGLE_WAVE, SPHERICAL_HARMONICS, IDENTITY = range(6)
"""Numbers of the kinds of parts, for the kernels."""


class NotFused(Exception):
    """The fused kernels cannot run a model. The message gives the reason."""


@dataclass(frozen=True)
class Part:
    """An encoding without nested encodings, as part of a model's encoding.

    Attributes:
        encoding: The encoding.
        kind: Number of its kind.
        size: Number of its levels, bins, frequencies or bands.
        input: Its first input column.
        first_param: Index of its first parameter among those of the model.
        column: The column of its first value.
        padding: The first column of padding, and one past the last.
    """

    encoding: Encoding
    kind: int
    size: int
    input: int
    first_param: int
    column: int
    padding: tuple[int, int]


@dataclass(frozen=True)
class Buffer:
    """Rows of floats in a slab.

    Attributes:
        at: Place of its first row.
        row: Length of a row [floats].
        moves: Whether it holds all rows of a stretch, so that each block has another place; else it holds the rows of one block.
    """

    at: int
    row: int
    moves: bool


@dataclass(frozen=True)
class LayerPlan:
    """A layer of a network.

    Attributes:
        n_in, n_out: Numbers of inputs and outputs.
        weights: Index of its first weight among the model's parameters.
        packed: Place of its transposed weights.
        activation: Number of its activation.
        source, target: Buffers of its input and its output.
        applied: In training, the place where the activation's input is kept if its derivative needs it, else -1.
        d_target: In training, the buffer of the gradient of its output.
        d_source: In training, the buffer of the gradient of its input.
        d_columns: Columns of `d_source` that the gradients of parameters need: the first, and one past the last.
        first_feature: The first input column that the encoding writes, if any.
        feature_column: The column of the encoding that is written there.
        late_output: Index of the model output whose gradient is added to the first column of `d_target`: a radiance field's
            density. -1 for none.
    """

    n_in: int
    n_out: int
    weights: int
    packed: int
    activation: int
    source: Buffer
    target: Buffer
    applied: int = -1
    d_target: Buffer | None = None
    d_source: Buffer | None = None
    d_columns: tuple[int, int] = (0, 0)
    first_feature: int = 0
    feature_column: int = 0
    late_output: int = -1


@dataclass
class Slab:
    """Allocates the memory of a slab in whole cache lines.

    Attributes:
        size: Size of the slab so far [floats].
    """

    size: int = 0

    def take(self, floats: int) -> int:
        """Allocate a number of floats. Returns their place."""
        place = self.size
        self.size += -(-floats // 16) * 16
        return place


@dataclass(frozen=True)
class Program:
    """The program of the fused kernels for one model.

    Attributes:
        parts: The parts of the encoding, each with the buffer that it writes to.
        layers: The layers of all networks in order.
        outputs: The buffer and the column of each output of the model.
        block: Number of rows that pass through the layers at a time.
        slab: Size of a slab [floats].
        stretch: Largest number of points that are encoded at a time: SHORT_STRETCH, or a multiple of STRETCH.
        planes: The place of the grids' inputs of a stretch, column by column.
        late: In training, the place of the gradient of a radiance field's density, one float per row of a block.
        kept: The place of the results of the layers for a block, and one past it: all that a backward pass needs besides the
            features, if the program was made for one.
        grids: The different (dimensions, features per level) of the grids among the parts, sorted.
    """

    parts: list[tuple[Part, Buffer]]
    layers: list[LayerPlan]
    outputs: list[tuple[Buffer, int]]
    block: int
    slab: int
    stretch: int
    planes: int
    late: int
    kept: tuple[int, int]
    grids: tuple[tuple[int, int], ...]

    @property
    def kept_size(self) -> int:
        """Size of the results of the layers for a block [floats]."""
        return self.kept[1] - self.kept[0]

    @property
    def row_work(self) -> int:
        """Work of one row in inference [multiplications]: products of matrices, and a rough figure for grids."""
        grids = [part for part, _ in self.parts if part.kind == GRID]
        corners = sum(part.size * 2**part.encoding.n_input_dims for part in grids)
        return sum(layer.n_in * layer.n_out for layer in self.layers) + CORNER_WORK * corners

    def with_grids(self, grids: tuple[tuple[int, int], ...]) -> Program:
        """The same program, run by the kernel for programs with `grids`."""
        return replace(self, grids=grids)


def flat_parts(encoding: Encoding, width: int, first_param: int, first_input: int = 0, column: int = 0) -> list[Part]:
    """The parts of an encoding that writes `width` columns from `column` on.

    Raises:
        NotFused: The fused kernels cannot run one of the parts.
    """
    if isinstance(encoding, CompositeEncoding):
        if not encoding.concatenated:
            raise NotFused(f"a Composite with reduction {encoding.config.reduction} is not fused")
        result = []
        for nested, inputs, own, columns in encoding.parts(width):
            begin, size = column + columns.start, columns.stop - columns.start
            result += flat_parts(nested, size, first_param + own.start, first_input + inputs.start, begin)
        return result
    kind, size = _kind(encoding)
    spare = width - encoding.n_output_dims
    first = column + spare if encoding.padding_first else column
    padding = column if encoding.padding_first else column + encoding.n_output_dims
    return [Part(encoding, kind, size, first_input, first_param, first, (padding, padding + spare))]


def _kind(encoding: Encoding) -> tuple[int, int]:
    """The kind and the size of an encoding, as in `Part`."""
    if isinstance(encoding, GridEncoding):
        return GRID, len(encoding.levels)
    if isinstance(encoding, OneBlobEncoding):
        return ONE_BLOB, encoding.config.n_bins
    if isinstance(encoding, FrequencyEncoding):
        return FREQUENCY, encoding.config.n_frequencies
    if isinstance(encoding, TriangleWaveEncoding):
        return TRIANGLE_WAVE, encoding.config.n_frequencies
    if isinstance(encoding, SphericalHarmonicsEncoding):
        return SPHERICAL_HARMONICS, encoding.config.degree
    if isinstance(encoding, IdentityEncoding):
        return IDENTITY, 1
    if isinstance(encoding, EmptyEncoding):
        return EMPTY, 0
    raise NotFused(f"the encoding {type(encoding.config).__name__} is not fused")


def is_fusible(structure: Structure) -> bool:
    """Whether the fused kernels can run a model."""
    try:
        plan(structure)
    except NotFused:
        return False
    return True


def plan(structure: Structure, *, density_only: bool = False, keep: bool = False) -> Program:
    """The program of a model.

    Args:
        structure: The model.
        density_only: Whether to run only the density network of a radiance field.
        keep: Whether to prepare a backward pass: each layer's output is kept, and gradients have places.

    Raises:
        NotFused: The fused kernels cannot run the model.
    """
    mlp = structure.mlp
    if mlp is None:
        raise NotFused("an encoding without a network is not fused")
    networks = [mlp.density, mlp.rgb] if isinstance(mlp, RadianceField) else [mlp]
    widest = max(max(shape) for network in networks for shape in network.shapes)
    if structure.width == 0:
        raise NotFused("a network without inputs is not fused")
    if widest > MAX_WIDTH or any(
        size % ALIGNMENT for network in networks for shape in network.shapes for size in shape
    ):
        raise NotFused(f"fused layers have a multiple of {ALIGNMENT} neurons, {MAX_WIDTH} at most")
    if density_only:
        field = structure.radiance_field
        parts = flat_parts(field.position_encoding, field.position_width, structure.n_matrix_params)
    else:
        parts = flat_parts(structure.encoding, structure.width, structure.n_matrix_params)

    slab = Slab()
    columns = sum(network.n_input_dims for network in networks)
    stretch = SHORT_STRETCH
    if any(part.kind == GRID for part in parts):
        stretch = STRETCH * max(1, min(LONGEST, FEATURES // (STRETCH * columns)))
    features = Buffer(slab.take(stretch * networks[0].n_input_dims), networks[0].n_input_dims, True)
    placed = [(part, features) for part in parts]
    inputs, last = [features], None
    if isinstance(mlp, RadianceField):
        if density_only:
            networks = networks[:1]
        else:
            joined = Buffer(slab.take(stretch * mlp.rgb.n_input_dims), mlp.rgb.n_input_dims, True)
            placed = [_place_in_field(part, mlp.position_width, features, joined) for part in parts]
            inputs, last = [features, joined], joined

    block = 96 if widest <= 64 else 48
    layers: list[LayerPlan] = []
    results = slab.size
    weights, flip = 0, [Buffer(slab.take(block * widest), widest, False) for _ in range(0 if keep else 2)]
    for network, source in zip(networks, inputs, strict=True):
        for index, (n_out, n_in) in enumerate(network.shapes):
            at_end = index + 1 == len(network.shapes)
            if at_end and last is not None and network is networks[0]:
                target = last
            elif keep:
                target = Buffer(slab.take(block * n_out), n_out, False)
            else:
                target = Buffer(flip[len(layers) % 2].at, n_out, False)
            name = network.config.output_activation if at_end else network.config.activation
            number = NUMBERS[name]
            applied = slab.take(block * n_out) if keep and number in KEEPS_INPUT else -1
            layers.append(LayerPlan(n_in, n_out, weights, -1, number, source, target, applied))
            weights += n_in * n_out
            source = target
    kept = results, slab.size
    layers = [replace(layer, packed=slab.take(layer.n_in * layer.n_out)) for layer in layers]
    end = layers[-1].target
    if density_only:
        outputs = [(end, 0)]
    elif isinstance(mlp, RadianceField):
        outputs = [(end, column) for column in range(OUTPUTS - 1)] + [(inputs[1], 0)]
    else:
        outputs = [(end, column) for column in range(mlp.n_output_dims)]
    if keep:
        layers = _with_gradients(layers, slab, block, placed, joined=last)
    grids = [part.encoding for part, _ in placed if isinstance(part.encoding, GridEncoding)]
    planes = slab.take(stretch * sum(grid.n_input_dims for grid in grids))
    late = slab.take(block)
    kinds = {(grid.n_input_dims, grid.n_features) for grid in grids}
    return Program(placed, layers, outputs, block, slab.size, stretch, planes, late, kept, tuple(sorted(kinds)))


def _with_gradients(
    layers: list[LayerPlan], slab: Slab, block: int, placed: list[tuple[Part, Buffer]], *, joined: Buffer | None
) -> list[LayerPlan]:
    """The layers with places for gradients, which alternate between two buffers."""
    widest = max(max(layer.n_in, layer.n_out) for layer in layers)
    turns = [Buffer(slab.take(block * widest), widest, False) for _ in range(2)]
    result = []
    d_target = Buffer(turns[0].at, layers[-1].n_out, False)
    late_output = -1
    for index, layer in reversed(list(enumerate(layers))):
        d_source = Buffer(turns[(len(layers) - index) % 2].at, layer.n_in, False)
        is_joined = joined is not None and layer.source is joined
        is_first = layer.source is layers[0].source
        result.append(
            replace(
                layer,
                d_target=d_target,
                d_source=d_source,
                d_columns=_grid_columns(layer.source, placed) if is_first else (0, layer.n_in),
                first_feature=DENSITY_OUTPUTS if is_joined else 0,
                feature_column=layers[0].n_in if is_joined else 0,
                late_output=late_output,
            )
        )
        d_target, late_output = d_source, OUTPUTS - 1 if is_joined else -1
    return result[::-1]


def _grid_columns(buffer: Buffer, placed: list[tuple[Part, Buffer]]) -> tuple[int, int]:
    """The columns of a buffer that grids write, rounded outwards to whole vectors: the first, and one past the last."""
    own = [part for part, place in placed if place is buffer and isinstance(part.encoding, GridEncoding)]
    begin = min((part.column for part in own), default=0) // ALIGNMENT * ALIGNMENT
    end = max((part.column + part.encoding.n_output_dims for part in own), default=0)
    return begin, -(-end // ALIGNMENT) * ALIGNMENT


def _place_in_field(part: Part, position_width: int, features: Buffer, joined: Buffer) -> tuple[Part, Buffer]:
    """A part of a radiance field's encoding with its buffer. Features of the direction follow the density network's outputs."""
    if min(part.column, part.padding[0]) < position_width:
        return part, features
    move = DENSITY_OUTPUTS - position_width
    padding = (part.padding[0] + move, part.padding[1] + move)
    return replace(part, column=part.column + move, padding=padding), joined
