"""The scene of the stability benchmark: a closed room with two halves and two lights, and a camera for each half."""

from __future__ import annotations

import msgspec

from nrc_tracer.scene.model import (
    Cube,
    Diffuse,
    Film,
    LookAt,
    Perspective,
    Rectangle,
    Rotate,
    Sampler,
    Scale,
    Scene,
    SceneDescription,
    Sphere,
    Translate,
)

FILM = (96, 64)
"""Width and height of the film [pixels]."""

WARM, COOL = (20.0, 11.0, 4.0), (4.0, 9.0, 20.0)
"""Radiance of the lights."""

FRONT = Perspective(to_world=(LookAt(origin=(0.0, 0.1, 2.6), target=(0.1, -0.1, -3.0)),), fov=62.0)
"""A camera that looks at the first half of the room, through the gap in the wall between the halves."""
BACK = Perspective(to_world=(LookAt(origin=(-0.2, 0.2, -2.6), target=(0.0, -0.1, 3.0)),), fov=62.0)
"""A camera that looks the other way, from the other end."""


def room(*, warm: float = 1.0, cool: float = 1.0) -> Scene:
    """A room of 4 x 2 x 6 with coloured walls, closed on all sides: parts that are not lit directly are lit by many bounces.

    Args:
        warm: Brightness of the light in the half of negative z, as a factor; 0 turns it off.
        cool: Brightness of the light in the other half.
    """

    def wall(half: tuple[float, float], place: tuple[float, float, float], *turns: Rotate, material: str) -> Rectangle:
        return Rectangle(material=material, to_world=(Scale((*half, 1.0)), *turns, Translate(place)))

    def light(radiance: tuple[float, float, float], factor: float, place: tuple[float, float, float]) -> Rectangle:
        emission = tuple(factor * x for x in radiance) if factor else None
        down = Rotate(axis=(1, 0, 0), angle=90.0)
        return Rectangle(
            material="white", emission=emission, to_world=(Scale((0.35, 0.35, 1.0)), down, Translate(place))
        )

    across, over = Rotate(axis=(0, 1, 0), angle=90.0), Rotate(axis=(1, 0, 0), angle=90.0)
    shapes = (
        wall((2.0, 3.0), (0.0, -1.0, 0.0), over, material="floor"),
        wall((2.0, 3.0), (0.0, 1.0, 0.0), over, material="white"),
        wall((3.0, 1.0), (-2.0, 0.0, 0.0), across, material="red"),
        wall((3.0, 1.0), (2.0, 0.0, 0.0), across, material="green"),
        wall((2.0, 1.0), (0.0, 0.0, -3.0), material="white"),
        wall((2.0, 1.0), (0.0, 0.0, 3.0), material="white"),
        wall((0.5, 1.0), (-1.5, 0.0, 0.0), material="white"),
        Cube(
            material="white", to_world=(Scale(0.35), Rotate(axis=(0, 1, 0), angle=25.0), Translate((0.8, -0.65, -1.6)))
        ),
        Sphere(material="white", center=(-0.9, -0.6, 1.2), radius=0.4),
        light(WARM, warm, (-0.8, 0.98, -1.5)),
        light(COOL, cool, (0.8, 0.98, 1.5)),
    )
    description = SceneDescription(
        camera=FRONT,
        film=Film(width=FILM[0], height=FILM[1]),
        sampler=Sampler(type="independent"),
        materials={
            "white": Diffuse(reflectance=0.7),
            "floor": Diffuse(reflectance=(0.5, 0.45, 0.4)),
            "red": Diffuse(reflectance=(0.6, 0.15, 0.12)),
            "green": Diffuse(reflectance=(0.15, 0.55, 0.2)),
        },
        shapes=shapes,
    )
    return Scene(description, meshes={}, images={})


def seen_from(scene: Scene, camera: Perspective) -> Scene:
    """The same scene with another camera."""
    return Scene(msgspec.structs.replace(scene.description, camera=camera), meshes=scene.meshes, images=scene.images)
