"""Tone mapping: exact where values are documented, and well behaved elsewhere."""

import numpy as np
import pytest

from nrc_tracer.imaging import TONES, decode_srgb, eight_bits, encode_srgb, tone_map


def test_srgb_curve_at_known_points():
    # IEC 61966-2-1: 0.5 encodes to 0.735357; the two pieces meet at 0.0031308
    np.testing.assert_allclose(encode_srgb([0.0, 0.0031308, 0.5, 1.0]), [0, 0.04045, 0.735357, 1], atol=1e-5)


def test_decoding_undoes_encoding():
    codes = np.arange(256) / 255
    np.testing.assert_allclose(encode_srgb(decode_srgb(codes)), codes, atol=1e-6)


def test_eight_bit_codes_are_the_nearest():
    """A code's value results in that code even after a change by 0.49 steps; values beyond black and white are clipped."""
    codes = np.arange(256)
    for off in (-0.49, 0.0, 0.49):
        found = eight_bits((codes + off) / 255)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, codes)
    np.testing.assert_array_equal(eight_bits(np.array([-3.0, 7.0, np.inf])), [0, 255, 255])


def test_srgb_tone_is_the_plain_curve_and_exposure_counts_stops():
    rgb = np.array([[[0.1, 0.2, 0.4]]])
    np.testing.assert_array_equal(tone_map(rgb), encode_srgb(rgb))
    np.testing.assert_allclose(tone_map(rgb, exposure=1), encode_srgb(2 * rgb), rtol=1e-6)


@pytest.mark.parametrize("tone", TONES)
def test_grey_stays_grey_and_grows_from_black_to_white(tone):
    ramp = np.exp2(np.linspace(-16, 12, 200))
    shown = tone_map(np.repeat(ramp[:, None, None], 3, axis=2), tone)
    assert shown.dtype == np.float32
    # The matrices are given to four or five digits, and their rows sum to 1 to that precision
    np.testing.assert_allclose(shown.max(axis=2), shown.min(axis=2), atol=2e-3)
    assert np.all(np.diff(shown[:, 0, 0]) >= -2e-3)
    assert shown[0].max() < 0.01
    assert shown[-1].min() > 0.97


@pytest.mark.parametrize("tone", ["aces", "agx"])
def test_film_like_operators_keep_detail_above_one(tone):
    one, two, four = tone_map(np.array([[[v] * 3 for v in (1.0, 2.0, 4.0)]]), tone)[0, :, 0]
    assert one < two < four < 1.0


@pytest.mark.parametrize("tone", TONES)
def test_values_that_are_not_finite_stay_in_range(tone):
    rgb = np.array([[[np.nan, -1.0, 0.0], [np.inf, 3e38, 0.0], [-np.inf, 1e-40, 5.0]]], dtype=np.float32)
    for exposure in (-200.0, 0.0, 200.0):
        shown = tone_map(rgb, tone, exposure)
        assert np.all((shown >= 0) & (shown <= 1))


def test_unknown_operator():
    with pytest.raises(ValueError, match="known: srgb"):
        tone_map(np.zeros((1, 1, 3)), "filmic")
