"""C++ for Warp kernels on the CPU: vectors of sixteen numbers, functions of them, and matrix products.

Clang maps vectors of sixteen floats to the processor's registers: one with AVX-512, two with AVX2, four with NEON. Every element
of a product is one chain of fused multiply-adds in a fixed order, so that results do not depend on the processor.

The snippets go to the beginning of a `wp.func_native` body. C++ has no templates inside a function, so lambdas take the place of
functions, and compile-time sizes are passed as the sizes of types.
"""

VECTORS = """
    typedef float Floats __attribute__((ext_vector_type(16), aligned(4)));
    typedef int Ints __attribute__((ext_vector_type(16)));
    typedef void (*Sleep)(unsigned);
    struct One { char size[1]; };
    struct Two { char size[2]; };
    struct Four { char size[4]; };
    struct Six { char size[6]; };
    struct Eight { char size[8]; };
    struct Twelve { char size[12]; };

#if defined(__AVX512F__)
    typedef Twelve RowsAtATime;
    typedef Eight OutputsAtATime;
    typedef Two VectorsAtATime;
#elif defined(__AVX2__)
    typedef Six RowsAtATime;
    typedef Four OutputsAtATime;
    typedef One VectorsAtATime;
#else
    typedef Four RowsAtATime;
    typedef Four OutputsAtATime;
    typedef One VectorsAtATime;
#endif

#define NRC_LAMBDA __attribute__((always_inline))
#define NRC_LOAD(address) (*(const Floats*)(address))
#define NRC_STORE(address, value) (*(Floats*)(address) = (value))
#define NRC_MULTIPLY_ADD(a, b, c) __builtin_elementwise_fma((Floats)(a), (Floats)(b), (Floats)(c))
#define NRC_ROUND(a) __builtin_elementwise_rint(a)
#define NRC_ABS(a) __builtin_elementwise_abs(a)
#define NRC_SELECT(condition, a, b) ((condition) ? (Floats)(a) : (Floats)(b))
// Counters of pieces of work: those of a kernel's first or only phase, its finished ones, and the same of the second phase
#define NRC_COUNT(call, counter, order) __atomic_fetch_add((int*)(call).counters + (counter), 1, order)
#define NRC_NEXT(call) NRC_COUNT(call, 0, __ATOMIC_RELAXED)
#if defined(__x86_64__) || defined(__i386__)
#define NRC_PAUSE __builtin_ia32_pause()
#else
#define NRC_PAUSE
#endif
// Wait for a counter: spin for about a millisecond, then sleep in turns. Threads that wait for longer do so because another
// process has the core of the last one; asleep, they leave it theirs
#define NRC_AWAIT(call, counter, count) \\
    for (int tries = 0; __atomic_load_n((int*)(call).counters + (counter), __ATOMIC_ACQUIRE) < (count); ++tries) { \\
        if (tries < 20000 || !(call).sleep) NRC_PAUSE; \\
        else ((Sleep)((call).sleep))(20); \\
    }
#define NRC_AS_FLOATS(bits) __builtin_bit_cast(Floats, bits)
"""

