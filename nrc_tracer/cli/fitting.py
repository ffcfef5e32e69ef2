"""What the commands of `nrc-tracer fit` share: options, the training with its snapshots and previews, and the result."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import sys
import time as clock
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.fit_progress import FitProgress
from nrc_tracer.cli.parameters import COUNT, SECONDS, compute_options, debug_option, finite, together
from nrc_tracer.cli.periodic import Jobs, Periodic
from nrc_tracer.cli.progress import announced
from nrc_tracer.cli.termination import TERMINATED, noted_termination
from nrc_tracer.errors import NrcError, SnapshotError
from nrc_tracer.interruption import deferred_interrupt

if TYPE_CHECKING:
    from nrc_tracer.tasks.task import Task
    from nrc_tracer.tasks.training import TrainingProgress


@dataclass(frozen=True)
class FitOptions:
    """The options that all tasks have; see `fit_options` for what they mean.

    Attributes:
        began: When the command began, by `time.perf_counter`.
    """

    steps: int | None
    seconds: float | None
    config: Path | None
    snapshot: Path | None
    snapshot_every: float
    resume: bool
    auto_resume: bool
    preview: Path | None
    preview_every: float
    seed: int
    device: str | None
    threads: int | None
    as_json: bool
    quiet: bool
    began: float = 0.0


def fit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that all tasks have, as the argument `options`."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> Any:
        names = [field.name for field in fields(FitOptions) if field.name != "began"]
        shared = {name: given.pop(name) for name in names}
        return command(options=FitOptions(**shared, began=clock.perf_counter()), **given)

    return _fit_options(wrapped)


_fit_options = together(
    click.option("--steps", type=COUNT, help="Steps of training in all, those before --resume among them."),
    click.option(
        "--time", "seconds", type=SECONDS, callback=finite, help="Seconds of training, saving and such apart."
    ),
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="JSON",
        help="Model and training in tiny-cuda-nn's JSON. Default: chosen by the data.",
    ),
    click.option(
        "--snapshot",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Where to keep the model and its training. Default: the data's name with .safetensors, in the current "
        "folder.",
    ),
    click.option(
        "--snapshot-every",
        type=SECONDS,
        callback=finite,
        default=60.0,
        show_default=True,
        help="Seconds between them.",
    ),
    click.option("--resume", is_flag=True, help="Go on from the snapshot, to the same bits as without a stop."),
    click.option("--auto-resume", is_flag=True, help="As --resume, but begin anew where there is no snapshot."),
    click.option(
        "--preview",
        type=click.Path(path_type=Path),
        metavar="PNG",
        help="Picture of the state so far, written while training.",
    ),
    click.option(
        "--preview-every",
        type=SECONDS,
        callback=finite,
        default=15.0,
        show_default=True,
        help="Seconds between previews.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**31 - 1),
        default=1337,
        show_default=True,
        help="Of parameters and samples.",
    ),
    compute_options,
    click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors."),
    click.option("--json", "as_json", is_flag=True, help="Print a summary as one JSON object on stdout."),
    debug_option,
)


def run_fit(
    task: Task,
    options: FitOptions,
    *,
    name: str,
    data_line: str,
    default_steps: int,
    evaluate: Callable[[], dict[str, Any]],
    describe: Callable[[dict[str, Any]], str],
    preview: Callable[[Path], object] | None = None,
    check_preview: Callable[[Path], object] | None = None,
    facts: dict[str, Any] | None = None,
    warnings: list[str] | None = None,
) -> None:
    """Train a task as the options say, keep its snapshot, and print what came of it.

    Ctrl-C and SIGTERM end the training after the current step; the snapshot then has all steps, and the exit code tells.

    Args:
        task: What to train.
        options: The options.
        name: The default snapshot's name without its ending.
        data_line: What the data are, in a line.
        default_steps: Where neither steps nor a time are asked for.
        evaluate: Gives the final scores, JSON data.
        describe: Words the final scores for the result line.
        preview: Writes a picture of the state so far.
        check_preview: Raises `OutputError` for a file that it cannot write; `imaging.check_writable` unless given.
        facts: More for the JSON summary: colour space, background, split and whatever makes the scores reproducible.
        warnings: What is off with the data; printed, and in the summary, with what `evaluate` adds by then.
    """
    # Whatever a library prints must not end up between the lines of the summary
    with contextlib.redirect_stdout(sys.stderr):
        summary, exit_code = _fit(
            task,
            options,
            name,
            data_line,
            default_steps,
            evaluate,
            describe,
            preview if options.preview is not None else None,
            check_preview,
            {} if facts is None else facts,
            [] if warnings is None else warnings,
        )
    if options.as_json:
        click.echo(json.dumps(_finite(summary), allow_nan=False))
    if exit_code:
        click.get_current_context().exit(exit_code)


def _fit(
    task: Task,
    options: FitOptions,
    name: str,
    data_line: str,
    default_steps: int,
    evaluate: Callable[[], dict[str, Any]],
    describe: Callable[[dict[str, Any]], str],
    preview: Callable[[Path], object] | None,
    check_preview: Callable[[Path], object] | None,
    facts: dict[str, Any],
    warnings: list[str],
) -> tuple[dict[str, Any], int]:
    from nrc_tracer.files.atomic import check_place
    from nrc_tracer.imaging import check_writable
    from nrc_tracer.tasks.training import train

    quiet = options.quiet
    steps = default_steps if options.steps is None and options.seconds is None else options.steps
    load_seconds = clock.perf_counter() - options.began
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if not quiet:
        model = task.trainer.model
        click.echo(f"{data_line}; {model.n_params:,} parameters, {model.precision} on {model.device}", err=True)
    snapshot = options.snapshot or Path(f"{name}.safetensors")
    check_place(snapshot, error=SnapshotError)
    if options.preview is not None:
        (check_preview or check_writable)(options.preview)
    _resume(task, snapshot, options, steps)
    first = task.number
    start = clock.perf_counter()
    with announced("compiling kernels (first run only) ...", after=1.0, quiet=quiet):
        task.compile()
    compile_seconds = clock.perf_counter() - start

    progress_line = FitProgress(steps=steps, seconds=options.seconds, quiet=quiet)

    saved = None

    def save() -> None:
        nonlocal saved
        task.save(snapshot)
        saved = task.number

    def warn(error: NrcError) -> None:
        warnings.append(str(error))
        progress_line.say(f"warning: {error}")

    periodic = [Periodic(save, options.snapshot_every)]
    if preview is not None:
        periodic.append(Periodic(lambda: preview(options.preview), options.preview_every))
    jobs = Jobs(periodic, warn)

    def watch(progress: TrainingProgress) -> bool:
        progress_line(progress)
        if progress.steps:
            jobs.run_due()
        return terminated()

    try:
        with noted_termination() as terminated, deferred_interrupt() as interrupted:
            jobs.start()
            with progress_line:
                progress = train(task, steps=steps, seconds=options.seconds, watch=watch)
            save()
            finished = progress.finished and not (interrupted() or terminated())
        exit_code = 0 if finished else TERMINATED if terminated() else 130
        start = clock.perf_counter()
        scores = evaluate() if finished else task.score()
        if preview is not None:
            jobs.attempt(preview, options.preview)
    except KeyboardInterrupt as error:
        if saved is None:
            raise
        raise KeyboardInterrupt(f"{snapshot} has {saved:,} steps, from which --resume goes on") from error
    summary = {
        "task": task.kind,
        "data": name,
        **facts,
        "steps": task.number,
        "resumed_from": first,
        "skipped_steps": task.trainer.skipped_steps,
        "seconds": progress.seconds,
        "steps_per_second": progress.steps / max(progress.seconds, 1e-9),
        "loss": progress.loss,
        "scores": scores,
        "parameters": task.trainer.model.n_params,
        "precision": task.trainer.model.precision,
        "device": str(task.trainer.model.device),
        "threads": task.trainer.model.threads,
        "seed": task.seed,
        "load_seconds": load_seconds,
        "compile_seconds": compile_seconds,
        "evaluation_seconds": clock.perf_counter() - start,
        "snapshot": str(snapshot),
        "interrupted": not finished,
        "warnings": warnings,
    }
    if not finished:
        click.echo(f"interrupted: the same command with --resume goes on from {snapshot}", err=True)
    elif not quiet:
        click.echo(f"{name}: {describe(scores)}", err=True)
    if not quiet:
        click.echo(
            f"{snapshot}: {task.number:,} steps, {progress.seconds:.1f} s of training ({summary['steps_per_second']:.1f} "
            f"steps/s; besides loading {load_seconds:.1f} s, compiling {compile_seconds:.1f} s, evaluating "
            f"{summary['evaluation_seconds']:.1f} s)",
            err=True,
        )
    return summary, exit_code


def _resume(task: Task, snapshot: Path, options: FitOptions, steps: int | None) -> None:
    """Go on from the snapshot if that is asked for."""
    exists = snapshot.exists()
    if not (options.resume or options.auto_resume):
        if exists and not options.quiet:
            click.echo(
                f"note: {snapshot} is of an earlier training and will be replaced; --resume goes on from it", err=True
            )
        return
    if not exists:
        if options.resume:
            raise SnapshotError(
                f"there is no snapshot {snapshot} to go on from; leave out --resume, or give --auto-resume, which begins "
                "anew where there is none"
            )
        return
    task.resume(snapshot)
    if steps is not None and task.number > steps:
        raise SnapshotError(
            f"{snapshot}: has {task.number} steps, more than the {steps} asked for; give more --steps, or leave out --resume"
        )
    if not options.quiet:
        click.echo(f"going on from {snapshot}: {task.number:,} steps", err=True)


def _finite(value: Any) -> Any:
    """JSON data without numbers that JSON has not."""
    if isinstance(value, dict):
        return {key: _finite(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
