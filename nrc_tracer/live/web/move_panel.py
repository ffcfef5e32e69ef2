"""Moving objects and lights: a gizmo in the picture, which is shared by all pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import viser
from msgspec.structs import replace

from nrc_tracer.live.edits import MoveShape, SceneEdit, SetLight
from nrc_tracer.live.web.cameras import rotation_matrix
from nrc_tracer.live.web.choices import NOTHING
from nrc_tracer.scene.model import (
    DirectionalLight,
    Matrix,
    PointLight,
    Scene,
    SceneDescription,
    SpotLight,
    Transform,
)
from nrc_tracer.scene.summary import scene_bounds
from nrc_tracer.scene.transforms import matrix

MOST_OBJECTS = 500
"""Largest number of objects that the page lists."""

GIZMO_SCALE = 0.12
"""Size of the gizmo, as a fraction of the diagonal of the scene's box."""


class MovePanel:
    """The folder with the list of what can be moved, and the gizmo of what is chosen.

    Args:
        scene: The scene before all changes.
        present: Returns the scene after all changes.
        change: Makes a change.
    """

    def __init__(
        self, scene: Scene, present: Callable[[], SceneDescription], change: Callable[[SceneEdit], None]
    ) -> None:
        self._scene, self._present, self._change = scene, present, change
        self._names = movable_names(scene.description)
        self._gizmo: viser.TransformControlsHandle | None = None
        self._chosen: tuple[str, int] | None = None
        self._before = np.eye(4)  # the gizmo's pose before the drag
        self._description = scene.description  # the scene before the drag

    def add(self, server: viser.ViserServer) -> None:
        """Add the folder to the tab that is being filled, if there is anything to move."""
        if not self._names:
            return
        self._server = server
        bounds = scene_bounds(self._scene)
        self._size = 1.0 if bounds is None else float(np.linalg.norm(bounds[1] - bounds[0])) or 1.0
        with server.gui.add_folder("Move"):
            self._list = server.gui.add_dropdown(
                "Object", (NOTHING, *self._names), initial_value=NOTHING, hint="Drag its gizmo in the picture"
            )

        @self._list.on_update
        async def _(_: Any) -> None:
            self._choose(self._names.get(str(self._list.value)))

    def follow(self) -> None:
        """Put the gizmo where its object is after a change that the gizmo has not made, such as undo."""
        if self._gizmo is not None and self._chosen is not None:
            self._place(self._gizmo)

    def _choose(self, chosen: tuple[str, int] | None) -> None:
        if self._gizmo is not None:
            self._gizmo.remove()
            self._gizmo = None
        self._chosen = chosen
        if chosen is None:
            return
        gizmo = self._server.scene.add_transform_controls(
            "/gizmo",
            scale=GIZMO_SCALE * self._size,
            depth_test=False,
            disable_axes=chosen[0] == "direction",
            disable_sliders=chosen[0] == "direction",
            disable_rotations=chosen[0] == "position",
        )
        self._place(gizmo)
        self._gizmo = gizmo

        @gizmo.on_update
        async def _(event: viser.TransformControlsEvent) -> None:
            if event.phase == "start":
                self._before, self._description = _pose(gizmo), self._present()
            else:
                self._drag(gizmo)

    def _place(self, gizmo: viser.TransformControlsHandle) -> None:
        assert self._chosen is not None
        gizmo.position, gizmo.wxyz = self._pivot(*self._chosen), (1.0, 0.0, 0.0, 0.0)
        self._before, self._description = _pose(gizmo), self._present()

    def _drag(self, gizmo: viser.TransformControlsHandle) -> None:
        pose = _pose(gizmo)
        if self._chosen is not None and np.isfinite(pose).all():
            self._change(moved(self._description, *self._chosen, pose @ np.linalg.inv(self._before)))

    def _pivot(self, kind: str, index: int) -> np.ndarray:
        """The point about which an object turns."""
        description = self._present()
        if kind == "shape":
            alone = replace(description, shapes=(description.shapes[index],))
            bounds = scene_bounds(dataclasses.replace(self._scene, description=alone))
            if bounds is not None:
                return 0.5 * (bounds[0] + bounds[1])
            return matrix(description.shapes[index].to_world)[:3, 3]
        light = description.lights[index]
        if isinstance(light, PointLight):
            return np.array(light.position)
        if isinstance(light, SpotLight):
            return matrix(light.to_world)[:3, 3]
        bounds = scene_bounds(self._scene)
        return np.zeros(3) if bounds is None else 0.5 * (bounds[0] + bounds[1])


def movable_names(description: SceneDescription) -> dict[str, tuple[str, int]]:
    """The lights and shapes that can be moved, by the names that a page shows.

    Each is a kind, which is `shape`, `pose`, `position` or `direction`, and an index.
    """
    kinds = {PointLight: "position", SpotLight: "pose", DirectionalLight: "direction"}
    found = {
        f"light {index}": (kinds[type(light)], index)
        for index, light in enumerate(description.lights)
        if type(light) in kinds
    }
    shapes = sorted(
        range(len(description.shapes)), key=lambda i: getattr(description.shapes[i], "emission", None) is None
    )
    for index in shapes[:MOST_OBJECTS]:  # those that emit light first
        name = description.shapes[index].name
        found[f"{name} ({index})" if name else f"shape {index}"] = ("shape", index)
    return found


def moved(description: SceneDescription, kind: str, index: int, motion: np.ndarray) -> SceneEdit:
    """The edit that moves a shape or a light by a rigid motion, [4, 4], from where it is in the description."""
    if kind == "shape":
        return MoveShape(index, _appended(description.shapes[index].to_world, motion))
    light = description.lights[index]
    if isinstance(light, PointLight):
        x, y, z = (float(value) for value in motion[:3, :3] @ np.array(light.position) + motion[:3, 3])
        return SetLight(index, replace(light, position=(x, y, z)))
    if isinstance(light, SpotLight):
        return SetLight(index, replace(light, to_world=_appended(light.to_world, motion)))
    assert isinstance(light, DirectionalLight)
    x, y, z = (float(value) for value in motion[:3, :3] @ np.array(light.direction))
    return SetLight(index, replace(light, direction=(x, y, z)))


def _appended(steps: Transform, motion: np.ndarray) -> Transform:
    """A transform followed by a motion, as one matrix."""
    a, b, c, d = (tuple(float(value) for value in row) for row in motion @ matrix(steps))
    return (Matrix((a, b, c, d)),)  # type: ignore[arg-type]  # rows of four numbers


def _pose(gizmo: viser.TransformControlsHandle) -> np.ndarray:
    """The gizmo's pose as a matrix, [4, 4]."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation_matrix(gizmo.wxyz), gizmo.position
    return pose
