"""Spends a short time on a bare machine with a GPU well: installs, checks, tests and measures, the most important things first.

    python3 benchmarks/gpu_session.py [--wheels FOLDER] [--results FOLDER] [--minutes 15] [--device cuda:0] [--dry-run]

It needs nothing but Python: what is missing on the machine comes as wheels from a folder. Every step has a time limit, and the
next one begins when a step fails. The output of all steps goes to `session.log` and their results to `session.json`, both while
the session runs, so that one that is cut off loses at most the step in progress. `--dry-run` prints the plan and checks that the
files it names exist; `--device cpu` runs what needs no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).resolve().parent.parent
PYTEST = ("-m", "pytest", "-q", "--maxfail=5", "-p", "no:cacheprovider")

LEAST = 2.0
"""Shortest remaining time with which another step begins [s]."""

TAIL = 25
"""Lines of a step's output that its result repeats."""

GRACE = 5.0
"""Time between the request to end and the end of a step that is over its limit [s]."""


@dataclass(frozen=True)
class Step:
    """One step of a session.

    Attributes:
        name: Its name in the results.
        arguments: Arguments of Python.
        limit: Longest time [s].
        needs_gpu: Whether it is left out on the CPU.
    """

    name: str
    arguments: tuple[str, ...]
    limit: float
    needs_gpu: bool = True


@dataclass
class Result:
    """What became of a step.

    Attributes:
        name: The step's name.
        command: The command line.
        status: `passed`, `failed`, `over its limit`, `cut off`, `no time left` or `needs a GPU`.
        exit_code: The exit code; None where there is none.
        seconds: Time that it took.
        tail: The last lines of its output.
    """

    name: str
    command: str
    status: str
    exit_code: int | None = None
    seconds: float = 0.0
    tail: tuple[str, ...] = ()


def cuda_tests(name: str, limit: float, *selection: str) -> Step:
    """A step with the tests marked `cuda` among some."""
    return Step(name, (*PYTEST, "-m", "cuda", *selection), limit)


def benchmark(part: str, limit: float, results: Path, device: str, *, quick: bool = False) -> Step:
    """A step with one part of `benchmarks.gpu`."""
    kind = "quick" if quick else "full"
    output = str(results / f"{part}-{kind}.json")
    arguments = ("-m", "benchmarks.gpu", "--device", device, "--parts", part, "--json", output)
    return Step(f"benchmark: {part}, {kind}", arguments + (("--quick",) if quick else ()), limit)


def plan_session(results: Path, device: str) -> list[Step]:
    """All steps after the installation, the most important ones first."""
    fused = "tests/nn/fused/test_backend.py"
    doctor = (
        "-m",
        "nrc_tracer",
        "doctor",
        "--device",
        device,
        "--limit",
        "120",
        "--json",
        str(results / "doctor.json"),
    )
    return [
        Step("doctor", doctor, 240.0, needs_gpu=False),
        cuda_tests("tests: path tracer", 90.0, "tests/tracer/test_cuda_compile.py"),
        cuda_tests("tests: fused networks, each width once", 120.0, fused, "-k", "3d-2f and 1000"),
        cuda_tests("tests: steps in graphs", 60.0, "tests/nn/fused/test_descent.py"),
        cuda_tests("tests: frames in graphs", 90.0, "tests/tracer/test_recorded_frames.py"),
        benchmark("frames", 90.0, results, device, quick=True),
        benchmark("networks", 90.0, results, device, quick=True),
        benchmark("frames", 180.0, results, device),
        benchmark("tasks", 60.0, results, device, quick=True),
        cuda_tests("tests: encodings", 60.0, "tests/nn/encodings/test_elementwise.py"),
        cuda_tests(
            "tests: tiny-cuda-nn's interface",
            60.0,
            "tests/nn/test_tinycudann.py",
            "tests/nn/backends/test_tinycudann.py",
        ),
        cuda_tests("tests: checks of doctor", 120.0, "tests/doctor/test_checks.py"),
        benchmark("networks", 180.0, results, device),
        cuda_tests("tests: fused networks, all", 300.0, fused),
        cuda_tests("tests: all others", 300.0, "tests"),
    ]


def installation(wheels: Path, site: Path) -> Step:
    """The installation of all wheels of a folder into another folder, without a network."""
    files = sorted(str(file) for file in wheels.glob("*.whl"))
    options = (
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--no-cache-dir",
        "--upgrade",
        "--target",
        str(site),
    )
    return Step("install", ("-m", "pip", "install", *options, *files), 120.0, needs_gpu=False)


