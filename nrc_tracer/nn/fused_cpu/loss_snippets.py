"""C++ of the losses: the loss of one row, and its gradient with respect to the model's outputs.

The definitions are those of `nrc_tracer.nn.losses`, in the same order of operations.
"""

from __future__ import annotations

from nrc_tracer.nn import losses

GIVEN = 0
"""Number in place of a loss's number if the gradient of the outputs is given."""

NUMBERS: dict[type[losses.LossFunction], int] = {
    losses.Absolute: 1,
    losses.RelativeL1: 2,
    losses.Mape: 3,
    losses.Smape: 4,
    losses.Squared: 5,
    losses.RelativeL2: 6,
    losses.RelativeL2Luminance: 7,
    losses.CrossEntropy: 8,
    losses.Huber: 9,
    losses.RoundedMape: 10,
}
"""The number of each loss in the kernels."""

LOSSES = """
    // Return the loss of one row of predictions p and targets t, and write its gradient to d
    auto row_loss = [=](int kind, float weight, float delta, const float* p, const float* t, const float* pdf, int pdf_step,
                        int C, float* d) -> float {
        float sum = 0.0f, luminance = 0.0f;
        if (kind == 7) {
            float rgb[3];
            for (int c = 0; c < 3; ++c) rgb[c] = C < 6 ? p[c] : p[c] + p[3 + c];
            luminance = 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2];
            luminance = luminance * luminance + 0.01f;
        }
        for (int c = 0; c < C; ++c) {
            const float difference = p[c] - t[c];
            float below = 1.0f;
            switch (kind) {
            case 2: below = fabsf(p[c]) + 0.01f; break;
            case 3: case 10: below = fabsf(t[c]) + 0.01f; break;
            case 4: below = 0.5f * (fabsf(p[c]) + fabsf(t[c])) + 0.01f; break;
            case 6: below = p[c] * p[c] + 0.01f; break;
            case 7: below = luminance; break;
            }
            if (pdf) below *= pdf[c * pdf_step];
            float gradient, value;
            if (kind <= 4) {
                gradient = __builtin_copysignf(weight / below, difference);
                value = gradient * difference;
            } else if (kind <= 7) {
                gradient = difference * (2.0f * weight / below);
                value = 0.5f * gradient * difference;
            } else if (kind == 8) {
                const float likely = t[c] == 0.0f ? 1.0f : p[c], factor = t[c] * (-weight / below);
                gradient = factor / likely;
                value = factor * ::logf(likely);
            } else if (kind == 10) {
                // The square root of difference^2 + delta^2, without overflow
                const float size = fabsf(difference), high = size > delta ? size : delta, low = size > delta ? delta : size;
                const float length = high * __builtin_sqrtf(1.0f + (low / high) * (low / high)), factor = weight / below;
                gradient = difference / length * factor;
                value = difference * difference / (length + delta) * factor;
            } else {
                float clamped = difference > delta ? delta : difference;
                clamped = clamped < -delta ? -delta : clamped;
                gradient = clamped * (weight * 0.2f / delta / below);
                value = gradient * (difference - 0.5f * clamped);
            }
            d[c] = gradient;
            sum += value;
        }
        return sum;
    };
"""
