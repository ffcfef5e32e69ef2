"""The two hot loops of the grid in C++: values of a level, and sums of its gradients, for a stretch of points.

They go into Warp kernels by `wp.func_native`, on both devices. Points are taken W at a time: indices and weights of all their
corners first, in loops that the compiler turns into vector instructions on the CPU, then the loads and additions one by one.
Scalar code took three times as long. On CUDA, W is 1.
"""

from __future__ import annotations

from string import Template

_CORNERS = """
#if defined(__CUDA_ARCH__)
    const int W = 1;
#else
    const int W = 16;
#endif
    const int D = $dims, F = $features, C = 1 << D;
    unsigned low[D][W], index[C][W];
    float high[D][W], weight[C][W];
    const char* rows = (const char*)x.data;
    const int row_stride = x.strides[0], column_stride = x.strides[1];
    for (int i = begin; i < end; i += W) {
        const int n = end - i < W ? end - i : W;

        // Find the cell of each point, and where the point is in it
        for (int d = 0; d < D; ++d) {
            const unsigned multiplier = level.multipliers[d];
            for (int j = 0; j < W; ++j) {
                const int row = i + (j < n ? j : 0);
                const float value = *(const float*)(rows + (size_t)row * row_stride + d * column_stride);
                const float p = fmaf(value, level.scale, 0.5f);
                const float cell = floorf(p);
                low[d][j] = (unsigned)(int)cell * multiplier;
                high[d][j] = p - cell;
            }
            if (interpolation == 1) {
                for (int j = 0; j < W; ++j) high[d][j] = high[d][j] * high[d][j] * (3.0f - 2.0f * high[d][j]);
            } else if (interpolation == 2) {
                for (int j = 0; j < W; ++j) high[d][j] *= 0.0f;  // NaN stays NaN
            }
        }

        // Find index and weight of every corner
        for (int c = 0; c < C; ++c) {
            for (int j = 0; j < W; ++j) weight[c][j] = c & 1 ? high[0][j] : 1.0f - high[0][j];
            for (int j = 0; j < W; ++j) index[c][j] = low[0][j] + (c & 1 ? level.multipliers[0] : 0u);
            for (int d = 1; d < D; ++d) {
                const bool up = c >> d & 1;
                const unsigned step = up ? (unsigned)level.multipliers[d] : 0u;
                for (int j = 0; j < W; ++j) weight[c][j] *= up ? high[d][j] : 1.0f - high[d][j];
                if (level.hashed) {
                    for (int j = 0; j < W; ++j) index[c][j] ^= low[d][j] + step;
                } else {
                    for (int j = 0; j < W; ++j) index[c][j] += low[d][j] + step;
                }
            }
            if (level.hashed) {
                for (int j = 0; j < W; ++j) index[c][j] &= level.mask;
            } else {
                for (int j = 0; j < W; ++j) {
                    if (index[c][j] >= level.entries) index[c][j] %= level.entries;
                }
            }
        }
"""

_FORWARD = """
        // Sum up the features
        for (int j = 0; j < n; ++j) {
            float sum[F];
            for (int f = 0; f < F; ++f) sum[f] = 0.0f;
            for (int c = 0; c < C; ++c) {
                const float* entry = (const float*)table.data + ((size_t)level.offset + index[c][j]) * F;
                for (int f = 0; f < F; ++f) sum[f] = fmaf(weight[c][j], entry[f], sum[f]);
            }
            char* row = (char*)out.data + (size_t)(i + j) * out.strides[0];
            for (int f = 0; f < F; ++f) *(float*)(row + (column + f) * out.strides[1]) = sum[f];
        }
    }
"""

_SCATTER = """
        // Add to the gradients of the entries in the region
        for (int j = 0; j < n; ++j) {
            float d_value[F];
            const char* row = (const char*)d_out.data + (size_t)(i + j) * d_out.strides[0];
            for (int f = 0; f < F; ++f) d_value[f] = *(const float*)(row + (column + f) * d_out.strides[1]);
            for (int c = 0; c < C; ++c) {
                const float w = weight[c][j];
                if (w == 0.0f || index[c][j] < region.first || index[c][j] >= region.last) continue;
                const size_t at = (size_t)level.offset + index[c][j];
                float* entry = (float*)gradient.data + at * F;
                if (stamp == 0) {
#if defined(__CUDA_ARCH__)
                    for (int f = 0; f < F; ++f) atomicAdd(entry + f, w * d_value[f]);
#else
                    for (int f = 0; f < F; ++f) entry[f] += w * d_value[f];
#endif
                } else if (stamps.data[at] == stamp) {
                    for (int f = 0; f < F; ++f) entry[f] += w * d_value[f];
                } else {
                    stamps.data[at] = stamp;
                    for (int f = 0; f < F; ++f) entry[f] = w * d_value[f];
                    touched.data[level.offset + region.first + count++] = (int)at;
                }
            }
        }
    }
    return count;
"""


def forward_snippet(n_dims: int, n_features: int) -> str:
    """Body of (level, interpolation, x, begin, end, table, out, column): a level's values into columns of `out`."""
    return Template(_CORNERS).substitute(dims=n_dims, features=n_features) + _FORWARD


def scatter_snippet(n_dims: int, n_features: int) -> str:
    """Body of (level, interpolation, x, begin, end, d_out, column, gradient, region, stamp, stamps, touched, count) -> count."""
    return Template(_CORNERS).substitute(dims=n_dims, features=n_features) + _SCATTER
