"""C++ of the encodings without parameters, sixteen points at a time; see `vector_snippets`.

A point's features are a row of a buffer; each part of an encoding writes its columns.
"""

from __future__ import annotations

import numpy as np

from nrc_tracer.nn.encodings.spherical_harmonics import first_coefficient, recurrence

MAX_DEGREE = 8
"""Largest degree of spherical harmonics."""


def harmonic_coefficients() -> np.ndarray:
    """Constants of the recurrences of spherical harmonics, float32 [3, MAX_DEGREE, MAX_DEGREE].

    Tables 0 and 1 hold the factors a and b of each band and m. Row 0 of table 2 holds the first coefficient of each m.
    """
    table = np.zeros((3, MAX_DEGREE, MAX_DEGREE), np.float32)
    for m in range(MAX_DEGREE):
        table[2, 0, m] = first_coefficient(m)
        for band in range(m + 1, MAX_DEGREE):
            table[:2, band, m] = recurrence(band, m)
    return table


POINTWISE = """
    // Compute a part without parameters for the points begin .. end - 1; `rows` is the address of the row of point `begin`
    auto encode_pointwise = [=](const auto& part, const float* x, int n_dims, int begin, int end, float* rows, int row)
                                __attribute__((noinline)) {
        if (part.kind == 5) {
            // Identity: the columns are contiguous in inputs and features
            const int columns = part.n_dims;
            const float scale = part.scale, shift = part.shift;
            for (int i = begin; i < end; ++i) {
                const float* from = x + (long long)i * n_dims + part.input;
                float* to = rows + (long long)(i - begin) * row + part.column;
                copy_scaled(from, to, columns, scale, shift);
            }
            return;
        }
        typedef float Quad __attribute__((ext_vector_type(4), aligned(4)));
        for (int i = begin; i < end; i += 16) {
            const int n = end - i < 16 ? end - i : 16;
            float* first = rows + (long long)(i - begin) * row + part.column;
            auto input = [&](int d) NRC_LAMBDA {
                Floats value = 0.0f;
                for (int j = 0; j < n; ++j) value[j] = x[(long long)(i + j) * n_dims + part.input + d];
                return value;
            };
            // Columns are collected in groups of four, and each point gets four values at once. The buffer has room for sixteen
            // points even where fewer are left
            Floats columns[4];
            auto put = [&](int column, Floats value) NRC_LAMBDA {
                columns[column & 3] = value;
                if ((column & 3) < 3) return;
                Floats a[4];
                #pragma unroll
                for (int k = 0; k < 4; k += 2) {
                    const Floats p = columns[k], q = columns[k + 1];
                    a[k] = __builtin_shufflevector(p, q, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
                    a[k + 1] = __builtin_shufflevector(p, q, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
                }
                float* to = first + column - 3;
                #pragma unroll
                for (int k = 0; k < 2; ++k) {
                    const Floats p = a[k], q = a[k + 2];
                    const Floats even = __builtin_shufflevector(p, q, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
                    const Floats odd = __builtin_shufflevector(p, q, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
                    #pragma unroll
                    for (int quarter = 0; quarter < 4; ++quarter) {
                        *(Quad*)(to + (long long)(4 * quarter + 2 * k) * row) = ((const Quad*)&even)[quarter];
                        *(Quad*)(to + (long long)(4 * quarter + 2 * k + 1) * row) = ((const Quad*)&odd)[quarter];
                    }
                }
            };
            // Write the columns of the last group, if it is not whole
            auto finish = [&](int count) NRC_LAMBDA {
                for (int c = count & ~3; c < count; ++c)
                    for (int j = 0; j < n; ++j) first[(long long)j * row + c] = columns[c & 3][j];
            };
            const int size = part.size;
            if (part.kind == 1) {
                // OneBlob: the blob has a radius of one bin, so that it overlaps three bins
                auto cumulative = [](Floats u) NRC_LAMBDA {
                    const Floats s = u * u;
                    return 0.5f + 0.9375f * u * (1.0f - s * (0.6666667f - 0.2f * s));
                };
                auto wrapped = [=](Ints j) NRC_LAMBDA { return (j >= -size & j < 2 * size) ? (j & (size - 1)) : (Ints)-1; };
                for (int d = 0; d < part.n_dims; ++d) {
                    const Floats v = input(d), t = v * (float)size, floor = __builtin_elementwise_floor(t), f = t - floor;
                    const Floats before = cumulative(-f), after = cumulative(f - 1.0f), around = 1.0f - before - after;
                    const Floats reached = NRC_SELECT(NRC_ABS(t) < 4.0f * size, floor, -4.0f * size);
                    const Ints j = __builtin_convertvector(reached, Ints);
                    const Ints left = wrapped(j - 1), middle = wrapped(j), right = wrapped(j + 1);
                    const Floats nothing = 0.0f * v;  // NaN stays NaN
                    for (int k = 0; k < size; ++k) {
                        Floats value = nothing + NRC_SELECT(left == k, before, 0.0f);
                        value += NRC_SELECT(middle == k, around, 0.0f);
                        value += NRC_SELECT(right == k, after, 0.0f);
                        put(d * size + k, value);
                    }
                }
                finish(part.n_dims * size);
            } else if (part.kind == 2) {
                // Frequency: angles are in half turns, and full turns can be subtracted without rounding
                auto less_full_turns = [](Floats a) NRC_LAMBDA { return a - 2.0f * NRC_ROUND(0.5f * a); };
                for (int d = 0; d < part.n_dims; ++d) {
                    Floats angle = less_full_turns(input(d));
                    for (int k = 0; k < size; ++k) {
                        const Floats quarters = NRC_ROUND(2.0f * angle);
                        const Floats r = (angle - 0.5f * quarters) * 3.14159265f;
                        const Ints q = __builtin_convertvector(NRC_SELECT(angle == angle, quarters, 0.0f), Ints);
                        put(2 * (d * size + k), sine_of(q, r));
                        put(2 * (d * size + k) + 1, sine_of(q + 1, r));
                        angle = less_full_turns(2.0f * angle);
                    }
                }
                finish(2 * part.n_dims * size);
            } else if (part.kind == 3) {
                // TriangleWave
                for (int d = 0; d < part.n_dims; ++d) {
                    const Floats v = input(d);
                    float frequency = 0.5f, phase = 0.0f;
                    for (int k = 0; k < size; ++k) {
                        const Floats place = NRC_MULTIPLY_ADD(frequency, v, phase);
                        put(d * size + k, 4.0f * NRC_ABS(place - __builtin_elementwise_floor(place) - 0.5f) - 1.0f);
                        frequency *= 2.0f;
                        phase += 0.25f;
                    }
                }
                finish(part.n_dims * size);
            } else if (part.kind == 4) {
                // SphericalHarmonics of `size` bands, whose columns are not in order
                auto put = [&](int column, Floats value) NRC_LAMBDA {
                    for (int j = 0; j < n; ++j) first[(long long)j * row + column] = value[j];
                };
                const Floats u = 2.0f * input(0) - 1.0f, v = 2.0f * input(1) - 1.0f, w = 2.0f * input(2) - 1.0f;
                Floats cosine = 1.0f + 0.0f * (u + v + w), sine = 0.0f;  // NaN stays NaN
                for (int m = 0; m < size; ++m) {
                    Floats last = 0.0f, q = harmonics[128 + m];
                    for (int band = m; band < size; ++band) {
                        if (band > m) {
                            const Floats next = harmonics[8 * band + m] * w * q - harmonics[64 + 8 * band + m] * last;
                            last = q;
                            q = next;
                        }
                        put(band * (band + 1) + m, q * cosine);
                        if (m > 0) put(band * (band + 1) - m, q * sine);
                    }
                    const Floats turned = u * cosine - v * sine;
                    sine = u * sine + v * cosine;
                    cosine = turned;
                }
            }
        }
    };
"""
