"""Old spellings of options and commands are accepted, each with a one-line hint on stderr."""

import json

import click
import numpy as np
import pytest
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.cli.command import command, option
from nrc_tracer.imaging import read_image
from nrc_tracer.tasks.image.fit import ImageTask
from nrc_tracer.tasks.image.source import whole
from nrc_tracer.tasks.sdf.fit import SdfTask
from nrc_tracer.tasks.sdf.mesh import unit_mesh
from tests.cli.test_help import LEAVES
from tests.tasks.image.big_map import tile
from tests.tasks.nerf.analytic import ball_photographs
from tests.tasks.nerf.test_fit import ball_task
from tests.tasks.sdf.shapes import sphere
from tests.tasks.sdf.small import SMALL

SPELLINGS = {
    ("render", "--encoding"): (["--encoding", "hash"], ["--cache-encoding", "hash"]),
    ("render", "--spread"): (["--spread=0.5"], ["--cache-spread", "0.5"]),
    ("render", "--train-frames"): (["--train-frames", "128"], ["--cache-train-frames", "128"]),
    ("render", "--train-spread"): (["--train-spread", "0.02"], ["--cache-option", "train_spread=0.02"]),
    ("render", "--feature-size"): (["--feature-size=2"], ["--cache-option", "feature_size=2"]),
    ("render", "--nn-backend"): (["--nn-backend", "reference"], ["--cache-option", "backend=reference"]),
    ("render", "--deterministic"): (
        ["--deterministic", "--spp", "3"],
        ["--cache-option", "deterministic=true", "--spp=3"],
    ),
    ("render", "--load-cache"): (["--load-cache", "a", "--cache", "on"], ["--cache-load", "a", "--cache", "on"]),
    ("render", "--save-cache"): (["--save-cache", "a"], ["--cache-save", "a"]),
    ("render", "--freeze-cache"): (["--freeze-cache", "--spp", "3"], ["--cache-freeze", "--spp", "3"]),
    ("compare", "--encoding"): (
        ["--encoding", "hash", "--encoding", "triangle-wave"],
        ["--cache-encoding", "hash,triangle-wave"],
    ),
    ("compare", "--view"): (["--view", "--seed", "3"], ["--cache", "on,unbiased,view", "--seed", "3"]),
    ("compare", "--spread"): (["--spread", "0.5"], ["--cache-spread", "0.5"]),
    ("compare", "--train-frames"): (["--train-frames", "1"], ["--cache-train-frames", "1"]),
    ("compare", "--train-spread"): (["--train-spread", "1"], ["--cache-option", "train_spread=1"]),
    ("compare", "--feature-size"): (["--feature-size", "1"], ["--cache-option", "feature_size=1"]),
    ("compare", "--nn-backend"): (["--nn-backend", "warp"], ["--cache-option", "backend=warp"]),
    ("compare", "--deterministic"): (["--deterministic"], ["--cache-option", "deterministic=true"]),
    ("dataset", "--elevation"): (
        ["-o", "out", "--elevation", "-10", "60", "--spp", "3"],
        ["-o", "out", "--elevation-range", "-10", "60", "--spp", "3"],
    ),
    ("fit", "nerf", "--scale"): (["--scale", "0.3"], ["--scene-scale", "0.3"]),
    ("decode", "sdf", "--resolution"): (
        ["-o", "a.ply", "--resolution", "64"],
        ["-o", "a.ply", "--mesh-resolution", "64"],
    ),
    ("decode", "nerf", "--view-scale"): (["-o", "a.png", "--view-scale", "2"], ["-o", "a.png", "--scale", "2"]),
    ("decode", "nerf", "--path"): (["-o", "a.mp4", "--path", "spline"], ["-o", "a.mp4", "--camera-path", "spline"]),
}
"""For each command and old spelling: a command line with it, and the same one in the present spelling."""


def _read(path, words):
    """The values that a command reads from a command line."""
    return LEAVES[path].make_context(path[-1], ["input", *words]).params


@pytest.mark.parametrize("place", SPELLINGS, ids=" ".join)
def test_an_old_option_is_read_as_the_present_one_with_a_hint(place, capsys):
    *path, name = place
    old, present = SPELLINGS[place]
    expected = _read(tuple(path), present)
    assert capsys.readouterr().err == ""
    assert _read(tuple(path), old) == expected
    hints = capsys.readouterr().err.splitlines()
    assert len(hints) == sum(word.partition("=")[0] == name for word in old)
    for hint in hints:
        assert hint.startswith(f"hint: {name} was read as --")
        assert hint.endswith("; the next version accepts only the new spelling")


def test_all_old_spellings_are_tested():
    known = {
        (*path, name)
        for path, found in LEAVES.items()
        for parameter in found.params
        for name in getattr(parameter, "old", {})
    }
    assert known == set(SPELLINGS)


@command("toy")
@option("--new", type=int, old={"--old": "{}"})
@option("--pair", nargs=2, type=int, old={"--two": "{}"})
@option("--flag", is_flag=True, old={"--mark": ""})
@option("--setting", multiple=True, old={"--color": "color={}", "--fixed": "kind=fixed"})
@option("-o", "--output")
@click.argument("words", nargs=-1)
def toy(**values):
    click.echo(json.dumps(values))


