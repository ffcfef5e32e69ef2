"""A file's own light is judged by its effect: if it lights nothing, a sky is added."""

import tracemalloc

import numpy as np
import PIL.Image
import pytest
from gltf_files import GltfFile, sphere

from nrc_tracer.scene.fitted import SOFT_SKY
from nrc_tracer.scene.lit import is_lit
from nrc_tracer.scene.load import load_scene

FLOOR = ((-2, 0, 2), (2, 0, 2), (2, 0, -2), (-2, 0, -2))
CEILING = ((-1, 1, -1), (1, 1, -1), (1, 1, 1), (-1, 1, 1))
GREY = {"pbrMetallicRoughness": {"metallicFactor": 0}}


def _has_sky(path, *, strict: bool = True) -> bool:
    lights = load_scene(path, strict=strict).description.lights
    return SOFT_SKY in [getattr(light, "file", None) for light in lights]


def _mostly_black() -> np.ndarray:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[5, 7] = 255
    return pixels


def _ball(file: GltfFile, **material) -> None:
    positions, indices = sphere(12)
    index = file.add("materials", **material)
    uvs = np.column_stack((np.arctan2(positions[:, 0], positions[:, 2]) / (2 * np.pi) + 0.5, 0.5 + positions[:, 1] / 2))
    mesh = file.mesh(positions, indices.ravel(), {"material": index}, NORMAL=positions, TEXCOORD_0=uvs)
    file.node(mesh=mesh)


def _quad(file: GltfFile, corners, **material) -> None:
    file.node(mesh=file.mesh(corners, primitive={"material": file.add("materials", **material)}))


def test_an_almost_black_emission_texture_is_not_a_light(tmp_path):
    file = GltfFile()
    _ball(file, **GREY, emissiveFactor=[1, 1, 1], emissiveTexture={"index": file.image(_mostly_black())})
    assert _has_sky(file.write(tmp_path))
    assert (
        "the file's own light does not light the scene; a soft sky was added"
        in load_scene(tmp_path / "scene.glb").notes[1]
    )


def test_a_lamp_that_faces_away_is_not_a_light(tmp_path):
    """The same lamp above the same floor lights it if its front side faces the floor, but not if it faces the sky."""
    for corners, lit in ((CEILING, True), (CEILING[::-1], False)):
        file = GltfFile()
        _quad(file, FLOOR, **GREY)
        _quad(file, corners, **GREY, emissiveFactor=[1, 1, 1])
        assert _has_sky(file.write(tmp_path)) != lit


@pytest.mark.parametrize(("strength", "lit"), [(1.0, True), (1e-4, False)])
def test_a_lamp_is_judged_by_its_strength(tmp_path, strength, lit):
    file = GltfFile()
    _quad(file, FLOOR, **GREY)
    _quad(file, CEILING, **GREY, emissiveFactor=[strength] * 3)
    assert _has_sky(file.write(tmp_path)) != lit


@pytest.mark.parametrize("kind", ["point", "spot", "directional"])
@pytest.mark.parametrize(("intensity", "lit"), [(3.0, True), (0.0, False)])
def test_a_punctual_light_counts_by_its_intensity(tmp_path, kind, intensity, lit):
    file = GltfFile()
    _quad(file, FLOOR, **GREY)
    file.root["extensions"] = {"KHR_lights_punctual": {"lights": [{"type": kind, "intensity": intensity}]}}
    down = [-np.sqrt(0.5), 0, 0, np.sqrt(0.5)]
    file.node(translation=[0, 1, 0], rotation=down, extensions={"KHR_lights_punctual": {"light": 0}})
    assert _has_sky(file.write(tmp_path)) != lit


def test_an_emissive_object_needs_no_light(tmp_path):
    for material in ({"extensions": {"KHR_materials_unlit": {}}}, {"emissiveFactor": [0.5, 0.5, 0.5]}):
        file = GltfFile()
        _ball(file, **material)
        assert not _has_sky(file.write(tmp_path))


@pytest.mark.parametrize(("pixels", "lit"), [(_mostly_black(), False), (np.full((4, 4, 3), 255, np.uint8), True)])
def test_emission_textures_of_a_material_library(tmp_path, pixels, lit):
    PIL.Image.fromarray(pixels).save(tmp_path / "e.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nKe 0 0 0\nmap_Ke e.png\n")
    text = "mtllib a.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 2 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"
    (tmp_path / "a.obj").write_text(text)
    assert _has_sky(tmp_path / "a.obj") != lit


def test_the_light_of_a_square_lamp_above_a_floor_decides_at_a_hundredth_of_the_sky(tmp_path):
    """The sky's mean radiance is L; a ceiling that closely covers a floor gives it about its own radiance."""
    from nrc_tracer.scene.fitted import sky_pixels

    sky = sky_pixels(16).mean()
    for factor, lit in ((0.004, False), (0.04, True)):
        file = GltfFile()
        _quad(file, ((-2, 0, 2), (2, 0, 2), (2, 0, -2), (-2, 0, -2)), **GREY)
        _quad(
            file,
            ((-2, 0.2, -2), (2, 0.2, -2), (2, 0.2, 2), (-2, 0.2, 2)),
            **GREY,
            emissiveFactor=[factor * float(sky)] * 3,
        )
        assert _has_sky(file.write(tmp_path)) != lit


def test_a_lamp_without_area_is_not_a_light(tmp_path):
    file = GltfFile()
    _quad(file, FLOOR, **GREY)
    _quad(file, [CEILING[0]] * 4, emissiveFactor=[1, 1, 1])
    assert _has_sky(file.write(tmp_path))


