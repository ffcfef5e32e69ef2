"""Fixtures for all tests."""

import os
import signal
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As for what a shell runs in the background, and all that it starts: tests of Ctrl-C want it as it is in a terminal
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Published scenes, meshes and images: `../shared/data`, or where NRC_DATA points."""
    folder = Path(os.environ.get("NRC_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs published test data in {folder} (set NRC_DATA to its place)")
    return folder
