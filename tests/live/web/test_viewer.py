"""A viewer with websocket clients: many frames, clients that misbehave, slow connections, a server that is started again."""

import contextlib
import io
import logging
import socket
import threading
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

import nrc_tracer as nrc
from benchmarks.page_client import PageClient
from nrc_tracer.errors import NrcError
from nrc_tracer.live.web.binding import bound_socket
from nrc_tracer.live.web.cameras import pose_of
from nrc_tracer.live.web.viewer import Viewer
from nrc_tracer.scene.model import Perspective
from nrc_tracer.scene.transforms import matrix
from tests.live.rooms import room
from tests.live.stand_ins import FakeWorld

LAMP = 6
"""Number of the glowing ball of the room."""

PATIENCE = 60.0
SIZE = (64, 36)
POSE = pose_of(Perspective(), SIZE[0] / SIZE[1])


class Wait:
    """A clock of a world whose frames take the time that they should."""

    def wait(self, seconds):
        time.sleep(0.002)


def make_viewer(**options):
    options = {"name": "test", "host": "127.0.0.1", "port": 0, "frames_per_second": 200.0, **options}
    return Viewer(FakeWorld(Wait()), **options)


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


class Relay:
    """Forwards bytes to a port at a limited rate, with a delay.

    Args:
        port: The port.
        delay: Time that each piece of data takes [s].
        rate: Largest number of bytes per second from the server.
    """

    def __init__(self, port, delay, rate):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._target, self._delay, self._rate = port, delay, rate
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                outer = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._copy, args=(inner, outer, None), daemon=True).start()
                threading.Thread(target=self._copy, args=(outer, inner, self._rate), daemon=True).start()

    def _copy(self, source, target, rate):
        pieces, free = [], 0.0
        arrived = threading.Condition()

        def forward():
            with contextlib.suppress(OSError):
                while True:
                    with arrived:
                        arrived.wait_for(lambda: pieces)
                        due, data = pieces.pop(0)
                        arrived.notify_all()
                    time.sleep(max(0.0, due - time.monotonic()))
                    target.sendall(data)

        threading.Thread(target=forward, daemon=True).start()
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                now = time.monotonic()
                free = max(free, now) + (len(data) / rate if rate else 0.0)
                with arrived:
                    arrived.wait_for(lambda: len(pieces) < 8)  # the buffers of a network are small
                    pieces.append((free + self._delay, data))
                    arrived.notify_all()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self):
        self._listener.close()


def move_until(client, frames, number=0):
    """Move the camera until so many pictures have arrived."""
    deadline = time.monotonic() + PATIENCE
    while len(client.arrivals) < frames:
        assert time.monotonic() < deadline, "too few pictures arrived"
        number += 1
        client.turn(number % 90)
        time.sleep(0.004)
        del client.arrivals[:-frames]


def test_clients_that_misbehave_disturb_no_other(caplog):
    """One stops reading, one sends garbage, one disconnects in the middle of a frame; then all but one are forgotten."""
    caplog.set_level(logging.WARNING)
    with make_viewer() as viewer:
        good, gone, bad = (PageClient(viewer.url, SIZE, POSE) for _ in range(3))
        for client in (good, gone, bad):
            move_until(client, 5)
        gone._connection.socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(ConnectionClosed):
            bad._connection.send(b"\xc1garbage")
        wait_until(lambda: viewer.pages == 1, "the end of the bad connections")
        move_until(good, 150)
        assert len(viewer._session._clients) == 1
        good.close()
        wait_until(lambda: viewer.pages == 0, "the end of the good connection")
        wait_until(lambda: not viewer._session._clients, "forgetting")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_slow_connection_gets_fewer_pictures_and_no_lag():
    """Behind 80 ms and 5 Mbit/s each picture is of a camera that was current a moment before, however long it goes on."""
    with make_viewer() as viewer:
        delay = 0.08
        relay = Relay(viewer.port, delay, 5e6 / 8)
        client = PageClient(viewer.url.replace(str(viewer.port), str(relay.port)), SIZE, POSE)
        assert client.wait(lambda c: c.arrivals, PATIENCE)
        moves, start = 100, time.perf_counter()
        for number in range(moves):
            client.turn(number % 90)
            time.sleep(0.01)
        assert client.wait(lambda c: any(arrival.kind == "jpeg" for arrival in c.arrivals), PATIENCE)
        end = time.perf_counter()
        assert client.wait(lambda c: c.arrivals[-1].time > end and c.arrivals[-1].kind == "png", PATIENCE)
        moving = [arrival for arrival in client.arrivals if arrival.kind == "jpeg"]
        client.close()
        relay.close()
    # Each picture waits until the one before it has arrived, however long the machine takes for the moves
    assert len(moving) <= (moving[-1].time - start) / delay + 2
    # One picture was under way, one waited, and the camera counts as moving for a moment more: there is no queue
    assert len([arrival for arrival in moving if arrival.time > end]) <= moves // 4


