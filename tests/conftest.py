"""Fixtures for all tests."""

import os
import signal
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    #  Processes that a shell starts in the background ignore SIGINT, and their children inherit this. Tests of Ctrl-C need the
    # handler that a terminal's foreground process has.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Published scenes, meshes and images: `../shared/data`, or where NRC_DATA points."""
    folder = Path(os.environ.get("NRC_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs published test data in {folder} (set NRC_DATA to the folder that holds it)")
    return folder
