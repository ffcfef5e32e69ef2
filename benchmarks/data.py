"""Where scenes and data are that benchmarks read."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The root of the repository."""


def data_folder() -> Path:
    """The folder of published scenes, meshes, images and photographs: `NRC_DATA`, or `shared/data` beside the repository."""
    return Path(os.environ.get("NRC_DATA") or ROOT.parent / "shared" / "data")


def find_scene(name: str) -> Path | None:
    """The file of a scene by its name, or None if it is not available; a path is returned unchanged."""
    places = (Path(name), ROOT / "scenes" / f"{name}.json", data_folder() / "scenes" / "mitsuba" / name / "scene.xml")
    return next((place for place in places if place.is_file()), None)
