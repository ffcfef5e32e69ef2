"""Fixtures for the radiance cache's tests."""

import numpy as np
import pytest

from nrc_tracer.device.launch import initialize


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that are the same in every run and different in every test."""
    return np.random.default_rng(list(request.node.name.encode()))


@pytest.fixture(scope="session", autouse=True)
def _warp() -> None:
    """Warp must be initialized before tensors are shared with it."""
    initialize()