PRODUCTS = """
    // c(m, n) = sum over k of a(m, k) b(k, n), added to c(m, n) if `add` is set; a(m, k) is at a[m * row + k * step]. M is a
    // multiple of sizeof(rows), the number of rows at a time, and N a multiple of 16
    auto product = [](auto rows, const float* a, long long row, long long step, const float* b, long long b_row, int M, int N,
                      int K, float* c, long long c_row, bool add) NRC_LAMBDA {
        auto tile = [=](auto vectors, const float* a, const float* b, float* c) NRC_LAMBDA {
            constexpr int R = sizeof(rows), V = sizeof(vectors);
            Floats sums[R][V];
            #pragma unroll
            for (int m = 0; m < R; ++m)
                #pragma unroll
                for (int v = 0; v < V; ++v) sums[m][v] = add ? NRC_LOAD(c + m * c_row + 16 * v) : (Floats)0.0f;
            for (int k = 0; k < K; ++k) {
                Floats right[V];
                #pragma unroll
                for (int v = 0; v < V; ++v) right[v] = NRC_LOAD(b + 16 * v);
                #pragma unroll
                for (int m = 0; m < R; ++m) {
                    const Floats left = a[m * row];
                    #pragma unroll
                    for (int v = 0; v < V; ++v) sums[m][v] = NRC_MULTIPLY_ADD(left, right[v], sums[m][v]);
                }
                a += step;
                b += b_row;
            }
            #pragma unroll
            for (int m = 0; m < R; ++m)
                #pragma unroll
                for (int v = 0; v < V; ++v) NRC_STORE(c + m * c_row + 16 * v, sums[m][v]);
        };
        constexpr int wide = 16 * sizeof(VectorsAtATime);
        int n = 0;
        for (; n + wide <= N; n += wide)
            for (int m = 0; m < M; m += sizeof(rows)) tile(VectorsAtATime(), a + m * row, b + n, c + m * c_row + n);
        for (; n < N; n += 16)
            for (int m = 0; m < M; m += sizeof(rows)) tile(One(), a + m * row, b + n, c + m * c_row + n);
    };
"""

