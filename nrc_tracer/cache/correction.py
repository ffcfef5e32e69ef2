"""The correction of a cached image: what its residuals say that it lacks, coarse to fine, each detail shrunk by its own noise.

Residuals are noisy, and the noise of their mean over a block of pixels falls with the size of the block. So the image is divided
into blocks of doubling size. The mean over the whole image is corrected in full; each group of four blocks then adds the
differences of its blocks from their common mean, times a factor in [0, 1]: the share of the measured energy of these differences
that is not noise (positive-part James-Stein; Efron and Morris 1973). As more samples come in, factors grow towards 1, and the
image converges to the unbiased one.

Two rules hold however heavy the tails of the residuals are. A group has one factor, and its differences sum to zero, so that
shrinking moves no energy from one group to another: the mean of the correction is the mean of the residuals, which is unbiased.
And the factor for one half of the samples is measured on the other half, so that a large residual does not shrink itself.

The blocks of a single division would show, so the correction is the mean over several divisions that are shifted against each
other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.cache.correction_kernels import Blocks, Groups, add_details, join_blocks, shrink_details
from nrc_tracer.cache.residuals import HALVES, Residuals
from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import TorchLauncher

SHIFTS_PER_AXIS = 3
"""Number of shifts of the divisions in each direction."""

CAUTION = (2.0, 1.75, 1.5, 1.25, 1.0)
"""Factors of the noise in an estimate of signal, from groups of single pixels to larger ones; the last is for all others.

