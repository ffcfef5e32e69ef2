"""Rendering on real Ray: raylets on this machine's loopback interface, killed while they work. Ray takes seconds to start."""

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from nrc_tracer.cluster.driver import Driver
from nrc_tracer.cluster.rounds import render_rounds
from nrc_tracer.errors import ClusterError
from nrc_tracer.tracer import Renderer
from tests.cluster.fake_nodes import FakeNodes
from tests.tracer.test_cached_determinism import begun
from tests.tracer.test_determinism import accumulated, room

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Ray's raylets are for Unix")]

WIDTH, SPP = 80, 320
UNITS = 80
"""16 strips of 5 blocks."""
RAYLET = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
SETTINGS = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


@pytest.fixture(scope="module")
def raylets():
    """A Ray cluster of two raylets on loopback, to which this process is connected."""
    os.environ.update(SETTINGS)  # before Ray is imported: it then binds to the loopback interface
    pytest.importorskip("ray", reason="needs the extra `cluster`")
    import ray
    from ray.cluster_utils import Cluster

    # A short name: that of a socket inside has at most 107 bytes
    with tempfile.TemporaryDirectory(prefix="nrc-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(initialize_head=True, head_node_args={**RAYLET, "temp_dir": folder})
        cluster.add_node(**RAYLET)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster
        ray.shutdown()
        cluster.shutdown()
    for name in SETTINGS:
        del os.environ[name]


def described():
    return room(sampler="sobol")


@pytest.fixture(scope="module")
def whole():
    """The image of one machine."""
    renderer = Renderer(described(), device="cpu", width=WIDTH)
    renderer.step(SPP)
    return renderer.image().rgb


def on_ray(*, when=lambda progress: None, say=lambda words: None, fingerprint=None, images=None):
    """Render on the connected cluster; `when` is called with the progress. Return the image."""
    from nrc_tracer.cluster.ray_nodes import RayNodes

    renderer = Renderer(dataclasses.replace(described(), images=images or {}), device="cpu", width=WIDTH)
    tracer = renderer.strip_tracer()
    expected = fingerprint or tracer.fingerprint()
    with RayNodes(tracer.job(), device="cpu", accel=renderer.accel.value, threads=1, fingerprint=expected) as nodes:
        driver = Driver(renderer, nodes, end=SPP, say=say)
        assert driver.run(is_over=lambda: False, stop=lambda: False, progress=when)
    return renderer.image().rgb


def actors():
    """Process ids of the actors that trace units, by the names that Ray gives to processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::Node"):
                found.append(int(folder.name))
    return found


def test_an_actor_and_a_raylet_die_and_another_joins(raylets, whole):
    """Killed while they work; the image is that of one machine, and no actor is left."""
    nodes, events = set(), [0.2, 0.4, 0.6]

    def happen(progress):
        nodes.add(progress.nodes)
        if not events or progress.units < events[0] * UNITS or not progress.nodes:
            return
        events.pop(0)
        if len(events) == 2:
            os.kill(random.choice(actors()), signal.SIGKILL)
        elif len(events) == 1:
            raylets.add_node(**RAYLET)
        else:
            raylets.remove_node(sorted(raylets.worker_nodes, key=str)[0], allow_graceful=False)

    np.testing.assert_array_equal(on_ray(when=happen), whole)
    assert not events
    assert len(nodes - {0}) > 1
    assert ended(actors)


def ended(processes, seconds=20.0):
    """Whether there are soon no more such processes."""
    end = time.monotonic() + seconds
    while processes() and time.monotonic() < end:
        time.sleep(0.2)
    return not processes()


@pytest.mark.usefixtures("raylets")
def test_another_release_is_refused(monkeypatch):
    from nrc_tracer.cluster import ray_nodes
    from nrc_tracer.version import __version__

    monkeypatch.setattr(ray_nodes, "__version__", "9.9.9")
    said = []
    with pytest.raises(ClusterError) as caught:
        on_ray(say=said.append)
    expected = f"it has nrc-tracer {__version__}, and the driver 9.9.9; install the same version on all nodes"
    assert str(caught.value).endswith(expected)
    assert all(words.endswith(expected) for words in said)


@pytest.mark.usefixtures("raylets")
def test_another_fingerprint_is_refused():
    with pytest.raises(ClusterError) as caught:
        on_ray(fingerprint={"warp": "9.9"})
    assert "samples have other bits there: warp: " in str(caught.value)
    assert "9.9 here" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("raylets")
def test_a_scene_larger_than_the_object_store_is_refused():
    """Before it is sent anywhere."""
    image = np.zeros((6000, 6000, 3), np.uint8)
    with pytest.raises(ClusterError, match=r"the scene needs 10[34] MiB, more than the object store of node .+ holds"):
        on_ray(images={"large.png": image})


@pytest.mark.usefixtures("raylets")
def test_a_cached_image_is_that_of_other_nodes():
    """The cache crosses the network, and comes out as on nodes within the test."""
    from nrc_tracer.cluster.ray_nodes import RayNodes

    images = []
    for names in ("", "a"):
        renderer = begun("on", width=30, height=24)
        tracer = renderer.strip_tracer()
        kind = {"accel": renderer.accel.value, "fingerprint": tracer.fingerprint(cached=True), "cached": True}
        with contextlib.ExitStack() as stack:
            nodes = FakeNodes(renderer, names)
            if not names:
                nodes = stack.enter_context(RayNodes(tracer.job(), device="cpu", threads=1, **kind))
            chances = {"is_over": lambda: False, "stop": lambda: False, "progress": lambda progress: None}
            assert render_rounds(renderer, nodes, end=70, after=lambda renderer: None, say=pytest.fail, **chances)
        images.append(accumulated(renderer))
    np.testing.assert_array_equal(*images)


def test_the_driver_is_killed_and_one_machine_goes_on(raylets, tmp_path):
    """A command that is killed leaves no actor; from its checkpoint, one machine finishes the same image."""
    scene = tmp_path / "scene.json"
    scene.write_bytes(msgspec.json.encode(described().description))
    common = [sys.executable, "-m", "nrc_tracer", "render", str(scene), "--width", str(WIDTH), "--spp", str(SPP)]
    common += ["--device", "cpu", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    saves = ["--checkpoint", "c", "--checkpoint-every", "0.01"]
    cluster = [*common, "-o", "a.npy", *saves, "--cluster", raylets.address]
    with subprocess.Popen(cluster, cwd=tmp_path, env=environment) as command:
        while not (tmp_path / "c").exists() and command.poll() is None:
            time.sleep(0.02)
        command.kill()
    assert (tmp_path / "c").exists()
    assert not (tmp_path / "a.npy").exists()
    assert ended(actors)
    subprocess.run([*common, "-o", "a.npy", "--checkpoint", "c", "--resume"], cwd=tmp_path, env=environment, check=True)
    subprocess.run([*common, "-o", "b.npy"], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "b.npy", "c", "scene.json"]
