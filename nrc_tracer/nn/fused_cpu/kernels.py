"""The fused kernels, assembled from C++ snippets.

The items of a kernel, one per thread, take pieces of work until none is left: stretches of points in inference, groups of
stretches in both training passes, regions of tables and slices of weights in the step of the optimizer. Each works in a slab of
its own.
"""

# mypy: disable-error-code="empty-body"
# The bodies of native functions are C++

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache

import warp as wp

from nrc_tracer.nn.encodings.grid_snippets import add_snippet, forward_snippet
from nrc_tracer.nn.fused_cpu.activation_snippets import ACTIVATIONS, DERIVATIVES
from nrc_tracer.nn.fused_cpu.encoding_snippets import POINTWISE
from nrc_tracer.nn.fused_cpu.loss_snippets import LOSSES
from nrc_tracer.nn.fused_cpu.pass_snippets import DESCEND, SUM_WEIGHTS
from nrc_tracer.nn.fused_cpu.structs import Call, GridData, ProgramData, Step, Update
from nrc_tracer.nn.fused_cpu.update_snippets import (
    ADAM,
    ADD,
    ADD_CALL,
    AWAIT_GRADIENTS,
    READ_AVERAGES,
    UPDATE_REGION,
    UPDATE_WEIGHTS,
)
from nrc_tracer.nn.fused_cpu.vector_snippets import FUNCTIONS, PRODUCTS, VECTORS

_GRID = """
    auto grid_${dims}_${features} = [](const auto& level, int interpolation, View x, int begin, int end, Table table, View out,
                                       int column) {
        $body
    };
"""

_NAMES = """
    const float* harmonics = program.harmonics.data;
    const float* x = (const float*)call.x;
    const float* params = (const float*)call.params;
    float* slab = (float*)call.slabs + (size_t)item * program.slab;
    const int n_parts = program.parts.shape[0], n_layers = program.layers.shape[0], n_inputs = program.n_inputs;
"""

_ENCODE = """
    // Padding never changes, so it is written only once
    auto pad = [&](int rows) {
        if (rows > call.n) rows = call.n;
        for (int p = 0; p < n_parts; ++p) {
            const auto part = program.parts.data[p];
            for (int i = 0; i < rows; ++i)
                for (int c = part.padding_begin; c < part.padding_end; ++c)
                    slab[part.buffer + (long long)i * part.row + c] = part.padding;
        }
    };
    // Encode the points begin .. end - 1. The inputs of grids are copied to `planes`: input d of point i to [d * plane + i]
    auto encode = [&](int begin, int end, float* planes, size_t plane) {
        for (int p = 0; p < n_parts; ++p) {
            const auto part = program.parts.data[p];
            float* rows = slab + part.buffer;
            if (part.kind != 0) {
                if (part.kind > 0) encode_pointwise(part, x, n_inputs, begin, end, rows, part.row);
                continue;
            }
            float* own_planes = planes + part.plane * plane;
            for (int d = 0; d < part.n_dims; ++d)
                for (int i = begin; i < end; ++i) own_planes[d * plane + i] = x[(size_t)i * n_inputs + part.input + d];
            const View points = {(char*)own_planes, {4ll, 4ll * (long long)plane}};
            const View out = {(char*)(rows - (long long)begin * part.row), {4ll * part.row, 4ll}};
            const Table table = {(float*)params + part.first_param};
            const int kind = part.n_dims * 16 + part.n_features;
            for (int l = 0; l < part.size; ++l) {
                const auto level = program.levels.data[part.level + l];
                const int column = part.column + l * part.n_features;
                $grids
            }
        }
    };
"""

_GRID_CALL = """
                if (kind == ${dims} * 16 + ${features})
                    grid_${dims}_${features}(level, part.interpolation, points, begin, end, table, out, column);
"""

