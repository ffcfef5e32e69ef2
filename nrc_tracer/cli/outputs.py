"""What a command leaves behind: its summary, its warnings, its files, and a message about them after Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time as clock
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nrc_tracer.scene.model import Scene


class Warnings:
    """The warnings of a command. Call it with each: it is printed on stderr, and kept for the summary."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def __call__(self, warning: str, say: Callable[[str], object] | None = None) -> None:
        """Print a warning, through `say` if given, and keep it."""
        self.given.append(warning)
        line = f"warning: {warning}"
        if say is None:
            click.echo(line, err=True)
        else:
            say(line)

    def of_scene(self, scene: Scene) -> None:
        """Print the warnings about a scene, those that differ only in their place as one, and keep each of them."""
        for line in grouped(scene.warnings):
            click.echo(f"warning: {line}", err=True)
        self.given += scene.warnings


_PLACE = re.compile(r"^.*?(?::\d+|: \$\S*(?: \(.*?\))?): ")
"""The start of a scene's warning: the file with a line, or the file and a place in its JSON, which may have a name."""


def grouped(warnings: Sequence[str]) -> list[str]:
    """Return warnings, with the first one and a count for those that say the same about several places."""
    groups: dict[str, list[str]] = {}
    for warning in warnings:
        groups.setdefault(_PLACE.sub("", warning), []).append(warning)
    return [
        first + (f" (and in {len(rest)} more places)" if len(rest) > 1 else " (and in one more place)" if rest else "")
        for first, *rest in groups.values()
    ]


def run_reporting(work: Callable[[], tuple[dict[str, Any], int]], *, as_json: bool) -> None:
    """Do the work of a command, print its summary, and end with its exit code.

    Args:
        work: Returns a summary, JSON data, and the exit code. What libraries print on stdout meanwhile goes to stderr, so that
            nothing but the summary is on stdout.
        as_json: Whether to print the summary as one line of JSON.
    """
    with contextlib.redirect_stdout(sys.stderr):
        summary, exit_code = work()
    if as_json:
        click.echo(json.dumps(summary))
    if exit_code:
        click.get_current_context().exit(exit_code)


@contextlib.contextmanager
def leaving(message: str) -> Iterator[None]:
    """Give Ctrl-C in the block a message about what was left behind, unless an inner block has given it one."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(str(error) or message) from error


def write_each(
    outputs: tuple[Path, ...], write: Callable[[Path], tuple[dict[str, Any], str]], *, quiet: bool
) -> list[dict[str, Any]]:
    """Write outputs one after the other, with a line on stderr for each.

    Args:
        outputs: The files.
        write: Writes one of them; returns facts about it as JSON data, and a short text for the line.
        quiet: Whether to print nothing.

    Returns:
        The name of each file and the facts about it.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed. The message has the names of the files written so far, and what `write` reported.
    """
    written: list[dict[str, Any]] = []
    for output in outputs:
        start = clock.perf_counter()
        try:
            facts, text = write(output)
        except KeyboardInterrupt as error:
            names = [entry["file"] for entry in written] + ([str(error)] if str(error) else [])
            raise KeyboardInterrupt(f"written: {', '.join(names)}" if names else "") from error
        written.append({"file": str(output), **facts})
        if not quiet:
            click.echo(f"{output}: {text}, {clock.perf_counter() - start:.1f} s", err=True)
    return written
