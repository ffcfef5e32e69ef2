"""Images, shapes and radiance fields: score against seconds of training, beside the same model in plain torch.

    python -m benchmarks.tasks [--cases albert armadillo fox ...] [--seconds 60] [--torch-seconds 60] [--json [FILE]]

Every case trains twice in a run: with the package, and with `benchmarks.torch_tasks` in place of its trainer; everything else is
the task's own. Torch reads its tables in the fastest of several layouts, chosen by a trial. Scores are those of the task on
held-out pixels, points or views; at the end of the package's training they are those of the whole image, shape or test split.
`steps` is the ratio of steps in equal time. `torch needs` is the time in which torch reaches the score that the package reaches
after a third of torch's training time, as a multiple of that third; "more" if it does not reach it. Times are of training alone,
without compilation, loading and scores.
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
"""Training times in seconds at which scores are taken, as far as a case trains for so long."""
TRIAL_STEPS = 3
"""Steps by which the layouts of torch's tables are compared."""


@dataclass
class Curve:
    """The course of a training.

    Attributes:
        steps: Number of steps.
        seconds: Time of these steps.
        points: Seconds, steps and score at each time that a score was taken.
        final: All scores at the end.
        state: Settings of the training, in words.
    """

    steps: int = 0
    seconds: float = 0.0
    points: list[tuple[float, int, float]] = field(default_factory=list)
    final: dict[str, Any] = field(default_factory=dict)
    state: str = ""

    def at(self, seconds: float) -> float:
        """The score after a number of seconds, by linear interpolation; NaN outside the range of points."""
        times, scores = [point[0] for point in self.points], [point[2] for point in self.points]
        return float(np.interp(seconds, times, scores, left=math.nan, right=math.nan))

    def steps_at(self, seconds: float) -> float:
        """The number of steps after a number of seconds, interpolated like `at`."""
        times, steps = [point[0] for point in self.points], [point[1] for point in self.points]
        return float(np.interp(seconds, times, steps, left=math.nan, right=math.nan))

    def first(self, score: float) -> float:
        """Seconds until a score was first reached; infinite if it never was."""
        for (t0, _, s0), (t1, _, s1) in zip(self.points, self.points[1:], strict=False):
            if s1 >= score:
                return t0 + (t1 - t0) * (score - s0) / (s1 - s0) if s1 > s0 and s0 < score else t0
        return math.inf


def run(task: Task, case: Case, seconds: float, times: tuple[float, ...]) -> Curve:
    """Train for a number of seconds, and take scores between steps."""
    curve = Curve()
    due = [t for t in times if t < seconds] + [seconds]
    curve.points.append((0.0, 0, case.score(task)))
    while due:
        start = time.perf_counter()
        float(task.step())  # converting the loss waits for a GPU
        curve.seconds += time.perf_counter() - start
        curve.steps += 1
        if curve.seconds >= due[0]:
            while due and curve.seconds >= due[0]:
                due.pop(0)
            curve.points.append((curve.seconds, curve.steps, case.score(task)))
    return curve


def fastest_layout(make: Callable[[], Task], threads: int) -> tuple[str, int]:
    """The layout of tables and the number of threads with which torch takes the least time for a step."""
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
            except RuntimeError as error:  # such as complex numbers for four features
                problem = error
                continue
            best = min(best, (min(taken), layout, count))
    if not best[1]:
        raise RuntimeError("torch fails in every layout of tables") from problem
    return best[1], best[2]


def compare(ours: Curve, theirs: Curve) -> tuple[float, float | None]:
    """The ratio of steps in the time of torch's training, and the time in which torch reaches the score that the package reaches
    after a third of it, as a multiple of that third; None if torch does not reach it."""
    end = min(ours.seconds, theirs.seconds)  # both end with the first step after the time is up
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
    """Train a case and, if requested, its peer in torch, and print the results.

    Args:
        case: The case.
        device, threads: Where to train.
        seconds: Training time; the case's own if None.
        torch_seconds: Training time of the peer, at most the same; no peer if None.
        times: Times in seconds at which scores are taken.
        final: Whether to take all scores at the end.
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
    """Print the course of a training."""
    scores = "  ".join(f"{seconds:.0f} s {score:.{case.digits}f}" for seconds, _, score in curve.points[1:])
    print(f"  {name:10} {curve.steps:6,} steps  {case.unit}: {scores}", flush=True)
    if curve.final:
        final = ", ".join(f"{key} {value:.4g}" for key, value in curve.final.items() if isinstance(value, float))
        print(f"  {'':10} at the end: {final}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", nargs="+", choices=list(CASES), default=None, help="Default: all whose data are available."
    )
    parser.add_argument("--seconds", type=float, help="Training time. Default: the case's own.")
    parser.add_argument("--torch-seconds", type=float, default=math.inf, help="Training time of the peer, if shorter.")
    parser.add_argument(
        "--times", type=float, nargs="+", default=TIMES, help="Times in seconds at which scores are taken."
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--no-torch", action="store_true", help="Do not train the peer.")
    parser.add_argument(
        "--no-final", action="store_true", help="Leave out the scores at the end, which may take minutes."
    )
    parser.add_argument("--json", nargs="?", const="", metavar="FILE", help="Default: under benchmarks/results.")
    arguments = parser.parse_args()
    for name in arguments.cases or CASES:
        # Run each case in a process of its own: leftover memory and threads slow the next case down by a fifth
        process = multiprocessing.get_context("spawn").Process(target=run_case, args=(name, arguments))
        process.start()
        process.join()


def run_case(name: str, arguments: argparse.Namespace) -> None:
    """Measure a case, print the result, and write it to a file if requested."""
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
    """Put a case into the file of results, next to the other cases."""
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
