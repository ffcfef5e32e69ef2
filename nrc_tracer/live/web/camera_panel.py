"""The camera tab of one page: field of view, lens, clicks, bookmarks, a recorded flight and its video, and a link."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import viser
from msgspec.structs import replace

from nrc_tracer.errors import one_line
from nrc_tracer.live.session import Session
from nrc_tracer.live.video import VIDEO_RATE, can_make_videos
from nrc_tracer.live.view import View
from nrc_tracer.live.web.cameras import Pose, camera_of
from nrc_tracer.live.web.choices import NOTHING
from nrc_tracer.live.web.controls import set_value
from nrc_tracer.live.web.flights import flight_seconds, pose_at
from nrc_tracer.live.world import Pickable
from nrc_tracer.scene.model import Camera, Perspective

MOST_POSES = 64
"""Largest number of bookmarks, and of poses of a flight."""

PREVIEW_RATE = 20.0
"""Number of poses per second that a preview of a flight shows."""

SMALLEST_FOV, LARGEST_FOV = 1.0, 150.0
"""Range of the page's vertical field of view [degrees]."""

ORBIT, FOCUS = "sets the orbit centre", "focuses"
"""What a click on the picture may do, besides nothing."""


class CameraPanel:
    """The camera tab of a page. Its methods are called on the server's thread.

    Args:
        client: viser's handle of the page.
        session: Finds the points that clicks choose.
        start: The first camera; its clipping planes are kept, and its lens until the user changes it.
        pose: The pose of that camera.
        look: Called when the camera has changed.
        fail: Shows an error.
        view: Returns what the page shows.
        page: Returns the address of the page, and the label of what it shows, for links.
        save_video: Renders the video of a flight and lets the browser download it.
        is_pickable: Whether clicks can choose points: whether the world is `Pickable`.
    """

    def __init__(
        self,
        client: viser.ClientHandle,
        session: Session,
        start: Camera,
        pose: Pose,
        *,
        look: Callable[[], None],
        fail: Callable[[str], None],
        view: Callable[[], View],
        page: Callable[[], tuple[str, str]],
        save_video: Callable[[list[Pose], int], None],
        is_pickable: bool,
    ) -> None:
        self._is_pickable = is_pickable
        self._client, self._session, self._start, self._first = client, session, start, pose
        self._look, self._fail, self._save_video = look, fail, save_video
        self._view_now, self._page = view, page
        self._bookmarks: dict[str, Pose] = {}
        self._flight: list[Pose] = []
        self._preview: asyncio.Task[None] | None = None
        self._picking: asyncio.Task[None] | None = None
        self._add_view()
        self._add_bookmarks()
        self._add_flight()

    @property
    def camera(self) -> Perspective:
        """The scene's camera where the page's is."""
        handle = self._client.camera
        fov = min(max(handle.fov, math.radians(SMALLEST_FOV)), math.radians(LARGEST_FOV))
        return self.with_lens(camera_of(self._start, handle.wxyz, handle.position, fov))

    def with_lens(self, camera: Perspective) -> Perspective:
        """A camera with the aperture and the focus of the page."""
        aperture, focus = max(float(self._aperture.value), 0.0), max(float(self._focus.value), 1e-6)
        return replace(camera, aperture_radius=aperture, focus_distance=focus)

    def leave(self) -> None:
        """End what runs for the page, which has gone."""
        for task in (self._preview, self._picking):
            if task is not None:
                task.cancel()

    @property
    def pose(self) -> Pose:
        """The pose of the page's camera."""
        camera = self._client.camera
        position, look_at, up = (
            (float(x), float(y), float(z)) for x, y, z in (camera.position, camera.look_at, camera.up_direction)
        )
        return Pose(position, look_at, up, float(camera.fov))

    def go(self, pose: Pose) -> None:
        """Move the page's camera."""
        camera = self._client.camera
        with self._client.atomic():
            camera.up_direction = pose.up
            camera.position = pose.position
            camera.look_at = pose.look_at
            camera.fov = pose.fov
        self._look()

    # View and lens

    def _add_view(self) -> None:
        gui, pose = self._client.gui, self._first
        home = gui.add_button("Start view", icon=viser.Icon.HOME_MOVE, hint="Keys: W A S D Q E fly, the arrows turn")
        fov = gui.add_slider(
            "Field of view (°)",
            SMALLEST_FOV,
            LARGEST_FOV,
            0.1,
            round(min(max(math.degrees(pose.fov), SMALLEST_FOV), LARGEST_FOV), 1),
            hint="Vertical",
        )
        lens = self._start if isinstance(self._start, Perspective) else Perspective()
        self._aperture = gui.add_number(
            "Aperture (units)",
            float(lens.aperture_radius),
            min=0.0,
            step=0.001,
            hint="Radius of the lens; 0: all is sharp",
        )
        self._focus = gui.add_number(
            "Focus (units)", float(lens.focus_distance), min=1e-6, step=0.01, hint="Distance of what is sharp"
        )
        self._click = gui.add_dropdown(
            "A click", (NOTHING, ORBIT, FOCUS), initial_value=NOTHING, visible=self._is_pickable
        )

        @home.on_click
        async def _(_: Any) -> None:
            set_value(fov, round(math.degrees(pose.fov), 1))
            self.go(pose)

        @fov.on_update
        async def _(_: Any) -> None:
            self._client.camera.fov = math.radians(min(max(float(fov.value), SMALLEST_FOV), LARGEST_FOV))
            self._look()

        for control in (self._aperture, self._focus):

            @control.on_update
            async def _(_: Any) -> None:
                self._look()

        @self._click.on_update
        async def _(_: Any) -> None:
            self._client.scene.remove_click_callback()
            if self._click.value in (ORBIT, FOCUS):
                self._client.scene.on_click()(self._begin_to_pick)  # type: ignore[arg-type]  # viser awaits coroutines too

    async def _begin_to_pick(self, event: viser.SceneClickEvent) -> None:
        """Pick in a task of its own: the page's other messages need not wait for the session. A later click replaces it."""
        if self._picking is not None:
            self._picking.cancel()
        self._picking = asyncio.create_task(self._pick(event))

    async def _pick(self, event: viser.SceneClickEvent) -> None:
        """Orbit about the point that was clicked, or focus on it."""
        view, (x, y), choice = self._view_now(), event.screen_pos, self._click.value
        future = self._session.ask(
            lambda world: world.point_at(view, x, y) if isinstance(world, Pickable) else None,
            redraws=False,
        )
        try:
            point = await asyncio.wrap_future(future)
        except Exception as error:
            self._fail(one_line(error))
            return
        if point is None:
            self._fail("there is no surface at this place")
        elif choice == ORBIT:
            self._client.camera.look_at = point
        else:
            camera = self._client.camera
            forward = [b - a for a, b in zip(camera.position, camera.look_at, strict=True)]
            along = sum(f * (p - o) for f, p, o in zip(forward, point, camera.position, strict=True))
            set_value(self._focus, max(float(along / max(math.hypot(*forward), 1e-12)), 1e-6))
            self._look()

    # Bookmarks and the link

    def _add_bookmarks(self) -> None:
        gui = self._client.gui
        with gui.add_folder("Bookmarks and link", expand_by_default=False):
            remember = gui.add_button("Remember this view", icon=viser.Icon.BOOKMARK)
            bookmarks = gui.add_dropdown("Go to", (NOTHING,), initial_value=NOTHING)
            write = gui.add_button("Write the link", icon=viser.Icon.LINK)
            link = gui.add_text(
                "Link", "", hint="Opens the page with this camera and picture, in a browser that has opened it before"
            )

        @remember.on_click
        async def _(_: Any) -> None:
            if len(self._bookmarks) < MOST_POSES:
                self._bookmarks[f"view {len(self._bookmarks) + 1}"] = self.pose
                bookmarks.options = (NOTHING, *self._bookmarks)

        @bookmarks.on_update
        async def _(_: Any) -> None:
            if bookmarks.value in self._bookmarks:
                self.go(self._bookmarks[bookmarks.value])

        @write.on_click
        async def _(_: Any) -> None:
            address, label = self._page()
            set_value(link, address + link_parameters(self.pose, label))

    # The flight

    def _add_flight(self) -> None:
        gui = self._client.gui
        with gui.add_folder("Flight", expand_by_default=False):
            add = gui.add_button("Add this view", icon=viser.Icon.CAMERA_PLUS)
            told = gui.add_text("Views", "0, 0 s", disabled=True)
            play = gui.add_button("Preview", icon=viser.Icon.PLAYER_PLAY, hint="Flies once through all views")
            samples = gui.add_slider("Samples per pixel", 1, 256, 1, 16)
            video = gui.add_button(
                "Save video",
                icon=viser.Icon.MOVIE,
                disabled=not can_make_videos(),
                hint=f"MP4 of {VIDEO_RATE} frames per second; needs the extra tasks",
            )
            clear = gui.add_button("Remove all views", icon=viser.Icon.TRASH)

        def tell() -> None:
            set_value(told, f"{len(self._flight)}, {flight_seconds(self._flight):g} s")

        @add.on_click
        async def _(_: Any) -> None:
            if len(self._flight) < MOST_POSES:
                self._flight.append(self.pose)
                tell()

        @clear.on_click
        async def _(_: Any) -> None:
            self._flight.clear()
            tell()

        @play.on_click
        async def _(_: Any) -> None:
            if self._preview is not None:
                self._preview.cancel()
            if len(self._flight) > 1:
                self._preview = asyncio.create_task(self._fly(list(self._flight)))

        @video.on_click
        async def _(_: Any) -> None:
            if len(self._flight) < 2:
                self._fail("a flight needs two views; add them first")
            else:
                self._save_video(list(self._flight), min(max(int(samples.value), 1), 256))

    async def _fly(self, poses: list[Pose]) -> None:
        start, end = time.monotonic(), flight_seconds(poses)
        while (now := time.monotonic() - start) < end:
            self.go(pose_at(poses, now))
            await asyncio.sleep(1.0 / PREVIEW_RATE)
        self.go(poses[-1])


def link_parameters(pose: Pose, label: str = "") -> str:
    """The end of a link to the page with this camera, and with what its label names."""
    parts = {
        "initialCameraPosition": pose.position,
        "initialCameraLookAt": pose.look_at,
        "initialCameraUp": pose.up,
        "initialCameraFov": (pose.fov,),
    }
    camera = "&".join(f"{name}={','.join(f'{value:.6g}' for value in values)}" for name, values in parts.items())
    return f"?{camera}" + (f"&show={quote(label, safe='')}" if label else "")
