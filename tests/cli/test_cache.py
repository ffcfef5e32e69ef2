"""Rendering with a cache from the command line: options, files and messages."""

import json

import pytest
from click.testing import CliRunner

import nrc_tracer as nrc
from nrc_tracer.cli import main

ROOM = "scenes/cornell-box.json"


@pytest.fixture(scope="module")
def room(request):
    return request.config.rootpath / ROOM


def run(*arguments):
    small = ("--width", 24, "--height", 16, "--spp", 4, "--max-depth", -1)
    return CliRunner().invoke(main, ["render", *map(str, (*arguments, *small))])


@pytest.mark.parametrize("mode", ["on", "unbiased", "view"])
def test_each_mode_renders_and_reports(room, mode, tmp_path):
    result = run(room, "--cache", mode, "--cache-train-frames", 4, "-o", tmp_path / "a.exr", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)["cache"]
    assert (report["mode"], report["warm_up_frames"], report["encoding"]) == (mode, 4, "hash")
    assert report["training_steps"] >= 4 * 24
    assert abs(report["bias"]) < 1.0
    assert report["bias_error"] > 0.0
    assert nrc.Image.load(tmp_path / "a.exr").mean[0] > 0.1
    words = f"cache: bias {100.0 * report['bias']:+.1f} %"  # the same sign on the terminal and in JSON
    assert ("cache: not used" if report.get("continue_probability") == 1.0 else words) in result.stderr


def test_a_loaded_cache_needs_no_warm_up(room, tmp_path):
    cache = tmp_path / "room.safetensors"
    first = run(room, "--cache", "on", "--cache-train-frames", 4, "--cache-save", cache, "-o", tmp_path / "a.exr")
    assert first.exit_code == 0, first.stderr
    frozen = ("--cache", "on", "--cache-load", cache, "--cache-freeze")
    second = run(room, *frozen, "-o", tmp_path / "b.exr", "--json")
    assert second.exit_code == 0, second.stderr
    report = json.loads(second.stdout)["cache"]
    assert (report["warm_up_frames"], report["seconds"]["train"]) == (4, 0.0)


def test_voxels_render_report_and_are_saved(room, tmp_path):
    """`--cache voxel` is `raw` without a network; a file of voxels is no file of a network, and the reverse."""
    file = tmp_path / "room.voxels"
    options = ("--cache", "voxel", "--cache-option", "voxel_angle=0.1", "--json")
    result = run(room, *options, "--cache-train-frames", 4, "--cache-save", file, "-o", tmp_path / "a.exr")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)["cache"]
    assert (report["mode"], report["encoding"], report["warm_up_frames"]) == ("raw", "voxel", 4)
    assert report["voxels"] > 100
    assert "training_steps" not in report
    loaded = run(room, "--cache", "voxel", "--cache-load", file, "--cache-freeze", "-o", tmp_path / "b.exr", "--json")
    assert loaded.exit_code == 0, loaded.stderr
    again = json.loads(loaded.stdout)["cache"]
    assert (again["records"], again["seconds"]["train"]) == (report["records"], 0.0)
    wrong = run(room, "--cache", "raw", "--cache-load", file, "-o", tmp_path / "c.exr")
    assert wrong.exit_code == 1
    assert not (tmp_path / "c.exr").exists()


def test_a_custom_configuration(room, tmp_path):
    config = tmp_path / "small.json"
    config.write_text(
        json.dumps(
            {
                "encoding": {"otype": "Identity"},
                "network": {"otype": "CutlassMLP", "n_neurons": 16, "n_hidden_layers": 1},
                "optimizer": {"otype": "Adam", "learning_rate": 0.01},
                "loss": {"otype": "RelativeL2Luminance"},
            }
        )
    )
    result = run(room, "--cache", "on", "--cache-train-frames", 2, "--cache-config", config, "-o", tmp_path / "a.png")
    assert result.exit_code == 0, result.stderr
    config.write_text("{")
    result = run(room, "--cache", "on", "--cache-config", config, "-o", tmp_path / "a.png")
    assert result.exit_code == 1
    assert "small.json" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--cache-encoding", "hash"), 2, "--cache-encoding needs --cache on, raw, voxel, unbiased or view."),
        (("--cache", "on", "--cache-freeze"), 2, "--cache-freeze needs --cache-load"),
        (("--cache", "on", "--cache-load", "nowhere"), 1, "nowhere: cannot be read"),
        (("--cache", "on", "--noise", "0.1"), 1, "not noise alone"),
        (("--cache", "on", "--cache-save", "no/where"), 1, 'there is no folder "no"'),
        (("--cache", "on", "--cache-option", "backend=tinycudann"), 1, "tinycudann"),
        (("--cache", "on", "--cache-spread", "-1"), 2, "--cache-spread"),
        (("--cache", "on", "--cache-option", "voxel_angle=0.1"), 1, 'a cache has no setting "voxel_angle"'),
        (
            ("--cache", "voxel", "--cache-encoding", "hash", "--cache-option", "steps=4"),
            1,
            "steps: voxels have no network",
        ),
        (("--cache", "voxel", "--cluster", "auto"), 2, "--cluster renders with the caches of networks alone"),
    ],
)
def test_invalid_options_are_refused(room, arguments, code, message, tmp_path):
    result = run(room, *arguments, "-o", tmp_path / "a.png")
    assert result.exit_code == code
    assert message in result.stderr
    assert not (tmp_path / "a.png").exists()


def test_a_finite_depth_gives_a_warning(room, tmp_path):
    arguments = ["render", str(room), "--cache", "raw", "--cache-train-frames", "1", "--width", "8", "--spp", "1"]
    result = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "a.png")])
    assert result.exit_code == 0, result.stderr
    assert "max_depth 8 limits the paths but not the light that the cache adds" in result.stderr
