"""Camera paths for videos: around a scene, along the cameras of its photographs, or from a file."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.files.atomic import replacing
from nrc_tracer.tasks.nerf.camera import PhotoCamera, check_camera, focal_length, rigid_pose
from nrc_tracer.tasks.nerf.json_data import finite_number, read_json
from nrc_tracer.tasks.nerf.rotations import quaternion, rotation_of
from nrc_tracer.tasks.nerf.scene_box import center_of_attention
from nrc_tracer.tasks.nerf.scene_camera import looking_at

KEYS = 24
"""Most cameras of photographs on a path: more make it shaky."""
LEVEL = 0.1
"""Largest ratio of the least variance of right vectors to the next at which cameras count as held level."""
TURNED = 0.01
"""Least variance of right vectors within their plane at which cameras count as turning: they span some 20 degrees."""
MOST_LEAN = 0.5
"""Smallest cosine between the normal of the right vectors' plane and the mean upward direction of the cameras."""
PATHS = ("spline", "orbit", "spiral")
"""Kinds of paths."""


def camera_path(kind: str, cameras: Sequence[PhotoCamera], frames: int) -> list[PhotoCamera]:
    """A path of one of the kinds `PATHS`; see `spline_path`, `orbit_path` and `spiral_path`. Raises `DataError`."""
    make = {"spline": spline_path, "orbit": orbit_path, "spiral": spiral_path}
    if kind not in make:
        raise DataError(f'there is no camera path "{kind}" (known: {", ".join(PATHS)})')
    if not cameras:
        raise DataError("there are no cameras to make a path from")
    return make[kind](cameras, frames)


def spline_path(cameras: Sequence[PhotoCamera], frames: int) -> list[PhotoCamera]:
    """A smooth path along the cameras of photographs.

    It passes up to 24 of them, in the order given or, if that is shorter, always going to the nearest one left. The lens is that
    of the first camera. See `spline_through`.
    """
    chosen = np.unique(np.linspace(0, len(cameras) - 1, min(len(cameras), KEYS)).round().astype(int))
    keys = _shorter([cameras[i] for i in chosen])
    return spline_through([cameras[0].placed(key.to_world) for key in keys], frames)


def spline_through(keys: Sequence[PhotoCamera], frames: int) -> list[PhotoCamera]:
    """A smooth path through cameras in their order.

    Positions, unit quaternions and logarithms of focal lengths follow Catmull-Rom splines; the rest of the lens is that of the
    first camera.

    Args:
        keys: The cameras.
        frames: Number of frames, the first at the first camera and the last at the last.
    """
    first = keys[0]
    positions = np.array([camera.position for camera in keys])
    zooms = np.log([(camera.fx / first.fx, camera.fy / first.fy) for camera in keys])
    turns = np.array([quaternion(camera.to_world[:, :3]) for camera in keys])
    for i in range(1, len(turns)):  # choose the nearer of the two quaternions of a rotation
        if turns[i] @ turns[i - 1] < 0.0:
            turns[i] = -turns[i]
    path = []
    for t in np.linspace(0.0, len(keys) - 1.0, frames):
        pose = np.column_stack((rotation_of(_catmull_rom(turns, t)), _catmull_rom(positions, t)))
        fx, fy = ((first.fx, first.fy) * np.exp(_catmull_rom(zooms, t))).tolist()
        path.append(dataclasses.replace(first.placed(pose), fx=fx, fy=fy))
    return path


def orbit_path(cameras: Sequence[PhotoCamera], frames: int) -> list[PhotoCamera]:
    """One full circle around the point that the cameras look at, at their mean height and distance, looking at it."""
    center, up = center_of_attention(cameras)[0], upward(cameras)
    offsets = np.array([camera.position for camera in cameras]) - center
    height = float((offsets @ up).mean())
    radius = float(np.linalg.norm(offsets - np.outer(offsets @ up, up), axis=1).mean())
    if radius < 1e-6 * max(float(np.linalg.norm(offsets, axis=1).mean()), 1e-30):
        raise DataError("the cameras are straight above what they look at, which allows no circle; choose another path")
    east = offsets[0] - (offsets[0] @ up) * up
    if np.linalg.norm(east) < 1e-6 * radius:
        east = np.cross(up, np.roll(up, 1))
    east = east / np.linalg.norm(east)
    north = np.cross(up, east)
    path = []
    for angle in 2.0 * math.pi * np.arange(frames) / frames:
        place = center + height * up + radius * (math.cos(angle) * east + math.sin(angle) * north)
        path.append(cameras[0].placed(looking_at(place, center, up)))
    return path


