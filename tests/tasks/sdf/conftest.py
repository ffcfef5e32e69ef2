"""Fixtures for signed distances."""

import pytest

from nrc_tracer.device.torch_launcher import TorchLauncher


@pytest.fixture(scope="session")
def launcher():
    return TorchLauncher("cpu")
