"""The two hot loops of the grid in C++: a level's values, and the sums of its gradients, for a stretch of points.

They go into Warp kernels by `wp.func_native`, on both devices. On the CPU sixteen points are processed at a time in vectors
(Clang's `ext_vector_type`, compiled to the processor's instructions): first the indices and weights of all their corners, then
the loads and additions one by one. Scalar code took three times as long. On CUDA a vector has one element.
"""

from __future__ import annotations

from string import Template

SORTED_FROM = 16
"""A region's list is sorted if more than one in this many of the region's entries is touched."""

NEAR = 1 << 19
"""Size up to which a table is not prefetched [bytes]. It fits the processor's second cache, whose latency other work hides."""

_CORNERS = """
#if defined(__CUDA_ARCH__)
    const int W = 1;
    typedef float Floats;
    typedef unsigned Unsigneds;
    typedef float Loaded;
#define NRC_BARRIER
#define NRC_LANE(vector, j) (vector)
#define NRC_FMA(a, b, c) fmaf(a, b, c)
#define NRC_FLOOR(a) floorf(a)
#define NRC_CELL(a) ((unsigned)(int)(a))
#define NRC_ANY(condition) (condition)
#define NRC_PREFETCH(address)
#else
    const int W = 16;
    typedef float Floats __attribute__((ext_vector_type(16)));
    typedef int Ints __attribute__((ext_vector_type(16)));
    typedef unsigned Unsigneds __attribute__((ext_vector_type(16)));
    typedef float Loaded __attribute__((ext_vector_type(16), aligned(4)));
#define NRC_BARRIER __asm__ volatile("" : : : "memory")
#if defined(__AVX512F__) && __has_builtin(__builtin_ia32_gathersiv8df)
#define NRC_GATHER_PAIRS
#endif
#define NRC_LANE(vector, j) (vector)[j]
#define NRC_FMA(a, b, c) __builtin_elementwise_fma(a, b, c)
#define NRC_FLOOR(a) __builtin_elementwise_floor(a)
#define NRC_CELL(a) ((Unsigneds)__builtin_convertvector(a, Ints))
#define NRC_ANY(condition) (__builtin_reduce_or(condition) != 0)
#define NRC_PREFETCH(address) __builtin_prefetch(address)
#endif
    const int D = $dims, F = $features, C = 1 << D;
    const Floats zero = 0.0f, half = 0.5f, one = 1.0f, scale = level.scale;
    const unsigned entries = level.entries, mask = level.mask;
    const bool hashed = level.hashed != 0, is_far = $is_far;
    const char* rows = (const char*)x.data;
    const size_t row_stride = x.strides[0], column_stride = x.strides[1];

    // Corners of the next points, and of the points before them, whose entries have been prefetched meanwhile
    Floats weights[2][C];
    Unsigneds indices[2][C];
    for (int i = begin, turn = 0; i < end + W; i += W, turn ^= 1) {
        if (i < end) {
            Floats* weight = weights[turn];
            Unsigneds* index = indices[turn];
            weight[0] = one;
            index[0] = 0u;
            for (int d = 0; d < D; ++d) {
                // Find the cell of each point along this dimension, and where the point is in it
                Floats value = zero;
                if (row_stride == sizeof(float) && i + W <= end) {
                    value = *(const Loaded*)(rows + i * row_stride + d * column_stride);
                } else {
                    for (int j = 0; j < W; ++j) {
                        const int row = i + j < end ? i + j : i;
                        NRC_LANE(value, j) = *(const float*)(rows + row * row_stride + d * column_stride);
                    }
                }
                const Floats p = NRC_FMA(value, scale, half);
                const Floats cell = NRC_FLOOR(p);
                Floats high = p - cell;
                if (interpolation == 1) {
                    high = high * high * (3.0f * one - 2.0f * high);
                } else if (interpolation == 2) {
                    high = high * zero;  // NaN stays NaN
                }
                const unsigned step = level.multipliers[d];
                const Unsigneds low_term = NRC_CELL(cell) * step, high_term = low_term + step;

                // Split every corner so far into a low and a high one
                const Floats low = one - high;
                for (int c = 0; c < 1 << d; ++c) {
                    const int other = c | 1 << d;
                    weight[other] = weight[c] * high;
                    weight[c] = weight[c] * low;
                    index[other] = hashed ? index[c] ^ high_term : index[c] + high_term;
                    index[c] = hashed ? index[c] ^ low_term : index[c] + low_term;
                }
            }
            for (int c = 0; c < C; ++c) {
                if (hashed) {
                    index[c] = index[c] & mask;
                } else if (NRC_ANY(index[c] >= entries)) {
                    index[c] = index[c] % entries;
                }
            }
            if (is_far) {
                // Read the indices back from memory: taking them out of vectors would take longer
                NRC_BARRIER;
                for (int k = 0; k < C * W; ++k) {
                    const size_t at = (size_t)level.offset + ((const unsigned*)index)[k];
                    $prefetch
                }
            }
        }
        if (i == begin) continue;
        const int first = i - W, n = end - first < W ? end - first : W;
        const float* weight = (const float*)weights[turn ^ 1];
        const unsigned* index = (const unsigned*)indices[turn ^ 1];
"""

