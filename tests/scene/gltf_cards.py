"""glTF scenes like Khronos' test cards: a camera in front of quads whose correct image is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from gltf_files import QUAD_UV, GltfFile

import nrc_tracer as nrc
from nrc_tracer.imaging import write_image

BLACK = {"baseColorFactor": [0, 0, 0, 1], "metallicFactor": 0}
SQUARE = ((-0.5, -0.5, 0), (0.5, -0.5, 0), (0.5, 0.5, 0), (-0.5, 0.5, 0))


class Cards(GltfFile):
    """A file with an orthographic camera at z = 10 that sees x in [-half_width, half_width] around the origin."""

    def __init__(self, half_width: float = 0.5, aspect: float = 1.0) -> None:
        super().__init__()
        lens = {"xmag": half_width, "ymag": half_width / aspect, "znear": 0.01, "zfar": 100}
        self.node(camera=self.add("cameras", type="orthographic", orthographic=lens), translation=[0, 0, 10])

    def card(self, material: dict, uvs=QUAD_UV, *, node: dict | None = None, **attributes) -> None:
        """Append a unit square that faces the camera, at the origin unless its node moves it."""
        index = self.add("materials", **material)
        mesh = self.mesh(SQUARE, primitive={"material": index}, TEXCOORD_0=uvs, **attributes)
        self.node(mesh=mesh, **(node or {}))

    def light(self, **light) -> None:
        """Append a directional light that travels along -z of its node, which is turned by `rotation`."""
        lights = self.root.setdefault("extensions", {}).setdefault("KHR_lights_punctual", {"lights": []})["lights"]
        lights.append({"type": "directional", **light.pop("light", {})})
        self.node(extensions={"KHR_lights_punctual": {"light": len(lights) - 1}}, **light)

    def load(self, folder: Path, *, sky: float | None = None):
        """Write the file, together with a constant sky if one is given, and read it."""
        path = self.write(folder, "cards.glb")
        if sky is not None:
            write_image(folder / "cards.sky.exr", np.full((4, 8, 3), sky, np.float32))
        return nrc.load_scene(path)


def picture(scene, width: int, height: int, *, spp: int = 16, max_depth: int | None = None) -> np.ndarray:
    """Render a scene that must have no warnings: linear RGB, shape [height, width, 3]."""
    assert scene.warnings == ()
    renderer = nrc.Renderer(scene, width=width, height=height, max_depth=max_depth, filter="box")
    renderer.step(spp)
    assert renderer.dropped == 0
    return renderer.image().rgb


def turned(axis: tuple[float, float, float], degrees: float) -> list[float]:
    """The rotation of a node as a quaternion."""
    half = math.radians(degrees) / 2.0
    return [*(math.sin(half) * a for a in axis), math.cos(half)]
