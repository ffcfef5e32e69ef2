"""Volume rendering: the colour of a ray from samples of a radiance field, and the gradient with respect to them.

A sample's raw outputs (r, g, b, s) stand for the colour c = sigmoid(r, g, b) and the density exp(s). Over a step of length d its
opacity is a = 1 - exp(-density d). With the transmittance T, the product of 1 - a of all samples before it, its weight is w = T
a, and

    colour = sum of w c,   distance = sum of w t,   transmittance = product of all 1 - a.

(Max, *Optical Models for Direct Volume Rendering*, 1995; Mildenhall et al., *NeRF*, 2020, equation 3.) A ray ends where T falls
below MIN_TRANSMITTANCE: samples behind that have weight and gradient zero. Each kernel item handles one ray and owns its rows.
"""

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tasks.nerf.marching import Samples, first_row

MIN_TRANSMITTANCE = 1e-4
"""Transmittance below which a ray ends."""
MAX_LOG_DENSITY = 15.0
"""Raw densities are clamped to +- this value."""
RAYS_PER_LAUNCH = 2048
"""Most rays per launch on the CPU. The arguments of a launch take some 0.03 ms to pack."""

wp.set_module_options({"enable_backward": False})


@wp.func
def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + wp.exp(-x))


@wp.func
def density_of(raw: float) -> float:
    """exp of the clamped raw density; NaN stays NaN."""
    if raw > wp.static(MAX_LOG_DENSITY):
        return wp.exp(wp.static(MAX_LOG_DENSITY))
    if raw < wp.static(-MAX_LOG_DENSITY):
        return wp.exp(wp.static(-MAX_LOG_DENSITY))
    return wp.exp(raw)


@wp.func
def goes_on(transmittance: float) -> bool:
    """Whether a ray has not ended yet; NaN counts as not ended."""
    return wp.static(MIN_TRANSMITTANCE) <= transmittance or wp.isnan(transmittance)


@wp.func
def color_of(raw: wp.array2d[float], row: int) -> wp.vec3:
    return wp.vec3(sigmoid(raw[row, 0]), sigmoid(raw[row, 1]), sigmoid(raw[row, 2]))


@wp.kernel
def accumulate(
    base: int,
    rays: wp.array[int],
    ends: wp.array[int],
    raw: wp.array2d[float],
    t: wp.array[float],
    steps: wp.array[float],
    color: wp.array[wp.vec3],
    distance: wp.array[float],
    transmittance: wp.array[float],
):
    """Add samples of a ray to its colour, distance and transmittance so far."""
    i = base + wp.tid()
    ray = rays[i]
    begin = first_row(ends, i)
    end = ends[i]
    c = color[ray]
    d = distance[ray]
    T = transmittance[ray]
    row = int(begin)
    while row < end and goes_on(T):
        passed = wp.exp(-density_of(raw[row, 3]) * steps[row])
        w = T * (1.0 - passed)
        c += w * color_of(raw, row)
        d += w * t[row]
        T *= passed
        row += 1
    color[ray] = c
    distance[ray] = d
    transmittance[ray] = T


@wp.kernel
def reach(
    base: int,
    ends: wp.array[int],
    log_density: wp.array[float],
    steps: wp.array[float],
    counts: wp.array[int],
):
    """Count how many of a ray's samples, from the first, it reaches before it ends."""
    i = base + wp.tid()
    begin = first_row(ends, i)
    end = ends[i]
    T = float(1.0)
    row = int(begin)
    while row < end and goes_on(T):
        T *= wp.exp(-density_of(log_density[row]) * steps[row])
        row += 1
    counts[i] = row - begin


