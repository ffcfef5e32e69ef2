"""The backward kernel: hidden activations are computed again, then all gradients layer by layer, in one pass over the rows.

The inputs of all layers stay in shared memory for a block's rows: a weight's gradient is a sum over rows, which different warps
hold, so each warp takes a share of the matrix and goes over all rows of the block. The gradient of a layer's output overwrites
that output. A block's sums stay in registers from its first row to its last; if there are too many, they are added to memory
that only this block writes. A second kernel adds the blocks in order, so weight gradients are the same bits every time. Gradients
of a grid are added by atomics, in any order.
"""

from dataclasses import dataclass
from functools import cache
from string import Template

import warp as wp

from nrc_tracer.nn.encodings.grid_cells import Level
from nrc_tracer.nn.fused.forward import begin_text, hidden_text, product_text, source
from nrc_tracer.nn.fused.fragments import BLOCK
from nrc_tracer.nn.fused.inputs import corners_text, scatter_text
from nrc_tracer.nn.fused.plan import Variant

_SUMS = """
    Sums parts$number[HERE][$own_rows][$group][2] = {};"""

_BEGIN_TILE = """
    float magnitudes[HERE][LANES] = {};
    for (int tile = block; tile < tiles; tile += blocks) {
        $gradients
        NRC_WARPS(w, warp) {
            const int own = 2 * ROW_TILES * warp, first = (tile * WARPS + warp) * 16 * ROW_TILES;
            Fragment h0[ROW_TILES][$input_tiles];
            NRC_UNROLL for (int m = 0; m < ROW_TILES; ++m) NRC_UNROLL for (int k = 0; k < $input_tiles; ++k) {
                NRC_LANES(i, lane) {
                    const size_t place = ((size_t)(first / 16 + m) * $input_tiles + k) * 32 + lane;
                    const Quad h = ((const Quad*)kept.data)[place];
                    NRC_UNROLL for (int r = 0; r < 4; ++r) h0[m][k].r[r][i] = h.v[r];
                }
                Warp::store(h0[m][k], $inputs + ((own + 2 * m) * 2 * $input_tiles + 2 * k) * $block,
                    2 * $input_tiles * $block, $block);
            }
            $layers
        }
        NRC_SYNC;
"""

_STORE = """Warp::store(h$following[m][j], $place + ((own + 2 * m) * ($n_out / 8) + 2 * j) * $block,
                    $n_out / 8 * $block, $block);"""

_OUTPUT = """
            // Layer $number: $n_in -> $n_out, the last, and the gradient of what its activation was applied to
            const int columns = d_out.shape[1];
            NRC_UNROLL for (int j = 0; j < $n_out / 16; ++j) {
                $product
                NRC_UNROLL for (int m = 0; m < ROW_TILES; ++m) {
                    NRC_UNROLL for (int r = 0; r < 4; ++r) NRC_LANES(i, lane) {
                        const int row = first + 16 * m + 8 * (r & 1) + (lane >> 2);
                        const int column = 16 * j + 8 * (r >> 1) + 2 * (lane & 3);
                        float d[2] = {};
                        NRC_UNROLL for (int e = 0; e < 2; ++e) if (row < n && column + e < columns) {
                            const float y = Activation::output(sums[m][r >> 1].v[2 * (r & 1) + e][i]);
                            d[e] = Activation::output_backward(d_out.data[(size_t)row * columns + column + e], y);
                        }
                        d$following[w][m][j].r[r][i] = Warp::pack(d[0], d[1]);
                    }
                    Warp::store(d$following[w][m][j], $place + ((own + 2 * m) * ($n_out / 8) + 2 * j) * $block,
                        $n_out / 8 * $block, $block);
                }
            }
"""

# `d`, the gradient of the layer's output before its activation, is in registers and also overwrites that output
_BACKWARD = """
        // Layer $number: its weights' gradient, and its input's
        NRC_WARPS(w, warp) {
            const int own = 2 * ROW_TILES * warp, first = (tile * WARPS + warp) * 16 * ROW_TILES;
            NRC_NO_UNROLL for (int part = 0; part < $own_columns; part += $group) {
            $own_sums
            for (int k = 0; k < ROWS / 16; ++k) {
                Fragment a[$own_rows];
                NRC_UNROLL for (int p = 0; p < $own_rows; ++p) if ($rows_even || warp % $down + $down * p < $rows)
                    Warp::load(a[p], $outputs + (2 * k * ($n_out / 8) + 2 * (warp % $down + $down * p)) * $block,
                        $block, $n_out / 8 * $block, true);
                NRC_UNROLL for (int q = 0; q < $group; ++q) if ($columns_even || warp / $down + $across * (part + q) < $columns) {
                    Fragment b;
                    Warp::load(b, $inputs + (2 * k * ($n_in / 8) + 2 * (warp / $down + $across * (part + q))) * $block,
                        $n_in / 8 * $block, $block, true);
                    NRC_UNROLL for (int p = 0; p < $own_rows; ++p) if ($rows_even || warp % $down + $down * p < $rows) {
                        Warp::multiply(parts$number[w][p][q][0], a[p], b, 0);
                        Warp::multiply(parts$number[w][p][q][1], a[p], b, 2);
                    }
                }
            }
            $end_sums
            }
            $input_gradient
        }
        $place_gradient
"""

