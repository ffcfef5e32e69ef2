"""Writing files one after the other, and saying after Ctrl-C what has been written."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click


@contextmanager
def leaving(words: str) -> Iterator[None]:
    """Let Ctrl-C end the command with words on what it leaves, unless whoever was nearer to it has words of its own."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(str(error) or words) from error


def write_each(
    outputs: tuple[Path, ...], write: Callable[[Path], tuple[dict[str, Any], str]], *, quiet: bool
) -> list[dict[str, Any]]:
    """Write outputs, with a line on stderr for each.

    Args:
        outputs: The files.
        write: Writes one; gives what there is to know of it, as JSON data, and in words.
        quiet: Print nothing.

    Returns:
        Each file's name, and what `write` gave.

    Raises:
        KeyboardInterrupt: With the names of the files that were written, if any were; one that `write` raises with words of its
            own adds them.
    """
    written: list[dict[str, Any]] = []
    for output in outputs:
        start = clock.perf_counter()
        try:
            facts, words = write(output)
        except KeyboardInterrupt as error:
            names = [entry["file"] for entry in written] + ([str(error)] if str(error) else [])
            raise KeyboardInterrupt(f"written: {', '.join(names)}" if names else "") from error
        written.append({"file": str(output), **facts})
        if not quiet:
            click.echo(f"{output}: {words}, {clock.perf_counter() - start:.1f} s", err=True)
    return written
