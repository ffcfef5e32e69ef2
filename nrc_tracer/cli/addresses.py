"""Where a command serves a page: options that commands with a page share."""

from __future__ import annotations

import click

from nrc_tracer.cli.command import option

PAGE = "Page"
"""Heading of the help page."""

PORT = 8080
"""Port unless another one is given."""

address_options = (
    option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        metavar="NAME",
        help="Name or address of this machine to listen at. With 0.0.0.0, other machines with the link can open the page.",
    ),
    option(
        "--port",
        type=click.IntRange(0, 65535),
        default=PORT,
        show_default=True,
        help="Port to listen at; 0 takes any free one.",
    ),
)
"""`--host` and `--port`."""
