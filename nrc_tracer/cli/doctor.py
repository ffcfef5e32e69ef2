"""`nrc-tracer doctor`."""

from __future__ import annotations

import contextlib
import json
import sys
import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.command import command, option, under
from nrc_tracer.cli.options import DEVICE, OUTPUT, PATH, debug_option
from nrc_tracer.cli.values import SECONDS

if TYPE_CHECKING:
    from nrc_tracer.doctor.check import Finding

STDOUT = "-"
"""Value of `--json` that stands for standard output."""

COLORS = {"passed": "green", "not run": "yellow"}
"""Colours of results on a terminal; others are red."""


@command(
    short_help="Check this installation and its devices.",
    examples=(
        "nrc-tracer doctor",
        "nrc-tracer doctor --device cuda:0 --json doctor.json",
    ),
)
@under(
    DEVICE,
    option("--device", metavar="NAME", help="cpu, or cuda:0 and so on. Default: CUDA if there is a GPU, else cpu."),
    option(
        "--limit",
        type=SECONDS,
        default=300.0,
        show_default=True,
        metavar="SECONDS",
        help="Longest time of one check, with the compilation of its kernels.",
    ),
)
@under(
    OUTPUT,
    option(
        "--json",
        "report",
        is_flag=False,
        flag_value=STDOUT,
        type=PATH,
        metavar="[FILE]",
        help="Also write the report as a JSON object to FILE, after every check; without FILE, or with -, write it to stdout at "
        "the end, and the table to stderr.",
    ),
)
@debug_option
def doctor(device: str | None, limit: float, report: Path | None) -> None:
    """Check this installation and its devices.

    Versions, devices, drivers, memory and optional packages are listed. Then the path tracer, the networks, training, the
    radiance cache and the tasks compute small examples on the device, and the results are compared with those of the CPU or of
    an independent method. A first run compiles kernels; later ones take about a minute.

    The exit code is 0 if all checks pass, and 1 if one fails.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from nrc_tracer.device.selection import find_device
        from nrc_tracer.doctor.examination import Examination
        from nrc_tracer.doctor.first_use import key_of, store_path, store_results
        from nrc_tracer.doctor.inventory import take_inventory

        inventory = take_inventory()

    to_stdout = report == Path(STDOUT)
    printed = _Report(inventory, None if to_stdout else report, err=to_stdout)
    printed.print_inventory()
    chosen = find_device(device)
    printed.begin(chosen)
    examination = Examination(chosen, limit=limit)
    with contextlib.closing(examination.run()) as findings:
        for finding in findings:
            printed.add(finding)
    if chosen != "cpu":
        first = {check.name for check in examination.checks if check.first_use}
        store_results((f for f in printed.findings if f.check in first), key_of(chosen), store_path())
    printed.end()
    if to_stdout:
        click.echo(json.dumps(printed.as_json()))
    if any(finding.failed for finding in printed.findings):
        click.get_current_context().exit(1)


class _Report:
    """The report of a run, printed and written as its parts arrive.

    Args:
        inventory: What `take_inventory` returned.
        file: Where to write the report as JSON, if anywhere.
        err: Whether to print on stderr.
    """

    def __init__(self, inventory: dict[str, Any], file: Path | None, *, err: bool) -> None:
        self.inventory = inventory
        self.findings: list[Finding] = []
        self._file, self._err = file, err
        self._device: str | None = None
        self._complete = False
        self._start = clock.perf_counter()
        self._write()

    def as_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        failed = sum(finding.failed for finding in self.findings)
        return {
            "device": self._device,
            "complete": self._complete,
            "failed": failed,
            "seconds": round(clock.perf_counter() - self._start, 3),
            "inventory": self.inventory,
            "checks": [finding.as_json() for finding in self.findings],
        }

    def print_inventory(self) -> None:
        """Print versions, devices and packages."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in _inventory_rows(self.inventory):
            table.add_row(name, escape(text))
        Console(stderr=self._err, highlight=False).print(table)

    def begin(self, device: str) -> None:
        """Print the head of the table."""
        self._device = device
        self._write()
        self._say(f"\nchecks of {device}")
        self._say(_row("check", "result", "of limit", "time", "compared with"))

    def add(self, finding: Finding) -> None:
        """Print the finding of a check."""
        self.findings.append(finding)
        self._write()
        status = finding.status.value
        worst = finding.worst
        ratio = "" if worst is None or not worst.limit else f"{100.0 * worst.error / worst.limit:.2g} %"
        if worst is not None and not worst.limit:
            ratio = "exact" if worst.agrees else "not exact"
        line = _row(finding.check, status, ratio, f"{finding.seconds:.1f} s", finding.peer)
        self._say(line.replace(f" {status} ", f" {click.style(status, fg=COLORS.get(status, 'red'))} ", 1))

    def end(self) -> None:
        """Print what failed, with advice, and what was not run."""
        self._complete = True
        self._write()
        self._say("")
        for finding in self.findings:
            if finding.failed:
                self._say(f"{finding.check}: {finding.status.value}: {finding.detail}")
                self._say(f"  advice: {finding.advice}")
            elif finding.detail:
                self._say(f"{finding.check}: {finding.status.value}: {finding.detail}")
        failed = sum(finding.failed for finding in self.findings)
        passed = sum(finding.status.value == "passed" for finding in self.findings)
        left_out = len(self.findings) - failed - passed
        seconds = clock.perf_counter() - self._start
        self._say(f"{passed} passed, {failed} failed, {left_out} not run, in {seconds:.0f} s")

    def _say(self, line: str) -> None:
        click.echo(line, err=self._err)

    def _write(self) -> None:
        if self._file is None:
            return
        from nrc_tracer.files.atomic import replacing

        with replacing(self._file) as temporary:
            temporary.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")


