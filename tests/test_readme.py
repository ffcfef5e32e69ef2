"""The README files are correct: Python blocks run, commands parse, and links have targets."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from nrc_tracer.cli import main

REPOSITORY = Path(__file__).resolve().parent.parent
READMES = sorted(
    path
    for path in (REPOSITORY / "README.md", *REPOSITORY.glob("*/README.md"), *REPOSITORY.glob("nrc_tracer/*/README.md"))
    if path.is_file()
)
SMALLER = {
    "width=256, spp=64": "width=32, spp=2",
    "width=192, cache=cache": "width=32, cache=nrc.RadianceCache(train_frames=2)",
    "range(300)": "range(3)",
    "seconds=20": "steps=3",
}
"""Replacements in the README's Python blocks that make them quick."""


def _name(value: object) -> str:
    return str(value.relative_to(REPOSITORY)) if isinstance(value, Path) else str(value)[:60]


def _python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.M | re.S)


def _commands(readme: Path) -> list[str]:
    """The lines of indented blocks; each is a shell command."""
    text = re.sub(r"^```.*?^```", "", readme.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [part.strip() for line in re.findall(r"^    (\S.*)$", text, re.M) for part in line.split("&&")]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the repository's scenes, as in a new clone."""
    (tmp_path / "scenes").symlink_to(REPOSITORY / "scenes", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", _python_blocks(), ids=lambda block: block.splitlines()[-1][:40])
def test_python_block_runs(block, workplace):
    for large, small in SMALLER.items():
        block = block.replace(large, small)
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    saved = re.findall(r"save\(\"(.+?)\"\)", block)
    assert all((workplace / name).stat().st_size > 0 for name in saved)


def test_every_replacement_is_used():
    text = "".join(_python_blocks())
    assert all(large in text for large in SMALLER)


def _parse(arguments: list[str]) -> None:
    """Parse arguments as the program does, without running the command."""
    command: click.Command = main
    context = None
    while isinstance(command, click.Group):
        context = command.make_context(command.name, list(arguments), parent=context)
        # click keeps the subcommand's name and its arguments in separate lists
        rest = [*context._protected_args, *context.args]
        _, command, arguments = command.resolve_command(context, rest)
    command.make_context(command.name, list(arguments), parent=context)


PROGRAM = [(readme, line) for readme in READMES for line in _commands(readme) if re.search(r"nrc[-_]tracer ", line)]


@pytest.mark.parametrize(("readme", "line"), PROGRAM, ids=_name)
def test_command_parses(readme, line, workplace, capsys):
    words = shlex.split(line.split(" > ")[0], comments=True)
    start = next(i for i, word in enumerate(words) if word.endswith(("nrc-tracer", "nrc_tracer")))
    arguments = words[start + 1 :]
    for word in arguments:  # files that earlier commands of the page create
        if re.fullmatch(r"[\w-]+\.(safetensors|checkpoint)", word):
            Path(word).touch()
        elif word == "room":
            Path(word).mkdir()
    _parse(arguments)
    assert capsys.readouterr().err == ""  # no hint about an old spelling


def test_commands_are_found():
    assert len(PROGRAM) > 15


OTHERS = [(readme, line) for readme in READMES for line in _commands(readme) if "nrc" not in line.split(" -o ")[0]]


@pytest.mark.parametrize(("readme", "line"), OTHERS, ids=_name)
def test_other_command_exists(readme, line):
    words = shlex.split(line, comments=True)
    program = Path(words[0]).name
    if program.startswith("python") and words[1] == "-m" and words[2].startswith("benchmarks"):
        source = (REPOSITORY / words[2].replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
        missing = [word for word in words[3:] if word.startswith("--") and f'"{word}"' not in source]
        assert not missing, f"{words[2]} has no {missing}"
    elif program.startswith("python") and words[1] == "-m":
        assert importlib.util.find_spec(words[2]) is not None
    elif program.startswith("python"):
        assert (REPOSITORY / words[1]).is_file()
    elif program == "pip":
        tomllib = pytest.importorskip("tomllib", reason="needs the TOML parser of Python 3.11")
        extras = re.findall(r"\[(.+?)\]", line)
        known = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert {name for extra in extras for name in extra.split(",")} <= set(known)
    else:
        pytest.fail(f"no check exists for commands of {program}")


@pytest.mark.parametrize("readme", READMES, ids=_name)
def test_links_have_targets(readme):
    for target in re.findall(r"\]\((?!https?:)(.+?)\)", readme.read_text(encoding="utf-8")):
        assert (readme.parent / target).exists(), target


EXAMPLES = sorted((REPOSITORY / "scenes" / "examples").glob("*.py"))
SMALL = {
    "render_and_save": {"width": 32, "spp": 2},
    "compare_cached": {"width": 32, "seconds": 0.5, "reference_seconds": 0.5},
    "step_by_step": {"width": 32, "passes": 2, "samples": 1},
    "fit_and_query_sdf": {"steps": 20, "resolution": 16, "width": 32},
    "tinycudann_interface": {"steps": 3, "batch": 256},
}
"""Arguments that make each example quick."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    module.main(tmp_path, **SMALL[path.stem])
    written = list(tmp_path.iterdir())
    assert written
    assert all(file.stat().st_size > 0 for file in written)


def test_every_example_has_small_arguments():
    assert {path.stem for path in EXAMPLES} == set(SMALL)


def test_the_tests_that_hold_inputs_exist():
    """Every test that the table of inputs names is in its file."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (REPOSITORY / "tests/README.md").read_text(encoding="utf-8"))
    assert len(named) > 50
    for file, test in named:
        assert f"def {test}(" in (REPOSITORY / "tests" / file).read_text(encoding="utf-8"), (file, test)
