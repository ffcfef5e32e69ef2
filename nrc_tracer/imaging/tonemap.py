"""Tone mapping: from linear radiance to the values that a display shows."""

from __future__ import annotations

from typing import Literal

import numpy as np

Tone = Literal["srgb", "aces", "agx"]
TONES: tuple[str, ...] = ("srgb", "aces", "agx")


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    """Apply the sRGB transfer curve (IEC 61966-2-1) to linear values in [0, 1], any shape, float32."""
    linear = np.asarray(linear, dtype=np.float32)
    curved = 1.055 * np.power(np.maximum(linear, 0.0031308), 1.0 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved).astype(np.float32)


def decode_srgb(encoded: np.ndarray) -> np.ndarray:
    """Undo `encode_srgb`: sRGB values in [0, 1] to linear ones, any shape, float32."""
    encoded = np.asarray(encoded, dtype=np.float32)
    curved = np.power((np.maximum(encoded, 0.04045) + 0.055) / 1.055, 2.4)
    return np.where(encoded <= 0.04045, encoded / 12.92, curved).astype(np.float32)


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Round values to the nearest of 256 steps in [0, 1], any shape, uint8; values outside are clipped."""
    return (np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def tone_map(rgb: np.ndarray, tone: Tone = "srgb", exposure: float = 0.0) -> np.ndarray:
    """Map linear radiance to the range of a display.

    Args:
        rgb: Linear Rec. 709, shape [height, width, 3]. NaN counts as 0, infinity as the brightest value.
        tone: `srgb` clips at 1 and changes nothing below; `aces` and `agx` compress highlights like film.
        exposure: Exposure in stops: the radiance is first multiplied by 2**exposure.

    Returns:
        sRGB-encoded values in [0, 1], float32, the same shape.
    """
    if tone not in _OPERATORS:
        raise ValueError(f'unknown tone operator "{tone}" (known: {", ".join(TONES)})')
    gain = float(np.exp2(min(max(exposure, -120.0), 120.0)))
    with np.errstate(over="ignore"):
        exposed = np.asarray(rgb, dtype=np.float32) * np.float32(gain)
    exposed = np.clip(np.nan_to_num(exposed, nan=0.0), 0.0, _BRIGHTEST)
    return encode_srgb(np.clip(_OPERATORS[tone](exposed), 0.0, 1.0))


_BRIGHTEST = np.float32(2.0**24)
"""Radiance is clipped here before an operator is applied; all three operators saturate far below."""


def _clip(rgb: np.ndarray) -> np.ndarray:
    return rgb


_ACES_INPUT = np.array(
    [[0.59719, 0.35458, 0.04823], [0.07600, 0.90834, 0.01566], [0.02840, 0.13383, 0.83777]], dtype=np.float32
)
_ACES_OUTPUT = np.array(
    [[1.60475, -0.53108, -0.07367], [-0.10208, 1.10813, -0.00605], [-0.00327, -0.07276, 1.07602]], dtype=np.float32
)


def _aces(rgb: np.ndarray) -> np.ndarray:
    """Approximate the ACES reference rendering and sRGB output transforms.

    Source: Stephen Hill's fit, in Matt Pettineo's BakingLab, `ACES.hlsl` (MIT licence). The factor 1 / 0.6 keeps middle
    grey about as bright as without the operator, as in three.js.
    """
    v = (rgb / 0.6) @ _ACES_INPUT.T
    v = (v * (v + 0.0245786) - 0.000090537) / (v * (0.983729 * v + 0.4329510) + 0.238081)
    return v @ _ACES_OUTPUT.T


_AGX_INSET = np.array(
    [
        [0.842479062253094, 0.0784335999999992, 0.0792237451477643],
        [0.0423282422610123, 0.878468636469772, 0.0791661274605434],
        [0.0423756549057051, 0.0784336, 0.879142973793104],
    ],
    dtype=np.float32,
)
_AGX_OUTSET = np.linalg.inv(_AGX_INSET.astype(np.float64)).astype(np.float32)
_AGX_STOPS = (-12.47393, 4.026069)
_AGX_CURVE = (15.5, -40.14, 31.96, -6.868, 0.4298, 0.1191, -0.00232)


def _agx(rgb: np.ndarray) -> np.ndarray:
    """Approximate Troy Sobotka's AgX with its base look.

    Source: Benjamin Wrensch, "Minimal AgX Implementation" (iolite-engine.com/blog_posts/minimal_agx_implementation): a
    polynomial of degree six in place of the look-up table (mean squared error 3.7e-6).
    """
    low, high = _AGX_STOPS
    stops = np.log2(np.maximum(rgb @ _AGX_INSET.T, 1e-10))
    position = (np.clip(stops, low, high) - low) / (high - low)
    shown = np.polyval(_AGX_CURVE, position) @ _AGX_OUTSET.T
    # AgX's curve is meant for a display of gamma 2.2
    return np.power(np.maximum(shown, 0.0), 2.2)


_OPERATORS = {"srgb": _clip, "aces": _aces, "agx": _agx}