def test_a_mirrored_lamp_emits_like_its_mirror_image(tmp_path):
    """After mirroring in y, a lamp below the floor that faces down lights it from above, and one that faces up does not."""
    below = [(x, -y, z) for x, y, z in CEILING]
    for corners, lit in ((below[::-1], True), (below, False)):
        file = GltfFile()
        _quad(file, FLOOR, **GREY)
        material = file.add("materials", **GREY, emissiveFactor=[1, 1, 1])
        file.node(mesh=file.mesh(corners, primitive={"material": material}), scale=[1, -1, 1])
        assert _has_sky(file.write(tmp_path)) != lit


@pytest.mark.parametrize(("turn", "lit"), [(-1, True), (1, False)])
def test_a_spotlight_lights_only_its_cone(tmp_path, turn, lit):
    file = GltfFile()
    _quad(file, FLOOR, **GREY)
    file.root["extensions"] = {"KHR_lights_punctual": {"lights": [{"type": "spot", "intensity": 30}]}}
    rotation = [turn * np.sqrt(0.5), 0, 0, np.sqrt(0.5)]
    file.node(translation=[0, 1, 0], rotation=rotation, extensions={"KHR_lights_punctual": {"light": 0}})
    assert _has_sky(file.write(tmp_path)) != lit


@pytest.mark.parametrize("bright", ["top", "bottom"])
@pytest.mark.parametrize("clamp", [False, True])
def test_emission_textures_are_read_at_the_texture_coordinates_of_the_surface(tmp_path, bright, clamp):
    """An OBJ shows v from 1 to 1.5: the bottom half of an image that repeats, and the top row of one that is clamped."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[: 4 if bright == "top" else None][-4:] = 255
    PIL.Image.fromarray(pixels).save(tmp_path / "e.png")
    (tmp_path / "a.mtl").write_text(f"newmtl m\nKe 1 1 1\nmap_Ke {'-clamp on ' if clamp else ''}e.png\n")
    corners = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 1.01\nvt 1 1.01\nvt 1 1.49\nvt 0 1.49\n"
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\nusemtl m\n{corners}f 1/1 2/2 3/3 4/4\n")
    assert _has_sky(tmp_path / "a.obj") == ((bright == "top") != clamp)


@pytest.mark.parametrize(("code", "lit"), [(8, False), (64, True)])
def test_emission_textures_are_srgb(tmp_path, code, lit):
    """A code of 8 is a radiance of 0.0024, less than a hundredth of the sky; read as linear it would be ten times as much."""
    PIL.Image.fromarray(np.full((2, 2, 3), code, np.uint8)).save(tmp_path / "e.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nKe 1 1 1\nmap_Ke e.png\n")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    assert _has_sky(tmp_path / "a.obj") != lit


@pytest.mark.parametrize(("distance", "lit"), [(1, True), (1000, False)])
def test_a_light_counts_by_its_distance(tmp_path, distance, lit):
    file = GltfFile()
    _quad(file, FLOOR, **GREY)
    file.root["extensions"] = {"KHR_lights_punctual": {"lights": [{"type": "point", "intensity": 3}]}}
    file.node(translation=[0, distance, 0], extensions={"KHR_lights_punctual": {"light": 0}})
    assert _has_sky(file.write(tmp_path)) != lit


@pytest.mark.parametrize(("side", "lit"), [(8, False), (14, True)])
def test_candidates_represent_all_triangles(tmp_path, monkeypatch, side, lit):
    """Next to a ball of area 12.6, a square whose light leaves the scene counts if it has nine tenths of the total area."""
    monkeypatch.setattr("nrc_tracer.scene.lit.CANDIDATES", 10)
    file = GltfFile()
    _ball(file, **GREY)  # fifty times as many triangles as candidates
    square = np.array([(0, 2, 0), (0, 2, 1), (1, 2, 1), (1, 2, 0)]) * (side, 1, side)
    _quad(file, square, **GREY, emissiveFactor=[1, 1, 1])
    assert _has_sky(file.write(tmp_path)) != lit


def test_instances_need_little_memory(tmp_path):
    """However often a mesh is instanced, only a bounded number of its triangles is transformed, and the result is the same."""
    file = GltfFile()
    positions, indices = sphere(100)
    mesh = file.mesh(positions, indices.ravel(), {"material": file.add("materials", **GREY)})
    for number in range(40):
        file.node(mesh=mesh, translation=[3 * number, 0, 0])
    file.root["extensions"] = {"KHR_lights_punctual": {"lights": [{"type": "point", "intensity": 30}]}}
    file.node(translation=[60, 3, 0], extensions={"KHR_lights_punctual": {"light": 0}})
    scene = load_scene(file.write(tmp_path))
    assert len(scene.meshes["scene.glb#mesh0.0"].indices) * 40 > 1_000_000
    tracemalloc.start()
    assert is_lit(scene)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # a million triangles have 36 MB of coordinates in float32, and twice as much in float64


@pytest.mark.filterwarnings("error::RuntimeWarning", "ignore:.*it will look rough:nrc_tracer.SceneWarning")
@pytest.mark.parametrize("size", [1e-80, 1e-38, 1e36])
def test_scenes_of_any_size(tmp_path, size):
    """The same lamp lights the same floor at any size, even where squares of lengths overflow or underflow."""
    file = GltfFile()
    for corners, material in ((FLOOR, GREY), (CEILING, {**GREY, "emissiveFactor": [1, 1, 1]})):
        index = file.mesh(corners, primitive={"material": file.add("materials", **material)})
        file.node(mesh=index, scale=[size] * 3)
    assert not _has_sky(file.write(tmp_path), strict=size > np.finfo(np.float32).tiny)
