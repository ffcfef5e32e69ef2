"""Spectra as linear Rec. 709 colours."""

from __future__ import annotations

import numpy as np

from nrc_tracer.scene.mitsuba import cie
from nrc_tracer.scene.model import Vec3

XYZ_TO_RGB = np.array(
    [[3.240479, -1.537150, -0.498535], [-0.969256, 1.875991, 0.041556], [0.055648, -0.204043, 1.057311]]
)
"""ITU-R BT.709, with Mitsuba's digits."""
STEPS = 1000
"""Wavelengths at which spectra are looked up, Mitsuba's number: a narrow line means the same to both."""
WAVELENGTHS = np.linspace(cie.WAVELENGTHS[0], cie.WAVELENGTHS[-1], STEPS)
"""[nm]"""
D65_LUMINANCE = 98.9974175
"""What Mitsuba divides `cie.D65` by. With its true luminance, 98.89, white would be 1 and not 0.9989."""


def emission_to_rgb(wavelengths: np.ndarray, values: np.ndarray) -> Vec3:
    """The colour of a light whose radiance is linear between the given wavelengths [nm] and zero outside them.

    A value of 1 at all wavelengths (equal energy) has luminance 1 and is reddish, as white is D65.
    """
    return tuple(np.maximum(_weighted(wavelengths, values, np.ones(STEPS)), 0.0).tolist())


def flat_emission_to_rgb(value: float) -> Vec3:
    """The colour of a light of equal energy at all wavelengths, of luminance `value`."""
    return tuple(float(component) for component in value * XYZ_TO_RGB.sum(axis=1))


def daylight_to_rgb(wavelengths: np.ndarray, values: np.ndarray, highest: float = np.inf) -> Vec3:
    """The colour of a surface (or index of refraction) under D65, at most `highest`.

    The spectrum is linear between the given wavelengths [nm] and zero outside them; 1 at all of them is nearly white.
    """
    daylight = np.interp(WAVELENGTHS, cie.WAVELENGTHS, cie.D65) / D65_LUMINANCE
    return tuple(np.clip(_weighted(wavelengths, values, daylight), 0.0, highest).tolist())


def blackbody(temperature: float, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths [nm] in [low, high] and a black body's spectral radiance there [W / (m^2 sr nm)] by Planck's law.

    Args:
        temperature: [K]
        low: Shortest wavelength [nm].
        high: Longest wavelength [nm].
    """
    light, planck, boltzmann = 2.99792458e8, 6.62607015e-34, 1.380649e-23  # SI 2019
    wavelengths = np.linspace(low, high, STEPS)
    metres = 1e-9 * wavelengths
    with np.errstate(over="ignore"):
        occupation = 1.0 / np.expm1(planck * light / (metres * boltzmann * temperature))
    return wavelengths, 1e-9 * 2.0 * planck * light**2 / metres**5 * occupation


def _weighted(wavelengths: np.ndarray, values: np.ndarray, illuminant: np.ndarray) -> np.ndarray:
    """RGB of a spectrum times an illuminant given at `WAVELENGTHS`, of luminance 1 if both are 1."""
    spectrum = np.interp(WAVELENGTHS, wavelengths, values, left=0.0, right=0.0) * illuminant
    matching = np.stack([np.interp(WAVELENGTHS, cie.WAVELENGTHS, bar) for bar in (cie.X_BAR, cie.Y_BAR, cie.Z_BAR)])
    return XYZ_TO_RGB @ (matching @ spectrum) / matching[1].sum()
