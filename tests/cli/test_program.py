"""The program in a process of its own, as users start it, with the real renderer: files, exit codes and memory."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import nrc_tracer as nrc
from nrc_tracer.imaging import rel_mse, tone_map

FILM = {"width": 8, "height": 8}
BALL = {
    "film": FILM,
    "sampler": {"spp": 5},
    "materials": {"red": {"type": "diffuse", "reflectance": [0.8, 0.3, 0.1]}},
    "shapes": [
        {"type": "sphere", "material": "red", "to_world": [{"type": "translate", "value": [0.0, 0.0, 4.0]}]},
        {"type": "sphere", "center": [2.0, 2.0, 3.0], "radius": 0.5, "emission": 5.0},
    ],
    "lights": [{"type": "constant", "radiance": 0.5}],
}
SKY = {"film": FILM, "lights": [{"type": "constant", "radiance": [0.25, 0.5, 1.0]}]}
PROGRAM = [sys.executable, "-m", "nrc_tracer"]


@pytest.fixture
def ball(tmp_path):
    """A scene file, alone in its folder."""
    (tmp_path / "ball.json").write_text(json.dumps(BALL))
    return tmp_path / "ball.json"


def _run(folder, *arguments, start=PROGRAM):
    return subprocess.run(
        [*start, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


def test_files_and_summary_agree_with_the_python_api(ball):
    """EXR, PNG and the mean in the summary are those of `nrc.render`, bit for bit, and stdout contains only the JSON."""
    result = _run(ball.parent, "render", "ball.json", "-o", "a.exr", "-o", "a.png", "--json", "--seed", 7)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    image = nrc.render(nrc.load_scene(ball), seed=7)
    np.testing.assert_array_equal(nrc.read_image(ball.parent / "a.exr"), image.rgb)
    codes = np.floor(tone_map(image.rgb) * 255.0 + 0.5)
    np.testing.assert_array_equal(nrc.read_image(ball.parent / "a.png"), codes)
    assert np.ptp(image.rgb) > 0.1
    assert summary["mean"] == list(image.mean)
    assert set(summary) == {
        *("scene", "width", "height", "samples", "seconds", "compile_seconds", "load_seconds", "samples_per_second"),
        *("mean", "dropped", "dropped_pixels", "device", "accel", "outputs", "warnings", "interrupted"),
        *("noise", "resumed_from"),
    }
    assert (summary["width"], summary["height"], summary["samples"]) == (8, 8, 5)
    assert summary["outputs"] == ["a.exr", "a.png"]
    assert summary["interrupted"] is False
    lines = result.stderr.splitlines()
    assert any(line.startswith("ball.json: 2 shapes, 1 material, 8x8 on ") for line in lines)
    assert lines[-1].startswith("a.exr, a.png  8x8, 5 spp, ")
    assert sorted(p.name for p in ball.parent.iterdir()) == ["a.exr", "a.png", "ball.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal and SIGINT")
def test_ctrl_c_keeps_the_image_so_far(ball):
    """SIGINT after the first pass gives exit code 130, a message, a readable PNG and no traceback."""
    import pty

    ours, theirs = pty.openpty()
    words = ["render", "ball.json", "-o", "a.png", "--time", "60", "--json"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [*PROGRAM, *words], cwd=ball.parent, env=environment, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            # The first pass is over when the progress bar shows samples
            while not re.search(rb"\d+ spp", seen):
                chunk = os.read(ours, 4096)
                seen += chunk
            process.send_signal(signal.SIGINT)
            while chunk:
                try:
                    chunk = os.read(ours, 4096)
                except OSError:  # Linux reports in this way that the other end is closed
                    break
                seen += chunk
            summary = json.loads(process.stdout.read())
            assert process.wait(60) == 130
        finally:
            process.kill()
            os.close(ours)
    assert summary["interrupted"] is True
    assert 0.0 < summary["seconds"] < 50.0
    assert f"interrupted: the image has {summary['samples']} samples per pixel".encode() in seen
    assert b"Traceback" not in seen
    assert nrc.read_image(ball.parent / "a.png").shape == (8, 8, 3)


def test_denoising(ball):
    """With `--denoise` the EXR is closer to an image of many samples, and the PNG is its tone-mapped copy."""
    pytest.importorskip("pyoidn", reason='needs pip install "nrc-tracer[denoise]"')
    words = ["render", "ball.json", "--quiet", "--width", 64, "--height", 64, "--spp"]
    for more in (
        [2, "-o", "noisy.exr"],
        [2, "-o", "clean.exr", "-o", "clean.png", "--denoise"],
        [2048, "-o", "truth.exr", "--seed", 1],
    ):
        result = _run(ball.parent, *words, *more)
        assert result.returncode == 0, result.stderr
    noisy, clean, truth = (nrc.read_image(ball.parent / f"{name}.exr") for name in ("noisy", "clean", "truth"))
    assert rel_mse(clean, truth) < 0.5 * rel_mse(noisy, truth)
    codes = np.floor(tone_map(clean) * 255.0 + 0.5)
    np.testing.assert_array_equal(nrc.read_image(ball.parent / "clean.png"), codes)


def _unwritable(folder):
    """A folder that this user cannot write to."""
    locked = folder / "locked"
    locked.mkdir(mode=0o500)
    if not os.access(locked, os.W_OK):
        return locked
    if os.path.isdir("/proc/self"):  # not even root can write here
        return "/proc/self"
    return pytest.skip("this user can write to every folder")


@pytest.mark.parametrize("case", ["unwritable folder", "missing file", "unknown key"])
def test_failures_are_one_line_without_a_traceback(ball, case):
    """A user's mistake gives exit code 1, one line that starts with `error:`, and no new file."""
    output, message = "a.png", "there is no such file"
    if case == "unwritable folder":
        output, message = f"{_unwritable(ball.parent)}/a.png", "cannot be written"
    elif case == "missing file":
        ball.unlink()
    else:
        ball.write_text(json.dumps({**BALL, "shape": []}))
        message = '$.shape: unknown key (did you mean "shapes"?)'
    before = sorted(ball.parent.rglob("*"))
    result = _run(ball.parent, "render", "ball.json", "-o", output, "--json")
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"error: [^\n]+\n", result.stderr), result.stderr
    assert message in result.stderr
    assert sorted(ball.parent.rglob("*")) == before


# Starts a program and prints its peak memory [KiB; bytes on macOS]. An intermediate process is needed because on Linux a new
# process inherits the peak of its parent, here pytest with everything that it has loaded
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


@pytest.mark.slow
def test_twenty_thousand_samples_in_bounded_memory(tmp_path):
    """Rendering stops at exactly 20,000 samples per pixel, gives the sky's exact colour, and needs less than 1.5 GiB."""
    pytest.importorskip("resource")
    (tmp_path / "sky.json").write_text(json.dumps(SKY))
    _run(tmp_path, "render", "sky.json", "--spp", 1)  # the first run may compile kernels, whose memory must not count
    words = ["render", "sky.json", "-o", "a.npy", "--spp", "20000", "--json", "--quiet"]
    result = _run(tmp_path, *PROGRAM, *words, start=[sys.executable, "-c", MEASURE])
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stderr.splitlines()[-1])  # warnings about Embree may precede it
    assert summary["samples"] == 20_000
    assert summary["mean"] == [0.25, 0.5, 1.0]
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.broadcast_to(np.float32([0.25, 0.5, 1.0]), (8, 8, 3)))
    assert int(result.stdout) * (1 if sys.platform == "darwin" else 1024) < 1.5 * 2**30
