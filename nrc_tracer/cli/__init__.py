"""The command line: parses, calls, prints. Heavy packages are imported inside commands, so that `--help` is quick."""

from __future__ import annotations

import re
import traceback
import warnings
from typing import Any

import click

from nrc_tracer.cli.compare import compare
from nrc_tracer.cli.convert import convert
from nrc_tracer.cli.dataset import dataset
from nrc_tracer.cli.decode import decode
from nrc_tracer.cli.fit import fit
from nrc_tracer.cli.info import info
from nrc_tracer.cli.render import render
from nrc_tracer.cli.schema import schema
from nrc_tracer.errors import NrcError, SceneWarning
from nrc_tracer.version import __version__


class Program(click.Group):
    """The program: errors a user can cause are one line on stderr, Ctrl-C is exit code 130."""

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
            # A command that has written something says what
            click.echo(f"interrupted; {str(error) or 'nothing was written'}", err=True)
            ctx.exit(130)


def _out_of_memory(error: MemoryError | RuntimeError) -> str | None:
    """One line for memory that could not be had; None for other errors. Torch and Warp have no class of their own for it."""
    if isinstance(error, MemoryError):
        return f"not enough memory {error}".strip()
    if not re.search(r"can't allocate memory|out of memory|failed to allocate", str(error), re.IGNORECASE):
        return None
    size = re.search(r"allocate ([\d.]+ ?\w+)", str(error))
    device = re.search(r"cuda(:\d+)?", str(error), re.IGNORECASE)
    return f"not enough memory{' on the GPU' if device else ''}{f' for {size.group(1)}' if size else ''}"


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nrc-tracer")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def main(debug: bool) -> None:
    """A path tracer for any CPU and any CUDA GPU.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 ended by SIGTERM.
    """


main.add_command(render)
main.add_command(info)
main.add_command(compare)
main.add_command(convert)
main.add_command(dataset)
main.add_command(fit)
main.add_command(decode)
main.add_command(schema)
