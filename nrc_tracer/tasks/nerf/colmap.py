"""Reading photographs whose cameras COLMAP has found, and converting cameras to COLMAP's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.camera import LensModel, PhotoCamera, check_camera, rigid_pose
from nrc_tracer.tasks.nerf.colmap_format import ColmapCamera, ColmapImage, ColmapModel, read_model
from nrc_tracer.tasks.nerf.photographs import photograph_size
from nrc_tracer.tasks.nerf.rotations import quaternion, rotation_of
from nrc_tracer.tasks.nerf.scene_box import Placement, place_scene
from nrc_tracer.tasks.nerf.views import View, Views, hold_out

FLIP = np.diag((1.0, -1.0, -1.0))
"""Rotation from COLMAP's camera axes (x right, y down, z forward) to this package's (x right, y up, z backward), and back."""
FOCALS = {"SIMPLE_PINHOLE": 1, "PINHOLE": 2, "SIMPLE_RADIAL": 1, "RADIAL": 1, "OPENCV": 2, "OPENCV_FISHEYE": 2}
FOCALS |= {"SIMPLE_RADIAL_FISHEYE": 1, "RADIAL_FISHEYE": 1}
"""Number of focal lengths at the start of the parameters of each supported camera model; cx, cy and distortion follow."""


def find_model(folder: Path) -> Path | None:
    """The folder with a model's cameras and images: `sparse/0`, `sparse` or the folder itself; None if there is none."""
    for candidate in (folder / "sparse" / "0", folder / "sparse", folder):
        if all(
            any((candidate / f"{name}{end}").is_file() for end in (".bin", ".txt")) for name in ("cameras", "images")
        ):
            return candidate
    return None


def read_colmap_views(folder: Path, model_folder: Path, placement: Placement | None = None) -> Views:
    """Read photographs and their cameras from a COLMAP model.

    Images lie in `images`, in the given folder or one of the two folders above it. Masks, if any, lie in `masks` beside it as
    NAME.png, black where pixels do not count. Units are arbitrary, so the cameras decide where the scene lies.

    Args:
        folder: The folder that the user gave.
        model_folder: The model's folder, as `find_model` found it.
        placement: Overrides where the cameras place the scene.

    Raises:
        DataError: A file is missing or damaged, or an image's size is not its camera's; the message names it.
    """
    model = read_model(model_folder, points=False)
    if not model.images:
        raise DataError(f"{model_folder}: images: the model has no images")
    base = next((b for b in (folder, folder.parent, folder.parent.parent) if (b / "images").is_dir()), None)
    if base is None:
        raise DataError(f'{folder}: has no folder "images"')
    views, missing = [], []
    for number, image in sorted(model.images.items()):
        place = f"{model_folder}: image {number} ({image.name})"
        file = base / "images" / image.name
        if not file.is_file():
            missing.append(image.name)
            continue
        camera = _camera(model, image, place)
        width, height, has_alpha = photograph_size(file, place)
        if (width, height) != (camera.width, camera.height):
            raise DataError(
                f"{place}: the image has {width} x {height} pixels, but its camera has {camera.width} x {camera.height}; "
                "resize one of them"
            )
        mask = base / "masks" / f"{image.name}.png"
        views.append(View(image.name, camera, file, mask if mask.is_file() else None, False, has_alpha))
    if not views:
        raise DataError(
            f"{base / 'images'}: none of the {len(missing)} images of the model exists (the first is {missing[0]})"
        )

    train, test, words = hold_out(views)
    box, notes = place_scene(Placement(), placement or Placement(), [view.camera for view in views], str(folder))
    return Views(
        train,
        (),
        test,
        aabb_scale=box.aabb_scale,
        scale=box.scale,
        offset=box.offset,
        missing=tuple(missing),
        has_alpha=any(view.has_alpha for view in views),
        split=words,
        source=str(folder),
        notes=tuple(notes),
    )


def _camera(model: ColmapModel, image: ColmapImage, place: str) -> PhotoCamera:
    found = model.cameras.get(image.camera)
    if found is None:
        raise DataError(f"{place}: there is no camera {image.camera}")
    if found.model not in FOCALS:
        raise DataError(
            f"{place}: camera model {found.model} is not supported (known: {', '.join(FOCALS)}); undistort the images with COLMAP"
        )
    focals = FOCALS[found.model]
    fx, fy = found.parameters[0], found.parameters[focals - 1]
    cx, cy, *lens = found.parameters[focals:]
    k1, k2, third, fourth = (*lens, 0.0, 0.0, 0.0, 0.0)[:4]
    fisheye = found.model.endswith("FISHEYE")
    distortion = (k1, k2, third, fourth, 0.0, 0.0) if fisheye else (k1, k2, 0.0, 0.0, third, fourth)
    lens_model: LensModel = "fisheye" if fisheye else "opencv" if any(distortion) else "pinhole"
    to_world = np.empty((3, 4))
    rotation = _rotation(np.array(image.rotation), place)
    to_world[:, :3] = rotation.T @ FLIP
    to_world[:, 3] = -rotation.T @ np.array(image.translation)
    camera = PhotoCamera(found.width, found.height, fx, fy, cx, cy, distortion, lens_model, rigid_pose(to_world, place))
    return check_camera(camera, place)


def colmap_model(views: Sequence[View]) -> ColmapModel:
    """Views as a COLMAP model without points, with one camera per image.

    Raises:
        DataError: A lens has distortion that COLMAP's models OPENCV and OPENCV_FISHEYE do not have.
    """
    cameras, images = {}, {}
    for number, view in enumerate(views, start=1):
        camera = view.camera
        k1, k2, k3, k4, p1, p2 = camera.distortion
        if camera.model == "opencv" and (k3 or k4):
            raise DataError(f"{view.name}: COLMAP's model OPENCV has no k3 and k4")
        name, lens = {
            "pinhole": ("PINHOLE", ()),
            "opencv": ("OPENCV", (k1, k2, p1, p2)),
            "fisheye": ("OPENCV_FISHEYE", (k1, k2, k3, k4)),
        }[camera.model]
        parameters = (camera.fx, camera.fy, camera.cx, camera.cy, *lens)
        cameras[number] = ColmapCamera(name, camera.width, camera.height, parameters)
        rotation = (camera.to_world[:, :3] @ FLIP).T
        translation = -rotation @ camera.position
        images[number] = ColmapImage(
            tuple(quaternion(rotation).tolist()), tuple(translation.tolist()), number, view.name
        )
    return ColmapModel(cameras, images)


def _rotation(values: np.ndarray, place: str) -> np.ndarray:
    length = np.linalg.norm(values)
    if not np.isfinite(length) or length < 1e-6:
        raise DataError(f"{place}: its rotation is not a quaternion: {' '.join(f'{value:g}' for value in values)}")
    return rotation_of(values)
