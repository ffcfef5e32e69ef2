"""Reading a set of photographs with their cameras, whatever program wrote it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.colmap import find_model, read_colmap_views
from nrc_tracer.tasks.nerf.scene_box import Placement
from nrc_tracer.tasks.nerf.transforms_json import read_transforms
from nrc_tracer.tasks.nerf.views import Views


def read_views(
    path: str | os.PathLike[str],
    *,
    aabb_scale: float | None = None,
    scale: float | None = None,
    offset: Sequence[float] | None = None,
) -> Views:
    """Read a set of photographs; images are opened for their sizes, and read when they are used.

    Args:
        path: A transforms.json; a folder with one, or with transforms_train.json (and _val, _test); or the folder of a COLMAP
            model, or one with the model in `sparse/0` or `sparse`, and the images in `images`.
        aabb_scale: Overrides the data's value.
        scale: Overrides the data's value, or the value chosen from the cameras.
        offset: Overrides the data's value, or the value chosen from the cameras.

    Raises:
        DataError: There are no such data, or something in them is wrong; the message names the file and the frame.
    """
    path = Path(path)
    placement = Placement(aabb_scale, scale, None if offset is None else tuple(offset))
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    if path.is_file():
        if path.suffix.lower() != ".json":
            raise DataError(
                f"{path}: not a set of photographs; give a transforms.json, or a folder with one or with a COLMAP model"
            )
        if path.name == "transforms_train.json":
            return read_transforms(path, placement, with_splits=True)
        return read_transforms(path, placement)
    if (path / "transforms_train.json").is_file():
        return read_transforms(path / "transforms_train.json", placement, with_splits=True)
    if (path / "transforms.json").is_file():
        return read_transforms(path / "transforms.json", placement)
    if (model := find_model(path)) is not None:
        return read_colmap_views(path, model, placement)
    raise DataError(
        f"{path}: has neither transforms.json nor transforms_train.json nor a COLMAP model (cameras.txt or .bin, in it or in "
        "sparse/0)"
    )