_INPUT_GRADIENT = """
            $condition NRC_UNROLL for (int j = 0; j < $n_in / 16; ++j) {
                Sums sums[ROW_TILES][2] = {};
                NRC_UNROLL for (int k = 0; k < $n_out / 16; ++k) {
                    Fragment b;
                    Warp::$get(b, $matrix + (2 * k * ($n_in / 8) + 2 * j) * $block, $n_in / 8 * $block, $block, true);
                    NRC_UNROLL for (int m = 0; m < ROW_TILES; ++m) {
                        Warp::multiply(sums[m][0], d$following[w][m][k], b, 0);
                        Warp::multiply(sums[m][1], d$following[w][m][k], b, 2);
                    }
                }
                $use
            }
"""

_THROUGH_ACTIVATION = """
                NRC_UNROLL for (int m = 0; m < ROW_TILES; ++m) {
                    Fragment h;
                    Warp::load(h, $inputs + ((own + 2 * m) * ($n_in / 8) + 2 * j) * $block, $n_in / 8 * $block, $block, false);
                    NRC_UNROLL for (int r = 0; r < 4; ++r) NRC_LANES(i, lane) {
                        const Sums& d = sums[m][r >> 1];
                        d$number[w][m][j].r[r][i] = Warp::pack(
                            Activation::hidden_backward(d.v[2 * (r & 1)][i], Warp::unpack(h.r[r][i], 0)),
                            Activation::hidden_backward(d.v[2 * (r & 1) + 1][i], Warp::unpack(h.r[r][i], 1)));
                    }
                }
"""

_PLACE_GRADIENT = """
        NRC_SYNC;
        NRC_WARPS(w, warp) {
            const int own = 2 * ROW_TILES * warp;
            NRC_UNROLL for (int m = 0; m < ROW_TILES; ++m) NRC_UNROLL for (int j = 0; j < $n_in / 16; ++j)
                Warp::store(d$number[w][m][j], $inputs + ((own + 2 * m) * ($n_in / 8) + 2 * j) * $block,
                    $n_in / 8 * $block, $block);
        }
        NRC_SYNC;
"""

_OF_FEATURES = """
                const int width = d_features.shape[1];
                NRC_UNROLL for (int m = 0; m < ROW_TILES; ++m) NRC_UNROLL for (int side = 0; side < 2; ++side)
                    NRC_UNROLL for (int v = 0; v < 4; ++v) NRC_LANES(i, lane) {
                        const int row = first + 16 * m + 8 * (v >> 1) + (lane >> 2);
                        const int column = 16 * j + 8 * side + 2 * (lane & 3) + (v & 1);
                        const float d = sums[m][side].v[v][i];
                        magnitudes[w][i] += d < 0.0f ? -d : d;
                        if (width && row < n) d_features.data[(size_t)row * width + column] = d;
                    }
"""

_FLUSH = """
            // Hand over sums of the weights' gradient
            NRC_UNROLL for (int p = 0; p < $own_rows; ++p) NRC_UNROLL for (int q = 0; q < $group; ++q) {
                const int row = 16 * (warp % $down + $down * p), column = 16 * (warp / $down + $across * (part + q));
                if (row < $n_out && column < $n_in)
                    NRC_UNROLL for (int side = 0; side < 2; ++side) NRC_UNROLL for (int v = 0; v < 4; ++v) NRC_LANES(i, lane) {
                        const int at = (row + 8 * (v >> 1) + (lane >> 2)) * $n_in + column + 8 * side + 2 * (lane & 3) + (v & 1);
                        d_weights[$first_weight + at] $assign parts$number[w][p][q][side].v[v][i];
                    }
            }
"""

_END = """
    }
    NRC_WARPS(w, warp) {
        const int part = 0;
        $flush
        NRC_LANES(i, lane) magnitude.data[(block * WARPS + warp) * 32 + lane] = magnitudes[w][i];
    }
"""