_FORWARD = """
#if defined(NRC_GATHER_PAIRS)
        if (F == 2) {
            // Both features of an entry are one number of 64 bits, of which the processor reads eight at a time
            typedef double Pairs __attribute__((ext_vector_type(8)));
            typedef float Entry __attribute__((ext_vector_type(2), aligned(4)));
            typedef int Places __attribute__((ext_vector_type(8), aligned(4)));
            const float* first_entry = entry_data + (size_t)level.offset * F;
            Floats sums[2] = {zero, zero};
            #pragma unroll
            for (int c = 0; c < C; ++c) {
                const Floats w = *(const Floats*)(weight + c * W);
                const Floats twice[2] = {
                    __builtin_shufflevector(w, w, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7),
                    __builtin_shufflevector(w, w, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15),
                };
                #pragma unroll
                for (int part = 0; part < 2; ++part) {
                    const Places places = *(const Places*)(index + c * W + 8 * part);
                    const Pairs pairs = __builtin_ia32_gathersiv8df((Pairs)0.0, first_entry, places, (unsigned char)0xff, 8);
                    sums[part] = NRC_FMA(twice[part], __builtin_bit_cast(Floats, pairs), sums[part]);
                }
            }
            char* row = (char*)out.data + (size_t)first * out.strides[0] + column * out.strides[1];
            for (int j = 0; j < n; ++j, row += out.strides[0]) {
                const Entry value = ((const Entry*)sums)[j];
                *(float*)row = value.x;
                *(float*)(row + out.strides[1]) = value.y;
            }
            continue;
        }
#endif
        // Sum up the features
        for (int j = 0; j < n; ++j) {
            float sum[F];
            for (int f = 0; f < F; ++f) sum[f] = 0.0f;
            for (int c = 0; c < C; ++c) {
                const float w = weight[c * W + j];
                const float* entry = entry_data + ((size_t)level.offset + index[c * W + j]) * F;
                for (int f = 0; f < F; ++f) sum[f] = fmaf(w, entry[f], sum[f]);
            }
            char* row = (char*)out.data + (size_t)(first + j) * out.strides[0];
            for (int f = 0; f < F; ++f) *(float*)(row + (column + f) * out.strides[1]) = sum[f];
        }
    }
"""

