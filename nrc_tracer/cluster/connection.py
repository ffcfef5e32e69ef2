"""Connecting to a Ray cluster, or starting one of local processes."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import tempfile
import threading
import time as clock
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nrc_tracer.device.launch import default_threads
from nrc_tracer.errors import ClusterError, one_line

AUTO = "auto"
"""Address that stands for the running cluster, or for local processes if there is none."""

REACH_SECONDS = 10.0
"""Longest wait for a head node to accept a connection [s]."""

STARTS = 2
"""Number of attempts to start local processes: Ray gives them 30 s, which can be too short on a busy machine."""

_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
_FOLDER = "nrc-ray-"


CLIENT = "ray://"
"""Beginning of the addresses of Ray client servers."""


_SETTINGS_FRAME = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""An empty frame of settings of HTTP/2: its length in three bytes, its type 4, flags, and the stream 0."""


def check_ray() -> None:
    """Check that Ray is installed. Raises `ClusterError`."""
    if importlib.util.find_spec("ray") is None:
        raise ClusterError('--cluster needs Ray: pip install "nrc-tracer[cluster]"')


@contextlib.contextmanager
def connected(address: str, *, threads: int | None = None) -> Iterator[None]:
    """Connect to a Ray cluster for the length of the block.

    Without a running cluster, `auto` starts one on this machine, bound to the loopback interface, without dashboard and usage
    statistics, and ends it with the block.

    Args:
        address: `auto`, `HOST:PORT` of a head node, or `ray://HOST:PORT` of a Ray client server.
        threads: Number of CPUs of a local cluster; one per core unless given.

    Raises:
        ClusterError: Ray is not installed, the head cannot be reached, or it has other versions of Ray or Python.
    """
    check_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    is_local = address == AUTO and not _is_cluster_known()
    if is_local:
        # Read when Ray is imported: its processes then listen on the loopback interface only, on Linux too
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    elif address != AUTO:
        _check_reachable(address)
        if address.startswith(CLIENT):
            _check_client()
    import ray

    with contextlib.ExitStack() as stack:
        handler = signal.getsignal(signal.SIGTERM)
        try:
            if is_local:
                _start_locally(stack.enter_context(_session_folder()), threads or default_threads())
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Ray's client warns of what the error says too
                    ray.init(address=address, **_QUIET)
        except Exception as error:  # Ray raises many kinds, plain `Exception` among them
            ray.shutdown()
            cause = _cause(error)
            hint = "" if is_local else f"; {_hint(address, cause)}"
            raise ClusterError(f"no connection to the cluster {address}: {cause}{hint}") from error
        stack.callback(ray.shutdown)
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)  # Ray has replaced the command's handler by its own
        yield


def _start_locally(folder: Path, cpus: int) -> None:
    """Start a cluster of local processes, with a second attempt where the first one takes too long."""
    import ray

    for attempt in range(1, STARTS + 1):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                _temp_dir=str(folder),
                **_QUIET,
            )
        except Exception:
            if attempt == STARTS:
                raise
            ray.shutdown()
        else:
            return


def _is_cluster_known() -> bool:
    """Whether this machine takes part in a cluster, or the environment names one: `ray.init(address="auto")` looks in both."""
    return "RAY_ADDRESS" in os.environ or Path(tempfile.gettempdir(), "ray", "ray_current_cluster").exists()


def _check_reachable(address: str) -> None:
    """Check that a head answers at an address: Ray itself would wait for minutes, and then end the process."""
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ClusterError(f'"{address}" is not the address of a cluster: give auto, HOST:PORT or ray://HOST:PORT')
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS) as connection:
            answers = _speaks_http2(connection)
    except OSError as error:
        raise ClusterError(
            f"the head of the cluster cannot be reached at {address}: {error.strerror or one_line(error)}; is `ray start "
            "--head` running there, and is the port open?"
        ) from error
    if not answers:
        raise ClusterError(f"what answers at {address} is not Ray; {_hint(address, '')}")


def _speaks_http2(connection: socket.socket) -> bool:
    """Whether the other side speaks HTTP/2, which Ray's servers do: it then answers the preface with a frame of settings.

    Where Ray encrypts its connections, nothing can be found out so simply, and the answer is True.
    """
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return True
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS_FRAME)
    found = b""
    try:
        while len(found) < len(_SETTINGS_FRAME):
            part = connection.recv(len(_SETTINGS_FRAME) - len(found))
            if not part:
                return False
            found += part
    except TimeoutError:
        return False
    return found[3] == _SETTINGS_FRAME[3]


def _check_client() -> None:
    """Check that the part of Ray that `ray://` needs is installed. Raises `ClusterError`."""
    if importlib.util.find_spec("grpc") is None:
        raise ClusterError('an address that begins with ray:// needs Ray\'s client: pip install "ray[client]"')


def _cause(error: Exception) -> str:
    """The cause of an error of Ray in one line: the last line of a traceback that its message may be."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if any(line.startswith("Traceback (most recent") for line in lines) else one_line(error)


def _hint(address: str, cause: str) -> str:
    """What to do about an error of Ray at an address."""
    if "version" in cause.lower():
        return "install the same versions of Ray and Python here and on all nodes"
    if address.startswith(CLIENT):
        return "ray://HOST:PORT takes the port of the Ray client server on the head, 10001 unless another was chosen"
    return "HOST:PORT takes the port of `ray start --head`, 6379 unless another was chosen"


@contextlib.contextmanager
def _session_folder() -> Iterator[Path]:
    """A folder for the files of a local cluster, removed afterwards; so are those of processes that were killed."""
    parent = Path(tempfile.gettempdir())
    for old in parent.glob(f"{_FOLDER}*"):
        pid = old.name.removeprefix(_FOLDER).partition("-")[0]
        if pid.isdecimal() and not Path("/proc", pid).exists() and Path("/proc/self").exists():
            shutil.rmtree(old, ignore_errors=True)
    # A short name: sockets in it have names of at most 107 bytes
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        for _ in range(20):  # processes that are ending may still write into it
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            clock.sleep(0.25)
