"""viser's server with the rules of `access.py` and `messages.py`, whose pictures are acknowledged by the browser.

viser's own server listens on all addresses, takes another port if its port is in use, answers every request, accepts messages of
50 MB, and prints tracebacks of malformed ones. `GuardedServer` replaces the server's loop and keeps its message buffers and
handlers. It relies on viser's internals, so pyproject.toml pins viser's version.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import html
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import msgspec
import rich
import viser
import viser.infra
import zstandard
from viser import _messages as viser_messages
from viser.infra._async_message_buffer import AsyncMessageBuffer
from viser.infra._infra import ClientId, WebsockClientConnection, _ClientHandleState
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from nrc_tracer.live.web.access import Access
from nrc_tracer.live.web.binding import bound_socket
from nrc_tracer.live.web.messages import LARGEST_MESSAGE, BadMessage, Rate, check_new_value, read_message

MOST_CLIENTS = 16
"""Largest number of pages that are connected at the same time."""

PING_SECONDS, PONG_SECONDS = 30.0, 90.0
"""Time between two pings of an idle client, and time after which a client that has not answered is disconnected [s]."""

CLOSE_SECONDS = 2.0
"""Time that a client has to agree to the end of its connection [s]."""

PAGE_PATHS = frozenset({"/", "/index.html"})
"""Paths at which the page is served. Nothing else is: viser's page is a single file."""

_log = logging.getLogger(__name__)
_log_of_websockets = logging.getLogger(f"{__name__}.websockets")
_log_of_websockets.addHandler(logging.NullHandler())
_log_of_websockets.propagate = False  # a request that is refused is no news

_making = threading.Lock()


class Frame(viser_messages.BackgroundImageMessage, include_in_scene_serialization=True):
    """A picture behind the scene, with a function that is called when the browser has received it.

    A newer picture replaces one that is still waiting to be sent, whose function is then never called.

    Args:
        format: `jpeg` or `png`.
        data: The encoded picture.
        arrived: Called on the server's thread; must return soon.
    """

    def __init__(self, format: Literal["jpeg", "png"], data: bytes, arrived: Callable[[], None]) -> None:
        super().__init__(format=format, rgb_data=data, depth_data=None)
        self.arrived = arrived

    def as_serializable_dict(self, binary_buffers: list[memoryview] | None = None) -> dict[str, Any]:
        message = super().as_serializable_dict(binary_buffers)
        return {**message, "type": "BackgroundImageMessage"}  # the name that viser's page knows

    def redundancy_key(self) -> str:
        return "frame"


