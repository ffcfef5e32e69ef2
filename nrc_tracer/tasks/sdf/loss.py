"""The loss of signed distances: a relative absolute error, smoothed where it is small."""

from __future__ import annotations

from nrc_tracer.nn.losses import RoundedMape

ROUNDING = 2.0**-11
"""Error below which the loss is nearly quadratic, in unit cubes: a cell of the finest grid."""

LOSS = RoundedMape(ROUNDING)
"""The mean of (sqrt(e^2 + r^2) - r) / (|t| + 0.01) for errors e = p - t and r = `ROUNDING`.

Errors far above r count as in MAPE. Minimising MAPE itself, an absolute error, gives the median of the targets that the model
cannot tell apart. Half of the samples lie exactly on the surface, so the model would become exactly 0 in a layer half a cell
thick around it, which has neither a side nor a normal. Minimising a squared error gives the mean, which has a slope. Measured on
a shape of 100,000 triangles after 500 steps on batches of 16,384, with r = 3e-4 and 1e-3: IoU 0.9982 and 0.9978 instead of
0.9952, and in the band 0.9892 and 0.9901 instead of 0.9802.
"""