_LAYERS = """
    // Transpose the weights to [in, out], so that outputs are contiguous
    auto pack = [&]() {
        for (int l = 0; l < n_layers; ++l) {
            const auto layer = program.layers.data[l];
            const float* weights = params + layer.weights;
            float* packed = slab + layer.packed;
            for (int j = 0; j < layer.n_out; ++j)
                for (int k = 0; k < layer.n_in; ++k) packed[k * layer.n_out + j] = weights[j * layer.n_in + k];
        }
    };
    // The results of the layers for one block are in the slab, or in memory that is kept
    float* results = slab;
    auto choose_results = [&](long long row) {
        if (call.kept) results = (float*)call.kept + row / program.block * program.kept_size - program.kept_begin;
    };
    auto place = [&](int at, int row, int moves, int first) { return moves ? slab + at + (long long)first * row : results + at; };
    // Run all layers on `rows` rows of the stretch, from row `first` on; the number is rounded up, since buffers have room
    auto apply = [&](int first, int rows) {
        const int whole = (rows + 11) / 12 * 12;
        for (int l = 0; l < n_layers; ++l) {
            const auto layer = program.layers.data[l];
            const float* source = place(layer.source, layer.source_row, layer.source_moves, first);
            float* target = place(layer.target, layer.target_row, layer.target_moves, first);
            product(RowsAtATime(), source, layer.source_row, 1, slab + layer.packed, layer.n_out, whole, layer.n_out,
                    layer.n_in, target, layer.target_row, false);
            if (layer.applied >= 0)
                for (int i = 0; i < whole; ++i)
                    for (int c = 0; c < layer.n_out; ++c)
                        results[layer.applied + i * layer.n_out + c] = target[i * layer.target_row + c];
            if (layer.activation == 0) continue;
            if (layer.target_row == layer.n_out)
                activate(layer.activation, target, whole * layer.n_out);
            else
                for (int i = 0; i < whole; ++i) activate(layer.activation, target + i * layer.target_row, layer.n_out);
        }
    };
    // Whether the outputs are one after the other in one buffer
    const int n_outputs = program.outputs.shape[0];
    bool is_row = true;
    for (int c = 1; c < n_outputs; ++c) {
        const auto before = program.outputs.data[c - 1], output = program.outputs.data[c];
        is_row = is_row && output.at == before.at + 1 && output.row == before.row && output.moves == before.moves;
    }
    auto store = [&](int begin, int first, int rows) {
        float* out = (float*)call.out + (size_t)(begin + first) * n_outputs;
        if (is_row && n_outputs >= 8) {
            const auto output = program.outputs.data[0];
            const float* source = place(output.at, output.row, output.moves, first);
            for (int i = 0; i < rows; ++i) copy_row(source + i * output.row, out + i * n_outputs, n_outputs);
            return;
        }
        for (int c = 0; c < n_outputs; ++c) {
            const auto output = program.outputs.data[c];
            const float* source = place(output.at, output.row, output.moves, first);
            for (int i = 0; i < rows; ++i) out[i * n_outputs + c] = source[i * output.row];
        }
    };
"""

_INFER = """
    pad(call.stretch);
    pack();
    for (int begin; (begin = NRC_NEXT(call) * call.stretch) < call.n;) {
        const int end = begin + call.stretch < call.n ? begin + call.stretch : call.n;
        encode(begin, end, slab + program.planes - begin, program.stretch);
        for (int first = 0; first < end - begin; first += program.block) {
            const int left = end - begin - first, rows = left < program.block ? left : program.block;
            choose_results(begin + first);
            apply(first, rows);
            store(begin, first, rows);
        }
    }
"""

_VIEWS = """
    struct View { char* data; long long strides[2]; };
    struct Table { float* data; };
"""


def _filled(text: str, dims: int, features: int, **more: str) -> str:
    """A C++ snippet with the values of a grid in place of `$dims` and `$features`, and values of `more` in place of its keys."""
    values = {"dims": str(dims), "features": str(features), **more}
    for name, value in values.items():
        text = text.replace("${" + name + "}", value).replace("$" + name, value)
    return text


def _preamble(grids: tuple[tuple[int, int], ...]) -> str:
    bodies = [_filled(_GRID, dims, features, body=forward_snippet(dims, features)) for dims, features in grids]
    calls = [_filled(_GRID_CALL, dims, features) for dims, features in grids]
    encode = _ENCODE.replace("$grids", "".join(calls))
    return "".join([VECTORS, PRODUCTS, FUNCTIONS, ACTIVATIONS, _VIEWS, *bodies, _NAMES, POINTWISE, encode, _LAYERS])


@cache
def infer_kernel(grids: tuple[tuple[int, int], ...]) -> wp.Kernel:
    """The inference kernel for programs whose grids have these (dimensions, features), in a module of its own."""
    module = _module("infer", grids)

    @wp.func_native(_preamble(grids) + _INFER)
    def run(item: int, program: ProgramData, call: Call): ...

    @wp.kernel(module=module, enable_backward=False)
    def infer(item: int, program: ProgramData, calls: wp.array[Call]):
        run(item, program, calls[0])

    return infer


@dataclass(frozen=True)
class TrainingKernels:
    """The kernels of training.

    Attributes:
        descend: The forward and the backward pass, one piece of work per group of stretches. Then the sums of the weights'
            gradients, one piece per slice. If they are for an optimizer, Adam's step follows them, and the sums of the grids'
            gradients, one piece per region; all this for several batches in turn, until a loss or a gradient is not finite.
        read_averages: A copy of the averages of all parameters, up to date, one piece per stretch of them.
    """

    descend: wp.Kernel
    read_averages: wp.Kernel


