"""Images, shapes and radiance fields: score against seconds of training, beside the same model in plain torch.

    python -m benchmarks.tasks [--cases albert armadillo fox ...] [--seconds 60] [--torch-seconds 60] [--json [FILE]]

Every case trains twice in this run: by the package, and with `benchmarks.torch_tasks` in the place of its trainer, everything
else being the task's own. Torch reads its tables in the fastest of several ways, chosen by a trial. Scores are those of the
task (held-out pixels, points or views), and at the end, of ours, those of the whole image, shape or test split. `steps` is the
ratio of steps in equal time; `torch needs` the time that torch takes to the score that we have at a third of its time, over
that third: "more" where it does not come to it. Times are training alone; compilation, loading and scores are left out.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine, device_slug
from benchmarks.task_cases import CASES, Case
from benchmarks.torch_grid import LAYOUTS
from benchmarks.torch_tasks import put_into
from nrc_tracer.device.launch import default_threads
from nrc_tracer.errors import NrcError
from nrc_tracer.tasks.task import Task

RESULTS = Path(__file__).parent / "results"
TIMES = (2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0)
"""Seconds of training after which scores are taken, those that a case lasts for."""
TRIAL_STEPS = 3


@dataclass
class Curve:
    """How a training went.

    Attributes:
        steps: In all.
        seconds: Of these.
        points: Seconds, steps and score.
        final: The whole score at the end.
        state: Of the training in words.
    """

    steps: int = 0
    seconds: float = 0.0
    points: list[tuple[float, int, float]] = field(default_factory=list)
    final: dict[str, Any] = field(default_factory=dict)
    state: str = ""

    def at(self, seconds: float) -> float:
        """The score after so many seconds, between two points by straight lines; NaN beyond them."""
        times, scores = [point[0] for point in self.points], [point[2] for point in self.points]
        return float(np.interp(seconds, times, scores, left=math.nan, right=math.nan))

    def steps_at(self, seconds: float) -> float:
        """Steps taken after so many seconds, between two points by straight lines; NaN beyond them."""
        times, steps = [point[0] for point in self.points], [point[1] for point in self.points]
        return float(np.interp(seconds, times, steps, left=math.nan, right=math.nan))

    def first(self, score: float) -> float:
        """Seconds until a score was reached; infinity if it never was."""
        for (t0, _, s0), (t1, _, s1) in zip(self.points, self.points[1:], strict=False):
            if s1 >= score:
                return t0 + (t1 - t0) * (score - s0) / (s1 - s0) if s1 > s0 and s0 < score else t0
        return math.inf


def run(task: Task, case: Case, seconds: float, times: tuple[float, ...]) -> Curve:
    """Train for so many seconds, taking scores between steps."""
    curve = Curve()
    due = [t for t in times if t < seconds] + [seconds]
    curve.points.append((0.0, 0, case.score(task)))
    while due:
        start = time.perf_counter()
        float(task.step())  # which waits for a GPU
        curve.seconds += time.perf_counter() - start
        curve.steps += 1
        if curve.seconds >= due[0]:
            while due and curve.seconds >= due[0]:
                due.pop(0)
            curve.points.append((curve.seconds, curve.steps, case.score(task)))
    return curve


def fastest_layout(make: Callable[[], Task], threads: int) -> tuple[str, int]:
    """The layout of tables, and number of threads, with which torch takes the least time for a step."""
    best, problem = (math.inf, "", 0), None
    for layout in LAYOUTS:
        for count in sorted({1, threads}):
            task, taken = make(), []
            try:
                put_into(task, layout, count)
                for _ in range(TRIAL_STEPS):
                    start = time.perf_counter()
                    float(task.step())
                    taken.append(time.perf_counter() - start)
            except RuntimeError as error:  # such as complex numbers of four features
                problem = error
                continue
            best = min(best, (min(taken), layout, count))
    if not best[1]:
        raise RuntimeError("torch fails in every layout of tables") from problem
    return best[1], best[2]


def compare(ours: Curve, theirs: Curve) -> tuple[float, float | None]:
    """How many times more steps we take in the time of torch's training, and how many times longer torch needs to the score
    that we have after a third of it; None where it does not come to it."""
    end = min(ours.seconds, theirs.seconds)  # both end with the first step beyond the time
    third = theirs.seconds / 3.0
    needed = theirs.first(ours.at(third)) / third
    return ours.steps_at(end) / theirs.steps_at(end), needed if math.isfinite(needed) else None


def measure(
    case: Case,
    device: str,
    threads: int,
    *,
    seconds: float | None = None,
    torch_seconds: float | None = None,
    times: tuple[float, ...] = TIMES,
    final: bool = True,
) -> dict[str, Any]:
    """Train a case and, if that is asked for, its peer, and print how it went.

    Args:
        case: The case.
        device, threads: Where it is trained.
        seconds: Of training; what the case is for unless given.
        torch_seconds: Of the peer's training, not more than ours; without the peer unless given.
        times: When scores are taken [s].
        final: Whether all scores are taken at the end.
    """
    seconds = case.seconds if seconds is None else seconds

    def make() -> Task:
        return case.make(device, threads)

    task = make()
    task.compile()
    description = f"{task.trainer.model.n_params:,} parameters, {task.trainer.model.precision}"
    ours = run(task, case, seconds, times)
    if final:
        ours.final = case.final(task)
    result = {
        "case": case.name,
        "what": case.what,
        "score": case.unit,
        "model": description,
        "seconds": seconds,
        "ours": vars(ours),
    }
    print(f"{case.name}: {case.what}; {description}")
    line(case, "nrc_tracer", ours)
    if torch_seconds is not None:
        layout, count = fastest_layout(make, threads)
        task = make()
        put_into(task, layout, count)
        theirs = run(task, case, min(seconds, torch_seconds), times)
        theirs.state = f"{layout}, {count} threads"
        line(case, "torch", theirs)
        steps, needed = compare(ours, theirs)
        result |= {"torch": vars(theirs), "ratio_of_steps": steps, "torch_needs": needed}
        words = "more than 3 x" if needed is None else f"{needed:.1f} x"
        print(f"  steps {steps:.1f} x; torch needs {words} the time ({theirs.state})", flush=True)
    return result


def line(case: Case, name: str, curve: Curve) -> None:
    """Print how a training went."""
    scores = "  ".join(f"{seconds:.0f} s {score:.{case.digits}f}" for seconds, _, score in curve.points[1:])
    print(f"  {name:10} {curve.steps:6,} steps  {case.unit}: {scores}", flush=True)
    if curve.final:
        final = ", ".join(f"{key} {value:.4g}" for key, value in curve.final.items() if isinstance(value, float))
        print(f"  {'':10} at the end: {final}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", nargs="+", choices=list(CASES), default=None, help="Default: all whose data are there."
    )
    parser.add_argument("--seconds", type=float, help="Of training; default: what the case is for.")
    parser.add_argument(
        "--torch-seconds", type=float, default=math.inf, help="Of the peer's training, if less than ours."
    )
    parser.add_argument("--times", type=float, nargs="+", default=TIMES, help="When scores are taken.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--no-torch", action="store_true", help="Without the peer.")
    parser.add_argument(
        "--no-final", action="store_true", help="Without the scores at the end, which may take minutes."
    )
    parser.add_argument("--json", nargs="?", const="", metavar="FILE", help="Default: under benchmarks/results.")
    arguments = parser.parse_args()
    for name in arguments.cases or CASES:
        # In processes of their own: memory and threads that one leaves behind slow the next one down by a fifth
        process = multiprocessing.get_context("spawn").Process(target=run_case, args=(name, arguments))
        process.start()
        process.join()


def run_case(name: str, arguments: argparse.Namespace) -> None:
    """Measure a case, print it, and keep it if that is asked for."""
    try:
        result = measure(
            CASES[name],
            arguments.device,
            arguments.threads,
            seconds=arguments.seconds,
            torch_seconds=None if arguments.no_torch else arguments.torch_seconds,
            times=tuple(arguments.times),
            final=not arguments.no_final,
        )
    except NrcError as error:
        print(f"{name}: left out: {error}", flush=True)
        return
    if arguments.json is not None:
        keep(result, arguments)


def keep(result: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Put a case into the file of results; the others that it has stay."""
    import torch

    gpu = torch.cuda.get_device_name(arguments.device) if arguments.device.startswith("cuda") else None
    path = Path(arguments.json or RESULTS / f"tasks-{device_slug(gpu, arguments.threads)}.json")
    machine = describe_machine(("torch", "warp-lang", "numpy")) | {"gpu": gpu, "threads": arguments.threads}
    earlier = json.loads(path.read_text())["results"] if path.exists() else []
    kept = {case["case"]: case for case in earlier} | {result["case"]: result | {"machine": machine}}
    path.write_text(json.dumps({"results": list(kept.values())}, indent=1, default=float) + "\n")
    print(f"written to {path}", flush=True)


if __name__ == "__main__":
    main()
