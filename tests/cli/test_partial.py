"""`render --partial` and `merge`: the image of one render, and wrong command lines refused before any work."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from nrc_tracer.cli import main


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_parts_merge_to_the_image_of_one_render(scene):
    """The scene's 8 x 6 pixels with 70 samples, in two parts."""
    assert run("render", scene, "-o", "whole.npy", "--spp", 70, "--device", "cpu").exit_code == 0
    for samples, name in (("64:70", "b.sums"), ("0:64", "a.sums")):
        result = run("render", scene, "--samples", samples, "--partial", name, "--device", "cpu", "--json")
        assert result.exit_code == 0, result.stderr
        summary = json.loads(result.stdout)
        assert f"{summary['samples'][0]}:{summary['samples'][1]}" == samples
    result = run("merge", "b.sums", "a.sums", "-o", "merged.npy", "-o", "merged.png", "--json")
    assert json.loads(result.stdout)["samples"] == 70
    np.testing.assert_array_equal(np.load("whole.npy"), np.load("merged.npy"))
    assert sorted(path.name for path in scene.parent.iterdir()) == [
        *("a.sums", "b.sums", "box.json", "merged.npy", "merged.png", "whole.npy")
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samples", "0:64"], "--samples A:B and --partial FILE are given together"),
        (["--partial", "a"], "--samples A:B and --partial FILE are given together"),
        (["--samples", "10:64", "--partial", "a"], "10, is not a multiple of 64; the nearest are 0 and 64"),
        (["--samples", "64", "--partial", "a"], "not of the form A:B"),
        (["--samples", "64:64", "--partial", "a"], "64:64 has no samples"),
        (["--samples", "0:64", "--partial", "a", "-o", "b.exr"], "--output cannot be combined with --partial"),
        (["--samples", "0:64", "--partial", "a", "--time", "2"], "--time cannot be combined with --partial"),
        (["--samples", "0:64", "--partial", "a", "--cache", "on"], "--cache cannot be combined with --partial"),
        (["--samples", "0:64", "--partial", "a", "--resume"], "--resume cannot be combined with --partial"),
    ],
)
def test_wrong_command_lines_are_refused(scene, words, message):
    result = run("render", scene, *words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert [path.name for path in scene.parent.iterdir()] == ["box.json"]


def test_a_place_that_cannot_be_written_is_named_before_the_render(scene):
    result = run("render", scene, "--samples", "0:64", "--partial", "no/a.sums")
    assert result.exit_code == 1
    assert 'error: no/a.sums: cannot be written: there is no folder "no"' in result.stderr
    assert "embree" not in result.stderr
