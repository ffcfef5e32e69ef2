"""The cameras of a glTF file."""

from __future__ import annotations

import math

import numpy as np

from nrc_tracer.scene.gltf.entry import Entry
from nrc_tracer.scene.gltf.nodes import PlacedNode, as_transform, view_frame
from nrc_tracer.scene.model import Camera, Film, Orthographic, Perspective

LONG_SIDE = 1280
"""Longer side of the film [pixels]."""
DEFAULT_ASPECT = 16.0 / 9.0
"""Width over height where the file does not state it."""
MAX_ASPECT = 64.0
"""Largest accepted ratio of the longer to the shorter side."""


def read_camera(entry: Entry, node: PlacedNode) -> tuple[Camera, float]:
    """Read a camera and place it by its node.

    Returns:
        The camera, and the aspect ratio (width over height) of its image.

    Raises:
        SceneError: A value is missing or out of range.
    """
    kind = entry.choice("type", ("perspective", "orthographic"))
    lens = entry.required_entry(kind)
    frame = view_frame(node)
    near = lens.number("znear")
    far = lens.number("zfar", math.inf) if "zfar" in lens else None
    if near < 0.0 or (far is not None and far <= near):
        lens.fail(f"0 <= znear ({near:g}) < zfar ({far}) must hold")
    if kind == "orthographic":
        across, up = abs(lens.number("xmag")), abs(lens.number("ymag"))
        if across == 0.0 or up == 0.0:
            lens.fail("xmag and ymag must not be zero")
        frame[:3, :2] *= across
        return Orthographic(to_world=as_transform(frame), near=near, far=far), _aspect(lens, across / up)
    fov = math.degrees(lens.number("yfov"))
    if not 0.0 < fov < 180.0:
        lens.fail(f"must lie between 0 and pi, not {math.radians(fov):g}", "yfov")
    aspect = lens.number("aspectRatio") if "aspectRatio" in lens else DEFAULT_ASPECT
    if aspect <= 0.0:
        lens.fail(f"must be positive, not {aspect:g}", "aspectRatio")
    return Perspective(to_world=as_transform(frame), fov=fov, fov_axis="y", near=near, far=far), _aspect(lens, aspect)


def film_of(aspect: float) -> Film:
    """Return a film with an aspect ratio (width over height) and a longer side of `LONG_SIDE` pixels."""
    width = LONG_SIDE if aspect >= 1.0 else max(1, round(LONG_SIDE * aspect))
    height = LONG_SIDE if aspect < 1.0 else max(1, round(LONG_SIDE / aspect))
    return Film(width=width, height=height)


def _aspect(lens: Entry, aspect: float) -> float:
    clamped = float(np.clip(aspect, 1.0 / MAX_ASPECT, MAX_ASPECT))
    if clamped != aspect:
        lens.warn(f"an aspect ratio of {aspect:g} is not supported; {clamped:g} is used")
    return clamped
