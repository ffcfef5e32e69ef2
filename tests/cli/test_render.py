"""The `render` command: files, summary, exit codes, and a one-line error for every mistake of a user.

A fake renderer lets tests interrupt it and make it fail.
"""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.cli.render import CACHE_LAYERS as OFFERED_WITH_CACHE
from nrc_tracer.cli.render import LAYERS as OFFERED
from nrc_tracer.errors import DeviceError
from nrc_tracer.imaging import TONES, read_image
from nrc_tracer.tracer.layers import CACHE_LAYERS, LAYERS
from tests.cli.stand_in import SCENE, FakeRenderer
from tests.cli.stand_in import lines as _lines
from tests.cli.stand_in import render as _render


@pytest.mark.usefixtures("tracer")
def test_the_default_output_is_a_png_in_the_current_folder(scene):
    result = _render(scene)
    assert (result.exit_code, result.stdout) == (0, "")
    assert read_image("box.png").shape == (6, 8, 3)
    assert _lines(result)[-1].startswith("box.png  8x6, 3 spp, noise 12 %, 0.0 s (")
    assert _lines(result)[-1].endswith(" samples/s, embree on cpu)")
    assert sorted(p.name for p in scene.parent.iterdir()) == ["box.json", "box.png"]


@pytest.mark.usefixtures("tracer")
def test_only_json_is_written_to_stdout(scene):
    result = _render(scene, "-o", "a.exr", "-o", "b.png", "-o", "a.exr", "--json", "--spp", 7, "--width", 4)
    summary = json.loads(result.stdout)
    assert summary.pop("seconds") >= 0
    assert summary.pop("load_seconds") > 0
    assert summary.pop("samples_per_second") > 0
    assert summary == {
        "scene": str(scene),
        "width": 4,
        "height": 3,
        "samples": 7,
        "resumed_from": 0,
        "noise": 0.125,
        "compile_seconds": 0.25,
        "mean": [0.5, 0.5, 0.5],
        "dropped": 0,
        "dropped_pixels": [],
        "device": "cpu",
        "accel": "embree",
        "outputs": ["a.exr", "b.png"],
        "warnings": [],
        "interrupted": False,
    }
    assert read_image("a.exr")[0, 0].tolist() == [0.5] * 3
    assert read_image("b.png")[0, 0].tolist() == [188] * 3  # sRGB code of 0.5
    assert "a library that talks" in result.stderr


def test_options_reach_the_renderer(scene, tracer):
    options = {"max_depth": 4, "seed": 9, "sampler": "independent", "filter": "tent", "device": "cpu", "threads": 2}
    options["camera"] = "left"
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert _render(scene, *words, "--accel", "warp", "--cache", "off", "--time", 0.5).exit_code == 0
    assert FakeRenderer.last.arguments == {**options, "accel": "warp", "cache": None, "cache_mode": "on"}
    assert FakeRenderer.last.samples == 5  # with --time alone, the scene's spp is not a limit


@pytest.mark.usefixtures("tracer")
def test_layers_are_parts_of_an_exr_and_files_beside_a_png(scene):
    assert _render(scene, "-o", "a.exr", "-o", "a.png", "-o", "a.hdr", "--layers", "normal,albedo").exit_code == 0
    names = ["a.albedo.png", "a.exr", "a.hdr", "a.normal.png", "a.png"]
    assert sorted(path.name for path in scene.parent.glob("a.*")) == names
    assert b"albedo.R" in (scene.parent / "a.exr").read_bytes()
    assert read_image("a.exr")[0, 0].tolist() == [0.5] * 3


