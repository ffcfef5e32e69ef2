"""Mitsuba scene files: published scenes, XML documents, shapes, lights and cameras mean the same as in Mitsuba."""

from __future__ import annotations

import numpy as np
import pytest

from nrc_tracer.scene.geometry import tessellate
from nrc_tracer.scene.mitsuba import read_mitsuba
from nrc_tracer.scene.model import (
    Bitmap,
    ConstantLight,
    Cylinder,
    Dielectric,
    Diffuse,
    DirectionalLight,
    EnvironmentMap,
    Integrator,
    Mesh,
    Orthographic,
    PointLight,
    Sphere,
    SpotLight,
)
from nrc_tracer.scene.transforms import matrix

SENSOR = '<sensor type="perspective"/>'


PUBLISHED = {
    "classroom": (79, ()),
    "cornell-box": (8, ()),
    "grey-white-room": (65, ()),
    "modern-hall": (
        32,
        ('219: medium "homogeneous" in shape "obj" is not supported yet; the shape is left empty',),
    ),
    "veach-ajar": (22, ()),
    "veach-mis": (9, ()),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_scenes(data_folder, name):
    """Every published scene is read with exactly the expected warnings, and the files that it uses exist."""
    path = data_folder / "scenes" / "mitsuba" / name / "scene.xml"
    count, expected = PUBLISHED[name]
    description, warnings = read_mitsuba(path)
    assert len(description.shapes) == count
    assert warnings == tuple(f"{path}:{line}" for line in expected)
    files = [shape.file for shape in description.shapes if isinstance(shape, Mesh)]
    files += [texture.file for texture in description.textures.values() if isinstance(texture, Bitmap)]
    files += [light.file for light in description.lights if isinstance(light, EnvironmentMap)]
    assert all((path.parent / file).is_file() for file in files)


@pytest.mark.parametrize("name", ["cornell-box", "veach-mis"])
def test_camera_rays_agree_with_mitsuba(data_folder, name):
    """Rays from the camera through the centre of the scene hit the same points as Mitsuba's rays."""
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    path = data_folder / "scenes" / "mitsuba" / name / "scene.xml"
    scene = mi.load_file(str(path), optimize=False)
    description, _ = read_mitsuba(path)
    camera = description.camera
    to_world = matrix(camera.to_world)
    half = np.tan(np.radians(camera.fov / 2))
    film = description.film
    for x, y in ((0.5, 0.5), (0.1, 0.3), (0.8, 0.7)):
        ray, _ = scene.sensors()[0].sample_ray(0.0, 0.5, [x, y], [0.5, 0.5])
        local = np.array(((1 - 2 * x) * half, (1 - 2 * y) * half * film.height / film.width, 1.0))
        direction = to_world[:3, :3] @ local
        np.testing.assert_allclose(list(ray.d), direction / np.linalg.norm(direction), atol=1e-5)
    assert tuple(scene.sensors()[0].film().size()) == (film.width, film.height)
    boxes = {shape.id(): shape.bbox() for shape in scene.shapes()}
    assert boxes.keys() == {shape.name for shape in description.shapes}
    for ours in description.shapes:
        box = boxes[ours.name]
        if isinstance(ours, Sphere):
            low, high = np.subtract(ours.center, ours.radius), np.add(ours.center, ours.radius)
        else:
            points = tessellate(ours).positions @ matrix(ours.to_world)[:3, :3].T + matrix(ours.to_world)[:3, 3]
            low, high = points.min(axis=0), points.max(axis=0)
        np.testing.assert_allclose(low, list(box.min), atol=1e-4)
        np.testing.assert_allclose(high, list(box.max), atol=1e-4)


def test_parameters_and_defaults(read):
    """Given parameters override defaults, the longest name is substituted, and a backslash escapes the dollar."""
    body = (
        '<default name="w" value="10"/><default name="width" value="20"/><default name="w" value="30"/>'
        '<sensor type="perspective"><film type="hdrfilm"><integer name="width" value="$width"/>'
        '<integer name="height" value="1$w"/></film></sensor>'
        '<shape type="sphere" id="\\$w"/>'
    )
    description, _ = read(body)
    assert (description.film.width, description.film.height) == (20, 110)
    assert description.shapes[0].name == "$w"
    assert read(body, w="5")[0].film.height == 15


def test_references_and_aliases(read):
    """References may point forward, be inside bsdfs and textures, and use an alias."""
    description, warnings = read(
        f"{SENSOR}"
        '<alias id="wood" as="oak"/>'
        '<shape type="sphere"><ref id="both"/></shape><shape type="cube"><ref name="bsdf" id="both"/></shape>'
        '<bsdf type="twosided" id="both"><ref id="plain"/></bsdf>'
        '<bsdf type="diffuse" id="plain"><ref name="reflectance" id="oak"/></bsdf>'
        '<texture type="checkerboard" id="wood"/>'
    )
    assert warnings == ()
    assert [shape.material for shape in description.shapes] == ["both", "both"]
    assert description.materials["both"] == Diffuse(reflectance="wood", two_sided=True)
    assert description.materials["plain"] == Diffuse(reflectance="wood", two_sided=False)
    assert list(description.textures) == ["wood"]


def test_includes_and_paths(tmp_path):
    """Files are searched next to an included file and in the folder of <path>; the result is relative to the main folder."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "meshes").mkdir()
    for file in ("parts/near.obj", "meshes/far.obj", "main.obj"):
        (tmp_path / file).write_text("")
    (tmp_path / "parts" / "more.xml").write_text(
        '<scene version="0.6.0"><shape type="obj"><string name="filename" value="near.obj"/>'
        '<boolean name="faceNormals" value="$flat"/></shape>'
        '<shape type="obj"><string name="filename" value="far.obj"/></shape></scene>'
    )
    (tmp_path / "parts" / "glass.xml").write_text('<bsdf version="3.0.0" type="dielectric" id="glass"/>')
    (tmp_path / "scene.xml").write_text(
        '<scene version="3.0.0"><default name="flat" value="true"/><path value="meshes"/>'
        '<include filename="parts/more.xml"/><include filename="parts/glass.xml"/><sensor type="perspective"/>'
        '<shape type="obj"><string name="filename" value="main.obj"/><ref id="glass"/></shape></scene>'
    )
    description, warnings = read_mitsuba(tmp_path / "scene.xml")
    assert warnings == ()
    near, far, main = description.shapes
    assert tmp_path / near.file == tmp_path / "parts" / "near.obj"
    assert near.face_normals
    assert tmp_path / far.file == tmp_path / "meshes" / "far.obj"
    assert main.file == "main.obj"
    assert main.material == "glass"


def test_names_of_old_formats(read):
    """Formats 0.5 and 0.6 wrote toWorld, intIOR and uscale."""
    body = (
        '<sensor type="perspective"><film type="hdrfilm"/></sensor>'
        '<shape type="obj"><string name="filename" value="a.obj"/><boolean name="flipTexCoords" value="false"/>'
        '<transform name="toWorld"><lookAt origin="0 0 0" target="0 0 2" up="0 1 0"/></transform>'
        '<bsdf type="dielectric"><float name="intIOR" value="1.3"/><string name="extIOR" value="water"/></bsdf></shape>'
        '<shape type="cube"><bsdf type="diffuse"><texture type="checkerboard" name="diffuseReflectance">'
        '<float name="uscale" value="4"/><float name="voffset" value="0.5"/></texture></bsdf></shape>'
    )
    description, warnings = read(body, "0.6.0")
    assert warnings == ()
    mesh, cube = description.shapes
    assert mesh == Mesh(file="a.obj", material=mesh.material, to_world=mesh.to_world)
    np.testing.assert_allclose(matrix(mesh.to_world), np.eye(4))
    assert description.materials[mesh.material] == Dielectric(int_ior=1.3, ext_ior=1.333)
    (texture,) = description.textures.values()
    assert description.materials[cube.material].reflectance in description.textures
    np.testing.assert_allclose(matrix(texture.to_uv) @ (0.25, 0.25, 0, 1), (1.0, 0.75, 0, 1))


@pytest.mark.parametrize(
    "xml",
    [
        '<translate x="1" z="2"/><scale value="2"/><rotate y="1" angle="30"/>',
        '<scale x="2" y="3"/><translate value="1, 2, 3"/>',
        '<matrix value="0 1 0 0 0 2 1 0 0"/>',
        '<matrix value="1 2 0 4  0 1 0 5  0 0 2 6  0 0 0 1"/>',
        '<lookat origin="1, 2, 3" target="4 5 7" up="0 0 1"/><rotate value="0 0.6 0.8" angle="-20"/>',
        '<rotate y="1" z="1" angle="15"/><rotate z="1" angle="-15"/>',
        '<translate x="3"/><rotate x="0.3" y="-0.1" z="0.2" angle="130"/>',
    ],
)
def test_transforms_agree_with_mitsuba(read, xml):
    """Every tag inside <transform> gives Mitsuba's matrix."""
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    shape = (
        f'<shape type="obj"><string name="filename" value="a.obj"/><transform name="to_world">{xml}</transform></shape>'
    )
    description, _ = read(SENSOR + shape)
    camera = mi.load_string(
        f'<emitter version="3.0.0" type="spot"><transform name="to_world">{xml}</transform></emitter>'
    )
    expected = mi.traverse(camera)["to_world"].matrix
    np.testing.assert_allclose(matrix(description.shapes[0].to_world), [list(row) for row in expected], atol=2e-6)


ROTATED = '<shape type="cube"><transform name="to_world"><rotate AXIS angle="90"/></transform></shape>'


@pytest.mark.parametrize("version", ["2.0.0", "3.0.0"])
def test_the_axis_of_a_rotation_is_used_as_written(read, version):
    """About (0, 0, 2) by 90 degrees: x becomes 2 y, y becomes -2 x, and z becomes 4 z; a warning says so."""
    description, warnings = read(SENSOR + ROTATED.replace("AXIS", 'z="2"'), version)
    expected = [[0, -2, 0, 0], [2, 0, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(matrix(description.shapes[0].to_world), expected, atol=1e-12)
    (warning,) = warnings
    assert "scene.xml" in warning
    assert "the axis of <rotate> has length 2, not 1" in warning


@pytest.mark.parametrize(("axis", "version"), [('z="0.9995"', "3.0.0"), ('z="2"', "0.6.0")])
def test_rotations_without_a_warning(read, axis, version):
    """An axis that is a rounded unit vector only rotates, as does every axis in the formats 0.x."""
    description, warnings = read(SENSOR + ROTATED.replace("AXIS", axis), version)
    expected = [[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(matrix(description.shapes[0].to_world), expected, atol=1e-12)
    assert warnings == ()


def test_shapes(read):
    """Shapes with all their parameters; obj flips v by default, ply does not."""
    description, warnings = read(
        f"{SENSOR}"
        '<shape type="obj"><string name="filename" value="a.obj"/></shape>'
        '<shape type="ply" id="p"><string name="filename" value="b.ply"/><boolean name="face_normals" value="true"/></shape>'
        '<shape type="sphere"><point name="center" x="1" y="2" z="3"/><float name="radius" value="2"/>'
        '<boolean name="flip_normals" value="true"/><emitter type="area"><rgb name="radiance" value="1 2 3"/></emitter></shape>'
        '<shape type="cylinder"><point name="p0" value="1 0 0"/><point name="p1" value="0 0 2"/></shape>'
        '<shape type="rectangle"/><shape type="cube"/><shape type="disk"/>'
        '<shape type="merge"><shape type="cube"/></shape>'
    )
    assert warnings == ()
    obj, ply, sphere, cylinder, *others = description.shapes
    assert (obj.file, obj.flip_v, obj.face_normals) == ("a.obj", True, False)
    assert (ply.file, ply.flip_v, ply.face_normals, ply.name) == ("b.ply", False, True, "p")
    assert sphere == Sphere(center=(1, 2, 3), radius=2, flip_normals=True, emission=(1, 2, 3), material=sphere.material)
    assert cylinder == Cylinder(p0=(1, 0, 0), p1=(0, 0, 2), material=cylinder.material)
    assert [type(shape).__name__ for shape in others] == ["Rectangle", "Cube", "Disk", "Cube"]


def test_lights(read):
    """Lights with all their parameters."""
    description, warnings = read(
        f"{SENSOR}"
        '<emitter type="point"><point name="position" value="1 2 3"/><rgb name="intensity" value="4 5 6"/></emitter>'
        '<emitter type="point"><transform name="to_world"><translate x="7"/></transform></emitter>'
        '<emitter type="spot"><float name="cutoff_angle" value="40"/></emitter>'
        '<emitter type="directional"><vector name="direction" value="0 -1 0"/><float name="irradiance" value="2"/></emitter>'
        '<emitter type="directional"><transform name="to_world"><rotate x="1" angle="90"/></transform></emitter>'
        '<emitter type="envmap"><string name="filename" value="sky.exr"/><float name="scale" value="3"/></emitter>'
    )
    assert warnings == ()
    point, moved, spot, sun, turned, sky = description.lights
    assert point == PointLight(position=(1, 2, 3), intensity=(4, 5, 6))
    assert moved.position == (7, 0, 0)
    assert spot == SpotLight(cutoff_angle=40, beam_width=30)
    assert sun == DirectionalLight(direction=(0, -1, 0), irradiance=2)
    np.testing.assert_allclose(turned.direction, (0, -1, 0), atol=1e-15)
    assert sky == EnvironmentMap(file="sky.exr", scale=3, rows="pole_to_pole")


def test_unsupported_shapes_and_lights(read):
    """Unsupported shapes and lights are left out or replaced, with a warning."""
    description, warnings = read(
        '\n<shape type="hair"/>\n<emitter type="timed_sunsky"/>\n<emitter type="projector"/>\n'
        '<emitter type="spot">\n<texture type="bitmap" name="texture"/></emitter>\n'
        '<shape type="sphere"><medium type="homogeneous" name="interior"/></shape>\n'
        '<sensor type="perspective"/>'
    )
    assert len(description.shapes) == 1
    assert description.lights[0] == ConstantLight()
    assert [int(warning.split(":")[1]) for warning in warnings] == [3, 4, 5, 6, 8]
    assert 'shape "hair" is not supported' in warnings[0]
    assert "a constant sky of radiance 1" in warnings[1]
    assert 'emitter "projector" is not supported' in warnings[2]


def test_several_sensors_become_cameras(read):
    """Sensors are named by id or number, and the first one is the scene's camera; a different film gives a warning."""
    film = '<film type="hdrfilm"><integer name="width" value="{}"/></film>'
    description, warnings = read(
        f'<sensor type="perspective" id="front"><float name="fov" value="30"/>{film.format(64)}</sensor>\n'
        f'<sensor type="orthographic">{film.format(64)}</sensor>\n'
        f'<sensor type="perspective" id="side"><float name="fov" value="50"/>{film.format(32)}</sensor>'
    )
    assert list(description.cameras) == ["front", "1", "side"]
    assert description.camera == description.cameras["front"]
    assert description.camera.fov == 30
    assert description.cameras["1"] == Orthographic(near=1e-2, far=1e4)
    assert description.cameras["side"].fov == 50
    assert description.film.width == 64
    assert len(warnings) == 1
    assert "a film of its own" in warnings[0]
    assert warnings[0].split(":")[1] == "4"


def test_camera_parameters(read):
    """All parameters of a thin lens are read, and a focal length instead of an angle."""
    description, warnings = read(
        '<sensor type="thinlens"><float name="fov" value="30"/><string name="fov_axis" value="larger"/>'
        '<float name="aperture_radius" value="0.1"/><float name="focus_distance" value="5"/>'
        '<float name="near_clip" value="0.5"/><float name="far_clip" value="50"/>'
        '<float name="principal_point_offset_x" value="0.1"/><float name="principal_point_offset_y" value="-0.2"/>'
        '<sampler type="multijitter"><integer name="sample_count" value="32"/></sampler>'
        '<film type="hdrfilm"><integer name="width" value="40"/><integer name="height" value="30"/>'
        '<integer name="crop_offset_x" value="5"/><integer name="crop_width" value="10"/>'
        '<rfilter type="gaussian"><float name="stddev" value="0.4"/></rfilter></film></sensor>'
    )
    assert warnings == ()
    camera, film = description.camera, description.film
    assert (camera.fov, camera.fov_axis, camera.aperture_radius, camera.focus_distance) == (30, "larger", 0.1, 5)
    assert (camera.near, camera.far, camera.principal_point_offset) == (0.5, 50, (0.1, -0.2))
    assert (film.width, film.height, film.crop) == (40, 30, (5, 0, 10, 30))
    assert (film.filter, film.filter_radius) == ("gaussian", pytest.approx(1.6))
    assert (description.sampler.type, description.sampler.spp) == ("sobol", 32)


def test_camera_defaults_are_those_of_mitsuba(read):
    """Without an angle the camera is a 50 mm lens on 35 mm film; without a film the image is 768 x 576."""
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    description, _ = read('<sensor type="perspective"/>')
    theirs = mi.load_dict({"type": "perspective"})
    camera, film = description.camera, description.film
    assert camera.fov_axis == "diagonal"
    half_diagonal = np.tan(np.radians(camera.fov / 2))
    ray, _ = theirs.sample_ray(0.0, 0.5, [0.0, 0.0], [0.5, 0.5])
    assert np.hypot(ray.d.x, ray.d.y) / ray.d.z == pytest.approx(half_diagonal, rel=1e-5)
    assert (film.width, film.height) == tuple(theirs.film().size())
    assert film.filter == "gaussian"
    assert "Gaussian" in str(theirs.film().rfilter())
    assert isinstance(read('<sensor type="orthographic"/>')[0].camera, Orthographic)


@pytest.mark.parametrize(
    ("xml", "expected", "warning"),
    [
        ("", Integrator(), None),
        ('<integrator type="path"><integer name="max_depth" value="-1"/></integrator>', Integrator(), None),
        ('<integrator type="volpath"><integer name="rr_depth" value="9"/></integrator>', Integrator(rr_depth=9), None),
        ('<integrator type="direct"/>', Integrator(max_depth=2), None),
        ('<integrator type="ptracer"/>', Integrator(), "path is used"),
        (
            '<integrator type="aov"><integrator type="direct"/></integrator>',
            Integrator(max_depth=2),
            'the integrator "direct"',
        ),
        (
            '<integrator type="path"><integer name="max_depth" value="3"/>'
            '<boolean name="hide_emitters" value="true"/></integrator>',
            Integrator(max_depth=3),
            "hide_emitters",
        ),
    ],
)
def test_integrators(read, xml, expected, warning):
    """Path length and Russian roulette are read; another integrator is replaced by a path tracer, with a warning."""
    description, warnings = read(SENSOR + xml)
    assert description.integrator == expected
    assert len(warnings) == (warning is not None)
    assert warning is None or warning in warnings[0]
