"""Feeding damaged files to the readers in separate processes, and recording failures.

A reader must return a scene, an image or photographs, or raise `SceneError` or `DataError`. Failures are any other exception,
more than `SECONDS` of processor time for one input, more than `MEMORY` of additional address space, and a crash. Only what the
processes themselves do counts, so that a busy or paused machine makes no failure.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.corpus import Sample, samples
from tests.fuzz.mutations import damaged

SECONDS = 10
"""Longest processor time for one input [s]. An input that waits for six times as long without ending hangs."""
MEMORY = 2 * 2**30
"""Address space that a process may use beyond what it has after reading one whole file of each format [bytes]."""
PAUSE = 0.01
"""Time between two looks for finished inputs [s]."""


class TooLong(BaseException):
    """An input took more processor time than `SECONDS`; no reader may catch this."""


@dataclass
class Failure:
    """An input that made a reader fail.

    Attributes:
        format: Format of the input.
        seed: Seed of its damage.
        problem: What happened.
    """

    format: str
    seed: int
    problem: str


@dataclass
class Report:
    """The results of a run.

    Attributes:
        tried: Number of inputs by format.
        refused: Number of inputs that were refused, by format.
        slowest: Largest processor time of an input by format [s].
        failures: The failures.
    """

    tried: Counter = field(default_factory=Counter)
    refused: Counter = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


def input_bytes(sample: Sample, seed: int) -> bytes:
    """Return the damaged file for a seed."""
    generator = random.Random(f"{sample.format} {seed}")
    return damaged(generator.choice(sample.files), generator, text=sample.text)


def run(inputs: int, *, seed: int = 0, only: str | None = None, processes: int = 2) -> Report:
    """Try `inputs` damaged files, spread evenly over all formats, or over those whose name contains `only`."""
    chosen = [name for name in samples() if only is None or only in name]
    work = [(name, seed + index) for index in range(-(-inputs // len(chosen))) for name in chosen][:inputs]
    report = Report()
    context = multiprocessing.get_context("spawn")
    parts = [work[index::processes] for index in range(processes)]
    workers = [_Worker(context, part) for part in parts if part]
    while workers:
        for worker in list(workers):
            if not worker.poll(report):
                workers.remove(worker)
        time.sleep(PAUSE)
    return report


class _Worker:
    """A process that works through a list. If it dies, its current input is a failure, and a new process continues."""

    def __init__(self, context, work: list[tuple[str, int]]) -> None:
        self._context = context
        self._work = work
        self._done = 0
        self._start()

    def _start(self) -> None:
        self._pipe, child = self._context.Pipe(duplex=False)
        self._process = self._context.Process(target=_serve, args=(child, self._work[self._done :]), daemon=True)
        self._process.start()
        child.close()
        self._waited = 0.0

    def poll(self, report: Report) -> bool:
        """Add finished inputs to the report. Returns whether more will follow."""
        ended = False
        try:
            while self._pipe.poll():
                name, seed, refused, seconds, problem = self._pipe.recv()
                self._done += 1
                self._waited = 0.0
                report.tried[name] += 1
                report.refused[name] += refused
                report.slowest[name] = max(report.slowest.get(name, 0.0), seconds)
                if problem:
                    report.failures.append(Failure(name, seed, problem))
        except EOFError:
            ended = True
        if self._done == len(self._work):
            self._process.join()
            return False
        self._waited += PAUSE
        hangs = self._waited > 6 * SECONDS
        if hangs or ended:
            self._process.kill()
            self._process.join()
            name, seed = self._work[self._done]
            what = "hangs outside of Python" if hangs else f"crashed with exit code {self._process.exitcode}"
            report.tried[name] += 1
            report.failures.append(Failure(name, seed, what))
            self._done += 1
            if self._done == len(self._work):
                return False
            self._start()
        return True


def _serve(pipe, work: list[tuple[str, int]]) -> None:
    """Work through a list in a process with limited memory."""
    warnings.simplefilter("ignore")
    for stream in (1, 2):  # image libraries print their warnings there
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    known = samples()
    for sample in known.values():  # everything is loaded before the limit is set
        attempt(sample, sample.files[0], Path(tempfile.gettempdir()))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def too_long(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGPROF, too_long)
    with tempfile.TemporaryDirectory() as folder:
        for name, seed in work:
            data = input_bytes(known[name], seed)
            start = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                refused, problem = attempt(known[name], data, Path(folder)), ""
            except TooLong:
                refused, problem = False, f"took more than {SECONDS} s of processor time"
            except BaseException as error:
                refused, problem = False, f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}"
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0.0)
            pipe.send((name, seed, refused, time.process_time() - start, problem))


def attempt(sample: Sample, data: bytes, folder: Path) -> bool:
    """Write bytes to a file and read it. Returns whether the reader raised `SceneError` or `DataError`."""
    from nrc_tracer.errors import DataError, SceneError

    path = folder / f"input{sample.suffix}"
    path.write_bytes(data)
    try:
        sample.read(path)
    except (SceneError, DataError):
        return True
    return False
