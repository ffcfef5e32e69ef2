"""Small sets of photographs on disk, and cameras."""

import json

import numpy as np
import PIL.Image

from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.scene_camera import looking_at

UP = np.array([0.0, 0.0, 1.0])
FOX = (0.0578421, -0.0805099, 0.0, 0.0, -0.000980296, 0.00015575)
"""Lens distortion of a real telephone's camera."""


def pose(angle, distance=4.0, height=1.0):
    """A camera on a circle, looking at the origin."""
    place = np.array([distance * np.cos(angle), distance * np.sin(angle), height])
    return looking_at(place, np.zeros(3), UP)


def camera(model="pinhole", distortion=(0.0,) * 6, angle=0.3, width=60, height=40):
    return PhotoCamera(width, height, 50.0, 52.0, 29.0, 21.5, distortion, model, pose(angle))


def pixels(seed, width=12, height=8, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path)


def frame(index, **more):
    rows = np.eye(4)
    rows[:3] = pose(0.4 * index)
    return {"file_path": f"images/{index:03d}.png", "transform_matrix": rows.tolist(), **more}


def write_set(folder, count=10, *, name="transforms.json", channels=3, frames=None, **root):
    """A transforms.json with `count` images of 12 x 8 random pixels; returns its path."""
    frames = [frame(i) for i in range(count)] if frames is None else frames
    for i in range(count):
        save(folder / f"images/{i:03d}.png", pixels(i, channels=channels))
    document = {"camera_angle_x": 0.7, "aabb_scale": 2, "frames": frames, **root}
    (folder / name).write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return folder / name