class GuardedServer(viser.infra.WebsockServer):
    """The server behind a `viser.ViserServer`. See the top of this file.

    Args:
        access: Which requests are answered.
        listener: A socket that is bound already.
        page: The HTML that is served.
        arguments: The arguments of viser's own server.
    """

    def __init__(self, access: Access, listener: socket.socket, page: bytes, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._access, self._listener = access, listener
        self._page, self._compressed_page = page, gzip.compress(page)
        self._port = listener.getsockname()[1]
        self._next_client = 0
        self.find_control: Callable[[int, str], Any] = lambda client, control: None

    def _background_worker(self, ready_sem: threading.Semaphore) -> None:
        """Serve until `stop`; viser's server calls this on a thread of its own."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        self._background_event_loop = loop
        self._stop_event = asyncio.Event()
        self._broadcast_buffer = AsyncMessageBuffer(loop, persistent_messages=True)
        try:
            loop.run_until_complete(self._serve(ready_sem))
        finally:
            ready_sem.release()
            loop.close()

    async def _serve(self, ready: threading.Semaphore) -> None:
        assert self._stop_event is not None
        async with serve(
            self._talk,
            sock=self._listener,
            max_size=LARGEST_MESSAGE,
            compression=None,  # pictures are compressed already
            process_request=self._answer,
            select_subprotocol=_select_version,
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
            close_timeout=CLOSE_SECONDS,
            logger=_log_of_websockets,
        ):
            ready.release()
            await self._stop_event.wait()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request; None lets a websocket begin."""
        refusal = self._access.refusal(request.path, request.headers)
        if refusal is not None:
            return _text(refusal.status, refusal.reason)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            if len(self._live_connections) >= MOST_CLIENTS:
                return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_CLIENTS} pages are connected already.")
            return None
        if self._access.page_path(request.path) not in PAGE_PATHS:
            return _text(HTTPStatus.NOT_FOUND, "There is nothing here.")
        return self._page_response(request)

    def _page_response(self, request: Request) -> Response:
        is_compressed = "gzip" in request.headers.get("Accept-Encoding", "")
        body = self._compressed_page if is_compressed else self._page
        host = request.headers["Host"]
        # Notebooks show the page in a frame, with the token in its path. Other pages could lure clicks
        is_framed = self._access.page_path(request.path) != request.path.partition("?")[0]
        frames = "" if is_framed else "; frame-ancestors 'none'"
        headers = _headers(
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Set-Cookie", self._access.cookie),
            # The page and its workers are one file: it loads nothing from anywhere, and talks to this server alone
            (
                "Content-Security-Policy",
                "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob: data:; worker-src blob: data:; "
                f"style-src 'unsafe-inline' blob: data:; img-src blob: data:; font-src blob: data:; "
                f"connect-src blob: data: 'self' ws://{host} wss://{host}; base-uri 'none'; form-action 'none'{frames}",
            ),
        )
        if is_compressed:
            headers["Content-Encoding"] = "gzip"
        return Response(HTTPStatus.OK, "OK", headers, body)

    async def _talk(self, connection: ServerConnection) -> None:
        """Serve one page until it goes away."""
        if connection.subprotocol != _version():
            await connection.close(CloseCode.PROTOCOL_ERROR, f"This server needs the protocol {_version()}")
            return
        client_id, self._next_client = ClientId(self._next_client), self._next_client + 1
        assert self._background_event_loop is not None
        state = _ClientHandleState(
            AsyncMessageBuffer(self._background_event_loop, persistent_messages=False), self._background_event_loop
        )
        client = WebsockClientConnection(client_id, state)
        self._client_state_from_id[client_id], self._live_connections[client_id] = state, connection
        jobs: list[asyncio.Task[None]] = []
        try:
            for callback in tuple(self._client_connect_cb):
                await _called(callback, client)
            jobs += [
                asyncio.create_task(_send_all(connection, state.message_buffer, client_id)),
                asyncio.create_task(
                    _send_all(connection, self._broadcast_buffer, client_id, self._backlog_done_message)
                ),
                asyncio.create_task(self._receive_all(connection, client)),
            ]
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            state.message_buffer.set_done()
            self._client_state_from_id.pop(client_id, None)
            self._live_connections.pop(client_id, None)
            for callback in tuple(self._client_disconnect_cb):
                with contextlib.suppress(Exception):
                    await _called(callback, client)

    async def _receive_all(self, connection: ServerConnection, client: WebsockClientConnection) -> None:
        """Handle the messages of a page, in their order; close its connection at the first bad one."""
        rate = Rate(time.monotonic)
        try:
            async for raw in connection:
                rate.count()
                message = read_message(raw)
                if isinstance(message, viser_messages.GuiUpdateMessage):
                    control = self.find_control(client.client_id, message.uuid)
                    if control is not None and "value" in message.updates:
                        check_new_value(message.updates["value"], control.value)
                await self._handle_incoming_message(ClientId(client.client_id), message)
                await client._handle_incoming_message(ClientId(client.client_id), message)
        except ConnectionClosed:
            pass
        except BadMessage as error:
            _log.info("client %s is disconnected: %s", client.client_id, error)
            await connection.close(CloseCode.POLICY_VIOLATION, str(error)[:100])
        except Exception as error:
            # A value of the right kind can still be one that viser cannot assign to a control
            _log.info("client %s is disconnected: a message could not be handled: %r", client.client_id, error)
            await connection.close(CloseCode.POLICY_VIOLATION, "a message could not be handled")


