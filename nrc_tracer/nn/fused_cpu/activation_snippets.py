"""C++ of the activation functions and their derivatives, sixteen values at a time; see `vector_snippets`."""

from __future__ import annotations

NUMBERS = {
    name: number
    for number, name in enumerate(
        (
            "None",
            "ReLU",
            "LeakyReLU",
            "SiLU",
            "Exponential",
            "Sine",
            "Sigmoid",
            "Squareplus",
            "Softplus",
            "Tanh",
        )
    )
}
"""The number of each activation in the kernels."""

ACTIVATIONS = """
    // Apply an activation to `count` values z in place, `count` being a multiple of 16
    auto activate = [=](int kind, float* values, int count) __attribute__((noinline)) {
        auto each = [=](auto function) NRC_LAMBDA {
            for (int i = 0; i < count; i += 16) NRC_STORE(values + i, function(NRC_LOAD(values + i)));
        };
        auto sigmoid = [=](Floats z) NRC_LAMBDA { return 1.0f / (1.0f + exponential(-z)); };
        switch (kind) {
        case 1: each([](Floats z) NRC_LAMBDA { return NRC_SELECT(z < 0.0f, 0.0f, z); }); break;
        case 2: each([](Floats z) NRC_LAMBDA { return NRC_SELECT(z < 0.0f, 0.01f * z, z); }); break;
        case 3: each([=](Floats z) NRC_LAMBDA { return z * sigmoid(z); }); break;
        case 4: each([=](Floats z) NRC_LAMBDA { return exponential(z); }); break;
        case 5: each([=](Floats z) NRC_LAMBDA { return sine(z, 0); }); break;
        case 6: each([=](Floats z) NRC_LAMBDA { return sigmoid(z); }); break;
        case 7:
            // The square root of z^2 + (2 / 10)^2, without overflow
            each([=](Floats z) NRC_LAMBDA {
                const Floats a = NRC_ABS(z), high = NRC_SELECT(a < 0.2f, 0.2f, a), low = NRC_SELECT(a < 0.2f, a, 0.2f);
                const Floats ratio = low / high, one = 1.0f;
                const Floats root = high * __builtin_elementwise_sqrt(NRC_MULTIPLY_ADD(ratio, ratio, one));
                return NRC_SELECT(z < 0.0f, 0.02f / (root - z), 0.5f * z + 0.5f * root);
            });
            break;
        case 8:
            each([=](Floats z) NRC_LAMBDA {
                return NRC_SELECT(z < 0.0f, 0.0f, z) + 0.1f * log_one_plus(exponential(-10.0f * NRC_ABS(z)));
            });
            break;
        case 9: each([=](Floats z) NRC_LAMBDA { return hyperbolic_tangent(z); }); break;
        }
    };
"""

KEEPS_INPUT = frozenset({NUMBERS["SiLU"], NUMBERS["Sine"]})
"""Numbers of the activations whose derivative needs their input; for the others the output is enough."""

DERIVATIVES = """
    // Multiply `count` gradients by the derivative of an activation, given its outputs h and its inputs z
    auto differentiate = [=](int kind, float* gradients, const float* h, const float* z, int count) __attribute__((noinline)) {
        auto each = [=](const float* values, auto function) NRC_LAMBDA {
            for (int i = 0; i < count; i += 16)
                NRC_STORE(gradients + i, function(NRC_LOAD(gradients + i), NRC_LOAD(values + i)));
        };
        switch (kind) {
        case 1: each(h, [](Floats d, Floats y) NRC_LAMBDA { return NRC_SELECT(y <= 0.0f, 0.0f, d); }); break;
        case 2: each(h, [](Floats d, Floats y) NRC_LAMBDA { return NRC_SELECT(y > 0.0f, d, 0.01f * d); }); break;
        case 3:
            each(z, [=](Floats d, Floats v) NRC_LAMBDA {
                const Floats s = 1.0f / (1.0f + exponential(-v));
                return d * (s + v * s * (1.0f - s));
            });
            break;
        case 4: each(h, [](Floats d, Floats y) NRC_LAMBDA { return d * y; }); break;
        case 5: each(z, [=](Floats d, Floats v) NRC_LAMBDA { return d * sine(v, 1); }); break;
        case 6: each(h, [](Floats d, Floats y) NRC_LAMBDA { return d * y * (1.0f - y); }); break;
        case 7:
            each(h, [](Floats d, Floats y) NRC_LAMBDA {
                const Floats s = 10.0f * y;
                return d / (1.0f + 1.0f / (s * s));
            });
            break;
        case 8: each(h, [=](Floats d, Floats y) NRC_LAMBDA { return d * one_minus_exponential(10.0f * y); }); break;
        case 9: each(h, [](Floats d, Floats y) NRC_LAMBDA { return d * (1.0f - y * y); }); break;
        }
    };
"""
