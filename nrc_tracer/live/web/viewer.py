"""A viewer: a session, a server, and the pages that are open."""

from __future__ import annotations

import html
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

import numpy as np
import viser

from nrc_tracer.live.picture import Picture
from nrc_tracer.live.saving import Saving, can_denoise
from nrc_tracer.live.session import Session
from nrc_tracer.live.view import View
from nrc_tracer.live.web.access import Access, is_loopback
from nrc_tracer.live.web.cameras import pose_of, world_up
from nrc_tracer.live.web.choices import Shown, shown_labels
from nrc_tracer.live.web.page import OTHER, Page, PageOptions, Tabs
from nrc_tracer.live.web.server import cookie_of, origin_of, start_server
from nrc_tracer.live.world import Pickable, World

SHOW_COOKIE = "nrc_tracer_show"
"""Name of the cookie by which a page tells its websocket what its link asks for."""

HEAD = """
<script>
  (() => {
    // The cookie has let this browser in: the token need not stay in the address bar, the history and screenshots
    const query = window.location.search.slice(1).split("&").filter((part) => part && !part.startsWith("token="));
    // viser's page does not hand the query on to its websocket
    const show = query.find((part) => part.startsWith("show="));
    document.cookie = `nrc_tracer_show=${show ? show.slice(5) : ""}; Path=/; SameSite=Strict; Max-Age=${show ? 60 : 0}`;
    window.history.replaceState(null, "", window.location.pathname + (query.length ? "?" + query.join("&") : ""));
  })();
</script>
"""

MOST_PIXELS = 4096 * 2160
"""Largest number of pixels of a still picture."""

MOST_PIXELS_TOGETHER = 2 * MOST_PIXELS
"""Largest number of pixels of all still pictures together, which bounds the memory of many pages."""

AddPanel = Callable[[viser.ViserServer, viser.GuiTabGroupHandle, Session], None]


class Viewer:
    """Shows a world in browsers, until `close`. It is a session's listener.

    Args:
        world: What is shown.
        name: Its name.
        host: Name or address to listen at.
        port: Port; 0 for any free one.
        listener: A socket that is bound to the host and the port already, as `bound_socket` returns it; closed after an error.
        frames_per_second: Goal while a camera moves [1/s].
        samples: Samples per pixel after which a still picture is complete; None for ever.
        bounds: Lowest and highest corner of the scene, for the point that cameras orbit about.
        labels: All that a view may show, by label; made of the world's modes and layers if None.
        up: The direction about which cameras orbit; the axis that is vertical in the first view if None.
        head: HTML for the page's head.
        resolution: Label of the resolution that pages start with.
        savings: The kinds of files that pages can save.
        denoised: Whether pages offer denoised pictures, where Open Image Denoise is installed.
        add_panel: Adds tabs of controls that all pages share.
        token: The secret that requests must carry; a random one if none is given.

    Attributes:
        world: What is shown. Only the session's thread uses it until `close`.

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
        listener: socket.socket | None = None,
        frames_per_second: float = 20.0,
        samples: int | None = None,
        bounds: tuple[np.ndarray, np.ndarray] | None = None,
        labels: dict[str, Shown] | None = None,
        up: tuple[float, float, float] | None = None,
        head: str = "",
        resolution: str = "full",
        savings: Sequence[Saving] = (),
        denoised: bool = False,
        add_panel: AddPanel | None = None,
        token: str | None = None,
    ) -> None:
        self.world, start = world, world.start
        self._access = Access(host, token)
        center = world.point_at(start, 0.5, 0.5) if isinstance(world, Pickable) else None
        pose = pose_of(start.camera, start.width / start.height, bounds, center)
        self._options = PageOptions(
            name=name,
            start=start,
            pose=pose,
            labels=labels or shown_labels(world.modes, world.layers, denoised=denoised and can_denoise()),
            resolution=resolution,
            most_pixels=self._most_pixels,
            savings=tuple(savings),
            is_pickable=isinstance(world, Pickable),
        )
        self._pages: dict[str, Page] = {}
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="page")
        title = f"{name} - nrc_tracer"
        self._server = start_server(
            host, port, label=name, access=self._access, title=title, head=HEAD + head, listener=listener
        )
        try:
            self.host, self.port = host, self._server.get_port()
            self._session = Session(world, self, frames_per_second=frames_per_second, samples=samples)
            self._set_up(pose, up or world_up(start.camera), add_panel)
            self._session.start()
        except BaseException:
            self._server.stop()
            self._executor.shutdown(wait=False, cancel_futures=True)
            raise

    def _set_up(
        self,
        pose: Any,
        up: tuple[float, float, float],
        add_panel: AddPanel | None,
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
            add_panel(server, group, self._session)

        @server.on_client_connect
        async def _(client: viser.ClientHandle) -> None:
            name = str(client.client_id)
            try:
                page = Page(
                    client,
                    self._session,
                    self._options,
                    self._tabs,
                    self._executor,
                    address=f"{origin_of(server, client.client_id) or self._origin}/",
                    label=unquote(cookie_of(server, client.client_id, SHOW_COOKIE)),
                )
            except BaseException:  # it may have asked for pictures already
                self._session.forget(name)
                self._session.forget(name + OTHER)
                raise
            with self._lock:
                self._pages[name] = page
            self._share_memory()

        @server.on_client_disconnect
        async def _(client: viser.ClientHandle) -> None:
            with self._lock:
                page = self._pages.pop(str(client.client_id), None)
            if page is not None:
                page.leave()
                self._share_memory()

    def _most_pixels(self) -> int:
        """Largest number of pixels of a picture, of which each page may have two."""
        return min(MOST_PIXELS, MOST_PIXELS_TOGETHER // (2 * max(self.pages, 1)))

    def _share_memory(self) -> None:
        """Let all pages choose the size of their pictures again, after the number of pages has changed."""
        for page in self._open_pages():
            page.look()

    def _open_pages(self) -> list[Page]:
        with self._lock:
            return list(self._pages.values())

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
        own = self._page(client) if client else None
        for page in self._open_pages() if not client else [own] if own is not None else []:
            page.fail(message)

    def _page(self, client: str) -> Page | None:
        with self._lock:
            return self._pages.get(client.removesuffix(OTHER))

    # What its owner calls

    @property
    def url(self) -> str:
        """The link that opens the page, with the token."""
        return f"{self._origin}/?token={self._access.token}"

    @property
    def _origin(self) -> str:
        return f"http://{self._authority}"

    @property
    def pages(self) -> int:
        """Number of pages that are open."""
        with self._lock:
            return len(self._pages)

    @property
    def views(self) -> list[View]:
        """What each open page shows, in the order in which they were opened."""
        return [page.view for page in self._open_pages()]

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
        source = html.escape(f"{self._origin}/{self._access.token}/", quote=True)
        return f'<iframe src="{source}" width="100%" height="600" style="border:0" allowfullscreen></iframe>'

    @property
    def _authority(self) -> str:
        host = "127.0.0.1" if self.host in ("0.0.0.0", "localhost", "") else "::1" if self.host == "::" else self.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only users of this machine can reach the page."""
        return is_loopback(self.host)
