"""`nrc-tracer fit image` and `decode` of its snapshots: files, summaries, and one-line errors."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.imaging import read_image
from nrc_tracer.imaging.tonemap import encode_srgb
from nrc_tracer.tasks.image import decode
from tests.tasks.image.big_map import tile
from tests.tasks.toy import Wave

WIDTH, HEIGHT = 96, 64


@pytest.fixture
def picture(tmp_path, monkeypatch):
    """A small map as a PNG file in the current folder."""
    monkeypatch.chdir(tmp_path)
    PIL.Image.fromarray(tile(3000, 3000, WIDTH, HEIGHT)).save(tmp_path / "map.png")
    return tmp_path / "map.png"


def _run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _fit(picture, *arguments):
    return _run("fit", "image", picture, "--batch", 2048, "--device", "cpu", *arguments)


def test_fit_and_decode(picture, tmp_path):
    """Fitting writes a snapshot, a preview and a summary; decoding gives the image, crops of it, and zooming views."""
    result = _fit(picture, "--steps", 150, "--preview", "p.png", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["task"] == "image"
    assert summary["steps"] == 150
    assert summary["scores"]["psnr"] > 30
    assert (summary["width"], summary["height"], summary["space"]) == (WIDTH, HEIGHT, "srgb")
    assert summary["scores"]["pixels"] == WIDTH * HEIGHT
    assert summary["memory"]["allowed"] > 0
    assert "PSNR" in result.stderr
    assert "T 2^12" in result.stderr
    assert read_image("p.png").shape == (HEIGHT, WIDTH, 3)

    result = _run("decode", "image", "map.safetensors", "-o", "a.png", "-o", "a.exr", "--json")
    assert result.exit_code == 0, result.output
    original = read_image(picture) / 255.0
    error = np.mean((encode_srgb(read_image("a.exr")) - original) ** 2)
    assert -10 * np.log10(error) == pytest.approx(summary["scores"]["psnr"], abs=0.05)
    assert np.abs(read_image("a.png") / 255.0 - encode_srgb(read_image("a.exr"))).max() < 0.51 / 255
    assert json.loads(result.stdout)["outputs"][0] == {"file": "a.png", "width": 96, "height": 64, "samples": "uint8"}

    result = _run("decode", "image", "map.safetensors", "-o", "b.png", "--crop", "10,20,30,40", "--scale", 2, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert read_image("b.png").shape == (80, 60, 3)
    result = _run("decode", "image", "map.safetensors", "-o", "z.png", "--zoom-at", "50,30")
    assert result.exit_code == 0, result.output
    assert len(read_image("z.png")) == 320


def test_resume(picture, tmp_path):
    """A stopped and resumed run ends with the same snapshot as an uninterrupted one; another image is refused."""
    assert _fit(picture, "--steps", 20, "--snapshot", "a.safetensors").exit_code == 0
    assert _fit(picture, "--steps", 8, "--snapshot", "b.safetensors").exit_code == 0
    assert _fit(picture, "--steps", 20, "--snapshot", "b.safetensors", "--resume").exit_code == 0
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    (picture).write_bytes((tmp_path / "map.png").read_bytes())
    PIL.Image.fromarray(tile(0, 0, WIDTH, HEIGHT)).save(picture)
    result = _fit(picture, "--steps", 30, "--snapshot", "b.safetensors", "--resume")
    assert result.exit_code == 1
    assert "other pixels" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "image", "missing.png"], "cannot be read"),
        (["fit", "image", "."], "is a folder"),
        (["fit", "image", "words.png"], "not an image"),
        (["fit", "image", "cut.png"], "cut off"),
        (["fit", "image", "map.png", "--memory", "lots"], "is not a size"),
        (["fit", "image", "map.png", "--memory", "1MB"], "too little"),
        (["fit", "image", "map.png", "--batch", "1000"], "power of two"),
        (["fit", "image", "map.png", "--zoom-at", "96,3"], "outside"),
        (["fit", "image", "map.png", "--preview", "p.gif"], "p.gif"),
        (["fit", "image", "map.png", "--preview", "p.npy"], "p.npy"),
        (["fit", "image", "map.png", "--preview", "p.exr", "--zoom-at", "1,1"], "not uint8"),
        (["fit", "image", "map.png", "--preview", "no/p.png"], "there is no folder"),
        (["decode", "image", "missing.safetensors", "-o", "a.png"], "missing.safetensors"),
        (["decode", "image", "map.png", "-o", "a.png"], "not a snapshot"),
    ],
)
def test_errors_are_one_line(picture, tmp_path, arguments, words):
    """The exit code is 1, and one line on stderr names the problem."""
    (tmp_path / "words.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:2000])
    result = _run(*arguments)
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert words in line
    assert "Traceback" not in result.output


def test_a_preview_may_have_any_row_by_row_format(picture):
    """Previews may have any format for images written row by row, and the format is checked before training."""
    assert _fit(picture, "--steps", 2, "--preview", "p.tif", "--quiet").exit_code == 0
    assert read_image("p.tif").shape == (HEIGHT, WIDTH, 3)


def test_decode_interrupted_says_what_was_written(picture, monkeypatch):
    """Ctrl-C comes while the second of three files is written."""
    assert _fit(picture, "--steps", 2, "--quiet").exit_code == 0
    write = decode.write_picture

    def interrupted(model, found, path, **options):
        if path.name == "b.png":
            raise KeyboardInterrupt
        return write(model, found, path, **options)

    monkeypatch.setattr(decode, "write_picture", interrupted)
    result = _run("decode", "image", "map.safetensors", "-o", "a.png", "-o", "b.png", "-o", "c.png")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "interrupted; written: a.png")
    result = _run("decode", "image", "map.safetensors", "-o", "b.png")
    assert (result.exit_code, result.stderr) == (130, "interrupted; nothing was written\n")


def test_decode_of_an_unknown_task(tmp_path, monkeypatch):
    """A snapshot of a task that this program does not know gives a one-line error."""
    monkeypatch.chdir(tmp_path)
    Wave().save("wave.safetensors")
    result = _run("decode", "wave.safetensors", "-o", "a.png")
    assert result.exit_code == 1
    assert 'unknown task "wave"' in result.stderr


def test_decode_refuses_impossible_outputs(picture):
    """Crops outside the image, unknown extensions, and views combined with a crop are refused."""
    assert _fit(picture, "--steps", 2, "--quiet").exit_code == 0
    for arguments, words in (
        (["-o", "a.png", "--crop", "90,0,10,10"], "crop: 90,0,10,10 is not inside"),
        (["-o", "a.gif"], "unknown image format"),
        (["-o", "a.png", "-o", "no/a.png"], "there is no folder"),
        (["-o", "a.exr", "--zoom-at", "1,1"], "written as .png"),
        (["-o", "a.png", "--zoom-at", "1,1", "--scale", "2"], "leave out"),
    ):
        result = _run("decode", "image", "map.safetensors", *arguments)
        assert result.exit_code == 1
        assert words in result.stderr
        assert not Path("a.png").exists()


def test_usage_errors_have_exit_code_2(picture):
    """Usage errors found by click have exit code 2."""
    assert _fit(picture, "--zoom-at", "here").exit_code == 2
    assert _run("decode", "image", "map.safetensors", "-o", "a.png", "--scale", "0").exit_code == 2