@pytest.mark.usefixtures("tracer")
def test_denoising_without_the_denoiser_fails_before_rendering(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyoidn", None)
    result = _render(scene, "--denoise")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: Open Image Denoise cannot be loaded")
    assert not (scene.parent / "box.png").exists()


def test_offered_layers_are_those_of_the_renderer(scene, tracer):
    seen = []
    tracer.Renderer.layers = lambda self, names: seen.append(names) or {}
    assert _render(scene, "--layers", "all").exit_code == 0
    assert _render(scene, "--layers", ",".join(LAYERS + CACHE_LAYERS)).exit_code == 0
    assert seen == [None, LAYERS + CACHE_LAYERS]
    assert (OFFERED, OFFERED_WITH_CACHE) == (LAYERS, CACHE_LAYERS)


@pytest.mark.usefixtures("tracer")
def test_exposure_and_tone_only_change_the_png(scene):
    assert _render(scene, "-o", "a.exr", "-o", "a.png", "--exposure", "-1").exit_code == 0
    assert read_image("a.png")[0, 0, 0] == 137  # sRGB code of 0.25
    assert read_image("a.exr")[0, 0, 0] == 0.5
    assert _render(scene, "-o", "b.png", "--tone", "agx").exit_code == 0
    assert read_image("b.png")[0, 0, 0] not in (137, 188)


def test_offered_tones_are_those_of_the_package():
    option = next(option for option in main.commands["render"].params if option.name == "tone")
    assert tuple(option.type.choices) == TONES


@pytest.mark.usefixtures("tracer")
def test_quiet_prints_nothing(scene):
    result = _render(scene, "--quiet")
    assert (result.exit_code, result.output.replace("a library that talks\n", "")) == (0, "")


def test_notices_and_dropped_samples_are_reported(scene, tracer):
    tracer.Renderer.dropped, tracer.Renderer.notice = 12, "Embree is not installed"
    result = _render(scene, "--json")
    assert json.loads(result.stdout)["dropped_pixels"] == [[1, 2]] * 10
    assert "warning: Embree is not installed\n" in result.stderr
    assert "warning: 12 samples were not finite" in result.stderr


@pytest.mark.usefixtures("tracer")
def test_warnings_of_the_scene_are_printed_and_fatal_with_strict(scene):
    scene.write_text(json.dumps({"shapes": [{"type": "cube"}]}))
    result = _render(scene)
    assert result.exit_code == 0
    assert _lines(result)[0].startswith("warning: the scene has no light and no emitting shape")
    result = _render(scene, "--strict", "-o", "strict.png")
    assert result.exit_code == 1
    assert not (scene.parent / "strict.png").exists()


def test_interrupting_writes_the_image_so_far(scene, tracer):
    def interrupted(renderer, *, spp, time, noise, progress, stop):
        renderer.samples = 2
        return False

    tracer.run = interrupted
    result = _render(scene, "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout)["interrupted"] is True
    assert "interrupted: the image has 2 samples per pixel; the same command with --resume continues" in result.stderr
    assert read_image("box.png").shape == (6, 8, 3)
    assert (scene.parent / "box.png.checkpoint").read_text() == "2"


@pytest.mark.parametrize("at_once", [True, False])
def test_interrupting_before_the_first_pass_writes_nothing(scene, tracer, at_once):
    def interrupted(renderer, *, spp, time, noise, progress, stop):
        if at_once:
            raise KeyboardInterrupt
        return False

    tracer.run = interrupted
    result = _render(scene, "--json")
    assert (result.exit_code, result.stdout) == (130, "")
    assert "nothing was written" in result.stderr
    assert not (scene.parent / "box.png").exists()


def test_a_failing_output_does_not_prevent_the_others(scene, tracer):
    def fill_the_place(renderer, *, spp, time, noise, progress, stop):
        renderer.samples = 1
        (scene.parent / "a.png").mkdir()
        return True

    tracer.run = fill_the_place
    result = _render(scene, "-o", "a.png", "-o", "b.png", "--quiet")
    assert result.exit_code == 1
    assert _lines(result)[-1].startswith("error: a.png: cannot be written")
    assert read_image("b.png").shape == (6, 8, 3)


def test_a_missing_device_is_an_error(scene, tracer):
    def fail(*arguments, **options):
        raise DeviceError("there is no device cuda:7")

    tracer.Renderer = fail
    result = _render(scene, "--device", "cuda:7")
    assert (result.exit_code, result.stderr) == (1, "error: there is no device cuda:7\n")
    for words in (["render", str(scene), "--debug"], ["--debug", "render", str(scene)]):
        assert "Traceback" in CliRunner().invoke(main, words).stderr


BROKEN = {
    "missing file": (None, [], r"there is no such file"),
    "no JSON": ("{", [], r"line 1, column 2"),
    "unknown key": ({**SCENE, "light": []}, [], r'$.light: unknown key (did you mean "lights"?)'),
    "empty scene": ({}, [], r"the scene is empty"),
    "zero-size film": ({**SCENE, "film": {"width": 0}}, [], r"$.film.width: must be >= 1, not 0"),
    "huge film": ({**SCENE, "film": {"width": 65536, "height": 65536}}, [], r"pixels are more than"),
    "broken mesh": ({**SCENE, "shapes": [{"type": "mesh", "file": "broken.obj"}]}, [], r"$.shapes[0].file: "),
    "missing mesh": ({**SCENE, "shapes": [{"type": "mesh", "file": "none.ply"}]}, [], r"none.ply: there is no such"),
    "unknown extension": (SCENE, ["-o", "a.jpeg"], r'unknown image format ".jpeg"'),
    "missing folder": (SCENE, ["-o", "none/a.png"], r"there is no folder"),
    "output is a folder": (SCENE, ["-o", "folder.png"], r"is a folder"),
    "crop and size": ({**SCENE, "film": {"crop": [0, 0, 4, 4]}}, ["--width", "9"], r"crop window"),
    "parameters": (SCENE, ["-D", "a=b"], r"only Mitsuba XML files have parameters"),
    "no place for layers": (SCENE, ["--layers", "all", "-o", "a.hdr"], r"--layers needs an output of .exr, .npy, .png"),
    "nothing to resume from": (SCENE, ["--resume"], r"there is no checkpoint box.png.checkpoint to resume from"),
    "no place for a checkpoint": (SCENE, ["--checkpoint", "none/a"], r"none/a: cannot be written: there is no folder"),
    "checkpoint is a folder": (SCENE, ["--checkpoint", "folder.png"], r"is a folder"),
    "checkpoint is the image": (SCENE, ["--checkpoint", "box.png"], r"is the name of the image already"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.usefixtures("tracer")
def test_failures_are_one_line_and_write_nothing(scene, case):
    content, options, message = BROKEN[case]
    scene.unlink()
    if content is not None:
        scene.write_text(content if isinstance(content, str) else json.dumps(content))
    (scene.parent / "broken.obj").write_text("v 0 0 0\nf 1 2 3\n")
    (scene.parent / "folder.png").mkdir()
    before = sorted(scene.parent.iterdir())
    result = _render("box.json", "--json", *options)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(_lines(result)) == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert sorted(scene.parent.iterdir()) == before


@pytest.mark.parametrize(
    "options",
    [
        ["--spp", "0"],
        ["--time", "nan"],
        ["--time", "0"],
        ["--noise", "0"],
        ["--noise", "nan"],
        ["--layers", "albeda"],
        ["--checkpoint-every", "0"],
        ["--save-every", "inf"],
        ["--exposure", "inf"],
        ["--width", "0"],
        ["--tone", "film"],
        ["-D", "novalue"],
        ["--cache", "maybe"],
        ["--max-depth", "-2"],
        ["--no-such-option"],
    ],
)
@pytest.mark.usefixtures("tracer")
def test_wrong_usage_is_exit_code_2(scene, options):
    result = _render(scene, *options)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert not (scene.parent / "box.png").exists()


def test_python_m_reports_errors_in_one_line(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "nrc_tracer", "render", "none.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "error: none.json: there is no such file\n"


def test_schema_command():
    result = CliRunner().invoke(main, ["schema"])
    assert json.loads(result.stdout)["title"] == "nrc-tracer scene"