def spiral_path(cameras: Sequence[PhotoCamera], frames: int, turns: float = 2.0) -> list[PhotoCamera]:
    """A spiral around the mean camera, as wide as the cameras' spread, looking where they look (Mildenhall et al. 2019)."""
    center, up = center_of_attention(cameras)[0], upward(cameras)
    positions = np.array([camera.position for camera in cameras])
    middle = positions.mean(axis=0)
    if np.linalg.norm(center - middle) < 1e-6 * max(float(np.abs(positions - middle).max()), 1e-30):
        center = middle + np.mean([camera.forward for camera in cameras], axis=0)
    axes = looking_at(middle, center, up)[:, :3]
    spread = np.percentile(np.abs((positions - middle) @ axes), 90, axis=0)
    path = []
    for t in np.arange(frames) / frames:
        angle = 2.0 * math.pi * turns * t
        sway = spread * (math.cos(angle), math.sin(angle), math.sin(0.5 * angle))
        path.append(cameras[0].placed(looking_at(middle + axes @ sway, center, up)))
    return path


def upward(cameras: Sequence[PhotoCamera]) -> np.ndarray:
    """The upward direction of a scene, a unit vector, float64 [3].

    The right sides of cameras that are held level lie in the horizontal plane, however the cameras tilt: up is the direction in
    which their right vectors vary least. The mean of the cameras' own upward directions leans where they look down from one side
    only. That mean is taken where the cameras turn too little to span a plane, or are not held level.
    """
    total = np.sum([camera.to_world[:, 1] for camera in cameras], axis=0)
    length = np.linalg.norm(total)
    mean = total / length if length > 1e-6 else cameras[0].to_world[:, 1]
    right = np.array([camera.to_world[:, 0] for camera in cameras])
    spread, axes = np.linalg.eigh(right.T @ right / len(right))
    normal = axes[:, 0] if axes[:, 0] @ mean >= 0.0 else -axes[:, 0]
    is_level = spread[0] < LEVEL * spread[1] and spread[1] > TURNED and normal @ mean > MOST_LEAN
    return normal if is_level else mean


def write_camera_path(path: Path, cameras: Sequence[PhotoCamera], fps: float = 30.0) -> None:
    """Write a path that `read_camera_path` can read: a transforms.json without images. Raises `OutputError`."""
    frames = [
        {
            "transform_matrix": [*camera.to_world.tolist(), [0.0, 0.0, 0.0, 1.0]],
            "fl_x": camera.fx,
            "fl_y": camera.fy,
            "cx": camera.cx,
            "cy": camera.cy,
        }
        for camera in cameras
    ]
    document = {"w": cameras[0].width, "h": cameras[0].height, "fps": fps, "frames": frames}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_camera_path(
    path: Path, template: PhotoCamera, scale: float = 0.33, offset: Sequence[float] = (0.5,) * 3
) -> list[PhotoCamera]:
    """Read a path, frame by frame.

    There are three formats: `frames` with `transform_matrix`, as in transforms.json; nerfstudio's `camera_path` with
    `camera_to_world` and a vertical `fov`, whose matrices must be in the data's units and axes; and instant-ngp's `path` of key
    frames with `R` (x, y, z, w), `T` and a vertical `fov`, which are joined by a spline (`spline_through`) of 30 frames each.

    Args:
        path: The file.
        template: Camera that gives the size of the image, and the lens if the file has none.
        scale: Factor from the data's units to unit cubes, for instant-ngp's files, whose positions are in unit cubes.
        offset: Position of the data's origin in unit-cube space, for the same files.

    Raises:
        DataError: The file cannot be read, or a frame is wrong; the message names it.
    """
    root = read_json(path)
    keys = {"frames": _plain_frame, "camera_path": _nerfstudio_frame, "path": _instant_ngp_frame}
    for key, read in keys.items():
        frames = root.get(key)
        if not isinstance(frames, list) or not frames:
            continue
        cameras = []
        for index, frame in enumerate(frames):
            place = f"{path}: {key}[{index}]"
            try:
                camera = read(root, frame, place, template, scale, np.asarray(offset))
            except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
                raise DataError(f"{place}: not a camera: {type(error).__name__}: {error}") from error
            cameras.append(check_camera(camera.placed(rigid_pose(camera.to_world, place)), place))
        return spline_through(cameras, 30 * len(cameras)) if key == "path" and len(cameras) > 1 else cameras
    raise DataError(f"{path}: has none of the lists frames, camera_path and path, or the list is empty")


