"""Addresses that cannot be reached, and Ray that is not installed: one clear line each, before any long wait."""

import contextlib
import importlib.util
import socket
import sys
import threading
import types

import pytest

from nrc_tracer.cluster import connection
from nrc_tracer.errors import ClusterError


def refusal(address, monkeypatch):
    monkeypatch.setattr(connection, "check_ray", lambda: None)
    with pytest.raises(ClusterError) as caught, connection.connected(address):
        pytest.fail("connected")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_unreachable_head(scheme, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    message = refusal(f"{scheme}127.0.0.1:{port}", monkeypatch)
    assert f"the head of the cluster cannot be reached at {scheme}127.0.0.1:{port}: Connection refused" in message


@pytest.mark.parametrize(
    "address",
    ["head", "head:", "head:port", ":6379", "head:70000", "ray://", "/tmp/x", "rya://head:10001", "ray:/head:10001"],
)
def test_what_is_no_address(address, monkeypatch):
    assert refusal(address, monkeypatch) == (
        f'"{address}" is not the address of a cluster: give auto, HOST:PORT or ray://HOST:PORT'
    )


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_mistyped_host(scheme, monkeypatch):

    def connect(address, timeout):
        assert address == ("hed", 6379)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", connect)
    expected = f"the head of the cluster cannot be reached at {scheme}hed:6379: Name or service not known; is "
    assert refusal(f"{scheme}hed:6379", monkeypatch).startswith(expected)


@contextlib.contextmanager
def serving(answer):
    """The address of a server on this machine that answers the first bytes of one connection, and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
    thread.join(10)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_another_service_on_the_port(scheme, answer, monkeypatch):
    """Ray would wait for it for minutes."""
    with serving(answer) as address:
        message = refusal(f"{scheme}{address}", monkeypatch)
    assert message.startswith(f"what answers at {scheme}{address} is not Ray; ")


class FakeRay(types.ModuleType):
    """A package `ray` whose `init` raises an error."""

    def __init__(self, error):
        super().__init__("ray")
        self._error = error

    def init(self, **options):
        raise self._error

    def shutdown(self):
        pass


@pytest.fixture
def listening():
    """The address of something on this machine that answers as a head does at first, with settings of HTTP/2."""
    with serving(bytes((0, 0, 6, 4, 0, 0, 0, 0, 0)) + bytes(6)) as address:
        yield address


@pytest.mark.parametrize(
    ("scheme", "error", "words", "hint"),
    [
        (
            "",
            RuntimeError(
                "Version mismatch: The cluster was started with:\n    Ray: 2.1\n    Python: 3.9\nThis process:"
            ),
            "Version mismatch: The cluster was started with: Ray: 2.1 Python: 3.9 This process:",
            "install the same versions of Ray and Python here and on all nodes",
        ),
        ("", ConnectionError("Failed to connect"), "Failed to connect", "6379 unless another was chosen"),
        (
            "ray://",
            ConnectionError("ray client connection timeout"),
            "ray client connection timeout",
            "10001 unless another was chosen",
        ),
        (
            "ray://",
            ConnectionAbortedError(
                "Initialization failure from server:\nTraceback (most recent call last):\n  x\nOSError: y\n"
            ),
            "OSError: y",
            "10001 unless another was chosen",
        ),
    ],
)
def test_a_head_with_other_versions_or_another_service(listening, monkeypatch, scheme, error, words, hint):
    """The error of Ray in one line, and which port belongs to this kind of address."""
    monkeypatch.setitem(sys.modules, "ray", FakeRay(error))
    monkeypatch.setattr(connection, "_check_client", lambda: None)
    message = refusal(f"{scheme}{listening}", monkeypatch)
    assert message.startswith(f"no connection to the cluster {scheme}{listening}: {words}; ")
    assert message.endswith(hint)


def test_without_the_client_of_ray(listening, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert 'pip install "ray[client]"' in refusal(f"ray://{listening}", monkeypatch)


def test_without_ray(monkeypatch):
    """The message says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ClusterError, match=r'pip install "nrc-tracer\[cluster\]"'):
        connection.check_ray()


def test_folders_of_killed_commands_are_removed(tmp_path, monkeypatch):
    """Those of commands that still run stay."""
    import os

    monkeypatch.setattr(connection.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "nrc-ray-999999999-x").mkdir()
    running = tmp_path / f"nrc-ray-{os.getppid()}-x"
    running.mkdir()
    with connection._session_folder() as folder:
        (folder / "log").write_text("something")
        assert folder.parent == tmp_path
        assert sorted(tmp_path.iterdir()) == sorted([folder, running])
    assert list(tmp_path.iterdir()) == [running]
