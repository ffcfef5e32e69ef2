"""Small scenes for checks, made in memory: an installed package has no scene files."""

from __future__ import annotations

from nrc_tracer.scene.model import (
    Conductor,
    ConstantLight,
    Dielectric,
    Diffuse,
    Film,
    Integrator,
    LookAt,
    Orthographic,
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
from nrc_tracer.scene.model.transforms import Step


def box_scene(width: int, height: int) -> Scene:
    """A box of coloured walls, open towards the camera, with a lamp, a metal sphere and a glass sphere."""

    def wall(place: tuple[float, float, float], *turns: Step, material: str = "white") -> Rectangle:
        return Rectangle(material=material, to_world=(*turns, Translate(place)))

    description = SceneDescription(
        camera=Perspective(to_world=(LookAt(origin=(0.0, 0.0, 4.0), target=(0.0, 0.0, 0.0)),), fov=36.0),
        film=Film(width=width, height=height),
        sampler=Sampler(type="independent"),
        integrator=Integrator(max_depth=None),
        materials={
            "white": Diffuse(reflectance=0.75),
            "red": Diffuse(reflectance=(0.6, 0.1, 0.1)),
            "green": Diffuse(reflectance=(0.1, 0.5, 0.1)),
            "metal": Conductor(alpha=0.3),
            "glass": Dielectric(),
        },
        shapes=(
            wall((0.0, 0.0, -1.0)),
            wall((0.0, -1.0, 0.0), Rotate(axis=(1, 0, 0), angle=-90.0)),
            wall((0.0, 1.0, 0.0), Rotate(axis=(1, 0, 0), angle=90.0)),
            wall((-1.0, 0.0, 0.0), Rotate(axis=(0, 1, 0), angle=90.0), material="red"),
            wall((1.0, 0.0, 0.0), Rotate(axis=(0, 1, 0), angle=-90.0), material="green"),
            Rectangle(
                material="white",
                emission=8.0,
                to_world=(Scale(0.4), Rotate(axis=(1, 0, 0), angle=90.0), Translate((0.0, 0.98, 0.0))),
            ),
            Sphere(center=(-0.45, -0.6, -0.3), radius=0.4, material="metal"),
            Sphere(center=(0.45, -0.65, 0.2), radius=0.35, material="glass"),
        ),
        lights=(),
    )
    return Scene(description, meshes={}, images={})


ALBEDO = 0.5
"""Reflectance of the ball of `furnace_scene`, and by energy conservation its radiance."""


def furnace_scene(size: int) -> Scene:
    """A convex diffuse ball in uniform light of radiance 1, seen without its edge: every pixel has the radiance `ALBEDO`."""
    description = SceneDescription(
        camera=Orthographic(
            to_world=(Scale((0.6, 0.6, 1.0)), LookAt(origin=(0.0, 0.0, 4.0), target=(0.0, 0.0, 0.0))),
        ),
        film=Film(width=size, height=size),
        sampler=Sampler(type="independent"),
        integrator=Integrator(max_depth=None),
        materials={"grey": Diffuse(reflectance=ALBEDO)},
        shapes=(Sphere(material="grey"),),
        lights=(ConstantLight(radiance=1.0),),
    )
    return Scene(description, meshes={}, images={})
