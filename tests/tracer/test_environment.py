"""Environment maps: the texel for a direction, and sampling in proportion to radiance."""

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.imaging import write_image
from nrc_tracer.scene.load import load_scene
from nrc_tracer.scene.model import EnvironmentMap, Rotate, Scale
from nrc_tracer.tracer.environment_table import EnvironmentTable
from nrc_tracer.tracer.environment_tree import EXCESS
from nrc_tracer.tracer.texture_table import LUMINANCE
from tests.tracer import kernels
from tests.tracer.chi_square import assert_directions
from tests.tracer.test_lights import emission, sample
from tests.tracer.tiny_scenes import on_device, scene

COUNT = 150_000
EPS = float(np.finfo(np.float32).eps)
ROWS = pytest.mark.parametrize("rows", ["centered", "pole_to_pole"])
TURNED = (Rotate(axis=(1.0, 2.0, 0.5), angle=70.0),)


def contrast_map(rng, height=6, width=10):
    """Colours over six orders of magnitude, with black texels."""
    pixels = 10.0 ** rng.uniform(-3.0, 3.0, (height, width, 3))
    pixels[rng.random((height, width)) < 0.2] = 0.0
    return pixels.astype(np.float32)


def with_map(pixels, **options):
    return on_device(scene(lights=[EnvironmentMap(file="sky", **options)], images={"sky": pixels}))


def bilinear(pixels, w, rows="centered"):
    """The map in local directions: u = atan2(x, -z) / 2 pi, v = acos(y) / pi, bilinear, clamped at the poles."""
    if rows == "pole_to_pole" and len(pixels) == 2:
        pixels = pixels[[0, 1, 1]]  # as in Mitsuba
    height, width, _ = pixels.shape
    u, v = np.arctan2(w[:, 0], -w[:, 2]) / (2.0 * np.pi), np.arccos(np.clip(w[:, 1], -1.0, 1.0)) / np.pi
    x, y = u * width - 0.5, v * height - 0.5 if rows == "centered" else v * (height - 1)
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    s, t = (x - i)[:, None], (y - j)[:, None]
    texel = lambda j, i: pixels[np.clip(j, 0, height - 1), i % width].astype(np.float64)  # noqa: E731
    return (texel(j, i) * (1 - s) + texel(j, i + 1) * s) * (1 - t) + (
        texel(j + 1, i) * (1 - s) + texel(j + 1, i + 1) * s
    ) * t


def random_directions(rng, count):
    w = rng.normal(size=(count, 3))
    return (w / np.linalg.norm(w, axis=1, keepdims=True)).astype(np.float32)


def test_texels_of_the_axes():
    """+y is the top row, -y the bottom row, +z the centre column, -z the seam, +x a quarter from the left."""
    pixels = np.arange(5 * 8, dtype=np.float32).reshape(5, 8, 1)
    on = with_map(pixels)
    w = np.float32([[0, 1, 0], [0, -1, 0], [0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 0, -1]])
    middle = 2 * 8
    # Between texels: +z between columns 3 and 4, +x between 1 and 2, -x between 5 and 6, -z between 7 and 0
    expected = [None, None, middle + 3.5, middle + 1.5, middle + 5.5, middle + 3.5]
    values = emission(on, (0, 0, 0), w)[:, 0]
    assert 0.0 <= values[0] <= 7.0
    assert 32.0 <= values[1] <= 39.0
    np.testing.assert_allclose(values[2:], expected[2:], atol=1e-4)


@pytest.mark.parametrize(
    "to_world", [(), TURNED, (Scale((-1.0, 1.0, 1.0)), *TURNED)], ids=["plain", "turned", "mirrored"]
)
@ROWS
def test_look_up_is_bilinear_in_local_directions(to_world, rows, rng):
    """The radiance of random directions equals that of the float64 version times the scale, for any rotation of the map."""
    from nrc_tracer.scene.transforms import matrix

    pixels = rng.random((6, 10, 3)).astype(np.float32)
    on = with_map(pixels, scale=2.5, to_world=to_world, rows=rows)
    w = random_directions(rng, 4000)
    local = w.astype(np.float64) @ np.linalg.inv(matrix(to_world)[:3, :3]).T
    # Near the poles rounding changes the azimuth a lot: leave out the last degree
    inner = np.abs(local[:, 1]) < np.cos(np.radians(1.0))
    expected = 2.5 * bilinear(pixels, local, rows)
    # The azimuth is off by eps / sin(theta) of a turn of 10 texels
    np.testing.assert_allclose(emission(on, (0, 0, 0), w)[inner, :3], expected[inner], atol=2.5 * 10 * 8 * EPS / 0.0175)