def _row(check: str, status: str, ratio: str, seconds: str, peer: str) -> str:
    return f"{check:<20} {status:<9} {ratio:>9} {seconds:>8}  {peer}"


def _inventory_rows(inventory: dict[str, Any]) -> list[tuple[str, str]]:
    from nrc_tracer.doctor.packages import OTHER

    versions, cuda, cpu = inventory["versions"], inventory["cuda"], inventory["cpu"]
    known = {name: version or "not installed" for name, version in versions.items()}
    first = ("nrc-tracer", "python", "system")
    packages = [f"{name} {version}" for name, version in known.items() if name not in first]
    cache, state = inventory["kernel_cache"], inventory["embree"]
    gpus = [
        (
            gpu["device"],
            f"{gpu['name']}, sm_{gpu['arch']}, {_size(gpu['memory_free'])} of {_size(gpu['memory_total'])} free"
            + ("" if gpu["torch"] else "; torch cannot use it"),
        )
        for gpu in inventory["gpus"]
    ] or [("gpu", "none that can be used")]
    return [
        ("nrc-tracer", f"{known['nrc-tracer']}, Python {known['python']}, {known['system']}"),
        ("packages", ", ".join(packages)),
        ("cpu", f"{cpu['name']}, {cpu['cores']} cores, {_size(cpu['memory_free'])} of memory free"),
        *gpus,
        ("driver", cuda["driver"]),
        ("cuda", f"{cuda['warp'] or 'none'} in warp, {cuda['torch'] or 'none'} in torch"),
        ("embree", "found" if state["available"] else f"not used: {state['reason']}"),
        ("kernel cache", cache["folder"] + ("" if cache["writable"] else " (cannot be written to)")),
        *(
            (f"extra {extra}" if extra != OTHER else "optional", _packages(found))
            for extra, found in inventory["optional"].items()
        ),
    ]


def _packages(found: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version or '(not installed)'}" for name, version in found.items())


def _size(count: int | None) -> str:
    return "an unknown amount" if count is None else f"{count / 2**30:.1f} GiB"