FUNCTIONS = """
    // to[i] = scale from[i] + shift for i < n; the two do not overlap. The last vector may compute some elements once more
    auto copy_scaled = [](const float* from, float* to, int n, float scale, float shift) NRC_LAMBDA {
        auto copy = [=](int i) NRC_LAMBDA { NRC_STORE(to + i, NRC_MULTIPLY_ADD(scale, NRC_LOAD(from + i), shift)); };
        if (n < 16) {
            for (int i = 0; i < n; ++i) to[i] = fmaf(scale, from[i], shift);
            return;
        }
        for (int i = 0; i + 16 <= n; i += 16) copy(i);
        if (n % 16) copy(n - 16);
    };
    auto copy_row = [](const float* from, float* to, int n) NRC_LAMBDA {
        if (n < 16) {
            for (int i = 0; i < n; ++i) to[i] = from[i];
            return;
        }
        for (int i = 0; i + 16 <= n; i += 16) NRC_STORE(to + i, NRC_LOAD(from + i));
        if (n % 16) NRC_STORE(to + n - 16, NRC_LOAD(from + n - 16));
    };
    // e^x, within 2 ulp; Cephes' polynomial
    auto exponential = [](Floats x) NRC_LAMBDA {
        Floats a = NRC_SELECT(x > 89.0f, 89.0f, x);
        a = NRC_SELECT(a < -104.0f, -104.0f, a);
        const Floats n = NRC_ROUND(a * 1.44269504f);
        Floats r = NRC_MULTIPLY_ADD(n, -0.693359375f, a);
        r = NRC_MULTIPLY_ADD(n, 2.12194440e-4f, r);
        Floats p = 1.9875691500e-4f;
        p = NRC_MULTIPLY_ADD(p, r, 1.3981999507e-3f);
        p = NRC_MULTIPLY_ADD(p, r, 8.3334519073e-3f);
        p = NRC_MULTIPLY_ADD(p, r, 4.1665795894e-2f);
        p = NRC_MULTIPLY_ADD(p, r, 1.6666665459e-1f);
        p = NRC_MULTIPLY_ADD(p, r, 5.0000001201e-1f);
        p = NRC_MULTIPLY_ADD(p, r * r, r) + 1.0f;
        // 2^n in two factors, as n may be beyond the exponents of normal numbers
        const Ints whole = __builtin_convertvector(NRC_SELECT(x == x, n, 0.0f), Ints), half = whole >> 1;
        p = p * NRC_AS_FLOATS((half + 127) << 23) * NRC_AS_FLOATS((whole - half + 127) << 23);
        return NRC_SELECT(x == x, p, x);
    };
    // 1 - e^-x for x >= 0, without cancellation
    auto one_minus_exponential = [=](Floats x) NRC_LAMBDA {
        Floats p = NRC_MULTIPLY_ADD(x, -1.0f / 120.0f, 1.0f / 24.0f);
        p = NRC_MULTIPLY_ADD(-x, p, 1.0f / 6.0f);
        p = NRC_MULTIPLY_ADD(-x, p, 0.5f);
        p = NRC_MULTIPLY_ADD(-x, p, 1.0f) * x;
        return NRC_SELECT(x < 0.125f, p, 1.0f - exponential(-x));
    };
    // log(1 + u) for 0 <= u <= 1: the series of the inverse hyperbolic tangent of u / (2 + u)
    auto log_one_plus = [](Floats u) NRC_LAMBDA {
        const Floats s = u / (u + 2.0f), t = s * s;
        Floats p = 1.0f / 15.0f;
        p = NRC_MULTIPLY_ADD(p, t, 1.0f / 13.0f);
        p = NRC_MULTIPLY_ADD(p, t, 1.0f / 11.0f);
        p = NRC_MULTIPLY_ADD(p, t, 1.0f / 9.0f);
        p = NRC_MULTIPLY_ADD(p, t, 1.0f / 7.0f);
        p = NRC_MULTIPLY_ADD(p, t, 0.2f);
        p = NRC_MULTIPLY_ADD(p, t, 1.0f / 3.0f);
        p = NRC_MULTIPLY_ADD(p, t, 1.0f);
        return 2.0f * s * p;
    };
    // The sine of an angle of `quarters` quarter turns plus `r` radians, |r| <= pi / 4; with one more quarter, its cosine
    auto sine_of = [](Ints quarters, Floats r) NRC_LAMBDA {
        const Floats s = r * r;
        Floats sine = -1.9515295891e-4f;
        sine = NRC_MULTIPLY_ADD(sine, s, 8.3321608736e-3f);
        sine = NRC_MULTIPLY_ADD(sine, s, -1.6666654611e-1f);
        sine = NRC_MULTIPLY_ADD(sine * s, r, r);
        Floats cosine = 2.443315711809948e-5f;
        cosine = NRC_MULTIPLY_ADD(cosine, s, -1.388731625493765e-3f);
        cosine = NRC_MULTIPLY_ADD(cosine, s, 4.166664568298827e-2f);
        cosine = NRC_MULTIPLY_ADD(cosine, s * s, NRC_MULTIPLY_ADD(s, -0.5f, 1.0f));
        const Floats value = NRC_SELECT((quarters & 1) != 0, cosine, sine);
        return NRC_SELECT((quarters & 2) != 0, -value, value);
    };
    // sin(x) if `ahead` is 0, cos(x) if it is 1
    auto sine = [=](Floats x, int ahead) NRC_LAMBDA {
        const Floats n = NRC_ROUND(x * 0.636619772f);
        Floats r = NRC_MULTIPLY_ADD(n, -1.5703125f, x);
        r = NRC_MULTIPLY_ADD(n, -4.837512969970703125e-4f, r);
        r = NRC_MULTIPLY_ADD(n, -7.549789948768648e-8f, r);
        const auto large = !(NRC_ABS(x) < 8192.0f);
        Floats result = sine_of(__builtin_convertvector(NRC_SELECT(large, 0.0f, n), Ints) + ahead, NRC_SELECT(large, 0.0f, r));
        for (int j = 0; j < 16; ++j)
            if (large[j]) result[j] = ahead ? ::cosf(x[j]) : ::sinf(x[j]);
        return result;
    };
    auto hyperbolic_tangent = [=](Floats x) NRC_LAMBDA {
        const Floats s = x * x;
        Floats p = -5.70498872745e-3f;
        p = NRC_MULTIPLY_ADD(p, s, 2.06390887954e-2f);
        p = NRC_MULTIPLY_ADD(p, s, -5.37397155531e-2f);
        p = NRC_MULTIPLY_ADD(p, s, 1.33314422036e-1f);
        p = NRC_MULTIPLY_ADD(p, s, -3.33332819422e-1f);
        p = NRC_MULTIPLY_ADD(p * s, x, x);
        const Floats far = 1.0f - 2.0f / (exponential(2.0f * NRC_ABS(x)) + 1.0f);
        return NRC_SELECT(NRC_ABS(x) < 0.625f, p, NRC_SELECT(x < 0.0f, -far, far));
    };
"""
