"""Common behaviour of all `fit` commands, tested with a toy task: options, snapshots, previews, summary and exit codes."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from nrc_tracer.cli import Program, periodic
from nrc_tracer.cli.fitting import Fit, FitOptions, fit_options, run_fit
from nrc_tracer.cli.outputs import Warnings
from nrc_tracer.errors import OutputError
from nrc_tracer.nn.snapshot import load_model
from tests.tasks.toy import Wave


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """Runs the toy task's command in an empty folder; keyword arguments are passed to the task or to `Fit`."""
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str, preview=None, during=None, evaluating=None, **changes):
        class Watched(Wave):
            def step(self):
                if during is not None:
                    during(self)
                return super().step()

        @click.group(cls=Program)
        def program() -> None:
            pass

        @program.command("wave")
        @fit_options
        def wave(options: FitOptions) -> None:
            task = Watched(options.seed, **changes)

            def evaluate(watch) -> dict:
                if evaluating is not None:
                    evaluating()
                return {"error": task.score()["error"], "never": float("nan")}

            warn = Warnings()
            warn("the sea is rough")
            fit = Fit(
                task,
                name="wave",
                data_line="a wave",
                default_steps=7,
                evaluate=evaluate,
                describe=lambda scores: f"error {scores['error']:.3f}",
                preview=preview,
                facts={"frequency": task.frequency},
                warnings=warn,
            )
            run_fit(fit, options)

        return CliRunner().invoke(program, ["wave", *words])

    return invoke


def test_a_run_writes_a_snapshot_and_reports_its_result(fit):
    run = fit("--device", "cpu")
    assert run.exit_code == 0, run.output
    assert run.stdout == ""
    lines = run.stderr.splitlines()
    assert lines[0] == "warning: the sea is rough"
    assert lines[1].startswith("a wave; ")
    assert any(line.startswith("wave: error 0.") for line in lines)
    assert any(line.startswith("wave.safetensors: 7 steps, ") for line in lines)
    assert load_model("wave.safetensors", device="cpu").n_input_dims == 2


def test_the_summary_is_one_json_object_alone_on_stdout(fit):
    run = fit("--json", "--quiet", "--steps", "3", "--seed", "5", "--snapshot", "other.safetensors")
    summary = json.loads(run.stdout)
    assert run.stderr == "warning: the sea is rough\n"
    assert (summary["task"], summary["steps"], summary["seed"], summary["frequency"]) == ("wave", 3, 5, 1.0)
    assert (summary["snapshot"], summary["interrupted"], summary["resumed_from"]) == ("other.safetensors", False, 0)
    assert summary["warnings"] == ["the sea is rough"]
    assert summary["scores"]["never"] is None
    assert 0.0 < summary["scores"]["error"] < 1.0
    assert {"seconds", "load_seconds", "compile_seconds", "evaluation_seconds", "loss"} <= set(summary)
    assert Path("other.safetensors").exists()


def test_the_same_seed_gives_the_same_file_even_after_resuming(fit):
    assert fit("--steps", "9", "--snapshot", "whole.safetensors").exit_code == 0
    assert fit("--steps", "4", "--snapshot", "part.safetensors").exit_code == 0
    run = fit("--steps", "9", "--snapshot", "part.safetensors", "--resume")
    assert "resuming from part.safetensors: 4 steps" in run.stderr
    assert Path("part.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


def test_replacing_an_earlier_snapshot_is_announced(fit):
    fit("--steps", "2")
    assert "note: wave.safetensors is of an earlier training and will be replaced" in fit("--steps", "2").stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--resume", "--snapshot", "none.safetensors"), "there is no snapshot none.safetensors to resume from"),
        (("--snapshot", "no/such/folder.safetensors"), 'there is no folder "no/such"'),
        (("--snapshot", "."), "cannot be written: it is a folder"),
        (("--preview", "preview.gif"), "preview.gif"),
        (("--resume", "--steps", "1", "--snapshot", "old.safetensors"), "has 5 steps, more than the 1 asked for"),
        (("--resume", "--seed", "3", "--snapshot", "old.safetensors"), "started with seed 1337, not 3"),
    ],
)
def test_impossible_requests_are_refused_before_the_first_step(fit, words, message):
    fit("--steps", "5", "--snapshot", "old.safetensors")
    before = Path("old.safetensors").read_bytes()

    def never(task) -> None:
        raise AssertionError("a step was taken")

    run = fit(*words, during=never)
    assert run.exit_code == 1
    (error,) = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert message in error
    assert Path("old.safetensors").read_bytes() == before


