"""Files replaced as a whole: what killed processes leave is removed, and nothing else is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nrc_tracer.files import atomic
from nrc_tracer.files.atomic import replacing

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="left-over files are not removed on Windows")

# Writes half a file, says so and waits
WRITER = """
import sys, time
from pathlib import Path
from nrc_tracer.files.atomic import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def begin(tmp_path):
    """Starts processes in the middle of writing a file; they end with the test."""
    processes = []

    def begin(name):
        words = [sys.executable, "-c", WRITER, str(tmp_path / name)]
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()}
        )
        processes.append(process)
        part = Path(process.stdout.readline().strip())
        assert part.read_text() == "half"
        return process, part

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def _write(path):
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"


def test_what_a_killed_process_left_goes_and_all_else_stays(tmp_path, begin):
    """Of four half-written files only that of a dead process and the same target is removed by the next write."""
    (dead, left), (_, living), (other, of_other) = begin("a.png"), begin("a.png"), begin("b.png")
    for process in (dead, other):
        process.send_signal(signal.SIGKILL)
        process.wait()
    mine = tmp_path / ".nrc-mine.part"
    foreign = left.with_name(left.name.replace(str(dead.pid), "somebody"))
    for file in (mine, foreign):
        file.write_text("not a process's")
    _write(tmp_path / "a.png")
    assert not left.exists()
    assert {p.name for p in tmp_path.iterdir()} == {
        *("a.png", living.name, of_other.name, mine.name, foreign.name),
    }


@pytest.mark.parametrize("case", ["another machine or container", "unknown", "unreadable", "a folder", "a link"])
def test_on_doubt_nothing_goes(tmp_path, begin, case, monkeypatch):
    process, left = begin("a.png")
    process.kill()
    process.wait()
    if case == "another machine or container":
        monkeypatch.setattr(atomic, "_process_space", lambda: "another")
    elif case == "unknown":
        monkeypatch.setattr(atomic, "_process_space", lambda: None)
    elif case == "unreadable":
        monkeypatch.setattr(atomic.os, "kill", _forbidden)  # as for another user's process
    else:
        left.unlink()
        left.mkdir() if case == "a folder" else left.symlink_to(tmp_path / "a.txt")
        (tmp_path / "a.txt").write_text("kept")
    _write(tmp_path / "a.png")
    assert os.path.lexists(left)


def _forbidden(pid, number):
    raise PermissionError


def test_a_process_s_own_writes_stay(tmp_path):
    """A write within a write of the same target, as two threads have it, finds its file at its end."""
    with replacing(tmp_path / "a") as outer:
        outer.write_text("outer")
        atomic._remove_left_overs.cache_clear()
        _write(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "outer"
