"""How well views of a radiance field match photographs that were held out from training.

All comparisons are in sRGB, as the photographs are. Transparent photographs are compared over black and over white, opaque ones
over black.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nrc_tracer.imaging.metrics import ssim
from nrc_tracer.tasks.nerf.rays import rays_of
from nrc_tracer.tasks.nerf.rendering import Rendered, Volume
from nrc_tracer.tasks.nerf.views import View

QUICK_STEP = 16
"""Spacing, in x and y, of the pixels that scores during training compare."""
QUICK_WORDS = f"every {QUICK_STEP}th in x and y"
"""Which pixels scores during training compare, in words."""
BACKGROUNDS = {"black": 0.0, "white": 1.0}


@dataclass(frozen=True)
class ViewScore:
    """How well one view matches its photograph.

    Attributes:
        name: Name of the view.
        psnr: Peak signal-to-noise ratio in dB, by background; empty if the mask leaves no pixel to compare.
        ssim: Structural similarity, by background; empty if only some pixels were compared, or the view has a mask.
    """

    name: str
    psnr: dict[str, float]
    ssim: dict[str, float]


class _EndedEarly(Exception):
    """Ends the rendering of a view."""


class Evaluation:
    """Compares a field with photographs.

    Args:
        volume: The field.
        views: The photographs to compare it with.
        scale: Factor from the views' units to unit cubes.
        offset: Position of the views' origin in unit-cube space.
    """

    def __init__(self, volume: Volume, views: Sequence[View], scale: float, offset: Sequence[float]) -> None:
        self.volume = volume
        self.views = tuple(views)
        self.scale, self.offset = scale, tuple(offset)
        self._kept: list[tuple[np.ndarray, np.ndarray | None]] | None = None

    @property
    def backgrounds(self) -> tuple[str, ...]:
        """Names of the backgrounds of comparisons."""
        return tuple(BACKGROUNDS) if any(view.has_alpha for view in self.views) else ("black",)

    def quick(self, coarser: int = 1) -> dict[str, float]:
        """Mean PSNR in dB over the views, from every `QUICK_STEP`-th pixel in x and y: `psnr`, or by background if there are two.

        Views whose masks leave none of these pixels are left out; the result is empty if all are.

        Args:
            coarser: Compare only every `coarser`-th of these pixels in x and y.
        """
        return _means("psnr", [score.psnr for score in self.sampled(coarser=coarser)])

    def sampled(self, watch: Callable[[float], bool] | None = None, *, coarser: int = 1) -> list[ViewScore]:
        """PSNR of every view, from every `QUICK_STEP`-th pixel in x and y.

        Args:
            watch: As for `full`.
            coarser: Compare only every `coarser`-th of these pixels in x and y.

        Returns:
            As for `full`.
        """
        if self._kept is None:
            self._kept = [self._photograph(view, QUICK_STEP) for view in self.views]
        kept = [
            (pixels[::coarser, ::coarser], None if mask is None else mask[::coarser, ::coarser])
            for pixels, mask in self._kept
        ]
        counts = [pixels.shape[0] * pixels.shape[1] for pixels, _ in kept]
        scores: list[ViewScore] = []
        done = 0
        for view, compared, count in zip(self.views, kept, counts, strict=True):
            rendered = self._watched(view, coarser * QUICK_STEP, done, sum(counts), watch)
            if rendered is None:
                break
            done += count
            scores.append(ViewScore(view.name, self._psnr(rendered, *compared), {}))
        return scores

    def full(self, watch: Callable[[float], bool] | None = None) -> list[ViewScore]:
        """PSNR and SSIM of every view, over all pixels.

        Args:
            watch: Called after some of the rays with the fraction of all pixels done. If it returns True, the evaluation ends.

        Returns:
            The scores, in the order of the views; only those of the first views if `watch` ended the evaluation.
        """
        total = sum(view.camera.width * view.camera.height for view in self.views)
        scores: list[ViewScore] = []
        done = 0
        for view in self.views:
            pixels, mask = self._photograph(view, 1)
            rendered = self._watched(view, 1, done, total, watch)
            if rendered is None:
                break
            done += view.camera.width * view.camera.height
            similarity = {}
            if mask is None:
                for name in self.backgrounds:
                    pair = (self._over(rendered, name, pixels.shape), _composed(pixels, BACKGROUNDS[name]))
                    similarity[name] = ssim(*pair)
            scores.append(ViewScore(view.name, self._psnr(rendered, pixels, mask), similarity))
        return scores

    def render(self, view: View, step: int = 1, *, progress: Callable[[int], None] | None = None) -> Rendered:
        """Render a view from the field, every `step`-th pixel in x and y. `progress` is called with the number of rays done."""
        rays = rays_of(view.camera, self.scale, self.offset, self.volume.launcher, step=step)
        return self.volume.render(rays.origins, rays.directions, progress=progress)

    def _watched(
        self, view: View, step: int, before: int, total: int, watch: Callable[[float], bool] | None
    ) -> Rendered | None:
        """Render a view after `before` of `total` pixels; None if `watch` ends the evaluation meanwhile."""

        def progress(rays: int) -> None:
            if watch is not None and watch((before + rays) / total):
                raise _EndedEarly

        try:
            return self.render(view, step, progress=progress)
        except _EndedEarly:
            return None

    def _photograph(self, view: View, step: int) -> tuple[np.ndarray, np.ndarray | None]:
        mask = view.mask
        return view.pixels[::step, ::step].copy(), None if mask is None else mask[::step, ::step].copy()

    def _over(self, rendered: Rendered, background: str, shape: tuple[int, ...]) -> np.ndarray:
        color = rendered.over(BACKGROUNDS[background]).clamp(0.0, 1.0)
        return color.cpu().numpy().reshape(*shape[:2], 3)

    def _psnr(self, rendered: Rendered, pixels: np.ndarray, mask: np.ndarray | None) -> dict[str, float]:
        result: dict[str, float] = {}
        if mask is not None and not mask.any():
            return result
        for name in self.backgrounds:
            errors = self._over(rendered, name, pixels.shape) - _composed(pixels, BACKGROUNDS[name])
            errors = errors if mask is None else errors[mask]
            squared = float(np.mean(np.square(errors, dtype=np.float64)))
            result[name] = -10.0 * math.log10(squared) if squared > 0.0 else math.inf
        return result


def _composed(pixels: np.ndarray, background: float) -> np.ndarray:
    """A photograph in [0, 1] over a background, float32 [height, width, 3]."""
    values = pixels.astype(np.float32) / 255.0
    if values.shape[2] == 3:
        return values
    return values[:, :, :3] * values[:, :, 3:] + background * (1.0 - values[:, :, 3:])


def summary(scores: Sequence[ViewScore]) -> dict[str, float]:
    """Means over the views that have a score: `psnr` and `ssim`, or `psnr_black` ... by background if there are two."""
    return _means("psnr", [score.psnr for score in scores]) | _means("ssim", [score.ssim for score in scores])


def _means(figure: str, scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of a score over the views that have it, by background if there are two."""
    names = list(dict.fromkeys(name for score in scores for name in score))
    return {
        figure if len(names) == 1 else f"{figure}_{name}": float(np.mean([s[name] for s in scores if name in s]))
        for name in names
    }
