"""Types of option values, and what reads values that no type of click reads."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

import click


class _FiniteOnly(click.ParamType):
    """Refuses infinities and NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


class Finite(_FiniteOnly, click.types.FloatParamType):
    """A finite number."""


class FiniteRange(_FiniteOnly, click.FloatRange):
    """A finite number within bounds."""


class Several(click.ParamType):
    """Values of one type, separated by commas: a tuple.

    Args:
        kind: The type of each value.
    """

    def __init__(self, kind: click.ParamType) -> None:
        self.kind, self.name = kind, kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        words = value.split(",") if isinstance(value, str) else value
        return tuple(self.kind.convert(word, param, ctx) for word in words)


COUNT = click.IntRange(1, 2**31 - 1)
POSITIVE = FiniteRange(min=0, min_open=True)
SECONDS = POSITIVE
PIXELS = click.IntRange(1, 65536)
SMALL_SEED = click.IntRange(0, 2**31 - 1)
FINITE = Finite()


def distinct(ctx: click.Context, parameter: click.Parameter, values: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The values of a repeated option of the type `Several`, each of them once, in the order given."""
    return tuple(dict.fromkeys(value for several in values for value in several))


def pairs(ctx: click.Context, parameter: click.Parameter, words: Iterable[str]) -> dict[str, str]:
    """Read words of the form `name=value`."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise click.BadParameter(f'"{word}" is not of the form name=value.')
        found[name] = value
    return found


def json_pairs(ctx: click.Context, parameter: click.Parameter, words: Iterable[str]) -> dict[str, Any]:
    """Read words of the form `name=value` whose values are JSON; a value that is not JSON is taken as text."""
    found: dict[str, Any] = {}
    for name, value in pairs(ctx, parameter, words).items():
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def pixel(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read a pixel `X,Y`."""
    if value is None:
        return None
    if not re.fullmatch(r"\s*\d{1,9}\s*,\s*\d{1,9}\s*", value):
        raise click.BadParameter(f'"{value}" is not X,Y in pixels.')
    x, y = value.split(",")
    return int(x), int(y)
