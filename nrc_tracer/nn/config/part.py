"""The base of all parts of a configuration: frozen data that checks itself.

Fields are the keys of tiny-cuda-nn's JSON, with its defaults; a rule in a field's annotation defines the allowed values. Values
are checked and converted to their canonical form when a part is made, from JSON or in Python: a part that exists is valid.
"""

from __future__ import annotations

import functools
from typing import Any, get_type_hints

import msgspec

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.config.rules import Rule, join, shown


@functools.cache
def rules(cls: type[Part]) -> dict[str, Rule]:
    """Return the rules of a class by field; fields that hold other parts have no rule."""
    hints = get_type_hints(cls, include_extras=True)
    found = {name: getattr(hints[name], "__metadata__", (None,))[0] for name in cls.__struct_fields__}
    return {name: rule for name, rule in found.items() if isinstance(rule, Rule)}


class Misfit(ConfigError):
    """A field does not fit the others, or holds something other than a part.

    Args:
        part: The part that the field belongs to.
        member: The field, such as "n_neurons" or "nested[1]".
        problem: The problem, and what to do.
    """

    def __init__(self, part: Part, member: str, problem: str):
        super().__init__(f"{type(part).__name__}.{member}: {problem}")
        self.member = member
        self.problem = problem


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all parts of a configuration."""

    def __post_init__(self) -> None:
        for name, rule in rules(type(self)).items():
            value = rule.read(getattr(self, name), join(type(self).__name__, name))
            msgspec.structs.force_setattr(self, name, value)
        self.relate()

    def relate(self) -> None:
        """Check fields against one another. Raises `Misfit`."""


class Typed(Part, frozen=True, kw_only=True, tag_field="otype"):
    """Base of the parts whose key `otype` names their class."""


def expect(part: Part, name: str, kind: Any, words: str) -> None:
    """Raise `Misfit`, which expects `words`, if a field holds anything but parts of a kind."""
    value = getattr(part, name)
    if not isinstance(value, kind):
        raise Misfit(part, name, f"expected {words}, got {shown(value)}")


def expect_all(part: Part, members: object, kind: type[Part]) -> None:
    """Check `nested`, whose `members` may be given as a list, and make it a tuple."""
    if not isinstance(members, list | tuple) or not members:
        problem = f"expected an array with at least one member, got {shown(members)}"
        raise Misfit(part, "nested", problem)
    msgspec.structs.force_setattr(part, "nested", tuple(members))
    for i, nested in enumerate(members):
        if not isinstance(nested, kind):
            raise Misfit(part, f"nested[{i}]", f"expected a {kind.__name__}, got {shown(nested)}")
