"""Rendering on real Ray: raylets on this machine's loopback interface, killed while they work. Slow: Ray takes seconds to start."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nrc_tracer.cluster.connection import connected
from nrc_tracer.cluster.driver import Driver
from nrc_tracer.errors import ClusterError
from nrc_tracer.tracer import Renderer
from tests.tracer.test_determinism import room

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Ray's raylets are for Unix")]

SPP = 320
RAYLET = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
SETTINGS = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def raylets():
    """A Ray cluster of two raylets on loopback, to which this process is connected."""
    os.environ.update(SETTINGS)  # before Ray is imported: it then binds to the loopback interface
    pytest.importorskip("ray", reason="needs the extra `cluster`")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=RAYLET)
    cluster.add_node(**RAYLET)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    for name in SETTINGS:
        del os.environ[name]


@pytest.fixture(scope="module")
def whole():
    """The image of one machine."""
    renderer = Renderer(described(), device="cpu", threads=1)
    renderer.step(SPP)
    return renderer.image().rgb


def described():
    return room(sampler="sobol")


def on_ray(*, when=lambda progress, nodes: None, say=pytest.fail, fingerprint=None, release=None):
    """Render on the connected cluster; `when` is called with the progress. Return the image."""
    from nrc_tracer.cluster.ray_nodes import RayNodes

    renderer = Renderer(described(), device="cpu", threads=1, width=80)
    tracer = renderer.strip_tracer()
    expected = fingerprint or tracer.fingerprint()
    nodes = RayNodes(tracer.job(), device="cpu", accel=renderer.accel.value, threads=1, fingerprint=expected)
    with nodes:
        Driver(renderer, nodes, end=SPP, say=say).run(
            is_over=lambda: False, stop=lambda: False, progress=lambda progress: when(progress, nodes)
        )
    return renderer.image().rgb
