"""The forward kernel: a warp takes 32 rows through all layers, with activations in registers and weights in shared memory.

For training it keeps only the encoded inputs, as halfs: 2 bytes per column cost less than encoding again, which takes a hundred
random reads per row. The backward kernel computes hidden activations again: a matrix product costs less than writing and reading
its result.
"""

from dataclasses import dataclass
from functools import cache
from string import Template

import warp as wp

from nrc_tracer.nn.encodings.grid_cells import Level
from nrc_tracer.nn.fused.activations import EXPRESSIONS
from nrc_tracer.nn.fused.fragments import BLOCK, preamble
from nrc_tracer.nn.fused.inputs import corners_text, encode_text
from nrc_tracer.nn.fused.plan import Shape, Variant

_BEGIN = """
#if defined(__CUDA_ARCH__)
    struct alignas(16) Quad { unsigned v[4]; };
    struct alignas(8) Pair { float v[2]; };
#else
    struct Quad { unsigned v[4]; };  // shared memory begins anywhere there
    struct Pair { float v[2]; };
#endif
    struct Activation {
        static CUDA_CALLABLE float hidden(float z) { return $hidden; }
        static CUDA_CALLABLE float output(float z) { return $output; }
        static CUDA_CALLABLE float hidden_backward(float d, float h) { return $hidden_backward; }
        static CUDA_CALLABLE float output_backward(float d, float h) { return $output_backward; }
    };
    enum { ROW_TILES = $row_tiles, ROWS = 16 * WARPS * ROW_TILES };
    const int tiles = (n + ROWS - 1) / ROWS;

    // Bring the weights into shared memory
    unsigned short* shared = (unsigned short*)memory.data.ptr;
    const unsigned short* all_weights = (const unsigned short*)weights.data;
    NRC_THREADS(thread) for (int q = thread; q < $resident / 8; q += 32 * WARPS)
        ((Quad*)shared)[q] = ((const Quad*)all_weights)[q];
    NRC_SYNC;
"""

_HIDDEN = """
        // Layer $number: $n_in -> $n_out
        Fragment h$following[ROW_TILES][$n_out / 16];
        NRC_UNROLL for (int j = 0; j < $n_out / 16; ++j) {
            $product
            NRC_UNROLL for (int m = 0; m < ROW_TILES; ++m) {
                NRC_UNROLL for (int r = 0; r < 4; ++r) NRC_LANES(i, lane) {
                    const Sums& z = sums[m][r >> 1];
                    h$following[m][j].r[r][i] =
                        Warp::pack(Activation::hidden(z.v[2 * (r & 1)][i]), Activation::hidden(z.v[2 * (r & 1) + 1][i]));
                }
                $store
            }
        }
"""

_PRODUCT = """Sums sums[ROW_TILES][2] = {};
            NRC_UNROLL for (int k = 0; k < $n_in / 16; ++k) {
                Fragment b;
                Warp::$get(b, $matrix + (2 * j * ($n_in / 8) + 2 * k) * $block, $block, $n_in / 8 * $block, false);
                NRC_UNROLL for (int m = 0; m < ROW_TILES; ++m) {
                    Warp::multiply(sums[m][0], h$number[m][k], b, 0);
                    Warp::multiply(sums[m][1], h$number[m][k], b, 2);
                }
            }"""

_OUTPUT = """
        // Layer $number: $n_in -> $n_out, the last
        const int columns = out.shape[1];
        NRC_UNROLL for (int j = 0; j < $n_out / 16; ++j) {
            $product
            NRC_UNROLL for (int m = 0; m < ROW_TILES; ++m) NRC_UNROLL for (int side = 0; side < 2; ++side)
                NRC_UNROLL for (int v = 0; v < 4; ++v) NRC_LANES(i, lane) {
                    const int row = first + 16 * m + 8 * (v >> 1) + (lane >> 2);
                    const int column = 16 * j + 8 * side + 2 * (lane & 3) + (v & 1);
                    if (row < n && column < columns)
                        out.data[(size_t)row * columns + column] = Activation::output(sums[m][side].v[v][i]);
                }
        }
"""

_FORWARD = """
    for (int tile = block; tile < tiles; tile += blocks) NRC_WARPS(w, warp) {
        const int first = (tile * WARPS + warp) * 16 * ROW_TILES;
        $encode
        if (keep) NRC_UNROLL for (int m = 0; m < ROW_TILES; ++m) NRC_UNROLL for (int k = 0; k < $input_tiles; ++k)
            NRC_LANES(i, lane) {
                const Fragment& h = h0[m][k];
                const size_t place = ((size_t)(first / 16 + m) * $input_tiles + k) * 32 + lane;
                ((Quad*)kept.data)[place] = Quad{{h.r[0][i], h.r[1][i], h.r[2][i], h.r[3][i]}};
            }
        $layers
    }
"""


