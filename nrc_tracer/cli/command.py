"""Commands whose help lists options under headings and ends with examples, and options that still accept old spellings."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Adds one or more options to the function of a command."""

GENERAL = "General"
"""Heading of options that have no other; the last one of a help page."""


class Option(click.Option):
    """An option that is listed under a heading, and that may have had other spellings.

    Args:
        heading: Heading of the help page under which the option is listed.
        old: Old spellings and what each stands for: the option's value, in which `{}` is the value given with the old spelling;
            or an empty text where the option is a flag.
    """

    def __init__(
        self, *declarations: Any, heading: str = GENERAL, old: Mapping[str, str] | None = None, **attributes: Any
    ) -> None:
        super().__init__(*declarations, **attributes)
        self.heading = heading
        self.old = dict(old or {})
        if self.metavar is None and isinstance(self.type, click.IntRange | click.FloatRange):
            self.metavar = "N" if isinstance(self.type, click.IntRange) else "X"


class Command(click.Command):
    """A command. `examples` are command lines for the end of its help page."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(self._in_new_spelling(ctx, args)))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, heading by heading in the order of their first options, the general ones last."""
        records: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                records.setdefault(getattr(parameter, "heading", GENERAL), []).append(record)
        for heading in sorted(records, key=lambda heading: heading == GENERAL):
            with formatter.section(heading):
                formatter.write_dl(records[heading])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are typed, in lines that are not wrapped."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def arity(self, ctx: click.Context) -> dict[str, int]:
        """Return how many values each option takes, by its names; old spellings are among them."""
        found = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option):
                values = 0 if parameter.is_flag or parameter.count else parameter.nargs
                found.update(dict.fromkeys((*parameter.opts, *parameter.secondary_opts), values))
                for name, form in getattr(parameter, "old", {}).items():
                    found[name] = parameter.nargs if "{}" in form else 0
        return found

    def _in_new_spelling(self, ctx: click.Context, args: Sequence[str]) -> Iterator[str]:
        """Yield a command line with all options in their present spelling; print a hint for each old one."""
        old = {
            name: (parameter.opts[0], form)
            for parameter in self.get_params(ctx)
            if isinstance(parameter, Option)
            for name, form in parameter.old.items()
        }
        for run in split_line(args, self.arity(ctx)):
            name, equals, value = run[0].partition("=")
            if name not in old:
                yield from run
                continue
            present, form = old[name]
            if "{}" in form:
                words = [present, *(form.replace("{}", value) for value in ([value] if equals else run[1:]))]
            else:
                words = [present, *form.split()]
            if not ctx.resilient_parsing:
                shown = present if form == "{}" else " ".join(words)
                click.echo(
                    f"hint: {name} was read as {shown}; the next version accepts only the new spelling", err=True
                )
            yield from words


def split_line(args: Sequence[str], arity: Mapping[str, int]) -> Iterator[list[str]]:
    """Split a command line into runs: each option with its values, and each other word alone.

    Args:
        args: The command line.
        arity: How many values the options take, by name. A value may look like an option.
    """
    words = iter(args)
    for word in words:
        if word == "--":
            yield [word, *words]
        else:
            name, equals, _ = word.partition("=")
            yield [word, *itertools.islice(words, 0 if equals else arity.get(name, 0))]


class Group(Command, click.Group):
    """A group of commands. `examples` are command lines for the end of its help page."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)


def command(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a `Command` of a function; the arguments are those of `Command`."""
    return click.command(name, cls=Command, **attributes)


def option(*declarations: str, **attributes: Any) -> Decorator:
    """Add an `Option`; the arguments are those of `Option`."""
    return click.option(*declarations, cls=Option, **attributes)


def together(*decorators: Decorator) -> Decorator:
    """Join options in one decorator; the help page lists them in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def under(heading: str, *decorators: Decorator) -> Decorator:
    """Join options in one decorator and list them under a heading of the help page."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        before = len(_parameters(function))
        function = together(*decorators)(function)
        for parameter in _parameters(function)[before:]:
            if isinstance(parameter, Option):
                parameter.heading = heading
        return function

    return decorate


def gathered(name: str, record: type, *decorators: Decorator) -> Decorator:
    """Join options in one decorator and hand their values to the command as one object.

    Args:
        name: The argument of the command that takes the object.
        record: A dataclass whose fields, those with a default excepted, have the names of the options.
        decorators: The options.
    """
    names = [
        field.name
        for field in dataclasses.fields(record)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_record(*arguments: Any, **values: Any) -> Any:
            fields = {name: values.pop(name) for name in names}
            return function(*arguments, **values, **{name: record(**fields)})

        return together(*decorators)(with_record)

    return decorate


def _parameters(function: Callable[..., Any]) -> list[click.Parameter]:
    """The options and arguments that decorators have added to a function so far, the last one first."""
    return getattr(function, "__click_params__", [])
