"""glTF's metals compared with Mitsuba's `principled` with metallic 1: spheres from smooth to rough under one light."""

from __future__ import annotations

import numpy as np
import pytest

import nrc_tracer as nrc
from nrc_tracer.imaging import write_image
from tests.agreement import mitsuba_oracle
from tests.agreement.statistics import Estimate, assert_agreement, compare
from tests.scene.gltf_files import GltfFile, sphere

pytest.importorskip("mitsuba")

ROUGHNESS = (0.2, 0.4, 0.6, 0.8, 1.0)
GOLD = (0.9, 0.6, 0.2)
SKY = (0.3, 0.4, 0.5)
SPP = 1024
WIDTH, HEIGHT = 160, 32
XML = """<scene version="3.0.0"><integrator type="path"><integer name="max_depth" value="6"/></integrator>
<sensor type="perspective"><float name="fov" value="{fov}"/><string name="fov_axis" value="y"/>
<transform name="to_world"><lookat origin="0,0,12" target="0,0,0" up="0,1,0"/></transform>
<film type="hdrfilm"><integer name="width" value="{width}"/><integer name="height" value="{height}"/>
<string name="component_format" value="float32"/><rfilter type="box"/></film><sampler type="independent"/></sensor>
<emitter type="constant"><rgb name="radiance" value="0.3,0.4,0.5"/></emitter>
<emitter type="directional"><vector name="direction" x="-0.6" y="0" z="-0.8"/><rgb name="irradiance" value="2,2,1"/></emitter>
{shapes}</scene>"""
SHAPE = """<shape type="ply"><string name="filename" value="sphere.ply"/>
<transform name="to_world"><translate x="{x}"/></transform>
<bsdf type="principled"><rgb name="base_color" value="0.9,0.6,0.2"/><float name="metallic" value="1"/>
<float name="roughness" value="{roughness}"/></bsdf></shape>"""
FOV = 14.0


@pytest.fixture
def files(tmp_path):
    """The glTF file and Mitsuba's file, with the same triangles and the same light."""
    points, triangles = sphere()
    file = GltfFile()
    lens = {"yfov": np.radians(FOV), "aspectRatio": WIDTH / HEIGHT, "znear": 0.1}
    file.node(camera=file.add("cameras", type="perspective", perspective=lens), translation=[0, 0, 12])
    light = {"type": "directional", "color": [1, 1, 0.5], "intensity": 2}
    file.root["extensions"] = {"KHR_lights_punctual": {"lights": [light]}}
    # A rotation about y takes -z to (-0.6, 0, -0.8)
    half = np.arctan2(0.6, 0.8) / 2
    turn = [0, float(np.sin(half)), 0, float(np.cos(half))]
    file.node(rotation=turn, extensions={"KHR_lights_punctual": {"light": 0}})
    shapes = []
    for i, roughness in enumerate(ROUGHNESS):
        pbr = {"baseColorFactor": [*GOLD, 1], "metallicFactor": 1, "roughnessFactor": roughness}
        material = file.add("materials", pbrMetallicRoughness=pbr)
        mesh = file.mesh(points, triangles.ravel(), primitive={"material": material}, NORMAL=points)
        file.node(mesh=mesh, translation=[2.8 * (i - 2), 0, 0])
        shapes.append(SHAPE.format(x=2.8 * (i - 2), roughness=roughness))
    path = file.write(tmp_path, "metals.glb")
    write_image(tmp_path / "metals.sky.exr", np.full((4, 8, 3), SKY, np.float32))
    _write_ply(tmp_path / "sphere.ply", points, triangles)
    xml = tmp_path / "metals.xml"
    xml.write_text(XML.format(fov=FOV, width=WIDTH, height=HEIGHT, shapes="".join(shapes)))

    return path, xml


def assert_agrees(files, looks):
    """Compare both images; `looks` are multiples of `SPP`."""
    path, xml = files
    scene = nrc.load_scene(path)
    assert scene.warnings == ()

    def look(share, number):
        spp = int(share * SPP)
        options = {"max_depth": 6, "sampler": "independent", "filter": "box", "seed": 3 + number}
        renderer = nrc.Renderer(scene, width=WIDTH, height=HEIGHT, **options)
        renderer.step(spp)
        other = mitsuba_oracle.render(xml, spp=spp, seed=number * mitsuba_oracle.BATCHES)
        return compare(Estimate(*renderer.moments(), spp), other)

    assert_agreement(look, looks)


def test_metal_spheres_agree_with_principled(files):
    """The images are equal except for the noise of both."""
    assert_agrees(files, (0.25, 1.0, 4.0))


@pytest.mark.slow
def test_metal_spheres_agree_closely_with_principled(files):
    """The images agree with half the standard errors, too."""
    assert_agrees(files, (1.0, 4.0))


def _write_ply(path, points, triangles):
    header = ["ply", "format ascii 1.0", f"element vertex {len(points)}"]
    header += [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")]
    header += [f"element face {len(triangles)}", "property list uchar int vertex_indices", "end_header"]
    rows = [" ".join(f"{value:.9g}" for value in (*point, *point)) for point in points.astype(np.float32)]
    rows += [f"3 {a} {b} {c}" for a, b, c in triangles]
    path.write_text("\n".join(header + rows) + "\n")
