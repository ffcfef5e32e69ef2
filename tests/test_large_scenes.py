"""Scenes as large as those of users: a mesh of a million triangles, from file to image."""

import numpy as np
import pytest

import nrc_tracer as nrc
from nrc_tracer.scene.model import (
    Diffuse,
    DirectionalLight,
    Film,
    Integrator,
    LookAt,
    Mesh,
    Orthographic,
    SceneDescription,
)

SIDE = 709
"""Vertices along each side of the hills: 2 x 708^2 = 1,002,528 triangles."""
AMPLITUDE = 0.05


def hills(x, y):
    """Height and unit normal of a smooth field of hills over [-1, 1]^2, which differs from its mirror images."""
    a, b = 3.0 * np.pi * x + 0.5, 2.0 * np.pi * y + 0.3
    slope_x = 3.0 * np.pi * AMPLITUDE * np.cos(a) * np.sin(b)
    slope_y = 2.0 * np.pi * AMPLITUDE * np.sin(a) * np.cos(b)
    n = np.stack([-slope_x, -slope_y, np.ones_like(x)], axis=-1)
    return AMPLITUDE * np.sin(a) * np.sin(b), n / np.linalg.norm(n, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def hills_file(tmp_path_factory):
    """The hills as OBJ with texture coordinates and normals, about 110 MB."""
    y, x = np.meshgrid(*[np.linspace(-1.0, 1.0, SIDE)] * 2, indexing="ij")
    z, n = hills(x, y)
    low = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).ravel() + 1
    faces = np.concatenate(
        [np.stack([low, low + 1, low + SIDE + 1], 1), np.stack([low, low + SIDE + 1, low + SIDE], 1)]
    )
    path = tmp_path_factory.mktemp("hills") / "hills.obj"
    positions, uvs = np.stack([x, y, z], axis=-1), np.stack([x + 1.0, y + 1.0], axis=-1) / 2.0
    with path.open("w") as file:
        file.writelines(f"v {a:.7g} {b:.7g} {c:.7g}\n" for a, b, c in positions.reshape(-1, 3).tolist())
        file.writelines(f"vt {a:.7g} {b:.7g}\n" for a, b in uvs.reshape(-1, 2).tolist())
        file.writelines(f"vn {a:.7g} {b:.7g} {c:.7g}\n" for a, b, c in n.reshape(-1, 3).tolist())
        file.writelines(f"f {a}/{a}/{a} {b}/{b}/{b} {c}/{c}/{c}\n" for a, b, c in faces.tolist())
    yield path
    path.unlink()  # pytest keeps the folders of the last three runs


@pytest.mark.slow
def test_a_million_triangles_from_obj_to_image(hills_file):
    """All triangles, normals and texture coordinates arrive, and one sample shows the hills shaded by their normals."""
    shining_down = DirectionalLight(direction=(0.0, 0.0, -1.0), irradiance=np.pi)
    description = SceneDescription(
        camera=Orthographic(to_world=(LookAt(origin=(0.0, 0.0, 4.0), target=(0.0, 0.0, 0.0)),)),
        film=Film(width=128, height=128),
        integrator=Integrator(max_depth=2),
        materials={"grey": Diffuse(reflectance=0.5)},
        shapes=(Mesh(file="hills.obj", material="grey"),),
        lights=(shining_down,),
    )
    path = hills_file.with_suffix(".json")
    nrc.write_json(description, path)
    scene = nrc.load_scene(path)
    assert scene.warnings == ()
    mesh = scene.meshes["hills.obj"]
    assert mesh.indices.shape == (2 * (SIDE - 1) ** 2, 3)
    assert mesh.positions.shape == mesh.normals.shape == (SIDE**2, 3)
    x, y = mesh.positions[:, 0].astype(np.float64), mesh.positions[:, 1].astype(np.float64)
    np.testing.assert_allclose(mesh.normals, hills(x, y)[1], atol=1e-5)  # x and y have seven digits
    np.testing.assert_allclose(mesh.uvs, (mesh.positions[:, :2] + 1.0) / 2.0, atol=1e-6)

    image = nrc.render(scene, spp=1)
    assert image.dropped == 0
    # The position of a sample within its pixel is unknown, so the value must lie between the smallest and the largest of the
    # pixel. The image's x axis points along world +x, and its rows run downwards.
    steps = (np.arange(128 * 8) + 0.5) / (128 * 4) - 1.0
    v, u = np.meshgrid(-steps, steps, indexing="ij")
    cosine = hills(u, v)[1][..., 2].reshape(128, 8, 128, 8)
    low, high = 0.5 * cosine.min(axis=(1, 3)), 0.5 * cosine.max(axis=(1, 3))
    # Allow an eighth of the pixel's range for values between the compared points and for interpolated normals
    slack = 0.125 * (high - low)[..., None] + 1e-3
    assert np.all(image.rgb >= low[..., None] - slack)
    assert np.all(image.rgb <= high[..., None] + slack)
    assert np.ptp(image.rgb) > 0.02
