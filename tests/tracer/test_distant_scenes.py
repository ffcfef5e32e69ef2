"""Scenes far from the origin, such as maps: they look as they do near it, whatever their format."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

import nrc_tracer as nrc
from nrc_tracer.scene.convert import write_scene
from nrc_tracer.scene.model import Scene
from nrc_tracer.tasks.sdf.mesh import load_unit_mesh
from nrc_tracer.tracer import Renderer

PLACE = np.array([500_000.0, 5_500_000.0, 400.0])
"""A place in metres as maps state it. It is a multiple of 4, so that moved numbers have short decimal forms."""


def ball() -> tuple[np.ndarray, np.ndarray]:
    """A ball of radius 1 with coordinates of five decimals, float64 [count, 3], and its triangles."""
    rows, columns = 16, 32
    theta, phi = np.meshgrid(
        np.pi * np.arange(1, rows) / rows, 2.0 * np.pi * np.arange(columns) / columns, indexing="ij"
    )
    ring = np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], axis=-1).reshape(-1, 3)
    positions = np.round(np.concatenate([ring, [[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]]), 5)
    top, bottom = len(ring), len(ring) + 1
    faces = []
    for i in range(columns):
        k = (i + 1) % columns
        faces += [(top, k, i), (bottom, len(ring) - columns + i, len(ring) - columns + k)]
        for row in range(rows - 2):
            a, b = row * columns, (row + 1) * columns
            faces += [(a + i, a + k, b + k), (a + i, b + k, b + i)]
    return positions, np.array(faces)


def obj_text(at: np.ndarray) -> str:
    positions, indices = ball()
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in positions + at]
    return "\n".join([*lines, *(f"f {a} {b} {c}" for a, b, c in indices + 1)]) + "\n"


def write_obj(folder: Path, at: np.ndarray) -> Path:
    (folder / "ball.obj").write_text(obj_text(at))
    return folder / "ball.obj"


def write_ply_text(folder: Path, at: np.ndarray, kind: str = "double") -> Path:
    positions, indices = ball()
    header = f"ply\nformat ascii 1.0\nelement vertex {len(positions)}\n"
    header += "".join(f"property {kind} {axis}\n" for axis in "xyz")
    header += f"element face {len(indices)}\nproperty list uchar int vertex_indices\nend_header\n"
    body = [f"{x:.5f} {y:.5f} {z:.5f}" for x, y, z in positions + at] + [f"3 {a} {b} {c}" for a, b, c in indices]
    (folder / "ball.ply").write_text(header + "\n".join(body) + "\n")
    return folder / "ball.ply"


def write_ply_binary(folder: Path, at: np.ndarray, kind: str = "double") -> Path:
    positions, indices = ball()
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(positions)}\n"
    header += "".join(f"property {kind} {axis}\n" for axis in "xyz")
    header += f"element face {len(indices)}\nproperty list uchar int vertex_indices\nend_header\n"
    faces = np.zeros(len(indices), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, indices
    data = (positions + at).astype({"double": "<f8", "float": "<f4"}[kind]).tobytes()
    (folder / "ball.ply").write_bytes(header.encode() + data + faces.tobytes())
    return folder / "ball.ply"


def write_stl(folder: Path, at: np.ndarray) -> Path:
    positions, indices = ball()
    corners = (positions + at)[indices]
    facets = ["".join(f"vertex {x:.5f} {y:.5f} {z:.5f}\n" for x, y, z in corner) for corner in corners]
    text = "".join(f"facet normal 0 0 0\nouter loop\n{facet}endloop\nendfacet\n" for facet in facets)
    (folder / "ball.stl").write_text(f"solid ball\n{text}endsolid ball\n")
    return folder / "ball.stl"


def write_glb(folder: Path, at: np.ndarray) -> Path:
    """A ball under two nodes, the outer one far away, with a camera and a lamp beside the ball."""
    positions, indices = ball()
    data = positions.astype("<f4").tobytes() + indices.astype("<u4").tobytes()
    turned = [0.0, 0.0, 0.0, 1.0]
    document = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_lights_punctual"],
        "extensions": {"KHR_lights_punctual": {"lights": [{"type": "point", "intensity": 900.0}]}},
        "scenes": [{"nodes": [0]}],
        "nodes": [
            {"translation": at.tolist(), "children": [1, 2, 3]},
            {"mesh": 0, "rotation": turned},
            {"camera": 0, "translation": [0.0, 0.0, 6.0]},
            {"translation": [2.0, 3.0, 4.0], "extensions": {"KHR_lights_punctual": {"light": 0}}},
        ],
        "cameras": [{"type": "perspective", "perspective": {"yfov": 0.5, "znear": 0.01}}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": len(data)}],
        "bufferViews": [
            {"buffer": 0, "byteLength": positions.size * 4},
            {"buffer": 0, "byteOffset": positions.size * 4, "byteLength": indices.size * 4},
        ],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": len(positions),
                "type": "VEC3",
                "min": [-1] * 3,
                "max": [1] * 3,
            },
            {"bufferView": 1, "componentType": 5125, "count": indices.size, "type": "SCALAR"},
        ],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    (folder / "ball.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return folder / "ball.glb"


def write_json(folder: Path, at: np.ndarray) -> Path:
    """Shapes of all kinds and an instance, lit by a point, a spot, an area and a sphere."""
    here = lambda *offset: (at + offset).tolist()  # noqa: E731
    move = lambda *offset: [{"type": "translate", "value": here(*offset)}]  # noqa: E731
    (folder / "part.obj").write_text(obj_text(np.zeros(3)))
    positions, indices = ball()
    scene = {
        "camera": {
            "type": "perspective",
            "fov": 50.0,
            "to_world": [{"type": "look_at", "origin": here(0, 2, 9), "target": here(0, 0, 0)}],
        },
        "film": {"width": 48, "height": 48},
        "groups": {"pair": [{"type": "mesh", "file": "part.obj"}]},
        "shapes": [
            {"type": "instance", "group": "pair", "to_world": move(-2.5, 0, 0)},
            {"type": "instance", "group": "pair", "to_world": move(2.5, 0, 0)},
            {"type": "sphere", "center": here(0, 0, 0)},
            {"type": "sphere", "center": here(0, 2.5, 0), "radius": 0.25, "emission": 5.0},
            {
                "type": "sphere",
                "center": here(0, -1, 0),
                "to_world": [*move(*-2 * at), {"type": "scale", "value": [1, 0.3, 1]}, *move(0, 0, -1)],
            },
            {"type": "cylinder", "p0": here(-1, -1.5, 2), "p1": here(1, -1.5, 2), "radius": 0.25},
            {"type": "cube", "to_world": [{"type": "scale", "value": 0.5}, *move(0, -2, 0)]},
            {"type": "mesh", "positions": (positions * 0.5 + here(0, 0, 2.5)).tolist(), "indices": indices.tolist()},
        ],
        "lights": [
            {"type": "point", "position": here(3, 4, 5), "intensity": 30.0},
            {
                "type": "spot",
                "intensity": 90.0,
                "to_world": [{"type": "look_at", "origin": here(-3, 4, 5), "target": here(0, 0, 0)}],
            },
            {"type": "constant", "radiance": 0.1},
        ],
    }
    (folder / "scene.json").write_text(json.dumps(scene))
    return folder / "scene.json"


def write_xml(folder: Path, at: np.ndarray) -> Path:
    (folder / "part.obj").write_text(obj_text(np.zeros(3)))
    x, y, z = at
    (folder / "scene.xml").write_text(
        f'<scene version="3.0.0"><sensor type="perspective"><float name="fov" value="40"/><transform name="to_world">'
        f'<lookat origin="{x},{y + 1},{z + 5}" target="{x},{y},{z}" up="0,1,0"/></transform></sensor>'
        f'<emitter type="point"><point name="position" x="{x + 2}" y="{y + 3}" z="{z + 4}"/>'
        f'<float name="intensity" value="30"/></emitter>'
        f'<shape type="obj"><string name="filename" value="part.obj"/><transform name="to_world">'
        f'<translate x="{x}" y="{y}" z="{z}"/></transform></shape></scene>'
    )
    return folder / "scene.xml"


WRITERS = {
    "obj": write_obj,
    "ply-text": write_ply_text,
    "ply-text-float": lambda folder, at: write_ply_text(folder, at, "float"),
    "ply-binary": write_ply_binary,
    "stl": write_stl,
    "glb": write_glb,
    "json": write_json,
    "xml": write_xml,
}


def load(name: str, folder: Path, at: np.ndarray) -> Scene:
    folder.mkdir(exist_ok=True)
    return nrc.load_scene(WRITERS[name](folder, at), strict=True)


@pytest.mark.parametrize("name", WRITERS)
def test_distant_scenes_look_as_near_ones(name, tmp_path):
    """Every format and kind of shape, light and camera gives the same image where it is moved half a thousand kilometres."""
    images = []
    for folder, at in (("near", np.zeros(3)), ("distant", PLACE)):
        renderer = Renderer(load(name, tmp_path / folder, at), device="cpu", width=48, height=48)
        renderer.step(8)
        images.append(renderer.image().rgb)
    # float32 rounds the positions elsewhere, and hardly any path turns another way
    same = np.isclose(*images, rtol=0.02, atol=0.01).all(axis=-1)
    assert same.mean() > 0.97
    assert images[0].mean() == pytest.approx(images[1].mean(), rel=0.01)
    assert images[0].std() > 0.02


def test_layers_have_the_files_coordinates(tmp_path):
    """Positions are those of the file, depth is measured from the camera, and nothing is seen beyond the ball."""
    renderer = Renderer(load("xml", tmp_path, PLACE), device="cpu", width=33, height=33)
    renderer.step(4)
    layers = renderer.layers(("position", "depth"))
    seen = np.isfinite(layers["depth"])
    assert 0.1 < seen.mean() < 0.9
    np.testing.assert_allclose(np.linalg.norm(layers["position"][seen] - PLACE, axis=1), 1.0, atol=0.05)
    assert not layers["position"][~seen].any()
    np.testing.assert_allclose(layers["depth"][16, 16], np.sqrt(26.0) - 1.0, atol=0.02)


def test_a_cache_learns_in_the_files_coordinates(tmp_path):
    """Its cube lies around the distant scene, and its image is that of the near one."""
    means = []
    for folder, at in (("near", np.zeros(3)), ("distant", PLACE)):
        cache = nrc.RadianceCache(train_frames=4)
        renderer = Renderer(
            load("json", tmp_path / folder, at), device="cpu", width=48, height=48, cache=cache, max_depth=-1
        )
        renderer.step(8)
        assert np.all((at > cache.low) & (at < cache.low + cache.size))
        means.append(renderer.image().rgb.mean())
    assert means[0] == pytest.approx(means[1], rel=0.02)


def test_written_scenes_stay_where_they_are(tmp_path):
    """A converted scene has the positions of the original one in float64."""
    loaded = load("obj", tmp_path, PLACE)
    write_scene(loaded, tmp_path / "copy.json")
    again = nrc.load_scene(tmp_path / "copy.json", strict=True)
    (before,), (after,) = loaded.meshes.values(), again.meshes.values()
    assert after.positions.dtype == np.float64
    np.testing.assert_array_equal(after.positions, before.positions)


@pytest.mark.parametrize("name", ["obj", "ply-text", "ply-binary", "stl", "glb"])
def test_distant_meshes_are_fitted_as_near_ones(name, tmp_path):
    """In the unit cube, which a network learns, a distant mesh is the near one; its bounds are where it lies."""
    units = []
    for folder, at in (("near", np.zeros(3)), ("distant", PLACE)):
        (tmp_path / folder).mkdir()
        unit = load_unit_mesh(WRITERS[name](tmp_path / folder, at))
        np.testing.assert_allclose(unit.bounds, [at - 1.0, at + 1.0], atol=1e-3)
        units.append(unit)
    near, distant = units
    assert len(near.indices) == len(distant.indices)
    order = [np.lexsort(np.round(unit.positions, 4).T) for unit in units]
    assert len(near.positions) == len(distant.positions)
    np.testing.assert_allclose(near.positions[order[0]], distant.positions[order[1]], atol=2e-4)


def test_positions_in_float32_are_a_warning(tmp_path):
    """A file that states distant positions in float32 has lost the shape already; a warning says so."""
    path = write_ply_binary(tmp_path, PLACE, "float")
    with pytest.warns(nrc.SceneWarning, match="where float32 has steps of 0.5, and it is 2 wide; it will look rough"):
        loaded = nrc.load_scene(path)
    assert len(loaded.warnings) == 1


def test_a_small_thing_far_from_the_others_is_a_warning(tmp_path):
    """No origin suits both a ball of 1 mm and one 100 km away; of equal warnings there is one with the number of the others."""
    scene = {
        "camera": {"type": "perspective"},
        "shapes": [
            {"type": "sphere", "radius": 0.001, "center": [100_000.0, 0.0, 0.0]},
            {"type": "sphere", "radius": 0.001, "center": [100_001.0, 0.0, 0.0]},
            {"type": "sphere", "radius": 10.0},
        ],
        "lights": [{"type": "constant"}],
    }
    (tmp_path / "scene.json").write_text(json.dumps(scene))
    with pytest.warns(nrc.SceneWarning, match=r"and it is 0.002 wide; it will look rough \(and 1 other shape\)"):
        nrc.load_scene(tmp_path / "scene.json")
