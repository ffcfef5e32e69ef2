"""The `compare` command from scene to report, and a one-line error for every mistake of a user."""

import importlib
import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.imaging import write_image
from nrc_tracer.report import figures
from nrc_tracer.report.pictures import encode_png
from nrc_tracer.tracer import Renderer
from tests.conftest import REPOSITORY

BOX = REPOSITORY / "scenes" / "cornell-box.json"
SMALL = ("--width", 24, "--height", 24, "--seeds", 2, "--device", "cpu", "--threads", 2)
QUICK = (*SMALL, "--spp", "2,4", "--time", 0.2, "--reference-error", 0.3, "--reference-time", 5)


def _compare(*arguments):
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


@pytest.fixture
def uncached(monkeypatch):
    """Renders every setting without a cache, and returns a list that records the setting and options of each renderer."""
    seen = []

    def maker(scene, options):
        def make(setting, seed):
            seen.append((setting, options))
            size = {"width": options.film.width, "height": options.film.height}
            return Renderer(
                scene,
                seed=seed,
                max_depth=options.max_depth,
                sampler=options.sampler,
                device=options.tracing.device,
                **size,
            )

        return make

    # The package has the command under the name of its module
    monkeypatch.setattr(importlib.import_module("nrc_tracer.cli.compare"), "renderer_maker", maker)
    return seen


@pytest.fixture
def blank_figures(monkeypatch):
    """A function after whose call every figure is the same blank picture, because drawing takes longer than a small study."""

    def blank():
        picture = encode_png(np.ones((8, 8, 3)))
        for name in ("convergence", "parts", "legend", "gallery"):
            monkeypatch.setattr(figures, name, lambda *arguments, **options: picture)

    return blank


def test_from_scene_to_report(tmp_path, uncached, blank_figures):
    result = _compare(BOX, "-o", tmp_path / "out", *QUICK, "--sampler", "independent", "--seed", 5)
    assert result.exit_code == 0, result.output
    for words in (
        "equal samples: 2 spp",
        "equal samples: 4 spp",
        "equal time: 0.2 s",
        "unbiased at equal time (0.2 s), compared with uncached: relMSE of pixels",
    ):
        assert words in result.stdout
    assert result.stdout.splitlines()[-1] == f"report: {tmp_path / 'out' / 'report.html'}"
    data = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (data["width"], data["height"], data["seeds"], data["sampler"]) == (24, 24, 2, "independent")
    assert data["reference"]["error"] <= 0.3
    samples = {(r["setting"]["name"], r["budget"]["name"]): r["samples"] for r in data["results"]}
    assert [samples[name, "4 spp"] for name in ("uncached", "cached", "unbiased")] == [4.0] * 3
    assert {options.max_depth for _, options in uncached} == {-1}
    stored = list((tmp_path / "nrc-references").iterdir())
    assert len(stored) == 1
    assert stored[0].name.startswith("cornell-box-")

    assert min((tmp_path / "out" / "figures" / f"{name}.png").stat().st_size for name in ("parts", "images")) > 10_000

    # A second run finds the reference again, and --json prints what the file contains
    blank_figures()
    modes = ("--cache", "raw,unbiased,view")
    again = _compare(BOX, "-o", tmp_path / "two", *SMALL, "--spp", 1, "--reference-error", 0.3, "--json", *modes)
    data = json.loads(again.stdout)
    assert data == json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert data["reference"]["reused"]
    assert [c["setting"] for c in data["crossings"]] == ["uncorrected", "view"]
    assert list((tmp_path / "nrc-references").iterdir()) == stored


def test_an_interruption_reports_what_remains(tmp_path, uncached, monkeypatch):
    """After Ctrl-C the reference remains if images were being rendered, and part of the report if it was being written."""

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    for module, what, left in (
        ("nrc_tracer.report.compare", "write_report", f"the report in {tmp_path / 'out'} is incomplete"),
        ("nrc_tracer.report.study", "shoot", "the reference is in "),
        ("nrc_tracer.report.references", "find_reference", "nothing was written"),
    ):
        monkeypatch.setattr(importlib.import_module(module), what, interrupted)
        result = _compare(BOX, "-o", tmp_path / "out", *SMALL, "--spp", 1, "--reference-error", 0.3)
        assert result.exit_code == 130
        assert result.stderr.startswith(f"interrupted; {left}")


def test_given_references_and_quiet(tmp_path, uncached, blank_figures):
    blank_figures()
    rng = np.random.default_rng(0)
    for name in "ab":
        write_image(tmp_path / f"{name}.exr", 0.3 + 0.01 * rng.random((24, 24, 3)))
    files = ("--reference", tmp_path / "a.exr", "--reference", tmp_path / "b.exr")
    result = _compare(
        BOX,
        "-o",
        tmp_path / "out",
        *SMALL,
        "--spp",
        1,
        "--quiet",
        *files,
        *("--cache-encoding", "triangle-wave", "--cache-spread", 0.1, "--cache-config", "net.json"),
        *("--cache-option", "steps=4", "--cache-option", "average=false"),
    )
    assert (result.exit_code, result.stdout) == (0, "")
    assert not (tmp_path / "nrc-references").exists()
    data = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert data["reference"]["files"] == [str(tmp_path / "a.exr"), str(tmp_path / "b.exr")]
    assert {setting.encoding for setting, _ in uncached} == {None, "triangle-wave"}
    settings = {"spread": 0.1, "config": "net.json", "steps": 4, "average": False}
    assert uncached[-1][1].cache.settings == data["options"] == settings


