"""Fixtures for the path tracer's tests."""

import numpy as np
import pytest


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that are the same in every run and different in every test."""
    return np.random.default_rng(list(request.node.name.encode()))
