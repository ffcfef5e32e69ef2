"""Scores of a field known in closed form, compared with published packages."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tasks.nerf.evaluation import Evaluation, summary
from nrc_tracer.tasks.nerf.occupancy import OccupancyGrid
from nrc_tracer.tasks.nerf.rendering import Volume
from nrc_tracer.tasks.nerf.space import Space
from nrc_tracer.tasks.nerf.views import View
from tests.tasks.nerf.analytic import BallField, ball_photographs


def evaluation(views):
    launcher, space = TorchLauncher("cpu", threads=2), Space(1)
    volume = Volume(BallField(300.0), space, OccupancyGrid(space, launcher), launcher)
    return Evaluation(volume, views.test, views.scale, views.offset)


def test_scores_are_those_of_published_packages():
    """PSNR and SSIM over all pixels, by background, agree with scikit-image."""
    views = ball_photographs(count=6, side=40, test=2)
    judge = evaluation(views)
    for score, view in zip(judge.full(), views.test, strict=True):
        seen = judge.render(view)
        rgba = view.pixels / 255.0
        for name, level in (("black", 0.0), ("white", 1.0)):
            ours = seen.over(level).clamp(0, 1).numpy().reshape(40, 40, 3).astype(np.float64)
            theirs = rgba[..., :3] * rgba[..., 3:] + level * (1.0 - rgba[..., 3:])
            assert score.psnr[name] == pytest.approx(peak_signal_noise_ratio(theirs, ours, data_range=1.0), abs=1e-3)
            options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
            expected = structural_similarity(theirs, ours, channel_axis=-1, data_range=1.0, **options)
            assert score.ssim[name] == pytest.approx(expected, abs=1e-3)
    assert set(summary(judge.full())) == {"psnr_black", "psnr_white", "ssim_black", "ssim_white"}


def test_quick_scores_are_those_of_every_sixteenth_pixel():
    """Pixels rendered alone are the same as in the whole view."""
    views = ball_photographs(count=6, side=48, test=2, alpha=False)
    judge = evaluation(views)
    values = []
    for view in views.test:
        ours = judge.render(view).over(0.0).numpy().reshape(48, 48, 3)[::16, ::16]
        values.append(peak_signal_noise_ratio(view.pixels[::16, ::16] / 255.0, ours.astype(np.float64), data_range=1.0))
    assert judge.quick() == {"psnr": pytest.approx(np.mean(values), abs=1e-3)}


def test_masks_leave_pixels_out():
    """Errors under a mask do not count, and there is no SSIM."""
    views = ball_photographs(count=4, side=32, test=1, alpha=False)
    clean = evaluation(views).full()[0]
    view = views.test[0]
    spoiled = view.pixels.copy()
    spoiled[:6] = 255
    mask = np.ones((32, 32), bool)
    mask[:6] = False
    views = type(views)(**{**vars(views), "test": (View("spoiled", view.camera, spoiled, mask),)})
    score = evaluation(views).full()[0]
    assert score.ssim == {}
    # The rows under the mask are black in both images, so without them the mean error is larger by their fraction
    assert score.psnr["black"] == pytest.approx(clean.psnr["black"] - 10.0 * np.log10(32 / 26), abs=1e-3)
    assert torch.isfinite(torch.tensor(score.psnr["black"]))


def test_fully_masked_views_are_left_out():
    """A view whose mask leaves no pixel is left out of the means."""
    views = ball_photographs(count=6, side=32, test=2, alpha=False)
    first, other = views.test
    blind = View("blind", first.camera, first.pixels, np.zeros((32, 32), bool))
    thin = np.zeros((32, 32), bool)
    thin[5] = True  # none of the pixels that are compared during training
    thin = View("thin", first.camera, first.pixels, thin)
    judge, alone = (evaluation(type(views)(**{**vars(views), "test": test})) for test in ((blind, other), (other,)))
    scores = judge.full()
    assert (scores[0].psnr, scores[0].ssim) == ({}, {})
    assert summary(scores) == summary(alone.full())
    assert judge.quick() == alone.quick()
    only = evaluation(type(views)(**{**vars(views), "test": (blind, thin)}))
    assert only.quick() == {}
    assert set(summary(only.full())) == {"psnr"}
    assert summary(only.full()[:1]) == {}


def test_sampled_scores_can_be_ended():
    """Those of the views before the end are kept, and equal those of an evaluation that is not ended."""
    judge = evaluation(ball_photographs(count=6, side=32, test=2, alpha=False))
    fractions = []

    def watch(fraction):
        fractions.append(fraction)
        return fraction > 0.5

    assert judge.sampled(watch) == judge.sampled()[:1]
    assert fractions[0] == 0.5
