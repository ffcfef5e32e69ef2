"""What the fused kernels do for one model, as numbers: the parts of the encoding, the layers, and where each puts its results.

The kernels work in a *slab* of memory, one for each thread's work: the features of a stretch of points, then for a block of
rows of the stretch the results of every layer. Places in it are counted in floats.
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
"""Groups of stretches at most. Each sums up its gradients of weights, and these are added in order: threads do not matter."""

STRETCH = 384
"""Points that are encoded at a time: a level's table stays in the cache meanwhile. A multiple of BLOCK."""

MAX_WIDTH = 256
"""The widest layer that is fused."""

EMPTY = -1
GRID, ONE_BLOB, FREQUENCY, TRIANGLE_WAVE, SPHERICAL_HARMONICS, IDENTITY = range(6)
"""Kinds of parts, as kernels know them."""


class NotFused(Exception):
    """A model that the fused kernels cannot run, and why."""


@dataclass(frozen=True)
class Part:
    """An encoding without nested ones, as part of a model's.

    Attributes:
        encoding: The encoding.
        kind: Its kind.
        size: Its levels, bins, frequencies or bands.
        input: Its first input column.
        first_param: Its first parameter among those of the model.
        column: The column of its first value.
        padding: Columns of padding: first and one past the last.
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
        at: Its first float.
        row: Floats of a row.
        moves: Whether it holds the rows of a stretch, of which a block begins further on, or those of a block alone.
    """

    at: int
    row: int
    moves: bool


@dataclass(frozen=True)
class LayerPlan:
    """A layer of a network.

    Attributes:
        n_in, n_out: Widths.
        weights: Its first weight among the model's parameters.
        packed: Its transposed weights in the slab.
        activation: Number of its activation.
        source, target: Where its input is, and where its result goes.
        applied: In training, the place of what the activation is applied to, where its derivative needs it, else -1.
        d_target: In training, the gradient of its result.
        d_source: In training, the gradient of its input.
        d_columns: The columns of it that are needed for the parameters.
        first_feature: The first column of its input that the encoding makes, if any.
        feature_column: Which column of the encoding this is.
        late_output: The output of the model whose gradient is added to the first column of `d_target`, or -1: a radiance field's
            density.
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
    """Hands out places in a slab, each at the beginning of a cache line."""

    size: int = 0

    def take(self, floats: int) -> int:
        """The place of so many floats."""
        place = self.size
        self.size += -(-floats // 16) * 16
        return place


@dataclass(frozen=True)
class Program:
    """What the kernels do for a model.

    Attributes:
        parts: The encoding, with the buffer into which each part writes.
        layers: The layers of all networks in order.
        outputs: For each output of the model, the buffer and the column where it is.
        block: Rows that go through the layers at a time.
        slab: Floats of a slab.
        late: In training, the place of a radiance field's gradient of density, a float for each row of a block.
        grids: Dimensions and features of the grids among the parts.
    """

    parts: list[tuple[Part, Buffer]]
    layers: list[LayerPlan]
    outputs: list[tuple[Buffer, int]]
    block: int
    slab: int
    late: int
    grids: tuple[tuple[int, int], ...]

    def with_grids(self, grids: tuple[tuple[int, int], ...]) -> Program:
        """The same for a kernel that was made for such grids."""
        return replace(self, grids=grids)


def flat_parts(encoding: Encoding, width: int, first_param: int, first_input: int = 0, column: int = 0) -> list[Part]:
    """The parts of an encoding of `width` columns, the first of them `column`.

    Raises:
        NotFused: There is a part for which there is no kernel.
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
    """The kind of an encoding and its size."""
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


def plan(structure: Structure, *, density_only: bool = False, keep: bool = False) -> Program:
    """The program of a model.

    Args:
        structure: The model.
        density_only: Whether only the density network of a radiance field is run.
        keep: Give each layer's result a place of its own, for a backward pass.

    Raises:
        NotFused: The kernels cannot run it.
    """
    mlp = structure.mlp
    if mlp is None:
        raise NotFused("an encoding without a network has nothing to be fused with")
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
    features = Buffer(slab.take(STRETCH * networks[0].n_input_dims), networks[0].n_input_dims, True)
    placed = [(part, features) for part in parts]
    inputs, last = [features], None
    if isinstance(mlp, RadianceField):
        if density_only:
            networks = networks[:1]
        else:
            joined = Buffer(slab.take(STRETCH * mlp.rgb.n_input_dims), mlp.rgb.n_input_dims, True)
            placed = [_place_in_field(part, mlp.position_width, features, joined) for part in parts]
            inputs, last = [features, joined], joined

    block = 96 if widest <= 64 else 48
    layers: list[LayerPlan] = []
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
            packed = slab.take(n_in * n_out)
            layers.append(LayerPlan(n_in, n_out, weights, packed, NUMBERS[name], source, target))
            weights += n_in * n_out
            source = target
    end = layers[-1].target
    if density_only:
        outputs = [(end, 0)]
    elif isinstance(mlp, RadianceField):
        outputs = [(end, column) for column in range(OUTPUTS - 1)] + [(inputs[1], 0)]
    else:
        outputs = [(end, column) for column in range(mlp.n_output_dims)]
    if keep:
        layers = _with_gradients(layers, slab, block, placed, joined=last)
    grids = {
        (p.encoding.n_input_dims, p.encoding.n_features) for p, _ in placed if isinstance(p.encoding, GridEncoding)
    }
    late = slab.take(block)
    return Program(placed, layers, outputs, block, slab.size, late, tuple(sorted(grids)))


def _with_gradients(
    layers: list[LayerPlan], slab: Slab, block: int, placed: list[tuple[Part, Buffer]], *, joined: Buffer | None
) -> list[LayerPlan]:
    """The layers with places for gradients, in two buffers that take turns."""
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
                applied=slab.take(block * layer.n_out) if layer.activation in KEEPS_INPUT else -1,
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
    """The columns of a buffer that grids write, whole vectors of them."""
    own = [part for part, place in placed if place is buffer and isinstance(part.encoding, GridEncoding)]
    begin = min((part.column for part in own), default=0) // ALIGNMENT * ALIGNMENT
    end = max((part.column + part.encoding.n_output_dims for part in own), default=0)
    return begin, -(-end // ALIGNMENT) * ALIGNMENT


def _place_in_field(part: Part, position_width: int, features: Buffer, joined: Buffer) -> tuple[Part, Buffer]:
    """A part of a radiance field's encoding: features of the direction stand behind the outputs of the density network."""
    if min(part.column, part.padding[0]) < position_width:
        return part, features
    move = DENSITY_OUTPUTS - position_width
    padding = (part.padding[0] + move, part.padding[1] + move)
    return replace(part, column=part.column + move, padding=padding), joined
