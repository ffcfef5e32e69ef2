"""The arguments of the fused kernels as structs. Addresses are plain integers, so that a call changes numbers alone."""

import warp as wp

from nrc_tracer.nn.encodings.grid_cells import Level
from nrc_tracer.nn.optimizers.adam_kernels import AdamRule


@wp.struct
class PartData:
    """A part of an encoding.

    Attributes:
        kind: What it is; see `program`.
        input, n_dims: Its first input column, and how many it takes.
        buffer, row: The place of its buffer in a slab, and the floats of a row.
        column: Column of its first value.
        padding_begin, padding_end: Columns of padding.
        padding: What these hold.
        size: Bins, frequencies or bands; levels of a grid.
        scale, shift: Of Identity.
        first_param: Its first parameter.
        level: Its first level among all levels.
        n_features: Features per level of a grid.
        interpolation: Of a grid.
        d_first: Columns of the grids before it.
    """

    kind: wp.int32
    input: wp.int32
    n_dims: wp.int32
    buffer: wp.int32
    row: wp.int32
    column: wp.int32
    padding_begin: wp.int32
    padding_end: wp.int32
    padding: wp.float32
    size: wp.int32
    scale: wp.float32
    shift: wp.float32
    first_param: wp.int32
    level: wp.int32
    n_features: wp.int32
    interpolation: wp.int32
    d_first: wp.int32


@wp.struct
class LayerData:
    """A layer; places are in a slab, in floats.

    Attributes:
        n_in, n_out: Widths.
        weights: Its first weight among the parameters.
        packed: Its transposed weights.
        activation: Number of the activation.
        source, source_row, source_moves: Its input; see `program.Buffer`.
        target, target_row, target_moves: Its result.
        applied: What the activation is applied to is kept there; -1 for nowhere.
        d_target, d_target_row: The gradient of the result.
        d_source: The gradient of the input, of which d_begin .. d_end - 1 are the columns needed.
        first_feature, feature_column: The first column of the input that the encoding has made, and its number among the
            encoding's columns.
        late_output: 1 where the gradient of an output of the model is added to the result's first column.
    """

    n_in: wp.int32
    n_out: wp.int32
    weights: wp.int32
    packed: wp.int32
    activation: wp.int32
    source: wp.int32
    source_row: wp.int32
    source_moves: wp.int32
    target: wp.int32
    target_row: wp.int32
    target_moves: wp.int32
    applied: wp.int32
    d_target: wp.int32
    d_target_row: wp.int32
    d_source: wp.int32
    d_begin: wp.int32
    d_end: wp.int32
    first_feature: wp.int32
    feature_column: wp.int32
    late_output: wp.int32


@wp.struct
class OutputData:
    """Where an output of the model is: a place in a slab, the floats of a row, and whether blocks follow each other there."""

    at: wp.int32
    row: wp.int32
    moves: wp.int32


@wp.struct
class ProgramData:
    """A program as kernels read it; see `program.Program`."""

    parts: wp.array[PartData]
    levels: wp.array[Level]
    layers: wp.array[LayerData]
    outputs: wp.array[OutputData]
    harmonics: wp.array[float]
    n_inputs: wp.int32
    stretch: wp.int32
    block: wp.int32
    slab: wp.int32


@wp.struct
class Call:
    """What changes from call to call: addresses, and how many rows and items there are.

    Attributes:
        x: Inputs, float32 [n, n_inputs].
        params: The model's parameters, float32.
        out: Outputs, float32 [n, outputs].
        slabs: Memory of all items.
        n: Rows.
        items: How many items share the stretches.
    """

    x: wp.uint64
    params: wp.uint64
    out: wp.uint64
    slabs: wp.uint64
    n: wp.int32
    items: wp.int32


@wp.struct
class Step:
    """What a training step has beside a call; addresses of float32 arrays unless said otherwise, 0 for none.

    Attributes:
        target: [n, outputs].
        factor, factor_row, factor_step: What outputs are multiplied by, and the floats from row to row and column to column.
        pdf, pdf_row, pdf_step: Densities of the samples, likewise.
        d_out: The gradient of the outputs, [n, outputs], instead of a loss.
        d_features: Is given the gradients of grids' features, by grid, row, level and feature, or ...
        by_level: ... by grid, level, row and feature.
        d_inputs, width: Is given the gradient of all features, [n, width]; 0 if not wanted.
        d_weights: Is given the gradient of the weights of each group, [groups, n_weights].
        gradient: Is given their sum, [n_weights].
        sums: Is given the loss of each group, and a number that is finite if all gradients are, float64 [groups, 2].
        loss, weight, delta: The number of the loss, the weight of an element, and Huber's limit.
        groups, rows: Groups of rows whose gradients are summed up apart, and how many rows each has.
        n_weights: Weights of the networks.
        n_direct: Outputs that the last layer gives.
        late: Place in a slab of the gradient of the output that it does not give.
        slice: Weights that an item of the sum takes.
    """

    target: wp.uint64
    factor: wp.uint64
    pdf: wp.uint64
    d_out: wp.uint64
    d_features: wp.uint64
    d_inputs: wp.uint64
    d_weights: wp.uint64
    gradient: wp.uint64
    sums: wp.uint64
    factor_row: wp.int32
    factor_step: wp.int32
    pdf_row: wp.int32
    pdf_step: wp.int32
    loss: wp.int32
    weight: wp.float32
    delta: wp.float32
    groups: wp.int32
    rows: wp.int32
    n_weights: wp.int32
    n_direct: wp.int32
    late: wp.int32
    by_level: wp.int32
    width: wp.int32
    slice: wp.int32


@wp.struct
class GridData:
    """A grid whose gradients are summed up region by region; see `nrc_tracer.nn.regions.Regions`.

    Attributes:
        regions: Address of its regions.
        marks: Address of a bit for every entry, uint64, zero between steps.
        first_marks: Address of the number of each region's first mark, int32.
        part: Number of its part.
        first_item, n_regions: Items of the kernel.
    """

    regions: wp.uint64
    marks: wp.uint64
    first_marks: wp.uint64
    part: wp.int32
    first_item: wp.int32
    n_regions: wp.int32


@wp.struct
class Update:
    """A step of Adam, with the average of the weights or without: addresses and numbers; see `nrc_tracer.nn.optimizers`.

    Attributes:
        matrix_rule, other_rule: What Adam does to weights of networks, and to other parameters.
        matrices: Whether the weights of networks are trained.
        moments, counts: Both moments of every parameter, float32 [n_params, 2], and step counts, int32 [n_params].
        corrections, n_corrections: Correction of the moments' bias by step count, float32, and how many there are.
        averages, updated: The average of every parameter, and the step it is of, int32; 0 for none.
        powers, n_powers: d^k and 1 - d^k by k, float32, and how many there are.
        ema_step, complete, debias: Steps so far, the step all averages are up to at least, and 1 - d^(steps so far).
        share: What the weights after this step get of their average.
    """

    matrix_rule: AdamRule
    other_rule: AdamRule
    moments: wp.uint64
    counts: wp.uint64
    corrections: wp.uint64
    averages: wp.uint64
    updated: wp.uint64
    powers: wp.uint64
    matrices: wp.int32
    n_corrections: wp.int32
    n_powers: wp.int32
    ema_step: wp.int32
    complete: wp.int32
    debias: wp.float32
    share: wp.float32
