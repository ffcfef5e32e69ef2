"""Converts cameras and films to the records that kernels read."""

import numpy as np
import warp as wp

from nrc_tracer.scene.model import Camera, Film, Orthographic
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.tracer.accel.intersect import FAR
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.vocabulary import CameraKind, FilterKind


def camera_record(camera: Camera, film: Film, origin: np.ndarray) -> CameraRecord:
    """The camera as kernels read it, with its position relative to the scene's `origin`."""
    record = CameraRecord()
    to_world = matrix(camera.to_world)
    scales = np.linalg.norm(to_world[:3, :3], axis=0)
    left, up, forward = (to_world[:3, i] / scales[i] for i in range(3))
    record.origin, record.left = wp.vec3(*(to_world[:3, 3] - origin)), wp.vec3(*left)
    record.up, record.forward = wp.vec3(*up), wp.vec3(*forward)
    record.near, record.far = camera.near, camera.far or float(FAR)
    aspect = film.height / film.width
    if isinstance(camera, Orthographic):
        record.kind = int(CameraKind.ORTHOGRAPHIC)
        record.extent = wp.vec2(scales[0], aspect * scales[1])
        return record
    record.kind = int(CameraKind.PERSPECTIVE)
    half = np.tan(np.radians(camera.fov) / 2.0)
    axis = camera.fov_axis
    if axis in ("smaller", "larger"):
        axis = "y" if (axis == "smaller") == (film.height < film.width) else "x"
    if axis == "y":
        half /= aspect
    elif axis == "diagonal":
        half /= np.hypot(1.0, aspect)
    record.extent = wp.vec2(half, half * aspect)
    record.shift = wp.vec2(*camera.principal_point_offset)
    record.aperture_radius, record.focus_distance = camera.aperture_radius, camera.focus_distance
    return record


def film_record(film: Film) -> FilmRecord:
    """The film as kernels read it."""
    record = FilmRecord()
    record.size = wp.vec2(float(film.width), float(film.height))
    record.crop_x, record.crop_y, record.crop_width, _ = film.crop or (0, 0, film.width, film.height)
    kind = FilterKind[film.filter.upper()]
    record.filter = int(kind)
    default = {FilterKind.BOX: 0.5, FilterKind.TENT: 1.0, FilterKind.GAUSSIAN: 2.0}[kind]
    record.filter_radius = film.filter_radius or default
    record.filter_sigma = record.filter_radius / 4.0
    return record
