"""Reading a set of photographs with their cameras, whatever program wrote it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.colmap import find_model, find_undistorted, read_colmap_views
from nrc_tracer.tasks.nerf.scene_box import Placement
from nrc_tracer.tasks.nerf.transforms_json import read_transforms
from nrc_tracer.tasks.nerf.views import Views


def read_views(
    path: str | os.PathLike[str],
    *,
    aabb_scale: float | None = None,
    scale: float | None = None,
    offset: Sequence[float] | None = None,
    images: str | os.PathLike[str] | None = None,
) -> Views:
    """Read a set of photographs; images are opened for their sizes, and read when they are used.

    Args:
        path: A transforms.json; a folder with one, or with transforms_train.json (and _val, _test); or the folder of a COLMAP
            model, or one with the model in `sparse/0`, `sparse` or the same in `colmap`, and the images in `images`.
        aabb_scale: Overrides the data's value.
        scale: Overrides the data's value, or the value chosen from the cameras.
        offset: Overrides the data's value, or the value chosen from the cameras.
        images: Folder of the images, if it is not the one that the data name, for example one of smaller images. Folders at the
            start of the images' names may be missing in it.

    Raises:
        DataError: There are no such data, or something in them is wrong; the message names the file and the frame.
    """
    path = Path(path)
    placement = Placement(aabb_scale, scale, None if offset is None else tuple(offset))
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    folder = None if images is None else Path(images)
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of images")
    if path.is_file():
        if path.stem in ("cameras", "images") and path.suffix in (".bin", ".txt"):
            path = path.parent
        elif path.suffix.lower() != ".json":
            raise DataError(
                f"{path}: not a set of photographs; give a transforms.json, or a folder with one or with a COLMAP model"
            )
        else:
            return read_transforms(path, placement, with_splits=path.name == "transforms_train.json", images=folder)
    for name in ("transforms_train.json", "transforms.json"):
        if (path / name).is_file():
            return read_transforms(path / name, placement, with_splits=name == "transforms_train.json", images=folder)
    if (model := find_model(path)) is not None:
        return read_colmap_views(path, model, placement, folder)
    if (undistorted := find_undistorted(path)) is not None:
        raise DataError(
            f"{path}: has no COLMAP model, but {undistorted} has one of undistorted images; give that folder"
        )
    raise DataError(
        f"{path}: has neither transforms.json nor transforms_train.json nor a COLMAP model (cameras.txt or .bin, in it or in "
        "sparse/0)"
    )
