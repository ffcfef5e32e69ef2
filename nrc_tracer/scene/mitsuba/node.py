"""The contents of an XML file: plugins with properties and children, each with its place in the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from nrc_tracer.errors import SceneError, nearest
from nrc_tracer.scene.model import Transform, Vec3

REQUIRED = object()
"""Default of a property that must be given."""

Choice = TypeVar("Choice", bound=str)


@dataclass(frozen=True)
class Place:
    """A line of a file, as text `scene.xml:42`."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def fail(self, problem: str) -> NoReturn:
        """Raise a `SceneError` that begins with this place."""
        raise SceneError(f"{self}: {problem}")


@dataclass(frozen=True)
class Wavelengths:
    """A spectrum given as pairs of a wavelength [nm] and a value, in ascending order."""

    pairs: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Flat:
    """A spectrum with the same value at every wavelength. As an emission it is not white."""

    value: float


@dataclass(frozen=True)
class Property:
    """A named value.

    Attributes:
        tag: The element, such as "float", which determines the type of the value.
        value: A bool, int, float or str, a Vec3 (of rgb, point and vector), a `Flat` or `Wavelengths`, or a Transform.
        place: Its place.
    """

    tag: str
    value: Any
    place: Place


@dataclass
class Node:
    """A plugin, the root, or a reference (then `tag` is "ref" and `id` the target's).

    Attributes:
        tag: The element, such as "bsdf" or "shape".
        plugin: Its `type`, such as "diffuse"; "" for the root and references.
        id: Its id, or "".
        name: The name of the parent's parameter whose value it is, or "".
        place: Its place.
        properties: Its values, by name.
        children: The plugins and references inside it, in order.
        known: The names of properties that have been looked up or ignored. Others are misspelt or not supported.
    """

    tag: str
    plugin: str
    id: str
    name: str
    place: Place
    properties: dict[str, Property] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    known: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return f'{self.tag} "{self.plugin}"'

    def has(self, *names: str) -> bool:
        """Return whether any of these properties is given, as a value or as a child."""
        self.known.update(names)
        return any(name in self.properties for name in names) or any(child.name in names for child in self.children)

    def number(self, name: str, default: float | object = REQUIRED) -> float:
        """Return a number.

        Raises:
            SceneError: It is of another type, or missing without a default.
        """
        return float(self._value(name, default, ("float", "integer"), "a number"))

    def integer(self, name: str, default: int | object = REQUIRED) -> int:
        """Return an integer. Errors as for `number`."""
        return int(self._value(name, default, ("integer",), "an integer"))

    def boolean(self, name: str, default: bool) -> bool:
        """Return a boolean. Errors as for `number`."""
        return bool(self._value(name, default, ("boolean",), '"true" or "false" (a boolean)'))

    def string(self, name: str, default: str | object = REQUIRED) -> str:
        """Return a string. Errors as for `number`."""
        return str(self._value(name, default, ("string",), "a string"))

    def choice(self, name: str, default: Choice, allowed: Sequence[Choice]) -> Choice:
        """Return one of the allowed words; upper and lower case are not distinguished. Errors as for `number`."""
        value = self.string(name, default).lower()
        for word in allowed:
            if value == word:
                return word
        self.properties[name].place.fail(f'{self}: {name} cannot be "{value}"{nearest(value, allowed)}')

    def vector(self, name: str, default: Vec3 | object = REQUIRED) -> Vec3:
        """Return a point or vector. Errors as for `number`."""
        return self._value(name, default, ("point", "vector"), "a point or vector")

    def transform(self, name: str = "to_world") -> Transform:
        """Return a transform, by default the identity. Errors as for `number`."""
        return self._value(name, (), ("transform",), "a transform")

    def ignore(self, *names: str) -> None:
        """Mark properties as known that have no effect."""
        self.known.update(names)

    def unknown(self) -> Iterator[tuple[str, Place]]:
        """Yield the properties that are not among the known names, with their places."""
        for name, item in self.properties.items():
            if name not in self.known:
                yield name, item.place
        for child in self.children:
            if child.name and child.name not in self.known:
                yield child.name, child.place

    def _value(self, name: str, default: object, tags: tuple[str, ...], expected: str) -> Any:
        self.known.add(name)
        item = self.properties.get(name)
        if item is None:
            child = next((child for child in self.children if child.name == name), None)
            if child is not None:
                child.place.fail(f"{self}: {name} must be {expected}, not a {child.tag}")
            if default is REQUIRED:
                similar = [other for other in self.properties if other not in self.known]
                self.place.fail(f"{self} needs {name}{nearest(name, similar) if similar else ''}")
            return default
        if item.tag not in tags:
            item.place.fail(f"{self}: {name} must be {expected}, not a {item.tag}")
        return item.value
