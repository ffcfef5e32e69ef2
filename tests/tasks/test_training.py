"""Behaviour shared by all tasks: ending by steps or time, resuming from snapshots, and Ctrl-C between steps."""

from __future__ import annotations

import math
import os
import signal
import time

import pytest
import torch

from nrc_tracer import nn
from nrc_tracer.errors import SnapshotError
from nrc_tracer.nn import snapshot_format
from nrc_tracer.tasks.task import read_kind, read_task
from nrc_tracer.tasks.training import train
from tests.tasks.toy import CONFIG, Wave


def test_training_reduces_the_error():
    task = Wave()
    before = task.score()["error"]
    progress = train(task, steps=200)
    assert progress.finished
    assert (progress.first, progress.steps, task.number) == (0, 200, 200)
    assert task.score()["error"] < 0.2 * before
    assert math.isfinite(progress.loss)


def test_training_ends_by_time_without_that_of_watchers(monkeypatch):
    """Time spent in a watcher does not count; the test's clock is advanced by steps and watchers."""
    now = 0.0

    class Timed(Wave):
        def step(self):
            nonlocal now
            now += 0.0625
            return super().step()

    def watch(progress):
        nonlocal now
        now += 1.0

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    progress = train(Timed(), seconds=0.25, watch=watch)
    assert progress.finished
    assert (progress.steps, progress.seconds, progress.fraction) == (4, 0.25, 1.0)


def test_training_ends_by_steps_or_time_whichever_comes_first():
    assert train(Wave(), steps=3, seconds=1e9).steps == 3
    assert train(Wave(), steps=10**9, seconds=0.01).steps < 10**9
    assert train(Wave()).steps == 0


@pytest.mark.parametrize("split", [1, 7, 19])
def test_resuming_gives_the_same_bits(tmp_path, split):
    whole = Wave()
    train(whole, steps=20)
    whole.save(tmp_path / "whole.safetensors")
    begun = Wave()
    train(begun, steps=split)
    begun.save(tmp_path / "part.safetensors")
    resumed = Wave()
    resumed.resume(tmp_path / "part.safetensors")
    assert resumed.number == split
    assert train(resumed, steps=20).first == split
    resumed.save(tmp_path / "resumed.safetensors")
    assert (tmp_path / "resumed.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_resuming_opens_the_snapshot_once(tmp_path, monkeypatch):
    task = Wave()
    task.save(tmp_path / "wave.safetensors")
    opened, opening = [], snapshot_format.opened_tensors
    monkeypatch.setattr(
        snapshot_format,
        "opened_tensors",
        lambda path, *more, **named: opened.append(path) or opening(path, *more, **named),
    )
    task.resume(tmp_path / "wave.safetensors")
    assert opened == [tmp_path / "wave.safetensors"]


def test_another_seed_gives_another_snapshot(tmp_path):
    """This is a control for the test above."""
    for seed in (7, 8):
        task = Wave(seed)
        train(task, steps=2)
        task.save(tmp_path / f"{seed}.safetensors")
    assert (tmp_path / "7.safetensors").read_bytes() != (tmp_path / "8.safetensors").read_bytes()


def test_compiling_changes_nothing():
    plain, compiled = Wave(), Wave()
    compiled.compile()
    for task in (plain, compiled):
        train(task, steps=3)
    assert torch.equal(plain.trainer.model.params, compiled.trainer.model.params)


def test_random_numbers_depend_on_seed_step_and_stream():
    def draw(task, **options):
        return torch.rand(4, generator=task.generator(**options))

    task = Wave()
    first = draw(task)
    assert torch.equal(first, draw(Wave()))
    assert not torch.equal(first, draw(task, stream=1))
    assert not torch.equal(first, draw(Wave(seed=8)))
    task.step()
    assert not torch.equal(first, draw(task))


def test_ctrl_c_ends_after_the_step_with_a_complete_state():
    task = Wave()

    def watch(progress):
        if progress.steps == 4:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    progress = train(task, steps=100, watch=watch)
    assert not progress.finished
    assert progress.steps == task.number == 4
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_stop_requested_in_the_last_step_is_reported():
    """After Ctrl-C or a watcher's request, all steps have been taken, but the run does not count as finished."""

    class Interrupted(Wave):
        def step(self):
            if self.number == 4:
                os.kill(os.getpid(), signal.SIGINT)
            return super().step()

    progress = train(Interrupted(), steps=5)
    assert (progress.finished, progress.steps) == (False, 5)
    progress = train(Wave(), steps=5, watch=lambda progress: progress.steps == 5)
    assert (progress.finished, progress.steps) == (False, 5)


def test_a_watcher_can_stop_the_training():
    progress = train(Wave(), steps=100, watch=lambda progress: progress.steps == 5)
    assert (progress.finished, progress.steps) == (False, 5)


def test_snapshots_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "wave.safetensors"
    task = Wave()
    train(task, steps=1)
    task.save(path)
    assert read_kind(path) == "wave"
    for other, words in (
        (Wave(seed=1), "started with seed 7, not 1"),
        (Wave(frequency=2.0), "of another wave"),
        (Wave(precision="bfloat16"), "trained in float32, and this machine trains in bfloat16"),
    ):
        before, memory = other.trainer.model.params.clone(), other.memory.clone()
        with pytest.raises(SnapshotError, match=words) as caught:
            other.resume(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert torch.equal(other.trainer.model.params, before)
        assert torch.equal(other.memory, memory)
        assert other.number == 0
    with pytest.raises(SnapshotError, match='snapshot of "fit wave", not of "fit sdf"'):
        read_task(path, "sdf")
    nn.Model(2, 1, CONFIG, device="cpu").save(tmp_path / "model.safetensors")
    with pytest.raises(SnapshotError, match="not of an image, a shape or a radiance field"):
        read_kind(tmp_path / "model.safetensors")
