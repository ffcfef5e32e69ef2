"""What the commands of `nrc-tracer decode` share: the snapshot, the outputs, and the summary of what was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from nrc_tracer.cli.command import Decorator, gathered, under
from nrc_tracer.cli.options import (
    OUTPUT,
    PATH,
    ComputeOptions,
    Messages,
    compute_options,
    message_options,
    outputs_option,
)
from nrc_tracer.cli.outputs import run_reporting, write_each

MESH_FILES = ".ply, .obj, .glb, .stl"


@dataclass(frozen=True)
class Decoding:
    """What is decoded, and into which files."""

    snapshot: Path
    outputs: tuple[Path, ...]
    compute: ComputeOptions
    messages: Messages

    def write_each(self, write: Callable[[Path], tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
        """Write the outputs, as `nrc_tracer.cli.outputs.write_each` does."""
        return write_each(self.outputs, write, quiet=self.messages.quiet)


def decoding_options(files: str, *options: Decorator) -> Decorator:
    """Join the options of a command of `decode`, which takes `Decoding` as its argument `decoding`.

    Args:
        files: The kinds of files that the command writes, for the help page.
        options: Options of this command alone, listed after the outputs.
    """
    return gathered(
        "decoding",
        Decoding,
        click.argument("snapshot", metavar="SNAPSHOT", type=PATH),
        under(
            OUTPUT,
            outputs_option(f"File to write; its extension determines the format: {files}."),
        ),
        *options,
        compute_options,
        message_options("Print what was written as one JSON object on stdout."),
    )


def run_decode(kind: str, decoding: Decoding, work: Callable[[], dict[str, Any]]) -> None:
    """Decode, and print the summary if the options request it.

    Args:
        kind: The task.
        decoding: The shared options.
        work: Writes the outputs; returns facts about them as JSON data.
    """
    run_reporting(
        lambda: ({"task": kind, "snapshot": str(decoding.snapshot), **work()}, 0), as_json=decoding.messages.as_json
    )