The noise of few pixels is measured on few residuals, which mostly show too little of it."""

FEW_BLOCKS = 4096
"""Largest number of blocks that one thread works on alone: sharing them would take longer."""

LAUNCHED_BLOCKS = 2**16
"""Largest number of blocks per launch on the CPU."""

Offset = tuple[int, int]
"""Rows and columns by which a division is shifted up and left."""


@dataclass(frozen=True)
class Correction:
    """A correction.

    Attributes:
        values: To be added to the image, float64 [height, width, 3].
        mean: Its mean over the image, float64 [3].
        mean_error: Standard error of `mean`, float64 [3].
    """

    values: np.ndarray
    mean: np.ndarray
    mean_error: np.ndarray


def estimate_correction(
    residuals: Residuals,
    samples: tuple[int, int],
    launcher: TorchLauncher,
    *,
    height: int,
    width: int,
    guide: Tensor | None = None,
    dropped: Tensor | None = None,
) -> Correction:
    """Estimate the correction of an image from the residuals of the two halves of its samples.

    With samples of one half alone there is nothing to measure noise on, and only the mean over the image is corrected.

    Args:
        residuals: Sums of the residuals.
        samples: Number of samples of each half, at least one in all.
        launcher: Launches kernels on the device of the residuals.
        height, width: Size of the image [pixels].
        guide: What the correction is expected to be proportional to within a block, such as the albedo of the first surface,
            above 0, float64 [pixels, 3]; 1 everywhere unless given.
        dropped: Number of dropped samples of each pixel, which are in neither half, int [pixels]; none unless given.
    """
    sizes = torch.ones_like(residuals.sums[0]) if guide is None else guide
    counts = torch.tensor(samples, dtype=torch.float64, device=sizes.device)[:, None, None]
    n = counts.clamp_min(1.0)
    means = residuals.sums / n
    # A half with a single sample does not show its spread; the second moment is at least that
    centred = torch.where(n > 1.0, means, 0.0)
    variances = (residuals.squares / n - centred.square()).clamp_min_(0.0) / (n - 1.0).clamp_min_(1.0)
    if dropped is not None:
        # The film's mean is over the samples that were kept
        kept = (sum(samples) / (sum(samples) - dropped).clamp_min(1).double())[:, None]
        means, variances = means * kept, variances * kept.square()
    shares = counts / counts.sum()
    estimate = _Estimate(launcher, (float(shares[0]), float(shares[1])))
    values = estimate.of(_Level(height, width, sizes, means, variances), offsets(max(height, width))) * sizes
    mean = (means * shares).sum(0).mean(0)
    mean_error = (variances * shares.square()).sum((0, 1)).sqrt() / (height * width)
    return Correction(values.reshape(height, width, 3).cpu().numpy(), mean.cpu().numpy(), mean_error.cpu().numpy())


@dataclass(frozen=True)
class _Level:
    """The blocks of a division: the tensors behind `Blocks`."""

    height: int
    width: int
    sizes: Tensor
    residuals: Tensor
    variances: Tensor

    @classmethod
    def empty(cls, height: int, width: int, device: torch.device) -> _Level:
        sums = [
            torch.empty((*front, height * width, 3), dtype=torch.float64, device=device) for front in ((), (2,), (2,))
        ]
        return cls(height, width, *sums)

    def record(self) -> Blocks:
        blocks = Blocks()
        blocks.height, blocks.width = self.height, self.width
        blocks.sizes, blocks.residuals, blocks.variances = (
            wp.from_torch(x.contiguous(), dtype=wp.vec3d) for x in (self.sizes, self.residuals, self.variances)
        )
        return blocks


class _Estimate:
    """Estimates what an image lacks per unit of the guide.

    Args:
        launcher: Launches kernels.
        shares: Each half's share of the samples.
    """

    def __init__(self, launcher: TorchLauncher, shares: tuple[float, float]) -> None:
        self._launcher, self._shares = launcher, shares

    def of(self, level: _Level, offsets: Sequence[Offset], depth: int = 0) -> Tensor:
        """The mean over divisions with these offsets, float64 [blocks, 3]; those with the same groups share the work."""
        if level.height == level.width == 1:
            return (
                self._shares[0] * level.residuals[0] / level.sizes + self._shares[1] * level.residuals[1] / level.sizes
            )
        by_parity: dict[Offset, list[Offset]] = defaultdict(list)
        for above, left in offsets:
            by_parity[above & 1, left & 1].append((above >> 1, left >> 1))
        values = torch.zeros_like(level.sizes)
        for parity, inner in by_parity.items():
            self._add(values, level, parity, inner, len(inner) / len(offsets), depth)
        return values

    def _add(
        self, values: Tensor, level: _Level, parity: Offset, offsets: Sequence[Offset], weight: float, depth: int
    ) -> None:
        """Add the mean over divisions whose groups are shifted by `parity`, and larger blocks by `offsets`, times a weight."""
        device = values.device
        above, left = parity
        larger = _Level.empty((level.height + above + 1) // 2, (level.width + left + 1) // 2, device)
        count = larger.height * larger.width
        factors = torch.zeros((HALVES, count), dtype=torch.float64, device=device)
        energy, noise = torch.empty_like(factors), torch.empty_like(factors)
        groups = Groups()
        groups.above, groups.left = parity
        groups.energy, groups.noise, groups.factors = (wp.from_torch(x) for x in (energy, noise, factors))
        small, large = level.record(), larger.record()
        self._run(join_blocks, count, lambda base: [small, large, groups, base])
        if min(self._shares) > 0.0:
            caution, shares = wp.float64(CAUTION[min(depth, len(CAUTION) - 1)]), wp.vec2d(*self._shares)
            size = larger.height, larger.width
            self._run(shrink_details, count, lambda base: [*size, caution, shares, groups, base])
        means, out = as_warp(self.of(larger, offsets, depth + 1), wp.vec3d), as_warp(values, wp.vec3d)
        before = [small, large, groups, means, wp.float64(weight)]
        self._run(add_details, level.height * level.width, lambda base: [*before, base, out])

    def _run(self, kernel: wp.Kernel, count: int, arguments: Callable[[int], list]) -> None:
        """Run a kernel, on this thread alone if there are few items: an image takes hundreds of launches."""
        launcher = self._launcher
        if launcher.device.is_cuda or count > FEW_BLOCKS:
            launcher.run(kernel, count, arguments, block_size=LAUNCHED_BLOCKS)
        else:
            wp.launch(kernel, dim=count, inputs=arguments(0), device=launcher.device)


def offsets(extent: int) -> list[Offset]:
    """The offsets of the divisions of an image of this extent [pixels].

    0101...01 in binary is a third of a power of two, and so are its remainders for all smaller powers, up to a pixel. So the
    divisions are shifted evenly for blocks of every size but 2.
    """
    bits = max(extent - 1, 1).bit_length() + 1
    third = int("01" * ((bits + 1) // 2), 2)
    steps = [i * third for i in range(SHIFTS_PER_AXIS)]
    return [(above, left) for above in steps for left in steps]
