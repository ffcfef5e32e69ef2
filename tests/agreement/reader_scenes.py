"""Small scenes with alternative notations of Mitsuba: spectra, named metals, groups, and names of older formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nrc_tracer.scene.mesh_files import load_mesh
from tests.agreement.scenes import LAMP, SENSOR, SKY, bsdf, scene
from tests.serialized_files import file_bytes, mesh_bytes

GROUP = (
    '<shape type="shapegroup" id="group"><shape type="cube"><transform name="to_world"><scale value="0.3"/>'
    '<rotate z="1" angle="20"/></transform>BSDF</shape><shape type="ply"><string name="filename" value="knob.ply"/>'
    '<transform name="to_world"><scale value="0.4"/><translate y="0.3"/></transform>'
    '<bsdf type="diffuse"><rgb name="reflectance" value="0.2,0.5,0.7"/></bsdf></shape></shape>'
)
PLACES = (
    '<translate x="-0.9" y="0.5"/>',
    '<scale x="1.2" y="0.8" z="1"/><rotate y="1" angle="50"/><translate y="0.4" z="0.6"/>',
    '<rotate x="1" angle="60"/><translate x="0.9" y="0.5" z="-0.3"/>',
)
INSTANCES = GROUP + "".join(
    f'<shape type="instance"><ref id="group"/><transform name="to_world">{place}</transform></shape>'
    for place in PLACES
)
SERIALIZED = """<shape type="serialized"><string name="filename" value="knobs.serialized"/>
 <integer name="shape_index" value="1"/>BSDF</shape>"""
BLUISH = "400:0.1, 480:0.7, 560:0.4, 640:0.2, 700:0.5"
OLD = (
    """<scene version="0.6.0"><integrator type="path"><integer name="maxDepth" value="6"/></integrator>
<sensor type="perspective"><string name="focalLength" value="45mm"/>
 <transform name="toWorld"><lookat origin="0,1.8,4" target="0,0.7,0" up="0,1,0"/></transform>
 <film type="hdrfilm"><integer name="width" value="64"/><integer name="height" value="64"/>
 <string name="componentFormat" value="float32"/><rfilter type="box"/></film><sampler type="independent"/></sensor>
<shape type="obj"><string name="filename" value="knob.obj"/><bsdf type="twosided"><bsdf type="roughplastic">
 <float name="intIOR" value="1.6"/><rgb name="diffuseReflectance" value="0.5,0.3,0.1"/>
 <float name="alpha" value="0.3"/></bsdf></bsdf>
</shape><shape type="rectangle"><transform name="toWorld"><rotate x="1" angle="-90"/><scale value="4"/></transform>
 <bsdf type="diffuse"><texture type="checkerboard" name="reflectance"><float name="uscale" value="4"/>
 <float name="voffset" value="0.1"/></texture>
 </bsdf></shape>"""
    + (LAMP + SKY).replace("to_world", "toWorld")
    + "</scene>"
)


def all_scenes() -> dict[str, str]:
    """The XML of every scene, by name."""
    lamp = LAMP.replace(
        '<rgb name="radiance" value="5,4,3"/>', '<spectrum name="radiance" value="400:2, 500:6, 600:5, 700:3"/>'
    )
    return {
        "reader-gold": scene(
            bsdf=bsdf("roughconductor", "string material Au", "float alpha 0.3", "string distribution ggx")
        ),
        "reader-spectrum-reflectance": scene(bsdf=bsdf("diffuse", f"spectrum reflectance {BLUISH}")),
        "reader-spectrum-emitter": scene(lights=lamp + SKY),
        "reader-instances": scene(shape=INSTANCES),
        "reader-serialized": scene(shape=SERIALIZED),
        "reader-focal-length": scene(
            sensor=SENSOR.replace('<float name="fov" value="40"/>', '<string name="focal_length" value="60mm"/>')
        ),
        "reader-format-0.6": OLD,
        "reader-sky": scene(
            lights="""<emitter type="sunsky"><vector name="sun_direction" value="0.3, 0.8, 0.5"/>
 <float name="sun_scale" value="0"/><float name="sky_scale" value="20"/>
 <transform name="to_world"><rotate x="1" angle="-90"/></transform></emitter>""",
            sensor=SENSOR.replace('origin="0,1.8,4" target="0,0.7,0"', 'origin="0,3,3" target="0,0.2,0"'),
        ),
    }


def write_files(folder: Path) -> None:
    """Write the serialized meshes: a tetrahedron and the knob with normals and texture coordinates."""
    knob = load_mesh(folder / "knob.obj")
    second = mesh_bytes(knob.positions, knob.indices.astype(np.uint32), knob.normals, knob.uvs)
    (folder / "knobs.serialized").write_bytes(file_bytes(mesh_bytes(), second))
