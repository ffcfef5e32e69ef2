"""Reading transforms.json, as written by instant-ngp, nerfstudio and NeRF's Blender data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.camera import MAX_SIDE, PhotoCamera, check_camera, focal_length, rigid_pose
from nrc_tracer.tasks.nerf.camera_models import DISTORTION, UNDISTORT, lens_of
from nrc_tracer.tasks.nerf.json_data import finite_number, read_json
from nrc_tracer.tasks.nerf.photo_folder import PhotoFolder, find_image
from nrc_tracer.tasks.nerf.photographs import PhotographHead, photograph_head
from nrc_tracer.tasks.nerf.scene_box import Placement, check_parallax, place_scene
from nrc_tracer.tasks.nerf.views import View, Views, hold_out

UNSUPPORTED_LENSES = ("ftheta_p0", "is_latlong", "is_orthographic", "is_360")
IGNORED_WITH_NOTE = {
    "ply_file_path": "the point cloud is not used",
    "rolling_shutter": "every image is treated as exposed at once",
}


def read_transforms(
    path: Path, placement: Placement | None = None, *, with_splits: bool = False, images: Path | None = None
) -> Views:
    """Read a transforms.json.

    A frame's values override the file's. Focal lengths are `fl_x` and `fl_y`, or follow from `camera_angle_x` and
    `camera_angle_y` in radians; a missing `fl_y` equals `fl_x`. `cx` and `cy` default to the image's centre, `w` and `h` to its
    size; if the image was resized evenly from `w` x `h`, the intrinsics are scaled. Distortion without a `camera_model` is
    OpenCV's. Unknown keys are ignored. Masks are nerfstudio's `mask_path` (black
    pixels do not count) or instant-ngp's `dynamic_mask_NAME.png` beside an image (white pixels do not count).

    If the file has none of `scale`, `offset`, `aabb` and `aabb_scale`, and has focal lengths in pixels (nerfstudio), its units
    are arbitrary, and the cameras decide where the scene lies. Otherwise scale defaults to 0.33 and offset to 0.5, as in
    instant-ngp.

    Args:
        path: The file; with splits, the one of the training frames.
        placement: Overrides the file's placement of the scene.
        with_splits: Whether transforms_val.json and transforms_test.json beside it belong to it.
        images: Folder of the images, if it is not the file's.

    Raises:
        DataError: Something in it is wrong; the message names the file and the frame.
    """
    files = {"train": _File(path, images)}
    if with_splits:
        for split in ("val", "test"):
            other = path.with_name(f"transforms_{split}.json")
            if other.is_file():
                files[split] = _File(other, images)
    views = {split: file.views() for split, file in files.items()}
    missing = tuple(name for file in files.values() for name in file.photographs.missing)
    if not views["train"]:
        raise DataError(
            f"{path}: none of its {len(missing)} images exists (the first is {missing[0]}); "
            "if they are in another folder, name it with --images (in Python: images)"
        )

    notes = [*files["train"].notes, *(note for file in files.values() for note in file.photographs.notes)]
    validation: tuple[View, ...] = tuple(views.get("val", ()))
    first = files["train"]
    if views.get("test") == []:
        notes.append(
            f"{files['test'].path.name}: none of its {len(files['test'].photographs.missing)} images exists, so views are held "
            f"out from those of {path.name}"
        )
    if views.get("test"):
        train, test, words = tuple(views["train"]), tuple(views["test"]), files["test"].path.name
    elif (listed := first.listed_split(views["train"])) is not None:
        train, validation, test, words = listed
    else:
        train, test, words = hold_out(views["train"])
    everything = [*train, *validation, *test]
    cameras = [view.camera for view in everything]
    check_parallax(cameras, str(path))
    arbitrary = cameras if first.is_arbitrary() else None
    box, placed = place_scene(first.placement(), placement or Placement(), arbitrary, str(path))
    return Views(
        train,
        validation,
        test,
        aabb_scale=box.aabb_scale,
        scale=box.scale,
        offset=box.offset,
        missing=missing,
        has_alpha=any(view.has_alpha for view in everything),
        split=words,
        source=str(path),
        notes=(*notes, *placed),
    )


class _File:
    """One transforms.json."""

    def __init__(self, path: Path, images: Path | None) -> None:
        self.path = path
        self.photographs = PhotoFolder(path.parent if images is None else images, moved=images is not None)
        self.notes: list[str] = []
        self.root = read_json(path)
        frames = self.root.get("frames")
        if not isinstance(frames, list):
            raise DataError(f'{path}: has no list "frames"')
        self.frames: list[Any] = frames
        if not self.frames:
            raise DataError(f"{path}: frames: the list is empty, so there are no photographs")
        for key in UNSUPPORTED_LENSES:
            if self.root.get(key):
                raise DataError(f"{path}: {key}: this kind of lens is not supported; {UNDISTORT}")
        self.notes += [f"{key}: {words}" for key, words in IGNORED_WITH_NOTE.items() if self.root.get(key)]

    def views(self) -> list[View]:
        """Views of all frames whose image exists."""
        views = []
        for index, frame in enumerate(self.frames):
            place = f"{self.path}: frames[{index}]"
            if not isinstance(frame, dict):
                raise DataError(f"{place}: must be an object, not a {type(frame).__name__}")
            name = frame.get("file_path")
            if not isinstance(name, str) or not name or "\0" in name:
                raise DataError(f"{place}: has no file_path")
            place = f"{place} ({name})"
            image = self.photographs.find(name)
            if image is None:
                continue
            head = photograph_head(image, place)
            camera, upright = self._camera(frame, head, place)
            mask, inverted = self._mask(frame, image, place)
            views.append(View(name, camera, image, mask, inverted, head.has_alpha, upright))
        return views

    def _mask(self, frame: Mapping[str, Any], image: Path, place: str) -> tuple[Path | None, bool]:
        name = frame.get("mask_path")
        if name is not None:
            if not isinstance(name, str):
                raise DataError(f"{place}: mask_path must be a file name")
            mask = find_image(self.path.parent, name)
            if mask is None:
                raise DataError(f"{place}: there is no mask {name}")
            return mask, False
        mask = self.photographs.dynamic_mask(image)
        return mask, mask is not None

    def _camera(self, frame: Mapping[str, Any], head: PhotographHead, place: str) -> tuple[PhotoCamera, bool]:
        """The camera of a frame, and whether it is that of the image with its EXIF orientation applied."""
        matrix = frame.get("transform_matrix")
        pose = rigid_pose(_matrix(matrix, place), place)

        def number(key: str) -> float | None:
            value = frame.get(key, self.root.get(key))
            return None if value is None else finite_number(value, f"{place}: {key}")

        width, height = head.width, head.height
        given_width, given_height = number("w"), number("h")
        # One side alone does not tell whether the image was resized evenly
        stated = given_width is not None and given_height is not None and max(given_width, given_height) <= MAX_SIDE
        if given_width is not None and given_height is not None and stated:
            width, height = round(given_width), round(given_height)
        fx, fy = number("fl_x"), number("fl_y")
        if fx is None and (angle := number("camera_angle_x")) is not None:
            fx = focal_length(width, angle, f"{place}: camera_angle_x")
        if fy is None and number("fl_x") is None and (angle := number("camera_angle_y")) is not None:
            fy = focal_length(height, angle, f"{place}: camera_angle_y")
        if fx is None:
            if fy is None:
                raise DataError(f"{place}: no focal length: neither fl_x nor camera_angle_x is given")
            fx = fy
        cx, cy = number("cx"), number("cy")
        lens, distortion = lens_of(*self._lens(frame, number, place), place)
        camera = PhotoCamera(
            width=width,
            height=height,
            fx=fx,
            fy=fx if fy is None else fy,
            cx=0.5 * width if cx is None else cx,
            cy=0.5 * height if cy is None else cy,
            distortion=distortion,
            model=lens,
            to_world=pose,
        )
        fitted = self.photographs.fitted(camera, head, str(frame["file_path"]))
        for key, given, size in (("w", given_width, head.width), ("h", given_height, head.height)):
            if given is not None and round(given) != size and (fitted is None or not stated):
                raise DataError(
                    f"{place}: {key} is {given:g} and the image has {head.width} x {head.height} pixels; "
                    "correct the file or resize the image"
                )
        camera, upright = fitted or (camera, True)
        return check_camera(camera, place), upright

    def _lens(
        self, frame: Mapping[str, Any], number: Callable[[str], float | None], place: str
    ) -> tuple[str, dict[str, float]]:
        """The name of a frame's camera model, and its distortion coefficients by name."""
        name = frame.get("camera_model", self.root.get("camera_model", "PERSPECTIVE"))
        if self.root.get("is_fisheye") or frame.get("is_fisheye"):
            name = "OPENCV_FISHEYE"
        if not isinstance(name, str):
            raise DataError(f"{place}: camera_model must be a name, not a {type(name).__name__}")
        values = {key: number(key) or 0.0 for key in DISTORTION}
        if name.upper() == "FULL_OPENCV":
            values |= {"d1": values["k4"], "d2": number("k5") or 0.0, "d3": number("k6") or 0.0, "k4": 0.0}
        return name.upper(), values

    def listed_split(
        self, views: list[View]
    ) -> tuple[tuple[View, ...], tuple[View, ...], tuple[View, ...], str] | None:
        """nerfstudio's lists of file names as training, validation and test views, and words for the split; None without them."""
        train, validation, test = (self.root.get(f"{split}_filenames") for split in ("train", "val", "test"))
        if not isinstance(train, list) or not isinstance(test, list) or not test:
            return None
        by_name = {view.name: view for view in views}

        def chosen(names: list[Any]) -> tuple[View, ...]:
            return tuple(by_name[name] for name in names if isinstance(name, str) and name in by_name)

        if not chosen(train):
            raise DataError(
                f"{self.path}: train_filenames: none of them is the file_path of a frame whose image exists"
            )
        held_out = chosen(validation) if isinstance(validation, list) else ()
        return chosen(train), held_out, chosen(test), f"test_filenames of {self.path.name}"

    def is_arbitrary(self) -> bool:
        """Whether units are arbitrary and the file does not place the scene."""
        return ("fl_x" in self.root or "fl_x" in self.frames[0]) and not any(
            key in self.root for key in ("scale", "offset", "aabb", "aabb_scale")
        )

    def placement(self) -> Placement:
        """The file's placement of the scene."""
        root = self.root
        scale = offset = side = None
        if "aabb" in root:
            scale, offset = self._from_box(root["aabb"])
        if "scale" in root:
            scale = finite_number(root["scale"], f"{self.path}: scale")
        if "offset" in root:
            given = root["offset"]
            given = given if isinstance(given, list) else [given] * 3
            offset = tuple(finite_number(value, f"{self.path}: offset") for value in given)
        if "aabb_scale" in root:
            side = finite_number(root["aabb_scale"], f"{self.path}: aabb_scale")
        return Placement(side, scale, offset)

    def _from_box(self, box: Any) -> tuple[float, tuple[float, ...]]:
        """Scale and offset that map a box [[lowest corner], [highest corner]] to the centre of the unit cube."""
        place = f"{self.path}: aabb"
        if not (isinstance(box, list) and len(box) == 2 and all(isinstance(c, list) and len(c) == 3 for c in box)):
            raise DataError(f"{place}: must be two corners of three numbers")
        low, high = ([finite_number(value, place) for value in corner] for corner in box)
        side = max(b - a for a, b in zip(low, high, strict=True))
        if side <= 0.0:
            raise DataError(f"{place}: the second corner must lie above the first")
        return 1.0 / side, tuple(0.5 - 0.5 * (a + b) / side for a, b in zip(low, high, strict=True))


def _matrix(rows: Any, place: str) -> list[list[float]]:
    is_matrix = (
        isinstance(rows, list) and len(rows) in (3, 4) and all(isinstance(r, list) and len(r) == 4 for r in rows)
    )
    if not is_matrix:
        raise DataError(f"{place}: transform_matrix must have 4 rows of 4 numbers")
    return [[finite_number(value, f"{place}: transform_matrix") for value in row] for row in rows]
