"""Cameras as JSON data, so that a snapshot can be viewed from its photographs' cameras without the photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.camera import PhotoCamera, check_camera
from nrc_tracer.tasks.nerf.views import View

_LENS = ("width", "height", "fx", "fy", "cx", "cy", "distortion", "model")


def record_cameras(views: Sequence[View]) -> dict[str, Any]:
    """Cameras as JSON data: `names`, `poses` of 12 numbers each, the different `lenses`, and the number of each view's `lens`."""
    lenses: list[list[Any]] = []
    which = []
    for view in views:
        lens = [getattr(view.camera, name) for name in _LENS]
        lens = [list(value) if isinstance(value, tuple) else value for value in lens]
        if lens not in lenses:
            lenses.append(lens)
        which.append(lenses.index(lens))
    poses = [view.camera.to_world.reshape(-1).tolist() for view in views]
    return {"names": [view.name for view in views], "lenses": lenses, "lens": which, "poses": poses}


def read_cameras(record: Mapping[str, Any], place: str) -> tuple[list[str], list[PhotoCamera]]:
    """The names and cameras of a record made by `record_cameras`.

    Raises:
        DataError: The record is damaged; the message begins with `place`.
    """
    try:
        names = [str(name) for name in record["names"]]
        lenses = [dict(zip(_LENS, lens, strict=True)) for lens in record["lenses"]]
        cameras = []
        for lens, pose in zip(record["lens"], record["poses"], strict=True):
            values = dict(lenses[lens])
            values["distortion"] = tuple(float(value) for value in values["distortion"])
            to_world = np.array(pose, np.float64).reshape(3, 4)
            cameras.append(check_camera(PhotoCamera(**values, to_world=to_world), place))
        if len(names) != len(cameras):
            raise ValueError(f"{len(names)} names for {len(cameras)} cameras")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(f"{place}: its cameras are damaged: {type(error).__name__}: {error}") from error
    return names, cameras