class Session:
    """Runs steps one after the other until the time is used up, and writes their results as it goes.

    Args:
        results: Folder for `session.log` and `session.json`.
        seconds: Time for all steps.
        on_gpu: Whether to run steps that need a GPU.
        path: Folders in which Python looks for packages first.
    """

    def __init__(self, results: Path, seconds: float, *, on_gpu: bool, path: Sequence[Path] = ()) -> None:
        self.results, self.seconds, self.on_gpu = results, seconds, on_gpu
        self.done: list[Result] = []
        self._start = time.monotonic()
        self._environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join([*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        results.mkdir(parents=True, exist_ok=True)
        (results / "session.log").write_text("")

    @property
    def left(self) -> float:
        """Time that is left [s]."""
        return self.seconds - (time.monotonic() - self._start)

    def run(self, steps: Sequence[Step]) -> bool:
        """Run steps; return whether each that ran has passed."""
        for step in steps:
            result = self._run(step)
            print(f"{result.status:<15} {result.seconds:>6.1f} s  {result.name}", flush=True)
        return all(result.status in ("passed", "needs a GPU", "no time left") for result in self.done)

    def _run(self, step: Step) -> Result:
        command = [sys.executable, *step.arguments]
        result = Result(step.name, " ".join(command), "cut off")
        self.done.append(result)
        if step.needs_gpu and not self.on_gpu:
            result.status = "needs a GPU"
        elif self.left < LEAST:
            result.status = "no time left"
        else:
            self._write()  # as cut off, which it is unless it ends
            self._execute(command, min(step.limit, self.left), result)
        self._write()
        return result

    def _execute(self, command: list[str], limit: float, result: Result) -> None:
        start = time.monotonic()
        with (self.results / "session.log").open("ab+") as log:
            begin = log.seek(0, os.SEEK_END)
            log.write(f"\n=== {result.name}: {result.command}\n".encode())
            log.flush()
            process = subprocess.Popen(
                command, cwd=REPOSITORY, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=os.name == "posix",
            )  # fmt: skip
            try:
                result.exit_code = process.wait(limit)
                result.status = "passed" if result.exit_code == 0 else "failed"
            except subprocess.TimeoutExpired:
                result.status = "over its limit"
            finally:
                end_process(process)
                result.seconds = round(time.monotonic() - start, 2)
                result.tail = last_lines(log, begin)

    def _write(self) -> None:
        data: dict[str, Any] = {
            "seconds": round(self.seconds - self.left, 2),
            "seconds_allowed": self.seconds,
            "python": sys.version.split()[0],
            "steps": [asdict(result) for result in self.done],
        }
        temporary = self.results / "session.json.part"
        temporary.write_text(json.dumps(data, indent=1) + "\n")
        temporary.replace(self.results / "session.json")


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a process and, where the system has process groups, those that it started: by request, then by force."""

    def send(number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(process.pid, number)
            else:
                process.terminate()

    if process.poll() is None:
        send(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    if process.poll() is None:
        send(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        process.wait()


def last_lines(log: IO[bytes], begin: int) -> tuple[str, ...]:
    """The last lines of a log after a place in it."""
    log.seek(begin)
    return tuple(log.read().decode(errors="replace").splitlines()[-TAIL:])


def missing_files(steps: Sequence[Step]) -> list[str]:
    """The files of the repository that steps name and that do not exist."""
    named = [argument for step in steps for argument in step.arguments if argument.startswith("tests")]
    return [name for name in named if not (REPOSITORY / name).exists()]


def print_plan(steps: Sequence[Step], seconds: float) -> None:
    """Print each step with its limit, and the time at which it begins at the latest."""
    print(f"{'limit':>7} {'begins by':>10}  step")
    begin = 0.0
    for step in steps:
        late = "  (if others end early)" if begin > seconds else ""
        print(f"{step.limit:>5.0f} s {begin:>8.0f} s  {step.name}{late}\n{'':21}python {' '.join(step.arguments)}")
        begin += step.limit


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install first; none if left out")
    parser.add_argument("--results", type=Path, default=Path("gpu-session"), help="folder for all results")
    parser.add_argument("--minutes", type=float, default=15.0, help="time for everything")
    parser.add_argument("--device", default="cuda:0", help="cuda:0, or cpu for what needs no GPU")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and check its files, run nothing")
    return parser.parse_args()


def main() -> None:
    """Run the session, and exit with 1 if a step failed."""
    arguments = read_arguments()
    results = arguments.results.resolve()
    steps, path = plan_session(results, arguments.device), [REPOSITORY]
    if arguments.wheels is not None:
        if not list(arguments.wheels.glob("*.whl")):
            raise SystemExit(f"gpu_session: {arguments.wheels} has no wheels; make some with pip download or pip wheel")
        site = results / "site"
        steps, path = [installation(arguments.wheels.resolve(), site), *steps], [REPOSITORY, site]
    missing = missing_files(steps)
    if missing:
        raise SystemExit(f"gpu_session: the plan names files that do not exist: {', '.join(missing)}")
    seconds = 60.0 * arguments.minutes
    if arguments.dry_run:
        print_plan(steps, seconds)
        return
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # so that the step in progress is ended, and its result written
    session = Session(results, seconds, on_gpu=arguments.device != "cpu", path=path)
    passed = session.run(steps)
    print(f"results are in {results}", flush=True)
    raise SystemExit(0 if passed else 1)


if __name__ == "__main__":
    main()
