"""The structs that the fused kernels take as arguments. Addresses are integers, so that only numbers change between calls."""

import warp as wp

from nrc_tracer.nn.encodings.grid_cells import Level
from nrc_tracer.nn.optimizers.adam_kernels import AdamRule


@wp.struct
class PartData:
    """A part of an encoding.

    Attributes:
        kind: Kind of the encoding, one of the constants in `program`.
        input, n_dims: First input column, and number of input columns.
        buffer, row: Place of its buffer in a slab, and length of a row of the buffer [floats].
        column: Column of its first value in the buffer.
        padding_begin, padding_end: First column of padding, and one past the last.
        padding: Value of the padding.
        size: Number of bins, frequencies or bands, or of a grid's levels.
        scale, shift: Factor and offset of an Identity encoding.
        first_param: Index of its first parameter among those of the model.
        level: Index of a grid's first level among the levels of all grids.
        n_features: Number of features per level of a grid.
        interpolation: Number of a grid's interpolation.
        d_first: Number of feature columns of the grids before it.
        plane: Number of input columns of the grids before it.
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
    plane: wp.int32


@wp.struct
class LayerData:
    """A layer of a network. Places are offsets into a slab [floats].

    Attributes:
        n_in, n_out: Numbers of inputs and outputs.
        weights: Index of its first weight among the model's parameters.
        packed: Place of its transposed weights.
        activation: Number of its activation.
        source, source_row, source_moves: Buffer of its input; see `program.Buffer`.
        target, target_row, target_moves: Buffer of its output.
        applied: Place where the activation's input is kept; -1 if it is not kept.
        d_target, d_target_row: Place and row length of the gradient of its output.
        d_source: Place of the gradient of its input.
        d_begin, d_end: First column of that gradient that is needed, and one past the last.
        first_feature, feature_column: First input column that the encoding writes, and its column in the encoding.
        late_output: 1 if the layer's first output is also an output of the model, whose gradient is added there; else 0.
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
    """An output of the model.

    Attributes:
        at: Its place in a slab, for the first row [floats].
        row: Length of a row of its buffer [floats].
        moves: Whether the buffer holds a whole stretch; see `program.Buffer`.
    """

    at: wp.int32
    row: wp.int32
    moves: wp.int32


@wp.struct
class ProgramData:
    """A `program.Program` in the form that kernels read.

    Attributes:
        parts: The parts of the encoding.
        levels: The levels of all grids.
        layers: The layers of all networks in order.
        outputs: The outputs of the model.
        harmonics: The table `encoding_snippets.harmonic_coefficients`, flattened.
        n_inputs: Number of input columns of the model.
        stretch: Largest number of points that are encoded at a time.
        planes: Place of the grids' inputs of a stretch, column by column, in a slab.
        block: Number of rows that pass through the layers at a time.
        kept_begin, kept_size: Place and size of the results of the layers for a block in a slab [floats].
        slab: Size of a slab [floats].
    """

    parts: wp.array[PartData]
    levels: wp.array[Level]
    layers: wp.array[LayerData]
    outputs: wp.array[OutputData]
    harmonics: wp.array[float]
    n_inputs: wp.int32
    stretch: wp.int32
    planes: wp.int32
    block: wp.int32
    kept_begin: wp.int32
    kept_size: wp.int32
    slab: wp.int32


COUNTERS = 4
"""Number of counters in a `Call`: see `vector_snippets`."""


@wp.struct
class Call:
    """The arguments of inference and training that change between calls.

    Attributes:
        x: Address of the inputs, float32 [n, n_inputs].
        params: Address of the model's parameters, float32 [n_params].
        out: Address of the outputs of inference, float32 [n, outputs].
        slabs: Address of the slabs of all items.
        kept: Address of the results of the layers for all blocks, float32 [blocks, kept_size]. Inference writes them, and a
            training step reads them instead of repeating the forward pass. 0 if they stay in the slabs.
        counters: Address of counters by which the items of a kernel share its work, int32 [COUNTERS], 0 when the kernel starts.
        sleep: Address of a C function that sleeps for a number of microseconds, for items that wait for others; 0 to spin only.
        n: Number of rows.
        stretch: In inference, number of points per piece of work.
    """

    x: wp.uint64
    params: wp.uint64
    out: wp.uint64
    slabs: wp.uint64
    kept: wp.uint64
    counters: wp.uint64
    sleep: wp.uint64
    n: wp.int32
    stretch: wp.int32