def test_a_page_finds_a_viewer_that_is_started_again():
    """At the same port and with the same token the link opens the new one."""
    first = make_viewer(token="t" * 32)
    client = PageClient(first.url, SIZE, POSE)
    assert client.wait(lambda c: c.arrivals, PATIENCE)
    first.close()
    with pytest.raises((ConnectionClosed, OSError)):
        PageClient(first.url, SIZE, POSE)
    with make_viewer(port=first.port, token="t" * 32) as second:
        assert second.url == first.url
        again = PageClient(first.url, SIZE, POSE)
        assert again.wait(lambda c: c.arrivals, PATIENCE)
        again.close()


def test_a_failed_start_leaves_no_server():
    def fail(*arguments):
        raise NrcError("no panel")

    listener = bound_socket("127.0.0.1", 0)
    port = listener.getsockname()[1]
    with pytest.raises(NrcError, match="no panel"):
        make_viewer(listener=listener, add_panel=fail)
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), timeout=5.0):
        pass


def test_many_pages_share_one_bound_of_memory():
    """Pictures are at most as large as the number of pages allows."""
    with make_viewer() as viewer:
        large = (4000, 2100)
        clients = [PageClient(viewer.url, large, POSE)]
        wait_until(lambda: [view.width for view in viewer.views] == [4000], "the first view")
        clients += [PageClient(viewer.url, large, POSE) for _ in range(3)]
        wait_until(lambda: len(viewer.views) == 4, "all views")
        wait_until(lambda: sum(2 * v.width * v.height for v in viewer.views) <= 2 * 4096 * 2160 * 1.01, "smaller views")
        for client in clients:
            client.close()


def test_a_gizmo_moves_a_lamp_and_undo_moves_it_back():
    """The scene, the picture and the gizmo follow."""
    scene = room()
    pose = pose_of(scene.description.camera, SIZE[0] / SIZE[1])
    with nrc.view(scene, device="cpu", width=SIZE[0], height=SIZE[1], samples=8) as viewer:
        session = viewer._session

        def place():
            return matrix(session.ask(lambda world: world.scene.description.shapes[LAMP].to_world).result(PATIENCE))

        client = PageClient(viewer.url, SIZE, pose)
        assert client.wait(lambda c: "Object" in c.controls and c.arrivals, PATIENCE)
        before = place()
        client.choose("Object", next(name for name in client.controls["Object"]["options"] if f"{LAMP}" in name))
        assert client.wait(lambda c: "/gizmo" in c.controls, PATIENCE)
        (gizmo,) = viewer._server.scene._handle_from_transform_controls_name.values()
        pivot = gizmo.position.copy()
        client.drag("/gizmo", pivot, "DragStart")
        client.drag("/gizmo", np.add(pivot, (0.1, -0.2, 0.0)))
        wait_until(lambda: not np.allclose(place(), before), "the lamp's move")
        np.testing.assert_allclose(place()[:3, 3] - before[:3, 3], (0.1, -0.2, 0.0), atol=1e-6)
        client.drag("/gizmo", pivot, "DragEnd")
        client.choose("Undo", True)
        wait_until(lambda: np.allclose(place(), before), "the lamp's return")
        wait_until(lambda: np.allclose(gizmo.position, pivot), "the gizmo's return")
        client.close()


def test_pictures_can_be_decoded():
    with make_viewer() as viewer:
        client = PageClient(viewer.url, SIZE, POSE)
        assert client.wait(lambda c: c.arrivals, PATIENCE)
        assert client.arrivals[0].pixels().shape == (36, 64, 3)
        assert io.BytesIO(client.arrivals[0].data).read(2) == b"\xff\xd8"
        client.close()
