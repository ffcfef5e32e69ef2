"""Addresses that cannot be reached, and Ray that is not installed: one clear line each, before any long wait."""

import socket

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


@pytest.mark.parametrize("address", ["head", "head:", "head:port", ":6379", "head:70000", "ray://", "/tmp/x"])
def test_what_is_no_address(address, monkeypatch):
    assert "is not the address of a cluster" in refusal(address, monkeypatch)


def test_without_ray(monkeypatch):
    """The message says what to install."""
    import importlib.util

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
