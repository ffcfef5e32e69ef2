"""Files are replaced as a whole: leftovers of killed processes are removed, and nothing else."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nrc_tracer.files.atomic import replacing

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="leftover files are not removed on Windows")

# Writes half a file, prints the temporary file's name and waits. A line run before that can change what the process knows about
# itself
WRITER = """
import os, socket, sys, time
from pathlib import Path
from nrc_tracer.files.atomic import replacing
exec(sys.argv[2])
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def begin(tmp_path):
    """Starts processes that stop in the middle of writing a file; they end with the test."""
    processes = []

    def begin(name, change=""):
        words = [sys.executable, "-c", WRITER, str(tmp_path / name), change]
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


def test_only_leftovers_of_killed_processes_are_removed(tmp_path, begin):
    """Of four half-written files, the next write only removes that of a dead process with the same target."""
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


@pytest.mark.parametrize("case", ["another machine", "another container", "unreadable", "a folder", "a link"])
def test_files_of_doubtful_origin_are_kept(tmp_path, begin, case, monkeypatch):
    changes = {
        "another machine": "socket.gethostname = lambda: 'another'",
        "another container": "os.readlink = lambda path: 'pid:[1]'",
    }
    process, left = begin("a.png", changes.get(case, ""))
    process.kill()
    process.wait()
    if case == "unreadable":
        monkeypatch.setattr(os, "kill", _forbidden)  # as for a process of another user
    elif case in ("a folder", "a link"):
        left.unlink()
        left.mkdir() if case == "a folder" else left.symlink_to(tmp_path / "a.txt")
        (tmp_path / "a.txt").write_text("kept")
    _write(tmp_path / "a.png")
    assert os.path.lexists(left)


@pytest.mark.skipif(sys.platform != "linux", reason="the container is only determined on Linux")
def test_a_process_that_does_not_know_its_container_removes_nothing(tmp_path, begin):
    """It does not even remove the leftovers of a process that does not know its container either."""
    unknown = "def fail(path): raise OSError\nos.readlink = fail"
    process, left = begin("a.png", unknown)
    process.kill()
    process.wait()
    process, own = begin("a.png", unknown)
    assert left.exists()
    # `.nrc-HASH-PID-TOKEN.part`: the same target in the same place
    assert own.name.split("-")[:2] == left.name.split("-")[:2]


def _forbidden(pid, number):
    raise PermissionError


def test_concurrent_writes_of_one_process_are_kept(tmp_path):
    """A second write of the same target within a write, as by two threads, does not remove the first one's file."""
    (tmp_path / "folder").mkdir()
    with replacing(tmp_path / "a") as outer:
        outer.write_text("outer")
        # The folder gets another name, because a process looks for leftovers only once per folder
        _write(tmp_path / "folder" / ".." / "a")
        assert outer.exists()
    assert (tmp_path / "a").read_text() == "outer"
