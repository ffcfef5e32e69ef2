"""One page: its controls, and the views that it asks a session for. Its camera tab is `CameraPanel`."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import viser

from nrc_tracer.errors import NrcError, one_line
from nrc_tracer.imaging.tonemap import TONES
from nrc_tracer.live.picture import Picture
from nrc_tracer.live.saving import SavedFile, Saving
from nrc_tracer.live.session import Session
from nrc_tracer.live.video import VIDEO_RATE, make_video
from nrc_tracer.live.view import View
from nrc_tracer.live.web.camera_panel import CameraPanel
from nrc_tracer.live.web.cameras import Pose, posed_camera
from nrc_tracer.live.web.choices import KEPT, NOTHING, RESOLUTIONS, Shown, film_size
from nrc_tracer.live.web.flights import flight_seconds, pose_at
from nrc_tracer.live.web.notices import Notices
from nrc_tracer.live.web.plots import Plots
from nrc_tracer.live.web.sending import Sender
from nrc_tracer.live.web.statistics import FrameRate, statistics_html
from nrc_tracer.scene.transforms import matrix

STATISTICS_SECONDS = 0.25
"""Shortest time between two updates of the statistics while something moves [s]."""

OTHER = "/other"
"""End of the session's name for a page's second view."""

VIDEO = "/video"
"""End of the session's name for the video that a page renders."""


