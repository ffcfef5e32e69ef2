"""The viewer's server, by plain HTTP and by a websocket client: who is let in, and what closes a connection."""

import contextlib
import json
import math
import os
import socket
import threading
import time

import msgspec
import pytest
import viser
import zstandard
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from nrc_tracer.errors import NrcError
from nrc_tracer.live.web.access import Access
from nrc_tracer.live.web.messages import BURST, LARGEST_MESSAGE, MESSAGES_PER_SECOND, BadMessage, Rate, check_new_value
from nrc_tracer.live.web.server import MOST_CLIENTS, Frame, start_server

PATIENCE = 30.0
"""Time after which a test gives up waiting [s]."""

CAMERA = {
    "type": "ViewerCameraMessage",
    "wxyz": [1.0, 0.0, 0.0, 0.0],
    "position": [0.0, 0.0, 3.0],
    "fov": 1.0,
    "near": 0.01,
    "far": 1000.0,
    "image_height": 180,
    "image_width": 320,
    "look_at": [0.0, 0.0, 0.0],
    "up_direction": [0.0, 1.0, 0.0],
}


class Served:
    """A running server and requests to it."""

    def __init__(self):
        self.access = Access("127.0.0.1")
        self.viser = start_server("127.0.0.1", 0, label="test", access=self.access, head="<!-- ours -->")
        self.port = self.viser.get_port()
        self.target = f"/?token={self.access.token}"

    def get(self, target, host=None, **headers):
        """Send a GET request as it is; return the status, the headers in lower case and the body."""
        lines = [f"GET {target} HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.port}'}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(("\r\n".join([*lines, "", ""])).encode("latin-1"))
            answer = b""
            while part := connection.recv(65536):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        return int(first.split()[1]), fields, body

    def connect(self, target=None, **options):
        options.setdefault("subprotocols", [f"viser-v{viser.__version__}"])
        options.setdefault("max_size", None)
        options.setdefault("close_timeout", 1.0)
        return connect(f"ws://127.0.0.1:{self.port}{target or self.target}", open_timeout=PATIENCE, **options)

    def clients(self):
        return self.viser.get_clients()


@pytest.fixture(scope="module")
def served():
    served = Served()
    yield served
    served.viser.stop()


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


def closing(connection):
    """Read a connection to its end; return the code with which the server closed it."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            connection.recv(timeout=PATIENCE)
    return connection.close_code


def packed(message):
    return msgspec.msgpack.encode(message)


def read(raw):
    """The messages of a packet."""
    size = int.from_bytes(raw[8:16], "little")
    return msgspec.msgpack.decode(zstandard.decompress(raw[16 : 16 + size]))["messages"]


def test_the_link_gives_the_page_and_a_cookie_that_opens_it_again(served):
    status, headers, body = served.get(served.target)
    assert status == 200
    assert b"<head><!-- ours -->" in body
    assert headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    status, _, again = served.get("/", Cookie=headers["set-cookie"].partition(";")[0])
    assert status == 200
    assert again == body
    status, headers, small = served.get(served.target, Accept_Encoding="gzip")
    assert headers["content-encoding"] == "gzip"
    assert len(small) < len(body)


@pytest.mark.parametrize("upgrade", [{}, {"Upgrade": "websocket", "Connection": "Upgrade"}], ids=["http", "websocket"])
@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/", {}, 403),
        ("/?token=wrong", {}, 403),
        ("/index.html", {}, 403),
        ("/%2e%2e/%2e%2e/etc/passwd", {}, 403),
        ("TOKEN", {"host": "evil.example"}, 421),
        ("TOKEN", {"Origin": "http://evil.example"}, 403),
        ("TOKEN", {"Origin": "null"}, 403),
    ],
)
def test_strangers_are_refused(served, target, headers, status, upgrade):
    target = served.target if target == "TOKEN" else target
    found, answer, body = served.get(target, **headers, **upgrade)
    assert found == status
    assert "set-cookie" not in answer
    assert served.access.token.encode() not in body


@pytest.mark.parametrize(
    "path",
    [
        "/%2e%2e/",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/../pyproject.toml",
        "/assets/a.js",
        "/..%5c..%5cx",
        "/index.html/",
        "//",
    ],
)
def test_nothing_but_the_page_is_served(served, path):
    assert served.get(f"{path}?token={served.access.token}")[0] == 404


def test_malformed_requests_leave_the_server_alive(served):
    for request in (
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(range(256)) * 64,
        b"GET /" + b"a" * 100_000,
    ):
        with (
            socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as connection,
            contextlib.suppress(ConnectionError),
        ):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert served.get(served.target)[0] == 200


@pytest.mark.parametrize(
    "options",
    [{"target": "/"}, {"origin": "http://evil.example"}, {"additional_headers": {"Cookie": "a=b"}, "target": "/"}],
)
def test_a_websocket_needs_token_and_origin(served, options):
    with pytest.raises(InvalidStatus) as caught, served.connect(**options):
        pass
    assert caught.value.response.status_code == 403


def test_a_client_becomes_known_with_its_camera_and_is_forgotten(served):
    wait_until(lambda: not served.viser._websock_server._live_connections, "the end of earlier connections")
    gone = threading.Event()
    served.viser.on_client_disconnect(lambda client: gone.set())
    with served.connect(origin=f"http://127.0.0.1:{served.port}") as connection:
        connection.send(packed(CAMERA))
        wait_until(served.clients, "a client's appearance")
        (client,) = served.clients().values()
        assert client.camera.fov == 1.0
    assert gone.wait(PATIENCE)
    assert not served.clients()
    assert not served.viser._websock_server._client_state_from_id


def test_a_page_of_another_version_is_turned_away(served):
    with served.connect(subprotocols=["viser-v0.0.1"]) as connection:
        assert closing(connection) == 1002


BAD = {
    "garbage": b"\xc1\xff\x00garbage",
    "empty": b"",
    "text": "text",
    "no map": packed([1, 2, 3]),
    "no type": packed({"a": 1}),
    "unknown type": packed({"type": "NoSuchMessage"}),
    "type is a list": packed({"type": ["ViewerCameraMessage"]}),
    "share button": packed({"type": "ShareUrlRequest"}),
    "upload": packed(
        {
            "type": "FileTransferStartUpload",
            "source_component_uuid": "a",
            "transfer_uuid": "b",
            "filename": "c",
            "mime_type": "d",
            "part_count": 1,
            "size_bytes": 1,
        }
    ),
    "javascript": packed({"type": "RunJavascriptMessage", "source": "alert(1)"}),
    "missing fields": packed({"type": "ViewerCameraMessage"}),
    "extra field": packed({**CAMERA, "extra": 1}),
    "not finite": packed({**CAMERA, "position": [math.nan, 0.0, 0.0]}),
    "huge": packed({**CAMERA, "position": [1e300, 0.0, 0.0]}),
    "short": packed({**CAMERA, "wxyz": [1.0, 0.0]}),
    "no rotation": packed({**CAMERA, "wxyz": [0.0, 0.0, 0.0, 0.0]}),
    "words": packed({**CAMERA, "look_at": ["a", "b", "c"]}),
    "gizmo": packed(
        {"type": "TransformControlsUpdateMessage", "name": "/gizmo", "wxyz": [0.0] * 4, "position": [0.0] * 3}
    ),
    "long gizmo": packed(
        {
            "type": "TransformControlsUpdateMessage",
            "name": "/gizmo",
            "wxyz": [1.0, 0.0, 0.0, 0.0],
            "position": [0.0] * 9,
        }
    ),
    "field of view": packed({**CAMERA, "fov": 7.0}),
    "window": packed({**CAMERA, "image_width": 10**9}),
    "deep": b"\x91" * 5000 + b"\x00",
    "private": packed({"type": "GuiUpdateMessage", "uuid": "a", "updates": {"update_cb": 1}}),
    "long text": packed({"type": "GuiUpdateMessage", "uuid": "a", "updates": {"value": "x" * 10_000}}),
    "too large": bytes(LARGEST_MESSAGE + 1),
}


@pytest.mark.filterwarnings("ignore:.viser. .* does not match annotation:UserWarning")
@pytest.mark.parametrize("message", BAD.values(), ids=BAD)
def test_a_bad_message_closes_its_connection_and_no_other(served, message, caplog):
    with served.connect() as other, served.connect() as connection:
        other.send(packed(CAMERA))
        connection.send(message)
        assert closing(connection) == (1009 if len(message) > LARGEST_MESSAGE else 1008)
        other.ping().wait(PATIENCE)
        wait_until(served.clients, "the appearance of the other client")
    wait_until(lambda: not served.clients(), "the departure of the other client")
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_a_flood_closes_its_connection_and_no_other(served):
    with served.connect() as other, served.connect() as connection:
        other.send(packed(CAMERA))
        payload = packed(CAMERA)
        frame = b"\x82\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload  # masked with zeros
        with contextlib.suppress(ConnectionError):
            connection.socket.sendall(frame * int(4 * BURST))
        assert closing(connection) in (1008, 1006)  # 1006: reset while it was still sending
        assert other.ping().wait(PATIENCE)


def test_messages_are_counted_with_a_rate():
    """After a burst the rate is what counts."""
    clock = [0.0]
    rate = Rate(lambda: clock[0])
    for _ in range(int(BURST)):
        rate.count()
    with pytest.raises(BadMessage, match="too many messages"):
        rate.count()
    clock[0] += 100 / MESSAGES_PER_SECOND + 1e-6
    for _ in range(98):
        rate.count()
    rate.count()
    with pytest.raises(BadMessage, match="too many messages"):
        rate.count()


def test_a_value_that_a_control_cannot_take_closes_its_connection(served):
    with served.viser.atomic():
        slider = served.viser.gui.add_slider("slider", 0.0, 1.0, 0.1, 0.5)
    with served.connect() as connection:
        connection.send(packed({"type": "GuiUpdateMessage", "uuid": slider._impl.uuid, "updates": {"value": [1, 2]}}))
        assert closing(connection) == 1008
    assert slider.value == 0.5
    slider.remove()


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        (0.25, True),
        (True, False),
        ("nan", False),
        ("1e300", False),
        ([1.0], False),
    ],
)
def test_a_slider_takes_numbers_only(served, value, fits):
    """viser would convert texts: the value could be NaN."""
    slider = served.viser.gui.add_slider("Strength", 0.0, 1.0, 0.01, 0.5)
    with served.connect() as connection:
        connection.send(packed({"type": "GuiUpdateMessage", "uuid": slider._impl.uuid, "updates": {"value": value}}))
        if fits:
            wait_until(lambda: slider.value == value, "the slider's new value")
        else:
            assert closing(connection) == 1008
            assert slider.value == 0.5
    slider.remove()


@pytest.mark.parametrize("value", [["9" * 40, "1", "1"], [1, 2], [256, 0, 0], [-1, 0, 0], [], 7])
def test_a_colour_takes_three_bytes_only(served, value):
    """Others would break the messages to all other pages."""
    colour = served.viser.gui.add_rgb("Colour", (1, 2, 3))
    with served.connect() as other, served.connect() as connection:
        connection.send(packed({"type": "GuiUpdateMessage", "uuid": colour._impl.uuid, "updates": {"value": value}}))
        assert closing(connection) == 1008
        assert colour.value == (1, 2, 3)
        other.send(packed({"type": "GuiUpdateMessage", "uuid": colour._impl.uuid, "updates": {"value": [4, 5, 6]}}))
        wait_until(lambda: colour.value == (4, 5, 6), "the colour's new value")
    colour.remove()


def test_only_pages_with_the_token_in_their_path_may_be_framed(served):
    """Notebooks need frames; other pages could lure clicks."""
    for target, framed in ((f"/?token={served.access.token}", False), (f"/{served.access.token}/", True)):
        status, fields, _ = served.get(target)
        assert status == 200
        assert ("frame-ancestors 'none'" in fields["content-security-policy"]) != framed


def test_the_number_of_pages_is_bounded(served):
    wait_until(lambda: not served.viser._websock_server._live_connections, "the end of earlier connections")
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_CLIENTS):
            stack.enter_context(served.connect())
        wait_until(lambda: len(served.viser._websock_server._live_connections) == MOST_CLIENTS, "the last connection")
        with pytest.raises(InvalidStatus) as caught, served.connect():
            pass
        assert caught.value.response.status_code == 503
    wait_until(lambda: not served.viser._websock_server._live_connections, "the end of all connections")


def test_pictures_arrive_and_are_acknowledged(served):
    with served.connect() as connection:
        connection.send(packed(CAMERA))
        wait_until(served.clients, "a client's appearance")
        (client,) = served.clients().values()
        arrived = threading.Event()
        client._websock_connection.queue_message(Frame("jpeg", b"the picture", arrived.set))
        found = []
        while not found:
            found = [m for m in read(connection.recv(timeout=PATIENCE)) if m["type"] == "BackgroundImageMessage"]
        assert found == [
            {"type": "BackgroundImageMessage", "format": "jpeg", "rgb_data": b"the picture", "depth_data": None}
        ]
        assert arrived.wait(PATIENCE)
    wait_until(lambda: not served.clients(), "the client's departure")


class PausedSocket(socket.socket):
    """A socket that does not read while `reads` is not set."""

    def __init__(self, port):
        super().__init__()
        self.reads = threading.Event()
        self.reads.set()
        super().connect(("127.0.0.1", port))

    def recv(self, size, flags=0):
        self.reads.wait(PATIENCE)
        return super().recv(size, flags)


def test_a_picture_is_not_acknowledged_by_a_client_that_does_not_read(served):
    """The picture is larger than what the connection buffers, so the client does not see the ping behind it."""
    paused = PausedSocket(served.port)
    with served.connect(sock=paused) as connection:
        connection.send(packed(CAMERA))
        wait_until(served.clients, "a client's appearance")
        (client,) = served.clients().values()
        arrived = threading.Event()
        paused.reads.clear()
        client._websock_connection.queue_message(Frame("png", os.urandom(24 * 2**20), arrived.set))
        assert not arrived.wait(0.5)
        paused.reads.set()
        deadline = time.monotonic() + PATIENCE
        while not arrived.is_set() and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                connection.recv(timeout=0.1)
        assert arrived.is_set()
    wait_until(lambda: not served.clients(), "the client's departure")


def test_a_port_in_use_is_refused_and_nothing_is_printed(served, capsys):
    with pytest.raises(NrcError, match=f"port {served.port} is in use"):
        start_server("127.0.0.1", served.port, label="second", access=served.access)
    server = start_server("127.0.0.1", 0, label="third", access=Access("127.0.0.1"))
    server.stop()
    out, err = capsys.readouterr()
    assert json.dumps([out, err]) == '["", ""]'


def test_a_range_takes_numbers_below_0_and_a_colour_does_not():
    """The two ends of a crop box are fractions of either sign; a colour has three parts from 0 to 255."""
    check_new_value((-0.25, 0.5), (-0.5, 0.5))
    check_new_value((-1, 0.5), (-1.0, 1.0))  # a whole number arrives as an integer
    check_new_value((0, 128, 255), (1, 2, 3))
    for value, present in (
        ((-1, 0, 0), (1, 2, 3)),
        ((0, 0, 256), (1, 2, 3)),
        ((float("nan"), 0.5), (-0.5, 0.5)),
        ((0.0, float("inf")), (-0.5, 0.5)),
        ((True, 0.5), (-0.5, 0.5)),
        ((0.0,), (-0.5, 0.5)),
    ):
        with pytest.raises(BadMessage):
            check_new_value(value, present)
