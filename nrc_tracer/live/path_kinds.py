"""What a file or folder holds that a viewer can show, without reading much of it."""

from __future__ import annotations

import json
from pathlib import Path

SCENE, SNAPSHOT, IMAGE, PHOTOGRAPHS = "scene", "snapshot", "image", "photographs"
"""The kinds of files and folders."""

SNAPSHOTS = frozenset({".safetensors", ".ingp", ".msgpack"})
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".hdr", ".npy", ".bmp", ".tga", ".webp", ".gif"})

MOST_JSON = 64 * 2**20
"""Size of the largest JSON file that is read to tell a scene from photographs [bytes]."""


def kind_of(path: Path) -> str:
    """The kind of a file or folder, from its name, and for JSON from its contents.

    Files of other names, and what does not exist, count as scenes, whose readers name the mistake.
    """
    suffix = path.suffix.lower()
    if suffix in SNAPSHOTS:
        return SNAPSHOT
    if suffix in IMAGES:
        return IMAGE
    if path.is_dir() or suffix in {".bin", ".txt"}:
        return PHOTOGRAPHS
    if suffix == ".json" and _has_frames(path):
        return PHOTOGRAPHS
    return SCENE


def _has_frames(path: Path) -> bool:
    """Whether a JSON file lists the frames of a data set."""
    try:
        if path.stat().st_size > MOST_JSON:
            return False
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and isinstance(found.get("frames"), list)