@dataclass(frozen=True)
class PageOptions:
    """What all pages of a viewer share.

    Attributes:
        name: Name of what is shown, for file names.
        start: The first view.
        pose: The pose of its camera.
        labels: All that a view may show, by label: see `shown_labels`.
        resolution: Label of the first resolution.
        most_pixels: Returns the largest number of pixels of a still picture, which depends on the number of pages.
        savings: The kinds of files that can be saved.
        is_pickable: Whether clicks can choose points of the world.
    """

    name: str
    start: View
    pose: Pose
    labels: dict[str, Shown]
    resolution: str
    most_pixels: Callable[[], int]
    savings: tuple[Saving, ...]
    is_pickable: bool


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
        address: Address of the page, as its browser has it.
        label: Label of what it shows first; that of `options.start` if there is no such label.
    """

    def __init__(
        self,
        client: viser.ClientHandle,
        session: Session,
        options: PageOptions,
        tabs: Tabs,
        executor: Executor,
        *,
        address: str = "",
        label: str = "",
    ) -> None:
        self.name = str(client.client_id)
        self._client, self._session, self._options, self._executor = client, session, options, executor
        self._address = address
        self._rate, self._told = FrameRate(), 0.0
        self._is_saving = self._has_left = False
        self._notices = Notices()
        self._sender = Sender(
            self._send,
            session.acknowledge,
            executor,
            self._tell,
            lambda error: self.fail(one_line(error)),
        )
        with tabs.picture:
            self._add_picture_controls(label)
        with tabs.camera:
            self._camera = CameraPanel(
                client,
                session,
                options.start.camera,
                options.pose,
                look=self.look,
                fail=self.fail,
                view=lambda: self.view,
                page=lambda: (self._address, self._shown.value),
                save_video=self._save_video,
                is_pickable=options.is_pickable,
            )

        @client.camera.on_update
        async def _(_: viser.CameraHandle) -> None:
            self.look()

        self.look()

    # The session's listener calls these, on its thread

    def show(self, view: str, number: int, picture: Picture) -> None:
        """Send a picture of one of the page's views."""
        is_main = view == self.name
        if not is_main and not _shows(picture.view, self._options.labels.get(self._compared.value)):
            self._session.acknowledge(view, number)  # it shows what the user has meanwhile replaced
            return
        self._sender.take(view, number, picture, is_main=is_main)

    def fail(self, message: str) -> None:
        """Show an error, unless it was shown a moment ago or there were many."""
        if self._notices.is_due(message):
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
        self._camera.leave()
        self._session.forget(self.name)
        self._session.forget(self.name + OTHER)

    def _view(self, label: str) -> View:
        start, handle = self._options.start, self._client.camera
        shown = self._options.labels.get(label) or self._options.labels[self._shown.initial_value]
        factor = RESOLUTIONS.get(self._resolution.value, 1.0)
        window = (handle.image_width or start.width, handle.image_height or start.height)
        width, height = film_size(window, factor, self._options.most_pixels())
        tone = self._tone.value if self._tone.value in TONES else start.tone
        return View(
            self._camera.camera,
            width,
            height,
            mode=shown.mode,
            layer=shown.layer,
            exposure=min(max(float(self._exposure.value), -10.0), 10.0),
            tone=tone,  # type: ignore[arg-type]  # it is one of TONES
            denoise=shown.denoise,
        )

    def _send(self, frame: Any) -> None:
        self._client._websock_connection.queue_message(frame)
        self._client.flush()

    def _tell(self, picture: Picture, encode_ms: float) -> None:
        """Update the statistics and the plots."""
        if self._has_left:
            return
        self._rate.count()
        self._plots.add(picture)
        now = time.monotonic()
        if picture.is_final or now - self._told >= STATISTICS_SECONDS:
            self._told = now
            self._statistics.content = statistics_html(picture, self._rate.per_second(), encode_ms)

    # Controls

    def _add_picture_controls(self, label: str) -> None:
        gui, options = self._client.gui, self._options
        labels = tuple(options.labels)
        first = (
            label
            if label in labels
            else next(text for text, shown in options.labels.items() if _is_start(shown, options))
        )
        self._shown = _Dropdown(
            gui.add_dropdown("Show", labels, initial_value=first, hint="How the picture is made, or a layer"), first
        )
        self._compared = _Dropdown(
            gui.add_dropdown(
                "Beside", (NOTHING, KEPT, *labels), initial_value=NOTHING, hint="A second view, right of the divider"
            ),
            NOTHING,
        )
        self._divider = gui.add_slider("Divider (%)", 0.0, 100.0, 0.5, 50.0, visible=False)
        self._exposure = gui.add_slider("Exposure (stops)", -10.0, 10.0, 0.1, round(options.start.exposure, 1))
        self._tone = gui.add_dropdown("Tone", TONES, initial_value=options.start.tone)
        self._resolution = gui.add_dropdown(
            "Resolution",
            tuple(RESOLUTIONS),
            initial_value=options.resolution,
            hint="Size of the still picture, relative to the window",
        )
        self._statistics = gui.add_html("")
        anew = gui.add_button("Start anew", icon=viser.Icon.REFRESH, hint="Drop all samples and begin again")
        keep = gui.add_button(
            "Keep this picture", icon=viser.Icon.PHOTO_CHECK, hint=f'Compare later pictures with it: Beside, "{KEPT}"'
        )
        self._plots = Plots(self._client, gui.add_folder("Plots", expand_by_default=False))
        with gui.add_folder("Save"):
            for saving in options.savings:
                button = gui.add_button(saving.label, icon=viser.Icon.DOWNLOAD, hint=saving.hint)
                self._saves(button, saving)
        light = gui.add_checkbox("Light page", False)

        for handle in (self._shown.handle, self._exposure, self._tone, self._resolution):

            @handle.on_update
            async def _(_: Any) -> None:
                self.look()

        @self._compared.handle.on_update
        async def _(_: Any) -> None:
            self._compare()

        @self._divider.on_update
        async def _(_: Any) -> None:
            self._sender.divide(self._divider.value / 100.0)

        @anew.on_click
        async def _(_: Any) -> None:
            self._session.restart(self.name)
            self._session.restart(self.name + OTHER)

        @keep.on_click
        async def _(_: Any) -> None:
            if self._sender.keep() and self._compared.value == KEPT:
                self._sender.show_kept()

        @light.on_update
        async def _(_: Any) -> None:
            gui.configure_theme(show_share_button=False, show_logo=False, dark_mode=not light.value)

    def _compare(self) -> None:
        """Show beside the main view what the user has chosen."""
        label = self._compared.value
        is_view = label in self._options.labels
        self._divider.visible = is_view or label == KEPT
        self._sender.divide(self._divider.value / 100.0)
        if not is_view:
            self._session.forget(self.name + OTHER)
        if label == KEPT:
            self._sender.show_kept()
        else:
            self._sender.drop_other()
        self.look()

    # Files

    def _saves(self, button: viser.GuiButtonHandle, saving: Saving) -> None:
        """Let a button save what the page shows when it is clicked; one file at a time."""

        @button.on_click
        async def _(_: Any) -> None:
            if self._is_saving:
                return
            self._is_saving = True
            view, name = self.view, self._options.name
            future = self._session.ask(lambda world: saving.save(world, self.name, view, name), redraws=False)
            future.add_done_callback(self._download)

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

    def _save_video(self, poses: list[Pose], samples: int) -> None:
        """Render a flight on a thread of its own, and let the browser download it."""
        if self._is_saving:
            self.fail("a file is being saved already; wait for its end")
            return
        start, view = self._options.start.camera, self.view
        count = max(int(flight_seconds(poses) * VIDEO_RATE), 2)
        cameras = [self._camera.with_lens(posed_camera(start, pose_at(poses, i / VIDEO_RATE))) for i in range(count)]
        views = [dataclasses.replace(view, camera=camera) for camera in cameras]
        if not all(np.isfinite(matrix(camera.to_world)).all() for camera in cameras):
            self.fail("the flight has a view without a direction; remove all views and add them again")
            return
        self._is_saving = True
        threading.Thread(target=self._render_video, args=(views, samples), name="video", daemon=True).start()

    def _render_video(self, views: list[View], samples: int) -> None:
        notice: viser.NotificationHandle | None = None
        done = 0

        def go_on() -> bool:
            nonlocal done
            if notice is not None:
                notice.body = f"{done} of {len(views)} frames"
            done += 1
            return not self._has_left

        try:
            notice = self._client.add_notification(
                "Video", f"0 of {len(views)} frames", loading=True, with_close_button=False
            )
            data = make_video(self._session, self.name + VIDEO, views, samples, go_on)
            if data is not None:
                self._client.send_file_download(f"{self._options.name}.mp4", data, save_immediately=True)
        except Exception as error:
            self.fail(f"the video could not be made: {one_line(error)}")
        finally:
            self._is_saving = False
            if notice is not None:
                notice.remove()


def _is_start(shown: Shown, options: PageOptions) -> bool:
    start = options.start
    return (shown.mode, shown.layer, shown.denoise) == (start.mode, start.layer, start.denoise)


def _shows(view: View, shown: Shown | None) -> bool:
    """Whether a view shows what was chosen."""
    return shown is not None and (view.mode, view.layer, view.denoise) == (shown.mode, shown.layer, shown.denoise)


class _Dropdown:
    """A dropdown whose value may be anything that a page has sent, and its first value."""

    def __init__(self, handle: viser.GuiDropdownHandle, initial_value: str) -> None:
        self.handle, self.initial_value = handle, initial_value

    @property
    def value(self) -> str:
        return str(self.handle.value)
