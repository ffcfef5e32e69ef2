"""The JSON of a glTF file: objects that are read key by key, with checks whose messages name the place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from nrc_tracer.errors import SceneError, nearest
from nrc_tracer.scene.explain import MAX_FLOAT, member

MAX_INTEGER = 2**53
"""Largest magnitude of an integer that JSON numbers hold exactly."""
MAX_OBJECTS = 1 << 22
"""Largest accepted number of objects of one kind (nodes, accessors, ...)."""


class JsonFile:
    """The JSON of a glTF file and the warnings about it.

    Attributes:
        path: The file.
        root: The outermost object.
        warnings: Messages that begin with file and place, each only once.
    """

    def __init__(self, path: Path, value: dict[str, Any]) -> None:
        self.path = path
        self.root = Entry(self, value, "$")
        self.warnings: list[str] = []

    def warn(self, place: str, message: str) -> None:
        """Add a warning, unless there is the same one already."""
        warning = f"{self.path}: {place}: {message}"
        if warning not in self.warnings:
            self.warnings.append(warning)

    def count(self, kind: str) -> int:
        """Return the number of objects of a kind, such as `meshes`."""
        values = self.root.value.get(kind, [])
        if not isinstance(values, list):
            self.root.fail("expected an array", kind)
        if len(values) > MAX_OBJECTS:
            self.root.fail(f"has {len(values)} objects, more than the {MAX_OBJECTS} that are accepted", kind)
        return len(values)

    def get(self, kind: str, index: int) -> Entry:
        """Return an object by its kind and its (checked) index."""
        value = self.root.value[kind][index]
        if not isinstance(value, dict):
            raise SceneError(f"{self.path}: $.{kind}[{index}]: expected an object")
        return Entry(self, value, f"$.{kind}[{index}]")


class Entry:
    """One JSON object of a glTF file.

    The methods read the value of one key. If the key is missing, they return the default, and without a default they fail.

    Attributes:
        file: The file that the object belongs to.
        value: The object itself.
        place: Its place in the file, such as `$.meshes[3].primitives[0]`.
    """

    def __init__(self, file: JsonFile, value: dict[str, Any], place: str) -> None:
        self.file = file
        self.value = value
        self.place = place

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def at(self, key: str) -> str:
        """Return the place of a key."""
        return member(self.place, key)

    def fail(self, message: str, key: str | None = None) -> NoReturn:
        """Raise a `SceneError` that begins with the file and the place."""
        raise SceneError(f"{self.file.path}: {self.place if key is None else self.at(key)}: {message}")

    def warn(self, message: str, key: str | None = None) -> None:
        """Add a warning about something that is not supported, which says what is done instead."""
        self.file.warn(self.place if key is None else self.at(key), message)

    @property
    def name(self) -> str:
        """The name given in the file, or the empty string."""
        return self.string("name", "")

    def string(self, key: str, default: str | None = None) -> str:
        """Return a string."""
        value = self._get(key, default)
        if not isinstance(value, str):
            self.fail("expected a string", key)
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            self.fail("expected true or false", key)
        return value

    def choice(self, key: str, known: tuple[str, ...], default: str | None = None) -> str:
        """Return one of some known strings."""
        value = self.string(key, default)
        if value not in known:
            self.fail(f"unknown value {json.dumps(value, ensure_ascii=False)[:60]}{nearest(value, known)}", key)
        return value

    def integer(self, key: str, default: int | None = None, low: int = 0, high: int = MAX_INTEGER) -> int:
        """Return an integer from `low` to `high`."""
        value = self._get(key, default)
        if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_INTEGER:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail("expected an integer", key)
        if not low <= value <= high:
            self.fail(f"must lie in {low} to {high}", key)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a number that is finite in 32 bits."""
        return self._number(self._get(key, default), self.at(key))

    def vector(self, key: str, size: int, default: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """Return an array of `size` finite numbers."""
        value = self._get(key, default)
        if not isinstance(value, list | tuple) or len(value) != size:
            self.fail(f"expected an array of {size} numbers", key)
        return tuple(self._number(item, f"{self.at(key)}[{index}]") for index, item in enumerate(value))

    def factor(self, key: str, default: float | None = None) -> float:
        """Return a number in [0, 1]; one outside is clamped, with a warning."""
        return self._clamp(key, self.number(key, default))

    def factors(self, key: str, size: int, default: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """Return an array of numbers in [0, 1]; those outside are clamped, with a warning."""
        return tuple(self._clamp(key, value) for value in self.vector(key, size, default))

    def entry(self, key: str) -> Entry | None:
        """Return the object of a key, or None."""
        value = self.value.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.fail("expected an object", key)
        return Entry(self.file, value, self.at(key))

    def required_entry(self, key: str) -> Entry:
        """Return the object of a key, which must not be missing."""
        entry = self.entry(key)
        if entry is None:
            self.fail(f'"{key}" is missing')
        return entry

    def entries(self, key: str) -> list[Entry]:
        """Return the objects in an array; none if the key is missing."""
        return [
            Entry(self.file, value, place) if isinstance(value, dict) else self._fail_at(place, "expected an object")
            for value, place in self._items(key)
        ]

    def strings(self, key: str) -> list[str]:
        """Return the strings in an array; none if the key is missing."""
        return [
            value if isinstance(value, str) else self._fail_at(place, "expected a string")
            for value, place in self._items(key)
        ]

    def extension(self, name: str) -> Entry | None:
        """Return an extension of this object, or None."""
        extensions = self.entry("extensions")
        return None if extensions is None else extensions.entry(name)

    def reference(self, key: str, kind: str) -> int | None:
        """Return an index into one of the file's arrays, such as `meshes`, or None."""
        return self._index(self.value[key], kind, self.at(key)) if key in self.value else None

    def required_reference(self, key: str, kind: str) -> int:
        """Return an index into one of the file's arrays, which must not be missing."""
        index = self.reference(key, kind)
        if index is None:
            self.fail(f'"{key}" is missing')
        return index

    def references(self, key: str, kind: str) -> list[int]:
        """Return indices into one of the file's arrays; none if the key is missing."""
        return [self._index(value, kind, place) for value, place in self._items(key)]

    def _get(self, key: str, default: Any) -> Any:
        if key in self.value:
            return self.value[key]
        if default is None:
            self.fail(f'"{key}" is missing')
        return default

    def _items(self, key: str) -> Iterator[tuple[Any, str]]:
        values = self.value.get(key, [])
        if not isinstance(values, list):
            self.fail("expected an array", key)
        for index, value in enumerate(values):
            yield value, f"{self.at(key)}[{index}]"

    def _index(self, value: Any, kind: str, place: str) -> int:
        count = self.file.count(kind)
        if not isinstance(value, int) or isinstance(value, bool):
            self._fail_at(place, f"expected an index into {kind}")
        if not 0 <= value < count:
            self._fail_at(place, f"there is no {kind}[{value}] (the file has {count})")
        return value

    def _number(self, value: Any, place: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._fail_at(place, "expected a number")
        if not abs(value) <= MAX_FLOAT:
            self._fail_at(place, "not a finite number (in 32 bits)")
        return float(value)

    def _clamp(self, key: str, value: float) -> float:
        if -1e-6 < value < 1.0 + 1e-6:
            return min(max(value, 0.0), 1.0)
        self.warn(f"{value:g} is not in [0, 1]; it is clamped", key)
        return min(max(value, 0.0), 1.0)

    def _fail_at(self, place: str, message: str) -> NoReturn:
        raise SceneError(f"{self.file.path}: {place}: {message}")
