"""Explaining what is wrong with raw data, and where. The messages of msgspec itself lack keys and nearest names.

Paths are written as in `$.materials.glass.int_ior` and `$.shapes[3].to_world[0]`.
"""

from __future__ import annotations

import functools
import json
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import inspect

from nrc_tracer.errors import nearest

MAX_FLOAT = 3.4e38
"""Largest magnitude of a number. Rendering uses float32, in which anything larger is infinite."""

_PLAIN_KEY = re.compile(r"[A-Za-z_$][\w$-]*\Z")
_LIMITS: tuple[tuple[str, str, Callable[[float, float], bool]], ...] = (
    ("ge", ">=", operator.ge),
    ("gt", ">", operator.gt),
    ("le", "<=", operator.le),
    ("lt", "<", operator.lt),
)
"""Limits of numbers: msgspec's name, the sign for messages, and the comparison."""


def explain(value: Any, structure: type[msgspec.Struct], path: str = "$") -> str | None:
    """Explain why raw data, as read from JSON, does not fit a struct type.

    Returns:
        One line about the first problem, which begins with its path; None if the data fits.
    """
    return next(_problems(value, _type_info(structure), path), None)


def member(path: str, key: str) -> str:
    """Return the path of a key inside an object."""
    return f"{path}.{key}" if _PLAIN_KEY.match(key) else f"{path}[{json.dumps(key, ensure_ascii=False)}]"


@functools.cache
def _type_info(structure: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(structure)


def _problems(value: Any, expected: inspect.Type, path: str) -> Iterator[str]:
    if isinstance(expected, inspect.Metadata):
        expected = expected.type
    options = expected.types if isinstance(expected, inspect.UnionType) else (expected,)
    fitting = [option for option in options if _kind(option) == _kind_of(value)]
    structs = [option for option in fitting if isinstance(option, inspect.StructType)]
    numbers = [option for option in fitting if isinstance(option, inspect.IntType | inspect.FloatType)]
    if not fitting:
        yield f"{path}: expected {_describe(options)}, got {_show(value)}"
    elif structs:
        yield from _struct_problems(value, structs, path)
    elif numbers:
        yield from _number_problems(value, numbers[-1], path)
    elif isinstance(fitting[0], inspect.LiteralType):
        if value not in fitting[0].values:
            yield f"{path}: unknown value {_show(value)}{nearest(value, map(str, fitting[0].values))}"
    elif isinstance(fitting[0], inspect.DictType):
        for key, item in value.items():
            yield from _problems(item, fitting[0].value_type, member(path, key))
    elif isinstance(fitting[0], inspect.VarTupleType):
        for index, item in enumerate(value):
            yield from _problems(item, fitting[0].item_type, f"{path}[{index}]")
    elif isinstance(fitting[0], inspect.TupleType):
        types = fitting[0].item_types
        if len(value) != len(types):
            yield f"{path}: expected {_describe(fitting)}, got an array of {len(value)}"
        for index, (item, item_type) in enumerate(zip(value, types, strict=False)):
            yield from _problems(item, item_type, f"{path}[{index}]")


def _struct_problems(value: dict, options: list[inspect.StructType], path: str) -> Iterator[str]:
    tag_field = options[0].tag_field if options[0].tag is not None else None
    chosen = options[0]
    if tag_field:
        tags = {str(option.tag): option for option in options}
        if tag_field not in value:
            yield f'{path}: "{tag_field}" is missing{nearest("", tags)}'
            return
        tag = value[tag_field]
        if not isinstance(tag, str) or tag not in tags:
            hint = nearest(tag, tags) if isinstance(tag, str) else ""
            yield f"{member(path, tag_field)}: unknown type {_show(tag)}{hint}"
            return
        chosen = tags[tag]
    fields = {field.encode_name: field for field in chosen.fields}
    for key, item in value.items():
        if key in fields:
            yield from _problems(item, fields[key].type, member(path, key))
        elif key != tag_field:
            yield f"{member(path, key)}: unknown key{nearest(key, fields)}"
    for name, field in fields.items():
        if field.required and name not in value:
            yield f'{path}: "{name}" is missing'


def _number_problems(value: float, expected: inspect.IntType | inspect.FloatType, path: str) -> Iterator[str]:
    if isinstance(expected, inspect.IntType) and isinstance(value, float):
        yield f"{path}: expected an integer, got {_show(value)}"
        return
    if not abs(value) <= MAX_FLOAT:
        yield f"{path}: {_show(value)} is not a finite number (in 32 bits)"
        return
    for name, sign, holds in _LIMITS:
        limit = getattr(expected, name)
        if limit is not None and not holds(value, limit):
            yield f"{path}: must be {sign} {limit}, not {_show(value)}"


_KINDS = (
    (inspect.NoneType, "null"),
    (inspect.BoolType, "boolean"),
    (inspect.IntType | inspect.FloatType, "number"),
    (inspect.StrType | inspect.LiteralType, "string"),
    (inspect.TupleType | inspect.VarTupleType, "array"),
    (inspect.StructType | inspect.DictType, "object"),
)


def _kind(expected: inspect.Type) -> str:
    if isinstance(expected, inspect.Metadata):
        expected = expected.type
    return next(kind for types, kind in _KINDS if isinstance(expected, types))


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    for types, kind in ((bool, "boolean"), ((int, float), "number"), (str, "string"), ((list, tuple), "array")):
        if isinstance(value, types):
            return kind
    return "object"


def _describe(options: tuple[inspect.Type, ...] | list[inspect.Type]) -> str:
    """Describe the types that would fit: `a number, an array of 3 numbers or a string`."""
    names = []
    for option in options:
        kind = _kind(option)
        if isinstance(option, inspect.IntType):
            name = "an integer"
        elif isinstance(option, inspect.LiteralType):
            name = "one of " + ", ".join(f'"{value}"' for value in option.values)
        elif isinstance(option, inspect.TupleType):
            items = {_kind(item) for item in option.item_types if not isinstance(item, inspect.UnionType)}
            name = f"an array of {len(option.item_types)}" + (f" {items.pop()}s" if len(items) == 1 else "")
        else:
            name = "null" if kind == "null" else f"an {kind}" if kind[0] in "ao" else f"a {kind}"
        if name not in names:
            names.append(name)
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _show(value: Any) -> str:
    """Format a value for a message: scalars as in JSON, containers by kind."""
    if isinstance(value, list | tuple):
        return f"an array of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int) and abs(value) > 10**30:
        return "a huge integer"
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."
