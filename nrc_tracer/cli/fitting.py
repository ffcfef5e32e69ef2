"""What the commands of `nrc-tracer fit` share: options, training with snapshots and previews, and the result."""

from __future__ import annotations

import contextlib
import time as clock
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.addresses import PAGE, address_options
from nrc_tracer.cli.command import Decorator, gathered, option, under
from nrc_tracer.cli.fit_bar import EvaluationBar, FitBar
from nrc_tracer.cli.options import (
    PATH,
    SNAPSHOT,
    TRAINING,
    ComputeOptions,
    Messages,
    compute_options,
    every_option,
    message_options,
    resume_options,
)
from nrc_tracer.cli.outputs import Warnings, run_reporting
from nrc_tracer.cli.periodic import Jobs, Periodic
from nrc_tracer.cli.progress import COMPILING, announced
from nrc_tracer.cli.termination import INTERRUPTED, TERMINATED, noted_termination
from nrc_tracer.cli.values import COUNT, SECONDS, SMALL_SEED
from nrc_tracer.errors import NrcError, SnapshotError
from nrc_tracer.files.json_data import json_data
from nrc_tracer.interruption import deferred_interrupt

if TYPE_CHECKING:
    from nrc_tracer.tasks.task import Task
    from nrc_tracer.tasks.training import TrainingProgress

DEFAULT_SEED = 1337
"""Seed of all fits by default, that of tiny-cuda-nn."""


@dataclass(frozen=True)
class FitOptions:
    """The options that all tasks share; see `fit_options` for what they mean.

    Attributes:
        began: Time at which the command began, by `time.perf_counter`.
    """

    steps: int | None
    seconds: float | None
    config: Path | None
    seed: int
    snapshot: Path | None
    snapshot_every: float
    resume: bool
    auto_resume: bool
    preview: Path | None
    preview_every: float
    is_viewed: bool
    host: str
    port: int
    compute: ComputeOptions
    messages: Messages
    began: float = field(default_factory=clock.perf_counter, kw_only=True)


@dataclass(frozen=True)
class Fit:
    """A task to train, and what the command says about it.

    Attributes:
        task: The task.
        name: Name of the data; the default snapshot is called after it.
        data_line: A line that describes the data.
        default_steps: Number of steps if the options give neither steps nor a time.
        evaluate: Returns the final scores as JSON data. It may call its argument with the fraction done, and then ends with the
            scores so far if that returns True.
        describe: Puts the final scores into words.
        preview: Writes a picture of the current state to a file.
        check_preview: Raises `OutputError` for a file that `preview` cannot write; None for `imaging.check_writable`.
        facts: More facts for the summary: colour space, background, split and whatever else makes the scores reproducible.
        warnings: Warnings about the data.
        shorter_evaluation: How the user can make the evaluation shorter, for the announcement of a long one; None if `evaluate`
            does not call its argument.
    """

    task: Task
    name: str
    data_line: str
    default_steps: int
    evaluate: Callable[[Callable[[float], bool]], dict[str, Any]]
    describe: Callable[[dict[str, Any]], str]
    preview: Callable[[Path], object] | None = None
    check_preview: Callable[[Path], object] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: Warnings = field(default_factory=Warnings)
    shorter_evaluation: str | None = None


def batch_option(default: str) -> Decorator:
    """The option `--batch`, with words for its default."""
    return under(
        TRAINING, option("--batch", type=click.IntRange(64, 2**24), help=f"Samples per step. Default: {default}.")
    )


fit_options = gathered(
    "options",
    FitOptions,
    under(
        TRAINING,
        option("--steps", type=COUNT, help="Number of steps at which training ends, those before --resume included."),
        option(
            "--time",
            "seconds",
            type=SECONDS,
            metavar="SECONDS",
            help="End after this time of training; saving and scoring are not counted.",
        ),
        option(
            "--config",
            type=PATH,
            metavar="JSON",
            help="Encoding, network, loss and optimizer in tiny-cuda-nn's format. Default: chosen for the data.",
        ),
        option(
            "--seed",
            type=SMALL_SEED,
            default=DEFAULT_SEED,
            show_default=True,
            help="Seed of the random numbers. The default is that of tiny-cuda-nn, not 0 as in the other commands.",
        ),
    ),
    under(
        SNAPSHOT,
        option(
            "--snapshot",
            type=PATH,
            metavar="FILE",
            help="File for the model and the state of its training. Default: the data's name with .safetensors, in the current "
            "folder.",
        ),
        every_option("--snapshot-every", "two writes of the snapshot", 60.0),
        resume_options("snapshot"),
        option("--preview", type=PATH, metavar="PNG", help="Picture of the current state, written while training."),
        every_option("--preview-every", "two previews", 15.0),
    ),
    under(
        PAGE,
        option(
            "--view",
            "is_viewed",
            is_flag=True,
            help="Show the model in the browser while it trains, and until Ctrl-C; it is scored after that. Needs the extra "
            "viewer.",
        ),
        *address_options,
    ),
    compute_options,
    message_options(),
)
"""The options that all tasks share, as the argument `options`: `FitOptions`."""


