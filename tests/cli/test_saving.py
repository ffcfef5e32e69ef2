"""Checkpoints and partial images of the `render` command: what is written, kept and removed, and the messages about it.

The tests of kills and signals run `python -m nrc_tracer render` in separate processes; the others use the fake renderer of
`test_render`.
"""

import errno
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors

from nrc_tracer.cli import main, periodic
from nrc_tracer.errors import CheckpointError
from nrc_tracer.files import atomic
from nrc_tracer.imaging import Image, read_image
from tests.cli.stand_in import FakeRenderer
from tests.cli.stand_in import render as _render


def _passes(count, *, then=True, every=lambda samples: None):
    """A replacement for `run` that makes `count` passes of one sample, calls `every` after each, and returns `then`."""

    def run(renderer, *, spp, time, noise, progress, stop):
        for _ in range(count):
            if spp is not None and renderer.samples >= spp:
                break
            renderer.samples += 1
            progress(renderer)
            every(renderer.samples)
        return then

    return run


EAGER = ["--checkpoint-every", "1e-9"]


@pytest.fixture
def eager(monkeypatch):
    """Makes `--checkpoint-every 1e-9` save after every pass, however long saving takes."""
    monkeypatch.setattr(periodic, "LARGEST_SHARE", 1e9)


@pytest.mark.usefixtures("eager")
def test_a_checkpoint_exists_only_while_rendering(scene, tracer):
    seen = []
    place = scene.parent / "box.png.checkpoint"
    tracer.run = _passes(3, every=lambda samples: seen.append(place.read_text()))
    result = _render(scene, *EAGER)
    assert (result.exit_code, seen) == (0, ["1", "2", "3"])
    assert not place.exists()


def test_a_short_render_writes_no_checkpoint(scene, tracer):
    seen = []
    tracer.run = _passes(3, every=lambda samples: seen.extend(scene.parent.glob("*.checkpoint")))
    assert (_render(scene).exit_code, seen) == (0, [])


def test_a_named_checkpoint_is_kept_and_can_be_extended(scene, tracer):
    tracer.run = _passes(9)
    assert _render(scene, "--checkpoint", "mine").exit_code == 0
    assert (scene.parent / "mine").read_text() == "3"
    result = _render(scene, "--checkpoint", "mine", "--resume", "--spp", 5, "--json")
    summary = json.loads(result.stdout)
    assert (summary["resumed_from"], summary["samples"]) == (3, 5)
    assert "resuming from mine: 3 samples per pixel\n" in result.stderr


@pytest.mark.usefixtures("tracer")
def test_fewer_samples_than_the_checkpoint_has_are_refused(scene):
    (scene.parent / "mine").write_text("64")
    result = _render(scene, "--checkpoint", "mine", "--resume", "--spp", 32)
    assert result.exit_code == 1
    assert "mine: has 64 samples per pixel, more than the 32 asked for" in result.stderr


@pytest.mark.usefixtures("tracer")
def test_auto_resume_starts_anew_without_a_checkpoint(scene):
    result = _render(scene, "--auto-resume", "--json")
    assert json.loads(result.stdout)["resumed_from"] == 0
    assert "resuming" not in result.stderr


@pytest.mark.usefixtures("tracer")
def test_replacing_an_older_checkpoint_gives_a_warning(scene):
    (scene.parent / "box.png.checkpoint").write_text("2")
    result = _render(scene)
    assert "warning: box.png.checkpoint is of an earlier render and will be replaced; --resume" in result.stderr
    assert (scene.parent / "box.png.checkpoint").read_text() == "2"  # a short render does not replace it


def _full(monkeypatch, name):
    """Make replacing the file `name` fail from now on, as if the disk were full."""
    real = os.replace

    def replace(source, target):
        if os.path.basename(target) == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(atomic.os, "replace", replace)


def _saved_atomically(self, path):
    with atomic.replacing(path, error=CheckpointError) as temporary:
        temporary.write_text(str(self.samples))


@pytest.mark.usefixtures("eager")
def test_a_full_disk_keeps_the_checkpoint_and_the_render_continues(scene, tracer, monkeypatch):
    tracer.Renderer.save_checkpoint = _saved_atomically
    place = scene.parent / "mine"
    seen = []

    def fill(samples):
        if samples == 1:
            _full(monkeypatch, "mine")
        seen.append(place.read_text())

    tracer.run = _passes(3, every=fill)
    result = _render(scene, "--checkpoint", "mine", *EAGER)
    assert seen == ["1", "1", "1"]
    warning = "warning: mine: cannot be written: No space left on device; the render continues\n"
    assert result.stderr.count(warning) == 1
    assert read_image("box.png").shape == (6, 8, 3)
    assert result.exit_code == 1  # the final checkpoint was requested by name
    assert result.stderr.endswith("error: mine: cannot be written: No space left on device\n")
    assert not list(scene.parent.glob(".nrc-*"))


def test_the_checkpoint_is_kept_if_the_image_cannot_be_written(scene, tracer):
    def fill_the_place(samples):
        (scene.parent / "box.png").mkdir(exist_ok=True)

    tracer.run = _passes(3, every=fill_the_place)
    result = _render(scene)
    assert result.exit_code == 1
    assert "; box.png.checkpoint has all samples, and --resume writes the image\n" in result.stderr
    assert (scene.parent / "box.png.checkpoint").read_text() == "3"


@pytest.mark.usefixtures("eager")
def test_save_every_writes_partial_images(scene, tracer):
    tracer.Renderer.image = lambda self: Image(np.full((6, 8, 3), self.samples), samples=self.samples)
    seen = []
    tracer.run = _passes(3, every=lambda samples: seen.append(float(np.load("a.npy")[0, 0, 0])))
    result = _render(scene, "-o", "a.npy", "--save-every", "1e-9")
    assert (result.exit_code, seen) == (0, [1.0, 2.0, 3.0])


