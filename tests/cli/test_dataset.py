"""The command `dataset`: small data sets with the real tracer."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.tasks.nerf.reading import read_views
from nrc_tracer.tasks.nerf.synthetic import DatasetWriter
from nrc_tracer.tracer import Renderer

SCENE = {
    "film": {"width": 64, "height": 36},
    "sampler": {"spp": 4},
    "shapes": [{"type": "cube", "to_world": [{"type": "scale", "value": 0.5}]}],
    "lights": [{"type": "constant"}],
}
SMALL = ("--views", 3, "--test", 1, "--width", 16, "--height", 12, "--device", "cpu")


@pytest.fixture
def scene(tmp_path):
    (tmp_path / "cube.json").write_text(json.dumps(SCENE))
    return tmp_path / "cube.json"


def dataset(*arguments):
    return CliRunner().invoke(main, ["dataset", *map(str, arguments)])


def test_a_scene_becomes_photographs(scene, tmp_path):
    result = dataset(scene, "-o", tmp_path / "set", *SMALL, "--val", 2, "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["views"] == {"train": 3, "val": 2, "test": 1}
    assert (summary["cameras"], summary["alpha"], summary["spp"], summary["aabb_scale"]) == ("orbit", True, 4, 1)
    assert (summary["rendered"], summary["kept"], summary["interrupted"]) == (6, 0, False)
    assert "sRGB" in summary["color"]
    assert "3 training, 2 validation and 1 test views of 16 x 12 pixels, 4 spp, cameras orbit" in result.stderr
    views = read_views(tmp_path / "set")
    assert (len(views.train), len(views.validation), len(views.test), views.has_alpha) == (3, 2, 1, True)
    assert views.train[0].pixels.shape == (12, 16, 4)


def test_a_second_run_keeps_existing_images(scene, tmp_path):
    assert dataset(scene, "-o", tmp_path / "set", *SMALL).exit_code == 0
    (tmp_path / "set/train/r_001.png").unlink()
    result = dataset(scene, "-o", tmp_path / "set", *SMALL, "--json")
    summary = json.loads(result.stdout)
    assert (summary["rendered"], summary["kept"]) == (1, 3)
    assert "3 images exist already" in result.stderr
    result = dataset(scene, "-o", tmp_path / "set", *SMALL, "--spp", 5)
    assert result.exit_code == 1
    assert "made with another spp" in result.stderr


def test_options_change_the_images_and_cameras(scene, tmp_path):
    result = dataset(scene, "-o", tmp_path / "set", *SMALL, "--opaque", "--fov", 60, "--exposure", 1, "--quiet")
    assert result.exit_code == 0
    assert result.stderr == ""
    views = read_views(tmp_path / "set")
    assert not views.has_alpha
    assert views.train[0].camera.fx == pytest.approx(6.0 / 3**-0.5)
    box = ("--box", -2, -2, -2, 2, 2, 2)
    assert dataset(scene, "-o", tmp_path / "far", *SMALL, *box).exit_code == 0
    near, far = (read_views(tmp_path / name).train[0].camera for name in ("set", "far"))
    assert (far.position**2).sum() > 4 * (near.position**2).sum()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--cameras", "inside"), 1, "positions inside the scene are free"),
        (("--box", 0, 0, 0, 0, 1, 1), 2, "must lie below the last three"),
        (("--box", 0, 0, 0, "nan", 1, 1), 2, "six finite numbers"),
        (("--elevation-range", 50, 20), 2, "must not be above the second"),
        (("--exposure", "inf"), 2, "not a finite number"),
        (("--fov", "nan"), 2, "not a finite number"),
        (("--views", 0), 2, "--views"),
    ],
)
def test_wrong_usage(scene, tmp_path, arguments, code, words):
    result = dataset(scene, "-o", tmp_path / "set", *SMALL, *arguments)
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    assert "Traceback" not in result.stderr


def test_empty_missing_and_dark_scenes_are_refused(tmp_path):
    (tmp_path / "empty.json").write_text('{"lights": [{"type": "constant"}]}')
    result = dataset(tmp_path / "empty.json", "-o", tmp_path / "set", *SMALL)
    assert (result.exit_code, result.stderr) == (1, "error: the scene has no shapes to photograph\n")
    result = dataset(tmp_path / "nothing.json", "-o", tmp_path / "set", *SMALL)
    assert (result.exit_code, "no such file" in result.stderr) == (1, True)
    flat = {**SCENE, "lights": []}
    (tmp_path / "dark.json").write_text(json.dumps(flat))
    result = dataset(tmp_path / "dark.json", "-o", tmp_path / "set", *SMALL)
    assert result.exit_code == 1
    assert "the scene has no light and no emitting shape" in result.stderr


def test_ctrl_c_in_the_only_pass_of_a_view(scene, tmp_path, monkeypatch):
    """With three of four views missing, the command ends at once."""
    step, first = Renderer.step, tmp_path / "set/train/r_000.png"

    def pressed(renderer, samples):
        step(renderer, samples)
        if first.exists():
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Renderer, "step", pressed)
    result = dataset(scene, "-o", tmp_path / "set", *SMALL, "--spp", 1)
    assert result.exit_code == 130
    assert "interrupted: 3 of 4 images are missing; the same command continues" in result.stderr
    assert list((tmp_path / "set").rglob("*.png")) == [first]


def test_ctrl_c_after_the_last_view(scene, tmp_path, monkeypatch):
    """All images exist, and the same command only has to write the cameras."""

    def pressed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "finish", pressed)
        result = dataset(scene, "-o", tmp_path / "set", *SMALL)
    assert result.exit_code == 130
    assert "has its images but not yet their cameras; the same command continues" in result.stderr
    result = dataset(scene, "-o", tmp_path / "set", *SMALL, "--json")
    assert json.loads(result.stdout)["kept"] == 4


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_ends_the_command_and_a_second_run_continues(scene, tmp_path, number, code):
    """The signal leaves no transforms files; the second run keeps the images and finishes the set."""
    command = [sys.executable, "-m", "nrc_tracer", "dataset", str(scene), "-o", str(tmp_path / "set")]
    command += [*map(str, SMALL), "--views", "16", "--spp", "2000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    first = tmp_path / "set/train/r_000.png"
    deadline = time.monotonic() + 120
    while not first.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == code, errors
    assert "images are missing; the same command continues" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "set").glob("transforms*"))
    made = len(list((tmp_path / "set").rglob("*.png")))
    assert 0 < made < 17
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["kept"] >= made
    assert len(read_views(tmp_path / "set").train) == 16
