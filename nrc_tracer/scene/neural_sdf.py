"""Snapshots of learnt signed distance functions: their headers, without the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from nrc_tracer.errors import SceneError, one_line
from nrc_tracer.files.tensor_file import opened_tensors
from nrc_tracer.scene.model import SdfSnapshot

MAX_HEADER_BYTES = 64 * 2**20
"""Largest accepted size of a header [bytes]."""
MARGIN = 0.01
"""Distance that the learnt surface may reach beyond the box around the original mesh [unit cubes]."""

_KEY, _FORMAT = "nrc_tracer", "nrc_tracer.nn"
_Corner = tuple[float, float, float]


class _Sdf(msgspec.Struct):
    center: _Corner
    scale: float
    bounds: tuple[_Corner, _Corner]


class _Header(msgspec.Struct):
    format: str
    n_input_dims: int
    n_output_dims: int
    metadata: dict[str, Any] = {}


def read_sdf_snapshot(path: Path) -> SdfSnapshot:
    """Read the header of a snapshot that `nrc-tracer fit sdf` wrote, without its parameters.

    Raises:
        SceneError: The file is missing, damaged, not a snapshot, or a snapshot of something other than a shape.
    """
    if not path.is_file():
        raise SceneError(f"{path}: {'is not a file' if path.exists() else 'no such snapshot'}")
    with opened_tensors(path, "numpy", kind="snapshot", error=SceneError, max_header=MAX_HEADER_BYTES) as file:
        text = (file.metadata() or {}).get(_KEY, "")
    try:
        header = msgspec.json.decode(text, type=_Header)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise SceneError(
            f"{path}: a safetensors file, but not a snapshot of a fitted shape: {one_line(error)}"
        ) from error
    task = header.metadata.get("task")
    if header.format != _FORMAT or task != "sdf":
        what = f"of fit {task}" if task in ("image", "nerf") else "of a model that is not a fitted shape"
        raise SceneError(f"{path}: a snapshot {what}; a neural-sdf needs one that nrc-tracer fit sdf wrote")
    try:
        sdf = msgspec.convert(header.metadata.get("sdf"), _Sdf)
    except msgspec.ValidationError as error:
        raise SceneError(f"{path}: the snapshot of a shape, but malformed: {one_line(error)}") from error
    bounds = np.array(sdf.bounds)
    fits = np.all(np.isfinite([*sdf.center, *bounds.ravel()])) and np.all(bounds[0] <= bounds[1])
    if not fits or not 0.0 < sdf.scale < np.inf or (header.n_input_dims, header.n_output_dims) != (3, 1):
        raise SceneError(f"{path}: the snapshot of a shape, but malformed: it has no usable center, scale and bounds")
    return SdfSnapshot(path, np.array(sdf.center), sdf.scale, bounds)


def cube_box(center: np.ndarray, scale: float, bounds: np.ndarray) -> np.ndarray:
    """Return a box around a learnt surface in the unit cube of its network: lower and upper corner, float64 [2, 3].

    Args:
        center: Point that is mapped to (0.5, 0.5, 0.5), in the coordinates of the original mesh.
        scale: Factor from the lengths of the mesh to unit cubes.
        bounds: Lower and upper corner of the mesh in its own coordinates, [2, 3].
    """
    box = (bounds - center) * scale + 0.5
    return np.clip(box + np.array([[-MARGIN], [MARGIN]]), 0.0, 1.0)


def box_corners(snapshot: SdfSnapshot) -> np.ndarray:
    """Return the eight corners of the box around the original mesh, shape [8, 3]."""
    return np.stack(np.meshgrid(*snapshot.bounds.T, indexing="ij"), axis=-1).reshape(8, 3)