def start_server(
    host: str,
    port: int,
    *,
    label: str,
    access: Access,
    title: str = "nrc_tracer",
    head: str = "",
    listener: socket.socket | None = None,
) -> viser.ViserServer:
    """Start viser's server, guarded.

    Args:
        host: Name or address to listen at.
        port: Port; 0 for any free one.
        label: Title of the page's panel.
        access: Which requests are answered.
        title: Title of the browser's window.
        head: HTML that is put before everything else in the page's head.
        listener: A socket that is bound to the host and the port already, as `bound_socket` returns it.

    Raises:
        NrcError: The port is in use, or the host is not an address of this machine.
    """
    listener = bound_socket(host, port) if listener is None else listener
    page_file = Path(viser.__file__).parent / "client" / "build" / "index.html"
    page = page_file.read_text(encoding="utf-8").replace("<head>", f"<head>{head}", 1)
    page = page.replace("<title>Viser</title>", f"<title>{html.escape(title)}</title>", 1)
    guards: list[GuardedServer] = []

    def make(**arguments: Any) -> GuardedServer:
        guards.append(GuardedServer(access, listener, page.encode(), **arguments))
        return guards[-1]

    with _making, _replaced(viser.infra, "WebsockServer", make), _replaced(rich.get_console(), "quiet", True):
        server = viser.ViserServer(host=host, port=listener.getsockname()[1], label=label, verbose=False)
    # An outside service that would publish the page
    server.gui.configure_theme(show_share_button=False, show_logo=False, dark_mode=True)
    # The message that clears the picture is for all pages, and could reach one after its first picture
    server._websock_server._broadcast_buffer.remove_from_buffer(
        lambda message: isinstance(message, viser_messages.BackgroundImageMessage)
    )

    def find_control(client: int, control: str) -> Any:
        """The control with this name, of one page or of all; None if there is none."""
        pages = server.get_clients()
        panels = [server.gui, *([pages[client].gui] if client in pages else [])]
        found = (panel._gui_input_handle_from_uuid.get(control) for panel in panels)
        return next((handle for handle in found if handle is not None), None)

    guards[-1].find_control = find_control
    return server


def origin_of(server: viser.ViserServer, client: int) -> str:
    """The origin of a page, such as `http://127.0.0.1:8080`, as its browser has it; empty if it has not said so."""
    return _request_headers(server, client).get("Origin", "")


def cookie_of(server: viser.ViserServer, client: int, name: str) -> str:
    """The value of a cookie that a page had when it connected; empty if it had none."""
    for header in _request_headers(server, client).get_all("Cookie"):
        for part in header.split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                return value
    return ""


def _request_headers(server: viser.ViserServer, client: int) -> Headers:
    connection = server._websock_server._live_connections.get(ClientId(client))
    request = getattr(connection, "request", None)
    return Headers() if request is None else request.headers


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute for a while."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


async def _send_all(
    connection: ServerConnection, buffer: AsyncMessageBuffer, client_id: int, at_end_of_backlog: Any = None
) -> None:
    """Send what is put into a buffer, and a ping behind each picture, whose answer acknowledges it."""
    windows = buffer.window_generator(client_id, backlog_done_message=at_end_of_backlog)
    compressor = zstandard.ZstdCompressor(level=1)
    try:
        async for window in windows:
            await connection.send(_packed(window, compressor))
            for message in window:
                if isinstance(message, Frame):
                    answer = asyncio.ensure_future(await connection.ping())
                    answer.add_done_callback(functools.partial(_answered, message.arrived))
    except ConnectionClosed:
        pass
    finally:
        await windows.aclose()


def _answered(arrived: Callable[[], None], answer: asyncio.Future) -> None:
    if not answer.cancelled() and answer.exception() is None:
        arrived()


def _packed(window: Sequence[Any], compressor: zstandard.ZstdCompressor) -> bytes:
    """Messages as viser's page reads them: sizes, compressed msgpack, and arrays at multiples of 8 bytes."""
    arrays: list[memoryview] = []
    messages = tuple(message.as_serializable_dict(arrays) for message in window)
    lengths = tuple(array.nbytes for array in arrays)
    data = msgspec.msgpack.encode(
        {"messages": messages, "timestampSec": time.perf_counter(), "binaryBufferLengths": lengths}
    )
    compressed = compressor.compress(data)
    packed = bytearray(len(data).to_bytes(8, "little") + len(compressed).to_bytes(8, "little") + compressed)
    for array in arrays:
        packed += bytes(-len(packed) % 8)
        packed += array
    return bytes(packed)


async def _called(callback: Callable[[WebsockClientConnection], Any], client: WebsockClientConnection) -> None:
    """Call a function that may be asynchronous."""
    result = callback(client)
    if asyncio.iscoroutine(result):
        await result


def _version() -> str:
    """The websocket subprotocol of viser's page."""
    return f"viser-v{viser.__version__}"


def _select_version(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return next((name for name in offered if name == _version()), None)


def _headers(*entries: tuple[str, str]) -> Headers:
    """Headers of a response, with those that every response has."""
    always: Iterable[tuple[str, str]] = (
        ("Connection", "close"),
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
    )
    return Headers([*always, *entries])


def _text(status: HTTPStatus, text: str) -> Response:
    body = f"{text}\n".encode()
    headers = _headers(("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))))
    return Response(status, status.phrase, headers, body)
