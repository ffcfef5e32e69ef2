"""Renders with standard streams that are closed, full or narrow, and with folders that cannot be written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCENE = Path(__file__).resolve().parents[2] / "scenes/cornell-box.json"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses /dev/full and descriptors of a shell")


def shell(tmp_path, command, **environment):
    """Run a shell's command line in which $RENDER writes a small image to a.png, and $NRC is the program."""
    nrc = f"'{sys.executable}' -m nrc_tracer"
    render = f"{nrc} render '{SCENE}' --width 8 --height 8 --spp 1 -o '{tmp_path}/a.png'"
    command = command.replace("$RENDER", render).replace("$NRC", nrc)
    environment = {**os.environ, "PYTHONPATH": str(SCENE.parents[1]), **environment}
    return subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, timeout=300, check=False
    )


def test_messages_that_nobody_can_read_cost_no_image(tmp_path):
    """With standard error closed or full, the image is written and the exit code is 0."""
    for ending in ("2>/dev/full", "<&- >&- 2>&-"):
        result = shell(tmp_path, f"$RENDER {ending}")
        assert result.returncode == 0, (ending, result.stderr)
        (tmp_path / "a.png").unlink()


def test_a_result_that_cannot_be_written_is_one_line(tmp_path):
    """The image is written; that the summary was lost is an error. A closed stream loses nothing that was asked for."""
    result = shell(tmp_path, "$RENDER --json --quiet >/dev/full")
    assert result.returncode == 1
    assert result.stderr.decode().splitlines() == ["error: standard output: cannot be written: No space left on device"]
    assert (tmp_path / "a.png").is_file()


def test_names_that_a_terminal_cannot_show(tmp_path):
    """Escapes stand for characters that the encoding lacks, in tables, messages and summaries."""
    name = os.fsdecode(b"Stra\xc3\x9fe \xff.json")
    (tmp_path / name).write_bytes(SCENE.read_bytes())
    for encoding in ("ascii", "utf-8"):
        result = shell(tmp_path, f"$NRC info '{name}'", PYTHONIOENCODING=encoding, PYTHONUTF8="0", COLUMNS="200")
        assert result.returncode == 0, result.stderr
        shown = "Stra\\xdfe \\udcff.json" if encoding == "ascii" else "Straße \\udcff.json"
        assert shown in result.stdout.decode()
    result = shell(tmp_path, f"$NRC info 'missing {name}'", PYTHONIOENCODING="ascii")
    assert result.returncode == 1
    assert result.stderr.decode().count("\n") == 1


def test_a_cache_that_cannot_be_written(tmp_path):
    """Kernels are compiled into a folder for temporary files, and the folder is named."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "from nrc_tracer.device.kernel_cache import choose_kernel_cache\n"
        "import json, warp as wp\n"
        "said = ''\n"
        "try:\n    choose_kernel_cache()\n"
        "except RuntimeWarning as warning:\n    said = str(warning)\n"
        "warnings.simplefilter('ignore'); choose_kernel_cache()\n"
        "print(json.dumps([said, wp.config.kernel_cache_dir]))"
    )
    unset = {key: value for key, value in os.environ.items() if key not in ("XDG_CACHE_HOME", "WARP_CACHE_PATH")}

    def chosen(**environment):
        environment = {**unset, "PYTHONPATH": str(SCENE.parents[1]), "TMPDIR": str(temporary), **environment}
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(result.stdout)

    said, folder = chosen(HOME="/dev/null")
    assert "cannot be kept in /dev/null/.cache/warp" in said
    assert Path(folder).parent == temporary
    assert Path(folder).stat().st_mode & 0o777 == 0o700
    assert chosen(HOME=str(tmp_path)) == ["", None]
    assert chosen(HOME=str(tmp_path), XDG_CACHE_HOME="") == ["", str(tmp_path / ".cache/warp")]
    assert chosen(HOME=str(tmp_path), XDG_CACHE_HOME="here") == ["", str(tmp_path / ".cache/warp")]
    assert chosen(HOME="/dev/null", XDG_CACHE_HOME=str(tmp_path / "xdg")) == ["", None]
    assert not (tmp_path / "here").exists()
    # A folder that others can write to is not used: compiled kernels are run
    (temporary / f"nrc-tracer-{os.getuid()}").chmod(0o777)
    assert Path(chosen(HOME="/dev/null")[1]).name != f"nrc-tracer-{os.getuid()}"
