"""Scene warnings on the command line: equal ones become one line with a count and the first place."""

import json

import pytest
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.cli.outputs import grouped
from nrc_tracer.errors import nearest


def test_warnings_that_differ_only_in_their_place_are_counted():
    said = "emission from both sides is not supported; only the front side emits"
    warnings = (
        *(f"my scene.glb: $.materials[{index}]: {said}" for index in range(49)),
        "my scene.glb: $.materials[7].extensions.KHR_a.b: another one",
        'a.json: $.shapes[3] ("a: b"): third',
        'a.json: $.shapes[4] ("c"): third',
        *(f"room.xml:{line}: fourth: it is ignored" for line in (5, 9, 12)),
        "room.xml: has no place",
    )
    assert grouped(warnings) == [
        f"my scene.glb: $.materials[0]: {said} (and in 48 more places)",
        "my scene.glb: $.materials[7].extensions.KHR_a.b: another one",
        'a.json: $.shapes[3] ("a: b"): third (and in one more place)',
        "room.xml:5: fourth: it is ignored (and in 2 more places)",
        "room.xml: has no place",
    ]


@pytest.mark.parametrize("command", ["convert", "render"])
def test_a_file_with_many_equal_warnings(tmp_path, command):
    corners = '<bsdf type="diffuse"><float name="wrong" value="1"/></bsdf>'
    shapes = "".join(f'\n<shape type="sphere">{corners}</shape>' for _ in range(5))
    (tmp_path / "a.xml").write_text(f'<scene version="3.0.0"><emitter type="constant"/>{shapes}</scene>')
    out = tmp_path / ("a.json" if command == "convert" else "a.exr")
    words = [command, tmp_path / "a.xml"]
    words += [out] if command == "convert" else ["-o", out, "--spp", 1, "--width", 4, "--height", 4, "--json"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    (line,) = (line for line in result.stderr.splitlines() if "wrong" in line)
    assert line.startswith(f"warning: {tmp_path}/a.xml:2: ")
    assert line.endswith("(and in 4 more places)")
    if command == "render":
        assert sum("wrong" in warning for warning in json.loads(result.stdout)["warnings"]) == 5


def test_hints_have_no_empty_names():
    assert nearest("zzz", ["", "attach_log"]) == " (known: attach_log)"
    assert nearest("zzz", [""]) == ""