def run_fit(fit: Fit, options: FitOptions) -> None:
    """Train a task, keep its snapshot, and print the result.

    Ctrl-C and SIGTERM end the training after the current step; then the snapshot has all steps, and the exit code
    says which signal it was.
    """
    run_reporting(lambda: _fit(fit, options), as_json=options.messages.as_json)


def _fit(fit: Fit, options: FitOptions) -> tuple[dict[str, Any], int]:
    """Train and write; return the summary and the exit code."""
    task, quiet = fit.task, options.messages.quiet
    run = _Run(fit, options)
    load_seconds = clock.perf_counter() - options.began
    if not quiet:
        model = task.trainer.model
        click.echo(f"{fit.data_line}; {model.n_params:,} parameters, {model.precision} on {model.device}", err=True)
    run.check_places()
    _resume(task, run.snapshot, options, run.steps)
    first = task.number
    start = clock.perf_counter()
    with announced(COMPILING, quiet=quiet):
        task.compile()
    compile_seconds = clock.perf_counter() - start
    outcome = run.train()
    summary = {
        "task": task.kind,
        "data": fit.name,
        **fit.facts,
        "steps": task.number,
        "resumed_from": first,
        "skipped_steps": task.trainer.skipped_steps,
        "seconds": outcome.progress.seconds,
        "steps_per_second": outcome.progress.steps / max(outcome.progress.seconds, 1e-9),
        "loss": outcome.progress.loss,
        "scores": outcome.scores,
        "parameters": task.trainer.model.n_params,
        "precision": task.trainer.model.precision,
        "device": str(task.trainer.model.device),
        "threads": task.trainer.model.threads,
        "seed": task.seed,
        "load_seconds": load_seconds,
        "compile_seconds": compile_seconds,
        "evaluation_seconds": outcome.evaluation_seconds,
        "snapshot": str(run.snapshot),
        "interrupted": outcome.exit_code != 0,
        "warnings": fit.warnings.given,
    }
    _print_result(fit, summary, quiet, is_trained=outcome.is_trained)
    return json_data(summary), outcome.exit_code


@dataclass(frozen=True)
class _Outcome:
    """How a training ended, and the scores of the model; `is_trained` if only the evaluation may have been interrupted."""

    progress: TrainingProgress
    scores: dict[str, Any]
    evaluation_seconds: float
    exit_code: int
    is_trained: bool


