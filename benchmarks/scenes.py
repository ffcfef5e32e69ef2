"""The scenes of the rendering benchmark, as Mitsuba XML that both renderers read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

HEAD = """<scene version="3.0.0">
<integrator type="path"><integer name="max_depth" value="8"/></integrator>
<sensor type="perspective"><float name="fov" value="{fov}"/>
 <transform name="to_world"><lookat origin="{origin}" target="{target}" up="0,1,0"/></transform>
 <film type="hdrfilm"><integer name="width" value="{width}"/><integer name="height" value="{width}"/><rfilter type="box"/>
  <string name="component_format" value="float32"/></film>
 <sampler type="independent"/></sensor>
"""


def _diffuse(rgb: str) -> str:
    return f'<bsdf type="twosided"><bsdf type="diffuse"><rgb name="reflectance" value="{rgb}"/></bsdf></bsdf>'


def _shape(kind: str, transform: str, body: str) -> str:
    return f'<shape type="{kind}"><transform name="to_world">{transform}</transform>{body}</shape>\n'


def cornell_box(folder: Path, width: int) -> str:
    """A box with two blocks and a lamp, all diffuse."""
    white, red, green = _diffuse("0.73,0.71,0.68"), _diffuse("0.63,0.06,0.05"), _diffuse("0.14,0.45,0.09")
    lamp = white + '<emitter type="area"><rgb name="radiance" value="17,12,4"/></emitter>'
    return (
        HEAD.format(fov=39.3, origin="0,0,3.9", target="0,0,0", width=width)
        + _shape("rectangle", '<rotate x="1" angle="-90"/><translate y="-1"/>', white)
        + _shape("rectangle", '<rotate x="1" angle="90"/><translate y="1"/>', white)
        + _shape("rectangle", '<translate z="-1"/>', white)
        + _shape("rectangle", '<rotate y="1" angle="90"/><translate x="-1"/>', red)
        + _shape("rectangle", '<rotate y="1" angle="-90"/><translate x="1"/>', green)
        + _shape("rectangle", '<scale value="0.25"/><rotate x="1" angle="90"/><translate y="0.99"/>', lamp)
        + _shape(
            "cube",
            '<scale x="0.3" y="0.6" z="0.3"/><rotate y="1" angle="20"/><translate x="-0.35" y="-0.4" z="-0.3"/>',
            white,
        )
        + _shape(
            "cube", '<scale value="0.3"/><rotate y="1" angle="-18"/><translate x="0.35" y="-0.7" z="0.35"/>', white
        )
        + "</scene>"
    )


def material_spheres(folder: Path, width: int) -> str:
    """Nine spheres of nine materials on a chequered floor, under a lamp and a sky."""
    gold = '<rgb name="eta" value="0.143,0.375,1.442"/><rgb name="k" value="3.983,2.386,1.603"/>'
    ggx = '<string name="distribution" value="ggx"/>'
    materials = [
        '<bsdf type="diffuse"><rgb name="reflectance" value="0.6,0.3,0.2"/></bsdf>',
        f'<bsdf type="conductor">{gold}</bsdf>',
        f'<bsdf type="roughconductor"><float name="alpha" value="0.25"/>{ggx}{gold}</bsdf>',
        '<bsdf type="dielectric"/>',
        f'<bsdf type="roughdielectric"><float name="alpha" value="0.2"/>{ggx}</bsdf>',
        '<bsdf type="thindielectric"/>',
        '<bsdf type="plastic"><rgb name="diffuse_reflectance" value="0.1,0.3,0.6"/></bsdf>',
        '<bsdf type="roughplastic"><rgb name="diffuse_reflectance" value="0.1,0.5,0.2"/>'
        f'<float name="alpha" value="0.2"/>{ggx}</bsdf>',
        '<bsdf type="roughconductor"><float name="alpha" value="0.1"/><string name="distribution" value="beckmann"/></bsdf>',
    ]
    board = (
        '<bsdf type="diffuse"><texture name="reflectance" type="checkerboard">'
        '<transform name="to_uv"><scale value="8"/></transform></texture></bsdf>'
    )
    body = HEAD.format(fov=35, origin="0,4.5,8", target="0,0.4,0", width=width)
    body += _shape("rectangle", '<rotate x="1" angle="-90"/><scale value="8"/>', board)
    lamp = '<emitter type="area"><rgb name="radiance" value="6,5.5,5"/></emitter>'
    body += _shape("rectangle", '<scale value="1.5"/><rotate x="1" angle="90"/><translate x="-2" y="5" z="2"/>', lamp)
    for i, material in enumerate(materials):
        x, z = 1.6 * (i % 3 - 1), 1.6 * (i // 3 - 1)
        ball = f'<point name="center" x="{x}" y="0.7" z="{z}"/><float name="radius" value="0.7"/>'
        body += f'<shape type="sphere">{ball}{material}</shape>\n'
    return body + '<emitter type="constant"><rgb name="radiance" value="0.4,0.5,0.6"/></emitter></scene>'


def million_triangles(folder: Path, width: int) -> str:
    """A ball of 1.3 million triangles."""
    return rippled_ball(folder, width, 800, 820)


def rippled_ball(folder: Path, width: int, rows: int, columns: int) -> str:
    """A ball with two triangles per quad of rows x columns vertices, with normals, under a lamp and a sky."""
    theta, phi = np.meshgrid(np.linspace(1e-3, np.pi - 1e-3, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij")
    radius = 1.0 + 0.06 * np.sin(9 * theta) * np.sin(12 * phi) + 0.012 * np.sin(61 * theta) * np.cos(70 * phi)
    p = radius[..., None] * np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], axis=-1)
    n = np.cross(np.gradient(p, axis=1), np.gradient(p, axis=0))
    n /= np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-12)
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate([np.stack([a, a + 1, a + columns], 1), np.stack([a + 1, a + columns + 1, a + columns], 1)])
    vertices = np.concatenate([p, n], axis=-1).reshape(-1, 6).astype("<f4")
    records = np.zeros(len(faces), [("n", "u1"), ("i", "<i4", 3)])
    records["n"], records["i"] = 3, faces
    names = "".join(f"property float {c}\n" for c in ("x", "y", "z", "nx", "ny", "nz"))
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n{names}"
    header += f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    (folder / "ball.ply").write_bytes(header.encode() + vertices.tobytes() + records.tobytes())
    body = HEAD.format(fov=35, origin="0,1.5,4.2", target="0,0,0", width=width)
    body += _shape(
        "rectangle", '<rotate x="1" angle="-90"/><scale value="6"/><translate y="-1.1"/>', _diffuse("0.5,0.5,0.5")
    )
    body += f'<shape type="ply"><string name="filename" value="ball.ply"/>{_diffuse("0.7,0.5,0.3")}</shape>\n'
    lamp = '<emitter type="area"><rgb name="radiance" value="8,7,6"/></emitter>'
    body += _shape("rectangle", '<rotate x="1" angle="90"/><translate x="1" y="3.5" z="1"/>', lamp)
    return body + '<emitter type="constant"><rgb name="radiance" value="0.3,0.4,0.5"/></emitter></scene>'


def published(source: Path, width: int) -> str:
    """A published scene with the integrator, sampler and film of the other scenes. Its files are linked to by absolute paths."""
    root = ElementTree.parse(source).getroot()
    settings = ElementTree.fromstring(HEAD.format(fov=0, origin="0,0,0", target="0,0,1", width=width) + "</scene>")
    integrator = root.find("integrator")
    sensor = root.find("sensor")
    if integrator is None or sensor is None:
        raise ValueError(f"{source}: a scene without an integrator or a sensor")
    root.remove(integrator)
    root.insert(0, settings[0])
    for element in sensor.findall("film") + sensor.findall("sampler"):
        sensor.remove(element)
    sensor.extend(settings[1].findall("film") + settings[1].findall("sampler"))
    if root.get("version", "").startswith("0."):  # the names of Mitsuba 0.6, as in the rest of the file
        for element in (*root.find("integrator").iter(), *sensor.find("film").iter()):
            element.set("name", re.sub(r"_(.)", lambda match: match[1].upper(), element.get("name", "")))
    for name in root.iter("string"):
        if name.get("name") == "filename":
            name.set("value", str((source.parent / name.get("value", "")).resolve()))
    return ElementTree.tostring(root, encoding="unicode")


GENERATED = {"cornell-box": cornell_box, "material-spheres": material_spheres, "million-triangles": million_triangles}
"""Functions that write a scene's files into a folder, and return its XML."""

PUBLISHED = ("veach-ajar", "grey-white-room", "classroom", "modern-hall", "cornell-box")
"""Folders of published scenes below `scenes/mitsuba` of the data. The published Cornell box is called `cornell-box-published`."""

SCENES = (*GENERATED, *(name if name not in GENERATED else f"{name}-published" for name in PUBLISHED))


def write_scenes(folder: Path, width: int, names: Iterable[str], data: Path) -> dict[str, Path]:
    """Write scene files and return their paths by name. Published scenes are left out, with a notice, where there is no data."""
    paths = {}
    for name in names:
        path = folder / f"{name}.xml"
        if name in GENERATED:
            path.write_text(GENERATED[name](folder, width))
        else:
            source = data / "scenes/mitsuba" / name.removesuffix("-published") / "scene.xml"
            if not source.exists():
                print(f"{name}: left out, for {source} does not exist (set NRC_DATA)")
                continue
            path.write_text(published(source, width))
        paths[name] = path
    return paths
