"""Help pages: headings, valid examples, and no loading of heavy packages."""

import re
import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from nrc_tracer.cache import CacheOptions
from nrc_tracer.cache.options import ENCODINGS
from nrc_tracer.cli import cache_options, main
from nrc_tracer.cli.command import Command, Option
from nrc_tracer.cli.values import Several
from tests.test_architecture import HEAVY


def _commands(command=main, path=()):
    """Yield every command and group with the words of its name."""
    yield path, command
    for name, member in getattr(command, "commands", {}).items():
        yield from _commands(member, (*path, name))


COMMANDS = dict(_commands())
LEAVES = {path: command for path, command in COMMANDS.items() if not isinstance(command, click.Group)}


def _help(path):
    result = CliRunner().invoke(main, [*path, "--help"], prog_name="nrc-tracer")
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_page_has_a_description_and_examples(path):
    text = _help(path)
    assert text.startswith(" ".join(["Usage: nrc-tracer", *path]))
    assert COMMANDS[path].examples
    for example in COMMANDS[path].examples:
        assert f"\n  {example}\n" in text
    assert path == () or COMMANDS[path].short_help.endswith(".")


@pytest.mark.parametrize(
    ("path", "headings"),
    [
        (
            ("render",),
            ["Output", "Quality", "Camera", "Cache", "Checkpoints", "Scene", "Device", "General", "Examples"],
        ),
        (("view",), ["Page", "Quality", "Camera", "Cache", "Scene", "Device", "General", "Examples"]),
        (("compare",), ["Output", "Quality", "Camera", "Cache", "Reference", "Scene", "Device", "General", "Examples"]),
        (("dataset",), ["Output", "Views", "Camera", "Quality", "Scene", "Device", "General", "Examples"]),
        (("fit", "image"), ["Data", "Training", "Snapshot", "Page", "Device", "General", "Examples"]),
        (("fit", "sdf"), ["Data", "Training", "Mesh", "Snapshot", "Page", "Device", "General", "Examples"]),
        (("fit", "nerf"), ["Data", "Training", "Snapshot", "Page", "Device", "General", "Examples"]),
        (("decode", "image"), ["Output", "Device", "General", "Examples"]),
        (("decode", "sdf"), ["Output", "Mesh", "Camera", "Device", "General", "Examples"]),
        (("decode", "nerf"), ["Output", "Camera", "Mesh", "Device", "General", "Examples"]),
        (("merge",), ["Output", "General", "Examples"]),
        (("info",), ["Scene", "General", "Examples"]),
        (("convert",), ["Scene", "General", "Examples"]),
        (("schema",), ["General", "Examples"]),
        (("doctor",), ["Device", "Output", "General", "Examples"]),
        (("decode",), ["Commands", "General", "Examples"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_are_grouped_under_headings(path, headings):
    assert re.findall(r"^(\w+):$", _help(path), re.MULTILINE) == headings


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_is_listed_once_and_explained(path):
    text = _help(path)
    for parameter in LEAVES[path].params:
        if isinstance(parameter, click.Option):
            assert len(re.findall(rf"^  .*{re.escape(parameter.opts[-1])}(?![\w-])", text, re.MULTILINE)) >= 1
            assert parameter.help
            assert parameter.help[0].isupper() or parameter.help.startswith("cpu")
            assert parameter.help.endswith(".")
            page = text.partition("\nExamples:")[0]
            assert not any(re.search(rf" {old}[ ,]", page) for old in getattr(parameter, "old", {}))


@pytest.mark.parametrize(
    "path", [("render",), ("view",), ("compare",), ("dataset",), ("info",), ("convert",)], ids=" ".join
)
def test_help_names_gltf_as_an_input_format(path):
    assert "glTF .gltf or .glb" in " ".join(_help(path).split())


EXAMPLES = sorted(
    {example for command in COMMANDS.values() for example in command.examples if "COMMAND" not in example}
)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_parse_without_old_spellings(example, capsys):
    program, *words = shlex.split(example.partition(" > ")[0])
    assert program == "nrc-tracer"
    command, context = main, None
    while words and isinstance(command, click.Group):
        command, context = command.commands[words[0]], click.Context(command, parent=context, info_name=words[0])
        words = words[1:]
    command.make_context(command.name, list(words), parent=context)
    assert capsys.readouterr().err == ""


def test_help_loads_nothing_heavy():
    """All pages are shown in one process, which must not have loaded any of these packages."""
    pages = [[*path, "--help"] for path in COMMANDS]
    code = (
        "import sys\nfrom nrc_tracer.cli import main\n"
        f"for words in {pages}:\n    main(words, standalone_mode=False)\n"
        f"print('loaded:', [name for name in {HEAVY} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "loaded: []"
    assert run.stdout.count("Usage: ") == len(COMMANDS)


def _described(parameter):
    """What kind of value an option takes. Its default, its bounds and whether it may be repeated can differ between commands."""
    kind = parameter.type
    kind = kind.kind if isinstance(kind, Several) else kind
    bounded = isinstance(kind, click.IntRange | click.FloatRange)
    return kind.name if bounded or not isinstance(kind, click.Choice) else sorted(set(kind.choices) - {"off"})


DIFFERENT = {
    "-o",  # several files, or one folder
    "--json",  # the report of doctor may go to a file
    "--view",  # fit shows a page; decode takes the camera of a photograph
    "--background",  # only files can be transparent, and only training has random colours
}


def test_an_option_name_takes_the_same_values_in_every_command():
    seen = {}
    for path, command in LEAVES.items():
        for parameter in command.params:
            if isinstance(parameter, Option):
                seen.setdefault(parameter.opts[0], {})[path] = _described(parameter), parameter.nargs
    clashes = {
        name: places
        for name, places in seen.items()
        if name not in DIFFERENT and len({str(described) for described in places.values()}) > 1
    }
    assert clashes == {}


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_no_two_options_of_a_command_set_the_same_value(path):
    names = [parameter.name for parameter in LEAVES[path].params if parameter.expose_value]
    assert len(set(names)) == len(names)


def test_old_spellings_differ_from_present_ones():
    for command in COMMANDS.values():
        assert isinstance(command, Command)
        options = [parameter for parameter in command.params if isinstance(parameter, Option)]
        present = {name for parameter in options for name in (*parameter.opts, *parameter.secondary_opts)}
        old = [name for parameter in options for name in parameter.old]
        assert len(set(old)) == len(old)
        assert not present & set(old)


def test_all_settings_of_a_cache_have_options():
    offered = {*cache_options.SETTINGS.values(), *cache_options.RARE_SETTINGS}
    assert offered == set(CacheOptions.__struct_fields__)
    assert cache_options.ENCODINGS == ENCODINGS
