"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Published scenes, meshes and images: `../shared/data`, or where NRC_DATA points."""
    folder = Path(os.environ.get("NRC_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs published test data in {folder} (set NRC_DATA to its place)")
    return folder
