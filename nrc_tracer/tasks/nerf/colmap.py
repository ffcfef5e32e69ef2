"""Reading photographs whose cameras COLMAP has found, and converting cameras to COLMAP's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.camera import PhotoCamera, check_camera, rigid_pose
from nrc_tracer.tasks.nerf.camera_models import MODELS, lens_of
from nrc_tracer.tasks.nerf.colmap_format import ColmapCamera, ColmapImage, ColmapModel, read_model
from nrc_tracer.tasks.nerf.photo_folder import PhotoFolder, find_image
from nrc_tracer.tasks.nerf.photographs import photograph_head
from nrc_tracer.tasks.nerf.rotations import quaternion, rotation_of
from nrc_tracer.tasks.nerf.scene_box import Placement, check_parallax, place_scene
from nrc_tracer.tasks.nerf.views import View, Views, hold_out

FLIP = np.diag((1.0, -1.0, -1.0))
"""Rotation from COLMAP's camera axes (x right, y down, z forward) to this package's (x right, y up, z backward), and back."""
MODEL_FOLDERS = ("sparse/0", "sparse", ".", "colmap/sparse/0", "colmap/sparse", "colmap")
"""Where a model is looked for, relative to the given folder: COLMAP's own folders and nerfstudio's."""
UNDISTORTED_FOLDERS = ("dense/0", "dense")
"""Where COLMAP's reconstruction writes undistorted images with a model of their own."""


def find_model(folder: Path) -> Path | None:
    """The folder with a model's cameras and images, at one of `MODEL_FOLDERS`; None if there is none."""
    candidates = (folder if name == "." else folder / name for name in MODEL_FOLDERS)
    return next((candidate for candidate in candidates if _is_model(candidate)), None)


def find_undistorted(folder: Path) -> Path | None:
    """The folder of COLMAP's undistorted images within a folder; None if there is none."""
    return next((folder / name for name in UNDISTORTED_FOLDERS if find_model(folder / name)), None)


def _is_model(folder: Path) -> bool:
    return all(any((folder / f"{name}{end}").is_file() for end in (".bin", ".txt")) for name in ("cameras", "images"))


def read_colmap_views(
    folder: Path, model_folder: Path, placement: Placement | None = None, images: Path | None = None
) -> Views:
    """Read photographs and their cameras from a COLMAP model.

    Images lie in `images`, in the given folder or one of the three folders above it. Masks, if any, lie in `masks` beside it as
    NAME.png, black where pixels do not count, or are instant-ngp's `dynamic_mask_NAME.png` beside an image. If an image was
    resized evenly, the intrinsics are scaled. Units are arbitrary, so the cameras decide where the scene lies.

    Args:
        folder: The folder that the user gave.
        model_folder: The model's folder, as `find_model` found it.
        placement: Overrides where the cameras place the scene.
        images: Folder of the images, if it is another.

    Raises:
        DataError: A file is missing or damaged, or an image's size is not its camera's; the message names it.
    """
    model = read_model(model_folder, points=False)
    if not model.images:
        raise DataError(f"{model_folder}: images: the model has no images")
    base = images
    if base is None:
        above = (folder, folder.parent, folder.parent.parent, folder.parent.parent.parent)
        base = next((b / "images" for b in above if (b / "images").is_dir()), None)
    if base is None:
        raise DataError(f'{folder}: has no folder "images"; name the folder of the images with --images')
    photographs = PhotoFolder(
        base, moved=images is not None, upright=False
    )  # COLMAP does not look at EXIF orientations
    views = []
    for number, image in sorted(model.images.items()):
        place = f"{model_folder}: image {number} ({image.name})"
        file = photographs.find(image.name)
        if file is None:
            continue
        camera = _camera(model, image, place, find_undistorted(folder))
        head = photograph_head(file, place)
        fitted = photographs.fitted(camera, head, image.name)
        if fitted is None:
            raise DataError(
                f"{place}: the image has {head.width} x {head.height} pixels, but its camera has {camera.width} x "
                f"{camera.height}; resize one of them"
            )
        mask = find_image(base.parent / "masks", f"{image.name}.png")
        inverted = False
        if mask is None:
            mask = photographs.dynamic_mask(file)
            inverted = mask is not None
        camera, upright = fitted
        views.append(View(image.name, camera, file, mask, inverted, head.has_alpha, upright))
    missing = photographs.missing
    if not views:
        raise DataError(
            f"{base}: none of the {len(missing)} images of the model exists (the first is {missing[0]}); "
            "name their folder with --images"
        )

    check_parallax([view.camera for view in views], str(folder))
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
        notes=(*_other_models(model_folder), *photographs.notes, *notes),
    )


def _other_models(model_folder: Path) -> list[str]:
    """A note if COLMAP found several models: photographs that it could not connect, each with cameras of its own."""
    if not model_folder.name.isdecimal():
        return []
    others = [other.name for other in model_folder.parent.iterdir() if other.name.isdecimal() and _is_model(other)]
    others.remove(model_folder.name)
    if not others:
        return []
    return [f"{model_folder.parent} has {len(others) + 1} models that are not connected; {model_folder.name} is read"]


def _camera(model: ColmapModel, image: ColmapImage, place: str, undistorted: Path | None) -> PhotoCamera:
    found = model.cameras.get(image.camera)
    if found is None:
        raise DataError(f"{place}: there is no camera {image.camera}")
    values = dict(zip(MODELS[found.model].parameters, found.parameters, strict=True))
    try:
        lens, distortion = lens_of(found.model, values, place)
    except DataError as error:
        if undistorted is None:
            raise
        raise DataError(f"{error}: {undistorted}") from error
    fx, fy = (values[name] if name in values else values["f"] for name in ("fx", "fy"))
    to_world = np.empty((3, 4))
    rotation = _rotation(np.array(image.rotation), place)
    to_world[:, :3] = rotation.T @ FLIP
    to_world[:, 3] = -rotation.T @ np.array(image.translation)
    camera = PhotoCamera(
        found.width,
        found.height,
        fx,
        fy,
        values["cx"],
        values["cy"],
        distortion,
        lens,
        rigid_pose(to_world, place),
    )
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
