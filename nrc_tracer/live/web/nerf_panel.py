"""The tab of a radiance field: its photographs and their cameras, and the box that is shown."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import PIL.Image
import viser
import viser.transforms

from nrc_tracer.errors import NrcError
from nrc_tracer.live.nerf_world import NerfWorld, page_camera
from nrc_tracer.live.task_edits import ChoosePhotograph, SetCrop
from nrc_tracer.live.web.cameras import pose_of
from nrc_tracer.live.web.controls import set_value
from nrc_tracer.live.web.task_panel import TaskPanel
from nrc_tracer.tasks.nerf.camera import PhotoCamera

MOST_FRUSTA = 150
"""Largest number of cameras that are drawn. Of more photographs, some evenly chosen ones are drawn."""

THUMBNAIL = 96
"""Longer side of the pictures in the cameras' frusta [pixels]."""

FRUSTUM_SIZE = 0.06
"""Size of a camera's frustum, in sides of the unit cube."""

FLIP = np.diag((1.0, -1.0, -1.0))
"""Rotation from a photograph's axes (x right, y up, z backward) to viser's (x right, y down, z forward)."""


class NerfPanel(TaskPanel):
    """The tabs of a radiance field, or of photographs alone."""

    world: NerfWorld

    def add_more(self, group: viser.GuiTabGroupHandle) -> None:
        """Add the photographs and the crop box."""
        self._frusta: list[viser.CameraFrustumHandle] = []
        with group.add_tab("Photographs", viser.Icon.CAMERA_PIN):
            self._add_photographs()
        if self.world.scene is not None:
            with group.add_tab("Crop", viser.Icon.CROP):
                self._add_crop()

    def _add_photographs(self) -> None:
        gui, world = self.gui, self.world
        count = len(world.cameras)
        self._number = gui.add_slider("Photograph", 1, count, 1, 1, disabled=count < 2)
        self._name = gui.add_markdown(self._described(0))
        go = gui.add_button("Go to its camera", icon=viser.Icon.EYE)
        if world.photographs:
            gui.add_markdown("To compare, choose *photograph* or *error* under **Beside** on the first tab.")
        self._shows = gui.add_checkbox("Show the cameras", world.scene is None, hint="Click one to go there")

        @self._number.on_update
        async def _(_: Any) -> None:
            self._choose(self._index())

        @go.on_click
        async def _(event: Any) -> None:
            self._go(event.client, self._index())

        @self._shows.on_update
        async def _(_: Any) -> None:
            self._show_frusta(bool(self._shows.value))

        self._show_frusta(world.scene is None)

    def _index(self) -> int:
        return min(max(int(self._number.value) - 1, 0), len(self.world.cameras) - 1)

    def _described(self, index: int) -> str:
        camera = self.world.cameras[index]
        name = self.world.names[index].replace("`", "'")
        return f"`{name}`, {camera.width} × {camera.height} pixels"

    def _choose(self, index: int) -> None:
        self._name.content = self._described(index)
        self.change(ChoosePhotograph(index))

    def _go(self, client: viser.ClientHandle | None, index: int) -> None:
        """Move a page's camera to that of a photograph, and hide the frusta, which would cover the view."""
        self._choose(index)
        set_value(self._shows, False)
        self._show_frusta(False)
        if client is None:
            return
        camera = self.world.cameras[index]
        pose = pose_of(page_camera(camera), camera.width / camera.height, self.world.bounds)
        with client.atomic():
            client.camera.up_direction = pose.up
            client.camera.position = pose.position
            client.camera.look_at = pose.look_at
            client.camera.fov = pose.fov

    def _show_frusta(self, shows: bool) -> None:
        if shows and not self._frusta:
            count = len(self.world.cameras)
            chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_FRUSTA)).round().astype(int))
            self._frusta = [self._add_frustum(int(index)) for index in chosen]
        for frustum in self._frusta:
            frustum.visible = shows

    def _add_frustum(self, index: int) -> viser.CameraFrustumHandle:
        world = self.world
        camera = world.cameras[index]
        frustum = self.server.scene.add_camera_frustum(
            f"/photographs/{index}",
            fov=2.0 * math.atan(0.5 * camera.height / camera.fy),
            aspect=camera.width * camera.fy / (camera.height * camera.fx),
            scale=FRUSTUM_SIZE / world.scale,
            color=(255, 170, 60),
            thickness=0.03 * FRUSTUM_SIZE / world.scale,
            image=self._thumbnail(index, camera),
            wxyz=viser.transforms.SO3.from_matrix(camera.to_world[:, :3] @ FLIP).wxyz,
            position=camera.position,
        )

        @frustum.on_click
        async def _(event: Any) -> None:
            set_value(self._number, index + 1)
            self._go(event.client, index)

        return frustum

    def _thumbnail(self, index: int, camera: PhotoCamera) -> np.ndarray | None:
        if not self.world.photographs:
            return None
        try:
            pixels = self.world.photographs[index].pixels
        except NrcError:  # the photograph can be missing; its camera is shown all the same
            return None
        image = PIL.Image.fromarray(pixels).convert("RGB")
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        return np.asarray(image)

    def _add_crop(self) -> None:
        half = 0.5 * self.world.extent
        self.gui.add_markdown("Shows what lies between these planes, in unit cubes around the middle of the scene.")
        sliders = [
            self.gui.add_multi_slider(axis, -half, half, half / 128.0, (-half, half), fixed_endpoints=False)
            for axis in ("x", "y", "z")
        ]
        reset = self.gui.add_button("Show all", icon=viser.Icon.MAXIMIZE)

        def crop() -> None:
            ranges = []
            for slider in sliders:
                values = sorted(min(max(float(value), -half), half) for value in slider.value)
                ranges.append((0.5 + values[0], 0.5 + max(values[-1], values[0] + half / 128.0)))
            low_x, low_y, low_z = (low for low, _ in ranges)
            high_x, high_y, high_z = (high for _, high in ranges)
            self.change(SetCrop((low_x, low_y, low_z), (high_x, high_y, high_z)))

        for slider in sliders:

            @slider.on_update
            async def _(_: Any) -> None:
                crop()

        @reset.on_click
        async def _(_: Any) -> None:
            for slider in sliders:
                set_value(slider, (-half, half))
            crop()
