"""Running checks in a process of their own, which is replaced when it crashes or hangs."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time as clock
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from nrc_tracer.doctor.check import ADVICE, Check, Comparison, Finding, Status
from nrc_tracer.doctor.worker import load_checks

REGISTRY = "nrc_tracer.doctor.checks:CHECKS"
"""The module and the name of the list of all checks."""

LIMIT = 300.0
"""Longest time of a check [s], with the compilation of its kernels, which takes minutes for the first time on a GPU."""

STARTING = 300.0
"""Longest time in which the process must begin a check [s]: before the first, it loads torch and Warp and starts the driver."""

UNSOUND = (Status.RAISED, Status.OUT_OF_MEMORY)
"""Results after which the other checks of a GPU run in a new process: an error on a GPU stays, and fails what comes after it."""


@dataclass(frozen=True)
class Examination:
    """Checks of a device.

    Attributes:
        device: `cpu` or `cuda:N`.
        limit: Longest time of a check [s].
        registry: Where the checks are defined, as `module:name`.
    """

    device: str
    limit: float = LIMIT
    registry: str = ""

    @property
    def checks(self) -> Sequence[Check]:
        """All checks, in order."""
        return load_checks(self.registry or REGISTRY)

    def run(self, checks: Sequence[Check] | None = None) -> Generator[Finding, None, None]:
        """Run checks, all of them if None, and yield the finding of each as soon as there is one.

        A check that raises, hangs or ends the process is reported, and the others still run.
        """
        waiting = list(self.checks if checks is None else checks)
        while waiting:
            for finding in self._run_until_lost(tuple(waiting)):
                waiting.pop(0)
                yield finding

    def _run_until_lost(self, checks: Sequence[Check]) -> Iterator[Finding]:
        """Yield findings in order until all checks have run or the process cannot go on, that of a lost check included."""
        with _Process(self.registry or REGISTRY, self.device, [check.name for check in checks]) as process:
            for check in checks:
                start = clock.perf_counter()
                try:
                    process.next_line(STARTING)
                    start = clock.perf_counter()
                    finding = _finding(process.next_line(self.limit))
                except _Lost as lost:
                    status, seconds = lost.status, clock.perf_counter() - start
                    detail = process.last_words() if status is Status.CRASHED else f"no result after {seconds:.3g} s"
                    yield Finding(check.name, check.peer_of(self.device), status, seconds, detail, ADVICE[status])
                    return
                yield finding
                if finding.status in UNSOUND and self.device != "cpu":
                    return


class _Lost(Exception):
    """The process gave no answer.

    Attributes:
        status: `TIMED_OUT` or `CRASHED`.
    """

    def __init__(self, status: Status) -> None:
        super().__init__(status.value)
        self.status = status


class _Process:
    """The process that runs checks. A context, at whose end the process is killed."""

    def __init__(self, registry: str, device: str, names: Sequence[str]) -> None:
        code = f"import sys; sys.path[:] = {sys.path!r}; from nrc_tracer.doctor.worker import main; main()"
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, registry, device, *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None  # a pipe
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def next_line(self, seconds: float) -> dict[str, Any]:
        """The next line of the process. Raises `_Lost` if none comes in time, or if the process has ended."""
        end = clock.perf_counter() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - clock.perf_counter()))
            except queue.Empty:
                raise _Lost(Status.TIMED_OUT) from None
            if line is None:
                raise _Lost(Status.CRASHED)
            if line.startswith(b"{"):
                data: dict[str, Any] = json.loads(line)
                return data

    def last_words(self) -> str:
        """The exit code of the ended process, and the last line that it wrote to standard error."""
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        ending = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the process ended with {ending}" + (f": {last}" if last else "")


def _finding(data: dict[str, Any]) -> Finding:
    """A finding from what `Finding.as_json` gave."""
    return Finding(
        data["check"],
        data["compared_with"],
        Status(data["status"]),
        float(data["seconds"]),
        data["detail"],
        data["advice"],
        tuple(Comparison(row["what"], float(row["error"]), float(row["limit"])) for row in data["comparisons"]),
    )