def test_saving_takes_a_small_share_of_the_time(scene, tracer):
    """After a write that takes 20 ms, the next one follows at least 0.4 s later, although one is requested after every pass."""
    times = []

    def slow(self, path):
        times.append(time.perf_counter())
        time.sleep(0.02)

    tracer.Renderer.save_checkpoint = slow
    tracer.run = _passes(30, every=lambda samples: time.sleep(0.02))
    assert _render(scene, *EAGER, "--spp", 30).exit_code == 0
    assert len(times) == 2
    assert min(b - a for a, b in itertools.pairwise(times)) > 0.4


ROOM = {
    "film": {"width": 24, "height": 16},
    "camera": {"type": "perspective", "to_world": [{"type": "look_at", "origin": [0, 0, 4], "target": [0, 0, 0]}]},
    "materials": {"glass": {"type": "dielectric"}, "red": {"type": "diffuse", "reflectance": [0.8, 0.1, 0.1]}},
    "shapes": [
        {"type": "sphere", "radius": 0.7, "material": "glass"},
        {"type": "rectangle", "to_world": [{"type": "scale", "value": 3}, {"type": "translate", "value": [0, 0, -1]}]},
        {"type": "cube", "to_world": [{"type": "scale", "value": 0.3}], "material": "red"},
    ],
    "lights": [{"type": "constant", "radiance": 0.5}, {"type": "point", "position": [1, 2, 2], "intensity": 4}],
}


def _command(*words):
    return [sys.executable, "-m", "nrc_tracer", "render", "room.json", "--device", "cpu", *map(str, words)]


@pytest.mark.parametrize("kills", [4, pytest.param(10, marks=pytest.mark.slow)])
def test_a_killed_and_resumed_render_gives_the_same_bits(tmp_path, kills):
    """A real render is killed by SIGKILL at random times and resumed each time; the final file equals that of one run."""
    (tmp_path / "room.json").write_text(json.dumps(ROOM))
    options = {
        "cwd": tmp_path,
        "env": {**os.environ, "PYTHONPATH": os.getcwd()},
        "stderr": subprocess.PIPE,
        "text": True,
    }
    place = tmp_path / "a.npy.checkpoint"
    words = ["-o", "a.npy", "--auto-resume", "--checkpoint-every", 0.02]

    delays = random.Random(5)
    begun = []
    for kill in range(kills):
        endless = _command(*words, "--spp", 10**9, "--threads", delays.choice([1, 2]), "--save-every", 0.01)
        process = subprocess.Popen(endless, **options)
        process.stderr.readline()  # the scene is loaded
        # Every second run may continue until it has saved, however busy the machine is; a kill may interrupt any write or pass
        limit = time.perf_counter() + (20.0 if kill % 2 else 0.0)
        while time.perf_counter() < limit and _samples(place) == (begun[-1] if begun else 0):
            time.sleep(0.02)
        time.sleep(delays.uniform(0.0, 0.5))
        process.kill()
        process.communicate()
        begun.append(_samples(place))
    assert begun == sorted(begun)
    assert len(set(begun)) >= kills // 2

    samples = begun[-1] + 100
    last = subprocess.run(_command(*words, "--spp", samples), check=True, **options)
    assert f"resuming from a.npy.checkpoint: {begun[-1]} samples per pixel" in last.stderr
    assert not place.exists()
    assert not list(tmp_path.glob(".nrc-*"))  # left by a kill during a write
    subprocess.run(_command("-o", "whole.npy", "--spp", samples), check=True, **options)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals that a process can catch")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"])
def test_a_signal_leaves_an_image_and_a_checkpoint(tmp_path, number, code):
    """A real render gets SIGINT or SIGTERM: the exit code is right, both files exist, and the suggested command works."""
    (tmp_path / "room.json").write_text(json.dumps(ROOM))
    options = {
        "cwd": tmp_path,
        "env": {**os.environ, "PYTHONPATH": os.getcwd()},
        "stderr": subprocess.PIPE,
        "text": True,
    }
    process = subprocess.Popen(_command("-o", "a.npy", "--spp", 10**9, "--save-every", 0.01), **options)
    while not (tmp_path / "a.npy").exists() and process.poll() is None:  # the first pass is over
        time.sleep(0.02)
    process.send_signal(number)
    if number == signal.SIGTERM:  # batch systems may signal both the process and its group
        process.send_signal(number)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert "the same command with --resume continues from a.npy.checkpoint" in said
    samples = _samples(tmp_path / "a.npy.checkpoint")
    before = np.load(tmp_path / "a.npy")

    # With the samples that it already has, the command only writes the image
    (tmp_path / "a.npy").unlink()
    subprocess.run(_command("-o", "a.npy", "--spp", samples, "--resume"), check=True, **options)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), before)


def _samples(checkpoint):
    """Samples per pixel in a checkpoint, 0 if it does not exist."""
    if not checkpoint.exists():
        return 0
    with safetensors.safe_open(checkpoint, framework="numpy") as file:
        return json.loads(file.metadata()["nrc_tracer"])["samples"]


def test_the_fake_renderer_has_the_methods_of_the_real_one():
    from nrc_tracer.tracer import Renderer

    for name in ("save_checkpoint", "load_checkpoint", "noise", "image", "compile", "dropped_pixels"):
        assert callable(getattr(Renderer, name))
        assert callable(getattr(FakeRenderer, name))
    assert "render" in main.commands
