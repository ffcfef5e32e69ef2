"""The fused kernels, assembled from C++ snippets.

An item of inference takes every `items`-th stretch of points. An item of both training passes takes every `items`-th group of
stretches. Each of these items works in a slab of its own.
"""

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
from nrc_tracer.nn.fused_cpu.update_snippets import ADAM, ADD, ADD_CALL, UPDATE_REGION, UPDATE_WEIGHTS
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
    auto pad = [&]() {
        for (int p = 0; p < n_parts; ++p) {
            const auto part = program.parts.data[p];
            for (int i = 0; i < program.stretch; ++i)
                for (int c = part.padding_begin; c < part.padding_end; ++c)
                    slab[part.buffer + (long long)i * part.row + c] = part.padding;
        }
    };
    auto encode = [&](int begin, int end) {
        for (int p = 0; p < n_parts; ++p) {
            const auto part = program.parts.data[p];
            float* rows = slab + part.buffer;
            if (part.kind != 0) {
                if (part.kind > 0) encode_pointwise(part, x, n_inputs, begin, end, rows, part.row);
                continue;
            }
            const View points = {(char*)(x + part.input), {4ll * n_inputs, 4ll}};
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
    auto place = [&](int at, int row, int moves, int first) { return slab + at + (moves ? (long long)first * row : 0); };
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
                        slab[layer.applied + i * layer.n_out + c] = target[i * layer.target_row + c];
            if (layer.activation == 0) continue;
            if (layer.target_row == layer.n_out)
                activate(layer.activation, target, whole * layer.n_out);
            else
                for (int i = 0; i < whole; ++i) activate(layer.activation, target + i * layer.target_row, layer.n_out);
        }
    };
    const int n_outputs = program.outputs.shape[0];
    auto store = [&](int begin, int first, int rows) {
        float* out = (float*)call.out + (size_t)(begin + first) * n_outputs;
        for (int c = 0; c < n_outputs; ++c) {
            const auto output = program.outputs.data[c];
            const float* source = place(output.at, output.row, output.moves, first);
            for (int i = 0; i < rows; ++i) out[i * n_outputs + c] = source[i * output.row];
        }
    };
"""

_INFER = """
    pad();
    pack();
    for (int begin = item * program.stretch; begin < call.n; begin += call.items * program.stretch) {
        const int end = begin + program.stretch < call.n ? begin + program.stretch : call.n;
        encode(begin, end);
        for (int first = 0; first < end - begin; first += program.block) {
            const int left = end - begin - first, rows = left < program.block ? left : program.block;
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
    """A C++ snippet with the values of a grid in place of `$dims` and `$features`, and those of `more` likewise."""
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
    def infer(base: int, program: ProgramData, call: Call):
        run(base + wp.tid(), program, call)

    return infer


@dataclass(frozen=True)
class TrainingKernels:
    """The kernels of a training step. Items are numbered from 0 in each.

    Attributes:
        descend: The forward and the backward pass; the items share the groups of stretches.
        sum_weights: The sums of the weights' gradients; one item per slice of the weights.
        advance: The sums of the gradients of grids and weights, and Adam's step; one item per region, then one per slice.
    """

    descend: wp.Kernel
    sum_weights: wp.Kernel
    advance: wp.Kernel


@cache
def training_kernels(grids: tuple[tuple[int, int], ...]) -> TrainingKernels:
    """The training kernels for programs whose grids have these (dimensions, features), in a module of their own."""
    module = _module("train", grids)

    adds = "".join(_filled(ADD, *grid, body=add_snippet(*grid)) for grid in grids)
    calls = "".join(_filled(ADD_CALL, *grid) for grid in grids)
    updating = UPDATE_REGION.replace("$adds", adds).replace("$calls", calls)
    head = VECTORS + _VIEWS

    @wp.func_native(_preamble(grids) + DERIVATIVES + LOSSES + DESCEND)
    def both_passes(item: int, program: ProgramData, call: Call, step: Step): ...

    @wp.func_native(VECTORS + SUM_WEIGHTS)
    def weight_sums(item: int, step: Step): ...

    @wp.func_native(head + ADAM + updating)
    def region_update(
        item: int, program: ProgramData, call: Call, step: Step, grids: wp.array[GridData], update: Update
    ): ...

    @wp.func_native(head + ADAM + UPDATE_WEIGHTS)
    def weight_update(item: int, call: Call, step: Step, update: Update): ...

    @wp.kernel(module=module, enable_backward=False)
    def descend(base: int, program: ProgramData, call: Call, step: Step):
        both_passes(base + wp.tid(), program, call, step)

    @wp.kernel(module=module, enable_backward=False)
    def sum_weights(base: int, step: Step):
        weight_sums(base + wp.tid(), step)

    @wp.kernel(module=module, enable_backward=False)
    def advance(
        base: int,
        program: ProgramData,
        call: Call,
        step: Step,
        grids: wp.array[GridData],
        update: Update,
        n_regions: int,
    ):
        item = base + wp.tid()
        if item < n_regions:
            region_update(item, program, call, step, grids, update)
        else:
            weight_update(item - n_regions, call, step, update)

    return TrainingKernels(descend, sum_weights, advance)


def _module(name: str, grids: tuple[tuple[int, int], ...]) -> wp.Module:
    shapes = "_".join(f"{dims}d_{features}f" for dims, features in grids)
    module = wp.get_module(f"nrc_tracer.nn.fused_cpu_{name}_{shapes or 'plain'}")
    module.options["enable_backward"] = False
    flags = wp.config.cpu_compiler_flags
    if platform.machine().lower() in ("x86_64", "amd64"):
        # Without this flag, Clang uses vectors of 256 bits, half of an AVX-512 register
        default = "-march=native" if flags is None else flags
        module.options["cpu_compiler_flags"] = f"{default} -mprefer-vector-width=512"
    return module
