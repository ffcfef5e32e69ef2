"""Spectra as linear Rec. 709 colours."""

from __future__ import annotations

import numpy as np

from nrc_tracer.scene.model import Vec3

XYZ_TO_RGB = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
)
WAVELENGTHS = np.arange(360.0, 831.0)


def emission_to_rgb(wavelengths: np.ndarray, values: np.ndarray) -> Vec3:
    """The colour of a light whose radiance is linear between the given wavelengths [nm] and zero outside them.

    A value of 1 at all wavelengths (equal energy) has luminance 1 and is reddish, as white is D65.
    """
    spectrum = np.interp(WAVELENGTHS, wavelengths, values, left=0.0, right=0.0)
    rgb = XYZ_TO_RGB @ (_matching_functions() @ spectrum)
    return tuple(float(value) for value in np.maximum(rgb, 0.0))


def flat_emission_to_rgb(value: float) -> Vec3:
    """The colour of a light of equal energy at all wavelengths, of luminance `value`."""
    return tuple(float(component) for component in value * XYZ_TO_RGB.sum(axis=1))


def reflectance_to_rgb(wavelengths: np.ndarray, values: np.ndarray) -> Vec3:
    """The colour of a surface (or index of refraction) under white light; constant outside the given wavelengths
    [nm]."""
    spectrum = np.interp(WAVELENGTHS, wavelengths, values)
    weights = XYZ_TO_RGB @ _matching_functions()
    rgb = (weights @ spectrum) / weights.sum(axis=1)
    return tuple(float(value) for value in np.maximum(rgb, 0.0))


def _matching_functions() -> np.ndarray:
    """CIE 1931 x, y and z at `WAVELENGTHS`, each with the sum 1; shape [3, wavelength_count].

    C. Wyman, P.-P. Sloan and P. Shirley, *Simple Analytic Approximations to the CIE XYZ Color Matching Functions*
    (2013).
    """
    lobes = {
        "x": ((1.056, 599.8, 37.9, 31.0), (0.362, 442.0, 16.0, 26.7), (-0.065, 501.1, 20.4, 26.2)),
        "y": ((0.821, 568.8, 46.9, 40.5), (0.286, 530.9, 16.3, 31.1)),
        "z": ((1.217, 437.0, 11.8, 36.0), (0.681, 459.0, 26.0, 13.8)),
    }
    rows = []
    for parts in lobes.values():
        row = np.zeros_like(WAVELENGTHS)
        for height, peak, left, right in parts:
            offset = WAVELENGTHS - peak
            row += height * np.exp(-0.5 * (offset / np.where(offset < 0.0, left, right)) ** 2)
        rows.append(row / row.sum())
    return np.array(rows)
