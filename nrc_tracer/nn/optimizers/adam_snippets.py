"""Adam's step in C++: of a range of parameters, and of the entries that a list names.

The snippets go into Warp kernels by `wp.func_native`, on both devices. On the CPU the compiler turns the loop over parameters
into vector instructions.
"""

from __future__ import annotations

from string import Template

from nrc_tracer.nn.touched_lists import ListOrder

_ADAM = Template("""
    const float* table = corrections.data;
    const int last = corrections.shape[0] - 1;
    const bool skip_zero = rule.skip_zero != 0;
    const float learning_rate = rule.learning_rate, epsilon = rule.epsilon, l2_reg = rule.l2_reg;
    const float beta1 = rule.beta1, rest1 = 1.0f - beta1, beta2 = rule.beta2, rest2 = 1.0f - beta2;
    const float relative_decay = rule.relative_decay, absolute_decay = rule.absolute_decay;
    const float lowest = rule.lowest_rate, highest = rule.highest_rate;
    const float gradient_limit = rule.gradient_limit != 0.0f ? rule.gradient_limit : 3.402823466e38f;
    const float weight_limit = rule.weight_limit != 0.0f ? rule.weight_limit : 3.402823466e38f;
    const unsigned key = (unsigned)rule.step * 0x9e3779b9u;

    // Step n parameters: a loop without branches, which the compiler turns into vector instructions on the CPU
    auto update = [&](int n, const float* gradients, float* weights, auto* moment, auto* steps, auto place) {
#if !defined(__CUDA_ARCH__)
#pragma clang loop vectorize(assume_safety)
#endif
    for (int i = 0; i < n; ++i) {
        const float gradient = gradients[i], before = weights[i];
        $load
        const int t_before = steps[i];

        // Regularize, then clip the gradient
        float g = gradient + l2_reg * before;
        g = g > gradient_limit ? gradient_limit : g;
        g = g < -gradient_limit ? -gradient_limit : g;

        // Update the moments
        const float m = beta1 * m_before + rest1 * g;
        const float v = beta2 * v_before + rest2 * (g * g);

        // Correct their bias, and bound the rate; the comparisons replace NaN, from 0 / 0, by the bound
        const int t = t_before + 1;
        const float rate = learning_rate * table[t < last ? t : last];
        float bounded = rate / (sqrtf(v) + epsilon);
        bounded = bounded > lowest ? bounded : lowest;
        bounded = bounded < highest ? bounded : highest;

        // Decay the weight and move it
        float w = (1.0f - relative_decay * rate) * before - wp::copysign(absolute_decay * rate, before);
        w -= bounded * m;
        w = w > weight_limit ? weight_limit : w;
        w = w < -weight_limit ? -weight_limit : w;

        const bool rests = skip_zero && gradient == 0.0f;
        weights[i] = rests ? before : w;
        $store
    }
    };
    $what
""")

_EXACT = {
    "load": "const float m_before = ((float*)moment)[2 * i], v_before = ((float*)moment)[2 * i + 1];",
    "store": """
        ((float*)moment)[2 * i] = rests ? m_before : m;
        ((float*)moment)[2 * i + 1] = rests ? v_before : v;
        steps[i] = rests ? t_before : t;
""",
}

_COMPACT = {
    "load": """
        const unsigned packed = moment[i];
        union Bits { unsigned u; float f; };
        Bits low, high;
        low.u = packed << 16;
        high.u = packed & 0xffff0000u;
        const float m_before = low.f, v_before = high.f;
""",
    "store": """
        // Round to bfloat16 stochastically, so that nothing is lost on average
        unsigned dice = ((unsigned)place(i) ^ key) * 0x85ebca6bu;
        dice = (dice ^ dice >> 15) * 0xc2b2ae35u;
        dice ^= dice >> 16;
        low.f = m;
        high.f = v;
        low.u += dice & 0xffffu;
        high.u += dice >> 16;
        const unsigned rounded = low.u >> 16 | (high.u & 0xffff0000u);
        moment[i] = rests ? packed : rounded;
        steps[i] = (short)(rests || t > 32767 ? t_before : t);
""",
}

_VARIANTS = {"float32": _EXACT, "bfloat16": _COMPACT}

_RANGE = """
    update(end - begin, gradient.data + begin + shift, params.data + begin, moments.data + begin, counts.data + begin,
           [=](int i) { return begin + i; });
"""

_LIST = """
#if !defined(__CUDA_ARCH__)
    // Prefetch and gather entries, so that their loads overlap and they are stepped in vectors
    constexpr int ROOM = 64;
    float g[ROOM], w[ROOM];
    auto first_moment = *moments.data;
    auto first_count = *counts.data;
    decltype(first_moment) m[ROOM];
    decltype(first_count) t[ROOM];
    int where[ROOM];
    const bool is_sorted = stretch.order == $sorted;
    const int *touched = lists.touched.data, *slots = lists.slots.data;
    const int mask = (1 << lists.slot_bits) - 1;
    const int entries = ROOM / n_features;
    for (int from = stretch.begin; from < stretch.end; from += entries) {
        const int n = wp::min(entries, stretch.end - from);
        int count = 0;
        for (int k = from; k < from + n; ++k) {
            const int next = touched[wp::min(k + entries, stretch.end - 1)];
            const int ahead = first + next * n_features;
            __builtin_prefetch(params.data + ahead);
            __builtin_prefetch(moments.data + ahead);
            __builtin_prefetch(counts.data + ahead);
            const int entry = touched[k];
            int row = k;
            if (is_sorted) {
                __builtin_prefetch(slots + next);
                row = stretch.sums + (slots[entry] & mask);
            }
            for (int f = 0; f < n_features; ++f, ++count) {
                const int i = first + entry * n_features + f;
                where[count] = i;
                g[count] = gradient.data[row * n_features + f];
                w[count] = params.data[i];
                m[count] = moments.data[i];
                t[count] = counts.data[i];
            }
        }
        update(count, g, w, m, t, [&](int i) { return where[i]; });
        for (int i = 0; i < count; ++i) {
            params.data[where[i]] = w[i];
            moments.data[where[i]] = m[i];
            counts.data[where[i]] = t[i];
        }
    }
#endif
"""


def range_snippet(moments: str) -> str:
    """Body of (begin, end, shift, rule, corrections, gradient, params, moments, counts): the parameters begin .. end - 1."""
    return _ADAM.substitute(_VARIANTS[moments], what=_RANGE)


def list_snippet(moments: str) -> str:
    """Body of (stretch, lists, first, n_features, rule, corrections, gradient, params, moments, counts): listed entries."""
    return _ADAM.substitute(_VARIANTS[moments], what=Template(_LIST).substitute(sorted=int(ListOrder.SORTED)))
