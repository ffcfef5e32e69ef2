"""Denoising: the result is closer to the noise-free image, and a missing denoiser gives a clear error."""

import sys

import numpy as np
import pytest

from nrc_tracer.errors import DeviceError
from nrc_tracer.imaging import denoise, rel_mse


def test_noise_is_removed_and_edges_are_kept():
    """On a two-coloured board with 50 % noise the squared error falls to a fifth, and to less with the albedo."""
    pytest.importorskip("pyoidn", reason='needs pip install "nrc-tracer[denoise]"')
    y, x = np.mgrid[0:96, 0:96]
    board = np.where(((x // 24 + y // 24) % 2)[..., None] == 1, [0.7, 0.2, 0.1], [0.1, 0.3, 0.6]).astype(np.float32)
    light = (0.5 + x / 96.0)[..., None]
    truth = (board * light).astype(np.float32)
    noisy = (truth * np.random.default_rng(2).gamma(4.0, 0.25, truth.shape)).astype(np.float32)
    before = noisy.copy()
    alone, guided = denoise(noisy), denoise(noisy, albedo=board, normal=np.broadcast_to([0, 0, 1], board.shape))
    np.testing.assert_array_equal(noisy, before)
    assert alone.shape == guided.shape == truth.shape
    assert rel_mse(alone, truth) < 0.2 * rel_mse(noisy, truth)
    assert rel_mse(guided, truth) < 0.8 * rel_mse(alone, truth)


def test_a_missing_denoiser_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyoidn", None)
    with pytest.raises(DeviceError, match=r'pip install "nrc-tracer\[denoise\]" installs it'):
        denoise(np.zeros((4, 4, 3), np.float32))