@wp.struct
class Step:
    """The further arguments of a training step. Arrays are given by address and have float32 values unless stated otherwise.

    Attributes:
        target: The targets, [n, outputs].
        factor, factor_row, factor_step: Factors of the outputs, with row and column strides [floats]; address 0 for none.
        pdf, pdf_row, pdf_step: Probability densities of the samples, with row and column strides [floats]; address 0 for none.
        n_steps: In the first of several steps, their number.
        optimizes: 1 if the gradients are used for a step of the optimizer, as long as all of them are finite.
        d_out: The gradient of the outputs, [n, outputs], in place of a loss; 0 for none.
        d_features: Receives the gradient of the grids' features, ordered by grid, row, level and feature.
        by_level: 1 if `d_features` is ordered by grid, level, row and feature instead.
        points: Receives the inputs of the grids, [input columns of all grids, n].
        d_inputs, width: Receives the gradient of all features, [n, width]; address 0 if it is not needed.
        d_weights: Receives the gradient of the weights for each group, [groups, n_weights].
        gradient: With `optimizes`, memory for the gradients of one region's entries, [items, place], zero between regions.
            Without, receives the sum of `d_weights` over the groups, [n_weights].
        marks: Memory for one byte per sixteen of these gradients, 1 if some of them may not be zero; zero between regions.
        sums: Receives the loss of each group, and the sum of the magnitudes of its loss and gradients, which is finite only if
            all of them are; float64 [groups, 2].
        loss, weight, delta: Number of the loss, weight of an element in the mean, and the error at which it changes its form.
        groups, rows: Number of groups whose gradients are summed separately, and number of rows per group.
        span: Number of groups per piece of work. If there are several, their points are encoded together.
        n_weights: Number of weights of the networks.
        n_direct: Number of model outputs that the last layer gives: all of them, or all but a radiance field's density.
        late: Place in a slab of the gradient of that density.
        place: Size of an item's memory in `gradient` [floats].
        slice: Number of weights per piece of work, when their gradients are summed.
    """

    target: wp.uint64
    factor: wp.uint64
    pdf: wp.uint64
    d_out: wp.uint64
    d_features: wp.uint64
    points: wp.uint64
    d_inputs: wp.uint64
    d_weights: wp.uint64
    gradient: wp.uint64
    marks: wp.uint64
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
    span: wp.int32
    n_weights: wp.int32
    n_direct: wp.int32
    late: wp.int32
    place: wp.int32
    by_level: wp.int32
    n_steps: wp.int32
    optimizes: wp.int32
    width: wp.int32
    slice: wp.int32


@wp.struct
class GridData:
    """A grid whose gradients are summed region by region; see `nrc_tracer.nn.regions.Regions`.

    Attributes:
        regions: Address of its regions.
        part: Index of its part of the encoding.
        first_piece, n_regions: Piece of work for its first region, and number of its regions, one piece each.
    """

    regions: wp.uint64
    part: wp.int32
    first_piece: wp.int32
    n_regions: wp.int32


@wp.struct
class Update:
    """A step of Adam, with or without an average of the parameters; see `nrc_tracer.nn.optimizers`. Arrays are given by address.

    Attributes:
        matrix_rule, other_rule: Hyperparameters for the networks' weights, and for all other parameters.
        matrices: 1 if the networks' weights are trained, else 0.
        records, record_size: State of each parameter, float32 [n_params, record_size]; see `records`. Averages are kept if the
            size is 8.
        corrections, n_corrections: Corrections of the moments' bias by step count, float32 [n_corrections].
        powers, n_powers: d^k and 1 - d^k for k from 0 on, d being the decay of the average, float32 [n_powers, 2].
        ema_step, complete, debias: Number t of the steps before this one, the last step for which all averages are up to date,
            and 1 - d^t.
        share: Weight of the parameters after this step in their average.
    """

    matrix_rule: AdamRule
    other_rule: AdamRule
    records: wp.uint64
    corrections: wp.uint64
    powers: wp.uint64
    record_size: wp.int32
    matrices: wp.int32
    n_corrections: wp.int32
    n_powers: wp.int32
    ema_step: wp.int32
    complete: wp.int32
    debias: wp.float32
    share: wp.float32