@wp.kernel
def backward(
    base: int,
    rays: wp.array[int],
    ends: wp.array[int],
    raw: wp.array2d[float],
    steps: wp.array[float],
    color: wp.array[wp.vec3],
    transmittance: wp.array[float],
    d_color: wp.array[wp.vec3],
    d_transmittance: wp.array[float],
    d_raw: wp.array2d[float],
):
    """Compute the gradient of raw outputs for a ray that began with these samples.

    A density s_k changes its own weight and dims everything behind it:
    dL/ds_k = density_k d_k (T_(k+1) c_k . g - sum of w_j c_j . g over j > k - T_end g_T).
    """
    i = base + wp.tid()
    ray = rays[i]
    begin = first_row(ends, i)
    end = ends[i]
    g = d_color[ray]
    end_term = transmittance[ray] * d_transmittance[ray]
    behind = wp.dot(color[ray], g)
    T = float(1.0)
    row = int(begin)
    while row < end and goes_on(T):
        s = raw[row, 3]
        thickness = density_of(s) * steps[row]
        passed = wp.exp(-thickness)
        w = T * (1.0 - passed)
        c = color_of(raw, row)
        along = wp.dot(c, g)
        behind -= w * along
        T *= passed
        for k in range(3):
            d_raw[row, k] = w * g[k] * c[k] * (1.0 - c[k])
        slope = thickness
        if wp.abs(s) > wp.static(MAX_LOG_DENSITY):
            slope = 0.0
        d_raw[row, 3] = slope * (T * along - behind - end_term)
        row += 1
    while row < end:
        for k in range(4):
            d_raw[row, k] = 0.0
        row += 1


class Compositor:
    """Composites samples of rays in float32; raw outputs of another precision, such as float64, are converted.

    Args:
        launcher: Launches the kernels.
    """

    def __init__(self, launcher: TorchLauncher) -> None:
        self.launcher = launcher

    def accumulate(self, samples: Samples, raw: Tensor, color: Tensor, distance: Tensor, transmittance: Tensor) -> None:
        """Add samples with raw outputs [S, 4] to the rays' color [N, 3], distance [N] and transmittance [N], in place.

        Before its first sample a ray has colour 0, distance 0 and transmittance 1.
        """
        arrays = [samples.rays, samples.ends, raw.float(), samples.t, samples.steps]
        state = [as_warp(color, wp.vec3), as_warp(distance), as_warp(transmittance)]
        self._run(accumulate, len(samples.rays), [*map(as_warp, arrays), *state])

    def composite(self, samples: Samples, raw: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Colour [N, 3], distance [N] and transmittance [N] of `count` rays from all their samples."""
        color, distance = torch.zeros(count, 3, device=raw.device), torch.zeros(count, device=raw.device)
        transmittance = torch.ones(count, device=raw.device)
        self.accumulate(samples, raw, color, distance, transmittance)
        return color, distance, transmittance

    def reached(self, samples: Samples, log_density: Tensor) -> Samples:
        """The samples that rays reach before they end, given the raw densities [S] of all; the others have no effect."""
        counts = torch.empty_like(samples.ends)
        arrays = [samples.ends, log_density.float(), samples.steps, counts]
        self._run(reach, len(samples.rays), [*map(as_warp, arrays)])
        return samples.first(counts, self.launcher)

    def backward(
        self,
        samples: Samples,
        raw: Tensor,
        color: Tensor,
        transmittance: Tensor,
        d_color: Tensor,
        d_transmittance: Tensor,
    ) -> Tensor:
        """The gradient of a loss with respect to raw outputs, [S, 4].

        Args:
            samples, raw: The arguments of `composite`.
            color, transmittance: Its results.
            d_color, d_transmittance: Gradients of the loss with respect to them, [N, 3] and [N].
        """
        d_raw = torch.empty_like(raw, dtype=torch.float32)
        arrays = [
            *map(as_warp, (samples.rays, samples.ends, raw.float(), samples.steps)),
            as_warp(color, wp.vec3),
            as_warp(transmittance),
            as_warp(d_color.contiguous(), wp.vec3),
            *map(as_warp, (d_transmittance.contiguous(), d_raw)),
        ]
        self._run(backward, len(samples.rays), arrays)
        return d_raw.to(raw.dtype)

    def _run(self, kernel: wp.Kernel, count: int, arguments: list) -> None:
        self.launcher.run(kernel, count, lambda base: [base, *arguments], block_size=RAYS_PER_LAUNCH)
