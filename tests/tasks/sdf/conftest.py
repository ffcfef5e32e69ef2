"""Fixtures for signed distances."""

import pytest

from nrc_tracer.nn.torch_launcher import TorchLauncher


@pytest.fixture(scope="session")
def launcher():
    return TorchLauncher("cpu")