def begin_text(variant: Variant, resident: int) -> str:
    """The common beginning of both kernels, which copies the first `resident` weights to shared memory."""
    shape = variant.shape
    hidden, output = EXPRESSIONS[shape.activation], EXPRESSIONS[shape.output_activation]
    return preamble(variant.tiling.warps) + Template(_BEGIN).substitute(
        hidden=hidden.value,
        output=output.value,
        hidden_backward=hidden.backward,
        output_backward=output.backward,
        row_tiles=variant.tiling.row_tiles,
        resident=resident,
    )


def source(shape: Shape, layer: int, resident: int) -> dict[str, object]:
    """The size of a layer's matrix, the place of its weights, and how they are fetched."""
    n_out, n_in, begin = shape.matrices[layer]
    inside = layer < resident
    matrix = f"({'shared' if inside else 'all_weights'} + {begin})"
    return {"n_in": n_in, "n_out": n_out, "number": layer, "following": layer + 1, "block": BLOCK} | {
        "matrix": matrix,
        "get": "load" if inside else "fetch",
    }


def hidden_text(shape: Shape, layer: int, resident: int, store: str = "") -> str:
    """The text of a hidden layer, from fragments `h{layer}` to those of the next layer; `store` handles each of these."""
    values = source(shape, layer, resident)
    return Template(_HIDDEN).substitute(values, product=product_text(values), store=store)


def product_text(values: dict[str, object]) -> str:
    """The text that computes `sums`, 16 columns of a layer."""
    return Template(_PRODUCT).substitute(values)


def forward_snippet(variant: Variant) -> str:
    """The kernel's body."""
    shape, resident = variant.shape, variant.resident_layers()
    layers = "".join(hidden_text(shape, layer, resident) for layer in range(shape.n_hidden_layers))
    values = source(shape, shape.n_hidden_layers, resident)
    layers += Template(_OUTPUT).substitute(values, product=product_text(values))
    body = Template(_FORWARD).substitute(
        encode=encode_text(shape.n_input, variant.grid), layers=layers, input_tiles=shape.n_input // 16
    )
    return begin_text(variant, variant.resident_weights()) + corners_text(variant.grid) + body


@dataclass(frozen=True)
class ForwardKernel:
    """A compiled variant.

    Attributes:
        kernel: Takes (base, blocks, n, ...): see `forward_kernel`.
        shared_bytes: Shared memory of a block.
    """

    kernel: wp.Kernel
    shared_bytes: int


@cache
def forward_kernel(variant: Variant) -> ForwardKernel:
    """The kernel for a variant, in a module of its own."""
    SIZE = max(variant.resident_weights() // 2, 4)
    threads = variant.tiling.threads
    module = wp.get_module(f"nrc_tracer.nn.fused_forward_{variant.key}")
    module.options["enable_backward"] = False
    module.options["block_dim"] = threads

    @wp.func_native(forward_snippet(variant))
    def run(
        block: int,
        blocks: int,
        n: int,
        weights: wp.array[wp.float16],
        x: wp.array2d[float],
        features: wp.array2d[float],
        levels: wp.array[Level],
        interpolation: int,
        table: wp.array[float],
        out: wp.array2d[float],
        kept: wp.array[int],
        keep: int,
        memory: wp.tile[float, SIZE],
    ): ...

    @wp.kernel(module=module, enable_backward=False, launch_bounds=threads, grid_stride=False)
    def forward(
        base: int,
        blocks: int,
        n: int,
        count: wp.array[int],
        weights: wp.array[wp.float16],
        x: wp.array2d[float],
        features: wp.array2d[float],
        levels: wp.array[Level],
        interpolation: int,
        table: wp.array[float],
        out: wp.array2d[float],
        kept: wp.array[int],
        keep: int,
    ):
        """Outputs of rows 0 .. n - 1, or of the first `count[0]`. A block of threads takes every `blocks`-th tile of rows.

        On the CPU an item is a block.
        """
        block = (base + wp.tid()) // wp.block_dim()
        rows = int(n)
        if count.shape[0] > 0:
            rows = wp.min(n, count[0])
        memory = wp.tile_empty(shape=wp.static(SIZE), dtype=wp.float32, storage="shared")
        run(block, blocks, rows, weights, x, features, levels, interpolation, table, out, kept, keep, memory)

    return ForwardKernel(forward, 4 * SIZE)
