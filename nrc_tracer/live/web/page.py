"""One page: its controls, its camera, and the views that it asks a session for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import viser

from nrc_tracer.errors import NrcError, one_line
from nrc_tracer.imaging.tonemap import TONES
from nrc_tracer.live.picture import Picture
from nrc_tracer.live.saving import SavedFile, save_picture, save_scene
from nrc_tracer.live.session import Session
from nrc_tracer.live.view import View
from nrc_tracer.live.web.cameras import Pose, camera_of
from nrc_tracer.live.web.choices import NOTHING, RESOLUTIONS, film_size
from nrc_tracer.live.web.controls import set_value
from nrc_tracer.live.web.sending import Sender
from nrc_tracer.live.web.statistics import FrameRate, statistics_html
from nrc_tracer.live.world import World

STATISTICS_SECONDS = 0.25
"""Shortest time between two updates of the statistics while something moves [s]."""

MOST_BOOKMARKS = 32
"""Largest number of views that a page remembers."""

SMALLEST_FOV, LARGEST_FOV = 1.0, 150.0
"""Range of the page's vertical field of view [degrees]."""

OTHER = "/other"
"""End of the session's name for a page's second view."""


@dataclass(frozen=True)
class PageOptions:
    """What all pages of a viewer share.

    Attributes:
        name: Name of what is shown, for file names.
        start: The first view.
        pose: The place of its camera.
        labels: All that a view may show, by label: see `shown_labels`.
        resolution: Label of the first resolution.
        most_pixels: Largest number of pixels of a still picture.
        can_denoise: Whether Open Image Denoise is installed.
    """

    name: str
    start: View
    pose: Pose
    labels: dict[str, Any]
    resolution: str
    most_pixels: int
    can_denoise: bool


@dataclass(frozen=True)
class Tabs:
    """The tabs of the page's panel, which all pages share; each page adds its own controls to them."""

    picture: viser.GuiTabHandle
    camera: viser.GuiTabHandle