def test_a_cluster_renders_the_reference(tmp_path, uncached, blank_figures, monkeypatch):
    """The nodes render the reference in whole blocks. The report names them, and says that one machine rendered the rest."""
    blank_figures()

    def advance(self, renderer, samples, show):
        assert samples % 64 == 0
        renderer.step(samples - renderer.samples)
        self.nodes = ("a", "b")

    monkeypatch.setattr("nrc_tracer.cluster.connection.check_ray", lambda: None)
    monkeypatch.setattr("nrc_tracer.cluster.reference.ReferenceCluster.advance", advance)
    quick = (*SMALL, "--spp", 1, "--reference-error", 0.3, "--json")
    result = _compare(BOX, "-o", tmp_path / "out", *quick, "--cluster", "head:6379")
    assert result.exit_code == 0, result.output
    reference = json.loads(result.stdout)["reference"]
    assert (reference["nodes"], reference["samples"], reference["reused"]) == (["a", "b"], [64, 64], False)
    words = "The reference was rendered by 2 nodes of a cluster (a, b). All images that are compared with it were rendered by one"
    assert words in (tmp_path / "out" / "report.html").read_text()


def test_with_the_radiance_cache(tmp_path, blank_figures):
    blank_figures()
    learning = [
        word
        for value in ("train_frames=2", "records=500", "steps=1", "most_count=64")
        for word in ("--cache-option", value)
    ]
    learning += ["--cache", "on,voxel,unbiased"]
    result = _compare(BOX, "-o", tmp_path / "out", *SMALL, "--spp", 4, "--reference-error", 0.3, "--json", *learning)
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    cached = next(r for r in data["results"] if r["setting"]["mode"] == "on")
    assert cached["setting"]["encoding"] == "hash"
    assert (cached["samples"], cached["warm_up_frames"]) == (4.0, 2.0)
    assert cached["path_length"] > 1.0
    assert sum(cached["shares"].values()) == pytest.approx(1.0)
    assert cached["shares"]["train"] > 0.0
    assert cached["rel_mse"] == pytest.approx(cached["squared_bias"] + cached["variance"])
    assert [r["setting"] for r in data["reports"]][-3:] == ["cached", "unbiased", "voxels"]
    assert [r["report"]["encoding"] for r in data["reports"]] == ["hash", "hash", "voxel"]
    assert cached["uncorrected_bias"] is not None


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("colour=4", 'a cache has no setting "colour"'),
        ("stepps=4", 'a cache has no setting "stepps" (did you mean "steps"?)'),
        ("factorize=maybe", "Expected `bool`, got `str` - at `$.factorize`"),
        ("steps=0", "steps: expected a whole number from 1 to 65536, got 0"),
    ],
)
def test_invalid_cache_settings_are_refused(tmp_path, option, message):
    result = _compare(BOX, "-o", tmp_path / "out", *SMALL, "--cache-option", option)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("uncached")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.json"], "error: nowhere.json: there is no such file"),
        ([BOX, "-o", "file/out"], "error: file/out: cannot be made: "),
        ([BOX, "--reference-dir", "file/references"], "error: file/references: cannot be made: "),
        (
            [BOX, "--reference", "small.exr"],
            "error: small.exr: a reference of 3 x 2 pixels cannot be compared with 24 x 24",
        ),
        ([BOX, "--reference", "file"], "error: file: "),
        ([BOX, "--device", "cuda:99"], 'error: there is no device "cuda:99" here'),
    ],
)
def test_errors_are_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    write_image(tmp_path / "small.exr", np.ones((2, 3, 3)))
    result = _compare(*SMALL, "--spp", 1, *arguments)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(message)
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--spp", "0"],
        ["--spp", "1.5"],
        ["--spp", "4,x"],
        ["--time", "nan"],
        ["--seeds", "1"],
        ["--cache-encoding", "cube"],
        ["--cache", "off"],
        ["--cache-option", "encoding=hash"],
        ["--cache-option", "steps"],
        ["--reference", "a.exr", "--cluster", "auto"],
        ["--mixed"],
    ],
)
def test_impossible_options(arguments):
    assert _compare(BOX, *arguments).exit_code == 2


@pytest.mark.parametrize("module", ["flip_evaluator", "skimage.metrics", "matplotlib"])
def test_missing_packages_are_named_before_the_work_starts(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    result = _compare(BOX, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "pip install 'nrc-tracer[report]'" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("uncached")
def test_without_open_image_denoise_denoised_images_are_left_out_with_a_line(tmp_path, blank_figures, monkeypatch):
    blank_figures()
    monkeypatch.setitem(sys.modules, "pyoidn", None)
    quick = (*SMALL, "--spp", 1, "--reference-error", 0.3, "--denoise", "--json")
    result = _compare(BOX, "-o", tmp_path / "out", *quick)
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert [r["setting"]["name"] for r in data["results"]] == ["uncached", "cached", "unbiased"]
    words = "denoised images are left out: Open Image Denoise cannot be loaded"
    assert words in result.stderr
    assert any(words in warning for warning in data["warnings"])
