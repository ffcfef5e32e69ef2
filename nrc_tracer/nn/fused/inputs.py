"""The network's inputs in C++: features from memory, and features of a grid, encoded in the lanes that need them.

A lane holds the columns 2 q and 2 q + 1 of a row, counted from a multiple of 8, with q = lane % 4: with two features per level,
these are one level. So four lanes encode a row, each different levels; nothing is computed twice, and nothing passes through
memory. Gradients have the same layout: the lane that holds a level's gradient adds it to the table.
"""

from __future__ import annotations

from string import Template

from nrc_tracer.nn.fused.plan import GridColumns

_CORNERS = """
    enum { D = $n_dims, F = $n_features, C = 1 << D, GRID = $begin, GRID_END = $end };

    // Weights of a cell's corners around a point, and where in the table they are
    auto corners = [&](int number, const float* point, float* weight, unsigned* index) {
        const auto& level = levels.data[number];
        const bool hashed = level.hashed != 0;
        weight[0] = 1.0f;
        index[0] = 0u;
        NRC_UNROLL for (int d = 0; d < D; ++d) {
            const float p = fmaf(point[d], level.scale, 0.5f), cell = wp::floor(p);
            float high = p - cell;
            if (interpolation == 1) high = high * high * (3.0f - 2.0f * high);
            if (interpolation == 2) high = high * 0.0f;  // NaN stays NaN
            const float low = 1.0f - high;
            const unsigned step = level.multipliers[d], low_term = (unsigned)(int)cell * step, high_term = low_term + step;
            NRC_UNROLL for (int c = 0; c < 1 << d; ++c) {
                const int other = c | 1 << d;
                weight[other] = weight[c] * high;
                weight[c] = weight[c] * low;
                index[other] = hashed ? index[c] ^ high_term : index[c] + high_term;
                index[c] = hashed ? index[c] ^ low_term : index[c] + low_term;
            }
        }
        const unsigned entries = level.entries, mask = level.mask;
        bool over = false;
        NRC_UNROLL for (int c = 0; c < C; ++c) {
            index[c] &= mask;
            over = over || index[c] >= entries;
        }
        if (over) NRC_UNROLL for (int c = 0; c < C; ++c) index[c] %= entries;
        NRC_UNROLL for (int c = 0; c < C; ++c) index[c] = (index[c] + level.offset) * F;
    };
    auto read_point = [&](int row, float* point) {
        NRC_UNROLL for (int d = 0; d < D; ++d)
            point[d] = *(const float*)((const char*)x.data + (size_t)row * x.strides[0] + d * x.strides[1]);
    };
"""

# Two rows per lane at a time, so that the loads of both overlap
_ENCODE = """
        // Encode a pair of columns of two rows per lane
        Fragment h0[ROW_TILES][$tiles];
        NRC_UNROLL for (int m = 0; m < ROW_TILES; ++m) {
            float points[2][$dims][LANES];
            NRC_LANES(i, lane) NRC_UNROLL for (int below = 0; below < 2; ++below) {
                float point[$dims] = {};
                const int row = first + 16 * m + 8 * below + (lane >> 2);
                $read_point
                NRC_UNROLL for (int d = 0; d < $dims; ++d) points[below][d][i] = point[d];
            }
            NRC_UNROLL for (int k = 0; k < $tiles; ++k) NRC_UNROLL for (int side = 0; side < 2; ++side) NRC_LANES(i, lane) {
                const int column = 16 * k + 8 * side + 2 * (lane & 3);
                float values[2][2] = {};
                $values
                NRC_UNROLL for (int below = 0; below < 2; ++below) {
                    const bool inside = first + 16 * m + 8 * below + (lane >> 2) < n;
                    h0[m][k].r[2 * side + below][i] = inside ? Warp::pack(values[below][0], values[below][1]) : 0u;
                }
            }
        }
"""

_FROM_MEMORY = """
                NRC_UNROLL for (int below = 0; below < 2; ++below) {
                    const int row = first + 16 * m + 8 * below + (lane >> 2);
                    const float* features_of = features.data + (size_t)(row < n ? row : n - 1) * features.shape[1];
                    const Pair pair = *(const Pair*)(features_of + column);
                    NRC_UNROLL for (int e = 0; e < 2; ++e) values[below][e] = pair.v[e];
                }
"""