def backward_snippet(variant: Variant) -> str:
    """The kernel's body."""
    shape, taken = variant.shape, variant.activations
    resident = variant.resident_layers(taken)
    n_layers = len(shape.matrices)
    places = _places(variant)

    sums, flush, gradients, backward = "", "", "", ""
    layers = ""
    for layer, share in enumerate(variant.shares):
        values = _layer_values(variant, layer, resident, places)
        declared = Template(_SUMS).substitute(values)
        sums += declared if variant.sums_stay else ""
        flush += Template(_FLUSH).substitute(values, assign="=") if variant.sums_stay else ""
        gradients += f"Fragment d{layer + 1}[HERE][ROW_TILES][{share.rows}];\n        "
        if layer < n_layers - 1:
            layers += hidden_text(shape, layer, resident, Template(_STORE).substitute(values, place=places[layer + 1]))
        else:
            layers += Template(_OUTPUT).substitute(values, product=product_text(values), place=places[layer + 1])
    for layer in reversed(range(n_layers)):
        values = _layer_values(variant, layer, resident, places)
        # Sums that do not stay are for one tile of rows and one warp at a time
        begin = "" if variant.sums_stay else Template(_SUMS).substitute(values)
        end = "" if variant.sums_stay else Template(_FLUSH).substitute(values, assign="+=")
        backward += Template(_BACKWARD).substitute(
            values,
            own_sums=begin,
            end_sums=end,
            input_gradient=Template(_INPUT_GRADIENT).substitute(
                values,
                condition="" if layer else "if (scatter || d_features.shape[1])",
                use=Template(
                    _THROUGH_ACTIVATION if layer else _OF_FEATURES + scatter_text(variant.grid)
                ).safe_substitute(values),
            ),
            place_gradient=Template(_PLACE_GRADIENT if layer else "NRC_SYNC;").substitute(values),
        )
    begin_tile = Template(_BEGIN_TILE).substitute(
        gradients=gradients, input_tiles=shape.n_input // 16, inputs=places[0], layers=layers, block=BLOCK
    )
    return (
        begin_text(variant, variant.resident_weights(taken))
        + f"    unsigned short* kept_layers = shared + {variant.resident_weights(taken)};\n"
        + f"    float* d_weights = parts.data + (size_t)block * {shape.n_params};\n"
        + corners_text(variant.grid)
        + sums
        + begin_tile
        + backward
        + Template(_END).substitute(flush=flush)
    )


def _places(variant: Variant) -> list[str]:
    """The place of each layer's input, and of the output, for a block's rows."""
    shape = variant.shape
    columns = [0, shape.n_input, *[shape.width] * shape.n_hidden_layers]
    return [f"(kept_layers + {variant.tiling.rows * sum(columns[: i + 1])})" for i in range(len(columns))]


def _layer_values(variant: Variant, layer: int, resident: int, places: list[str]) -> dict[str, object]:
    share = variant.shares[layer]
    values = source(variant.shape, layer, resident)
    return values | {
        "inputs": places[layer],
        "outputs": places[layer + 1],
        "first_weight": variant.shape.matrices[layer][2],
        "rows": share.rows,
        "columns": share.columns,
        "own_rows": share.own_rows,
        "own_columns": share.own_columns,
        "down": share.down,
        "across": share.across,
        "rows_even": int(share.rows % share.down == 0),
        "group": variant.group(layer),
        "columns_even": int(share.columns % share.across == 0 and share.own_columns % variant.group(layer) == 0),
    }


@dataclass(frozen=True)
class BackwardKernel:
    """A compiled variant.

    Attributes:
        kernel: Takes (base, blocks, n, ...): see `backward_kernel`.
        shared_bytes: Shared memory of a block.
    """

    kernel: wp.Kernel
    shared_bytes: int


@cache
def backward_kernel(variant: Variant) -> BackwardKernel:
    """The kernel for a variant, in a module of its own."""
    SIZE = (variant.resident_weights(variant.activations) + variant.activations) // 2
    threads = variant.tiling.threads
    module = wp.get_module(f"nrc_tracer.nn.fused_backward_{variant.key}")
    module.options["enable_backward"] = False
    module.options["block_dim"] = threads

    @wp.func_native(backward_snippet(variant))
    def run(
        block: int,
        blocks: int,
        n: int,
        weights: wp.array[wp.float16],
        kept: wp.array[int],
        d_out: wp.array2d[float],
        x: wp.array2d[float],
        levels: wp.array[Level],
        interpolation: int,
        scale: float,
        scatter: int,
        d_table: wp.array[float],
        d_features: wp.array2d[float],
        parts: wp.array[float],
        magnitude: wp.array[float],
        memory: wp.tile[float, SIZE],
    ): ...

    @wp.kernel(module=module, enable_backward=False, launch_bounds=threads, grid_stride=False)
    def backward(
        base: int,
        blocks: int,
        n: int,
        weights: wp.array[wp.float16],
        kept: wp.array[int],
        d_out: wp.array2d[float],
        x: wp.array2d[float],
        levels: wp.array[Level],
        interpolation: int,
        scale: float,
        scatter: int,
        d_table: wp.array[float],
        d_features: wp.array2d[float],
        parts: wp.array[float],
        magnitude: wp.array[float],
    ):
        """Gradients of rows 0 .. n - 1. A block writes its weight gradients to a row of `parts`. On the CPU an item is one."""
        block = (base + wp.tid()) // wp.block_dim()
        memory = wp.tile_empty(shape=wp.static(SIZE), dtype=wp.float32, storage="shared")
        run(
            block, blocks, n, weights, kept, d_out, x, levels, interpolation, scale, scatter, d_table, d_features, parts,
            magnitude, memory,
        )  # fmt: skip

    return BackwardKernel(backward, 4 * SIZE)
