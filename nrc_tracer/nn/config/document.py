"""Configuration files: JSON with comments, and instant-ngp's `parent` key."""

from __future__ import annotations

import json
import math
import numbers
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.config.rules import join, shown

MAX_BYTES = 16 * 2**20
"""Largest size of a file [bytes]."""

MAX_DEPTH = 64
"""Deepest nesting of objects and arrays."""

MAX_PARENTS = 32
"""Largest number of files in a chain of parents, the first included."""

_OUTSIDE = re.compile(r'["\[\]{}]|//|/\*')
_INSIDE = re.compile(r'"|\\.', re.DOTALL)
_LINE_END = re.compile(r"[\r\n]")
_NOT_LINE_END = re.compile(r"[^\r\n]")


def read_document(source: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as plain data, without comments and with parents merged; nothing else is changed.

    A `parent` names another file, relative to the file that names it (for a mapping: to the current folder). The document is
    applied to its parent as a merge patch (RFC 7396): objects are merged, other values replace, null removes.

    Args:
        source: The path of a JSON file (UTF-8, up to 16 MiB, nested up to 64 deep, with `//` and `/* */` comments), or the
            data of such a file.

    Raises:
        ConfigError: The file or a parent cannot be read or is not JSON, a number is not finite, a key appears twice in an object,
            or the parents form a cycle.
    """
    if isinstance(source, Mapping):
        document, path = _plain(source, "", 1), None
    else:
        path = _path(source)
        document = _read_file(path)
    patches = [document]
    chain = [path] if path else []
    while isinstance(document, dict) and document.get("parent") is not None:
        parent = document["parent"]
        if not isinstance(parent, str):
            raise ConfigError(f"{_prefix(path)}parent: expected a file name, got {shown(parent)}")
        path = _path(os.path.join(path.parent if path else "", parent))
        if any(os.path.realpath(path) == os.path.realpath(earlier) for earlier in chain):
            raise ConfigError(f"the parents form a cycle: {_joined([*chain, path])}")
        chain.append(path)
        if len(chain) > MAX_PARENTS:
            raise ConfigError(f"more than {MAX_PARENTS} parents: {_joined(chain[:3])} -> ...")
        try:
            document = _read_file(path)
        except ConfigError as error:
            raise ConfigError(f"{error}{f' (read as a parent: {_joined(chain)})' if len(chain) > 1 else ''}") from error
        patches.append(document)
    merged = patches.pop()
    while patches:
        merged = merge_patch(merged, patches.pop())
    merged.pop("parent", None)
    return merged


def merge_patch(target: Any, patch: Any) -> Any:
    """Return JSON data with a merge patch applied (RFC 7396, section 2). Neither argument is changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def decode(text: str) -> dict[str, Any]:
    """Parse JSON text with comments into an object. Raises `ConfigError`, with line and column where possible."""
    bare = without_comments(text)
    try:
        document = json.loads(
            bare, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite_float
        )
    except json.JSONDecodeError as error:
        raise ConfigError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise ConfigError("the JSON is nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise ConfigError("an integer in the JSON has too many digits") from error
    if not isinstance(document, dict):
        raise ConfigError(f"expected an object at the top, got {shown(document)}")
    return document


def without_comments(text: str) -> str:
    """Return the text with blanks in place of comments, so that line and column numbers stay valid.

    Raises:
        ConfigError: A comment is not closed, or brackets are nested more than 64 deep.
    """
    pieces = []
    copied = position = depth = 0
    while match := _OUTSIDE.search(text, position):
        start, position = match.span()
        mark = match[0]
        if mark == '"':
            # Skip the string; if it does not end, the JSON reader reports it
            while (inner := _INSIDE.search(text, position)) and inner[0] != '"':
                position = inner.end()
            position = inner.end() if inner else len(text)
        elif mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                line, column = _line_and_column(text, start)
                raise ConfigError(f"line {line}, column {column}: nested more than {MAX_DEPTH} deep")
        elif mark in "]}":
            depth -= 1
        else:
            position = _comment_end(text, mark, start, position)
            pieces += [text[copied:start], _NOT_LINE_END.sub(" ", text[start:position])]
            copied = position
    return "".join([*pieces, text[copied:]])


def _comment_end(text: str, mark: str, start: int, position: int) -> int:
    if mark == "//":
        line_end = _LINE_END.search(text, position)
        return line_end.start() if line_end else len(text)
    end = text.find("*/", position)
    if end < 0:
        line, column = _line_and_column(text, start)
        raise ConfigError(f"line {line}, column {column}: a comment is not closed; end it with */")
    return end + 2


def _line_and_column(text: str, position: int) -> tuple[int, int]:
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def _path(source: str | os.PathLike[str]) -> Path:
    try:
        name = os.fsdecode(source)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"expected a file name or a mapping, got {shown(source)}") from error
    return Path(name)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a null character or half of a surrogate pair in the name
        raise ConfigError(f"{shown(str(path))}: not a file name") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: too large for a configuration: more than {MAX_BYTES // 2**20} MiB")
    try:
        return decode(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _prefix(path: Path | None) -> str:
    return f"{path}: " if path else ""


def _joined(chain: list[Path]) -> str:
    return " -> ".join(str(path) for path in chain)


def _plain(value: Any, place: str, depth: int) -> Any:
    """Copy data from Python into dicts and lists; parts of a configuration are kept."""
    if depth > MAX_DEPTH:
        raise ConfigError(f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{place or 'configuration'}: expected strings as keys, got {shown(key)}")
        return {key: _plain(member, join(place, key), depth + 1) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member, f"{place}[{i}]", depth + 1) for i, member in enumerate(value)]
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral) and not math.isfinite(value):
        raise ConfigError(f"{place}: expected a finite number, got {shown(value)}")
    if value is None or isinstance(value, str | numbers.Real | msgspec.Struct):
        return value
    raise ConfigError(f"{place}: expected a value that JSON can hold, got {shown(value)}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ConfigError(f"the key {shown(key)} appears twice in one object; remove one")
            seen.add(key)
    return result


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ConfigError(f"{digits[:40]} is too large for a number")
    return value


def _refuse_constant(name: str) -> float:
    raise ConfigError(f"{name} is not a JSON number; use a finite number")
