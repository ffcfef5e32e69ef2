"""Edits of a scene: each replaces one part of its description."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from msgspec.structs import replace

from nrc_tracer.errors import SceneError, nearest
from nrc_tracer.scene.model import Color, Light, Material, SceneDescription, Transform


@runtime_checkable
class SceneEdit(Protocol):
    """An edit of a scene: an `Edit` that `SceneWorld` understands."""

    @property
    def target(self) -> Hashable:
        """The part of the scene that changes."""

    def apply(self, description: SceneDescription) -> SceneDescription:
        """The scene after the edit. Raises `SceneError` if there is no such part."""

    def inverse(self, description: SceneDescription) -> SceneEdit:
        """The edit that undoes this one in a scene that is now as `description` states. Raises `SceneError` as `apply`."""


@dataclass(frozen=True)
class SetMaterial:
    """Replace the material `name`."""

    name: str
    material: Material

    @property
    def target(self) -> Hashable:
        """The material."""
        return "material", self.name

    def apply(self, description: SceneDescription) -> SceneDescription:
        """The scene with the new material."""
        _known(self.name, description)
        return replace(description, materials={**description.materials, self.name: self.material})

    def inverse(self, description: SceneDescription) -> SetMaterial:
        """The edit that brings the present material back."""
        return SetMaterial(self.name, _known(self.name, description))


@dataclass(frozen=True)
class SetLight:
    """Replace the light number `index` of the scene's `lights`, counted from 0."""

    index: int
    light: Light

    @property
    def target(self) -> Hashable:
        """The light."""
        return "light", self.index

    def apply(self, description: SceneDescription) -> SceneDescription:
        """The scene with the new light."""
        _item("light", self.index, len(description.lights))
        lights = list(description.lights)
        lights[self.index] = self.light
        return replace(description, lights=tuple(lights))

    def inverse(self, description: SceneDescription) -> SetLight:
        """The edit that brings the present light back."""
        _item("light", self.index, len(description.lights))
        return SetLight(self.index, description.lights[self.index])


@dataclass(frozen=True)
class SetEmission:
    """Change the radiance that the shape number `index` of the scene's `shapes`, counted from 0, emits; None for no light."""

    index: int
    emission: Color | None

    @property
    def target(self) -> Hashable:
        """The shape's emission."""
        return "emission", self.index

    def apply(self, description: SceneDescription) -> SceneDescription:
        """The scene with the new emission."""
        return _with_shape(description, self.index, emission=self.emission)

    def inverse(self, description: SceneDescription) -> SetEmission:
        """The edit that brings the present emission back."""
        _item("shape", self.index, len(description.shapes))
        shape = description.shapes[self.index]
        if not hasattr(shape, "emission"):
            raise SceneError(f"shape {self.index} is an instance, which has no emission of its own")
        return SetEmission(self.index, shape.emission)


@dataclass(frozen=True)
class MoveShape:
    """Give the shape number `index` of the scene's `shapes`, counted from 0, another transform to world space."""

    index: int
    to_world: Transform

    @property
    def target(self) -> Hashable:
        """The shape's place."""
        return "place", self.index

    def apply(self, description: SceneDescription) -> SceneDescription:
        """The scene with the shape in its new place."""
        return _with_shape(description, self.index, to_world=self.to_world)

    def inverse(self, description: SceneDescription) -> MoveShape:
        """The edit that moves the shape back to its present place."""
        _item("shape", self.index, len(description.shapes))
        return MoveShape(self.index, description.shapes[self.index].to_world)


@dataclass(frozen=True)
class SetCache:
    """Change how the radiance cache is used and learns. It is no `SceneEdit`: the scene stays as it is.

    Attributes:
        encoding: Encoding of positions, `hash` or `triangle-wave`. Another one begins with a new cache.
        spread: A path ends where its footprint is this many times that of its first vertex.
        is_frozen: Whether the cache learns no more.
        generation: Any other number begins with a new cache, which has learnt nothing.
    """

    encoding: str
    spread: float
    is_frozen: bool = False
    generation: int = 0

    @property
    def target(self) -> Hashable:
        """The cache."""
        return "cache"


def _with_shape(description: SceneDescription, index: int, **changes: object) -> SceneDescription:
    """The scene with some fields of a shape changed."""
    _item("shape", index, len(description.shapes))
    shape = description.shapes[index]
    for name in changes:
        if not hasattr(shape, name):
            raise SceneError(f"shape {index} is an instance, which has no {name} of its own")
    shapes = list(description.shapes)
    shapes[index] = replace(shape, **changes)
    return replace(description, shapes=tuple(shapes))


def _known(name: str, description: SceneDescription) -> Material:
    if name not in description.materials:
        raise SceneError(f'there is no material "{name}"{nearest(name, description.materials)}')
    return description.materials[name]


def _item(kind: str, index: int, count: int) -> None:
    if not 0 <= index < count:
        raise SceneError(f"there is no {kind} {index}: the scene has {count}, counted from 0")
