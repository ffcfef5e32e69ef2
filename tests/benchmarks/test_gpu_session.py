"""The session on a machine with a GPU: its plan fits the repository, limits hold, and a cut-off loses nothing that had ended."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu_session import REPOSITORY, Session, Step, installation, missing_files, plan_session

SCRIPT = REPOSITORY / "benchmarks" / "gpu_session.py"


def code(name, text, limit=60.0, **options):
    """A step that runs some Python."""
    return Step(name, ("-S", "-E", "-c", text), limit, **options)


def stored(folder):
    return {step["name"]: step for step in json.loads((folder / "session.json").read_text())["steps"]}


def test_the_plan_names_what_exists(tmp_path):
    """Its tests are files of the repository, its parts those of the benchmark, and doctor comes first."""
    steps = plan_session(tmp_path, "cuda:0")
    assert steps[0].name == "doctor"
    assert missing_files(steps) == []
    assert missing_files([Step("", ("tests/none.py",), 1.0)]) == ["tests/none.py"]
    parts = {step.arguments[step.arguments.index("--parts") + 1] for step in steps if "--parts" in step.arguments}
    assert parts == set(gpu.PARTS)
    assert len({step.name for step in steps}) == len(steps)


def test_every_file_with_tests_for_gpus_has_its_step(tmp_path):
    """By name, so that the most important ones do not wait for the last step, which runs all tests."""
    named = {argument for step in plan_session(tmp_path, "cuda:0") for argument in step.arguments}
    marked = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        if re.search(r"^(@pytest\.mark\.cuda|.*marks=pytest\.mark\.cuda)", path.read_text(), re.MULTILINE)
    }
    assert marked <= named


def test_steps_go_on_after_failures_and_hangs(tmp_path):
    session = Session(tmp_path, 60.0, on_gpu=False)
    passed = session.run(
        [
            code("good", "print('fine')", needs_gpu=False),
            code("bad", "print('broken'); raise SystemExit(3)", needs_gpu=False),
            code("hanging", "import time; print('begun', flush=True); time.sleep(600)", limit=2.0, needs_gpu=False),
            code("for a GPU", "raise SystemExit(1)"),
            code("last", "print('reached')", needs_gpu=False),
        ]
    )
    found = stored(tmp_path)
    statuses = {name: step["status"] for name, step in found.items()}
    assert statuses == {
        "good": "passed",
        "bad": "failed",
        "hanging": "over its limit",
        "for a GPU": "needs a GPU",
        "last": "passed",
    }
    assert not passed
    assert (found["bad"]["exit_code"], found["bad"]["tail"][-1]) == (3, "broken")
    assert found["hanging"]["tail"][-1] == "begun"
    assert "reached" in (tmp_path / "session.log").read_text()


def test_time_is_shared(tmp_path):
    """A step has no more than what is left, and none begins when nothing is."""
    session = Session(tmp_path, 2.5, on_gpu=True)
    session.run([code("long", "import time; time.sleep(600)"), code("late", "print()")])
    assert {name: step["status"] for name, step in stored(tmp_path).items()} == {
        "long": "over its limit",
        "late": "no time left",
    }


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process at once there")
def test_a_cut_off_keeps_what_had_ended(tmp_path):
    """SIGTERM in the second step: the first has its result, the second says that it was cut off and its process is gone."""
    second = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    program = (
        "import signal, sys; from pathlib import Path; from benchmarks.gpu_session import Session, Step; "
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); "
        f"Session(Path({str(tmp_path)!r}), 600.0, on_gpu=True).run("
        f"[Step('first', ('-c', 'print(1)'), 60.0), Step('second', ('-c', {second!r}), 600.0)])"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120.0
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60.0) == 143
    assert {name: step["status"] for name, step in stored(tmp_path).items()} == {"first": "passed", "second": "cut off"}
    pid = (tmp_path / "pid").read_text()
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]


def test_a_dry_run_prints_the_plan_with_a_bare_python(tmp_path):
    """Without a package: -S leaves site-packages out, -E the environment."""
    (tmp_path / "some-1.0-py3-none-any.whl").touch()
    run = subprocess.run(
        [
            sys.executable,
            "-S",
            "-E",
            str(SCRIPT),
            "--dry-run",
            "--wheels",
            str(tmp_path),
            "--results",
            str(tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    names = [step.name for step in plan_session(tmp_path, "cuda:0")]
    for name in ("install", *names):
        assert re.search(rf"\d+ s +\d+ s  {re.escape(name)}", run.stdout)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_wheels_is_refused(tmp_path):
    run = subprocess.run(
        [sys.executable, "-S", "-E", str(SCRIPT), "--dry-run", "--wheels", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "has no wheels" in run.stderr


def test_wheels_are_installed_without_a_network(tmp_path):
    (tmp_path / "some-1.0-py3-none-any.whl").touch()
    step = installation(tmp_path, tmp_path / "site")
    assert "--no-index" in step.arguments
    assert step.arguments[-1].endswith("some-1.0-py3-none-any.whl")
    assert not step.needs_gpu