class Page:
    """One page. Its methods are called on the server's thread, except for `show` and `fail`.

    Args:
        client: viser's handle of the page.
        session: Draws what it shows.
        options: What all pages share.
        tabs: Where the controls go.
        executor: Runs encoding and saving.
    """

    def __init__(
        self, client: viser.ClientHandle, session: Session, options: PageOptions, tabs: Tabs, executor: Executor
    ) -> None:
        self.name = str(client.client_id)
        self._client, self._session, self._options, self._executor = client, session, options, executor
        self._rate, self._told = FrameRate(), 0.0
        self._is_saving = self._has_left = False
        self._bookmarks: dict[str, Pose] = {}
        self._sender = Sender(
            self._send,
            session.acknowledge,
            executor,
            self._tell,
            lambda error: self.fail(one_line(error)),
        )
        with tabs.picture:
            self._add_picture_controls()
        with tabs.camera:
            self._add_camera_controls()

        @client.camera.on_update
        async def _(_: viser.CameraHandle) -> None:
            self.look()

        self.look()

    # The session's listener calls these, on its thread

    def show(self, view: str, number: int, picture: Picture) -> None:
        """Send a picture of one of the page's views."""
        self._sender.take(view, number, picture, is_main=view == self.name)

    def fail(self, message: str) -> None:
        """Show an error."""
        self._client.add_notification("Error", message, color="red", auto_close_seconds=15.0)

    # Views

    def look(self) -> None:
        """Ask the session for what the page shows now."""
        if self._has_left:
            return
        try:
            self._session.look(self.name, self.view)
            if self._compared.value in self._options.labels:
                self._session.look(self.name + OTHER, self._view(self._compared.value))
        except NrcError as error:
            self.fail(str(error))

    @property
    def view(self) -> View:
        """What the page shows; on the left, if it shows two views."""
        return self._view(self._shown.value)

    def leave(self) -> None:
        """Forget the page, which has gone."""
        self._has_left = True
        self._session.forget(self.name)
        self._session.forget(self.name + OTHER)

    def _view(self, label: str) -> View:
        start, handle = self._options.start, self._client.camera
        shown = self._options.labels.get(label) or self._options.labels[self._shown.initial_value]
        factor = RESOLUTIONS.get(self._resolution.value, 1.0)
        window = (handle.image_width or start.width, handle.image_height or start.height)
        width, height = film_size(window, factor, self._options.most_pixels)
        tone = self._tone.value if self._tone.value in TONES else start.tone
        fov = min(max(handle.fov, math.radians(SMALLEST_FOV)), math.radians(LARGEST_FOV))
        return View(
            camera_of(start.camera, handle.wxyz, handle.position, fov),
            width,
            height,
            mode=shown.mode,
            layer=shown.layer,
            exposure=min(max(float(self._exposure.value), -10.0), 10.0),
            tone=tone,  # type: ignore[arg-type]  # it is one of TONES
            denoise=bool(self._denoise.value) and self._options.can_denoise,
        )

    def _send(self, frame: Any) -> None:
        self._client._websock_connection.queue_message(frame)
        self._client.flush()

    def _tell(self, picture: Picture, encode_ms: float) -> None:
        """Update the statistics."""
        self._rate.count()
        now = time.monotonic()
        if picture.is_final or now - self._told >= STATISTICS_SECONDS:
            self._told = now
            self._statistics.content = statistics_html(picture, self._rate.per_second(), encode_ms)

    # Controls

    def _add_picture_controls(self) -> None:
        gui, options = self._client.gui, self._options
        labels = tuple(options.labels)
        first = next(
            label
            for label, shown in options.labels.items()
            if (shown.mode, shown.layer) == (options.start.mode, options.start.layer)
        )
        self._shown = _Dropdown(
            gui.add_dropdown("Show", labels, initial_value=first, hint="How the picture is made, or a layer"), first
        )
        self._compared = _Dropdown(
            gui.add_dropdown(
                "Beside", (NOTHING, *labels), initial_value=NOTHING, hint="A second view, right of the divider"
            ),
            NOTHING,
        )
        self._divider = gui.add_slider("Divider (%)", 0.0, 100.0, 0.5, 50.0, visible=False)
        self._exposure = gui.add_slider("Exposure (stops)", -10.0, 10.0, 0.1, round(options.start.exposure, 1))
        self._tone = gui.add_dropdown("Tone", TONES, initial_value=options.start.tone)
        self._denoise = gui.add_checkbox(
            "Denoise", False, disabled=not options.can_denoise, hint="Open Image Denoise, of the extra denoise"
        )
        self._resolution = gui.add_dropdown(
            "Resolution",
            tuple(RESOLUTIONS),
            initial_value=options.resolution,
            hint="Size of the still picture against the window",
        )
        self._statistics = gui.add_html("")
        anew = gui.add_button("Start anew", icon=viser.Icon.REFRESH, hint="Drop all samples and begin again")
        with gui.add_folder("Save"):
            png = gui.add_button(
                "PNG", icon=viser.Icon.PHOTO_DOWN, hint="The picture as it is shown, from all samples so far"
            )
            exr = gui.add_button("EXR", icon=viser.Icon.PHOTO_DOWN, hint="Linear radiance and all layers")
            scene = gui.add_button(
                "Scene",
                icon=viser.Icon.FILE_DOWNLOAD,
                hint="JSON, with this camera and all changes; render it to get the same picture",
            )

        for handle in (self._shown.handle, self._exposure, self._tone, self._denoise, self._resolution):

            @handle.on_update
            async def _(_: Any) -> None:
                self.look()

        @self._compared.handle.on_update
        async def _(_: Any) -> None:
            is_split = self._compared.value in labels
            self._divider.visible = is_split
            if is_split:
                self._sender.divide(self._divider.value / 100.0)
            else:
                self._session.forget(self.name + OTHER)
                self._sender.drop_other()
            self.look()

        @self._divider.on_update
        async def _(_: Any) -> None:
            self._sender.divide(self._divider.value / 100.0)

        @anew.on_click
        async def _(_: Any) -> None:
            self._start_anew()

        self._saves(png, lambda world, view: save_picture(world, self.name, view, "png", options.name))
        self._saves(exr, lambda world, view: save_picture(world, self.name, view, "exr", options.name))
        self._saves(scene, lambda world, view: save_scene(world, view, options.name))

    def _saves(self, button: viser.GuiButtonHandle, save: Callable[[World, View], SavedFile]) -> None:
        """Let a button save what the page shows when it is clicked; one file at a time."""

        @button.on_click
        async def _(_: Any) -> None:
            if self._is_saving:
                return
            self._is_saving = True
            view = self.view
            self._session.ask(lambda world: save(world, view)).add_done_callback(self._download)

    def _download(self, saved: Future[SavedFile]) -> None:
        self._is_saving = False
        if saved.cancelled():
            return
        error = saved.exception()
        if error is not None:
            self.fail(one_line(error))
            return
        file = saved.result()
        self._executor.submit(self._client.send_file_download, file.name, file.data, save_immediately=True)

    def _start_anew(self) -> None:
        names = (self.name, self.name + OTHER)

        def forget(world: World) -> None:
            for name in names:
                world.forget(name)

        self._session.ask(forget)

    def _add_camera_controls(self) -> None:
        gui, pose = self._client.gui, self._options.pose
        home = gui.add_button("Start view", icon=viser.Icon.HOME_MOVE)
        fov = gui.add_slider(
            "Field of view (°)",
            SMALLEST_FOV,
            LARGEST_FOV,
            0.1,
            round(min(max(math.degrees(pose.fov), SMALLEST_FOV), LARGEST_FOV), 1),
            hint="Vertical",
        )
        with gui.add_folder("Bookmarks"):
            remember = gui.add_button("Remember this view", icon=viser.Icon.BOOKMARK)
            bookmarks = gui.add_dropdown("Go to", (NOTHING,), initial_value=NOTHING)
        link = gui.add_text("Link", "", hint="Opens the viewer with this camera, in a browser that it has let in")
        copy = gui.add_button("Write the link", icon=viser.Icon.LINK)

        @home.on_click
        async def _(_: Any) -> None:
            set_value(fov, round(math.degrees(pose.fov), 1))
            self._go(pose)

        @fov.on_update
        async def _(_: Any) -> None:
            self._client.camera.fov = math.radians(min(max(float(fov.value), SMALLEST_FOV), LARGEST_FOV))
            self.look()

        @remember.on_click
        async def _(_: Any) -> None:
            if len(self._bookmarks) < MOST_BOOKMARKS:
                self._bookmarks[f"view {len(self._bookmarks) + 1}"] = self._pose()
                bookmarks.options = (NOTHING, *self._bookmarks)

        @bookmarks.on_update
        async def _(_: Any) -> None:
            if bookmarks.value in self._bookmarks:
                self._go(self._bookmarks[bookmarks.value])

        @copy.on_click
        async def _(_: Any) -> None:
            set_value(link, link_parameters(self._pose()))

    def _pose(self) -> Pose:
        camera = self._client.camera
        position, look_at, up = (
            (float(x), float(y), float(z)) for x, y, z in (camera.position, camera.look_at, camera.up_direction)
        )
        return Pose(position, look_at, up, float(camera.fov))

    def _go(self, pose: Pose) -> None:
        """Move the page's camera."""
        camera = self._client.camera
        with self._client.atomic():
            camera.up_direction = pose.up
            camera.position = pose.position
            camera.look_at = pose.look_at
            camera.fov = pose.fov
        self.look()


class _Dropdown:
    """A dropdown whose value may be anything that a page has sent, and its first value."""

    def __init__(self, handle: viser.GuiDropdownHandle, initial_value: str) -> None:
        self.handle, self.initial_value = handle, initial_value

    @property
    def value(self) -> str:
        return str(self.handle.value)


def link_parameters(pose: Pose) -> str:
    """The end of a link to the page with this camera."""
    parts = {
        "initialCameraPosition": pose.position,
        "initialCameraLookAt": pose.look_at,
        "initialCameraUp": pose.up,
        "initialCameraFov": (pose.fov,),
    }
    return "?" + "&".join(f"{name}={','.join(f'{value:.6g}' for value in values)}" for name, values in parts.items())
