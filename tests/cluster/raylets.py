"""A real Ray cluster on this machine's loopback interface: several raylets, and the processes that they start."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

RAYLET = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
"""Settings of one raylet."""

SETTINGS = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Environment of Ray: it binds to the loopback interface, reports nothing, and gives workers the priority of this process."""


STARTS = 4
"""Number of attempts to start a cluster: Ray gives each raylet 30 s, which can be too short on a busy machine."""


@contextlib.contextmanager
def running(count):
    """A Ray cluster of so many raylets, to which this process is connected. The first one is the head.

    Ray must not have been imported before: it reads its environment then.
    """
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)
    import ray

    try:
        # A short name: that of a socket inside has at most 107 bytes
        with tempfile.TemporaryDirectory(prefix="nrc-", ignore_cleanup_errors=True) as folder:
            cluster = _started(count, folder)
            try:
                yield cluster
            finally:
                ray.shutdown()
                cluster.shutdown()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _started(count, folder):
    """Start a cluster and connect to it, with further attempts where the machine is too busy for the first one."""
    import ray
    from ray.cluster_utils import Cluster

    for attempt in range(1, STARTS + 1):
        cluster = Cluster()
        try:
            for number in range(count):
                cluster.add_node(**RAYLET, **({} if number else {"temp_dir": f"{folder}/{attempt}"}))
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        except Exception:  # Ray raises a plain `Exception` after 30 s
            ray.shutdown()
            cluster.shutdown()
            if attempt == STARTS:
                raise
        else:
            return cluster
    raise AssertionError("the last attempt returns or raises")


def actors():
    """Process ids of the actors that do units of work, by the names that Ray gives to processes."""
    return _processes(b"ray::PathNode", b"ray::ViewNode")


def _processes(*names):
    """Ids of the processes whose command lines begin with one of these names."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(names):
                found.append(int(folder.name))
    return found


def ended(processes, seconds=20.0):
    """Whether there are soon no more such processes."""
    end = time.monotonic() + seconds
    while processes() and time.monotonic() < end:
        time.sleep(0.2)
    return not processes()
