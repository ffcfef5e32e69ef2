"""What a check is: a computation on a device, compared with the same computation elsewhere, within stated limits."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """One number that a check compares.

    Attributes:
        what: What was compared, and in which unit the error is.
        error: The error found.
        limit: The largest error that passes.
    """

    what: str
    error: float
    limit: float

    @property
    def agrees(self) -> bool:
        """Whether the error is within the limit; NaN is not."""
        return bool(self.error <= self.limit)

    def __str__(self) -> str:
        return f"{self.what} {self.error:.2g} (limit {self.limit:.2g})"


@dataclass(frozen=True)
class Check:
    """A check of a device.

    Attributes:
        name: Its name in reports.
        function: Where its function is, as `module:name`. Given `cpu` or `cuda:N`, it computes there and elsewhere, and returns
            what it compared. The list of checks is read by commands that run none of them, so it imports none.
        peer: What the CPU is compared with. It must be independent of what is checked, so that the check can fail.
        cuda_peer: What a GPU is compared with; the same as the CPU if None.
        advice: What to do if the results differ, one line.
        cuda_only: Why there is nothing to check on the CPU; empty if there is.
        uses_torch: Whether it needs a build of torch that can use the GPU.
        first_use: Whether the check also runs at the first use of a GPU.
        traces_rays: Whether the first use by a command that traces no rays leaves it out.
    """

    name: str
    function: str
    peer: str
    cuda_peer: str | None = None
    advice: str = "Results of this device cannot be relied on."
    cuda_only: str = ""
    uses_torch: bool = True
    first_use: bool = False
    traces_rays: bool = False

    def compare(self, device: str) -> Sequence[Comparison]:
        """Load the check's function and run it on a device."""
        module, _, name = self.function.partition(":")
        function: Callable[[str], Sequence[Comparison]] = getattr(importlib.import_module(module), name)
        return function(device)

    def peer_of(self, device: str) -> str:
        """What a device is compared with, in words."""
        return self.peer if device == "cpu" or self.cuda_peer is None else self.cuda_peer


class Status(str, Enum):
    """The result of a check."""

    PASSED = "passed"
    DIFFERS = "differs"
    RAISED = "error"
    OUT_OF_MEMORY = "no memory"
    TIMED_OUT = "timed out"
    CRASHED = "crashed"
    NOT_RUN = "not run"


ADVICE = {
    Status.RAISED: "The message names the cause; the report of `nrc-tracer doctor --json` belongs to a bug report.",
    Status.OUT_OF_MEMORY: "Free memory of the device (nvidia-smi lists the programs that hold a GPU's), then check again.",
    Status.TIMED_OUT: "A first run compiles kernels, and a second one does not: check again, or give a longer --limit.",
    Status.CRASHED: "Update the GPU's driver, then check again; --device cpu goes without the GPU.",
}
"""What to do about a check that gave no result."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: The check's name.
        peer: What the device was compared with.
        status: The result.
        seconds: Time that it took, compilation included.
        detail: What went wrong, or why it was not run; empty if it passed.
        advice: What to do about it, one line; empty if it passed.
        comparisons: What was compared.
    """

    check: str
    peer: str
    status: Status
    seconds: float = 0.0
    detail: str = ""
    advice: str = ""
    comparisons: tuple[Comparison, ...] = field(default=())

    @property
    def failed(self) -> bool:
        """Whether the check ran and did not pass."""
        return self.status not in (Status.PASSED, Status.NOT_RUN)

    @property
    def worst(self) -> Comparison | None:
        """The comparison with the largest error relative to its limit, one without a number first; None if there is none."""
        return max(self.comparisons, key=_relative_error, default=None)

    def as_json(self) -> dict[str, Any]:
        """The finding as JSON data. Errors that are not finite are texts."""
        return {
            "check": self.check,
            "compared_with": self.peer,
            "status": self.status.value,
            "seconds": round(self.seconds, 3),
            "detail": self.detail,
            "advice": self.advice,
            "comparisons": [
                {"what": c.what, "error": _json_number(float(c.error)), "limit": float(c.limit), "agrees": c.agrees}
                for c in self.comparisons
            ],
        }


def _relative_error(comparison: Comparison) -> float:
    if math.isnan(comparison.error):
        return math.inf
    if comparison.limit == 0.0:
        return 0.0 if comparison.error == 0.0 else math.inf
    return comparison.error / comparison.limit


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def judge(check: Check, device: str, comparisons: Sequence[Comparison], seconds: float) -> Finding:
    """The finding of a check that ran to its end."""
    wrong = [comparison for comparison in comparisons if not comparison.agrees]
    if wrong or not comparisons:
        detail = "; ".join(map(str, wrong)) or "nothing was compared"
        status, advice = Status.DIFFERS, check.advice
    else:
        detail, status, advice = "", Status.PASSED, ""
    return Finding(check.name, check.peer_of(device), status, seconds, detail, advice, tuple(comparisons))
