"""Options that several commands have, and what reads their values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

COUNT = click.IntRange(1, 2**31 - 1)
SECONDS = click.FloatRange(0, min_open=True)


def finite(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse numbers that are not finite."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


def pairs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read words of the form `name=value`."""
    found = {}
    for value in values:
        name, equals, content = value.partition("=")
        if not name or not equals:
            raise click.BadParameter(f'"{value}" is not of the form name=value.')
        found[name] = content
    return found


def _debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Set the program's own --debug, which may stand before or after the command."""
    if value:
        ctx.find_root().params["debug"] = True


def together(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Several options as one decorator, listed in this order by `--help`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


parameters_option = click.option(
    "-D", "parameters", multiple=True, metavar="NAME=VALUE", callback=pairs, help="Set a Mitsuba $NAME."
)
debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_debug, help="Show a traceback with an error."
)
size_options = together(
    click.option("--width", type=click.IntRange(1, 65536), help="Width in pixels; alone, it keeps the aspect ratio."),
    click.option("--height", type=click.IntRange(1, 65536), help="Height in pixels; alone, it keeps the aspect ratio."),
)
compute_options = together(
    click.option("--device", metavar="NAME", help="cpu, or cuda:0 and so on. Default: CUDA if there, else cpu."),
    click.option("--threads", type=click.IntRange(1, 4096), help="On the CPU. Default: all cores."),
)
device_options = together(
    compute_options,
    click.option(
        "--accel", type=click.Choice(["embree", "warp"]), help="Ray intersection. Default: the fastest there is."
    ),
)
