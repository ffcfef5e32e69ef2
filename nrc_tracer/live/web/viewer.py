"""A viewer: a session, a server, and the pages that are open."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import viser

from nrc_tracer.live.picture import Picture
from nrc_tracer.live.session import Session
from nrc_tracer.live.view import View
from nrc_tracer.live.web.access import Access, is_loopback
from nrc_tracer.live.web.cameras import pose_of, world_up
from nrc_tracer.live.web.choices import shown_labels
from nrc_tracer.live.web.page import OTHER, Page, PageOptions, Tabs
from nrc_tracer.live.web.server import start_server
from nrc_tracer.live.world import World

HIDE_TOKEN = """
<script>
  // The cookie has let this browser in: the token need not stay in the address bar, the history and screenshots
  (() => {
    const query = window.location.search.slice(1).split("&").filter((part) => part && !part.startsWith("token="));
    window.history.replaceState(null, "", window.location.pathname + (query.length ? "?" + query.join("&") : ""));
  })();
</script>
"""

MOST_PIXELS = 4096 * 2160
"""Largest number of pixels of a still picture."""


class Viewer:
    """Shows a world in browsers, until `close`. It is a session's listener.

    Args:
        world: What is shown.
        name: Its name.
        host: Name or address to listen at.
        port: Port; 0 for any free one.
        frames_per_second: Goal while a camera moves [1/s].
        samples: Samples per pixel after which a still picture is complete; None for ever.
        bounds: Lowest and highest corner of the scene, for the point that cameras orbit about.
        resolution: Label of the resolution that pages start with.
        add_panel: Adds a tab of controls that all pages share.

    Raises:
        NrcError: The port is in use, or the host is not an address of this machine.
    """

    def __init__(
        self,
        world: World,
        *,
        name: str,
        host: str,
        port: int,
        frames_per_second: float = 20.0,
        samples: int | None = None,
        bounds: tuple[np.ndarray, np.ndarray] | None = None,
        resolution: str = "full",
        add_panel: Callable[[viser.GuiApi, Any, Session], None] | None = None,
    ) -> None:
        from nrc_tracer.live.saving import can_denoise

        start = world.start
        self._access = Access(host)
        pose = pose_of(start.camera, start.width / start.height, bounds)
        self._options = PageOptions(
            name=name,
            start=start,
            pose=pose,
            labels=shown_labels(world.modes, world.layers),
            resolution=resolution,
            most_pixels=MOST_PIXELS,
            can_denoise=can_denoise(),
        )
        self._pages: dict[str, Page] = {}
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="page")
        title = f"{name} - nrc_tracer"
        self._server = start_server(host, port, label=name, access=self._access, title=title, head=HIDE_TOKEN)
        self.host, self.port = host, self._server.get_port()
        self._session = Session(world, self, frames_per_second=frames_per_second, samples=samples)
        self._set_up(pose, world_up(start.camera), add_panel)
        self._session.start()

    def _set_up(
        self,
        pose: Any,
        up: tuple[float, float, float],
        add_panel: Callable[[viser.GuiApi, Any, Session], None] | None,
    ) -> None:
        server = self._server
        server.scene.set_up_direction(up)
        camera = server.initial_camera
        camera.position, camera.look_at, camera.up, camera.fov = (
            np.array(pose.position),
            np.array(pose.look_at),
            np.array(pose.up),
            pose.fov,
        )
        group = server.gui.add_tab_group()
        self._tabs = Tabs(
            picture=group.add_tab("Picture", viser.Icon.PHOTO), camera=group.add_tab("Camera", viser.Icon.CAMERA)
        )
        if add_panel is not None:
            add_panel(server.gui, group, self._session)

        @server.on_client_connect
        async def _(client: viser.ClientHandle) -> None:
            page = Page(client, self._session, self._options, self._tabs, self._executor)
            with self._lock:
                self._pages[page.name] = page

        @server.on_client_disconnect
        async def _(client: viser.ClientHandle) -> None:
            with self._lock:
                page = self._pages.pop(str(client.client_id), None)
            if page is not None:
                page.leave()

    # What the session calls, on its thread

    def show(self, client: str, number: int, picture: Picture) -> None:
        """Send a picture to a page."""
        page = self._page(client)
        if page is None:
            self._session.acknowledge(client, number)  # it has gone, or is just being made
        else:
            page.show(client, number, picture)

    def fail(self, client: str, message: str) -> None:
        """Show an error in a page, or in all pages if it is nobody's own."""
        if client:
            pages = [page for page in (self._page(client),) if page is not None]
        else:
            with self._lock:
                pages = list(self._pages.values())
        for page in pages:
            page.fail(message)

    def _page(self, client: str) -> Page | None:
        with self._lock:
            return self._pages.get(client.removesuffix(OTHER))

    # What its owner calls

    @property
    def url(self) -> str:
        """The link that opens the page, with the token."""
        return f"http://{self._authority}/?token={self._access.token}"

    @property
    def pages(self) -> int:
        """Number of pages that are open."""
        with self._lock:
            return len(self._pages)

    @property
    def views(self) -> list[View]:
        """What each open page shows, in the order in which they were opened."""
        with self._lock:
            return [page.view for page in self._pages.values()]

    def wait(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Wait for Ctrl-C, or until `stop` returns true."""
        while not stop():
            time.sleep(0.2)

    def close(self) -> None:
        """End the server and the session. A second call does nothing."""
        self._session.close()
        self._server.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        """The page in a frame, for notebooks. Browsers send no cookies from frames, so the token is in the path."""
        source = html.escape(f"http://{self._authority}/{self._access.token}/", quote=True)
        return f'<iframe src="{source}" width="100%" height="600" style="border:0" allowfullscreen></iframe>'

    @property
    def _authority(self) -> str:
        host = "127.0.0.1" if self.host in ("0.0.0.0", "localhost", "") else "::1" if self.host == "::" else self.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only users of this machine can reach the page."""
        return is_loopback(self.host)