_SCATTER = """
        // Add to the gradients of the entries in the region
        for (int j = 0; j < n; ++j) {
            float d_value[F];
            const char* row = (const char*)d_out.data + (size_t)(first + j) * d_out.strides[0];
            for (int f = 0; f < F; ++f) d_value[f] = *(const float*)(row + (column + f) * d_out.strides[1]);
            for (int c = 0; c < C; ++c) {
                const float w = weight[c * W + j];
                const unsigned place = index[c * W + j];
                if (w == 0.0f || place < region.first || place >= region.last) continue;
                const size_t at = (size_t)level.offset + place;
                if (stamp == 0) {
                    float* entry = entry_data + ((long long)at + shift) * F;
#if defined(__CUDA_ARCH__)
                    for (int f = 0; f < F; ++f) atomicAdd(entry + f, w * d_value[f]);
#else
                    for (int f = 0; f < F; ++f) entry[f] += w * d_value[f];
#endif
                    continue;
                }
                const unsigned slot = (unsigned)slots[at];
                if (slot >> slot_bits == (unsigned)stamp) {
                    float* entry = entry_data + ((size_t)shift + (slot & ((1u << slot_bits) - 1u))) * F;
                    for (int f = 0; f < F; ++f) entry[f] += w * d_value[f];
                } else {
                    slots[at] = (int)((unsigned)stamp << slot_bits | (unsigned)count);
                    float* entry = entry_data + ((size_t)shift + count) * F;
                    for (int f = 0; f < F; ++f) entry[f] = w * d_value[f];
                    touched[shift + count++] = (int)at;
                }
            }
        }
    }

    // Where much of the region is touched, sort its list: memory is faster in order than in the order of hashes
    const int size = region.last - region.first, offset = level.offset + region.first;
    if (stamp != 0 && count > size / $sorted_from) {
        const int* marks = slots + offset;
        int* list = touched + shift;
        int length = 0;
        for (int k = 0; length < count; ++k) {
            list[length] = offset + k;
            length += (unsigned)marks[k] >> slot_bits == (unsigned)stamp;
        }
    }
    return count;
"""

_ADD = """
        // Add to the gradients of the entries in the region, and mark their cache lines
        for (int j = 0; j < n; ++j) {
            float d_value[F];
            const char* row = (const char*)d_out.data + (size_t)(first + j) * d_out.strides[0];
            for (int f = 0; f < F; ++f) d_value[f] = *(const float*)(row + (column + f) * d_out.strides[1]);
            for (int c = 0; c < C; ++c) {
                const float w = weight[c * W + j];
                const unsigned k = index[c * W + j] - region.first;
                if (k >= region.last - region.first) continue;
                float* entry = gradient + (size_t)k * F;
                for (int f = 0; f < F; ++f) entry[f] = fmaf(w, d_value[f], entry[f]);
                marks[k / (16 / F)] = 1;
            }
        }
    }
"""


def forward_snippet(n_dims: int, n_features: int) -> str:
    """Body of (level, interpolation, x, begin, end, table, out, column): a level's values into columns of `out`."""
    begin = "const float* entry_data = (const float*)table.data;"
    values = {"dims": n_dims, "features": n_features, "is_far": f"entries > {NEAR // (4 * n_features)}u"}
    return begin + Template(_CORNERS).substitute(values, prefetch="NRC_PREFETCH(entry_data + at * F);") + _FORWARD


def scatter_snippet(n_dims: int, n_features: int) -> str:
    """Body of (level, region, interpolation, x, begin, end, d_out, gradient, shift, lists, stamp, count) -> count: sum the
    gradients of a region's entries, and list the entries that are touched if there is a stamp."""
    begin = """float* entry_data = (float*)gradient.data;
    int* slots = lists.slots.data;
    int* touched = lists.touched.data;
    const int slot_bits = lists.slot_bits, column = region.level * $features;"""
    fetch = "if (stamp) NRC_PREFETCH(slots + at); else NRC_PREFETCH(entry_data + ((long long)at + shift) * F);"
    body = Template(begin + _CORNERS).substitute(dims=n_dims, features=n_features, prefetch=fetch, is_far="true")
    return body + Template(_SCATTER).substitute(sorted_from=SORTED_FROM)


def add_snippet(n_dims: int, n_features: int) -> str:
    """Body of (level, interpolation, x, begin, end, d_out, column, gradient, region, marks): add to the gradients of a region's
    entries, and mark the cache lines of those that are touched by a byte each (CPU only)."""
    fetch = "NRC_PREFETCH(gradient + ((long long)at - level.offset - region.first) * F);"
    is_far = f"region.last - region.first > {NEAR // (4 * n_features)}u"
    return Template(_CORNERS).substitute(dims=n_dims, features=n_features, prefetch=fetch, is_far=is_far) + _ADD