_FROM_GRID = """
                NRC_UNROLL for (int e = 0; e < (F == 1 ? 2 : 1); ++e) if (column + e >= GRID && column + e < GRID_END) {
                    float weight[2][C];
                    unsigned index[2][C];
                    NRC_UNROLL for (int below = 0; below < 2; ++below) {
                        float point[D];
                        NRC_UNROLL for (int d = 0; d < D; ++d) point[d] = points[below][d][i];
                        corners((column + e - GRID) / F, point, weight[below], index[below]);
                    }
                    const float* entries = table.data + (column - GRID) % F;
                    NRC_UNROLL for (int below = 0; below < 2; ++below) {
                        float sum[2] = {};
                        NRC_UNROLL for (int c = 0; c < C; ++c) {
                            const float* entry = entries + index[below][c];
                            const Pair pair = F == 1 ? Pair{{entry[0], 0.0f}} : *(const Pair*)entry;
                            NRC_UNROLL for (int f = 0; f < 2; ++f) sum[f] = fmaf(weight[below][c], pair.v[f], sum[f]);
                        }
                        if (F == 1) values[below][e] = sum[0];
                        else values[below][0] = sum[0], values[below][1] = sum[1];
                    }
                }
"""

_SCATTER = """
                    // Add a pair of columns of two rows per lane to the gradients of the table's entries
                    if (scatter) NRC_UNROLL for (int m = 0; m < ROW_TILES; ++m) NRC_UNROLL for (int side = 0; side < 2; ++side)
                        NRC_UNROLL for (int below = 0; below < 2; ++below) NRC_LANES(i, lane) {
                            const int column = 16 * j + 8 * side + 2 * (lane & 3);
                            const int row = first + 16 * m + 8 * below + (lane >> 2);
                            const float d[2] = {
                                scale * sums[m][side].v[2 * below][i], scale * sums[m][side].v[2 * below + 1][i]};
                            NRC_UNROLL for (int e = 0; e < (F == 1 ? 2 : 1); ++e)
                                if (row < n && column + e >= GRID && column + e < GRID_END) {
                                    float point[D], weight[C];
                                    unsigned index[C];
                                    read_point(row, point);
                                    corners((column + e - GRID) / F, point, weight, index);
                                    float* entries = d_table.data + (column - GRID) % F;
                                    NRC_UNROLL for (int c = 0; c < C; ++c) if (weight[c] != 0.0f) {
                                        if (F == 1) NRC_ADD(entries + index[c], weight[c] * d[e]);
                                        else NRC_ADD2(entries + index[c], weight[c] * d[0], weight[c] * d[1]);
                                    }
                                }
                        }
"""

_ADDITIONS = """
#if !defined(__CUDA_ARCH__)
#define NRC_ADD(address, value) *(address) += value
#define NRC_ADD2(address, a, b) ((address)[0] += a, (address)[1] += b)
#else
#define NRC_ADD(address, value) atomicAdd(address, value)
#if __CUDA_ARCH__ >= 900
#define NRC_ADD2(address, a, b) asm volatile("red.global.add.v2.f32 [%0], {%1, %2};" \\
    :: "l"(__cvta_generic_to_global(address)), "f"(a), "f"(b) : "memory")
#else
#define NRC_ADD2(address, a, b) (atomicAdd(address, a), atomicAdd((address) + 1, b))
#endif
#endif
"""


def corners_text(grid: GridColumns | None) -> str:
    """The text before the loop over rows."""
    if grid is None:
        return ""
    end = grid.begin + grid.n_levels * grid.n_features
    return _ADDITIONS + Template(_CORNERS).substitute(
        n_dims=grid.n_dims, n_features=grid.n_features, begin=grid.begin, end=end
    )


def encode_text(n_input: int, grid: GridColumns | None) -> str:
    """The text that makes the inputs of a warp's rows, from row `first` on, as fragments `h0`."""
    values = _FROM_MEMORY if grid is None or grid.others else ""
    read_point = ""
    if grid is not None:
        values += _FROM_GRID
        read_point = "read_point(row < n ? row : n - 1, point);"
    return Template(_ENCODE).substitute(
        tiles=n_input // 16, dims=1 if grid is None else grid.n_dims, values=values, read_point=read_point
    )


def scatter_text(grid: GridColumns | None) -> str:
    """The text that adds the gradient in `sums`, of input columns from 16 j on, to the gradient of the table."""
    return "" if grid is None else _SCATTER
