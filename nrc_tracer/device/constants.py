"""Reciprocals and fractions of pi for kernels. Pi itself is `wp.PI`, twice pi `wp.TAU`."""

import math

import warp as wp

INV_PI = wp.constant(1.0 / math.pi)
INV_2PI = wp.constant(0.5 / math.pi)
INV_4PI = wp.constant(0.25 / math.pi)
INV_2PI2 = wp.constant(0.5 / math.pi**2)  # 1 / (2 pi^2)
INV_SQRT_PI = wp.constant(1.0 / math.sqrt(math.pi))
QUARTER_PI = wp.constant(0.25 * math.pi)
