"""Scenes in Mitsuba's format with masks, blends, bump and normal maps and vertex colours, alone and nested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.agreement.scenes import BOARD, FLOOR, GREY, LAMP, MATERIALS, SHAPES, SKY, SPHERE, scene

METAL = MATERIALS["roughconductor-ggx"]
PLASTIC = MATERIALS["roughplastic-beckmann"]
# Upright, with its back towards the camera
TURNED_BOARD = BOARD.replace('<translate y="1"/>', '<rotate y="1" angle="160"/><translate y="1"/>')
# A lamp behind the board, towards the camera
BACKLIGHT = """<shape type="rectangle"><transform name="to_world"><scale value="0.8"/><translate y="1.2" z="-1.5"/></transform>
 <emitter type="area"><rgb name="radiance" value="1.5,2,2.5"/></emitter></shape>"""


def bitmap(name: str, file: str, extra: str = "") -> str:
    """A bitmap texture of raw numbers from a file."""
    return (
        f'<texture name="{name}" type="bitmap"><string name="filename" value="{file}"/>'
        f'<boolean name="raw" value="true"/>{extra}</texture>'
    )


def holding(kind: str, parameters: str, *nested: str) -> str:
    """A BSDF that contains others."""
    return f'<bsdf type="{kind}">{parameters}{"".join(nested)}</bsdf>'


def two_sided(*nested: str) -> str:
    """A two-sided BSDF made from one BSDF for both sides, or from one for each side."""
    return holding("twosided", "", *nested)


OPACITY = bitmap("opacity", "share.png")
WEIGHT = bitmap("weight", "share.png")
HEIGHT = bitmap("height", "height.png") + '<float name="scale" value="0.4"/>'
NORMALS = bitmap("normalmap", "normals.png")
BLEND = holding("blendbsdf", WEIGHT, GREY, METAL)

# Two kinds of blend are left out because Mitsuba 3.9 contradicts itself for them (the mean of `sample` is not the integral of
# `eval`): blends with delta functions, and blends of one-sided with two-sided materials
MODIFIERS = {
    "mask-constant": (holding("mask", '<float name="opacity" value="0.6"/>', GREY), SPHERE, LAMP + SKY),
    "mask-bitmap": (holding("mask", OPACITY, two_sided(GREY)), BOARD, LAMP + SKY + BACKLIGHT),
    "mask-metal": (holding("mask", OPACITY, METAL), SHAPES["obj"], LAMP + SKY),
    "blend-constant": (
        holding("blendbsdf", '<float name="weight" value="0.3"/>', GREY, PLASTIC),
        SPHERE,
        LAMP + SKY,
    ),
    "blend-textured": (BLEND, SHAPES["obj"], LAMP + SKY),
    "blend-twosided": (two_sided(BLEND), TURNED_BOARD, LAMP + SKY),
    "blend-glass": (
        holding("blendbsdf", WEIGHT, MATERIALS["roughdielectric-ggx"], two_sided(GREY)),
        SPHERE,
        LAMP + SKY,
    ),
    "bump": (holding("bumpmap", HEIGHT, GREY), BOARD, LAMP + SKY),
    "bump-sphere": (holding("bumpmap", HEIGHT, PLASTIC), SPHERE, LAMP + SKY),
    "bump-turned": (two_sided(holding("bumpmap", HEIGHT, METAL)), TURNED_BOARD, LAMP + SKY),
    "bump-of-twosided": (holding("bumpmap", HEIGHT, two_sided(METAL)), TURNED_BOARD, LAMP + SKY),
    "bump-obj": (holding("bumpmap", HEIGHT.replace("0.4", "0.15"), METAL), SHAPES["obj"], LAMP + SKY),
    "bump-transformed": (
        holding(
            "bumpmap",
            bitmap(
                "height",
                "height.png",
                '<transform name="to_uv"><rotate z="1" angle="30"/><scale x="2" y="1.5"/></transform>',
            )
            + '<float name="scale" value="0.2"/>',
            GREY,
        ),
        BOARD,
        LAMP + SKY,
    ),
    "normalmap": (holding("normalmap", NORMALS, PLASTIC), BOARD, LAMP + SKY),
    "normalmap-sphere": (holding("normalmap", NORMALS, GREY), SPHERE, LAMP + SKY),
    # u and v are left-handed, yet Mitsuba 3.9's bitangent is normal x tangent
    "normalmap-mirrored": (
        holding("normalmap", NORMALS, PLASTIC),
        '<shape type="ply"><string name="filename" value="mirrored.ply"/>BSDF</shape>',
        LAMP + SKY,
    ),
    "normalmap-turned": (two_sided(holding("normalmap", NORMALS, METAL)), TURNED_BOARD, LAMP + SKY),
    "normalmap-anisotropic": (
        holding("normalmap", NORMALS, MATERIALS["roughconductor-anisotropic"]),
        SHAPES["obj"],
        LAMP + SKY,
    ),
    "normalmap-glass": (holding("normalmap", NORMALS, MATERIALS["roughdielectric-ggx"]), SPHERE, LAMP + SKY),
    "mask-bump-blend": (holding("mask", OPACITY, holding("bumpmap", HEIGHT, BLEND)), SHAPES["obj"], LAMP + SKY),
    "mask-sides": (
        holding("mask", '<float name="opacity" value="0.7"/>', two_sided(GREY, holding("normalmap", NORMALS, METAL))),
        TURNED_BOARD,
        LAMP + SKY,
    ),
    "vertex-colors": (
        '<bsdf type="diffuse"><texture name="reflectance" type="mesh_attribute"><string name="name" value="vertex_color"/>'
        '<float name="scale" value="0.8"/></texture></bsdf>',
        '<shape type="ply"><string name="filename" value="coloured.ply"/>BSDF</shape>',
        LAMP + SKY,
    ),
    "face-attribute": (
        '<bsdf type="diffuse"><texture name="reflectance" type="mesh_attribute"><string name="name" value="face_Heat"/>'
        "</texture></bsdf>",
        '<shape type="ply"><string name="filename" value="faces.ply"/>BSDF</shape>',
        LAMP + SKY,
    ),
}


def all_scenes() -> dict[str, str]:
    """The XML of every scene, by name."""
    scenes = {
        f"modifier-{name}": scene(bsdf=bsdf, shape=shape, lights=lights)
        for name, (bsdf, shape, lights) in MODIFIERS.items()
    }
    # A hole adds a segment to the path
    scenes["modifier-mask-depth"] = scene(bsdf=MODIFIERS["mask-constant"][0], depth=3)
    scenes["modifier-mask-floor"] = scene(
        shape="",
        floor=FLOOR.replace("diffuse", "mask")
        .replace('<bsdf type="mask">', '<bsdf type="mask"><bsdf type="diffuse"/>')
        .replace('name="reflectance"', 'name="opacity"'),
        lights=LAMP + SKY,
    )
    return scenes


def write_files(folder: Path) -> None:
    """Write the images and meshes that the scenes use."""
    rng = np.random.default_rng(11)
    Image.fromarray(rng.integers(0, 256, (8, 10), dtype=np.uint8)).save(folder / "share.png")
    Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(folder / "height.png")
    normals = rng.normal(size=(8, 8, 3)) * [0.35, 0.35, 0.0] + [0.0, 0.0, 1.0]
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    Image.fromarray(np.round((normals + 1.0) * 127.5).astype(np.uint8)).save(folder / "normals.png")
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(-0.9, 0.9, 7), np.linspace(0.1, 1.9, 7)))
    colors = rng.uniform(0.05, 1.0, (49, 3))
    first = (np.arange(6)[:, None] * 7 + np.arange(6)).ravel()
    faces = [(3, a, a + 1, a + 8) for a in first] + [(3, a, a + 8, a + 7) for a in first]
    rows = [f"{u:.5f} {v:.5f} 0 {r:.6f} {g:.6f} {b:.6f}" for u, v, (r, g, b) in zip(x, y, colors, strict=True)]
    header = ["ply", "format ascii 1.0", "element vertex 49", *(f"property float {n}" for n in "xyzrgb")]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    (folder / "coloured.ply").write_text("\n".join([*header, *rows, *(" ".join(map(str, f)) for f in faces)]) + "\n")
    heat = [f"property float Heat_{n}" for n in range(3)]
    texts = [" ".join(map(str, f)) + " {:.3f} {:.3f} {:.3f}".format(*rng.uniform(size=3)) for f in faces]
    lines = [*header[:-1], *heat, header[-1], *rows, *texts]
    (folder / "faces.ply").write_text("\n".join(lines) + "\n")
    rows = [f"{u:.5f} {v:.5f} 0 {0.5 - u / 2:.6f} {v / 2:.6f}" for u, v in zip(x, y, strict=True)]
    header = [
        line.replace("property float r", "property float u").replace("property float g", "property float v")
        for line in header
    ]
    header.remove("property float b")
    (folder / "mirrored.ply").write_text("\n".join([*header, *rows, *(" ".join(map(str, f)) for f in faces)]) + "\n")