def test_two_rows_from_pole_to_pole_are_three(rng):
    """Mitsuba, whose rows these are, needs at least three rows, and repeats the last one of two."""
    pixels, w = rng.random((2, 4, 3)).astype(np.float32), random_directions(rng, 500)
    found, expected = (
        emission(with_map(rows, rows="pole_to_pole"), (0, 0, 0), w) for rows in (pixels, pixels[[0, 1, 1]])
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("to_world", [(), TURNED], ids=["plain", "turned"])
@ROWS
def test_sampling_follows_the_density(to_world, rows, rng):
    """Directions to a map of strong contrast with black texels follow the density."""
    on = with_map(contrast_map(rng), to_world=to_world, rows=rows)
    wi, _, _, rest = sample(on, (0, 0, 0), rng, COUNT)
    assert rest[:, 0].min() > 0.0
    assert_directions(wi, COUNT, lambda w: emission(on, (0, 0, 0), w)[:, 3], bins=(32, 48), nodes=12)


@ROWS
def test_density_follows_the_radiance(rows, rng):
    """Luminance over density has the relative variance that the tree of cells promises, whatever the contrast."""
    # In a map of six rows, or five bands, the sine of the polar angle is not quite linear across half a band
    coarse = 0.005 if rows == "centered" else 0.02
    for pixels, accepted in ((contrast_map(rng), coarse), (contrast_map(rng, 70, 50), 1.3 * EXCESS)):
        _, radiance, _, rest = sample(with_map(pixels, rows=rows), (0, 0, 0), rng, COUNT)
        weight = radiance.astype(np.float64) @ LUMINANCE / rest[:, 0]
        assert weight.var() / weight.mean() ** 2 < accepted


@ROWS
def test_samples_agree_with_look_up(rows, rng):
    """Density and radiance of a sample equal those found by a ray in its direction."""
    on = with_map(contrast_map(rng), to_world=TURNED, rows=rows)
    wi, radiance, _, rest = sample(on, (0, 0, 0), rng, 20_000)
    seen = emission(on, (0, 0, 0), wi)
    # A direction rounded by eps shifts the point by 10 eps / sin(theta) texels; neighbours differ by up to 10^6
    ratio = seen[:, 3] / rest[:, 0]
    assert np.quantile(np.abs(ratio - 1.0), 0.98) < 1e-3
    luminance = [values.astype(np.float64) @ LUMINANCE for values in (seen[:, :3], radiance)]
    np.testing.assert_allclose(luminance[0], luminance[1], rtol=1e-3, atol=1e-4 * luminance[1].max())


@pytest.mark.parametrize("shape", [(6, 10), (1, 1), (2, 1), (1, 7)])
@ROWS
def test_weights_integrate_the_map(shape, rows, rng):
    """The mean of radiance / pdf is the integral of the map over the sphere, also for tiny maps."""
    pixels = rng.random((*shape, 3)).astype(np.float32)
    on = with_map(pixels, to_world=TURNED, rows=rows)
    _, radiance, _, rest = sample(on, (0, 0, 0), rng, 50_000)
    weight = (radiance / rest[:, :1]).astype(np.float64)
    x, w = np.polynomial.legendre.leggauss(160)
    phi = (np.arange(160) + 0.5) / 160 * 2.0 * np.pi
    y, phi = np.meshgrid(x, phi, indexing="ij")
    r = np.sqrt(1.0 - y * y)
    directions = np.stack([r * np.sin(phi), y, -r * np.cos(phi)], axis=-1).reshape(-1, 3)
    values = bilinear(pixels, directions, rows).reshape(160, 160, 3)
    expected = np.einsum("i,ijk->k", w, values) * 2.0 * np.pi / 160
    error = weight.std(axis=0) / np.sqrt(len(weight))
    assert np.all(
        np.abs(weight.mean(axis=0) - expected) < 4.0 * error + 1e-3 * expected
    )  # kinks between texels: 1 / 160^1.5


def test_a_random_number_of_zero_next_to_black(rng):
    """The very first random number, on the edge of a black texel, gives a finite direction."""
    pixels = np.zeros((4, 4, 3), np.float32)
    pixels[1, 1] = 1.0
    on = with_map(pixels)
    wi, radiance, at, rest = (kernels.zeros(1, kernels.wp.vec3) for _ in range(4))
    u = kernels.array(np.zeros((1, 2), np.float32), kernels.wp.vec2)
    u_light = kernels.array(np.zeros((1, 2), np.float32), kernels.wp.vec2)
    inputs = [on.record, kernels.wp.vec3(0.0), kernels.wp.vec3(0.0), u_light, u, wi, radiance, at, rest]
    kernels.launch(kernels.sample_light_kernel, 1, inputs)
    assert np.all(np.isfinite(wi.numpy()))
    assert np.all(np.isfinite(rest.numpy()))


@ROWS
@pytest.mark.parametrize("height", [1, 2, 3])
def test_black_map(height, rows, rng):
    """A black map gives no light and no error."""
    on = with_map(np.zeros((height, 4, 3), np.float32), rows=rows)
    wi, radiance, _, _ = sample(on, (0, 0, 0), rng, 1000)
    assert np.all(np.isfinite(wi))
    assert not radiance.any()


@ROWS
def test_mean_luminance_is_that_over_the_sphere(rows, rng):
    """The mean of a constant map is its value; elsewhere it is that of the bilinear map over directions."""
    white = EnvironmentTable.of(EnvironmentMap(file="sky", rows=rows), np.full((5, 8, 3), 3.0, np.float32))
    assert white.mean_luminance == pytest.approx(3.0, rel=1e-5)
    pixels = rng.random((40, 70, 3)).astype(np.float32)
    seen = bilinear(pixels, random_directions(rng, 400_000), rows) @ LUMINANCE
    table = EnvironmentTable.of(EnvironmentMap(file="sky", rows=rows), pixels)
    assert table.mean_luminance == pytest.approx(seen.mean(), abs=4.0 * seen.std() / np.sqrt(len(seen)))


@pytest.mark.parametrize("shape", [(6, 10), (3, 7)])
def test_files_of_mitsuba_have_its_rows(shape, tmp_path, rng):
    """A Mitsuba file's map looks in every direction as in Mitsuba, while other formats keep the usual rows."""
    pytest.importorskip("mitsuba")
    from tests.agreement import mitsuba_oracle

    mi = mitsuba_oracle.load()
    pixels = rng.random((*shape, 3)).astype(np.float32)
    write_image(tmp_path / "sky.exr", pixels)
    (tmp_path / "scene.xml").write_text(
        '<scene version="3.0.0"><sensor type="perspective"/><emitter type="envmap"><string name="filename" value="sky.exr"/>'
        '<transform name="to_world"><rotate x="0.6" z="0.8" angle="70"/></transform></emitter></scene>'
    )
    w = random_directions(rng, 2000)
    theirs = mi.load_file(str(tmp_path / "scene.xml")).environment()
    expected = []
    for direction in w.tolist():
        si = mi.SurfaceInteraction3f()
        si.wi = -mi.Vector3f(*direction)
        expected.append(np.array(theirs.eval(si)).ravel())
    ours = emission(on_device(load_scene(tmp_path / "scene.xml")), (0, 0, 0), w)[:, :3]
    np.testing.assert_allclose(ours, expected, atol=2e-4)


def test_uneven_scales_are_refused(rng):
    """A sheared map is an error; a uniformly scaled one is not."""
    pixels = rng.random((2, 2, 3)).astype(np.float32)
    with_map(pixels, to_world=(Scale(3.0),))
    sheared = (Rotate(axis=(0, 0, 1), angle=45.0), Scale((2.0, 1.0, 1.0)))
    with pytest.raises(SceneError, match="environment"):
        with_map(pixels, to_world=sheared)