class _Run:
    """A training with its files and its progress bar."""

    def __init__(self, fit: Fit, options: FitOptions) -> None:
        self._fit, self._options = fit, options
        self.snapshot = options.snapshot or Path(f"{fit.name}.safetensors")
        unlimited = options.steps is None and options.seconds is None
        self.steps = fit.default_steps if unlimited else options.steps
        self._saved: int | None = None
        self._bar = FitBar(steps=self.steps, seconds=options.seconds, quiet=options.messages.quiet)
        periodic = [Periodic(self._save, options.snapshot_every)]
        if self._has_preview:
            periodic.append(Periodic(self._preview, options.preview_every))
        self._jobs = Jobs(periodic, self._warn)

    @property
    def _has_preview(self) -> bool:
        return self._fit.preview is not None and self._options.preview is not None

    def check_places(self) -> None:
        """Raise `SnapshotError` or `OutputError` if the snapshot or the preview cannot be written."""
        from nrc_tracer.files.atomic import check_place
        from nrc_tracer.imaging import check_writable

        check_place(self.snapshot, error=SnapshotError)
        if self._options.preview is not None:
            (self._fit.check_preview or check_writable)(self._options.preview)

    def train(self) -> _Outcome:
        """Train, write the snapshot, and score the model.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed after the training, or twice; it names the snapshot if there is one.
        """
        from nrc_tracer.tasks.training import Training, train

        def watch(progress: TrainingProgress) -> bool:
            self._bar(progress)
            if progress.steps:
                self._jobs.run_due()
            return terminated()

        try:
            with noted_termination() as terminated, deferred_interrupt() as interrupted:
                self._jobs.start()
                if self._options.is_viewed:
                    from nrc_tracer.cli.fit_view import train_in_browser

                    training = Training(self._fit.task, steps=self.steps, seconds=self._options.seconds)
                    address = self._options.host, self._options.port
                    progress = train_in_browser(
                        training,
                        self._fit.name,
                        address,
                        messages=self._options.messages,
                        bar=self._bar,
                        watch=watch,
                        is_ended=lambda: interrupted() or terminated(),
                        save=self._save,
                    )
                    finished = progress.finished and not terminated()
                else:
                    with self._bar:
                        progress = train(self._fit.task, steps=self.steps, seconds=self._options.seconds, watch=watch)
                    self._save()
                    finished = progress.finished and not (interrupted() or terminated())
            exit_code = 0 if finished else TERMINATED if terminated() else INTERRUPTED
            start = clock.perf_counter()
            if finished:
                scores, exit_code = self._evaluate()
            else:
                scores = self._fit.task.score()
            if self._has_preview:
                self._jobs.attempt(self._preview)
        except KeyboardInterrupt as error:
            if self._saved is None:
                raise
            raise KeyboardInterrupt(
                f"{self.snapshot} has {self._saved:,} steps, from which --resume continues"
            ) from error
        return _Outcome(progress, scores, clock.perf_counter() - start, exit_code, finished)

    def _evaluate(self) -> tuple[dict[str, Any], int]:
        """The final scores, and the exit code. SIGTERM, and Ctrl-C where that is possible, end with the scores so far."""
        hint = self._fit.shorter_evaluation
        bar = EvaluationBar(hint or "", quiet=self._options.messages.quiet)
        with contextlib.ExitStack() as stack:
            terminated = stack.enter_context(noted_termination())
            interrupted = (lambda: False) if hint is None else stack.enter_context(deferred_interrupt())
            stack.enter_context(bar)

            def watch(fraction: float) -> bool:
                bar(fraction)
                return interrupted() or terminated()

            scores = self._fit.evaluate(watch)
            return scores, TERMINATED if terminated() else INTERRUPTED if interrupted() else 0

    def _save(self) -> None:
        self._fit.task.save(self.snapshot)
        self._saved = self._fit.task.number

    def _preview(self) -> None:
        if self._fit.preview is not None and self._options.preview is not None:
            self._fit.preview(self._options.preview)

    def _warn(self, error: NrcError) -> None:
        self._fit.warnings(str(error), self._bar.say)


def _print_result(fit: Fit, summary: dict[str, Any], quiet: bool, *, is_trained: bool) -> None:
    """Print the result of the training on stderr."""
    if summary["interrupted"] and is_trained:
        click.echo(
            f"interrupted while evaluating: {fit.name}: {fit.describe(summary['scores'])}; the training is complete, in "
            f"{summary['snapshot']}",
            err=True,
        )
    elif summary["interrupted"]:
        click.echo(f"interrupted: the same command with --resume continues from {summary['snapshot']}", err=True)
    elif not quiet:
        click.echo(f"{fit.name}: {fit.describe(summary['scores'])}", err=True)
    if not quiet:
        click.echo(
            f"{summary['snapshot']}: {summary['steps']:,} steps, {summary['seconds']:.1f} s of training "
            f"({summary['steps_per_second']:.1f} steps/s; also loading {summary['load_seconds']:.1f} s, compiling "
            f"{summary['compile_seconds']:.1f} s, evaluating {summary['evaluation_seconds']:.1f} s)",
            err=True,
        )


def _resume(task: Task, snapshot: Path, options: FitOptions, steps: int | None) -> None:
    """Resume from the snapshot if it exists and the options request it. Raises `SnapshotError`."""
    exists, quiet = snapshot.exists(), options.messages.quiet
    if not (options.resume or options.auto_resume):
        if exists and not quiet:
            click.echo(
                f"note: {snapshot} is of an earlier training and will be replaced; --resume continues it", err=True
            )
        return
    if not exists:
        if options.resume:
            raise SnapshotError(
                f"there is no snapshot {snapshot} to resume from; leave out --resume, or give --auto-resume, which starts over "
                "if there is none"
            )
        return
    task.resume(snapshot)
    if steps is not None and task.number > steps:
        raise SnapshotError(
            f"{snapshot}: has {task.number} steps, more than the {steps} asked for; give more --steps, or leave out --resume"
        )
    if not quiet:
        click.echo(f"resuming from {snapshot}: {task.number:,} steps", err=True)
