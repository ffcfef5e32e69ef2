"""Lights of a glTF file: KHR_lights_punctual, and an environment beside the file.

Intensities are taken as they are, candela as W/sr and lux as W/m^2, as emissive radiance is: glTF's photometric units and
its unit-less emission are then of one scale, as in Khronos' sample renderer. No factor of 683 lm/W is applied.
"""

from __future__ import annotations

import math

import numpy as np

from nrc_tracer.scene.gltf.document import Document
from nrc_tracer.scene.gltf.entry import Entry
from nrc_tracer.scene.gltf.nodes import PlacedNode, as_transform, default_scene, is_flat, view_frame
from nrc_tracer.scene.gltf.textures import simplify
from nrc_tracer.scene.model import DirectionalLight, EnvironmentMap, Light, PointLight, SpotLight

EXTENSION = "KHR_lights_punctual"


def read_light(node: PlacedNode, document: Document) -> Light | None:
    """Read the light of a node, if it has one.

    Raises:
        SceneError: The reference or a value is malformed.
    """
    extension = node.entry.extension(EXTENSION)
    if extension is None:
        return None
    index = extension.integer("light")
    container = document.root.extension(EXTENSION)
    lights = container.entries("lights") if container is not None else []
    if index >= len(lights):
        extension.fail(f"there is no light {index} (the file has {len(lights)})", "light")
    return _light(lights[index], node)


def read_environment(document: Document) -> EnvironmentMap | None:
    """Return the environment that lies beside the file as NAME.sky.exr, if there is one.

    Its directions are (sin phi sin theta, cos theta, -cos phi sin theta) with u = phi / 2 pi and v = theta / pi, which is what
    `EnvironmentMap` has untransformed. Converters of Mitsuba scenes note in the scene's `extras.environment_emitters` how
    it is turned (`to_world_row_major`, 16 numbers).

    Raises:
        SceneError: That note is malformed.
    """
    name = f"{document.path.stem}.sky.exr"
    exists = (document.path.parent / name).is_file()
    scene = default_scene(document)
    note = None
    if scene is not None and isinstance(scene.value.get("extras"), dict):
        emitters = scene.entry("extras").entries("environment_emitters")
        note = emitters[0] if emitters else None
    if not exists:
        if note is not None:
            note.warn(f"names an environment, and there is no {name} beside the file; it is left out")
        return None
    if note is None or "to_world_row_major" not in note:
        return EnvironmentMap(file=name)
    to_world = np.array(note.vector("to_world_row_major", 16)).reshape(4, 4)
    if not np.array_equal(to_world[3], (0.0, 0.0, 0.0, 1.0)) or is_flat(to_world):
        note.fail("must be an affine map that can be inverted", "to_world_row_major")
    return EnvironmentMap(file=name, to_world=as_transform(to_world))


def _light(entry: Entry, node: PlacedNode) -> Light:
    kind = entry.choice("type", ("point", "spot", "directional"))
    color = entry.vector("color", 3, (1.0, 1.0, 1.0))
    strength = entry.number("intensity", 1.0)
    if strength < 0.0 or min(color) < 0.0:
        entry.fail("color and intensity must not be negative")
    intensity = simplify(tuple(min(channel * strength, 3e38) for channel in color))
    if "range" in entry:
        entry.warn("is not supported; light reaches as far as it does", "range")
    if kind == "point":
        return PointLight(position=tuple(node.to_world[:3, 3].tolist()), intensity=intensity)
    frame = view_frame(node)
    if kind == "directional":
        return DirectionalLight(direction=tuple(frame[:3, 2].tolist()), irradiance=intensity)
    spot = entry.entry("spot")
    inner = spot.number("innerConeAngle", 0.0) if spot else 0.0
    outer = spot.number("outerConeAngle", math.pi / 4.0) if spot else math.pi / 4.0
    if not 0.0 <= inner < outer <= math.pi / 2.0 + 1e-6:
        entry.fail(f"cone angles must be as 0 <= inner ({inner:g}) < outer ({outer:g}) <= pi / 2")
    cutoff = min(math.degrees(outer), 90.0)
    return SpotLight(
        to_world=as_transform(frame),
        intensity=intensity,
        cutoff_angle=cutoff,
        beam_width=min(math.degrees(inner), cutoff),
    )
