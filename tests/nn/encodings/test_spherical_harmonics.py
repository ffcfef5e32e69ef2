"""Spherical harmonics: their signs and order agree with published ones, and they are orthonormal."""

import math

import numpy as np
import pytest
import torch

from nrc_tracer.device.launch import initialize
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.encodings.spherical_harmonics import SphericalHarmonicsEncoding

NO_PARAMS = torch.empty(0, dtype=torch.float64)


def values_of(directions, degree):
    """Kernel and definition for directions [N, 3]."""
    initialize()
    encoding = SphericalHarmonicsEncoding(configuration.SphericalHarmonics(degree=degree), 3)
    x = torch.from_numpy(((np.asarray(directions) + 1.0) / 2.0).astype(np.float32))
    out = torch.empty(len(x), degree**2)
    encoding.forward(TorchLauncher("cpu", threads=1), x, torch.empty(0), out)
    return out.numpy(), encoding.values(x, NO_PARAMS).numpy()


def test_orthonormal():
    """The integrals of all products over the sphere are 0 or 1, by a quadrature that is exact for their degree."""
    z, weight = np.polynomial.legendre.leggauss(8)  # exact to degree 15; products have degree 14
    phi = 2.0 * math.pi * np.arange(16) / 16
    r = np.sqrt(1.0 - z**2)
    directions = np.stack([np.outer(r, np.cos(phi)), np.outer(r, np.sin(phi)), np.outer(z, np.ones(16))], axis=-1)
    weights = np.repeat(weight, 16) * 2.0 * math.pi / 16
    for values in values_of(directions.reshape(-1, 3), 8):
        products = values.T @ (weights[:, None] * values)
        # Directions are rounded to float32; values up to 1.2 have slopes up to 8
        np.testing.assert_allclose(products, np.eye(64), atol=3e-6)


def test_published_polynomials():
    """The formulas of tiny-cuda-nn up to degree 4 are compared on the unit sphere and off it."""
    d = np.float32(np.random.default_rng(0).uniform(-1.0, 1.0, (200, 3)))
    x, y, z = np.float64(((d + 1.0) / 2.0).astype(np.float32) * np.float32(2.0) - np.float32(1.0)).T
    pi = math.pi
    expected = [
        0.0 * x + 1.0 / (2.0 * math.sqrt(pi)),
        -math.sqrt(3.0 / (4.0 * pi)) * y,
        math.sqrt(3.0 / (4.0 * pi)) * z,
        -math.sqrt(3.0 / (4.0 * pi)) * x,
        math.sqrt(15.0 / (4.0 * pi)) * x * y,
        -math.sqrt(15.0 / (4.0 * pi)) * y * z,
        math.sqrt(5.0 / (16.0 * pi)) * (3.0 * z**2 - 1.0),
        -math.sqrt(15.0 / (4.0 * pi)) * x * z,
        math.sqrt(15.0 / (16.0 * pi)) * (x**2 - y**2),
        math.sqrt(70.0 / pi) / 8.0 * y * (y**2 - 3.0 * x**2),
        math.sqrt(105.0 / pi) / 2.0 * x * y * z,
        math.sqrt(42.0 / pi) / 8.0 * y * (1.0 - 5.0 * z**2),
        math.sqrt(7.0 / pi) / 4.0 * z * (5.0 * z**2 - 3.0),
        math.sqrt(42.0 / pi) / 8.0 * x * (1.0 - 5.0 * z**2),
        math.sqrt(105.0 / pi) / 4.0 * z * (x**2 - y**2),
        math.sqrt(70.0 / pi) / 8.0 * x * (3.0 * y**2 - x**2),
    ]
    kernel, definition = values_of(d, 4)
    np.testing.assert_allclose(definition, np.stack(expected, axis=1), atol=1e-13)
    np.testing.assert_allclose(kernel, np.stack(expected, axis=1), atol=1e-6 * np.abs(expected).max())


def test_highest_band():
    """The constants of tiny-cuda-nn's columns 48, 50, 56, 60 and 63 are compared where the other factors are simple."""
    h = math.sqrt(0.5)
    directions = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [h, 0.0, h], [h, h, 0.0]]
    x, y, z = np.float64(((np.array(directions) + 1.0) / 2.0).astype(np.float32) * np.float32(2.0) - np.float32(1.0)).T
    _, values = values_of(directions, 8)
    expected = {
        48: 0.6831841051919143 * (x**6 - 15 * x**4 * y**2 + 15 * x**2 * y**4 - y**6),
        50: 5.2919213236038001 * x * y * z * (3 * x**4 - 10 * x**2 * y**2 + 3 * y**4),
        56: 0.068284276912004949 * z * (429 * z**6 - 693 * z**4 + 315 * z**2 - 35),
        60: 1.0378311574405206 * z * (13 * z**2 - 3) * (x**4 - 6 * x**2 * y**2 + y**4),
        63: 0.70716273252459627 * x * (21 * x**4 * y**2 - 35 * x**2 * y**4 + 7 * y**6 - x**6),
    }
    for column, value in expected.items():
        np.testing.assert_allclose(values[:, column], value, atol=1e-12)


def test_other_than_three_dimensions_are_refused():
    """A direction has three coordinates."""
    with pytest.raises(ConfigError, match="3 input dimensions, got 2"):
        SphericalHarmonicsEncoding(configuration.SphericalHarmonics(), 2)
