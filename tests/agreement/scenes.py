"""Small scenes in Mitsuba's format that together use every supported material, light, camera, shape and texture.

Each is an object on a chequered floor under a large lamp and a dim sky, with one part replaced.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 64

LAMP = """<shape type="rectangle"><transform name="to_world"><rotate x="1" angle="90"/><translate y="4"/></transform>
 <emitter type="area"><rgb name="radiance" value="5,4,3"/></emitter></shape>"""
SKY = '<emitter type="constant"><rgb name="radiance" value="0.2,0.3,0.4"/></emitter>'
FLOOR = """<shape type="rectangle"><transform name="to_world"><rotate x="1" angle="-90"/><scale value="4"/></transform>
 <bsdf type="diffuse"><texture name="reflectance" type="checkerboard"><transform name="to_uv"><scale value="4"/></transform>
 </texture></bsdf></shape>"""
VIEW = '<transform name="to_world"><lookat origin="0,1.8,4" target="0,0.7,0" up="0,1,0"/></transform>'
SENSOR = f'<sensor type="perspective"><float name="fov" value="40"/>{VIEW}FILM</sensor>'
FILM = f"""<film type="hdrfilm"><integer name="width" value="{SIZE}"/><integer name="height" value="{SIZE}"/>
 <string name="component_format" value="float32"/><rfilter type="box"/></film><sampler type="independent"/>"""
SPHERE = '<shape type="sphere"><point name="center" x="0" y="0.8" z="0"/><float name="radius" value="0.8"/>BSDF</shape>'
GREY = '<bsdf type="diffuse"><rgb name="reflectance" value="0.7,0.5,0.3"/></bsdf>'
UP = '<rotate x="1" angle="-90"/><translate y="0.5"/>'


def scene(
    *,
    bsdf: str = GREY,
    shape: str = SPHERE,
    lights: str = LAMP + SKY,
    sensor: str = SENSOR,
    floor: str = FLOOR,
    depth: int = 6,
) -> str:
    """Assemble a scene; BSDF and FILM in its parts are replaced by the material and the film."""
    integrator = f'<integrator type="path"><integer name="max_depth" value="{depth}"/></integrator>'
    body = integrator + sensor.replace("FILM", FILM) + floor + shape.replace("BSDF", bsdf) + lights
    return f'<scene version="3.0.0">\n{body}\n</scene>\n'


def placed(kind: str, transform: str, extra: str = "") -> str:
    """A shape with a transform."""
    return f'<shape type="{kind}"><transform name="to_world">{transform}</transform>{extra}BSDF</shape>'


def bsdf(kind: str, *parameters: str) -> str:
    """A material with parameters such as `float alpha 0.3`."""
    lines = []
    for parameter in parameters:
        tag, name, value = parameter.split(maxsplit=2)
        lines.append(f'<{tag} name="{name}" value="{value}"/>')
    return f'<bsdf type="{kind}">{"".join(lines)}</bsdf>'


def textured(name: str, body: str) -> str:
    """A diffuse material with a texture."""
    return f'<bsdf type="diffuse"><texture name="reflectance" type="{name}">{body}</texture></bsdf>'


GOLD = ("rgb eta 0.143,0.375,1.442", "rgb k 3.983,2.386,1.603")
BOARD = placed("rectangle", '<translate y="1"/>')  # upright, facing the camera
SPOT_VIEW = '<transform name="to_world"><lookat origin="1,4,1" target="0,0.3,0" up="0,0,1"/></transform>'

MATERIALS = {
    "diffuse": GREY,
    "diffuse-twosided": f'<bsdf type="twosided">{GREY}</bsdf>',
    "conductor": bsdf("conductor", *GOLD),
    "conductor-mirror": bsdf("conductor", "string material none", "rgb specular_reflectance 0.9,0.8,0.7"),
    "roughconductor-ggx": bsdf("roughconductor", "string distribution ggx", "float alpha 0.3", *GOLD),
    "roughconductor-beckmann": bsdf("roughconductor", "string distribution beckmann", "float alpha 0.25", *GOLD),
    "roughconductor-anisotropic": bsdf(
        "roughconductor", "string distribution ggx", "float alpha_u 0.1", "float alpha_v 0.5", *GOLD
    ),
    "dielectric": bsdf("dielectric", "float int_ior 1.5", "float ext_ior 1.0"),
    "dielectric-tinted": bsdf(
        "dielectric",
        "string int_ior water",
        "rgb specular_transmittance 0.9,0.5,0.5",
        "rgb specular_reflectance 0.3,1,1",
    ),
    "thindielectric": bsdf("thindielectric", "float int_ior 1.7"),
    "roughdielectric-ggx": bsdf("roughdielectric", "string distribution ggx", "float alpha 0.3", "float int_ior 1.5"),
    "roughdielectric-anisotropic": bsdf(
        "roughdielectric", "string distribution ggx", "float alpha_u 0.1", "float alpha_v 0.5", "float int_ior 1.5"
    ),
    "roughdielectric-beckmann": bsdf("roughdielectric", "string distribution beckmann", "float alpha 0.4"),
    "plastic": bsdf("plastic", "rgb diffuse_reflectance 0.6,0.2,0.1", "float int_ior 1.6"),
    "plastic-nonlinear": bsdf("plastic", "rgb diffuse_reflectance 0.6,0.2,0.1", "boolean nonlinear true"),
    "roughplastic-beckmann": bsdf("roughplastic", "rgb diffuse_reflectance 0.1,0.3,0.6", "float alpha 0.2"),
    "roughplastic-ggx": bsdf(
        "roughplastic",
        "string distribution ggx",
        "rgb diffuse_reflectance 0.1,0.3,0.6",
        "float alpha 0.4",
        "boolean nonlinear true",
        "rgb specular_reflectance 0.5,0.9,0.9",
    ),
    "spectrum": bsdf("diffuse", "spectrum reflectance 0.6"),
    "principled-coat-sheen": bsdf(
        "principled",
        "rgb base_color 0.7,0.2,0.1",
        "float roughness 0.6",
        "float clearcoat 1",
        "float clearcoat_gloss 0.2",
        "float sheen 0.8",
        "float sheen_tint 0.5",
        "float flatness 0.4",
        "float spec_tint 0.3",
        "float specular 0.8",
        "float main_specular_sampling_rate 0.5",
    ),
    "principled-glass": bsdf(
        "principled",
        "rgb base_color 0.9,0.7,0.6",
        "float spec_trans 0.8",
        "float roughness 0.45",
        "float eta 1.4",
        "float metallic 0.1",
        "float anisotropic 0.4",
    ),
    "principled-thin": bsdf(
        "principledthin",
        "rgb base_color 0.8,0.6,0.3",
        "float spec_trans 0.5",
        "float roughness 0.7",
        "float diff_trans 0.9",
        "float sheen 0.4",
        "float spec_tint 0.4",
    ),
}

LIGHTS = {
    "area-sphere": '<shape type="sphere"><point name="center" x="1.5" y="2.5" z="0.5"/><float name="radius" value="0.6"/>'
    '<emitter type="area"><rgb name="radiance" value="9,8,7"/></emitter></shape>',
    "area-disk": '<shape type="disk"><transform name="to_world"><rotate x="1" angle="90"/><translate x="-1" y="3"/></transform>'
    '<emitter type="area"><rgb name="radiance" value="9,8,7"/></emitter></shape>',
    "area-spectrum": LAMP.replace('<rgb name="radiance" value="5,4,3"/>', '<spectrum name="radiance" value="4"/>'),
    "area-textured": LAMP.replace(
        '<rgb name="radiance" value="5,4,3"/>',
        '<texture type="bitmap" name="radiance"><string name="filename" value="colours.png"/></texture>',
    ),
    "constant": SKY,
    "envmap": '<emitter type="envmap"><string name="filename" value="sky.exr"/><float name="scale" value="0.8"/>'
    '<transform name="to_world"><rotate y="1" angle="70"/><rotate x="1" angle="20"/></transform></emitter>',
    "point": '<emitter type="point"><point name="position" x="1.5" y="3" z="1"/><rgb name="intensity" value="20,18,15"/>'
    "</emitter>" + SKY,
    "spot": f'<emitter type="spot">{SPOT_VIEW}<rgb name="intensity" value="60,50,40"/><float name="cutoff_angle" value="25"/>'
    '<float name="beam_width" value="15"/></emitter>' + SKY,
    "directional": '<emitter type="directional"><vector name="direction" x="-1" y="-2" z="-0.7"/>'
    '<rgb name="irradiance" value="3,2.5,2"/></emitter>' + SKY,
    "all": LAMP
    + SKY
    + '<emitter type="point"><point name="position" x="-2" y="2" z="1"/><rgb name="intensity" value="3,8,3"/></emitter>',
}

SHAPES = {
    "rectangle": placed("rectangle", '<rotate y="1" angle="30"/><translate y="1"/>'),
    "cube": placed("cube", '<scale x="0.5" y="0.6" z="0.7"/><rotate y="1" angle="25"/><translate y="0.6"/>'),
    "disk": placed("disk", '<rotate x="1" angle="-50"/><translate y="0.8"/>'),
    "cylinder": placed("cylinder", UP, '<float name="radius" value="0.6"/>'),
    "sphere-mirrored": placed("sphere", '<scale x="-0.8" y="0.8" z="0.8"/><translate y="0.8"/>'),
    "obj": '<shape type="obj"><string name="filename" value="knob.obj"/>BSDF</shape>',
    "ply": '<shape type="ply"><string name="filename" value="knob.ply"/><boolean name="face_normals" value="true"/>BSDF</shape>',
}

BITMAP = '<string name="filename" value="colours.png"/>'
TEXTURES = {
    "bitmap": (textured("bitmap", BITMAP), BOARD),
    "bitmap-nearest": (textured("bitmap", BITMAP + '<string name="filter_type" value="nearest"/>'), BOARD),
    "bitmap-raw-mirror": (
        textured(
            "bitmap",
            BITMAP + '<boolean name="raw" value="true"/><string name="wrap_mode" value="mirror"/>'
            '<transform name="to_uv"><scale x="2.5" y="1.5"/><rotate z="1" angle="30"/></transform>',
        ),
        BOARD,
    ),
    "bitmap-clamp": (
        textured(
            "bitmap",
            BITMAP + '<string name="wrap_mode" value="clamp"/>'
            '<transform name="to_uv"><scale x="2.5" y="2"/><translate x="-0.8" y="-0.3"/></transform>',
        ),
        BOARD,
    ),
    "bitmap-sphere": (textured("bitmap", BITMAP), SPHERE),
    "bitmap-obj": (textured("bitmap", BITMAP), SHAPES["obj"]),
    "checkerboard-colours": (
        textured(
            "checkerboard",
            '<rgb name="color0" value="0.8,0.1,0.1"/><rgb name="color1" value="0.1,0.1,0.8"/>'
            '<transform name="to_uv"><scale x="3" y="2"/></transform>',
        ),
        SHAPES["cube"],
    ),
    "bitmap-principled": (
        '<bsdf type="twosided"><bsdf type="principled"><float name="metallic" value="0.9"/>'
        '<float name="anisotropic" value="0.5"/>'
        f'<texture type="bitmap" name="base_color">{BITMAP}</texture><texture type="bitmap" name="roughness">'
        f'{BITMAP}<boolean name="raw" value="true"/></texture></bsdf></bsdf>',
        BOARD,
    ),
    "bitmap-alpha": (
        '<bsdf type="roughconductor"><string name="distribution" value="ggx"/><texture type="bitmap" name="alpha">'
        '<string name="filename" value="colours.png"/><boolean name="raw" value="true"/></texture></bsdf>',
        BOARD,
    ),
}

THIN_LENS = '<float name="aperture_radius" value="0.15"/><float name="focus_distance" value="3.5"/>'
CAMERAS = {
    "thinlens": SENSOR.replace("perspective", "thinlens").replace("FILM", THIN_LENS + "FILM"),
    "fov-axis": SENSOR.replace("FILM", '<string name="fov_axis" value="y"/>FILM'),
    "shifted": SENSOR.replace(
        "FILM",
        '<float name="principal_point_offset_x" value="0.15"/><float name="principal_point_offset_y" value="-0.1"/>FILM',
    ),
    "orthographic": f'<sensor type="orthographic">{VIEW.replace("</transform>", "")}'.replace(
        '<transform name="to_world">', '<transform name="to_world"><scale x="1.6" y="1.6"/>'
    )
    + "</transform>FILM</sensor>",
    "cropped": SENSOR.replace(
        "FILM",
        FILM.replace(
            "<rfilter",
            '<integer name="crop_offset_x" value="40"/><integer name="crop_offset_y" value="24"/>'
            '<integer name="crop_width" value="64"/><integer name="crop_height" value="64"/><rfilter',
        )
        .replace(f'width" value="{SIZE}"', 'width" value="128"', 1)
        .replace(f'height" value="{SIZE}"', 'height" value="128"', 1),
    ),
}


def all_scenes() -> dict[str, str]:
    """The XML of every scene, by name."""
    scenes = {f"material-{name}": scene(bsdf=material) for name, material in MATERIALS.items()}
    scenes["material-twosided-pair"] = scene(
        bsdf=f'<bsdf type="twosided">{GREY}{MATERIALS["roughconductor-ggx"]}</bsdf>', shape=SHAPES["disk"]
    )
    scenes |= {f"light-{name}": scene(lights=light) for name, light in LIGHTS.items()}
    scenes |= {f"shape-{name}": scene(shape=shape) for name, shape in SHAPES.items()}
    scenes |= {f"texture-{name}": scene(bsdf=material, shape=shape) for name, (material, shape) in TEXTURES.items()}
    scenes |= {f"camera-{name}": scene(sensor=sensor) for name, sensor in CAMERAS.items()}
    scenes["light-envmap-vertical"] = scene(
        lights=LIGHTS["envmap"].replace("sky.exr", "sky-vertical.exr"),
        sensor=SENSOR.replace('origin="0,1.8,4" target="0,0.7,0"', 'origin="0,3,3" target="0,0.2,0"'),
    )
    scenes["depth-unlimited"] = scene(depth=-1)
    scenes["depth-direct"] = scene(depth=2)
    return scenes


def write_files(folder: Path) -> None:
    """Write the meshes and images that the scenes use."""
    rng = np.random.default_rng(5)
    Image.fromarray(rng.integers(20, 255, (12, 16, 3), dtype=np.uint8)).save(folder / "colours.png")

    import OpenEXR

    # Mitsuba up to 3.9 puts the first and the last row of an environment map on the poles; later versions and this package put
    # them half a texel beside the poles. Here all rows of one map are equal, and the other has so many rows that the difference
    # is below the noise.
    for name, height, steepness in (("sky.exr", 32, 0.0), ("sky-vertical.exr", 1024, 6.0)):
        v, u = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(128) + 0.5) / 128, indexing="ij")
        glow = 40.0 * np.exp(-(((u - 0.3) * 8.0) ** 2 + ((v - 0.3) * steepness) ** 2) * 4.0)
        blue = 0.2 + 0.3 * (1.0 - v) * float(steepness > 0.0)
        sky = np.stack([0.2 + glow, 0.3 + 0.1 * np.cos(2 * np.pi * u) + 0.9 * glow, blue + 0.7 * glow], axis=-1)
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        with OpenEXR.File(header, {"RGB": sky.astype(np.float32)}) as file:
            file.write(str(folder / name))

    # A body of revolution with normals and texture coordinates
    rows, columns = 24, 48
    theta, phi = np.meshgrid(np.linspace(0.02, np.pi - 0.02, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij")
    radius = 0.7 + 0.15 * np.cos(3 * theta)
    p = np.stack(
        [radius * np.sin(theta) * np.cos(phi), 0.9 + radius * np.cos(theta), radius * np.sin(theta) * np.sin(phi)], -1
    )
    slope = -0.45 * np.sin(3 * theta)
    n_r, n_y = radius * np.sin(theta) - slope * np.cos(theta), radius * np.cos(theta) + slope * np.sin(theta)
    n = np.stack([n_r * np.cos(phi), n_y, n_r * np.sin(phi)], -1)
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate([np.stack([a, a + 1, a + columns], 1), np.stack([a + 1, a + columns + 1, a + columns], 1)])
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in p.reshape(-1, 3)]
    lines += [f"vt {x:.6f} {y:.6f}" for x, y in np.stack([phi / (2 * np.pi), theta / np.pi], -1).reshape(-1, 2)]
    lines += [f"vn {x:.6f} {y:.6f} {z:.6f}" for x, y, z in n.reshape(-1, 3)]
    lines += ["f " + " ".join(f"{i + 1}/{i + 1}/{i + 1}" for i in face) for face in faces]
    (folder / "knob.obj").write_text("\n".join(lines) + "\n")
    ply = [
        "ply",
        "format ascii 1.0",
        f"element vertex {rows * columns}",
        "property float x",
        "property float y",
        "property float z",
    ]
    ply += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    ply += [f"{x:.6f} {y:.6f} {z:.6f}" for x, y, z in p.reshape(-1, 3)] + [f"3 {i} {j} {k}" for i, j, k in faces]
    (folder / "knob.ply").write_text("\n".join(ply) + "\n")
