"""The time at which uncached rendering overtakes, for errors whose crossing is known in closed form."""

import math

import numpy as np
import pytest

from nrc_tracer.report.crossing import find_crossing, slope
from nrc_tracer.report.settings import Setting

CACHED = Setting("raw", "hash", "uncorrected")
BIAS, VARIANCE, PLAIN = 0.01, 0.05, 0.4  # The errors at one second; they are equal where 0.01 t + 0.05 = 0.4, at 35 s


def _find(**changes):
    values = {
        "plain_error": PLAIN / 10,
        "plain_seconds": 10.0,
        "squared_bias": BIAS,
        "squared_bias_error": 0.0,
        "variance": VARIANCE / 5,
        "seconds": 5.0,
    }
    return find_crossing(CACHED, **{**values, **changes})


def test_the_crossing_of_the_model():
    found = _find()
    assert found.seconds == pytest.approx(35.0)
    assert found.measured is None
    assert found.words == "after 35 s (model)"


def test_a_bias_within_its_error_gives_a_lower_bound_of_the_time():
    found = _find(squared_bias=0.001, squared_bias_error=0.001)
    assert math.isinf(found.seconds)
    assert found.at_least == pytest.approx(0.35 / 0.003)
    assert found.words == "never: no bias found; not before 117 s (model)"
    assert _find(squared_bias=-0.001).words == "never: no bias found"


def test_a_cache_with_more_variance_at_equal_time_is_never_ahead():
    found = _find(variance=1.0)
    assert found.seconds == 0.0
    assert found.words == "uncached is ahead at any time (model)"


@pytest.mark.parametrize("points", [3, 9])
def test_the_crossing_of_measured_curves(points):
    times = np.geomspace(1.0, 128.0, points)
    found = _find(plain_curve=(times, PLAIN / times), curve=(times, BIAS + VARIANCE / times))
    # Interpolation is linear in log-log coordinates, which is only exact at the points, so more points give a better result
    assert found.measured == pytest.approx(35.0, rel=0.3 if points == 3 else 0.05)
    assert found.range == pytest.approx((1.0, 128.0))
    short = times[times < 20.0]
    found = _find(plain_curve=(short, PLAIN / short), curve=(short, BIAS + VARIANCE / short))
    assert found.measured is None


def test_a_bias_that_vanishes_has_no_crossing_by_the_model():
    """Only a crossing of the measured curves counts where more samples remove the bias."""
    corrected, times = Setting("on", "hash", "cached"), np.geomspace(1.0, 128.0, 9)
    common = {"plain_error": PLAIN, "plain_seconds": 1.0, "squared_bias": BIAS, "squared_bias_error": 0.0}
    values = {**common, "variance": VARIANCE, "seconds": 1.0}
    assert find_crossing(corrected, **values) is None
    crossing = {"plain_curve": (times, PLAIN / times), "curve": (times, BIAS + VARIANCE / times)}
    found = find_crossing(corrected, **values, **crossing)
    assert (found.seconds, found.at_least) == (None, None)
    assert found.measured == pytest.approx(35.0, rel=0.05)
    assert found.words.startswith("the curves cross at 3")


def test_slopes():
    times = np.geomspace(0.1, 100.0, 7)
    assert slope(times, 3.0 / times) == pytest.approx(-1.0)
    assert slope(times, np.full(7, 2.0)) == pytest.approx(0.0)
    assert slope(times[:2], times[:2]) is None
    assert slope([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert slope(times, -times) is None
