"""Numbers in text files."""

import warnings

import numpy as np
import pytest

from nrc_tracer.scene.number_text import parse_numbers


def test_numbers_are_parsed():
    np.testing.assert_array_equal(
        parse_numbers(b" 1 -2.5\t3e2\r\n.5\x0b+7\x0c nan\n"), [1.0, -2.5, 300.0, 0.5, 7.0, np.nan]
    )
    np.testing.assert_array_equal(parse_numbers(b"1 -2 3", np.int64), [1, -2, 3])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("text", [b"x", b"1 x", b"1 2x", b"1 2x 3", b"1.5.5", b"1,2", b"1 \x1f 2", b"1 2\0", b"1 -"])
def test_malformed_numbers_are_refused(text):
    assert parse_numbers(text) is None
    assert parse_numbers(text, np.int64) is None


@pytest.mark.parametrize("text", [b"1 2 3", b"1 2x"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_warning_filters_stay_as_they_are(monkeypatch, text):
    """They apply to other threads, such as those that decode images, whose warnings would become errors."""
    before, during, parse = list(warnings.filters), [], np.fromstring

    def watched(*arguments, **options):
        during.append(list(warnings.filters))
        return parse(*arguments, **options)

    monkeypatch.setattr(np, "fromstring", watched)
    parse_numbers(text)
    assert during == [before]
