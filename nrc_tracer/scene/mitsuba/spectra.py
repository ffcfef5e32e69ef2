"""Converting spectra to linear Rec. 709 colours."""

from __future__ import annotations

import numpy as np

from nrc_tracer.scene.mitsuba import cie
from nrc_tracer.scene.model import Vec3
from nrc_tracer.scene.vectors import as_vec3

XYZ_TO_RGB = np.array(
    [[3.240479, -1.537150, -0.498535], [-0.969256, 1.875991, 0.041556], [0.055648, -0.204043, 1.057311]]
)
"""Matrix from CIE XYZ to ITU-R BT.709, with Mitsuba's digits."""
STEPS = 1000
"""Number of wavelengths at which spectra are sampled: Mitsuba's number, so that a narrow line has the same colour in both."""
WAVELENGTHS = np.linspace(cie.WAVELENGTHS[0], cie.WAVELENGTHS[-1], STEPS)
"""Wavelengths at which spectra are sampled [nm]."""
D65_LUMINANCE = 98.9974175
"""Mitsuba's normalization of `cie.D65`. With the true luminance, 98.89, white would be 1 instead of 0.9989."""


def emission_to_rgb(wavelengths: np.ndarray, values: np.ndarray) -> Vec3:
    """Return the colour of a light whose radiance is linear between the given wavelengths [nm] and zero outside them.

    A value of 1 at all wavelengths (equal energy) has luminance 1 and is reddish, as white is D65.
    """
    return as_vec3(np.maximum(_weighted(wavelengths, values, np.ones(STEPS)), 0.0))


def flat_emission_to_rgb(value: float) -> Vec3:
    """Return the colour of a light of equal energy at all wavelengths, with the luminance `value`."""
    return as_vec3(value * XYZ_TO_RGB.sum(axis=1))


def daylight_to_rgb(wavelengths: np.ndarray, values: np.ndarray, highest: float = np.inf) -> Vec3:
    """Return the colour of a surface (or index of refraction) under D65, clamped to 0 to `highest`.

    The spectrum is linear between the given wavelengths [nm] and zero outside them. A value of 1 everywhere is nearly white.
    """
    daylight = np.interp(WAVELENGTHS, cie.WAVELENGTHS, cie.D65) / D65_LUMINANCE
    return as_vec3(np.clip(_weighted(wavelengths, values, daylight), 0.0, highest))


def blackbody(temperature: float, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Return wavelengths [nm] and the spectral radiance of a black body at them [W / (m^2 sr nm)], by Planck's law.

    Args:
        temperature: Temperature [K].
        low: Shortest wavelength [nm].
        high: Longest wavelength [nm].
    """
    light, planck, boltzmann = 2.99792458e8, 6.62607015e-34, 1.380649e-23  # in SI units of 2019
    wavelengths = np.linspace(low, high, STEPS)
    metres = 1e-9 * wavelengths
    with np.errstate(over="ignore"):
        occupation = 1.0 / np.expm1(planck * light / (metres * boltzmann * temperature))
    return wavelengths, 1e-9 * 2.0 * planck * light**2 / metres**5 * occupation


def _weighted(wavelengths: np.ndarray, values: np.ndarray, illuminant: np.ndarray) -> np.ndarray:
    """Return the RGB of a spectrum times an illuminant at `WAVELENGTHS`, with luminance 1 if both are 1."""
    spectrum = np.interp(WAVELENGTHS, wavelengths, values, left=0.0, right=0.0) * illuminant
    matching = np.stack([np.interp(WAVELENGTHS, cie.WAVELENGTHS, bar) for bar in (cie.X_BAR, cie.Y_BAR, cie.Z_BAR)])
    return XYZ_TO_RGB @ (matching @ spectrum) / matching[1].sum()