@cache
def training_kernels(grids: tuple[tuple[int, int], ...]) -> TrainingKernels:
    """The training kernels for programs whose grids have these (dimensions, features), in a module of their own."""
    module = _module("train", grids)

    adds = "".join(_filled(ADD, *grid, body=add_snippet(*grid)) for grid in grids)
    calls = "".join(_filled(ADD_CALL, *grid) for grid in grids)
    updating = UPDATE_REGION.replace("$adds", adds).replace("$calls", calls)

    @wp.func_native(_preamble(grids) + DERIVATIVES + LOSSES + DESCEND)
    def both_passes(item: int, program: ProgramData, call: Call, step: Step): ...

    @wp.func_native(VECTORS + AWAIT_GRADIENTS)
    def await_gradients(call: Call, step: Step) -> bool: ...

    @wp.func_native(VECTORS + "NRC_AWAIT(call, 1, step.groups);")
    def await_groups(call: Call, step: Step): ...

    @wp.func_native(VECTORS + "return NRC_COUNT(call, 2, __ATOMIC_RELAXED);")
    def next_piece(call: Call) -> int: ...

    @wp.func_native(VECTORS + "NRC_COUNT(call, 3, __ATOMIC_RELEASE);")
    def finish_piece(call: Call): ...

    @wp.func_native(VECTORS + "NRC_AWAIT(call, 3, pieces);")
    def await_pieces(call: Call, pieces: int): ...

    @wp.func_native(VECTORS + SUM_WEIGHTS)
    def weight_sums(piece: int, step: Step): ...

    @wp.func_native(VECTORS + _VIEWS + ADAM + updating)
    def region_update(
        item: int, piece: int, program: ProgramData, call: Call, step: Step, grids: wp.array[GridData], update: Update
    ): ...

    @wp.func_native(VECTORS + ADAM + UPDATE_WEIGHTS)
    def weight_update(piece: int, call: Call, step: Step, update: Update): ...

    @wp.kernel(module=module, enable_backward=False)
    def descend(
        item: int,
        program: ProgramData,
        calls: wp.array[Call],
        steps: wp.array[Step],
        grids: wp.array[GridData],
        updates: wp.array[Update],
        n_regions: int,
        n_slices: int,
    ):
        for s in range(steps[0].n_steps):
            both_passes(item, program, calls[s], steps[s])
            if steps[s].optimizes == 0:
                await_groups(calls[s], steps[s])
                piece = next_piece(calls[s])
                while piece < n_slices:
                    weight_sums(piece, steps[s])
                    piece = next_piece(calls[s])
                return
            if not await_gradients(calls[s], steps[s]):
                return
            piece = next_piece(calls[s])
            while piece < n_regions + n_slices:
                if piece < n_regions:
                    region_update(item, piece, program, calls[s], steps[s], grids, updates[s])
                else:
                    weight_update(piece - n_regions, calls[s], steps[s], updates[s])
                finish_piece(calls[s])
                piece = next_piece(calls[s])
            await_pieces(calls[s], n_regions + n_slices)

    @wp.func_native(VECTORS + ADAM + READ_AVERAGES)
    def averages_of(piece: int, stretch: int, call: Call, update: Update, n_weights: int): ...

    @wp.kernel(module=module, enable_backward=False)
    def read_averages(
        item: int, calls: wp.array[Call], updates: wp.array[Update], n_weights: int, stretch: int, n_pieces: int
    ):
        piece = next_piece(calls[0])
        while piece < n_pieces:
            averages_of(piece, stretch, calls[0], updates[0], n_weights)
            piece = next_piece(calls[0])

    return TrainingKernels(descend, read_averages)


def _module(name: str, grids: tuple[tuple[int, int], ...]) -> wp.Module:
    shapes = "_".join(f"{dims}d_{features}f" for dims, features in grids)
    module = wp.get_module(f"nrc_tracer.nn.fused_cpu_{name}_{shapes or 'plain'}")
    module.options["enable_backward"] = False
    module.options["cpu_compiler_flags"] = compiler_flags()
    return module


def compiler_flags() -> str | None:
    """Clang's options for kernels whose vectors fill the processor's registers; None for Warp's own."""
    flags = wp.config.cpu_compiler_flags
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return flags
    # Without this option, Clang uses vectors of 256 bits, half of an AVX-512 register
    return f"{'-march=native' if flags is None else flags} -mprefer-vector-width=512"