@pytest.mark.parametrize(
    ("words", "values", "hint"),
    [
        (["--old", "3"], {"new": 3}, "--old was read as --new"),
        (["--old=3"], {"new": 3}, "--old was read as --new"),
        (["--two", "-3", "4", "a"], {"pair": [-3, 4], "words": ["a"]}, "--two was read as --pair"),
        (["--mark", "a"], {"flag": True, "words": ["a"]}, "--mark was read as --flag"),
        (["--color", "red"], {"setting": ["color=red"]}, "--color was read as --setting color=red"),
        (["--color=a=b"], {"setting": ["color=a=b"]}, "--color was read as --setting color=a=b"),
        (["--fixed", "a"], {"setting": ["kind=fixed"], "words": ["a"]}, "--fixed was read as --setting kind=fixed"),
        (["-o", "--old"], {"output": "--old"}, None),
        (["--output", "--mark"], {"output": "--mark"}, None),
        (["--", "--old", "3"], {"words": ["--old", "3"]}, None),
    ],
)
def test_values_and_arguments_are_not_changed(words, values, hint):
    result = CliRunner().invoke(toy, words)
    assert result.exit_code == 0, result.output
    nothing = {"new": None, "pair": None, "flag": False, "setting": [], "output": None, "words": []}
    assert json.loads(result.stdout) == nothing | values
    assert result.stderr == ("" if hint is None else f"hint: {hint}; the next version accepts only the new spelling\n")


def test_an_old_spelling_without_its_value_is_a_usage_error():
    result = CliRunner().invoke(toy, ["--old"])
    assert result.exit_code == 2
    assert "Option '--new' requires an argument" in result.stderr


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    """A folder with a snapshot of each task, before the first step."""
    folder = tmp_path_factory.mktemp("snapshots")
    picture = ImageTask(whole("map", tile(0, 0, 24, 16), linear=False), batch=256, device="cpu", seed=3)
    shape = SdfTask(unit_mesh(*sphere(2)), config=SMALL, batch=256, device="cpu", seed=3)
    field = ball_task(ball_photographs(count=6, side=12, test=2))
    for name, task in (("image", picture), ("sdf", shape), ("nerf", field)):
        task.save(folder / f"{name}.safetensors")
    return folder


@pytest.mark.parametrize(
    ("kind", "words", "shape"),
    [
        ("image", ["--crop", "4,4,8,6", "--scale", "2"], (12, 16, 3)),
        ("sdf", ["--width", "9", "--azimuth", "20"], (9, 9, 3)),
        ("nerf", ["--view", "1", "--scale", "2"], (24, 24, 3)),
    ],
)
@pytest.mark.parametrize("snapshot_first", [True, False])
def test_decode_without_the_task_is_read_with_it(snapshots, tmp_path, monkeypatch, kind, words, shape, snapshot_first):
    """The file equals that of the present spelling, and a hint is printed; the snapshot may come before or after the options."""
    monkeypatch.chdir(snapshots)
    file = f"{kind}.safetensors"
    names = {place: tmp_path / f"{place}.png" for place in ("old", "new")}
    words = [*words, "--device", "cpu", "--quiet"]
    old = ["-o", str(names["old"]), *words]
    result = CliRunner().invoke(main, ["decode", *([file, *old] if snapshot_first else [*old, file])])
    assert result.exit_code == 0, result.output
    hint = f"hint: this was read as `nrc-tracer decode {kind} {file} ...`; the next version accepts only the spelling"
    assert result.stderr == f"{hint} with the task\n"
    result = CliRunner().invoke(main, ["decode", kind, file, "-o", str(names["new"]), *words])
    assert (result.exit_code, result.output) == (0, "")
    assert names["old"].read_bytes() == names["new"].read_bytes()
    assert read_image(names["new"]).shape == shape


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["image.safetensors", "-o", "a.png", "--azimuth", "2"], 2, "--azimuth"),
        (["nothing.safetensors", "-o", "a.png"], 1, "nothing.safetensors"),
        (["picture", "image.safetensors", "-o", "a.png"], 2, "No such command 'picture'"),
        (["sdf", "image.safetensors", "-o", "a.png"], 1, 'a snapshot of "fit image", not of "fit sdf"'),
    ],
)
def test_invalid_decode_commands_are_refused(snapshots, monkeypatch, words, code, message):
    monkeypatch.chdir(snapshots)
    result = CliRunner().invoke(main, ["decode", *words])
    assert result.exit_code == code
    assert message in result.stderr.splitlines()[-1]
    assert not (snapshots / "a.png").exists()


def test_both_old_spellings_of_a_line_have_a_hint(snapshots, tmp_path):
    """An earlier README contained such a line."""
    output = tmp_path / "view.png"
    words = [str(snapshots / "nerf.safetensors"), "-o", str(output), "--view", "1", "--view-scale", "2", "--quiet"]
    result = CliRunner().invoke(main, ["decode", *words])
    assert result.exit_code == 0, result.output
    assert [line.partition(" was read as ")[0] for line in result.stderr.splitlines()] == [
        "hint: this",
        "hint: --view-scale",
    ]
    assert np.ptp(read_image(output).shape[:2]) == 0
