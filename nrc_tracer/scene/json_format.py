"""The package's own scene format: JSON with the same structure as the classes of `nrc_tracer.scene.model`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from nrc_tracer.errors import SceneError
from nrc_tracer.files.atomic import replacing
from nrc_tracer.files.reading import reading
from nrc_tracer.scene.explain import explain
from nrc_tracer.scene.model import SceneDescription
from nrc_tracer.scene.validate import plain_numbers, validate


class _SceneFile(SceneDescription, tag=False, rename={"schema_": "$schema"}):
    """A scene file: the description, and optionally the schema that it follows."""

    schema_: str = ""


def read_json(path: str | Path) -> SceneDescription:
    """Read and validate a scene description.

    Raises:
        SceneError: The file cannot be read, is not JSON (the message has line and column), or does not follow the format (the
            message has the path, as in `$.materials.glass.int_ior`, and the nearest known name).
    """
    path = Path(path)
    with reading(path, SceneError):
        data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SceneError(f"{path}: not UTF-8 text (byte {error.start})") from error
    try:
        description = decode(text)
        validate(description)
    except SceneError as error:
        raise SceneError(f"{path}: {error}") from error
    return description


def decode(text: str) -> SceneDescription:
    """Decode JSON text into a description, without the checks of `validate`. Raises `SceneError`."""
    try:
        raw = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise SceneError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise SceneError("the JSON is nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise SceneError(f"a number in the JSON cannot be read: {error}") from error
    if "\\u" in text and not _is_unicode(raw):
        raise SceneError("the JSON has a \\u escape that is half of a surrogate pair")
    try:
        file = msgspec.convert(raw, _SceneFile)
    except (msgspec.ValidationError, OverflowError, UnicodeError) as error:
        raise SceneError(explain(raw, _SceneFile) or str(error)) from error
    return SceneDescription(**{name: getattr(file, name) for name in SceneDescription.__struct_fields__})


def encode(description: SceneDescription) -> str:
    """Encode a description as JSON text that `decode` reads back, with arrays of numbers on one line."""
    text = json.dumps(
        msgspec.to_builtins(description, enc_hook=plain_numbers), indent=2, ensure_ascii=False, allow_nan=False
    )
    numbers = r"\[\s+(-?\d[^\[\]{}\"]*?)\s+\]"
    return re.sub(numbers, lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"


def write_json(description: SceneDescription, path: str | Path) -> None:
    """Write a scene file. An existing file is replaced only when the new one is complete. Raises `OutputError`."""
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_text(encode(description), encoding="utf-8")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of scene files, which editors use for completion and checks."""
    schema = msgspec.json.schema(_SceneFile)
    definitions = schema["$defs"]
    definitions["SceneDescription"] = definitions.pop(_SceneFile.__name__) | {"title": "Scene"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nrc-tracer scene",
        "$ref": "#/$defs/SceneDescription",
        "$defs": dict(sorted(definitions.items())),
    }


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise SceneError(f'the key "{twice}" appears twice in one object')
    return result


def _is_unicode(raw: Any) -> bool:
    try:
        json.dumps(raw, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(name: str) -> float:
    raise SceneError(f"{name} is not a JSON number")
