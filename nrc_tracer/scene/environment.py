"""An environment of the user's choice around any scene, in place of the scene's own."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.imaging import read_image
from nrc_tracer.scene.fitted import SOFT_SKY, soft_sky
from nrc_tracer.scene.model import ConstantLight, EnvironmentMap, Light, Rotate, Scene, Transform, Vec3
from nrc_tracer.scene.transforms import matrix

VERTICAL: tuple[Vec3, ...] = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
"""Upward directions that scenes usually have."""


def surround(scene: Scene, environment: str | Path | None = None, *, degrees: float = 0.0) -> Scene:
    """Return a scene with another environment, or with its own environment map rotated. Other lights and emitting shapes stay.

    An environment map stands upright as the scene's own one does, and without one as the default camera does, with y or z up.

    Args:
        scene: The scene.
        environment: `white` (the same radiance 1 from all sides), `sky` (the soft sky of files without light), or an image file
            in latitude-longitude form. A `:` and a number at its end multiply its radiance, as in `sky:0.5`. None keeps the
            scene's own environment.
        degrees: Rotation of the environment map about the vertical, counter-clockwise seen from above.

    Raises:
        SceneError: The image cannot be read, the strength is negative or not finite, or there is no environment to rotate.
    """
    lights, images, notes = list(scene.description.lights), dict(scene.images), scene.notes
    if environment is not None:
        name, strength = _parse(str(environment))
        upright = _upright(scene)
        chosen: Light
        if name == "white":
            chosen = ConstantLight(radiance=strength)
        elif name == "sky":
            chosen = EnvironmentMap(file=SOFT_SKY, scale=strength, to_world=upright)
        else:
            file = Path(name).absolute().as_posix()
            images[file] = read_image(name)
            chosen = EnvironmentMap(file=file, scale=strength, to_world=upright)
        lights = [light for light in lights if not isinstance(light, ConstantLight | EnvironmentMap)]
        lights.append(chosen)
        notes = (*notes, f"the environment is {environment}, in place of any other")
    if degrees:
        if not any(isinstance(light, ConstantLight | EnvironmentMap) for light in lights):
            raise SceneError(
                "the scene has no environment to rotate; choose one with --environment (in Python: environment)"
            )
        turn = Rotate(axis=(0.0, 1.0, 0.0), angle=degrees)
        lights = [
            msgspec.structs.replace(light, to_world=(turn, *light.to_world))
            if isinstance(light, EnvironmentMap)
            else light
            for light in lights
        ]
    description = msgspec.structs.replace(scene.description, lights=tuple(lights))
    return replace(scene, description=description, images=images, notes=notes)


def _parse(environment: str) -> tuple[str, float]:
    """Split an environment into its name and its strength, which is 1 if it has none."""
    name, colon, number = environment.rpartition(":")
    try:
        strength = float(number)
    except ValueError:
        return environment, 1.0
    if not colon or not name:
        return environment, 1.0
    if not 0.0 <= strength <= float(np.finfo(np.float32).max):
        raise SceneError(f"environment {environment}: the strength must be a finite number of at least 0, not {number}")
    return name, strength


def _upright(scene: Scene) -> Transform:
    """Return the transform of an upright environment map."""
    for light in scene.description.lights:
        if isinstance(light, EnvironmentMap):
            return light.to_world
    up = matrix(scene.description.camera.to_world)[:3, 1]
    if not math.isfinite(float(up @ up)):
        return ()
    return soft_sky(up=max(VERTICAL, key=lambda axis: float(up @ axis))).to_world
