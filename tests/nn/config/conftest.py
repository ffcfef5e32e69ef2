import warnings

import pytest

from nrc_tracer.nn.config import ConfigWarning


@pytest.fixture(autouse=True)
def _no_warnings():
    """A warning that a test does not expect is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConfigWarning)
        yield
