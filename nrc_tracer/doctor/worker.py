"""The process that runs checks: it announces each one, and then writes its result as a line of JSON.

It is a process of its own, as a fault on a GPU ends with an error that stays, with a crash, or never.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time as clock
import warnings
from collections.abc import Sequence
from typing import Any, TextIO

from nrc_tracer.doctor.check import ADVICE, Check, Finding, Status, judge
from nrc_tracer.errors import is_out_of_memory, one_line


def load_checks(registry: str) -> Sequence[Check]:
    """The checks that a text `module:name` stands for."""
    module, _, name = registry.partition(":")
    checks: Sequence[Check] = getattr(importlib.import_module(module), name)
    return checks


def run_check(check: Check, device: str) -> Finding:
    """Run a check on a device. An exception becomes a finding."""
    if reason := _reason_not_to_run(check, device):
        return Finding(check.name, check.peer_of(device), Status.NOT_RUN, detail=reason)
    start = clock.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            comparisons = check.compare(device)
    except Exception as error:  # a fault may raise anything, and must not keep the others from running
        message = one_line(error)
        status = Status.OUT_OF_MEMORY if is_out_of_memory(error) else Status.RAISED
        detail = message if type(error).__name__ in message else f"{type(error).__name__}: {message}"
        seconds = clock.perf_counter() - start
        return Finding(check.name, check.peer_of(device), status, seconds, detail, ADVICE[status])
    return judge(check, device, comparisons, clock.perf_counter() - start)


def _reason_not_to_run(check: Check, device: str) -> str:
    """Why a check cannot run on a device; empty if it can."""
    if device == "cpu":
        return check.cuda_only
    if check.uses_torch:
        import torch

        if not torch.cuda.is_available():
            return f"torch {torch.__version__} cannot use the GPU"
    return ""


def serve(registry: str, device: str, names: Sequence[str], lines: TextIO) -> None:
    """Run checks by name. For each, write `{"begin": name}`, and then its finding as `Finding.as_json` gives it."""

    def write(data: Any) -> None:
        print(json.dumps(data), file=lines, flush=True)

    by_name = {check.name: check for check in load_checks(registry)}
    _prepare()
    for name in names:
        write({"begin": name})
        write(run_check(by_name[name], device).as_json())


def _prepare() -> None:
    """Start Warp, so that the first check is not charged with it."""
    from nrc_tracer.device.launch import initialize

    initialize()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a program: registry, device, and the names of the checks. What libraries print goes to standard error."""
    registry, device, *names = sys.argv[1:] if arguments is None else arguments
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(registry, device, names, results)
