"""The lights of a glTF file: KHR_lights_punctual, and an environment map beside the file.

Intensities are not converted: candela become W/sr, and lux W/m^2. So the photometric units of lights have the same scale as the
unitless emission of materials, as in Khronos' sample renderer. No factor of 683 lm/W is applied.
"""

from __future__ import annotations

import math

import numpy as np

from nrc_tracer.scene.gltf.document import Document
from nrc_tracer.scene.gltf.entry import Entry
from nrc_tracer.scene.gltf.nodes import PlacedNode, as_transform, default_scene, is_flat, view_frame
from nrc_tracer.scene.model import DirectionalLight, EnvironmentMap, Light, PointLight, SpotLight
from nrc_tracer.scene.vectors import as_color, as_vec3

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
    """Return the environment map NAME.sky.exr beside the file, if there is one.

    Its directions are (sin phi sin theta, cos theta, -cos phi sin theta) with u = phi / 2 pi and v = theta / pi, as for an
    untransformed `EnvironmentMap`. Converters of Mitsuba scenes state its transform in the scene's
    `extras.environment_emitters` (`to_world_row_major`, 16 numbers).

    Raises:
        SceneError: That transform is malformed.
    """
    name = f"{document.path.stem}.sky.exr"
    exists = (document.path.parent / name).is_file()
    scene = default_scene(document)
    # Extras can be anything
    extras = scene.entry("extras") if scene is not None and isinstance(scene.value.get("extras"), dict) else None
    emitters = extras.entries("environment_emitters") if extras is not None else []
    note = emitters[0] if emitters else None
    if not exists:
        if note is not None:
            note.warn(f"the environment map {name} is missing beside the file; it is left out")
        return None
    if note is None or "to_world_row_major" not in note:
        return EnvironmentMap(file=name)
    to_world = np.array(note.vector("to_world_row_major", 16)).reshape(4, 4)
    if not np.array_equal(to_world[3], (0.0, 0.0, 0.0, 1.0)) or is_flat(to_world):
        note.fail("must be an invertible affine map", "to_world_row_major")
    return EnvironmentMap(file=name, to_world=as_transform(to_world))


def _light(entry: Entry, node: PlacedNode) -> Light:
    kind = entry.choice("type", ("point", "spot", "directional"))
    color = entry.vector("color", 3, (1.0, 1.0, 1.0))
    strength = entry.number("intensity", 1.0)
    if strength < 0.0 or min(color) < 0.0:
        entry.fail("color and intensity must not be negative")
    intensity = as_color(min(channel * strength, 3e38) for channel in color)
    if "range" in entry:
        entry.warn("is not supported; the light reaches to infinity", "range")
    if kind == "point":
        return PointLight(position=as_vec3(node.to_world[:3, 3]), intensity=intensity)
    frame = view_frame(node)
    if kind == "directional":
        return DirectionalLight(direction=as_vec3(frame[:3, 2]), irradiance=intensity)
    spot = entry.entry("spot")
    inner = spot.number("innerConeAngle", 0.0) if spot else 0.0
    outer = spot.number("outerConeAngle", math.pi / 4.0) if spot else math.pi / 4.0
    if not 0.0 <= inner < outer <= math.pi / 2.0 + 1e-6:
        entry.fail(f"0 <= innerConeAngle ({inner:g}) < outerConeAngle ({outer:g}) <= pi / 2 must hold")
    cutoff = min(math.degrees(outer), 90.0)
    return SpotLight(
        to_world=as_transform(frame),
        intensity=intensity,
        cutoff_angle=cutoff,
        beam_width=min(math.degrees(inner), cutoff),
    )
