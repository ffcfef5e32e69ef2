"""The command line: parses, calls, prints. Heavy packages are imported inside functions, so that `--help` is quick."""

from __future__ import annotations

import re
import traceback
import warnings
from typing import Any

import click

from nrc_tracer.cli.command import Group
from nrc_tracer.cli.compare import compare
from nrc_tracer.cli.convert import convert
from nrc_tracer.cli.dataset import dataset
from nrc_tracer.cli.decode import decode
from nrc_tracer.cli.doctor import doctor
from nrc_tracer.cli.fit import fit
from nrc_tracer.cli.info import info
from nrc_tracer.cli.merge import merge
from nrc_tracer.cli.render import render
from nrc_tracer.cli.schema import schema
from nrc_tracer.cli.streams import steady_streams
from nrc_tracer.cli.termination import INTERRUPTED
from nrc_tracer.cli.view import view
from nrc_tracer.errors import NrcError, SceneWarning
from nrc_tracer.version import __version__


class Program(Group):
    """The program. An error that a user can cause is one line on stderr; Ctrl-C is the exit code 130."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        with steady_streams():
            return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            # Commands print the warnings of a scene in their own format
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SceneWarning)
                return super().invoke(ctx)
        except (NrcError, MemoryError, RuntimeError) as error:
            message = str(error) if isinstance(error, NrcError) else _out_of_memory(error)
            if message is None:
                raise
            if ctx.params.get("debug"):
                traceback.print_exc()
            click.echo(f"error: {message}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt as error:
            # The message of a command that has written something
            click.echo(f"interrupted; {str(error) or 'nothing was written'}", err=True)
            ctx.exit(INTERRUPTED)


def _out_of_memory(error: MemoryError | RuntimeError) -> str | None:
    """Return a message if memory was not available, None for other errors. Torch and Warp have no exception class for this."""
    if isinstance(error, MemoryError):
        return f"not enough memory {error}".strip()
    if not re.search(r"can't allocate memory|out of memory|failed to allocate", str(error), re.IGNORECASE):
        return None
    size = re.search(r"allocate ([\d.]+ ?\w+)", str(error))
    device = re.search(r"cuda(:\d+)?", str(error), re.IGNORECASE)
    return f"not enough memory{' on the GPU' if device else ''}{f' for {size.group(1)}' if size else ''}"


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    examples=(
        "nrc-tracer render scenes/cornell-box.json -o cornell-box.png",
        "nrc-tracer fit nerf data/fox --time 300",
        "nrc-tracer COMMAND --help",
    ),
)
@click.version_option(__version__, prog_name="nrc-tracer")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def main(debug: bool) -> None:
    """A path tracer with a neural radiance cache, and Instant-NGP's tasks, for any CPU and any CUDA GPU.

    Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted by Ctrl-C, 143 ended by SIGTERM.
    """


for _command in (render, view, merge, info, compare, convert, dataset, fit, decode, schema, doctor):
    main.add_command(_command)