def test_auto_resume_starts_anew_without_a_snapshot(fit):
    assert fit("--auto-resume", "--steps", "2").exit_code == 0
    run = fit("--auto-resume", "--steps", "4", "--json")
    assert json.loads(run.stdout)["resumed_from"] == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_after_the_step_with_a_snapshot(fit, number, code):
    def during(task) -> None:
        if task.number == 3:
            os.kill(os.getpid(), number)

    run = fit("--steps", "9", "--json", during=during)
    assert run.exit_code == code
    assert "interrupted: the same command with --resume continues from wave.safetensors" in run.stderr
    summary = json.loads(run.stdout)
    assert (summary["steps"], summary["interrupted"]) == (4, True)
    assert fit("--steps", "9", "--resume").exit_code == 0
    assert fit("--steps", "9", "--snapshot", "whole.safetensors").exit_code == 0
    assert Path("wave.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


def test_snapshots_and_previews_are_written_during_training(fit, monkeypatch):
    monkeypatch.setattr(periodic, "LARGEST_SHARE", 1e9)
    seen = []

    def preview(path: Path) -> None:
        path.write_text("a picture")

    def during(task) -> None:
        if task.number == 2:
            seen.extend(sorted(str(path) for path in Path.cwd().iterdir()))

    run = fit(
        "--snapshot-every", "1e-9", "--preview-every", "1e-9", "--preview", "now.png", preview=preview, during=during
    )
    assert run.exit_code == 0, run.output
    assert {Path(name).name for name in seen} == {"wave.safetensors", "now.png"}


def test_a_preview_that_cannot_be_written_does_not_stop_the_training(fit, monkeypatch):
    monkeypatch.setattr(periodic, "LARGEST_SHARE", 1e9)
    calls = []

    def preview(path: Path) -> None:
        calls.append(path)
        if len(calls) < 4:
            raise OutputError("the disk is full")

    run = fit("--preview-every", "1e-9", "--preview", "now.png", "--json", preview=preview)
    assert run.exit_code == 0
    assert len(calls) > 4
    assert json.loads(run.stdout)["warnings"] == ["the sea is rough", "the disk is full"]


def test_scores_are_reported_even_if_the_last_preview_cannot_be_written(fit):
    """The scores are still reported, together with a warning."""

    def preview(path: Path) -> None:
        raise OutputError("the disk is full")

    run = fit("--preview", "now.png", "--json", preview=preview)
    assert run.exit_code == 0, run.output
    summary = json.loads(run.stdout)
    assert summary["warnings"] == ["the sea is rough", "the disk is full"]
    assert 0.0 < summary["scores"]["error"] < 1.0
    assert "warning: the disk is full\n" in run.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_last_step_skips_the_scores(fit, number, code):
    """The snapshot has all steps, and scores are not computed."""

    def during(task) -> None:
        if task.number == 6:
            os.kill(os.getpid(), number)

    def evaluating() -> None:
        raise AssertionError("scores were taken")

    run = fit("--steps", "7", "--json", during=during, evaluating=evaluating)
    assert run.exit_code == code
    summary = json.loads(run.stdout)
    assert (summary["steps"], summary["interrupted"]) == (7, True)
    assert "--resume continues from wave.safetensors" in run.stderr


def test_ctrl_c_during_the_scores_reports_the_snapshot(fit):
    """The snapshot has been written, and the resumed command computes the scores."""

    def evaluating() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    run = fit("--steps", "7", evaluating=evaluating)
    assert run.exit_code == 130
    assert run.stderr.splitlines()[-1] == "interrupted; wave.safetensors has 7 steps, from which --resume continues"
    assert load_model("wave.safetensors", device="cpu").n_input_dims == 2
    run = fit("--steps", "7", "--resume", "--json")
    assert (run.exit_code, json.loads(run.stdout)["steps"]) == (0, 7)


def test_ctrl_c_before_the_first_step_writes_nothing(fit, monkeypatch):
    monkeypatch.setattr(Wave, "compile", lambda task: os.kill(os.getpid(), signal.SIGINT))
    run = fit()
    assert run.exit_code == 130
    assert run.stderr.splitlines()[-1] == "interrupted; nothing was written"
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("(for an array)"), "not enough memory (for an array)"),
        (lambda: torch.empty(2**60, dtype=torch.uint8), f"not enough memory for {2**60} bytes"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has 1 GiB.\nSee the docs"),
            "not enough memory on the GPU for 20.00 MiB",
        ),
    ],
)
def test_exhausted_memory_gives_a_one_line_error(fit, error, words):
    """The message is the same for errors of Python, of torch on the CPU (a RuntimeError) and of torch on CUDA."""

    def during(task) -> None:
        raise error if isinstance(error, BaseException) else error()

    run = fit(during=during)
    assert run.exit_code == 1
    assert run.stderr.splitlines()[-1] == f"error: {words}"


def test_other_errors_of_the_program_are_not_hidden(fit):
    def during(task) -> None:
        raise RuntimeError("a mistake of ours")

    assert isinstance(fit(during=during).exception, RuntimeError)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process at once")
def test_sigterm_while_evaluating_still_writes_the_summary(fit):
    """The training is complete, and the message and the JSON say so; the exit code is that of SIGTERM."""
    run = fit("--json", evaluating=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert run.exit_code == 143
    summary = json.loads(run.stdout)
    assert (summary["steps"], summary["interrupted"]) == (7, True)
    assert 0.0 < summary["scores"]["error"] < 1.0
    assert "interrupted while evaluating: wave: error 0." in run.stderr
    assert "the training is complete, in wave.safetensors" in run.stderr
