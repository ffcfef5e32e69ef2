"""Timing several ways of doing the same thing in turn, so that other load on the machine slows all of them alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import torch

SHORTEST = 0.1
"""Shortest duration of one timing in seconds; shorter work is repeated."""

PAUSE = 0.02
"""Seconds between two timings: torch's threads spin for a while after their work, and would disturb the next one."""

Tasks = dict[str, Callable[[], object]]


def synchronize(device: torch.device) -> None:
    """Wait for all work on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_in_turn(tasks: Tasks, device: torch.device, rounds: int) -> dict[str, float]:
    """The median time of each task in seconds over `rounds`, with all tasks in turn in each round, after a warm-up."""
    repeats = {name: _repeats(task, device) for name, task in tasks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            seconds[name].append(_time(task, device, repeats[name]))
    return {name: statistics.median(values) for name, values in seconds.items()}


def _repeats(task: Callable[[], object], device: torch.device) -> int:
    """Warm up, and return how often a task is called in one timing."""
    first = _time(task, device, 1)
    again = _time(task, device, 1) if first < 10 * SHORTEST else first
    return max(1, math.ceil(SHORTEST / max(min(first, again), 1e-6)))


def _time(task: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The time of one call in seconds, measured by events on a GPU and by the clock elsewhere."""
    if device.type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize(device)
        begin.record()
        for _ in range(repeats):
            task()
        end.record()
        torch.cuda.synchronize(device)
        return begin.elapsed_time(end) * 1e-3 / repeats
    time.sleep(PAUSE)
    start = time.perf_counter()
    for _ in range(repeats):
        task()
    return (time.perf_counter() - start) / repeats
