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


@contextlib.contextmanager
def running(count):
    """A Ray cluster of so many raylets, to which this process is connected. The first one is the head."""
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)  # before Ray is imported
    import ray
    from ray.cluster_utils import Cluster

    try:
        # A short name: that of a socket inside has at most 107 bytes
        with tempfile.TemporaryDirectory(prefix="nrc-", ignore_cleanup_errors=True) as folder:
            cluster = Cluster(initialize_head=True, head_node_args={**RAYLET, "temp_dir": folder})
            try:
                for _ in range(count - 1):
                    cluster.add_node(**RAYLET)
                ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
                yield cluster
            finally:
                ray.shutdown()
                cluster.shutdown()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


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
