"""Where the data is that is not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """The folder of published scenes, meshes, images and photographs: `NRC_DATA`, or `shared/data` beside the repository."""
    return Path(os.environ.get("NRC_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
