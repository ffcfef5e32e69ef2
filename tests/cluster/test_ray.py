"""Rendering on real Ray: raylets on this machine's loopback interface, killed while they work. Ray takes seconds to start."""

import contextlib
import dataclasses
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.cluster import reference
from nrc_tracer.cluster.driver import Driver
from nrc_tracer.cluster.node import PathNode, Versions
from nrc_tracer.cluster.rounds import render_rounds
from nrc_tracer.cluster.settings import Cluster
from nrc_tracer.errors import ClusterError
from nrc_tracer.tracer import Renderer
from tests.cluster.fake_nodes import FakeNodes
from tests.cluster.kills import kill_randomly
from tests.cluster.raylets import RAYLET, actors, ended, running
from tests.tracer.test_cached_determinism import begun
from tests.tracer.test_determinism import accumulated, room
from tests.tracer.tiny_scenes import rendered

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Ray's raylets are for Unix")]

WIDTH, SPP = 80, 320
UNITS = 80
"""16 strips of 5 blocks."""


@pytest.fixture(scope="module")
def raylets():
    """A Ray cluster of two raylets on loopback, to which this process is connected."""
    if importlib.util.find_spec("ray") is None:  # it must not be imported yet: see `running`
        pytest.skip("needs the extra `cluster`")
    with running(2) as cluster:
        yield cluster


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
    from nrc_tracer.cluster.ray_nodes import RayPathNodes

    renderer = Renderer(dataclasses.replace(described(), images=images or {}), device="cpu", width=WIDTH)
    tracer = renderer.strip_tracer()
    expected = fingerprint or tracer.fingerprint()
    with RayPathNodes(tracer.job(), device="cpu", accel=renderer.accel.value, threads=1, fingerprint=expected) as nodes:
        driver = Driver(renderer, nodes, end=SPP, say=say)
        assert driver.run(is_over=lambda: False, stop=lambda: False, progress=when)
    return renderer.image().rgb


@pytest.mark.usefixtures("raylets")
def test_another_release_is_refused(monkeypatch):
    from nrc_tracer.version import __version__

    other = Versions("9.9.9", Versions.here().python)
    monkeypatch.setattr(Versions, "here", lambda: other)
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
    from nrc_tracer.cluster.ray_nodes import RayPathNodes

    images = []
    for names in ("", "a"):
        renderer = begun("on", width=30, height=24)
        tracer = renderer.strip_tracer()
        kind = {"accel": renderer.accel.value, "fingerprint": tracer.fingerprint(cached=True), "cached": True}
        with contextlib.ExitStack() as stack:
            nodes = FakeNodes(renderer, names)
            if not names:
                nodes = stack.enter_context(RayPathNodes(tracer.job(), device="cpu", threads=1, **kind))
            chances = {"is_over": lambda: False, "stop": lambda: False, "progress": lambda progress: None}
            assert render_rounds(renderer, nodes, end=70, after=lambda renderer: None, say=pytest.fail, **chances)
        images.append(accumulated(renderer))
    np.testing.assert_array_equal(*images)


def test_views_are_those_of_one_machine(raylets, tmp_path):
    """`dataset --cluster`: the same files, images and cameras, as without; and no actor is left."""
    scene = tmp_path / "scene.json"
    scene.write_bytes(msgspec.json.encode(described().description))
    common = ["dataset", str(scene), "--views", "5", "--test", "1", "--width", "16", "--height", "12", "--spp", "3"]
    common += ["--device", "cpu", "--quiet", "-o"]
    command = [sys.executable, "-m", "nrc_tracer", *common, "there", "--cluster", raylets.address]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert ended(actors)
    assert CliRunner().invoke(main, [*common, str(tmp_path / "here")]).exit_code == 0
    files = [sorted(p for p in (tmp_path / name).rglob("*") if p.is_file()) for name in ("here", "there")]
    assert len(files[0]) == len(files[1]) == 6 + 3
    for here, there in zip(*files, strict=True):
        assert (here.relative_to(tmp_path / "here"), here.read_bytes()) == (
            there.relative_to(tmp_path / "there"),
            there.read_bytes(),
        )


@pytest.mark.usefixtures("raylets")
def test_a_reference_has_the_bits_of_one_machine(monkeypatch):
    """Two images with other seeds in turn, for which nodes load the scene once."""
    monkeypatch.setattr(reference, "connected", lambda *arguments, **options: contextlib.nullcontext())
    seeds = (5, 6)
    halves = [Renderer(described(), device="cpu", seed=seed) for seed in seeds]
    with reference.ReferenceCluster(Cluster("auto", "cpu", 1), pytest.fail) as nodes:
        for samples in (64, 128):
            for half in halves:
                nodes.advance(half, samples, lambda: None)
        assert len(nodes.nodes) in (1, 2)
    for half, seed in zip(halves, seeds, strict=True):
        np.testing.assert_array_equal(accumulated(half), accumulated(rendered(described(), 128, seed=seed)))
    assert ended(actors)


@pytest.mark.usefixtures("raylets")
def test_a_node_without_enough_memory_is_refused():
    """Its process may take 64 MiB more than it has, and the scene's textures need 100 MiB: one line says so."""
    from nrc_tracer.cluster.ray_nodes import RayNodes

    renderer = Renderer(dataclasses.replace(described(), images={}), device="cpu", width=WIDTH)
    said = []
    with (
        pytest.raises(ClusterError, match=r"no node that can render: .+: it has not enough memory for the scene: "),
        RayNodes(
            Cramped, renderer.strip_tracer().job(), device="cpu", accel=None, threads=1, fingerprint=None
        ) as nodes,
    ):
        Driver(renderer, nodes, end=SPP, say=said.append).run(
            is_over=lambda: False, stop=lambda: False, progress=lambda progress: None
        )
    assert all("\n" not in line for line in said)


class Cramped(PathNode):
    """A node whose process may have hardly more memory than it has when the scene arrives."""

    def _prepare(self, job, device, accel, threads, cached):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        room = pages * resource.getpagesize() + 64 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.getrlimit(resource.RLIMIT_AS)[1]))
        np.zeros(100 * 2**20, np.uint8)  # what a scene with large textures asks for
        return super()._prepare(job, device, accel, threads, cached)


def test_kills_at_random_moments(raylets, tmp_path):
    """An actor, a raylet and a driver; `python -m tests.cluster.kills` does more of them."""
    assert sum(kill_randomly(raylets, tmp_path, 3, seed=1).values()) >= 2


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