def _plain_frame(
    root: dict, frame: dict, place: str, template: PhotoCamera, scale: float, offset: np.ndarray
) -> PhotoCamera:
    camera = _sized(template, root, ("w", "h"), place)
    found = {
        name: finite_number(frame.get(key, root.get(key)), f"{place}: {key}")
        for key, name in (("fl_x", "fx"), ("fl_y", "fy"), ("cx", "cx"), ("cy", "cy"))
        if key in frame or key in root
    }
    if "fx" in found:
        found.setdefault("fy", found["fx"])
    elif "camera_angle_x" in root:
        words = f"{place}: camera_angle_x"
        found["fx"] = found["fy"] = focal_length(camera.width, finite_number(root["camera_angle_x"], words), words)
    lens = {name: found.get(name, getattr(camera, name)) for name in ("fx", "fy", "cx", "cy")}
    camera = dataclasses.replace(camera, fx=lens["fx"], fy=lens["fy"], cx=lens["cx"], cy=lens["cy"])
    return camera.placed(_rows(frame["transform_matrix"]))


def _nerfstudio_frame(
    root: dict, frame: dict, place: str, template: PhotoCamera, scale: float, offset: np.ndarray
) -> PhotoCamera:
    camera = _sized(template, root, ("render_width", "render_height"), place)
    matrix = np.array(frame["camera_to_world"], np.float64).reshape(4, 4)
    return _with_fov(camera, frame.get("fov"), place).placed(_rows(matrix))


def _instant_ngp_frame(
    root: dict, frame: dict, place: str, template: PhotoCamera, scale: float, offset: np.ndarray
) -> PhotoCamera:
    """Read a key frame of instant-ngp, whose axes are the data's y, z, x, and whose cameras look along +z with y down."""
    x, y, z, w = (float(value) for value in frame["R"])
    if not w * w + x * x + y * y + z * z > 0.0:
        raise ValueError("R is not a quaternion")
    axes = rotation_of(np.array((w, x, y, z))) * (1.0, -1.0, -1.0)
    position = np.array(frame["T"], np.float64).reshape(3)
    back = [2, 0, 1]  # instant-ngp's axes 2, 0, 1 are the data's x, y, z
    return _with_fov(template, frame.get("fov"), place).placed(
        np.column_stack((axes[back], (position[back] - offset) / scale))
    )


def _sized(camera: PhotoCamera, root: dict, keys: tuple[str, str], place: str) -> PhotoCamera:
    """The camera with the image size that a file gives, if it gives one."""
    if not all(key in root for key in keys):
        return camera
    width, height = (int(finite_number(root[key], f"{place}: {key}")) for key in keys)
    return camera.resized(width, height)


def _with_fov(camera: PhotoCamera, fov: Any, place: str) -> PhotoCamera:
    """The camera without distortion and with a vertical field of view in degrees, if it is given."""
    if fov is None:
        return camera
    place = f"{place}: fov [radians]"
    focal = focal_length(camera.height, math.radians(finite_number(fov, place)), place)
    return PhotoCamera(
        camera.width, camera.height, focal, focal, 0.5 * camera.width, 0.5 * camera.height, to_world=camera.to_world
    )


def _rows(matrix: Any) -> np.ndarray:
    rows = np.array(matrix, np.float64)
    if rows.shape not in ((3, 4), (4, 4)):
        raise ValueError(f"a matrix has 4 rows of 4 numbers, not the shape {rows.shape}")
    return rows[:3]


def _shorter(keys: list[PhotoCamera]) -> list[PhotoCamera]:
    """The cameras in the order given, or in the order of a walk to the nearest one left, whichever is shorter."""
    positions = np.array([camera.position for camera in keys])
    left, walk = set(range(1, len(keys))), [0]
    while left:
        nearest = min(left, key=lambda i: (float(np.linalg.norm(positions[i] - positions[walk[-1]])), i))
        walk.append(nearest)
        left.remove(nearest)

    def length(order: Sequence[int]) -> float:
        return float(np.linalg.norm(np.diff(positions[list(order)], axis=0), axis=1).sum())

    return [keys[i] for i in walk] if length(walk) < length(range(len(keys))) else keys


def _catmull_rom(values: np.ndarray, t: float) -> np.ndarray:
    """The spline through `values`, [N, D], at t in [0, N - 1]; its end tangents come from mirrored neighbours."""
    last = len(values) - 1
    if last == 0:
        return values[0]
    i = min(int(t), last - 1)
    f = t - i
    b, c = values[i], values[i + 1]
    a = values[i - 1] if i > 0 else 2.0 * b - c
    d = values[i + 2] if i + 2 <= last else 2.0 * c - b
    return b + 0.5 * f * (c - a + f * (2.0 * a - 5.0 * b + 4.0 * c - d + f * (3.0 * (b - c) + d - a)))
