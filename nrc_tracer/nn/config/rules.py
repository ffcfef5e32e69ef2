"""Rules for single values of a configuration, which annotate the fields of its parts, and their messages."""

from __future__ import annotations

import difflib
import json
import numbers
import struct
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from nrc_tracer.errors import ConfigError, nearest

LARGEST_FLOAT32 = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
LARGEST_UINT32 = 2**32 - 1


def float32(value: float) -> float:
    """Round to the nearest float32, the type of tiny-cuda-nn's numbers. `value` must be in its range."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def join(place: str, key: object) -> str:
    """Return the place of a member, for messages: `network.n_neurons`, or `network["odd name"]`."""
    if isinstance(key, str) and key.isidentifier() and key.isascii() and len(key) <= 60:
        return f"{place}.{key}" if place else key
    return f"{place}[{shown(key)}]"


def shown(value: object) -> str:
    """Return a value as text for a message: short, on one line, in ASCII."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, int):
        return str(int(value)) if value.bit_length() <= 128 else "an integer of more than 38 digits"
    if isinstance(value, numbers.Real):
        return str(value)[:40]
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "an array" if value else "an empty array"
    return f"a value of type {type(value).__name__}"


def listed(names: Iterable[object], last: str = "or") -> str:
    """Join names as in "a, b or c"."""
    words = [str(name) for name in names]
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


class Rule:
    """A set of allowed values, with one canonical form for each."""

    expected: str
    """The allowed values in words, as the end of "expected ..."."""

    def read(self, value: object, place: str) -> Any:
        """Return the canonical form of a value. Raises `ConfigError`, which names `place`, if it is not allowed."""
        raise NotImplementedError

    def refuse(self, value: object, place: str) -> ConfigError:
        """The error for a value that is not allowed."""
        return ConfigError(f"{place}: expected {self.expected}, got {shown(value)}")

    def real(self, value: object, place: str) -> Any:
        """The value if it is a real number of any type, NumPy's included, but not a bool. Raises `ConfigError`."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise self.refuse(value, place)
        return value


class Nullable(Rule):
    """The values that another rule allows, and None (null)."""

    def __init__(self, rule: Rule):
        self.rule = rule
        self.expected = rule.expected

    def read(self, value: object, place: str) -> Any:
        return None if value is None else self.rule.read(value, place)


class Integer(Rule):
    """An integer from `low` to `high`, both included; a float with an integral value is accepted, a bool is not.

    Args:
        low: The smallest value.
        high: The largest value.
        only: The allowed values, if they are only some of that range.
        power_of_two: Whether only powers of two are allowed.
    """

    def __init__(
        self,
        low: int,
        high: int = LARGEST_UINT32,
        *,
        only: Collection[int] = (),
        power_of_two: bool = False,
    ):
        self.low, self.high, self.only, self.power_of_two = low, high, only, power_of_two
        if only:
            self.expected = listed(only)
        elif power_of_two:
            self.expected = f"a power of two from {low} to {high}"
        else:
            self.expected = f"an integer from {low} to {high}"

    def read(self, value: object, place: str) -> int:
        real = self.real(value, place)
        # NaN and the infinities fail the first test, fractions the second
        if not self.low <= real <= self.high or real != int(real):
            raise self.refuse(value, place)
        number = int(real)
        if (self.only and number not in self.only) or (self.power_of_two and number & (number - 1)):
            raise self.refuse(value, place)
        return number


class Number(Rule):
    """A number that is finite in float32, from `low` to `high`; both ends are included unless excluded.

    Args:
        low: The smallest value.
        high: The largest value.
        above: Whether `low` itself is excluded.
        below: Whether `high` itself is excluded.
    """

    def __init__(
        self, low: float = -LARGEST_FLOAT32, high: float = LARGEST_FLOAT32, *, above: bool = False, below: bool = False
    ):
        self.low, self.high, self.above, self.below = low, high, above, below
        lower = f"above {low:g}" if above else f"of at least {low:g}"
        upper = f"below {high:g}" if below else f"of at most {high:g}"
        bounds = [lower] if low > -LARGEST_FLOAT32 else []
        bounds += [upper] if high < LARGEST_FLOAT32 else []
        self.expected = " ".join(["a finite number", *([" and ".join(bounds)] if bounds else [])])

    def read(self, value: object, place: str) -> float:
        real = self.real(value, place)
        # Compare before converting: an integer may be too large for a float
        if not -LARGEST_FLOAT32 <= real <= LARGEST_FLOAT32:
            raise self.refuse(value, place)
        # The bounds hold for the value that the model gets: 1e-50 is zero in float32, 1 - 1e-12 is one
        number = float32(real)
        if not float32(self.low) <= number <= float32(self.high):
            raise self.refuse(value, place)
        if (self.above and number == self.low) or (self.below and number == self.high):
            raise self.refuse(value, place)
        return float(real)


class Flag(Rule):
    """True or false."""

    expected = "true or false"

    def read(self, value: object, place: str) -> bool:
        if not isinstance(value, bool):
            raise self.refuse(value, place)
        return value


class Choice(Rule):
    """One of a few names, in any case.

    Args:
        kind: Kind of the named things, such as "activation".
        names: The names in their canonical form.
        aliases: Other accepted names, with the names that they stand for.
        refused: Names that tiny-cuda-nn has and this package does not support.
    """

    def __init__(
        self, kind: str, names: Iterable[str], aliases: Mapping[str, str] | None = None, refused: Iterable[str] = ()
    ):
        self.kind = kind
        self.names = tuple(names)
        self.aliases = dict(aliases or {})
        self.expected = f"the name of a{'n' if kind[0] in 'aeiou' else ''} {kind}"
        self._canonical = {name.lower(): name for name in self.names}
        self._canonical |= {alias.lower(): name for alias, name in self.aliases.items()}
        self._refused = {name.lower(): name for name in refused}

    def read(self, value: object, place: str) -> str:
        if not isinstance(value, str):
            raise self.refuse(value, place)
        name = value.lower()
        if name in self._refused:
            raise ConfigError(f"{place}: {self._refused[name]} is not supported, use {listed(self.names)}")
        if name not in self._canonical:
            written = {word.lower(): word for word in (*self.names, *self.aliases)}
            close = difflib.get_close_matches(name, written, n=1)
            hint = nearest(written[close[0]] if close else value, written.values())
            raise ConfigError(f"{place}: unknown {self.kind} {shown(value)}{hint}")
        return self._canonical[name]
