"""The check of a GPU at its first use by a command: a few seconds, once for each version, driver and kind of device."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from nrc_tracer.doctor.check import Check, Finding, Status
from nrc_tracer.doctor.examination import Examination
from nrc_tracer.errors import OutputError
from nrc_tracer.files.atomic import replacing
from nrc_tracer.version import __version__

FILE = "nrc_tracer_device_checks.json"
"""Name of the file with the results, in the folder of Warp's kernel cache."""

MOMENTARY = (Status.OUT_OF_MEMORY, Status.TIMED_OUT)
"""Results that say more about the moment than about the device: they are not stored, and the next command checks again."""

Results = dict[str, tuple[Status, str]]
"""Status and details of each check, by the name of the check."""


def store_path() -> Path:
    """The file with the results of earlier checks. Warp must have been initialized."""
    import warp as wp

    return Path(wp.config.kernel_cache_dir) / FILE


def key_of(device: str) -> str:
    """What the results of a device depend on: versions of this package, Warp and torch, the driver, and the kind of device."""
    from nrc_tracer.device.identity import identify
    from nrc_tracer.doctor.packages import package_version

    packages = ", ".join(f"{name} {package_version(name)}" for name in ("warp-lang", "torch"))
    return f"nrc-tracer {__version__}, {packages}, {identify(device)}"


def stored_results(key: str, path: Path) -> Results:
    """The results of earlier checks; none where the file is missing or damaged."""
    rows = _read(path).get(key)
    found: Results = {}
    for name, row in rows.items() if isinstance(rows, dict) else ():
        with contextlib.suppress(KeyError, TypeError, ValueError):
            found[name] = Status(row["status"]), str(row["detail"])
    return found


def store_results(findings: Iterable[Finding], key: str, path: Path) -> None:
    """Keep the results of checks beside those of others. If the file cannot be written, the next command checks again."""
    rows = {
        finding.check: {"status": finding.status.value, "detail": finding.detail}
        for finding in findings
        if finding.status not in MOMENTARY
    }
    known = _read(path)
    earlier = known.get(key)
    known[key] = {**(earlier if isinstance(earlier, dict) else {}), **rows}
    with contextlib.suppress(OutputError), replacing(path) as temporary:
        temporary.write_text(json.dumps(known, indent=1))


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


class FirstUse:
    """Decides whether a GPU is used: a `nrc_tracer.device.screening.Screen`.

    A GPU that has failed a check is replaced by the CPU, with a warning, unless the user asked for it by name: then there is
    only the warning.

    Args:
        warn: Called with a warning, at most once per device.
        announce: Makes a context that tells the user what takes so long.
        traces_rays: Whether the command traces rays; if not, checks of that are left out.
        examination: Makes the examination of a device.
    """

    def __init__(
        self,
        warn: Callable[[str], object],
        *,
        announce: Callable[[str], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
        traces_rays: bool = True,
        examination: Callable[[str], Examination] = Examination,
    ) -> None:
        self._warn, self._announce, self._examination = warn, announce, examination
        self._traces_rays = traces_rays
        self._decided: dict[str, str | None] = {}

    def __call__(self, device: str, by_name: bool) -> str:
        if device not in self._decided:
            failure = self._decided[device] = self._find_failure(device)
            if failure is not None:
                self._warn(_warning(device, failure, by_name=by_name))
        return device if by_name or self._decided[device] is None else "cpu"

    def _find_failure(self, device: str) -> str | None:
        """The first check that the device has failed, now or earlier, with the details; None if it has passed all."""
        examination = self._examination(device)
        checks = [check for check in examination.checks if self._is_needed(check)]
        key, path = key_of(device), store_path()
        results = stored_results(key, path)
        missing = [check for check in checks if check.name not in results]
        failure = _failure(checks, results)
        if missing and failure is None:
            findings = self._examine(device, examination, missing)
            store_results(findings, key, path)
            failure = _failure(checks, {finding.check: (finding.status, finding.detail) for finding in findings})
        return failure

    def _examine(self, device: str, examination: Examination, checks: Sequence[Check]) -> list[Finding]:
        """Run checks up to the first that fails."""
        findings = []
        announced = self._announce(f"checking {device} before its first use (this compiles kernels) ...")
        with announced, contextlib.closing(examination.run(checks)) as running:
            for finding in running:
                findings.append(finding)
                if finding.failed:
                    break
        return findings

    def _is_needed(self, check: Check) -> bool:
        return check.first_use and (self._traces_rays or not check.traces_rays)


def _failure(checks: Sequence[Check], results: Results) -> str | None:
    """The first failure among the results of some checks, with the details; None if there is none."""
    for check in checks:
        status, detail = results.get(check.name, (Status.PASSED, ""))
        if status not in (Status.PASSED, Status.NOT_RUN):
            told = "differs from what it should be" if status is Status.DIFFERS else status.value
            return f"{check.name}: {told}, {detail}"
    return None


def _warning(device: str, failure: str, *, by_name: bool) -> str:
    from nrc_tracer.device.identity import identify

    told = f"{device} ({identify(device).name}) failed a check before its first use: {' '.join(failure.split())}"
    if by_name:
        return f"{told}; it is used because you asked for it, and its results may be wrong (--device cpu avoids it)"
    return f"{told}; the CPU is used (nrc-tracer doctor --device {device} says more, --device {device} uses it all the same)"
