"""Textures: look-ups compared with a plain NumPy implementation."""

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.imaging.tonemap import decode_srgb
from nrc_tracer.scene.model import Bitmap, Checkerboard, Diffuse, Rotate, Scale, Translate, VertexColor
from nrc_tracer.tracer.texture_table import TextureTable
from tests.tracer import kernels
from tests.tracer.tiny_scenes import on_device, scene

EPS = float(np.finfo(np.float32).eps)


def looked_up(textures, images, uv, index=0, color=(1.0, 1.0, 1.0, 1.0)):
    on = on_device(scene(textures=textures, images=images))
    out = kernels.zeros(len(uv), kernels.wp.vec3)
    inputs = [on.record, index, kernels.wp.vec4(*color), kernels.array(uv, kernels.wp.vec2), out]
    kernels.launch(kernels.lookup_kernel, len(uv), inputs)
    return out.numpy()


def twin(pixels, uv, wrap, nearest):
    """Bilinear or nearest look-up of linear pixels, with v = 0 at the top."""
    height, width, _ = pixels.shape

    def texel(y, x):
        def inside(i, n):
            if wrap == "clamp":
                return np.clip(i, 0, n - 1)
            if wrap == "mirror":
                return np.where(i % (2 * n) < n, i % (2 * n), 2 * n - 1 - i % (2 * n))
            return i % n

        return pixels[inside(y, height), inside(x, width)]

    x, y = uv[:, 0].astype(np.float64) * width, uv[:, 1].astype(np.float64) * height
    if nearest:
        return texel(np.floor(y).astype(int), np.floor(x).astype(int))
    x, y = x - 0.5, y - 0.5
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    s, t = (x - i)[:, None], (y - j)[:, None]
    top = texel(j, i) * (1 - s) + texel(j, i + 1) * s
    return top * (1 - t) + (texel(j + 1, i) * (1 - s) + texel(j + 1, i + 1) * s) * t


@pytest.mark.parametrize("wrap", ["repeat", "mirror", "clamp"])
@pytest.mark.parametrize("filter", ["bilinear", "nearest"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("raw", [False, True])
def test_bitmap(wrap, filter, dtype, raw, rng):
    """All wrap modes, filters and pixel types agree with NumPy, also far outside [0, 1]; sRGB is decoded before filtering."""
    pixels = rng.random((5, 7, 3))
    if dtype != np.float32:
        pixels = np.round(pixels * np.iinfo(dtype).max)
    pixels = pixels.astype(dtype)
    linear = pixels.astype(np.float64) / (1.0 if dtype == np.float32 else np.iinfo(dtype).max)
    if not raw and dtype != np.float32:
        linear = decode_srgb(linear)
    uv = rng.uniform(-4.0, 5.0, (3000, 2)).astype(np.float32)
    if filter == "nearest":  # away from edges between texels, where rounding decides
        texels = uv * np.float32([7, 5])
        uv = uv[np.all(np.abs(texels - np.round(texels)) > 1e-4, axis=1)]
    found = looked_up({"t": Bitmap(file="f", raw=raw, filter=filter, wrap=wrap)}, {"f": pixels}, uv)
    # uv up to 5 times 7 texels is rounded by 35 eps texels; 8-bit sRGB is decoded to float32
    np.testing.assert_allclose(found, twin(linear, uv, wrap, filter == "nearest"), atol=35 * 4 * EPS)


def test_channels(rng):
    """A grey image is grey, alpha is ignored, and a second texture has its own place in the buffer."""
    grey, rgba = rng.random((3, 4, 1)).astype(np.float32), rng.integers(0, 256, (2, 2, 4)).astype(np.uint8)
    textures = {
        "a": Bitmap(file="grey"),
        "b": Bitmap(file="rgba", raw=True),
        "c": Bitmap(file="grey", filter="nearest"),
    }
    images = {"grey": grey, "rgba": rgba}
    uv = rng.random((200, 2)).astype(np.float32)
    a = looked_up(textures, images, uv, 0)
    np.testing.assert_array_equal(a[:, 0], a[:, 2])
    np.testing.assert_allclose(a, twin(np.repeat(grey, 3, axis=2), uv, "repeat", False), atol=16 * EPS)
    b = looked_up(textures, images, uv, 1)
    np.testing.assert_allclose(b, twin(rgba[..., :3] / 255.0, uv, "repeat", False), atol=16 * EPS)
    c = looked_up(textures, images, uv, 2)
    assert np.all(np.isin(c, grey))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("raw", [False, True])
def test_one_channel(dtype, raw, rng):
    """Each single channel is grey and decoded as in the whole image; opacity is never decoded, and is 1 if there is none."""
    full = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = rng.random((4, 5, 4)) * full
    pixels = (pixels if dtype == np.float32 else np.round(pixels)).astype(dtype)
    linear = pixels.astype(np.float64) / full
    if not raw and dtype != np.float32:
        linear[..., :3] = decode_srgb(linear[..., :3])
    uv = rng.random((300, 2)).astype(np.float32)
    textures = {c: Bitmap(file="f", raw=raw, channel=c) for c in ("r", "g", "b", "a", "rgb")}
    textures["solid"] = Bitmap(file="g", channel="a", factor=0.5)
    images = {"f": pixels, "g": pixels[..., :3].copy()}
    for number in range(4):
        found = looked_up(textures, images, uv, number)
        expected = np.repeat(linear[..., number : number + 1], 3, axis=2)
        np.testing.assert_allclose(found, twin(expected, uv, "repeat", False), atol=32 * EPS)
    np.testing.assert_allclose(
        looked_up(textures, images, uv, 4), twin(linear, uv, "repeat", False)[:, :3], atol=32 * EPS
    )
    np.testing.assert_allclose(looked_up(textures, images, uv, 5), 0.5, rtol=4 * EPS)


def test_a_wrap_for_each_axis_and_a_factor(rng):
    """`wrap` may differ between u and v; values and the mean colour are multiplied by `factor`."""
    pixels, factor = rng.random((3, 4, 3)).astype(np.float32), (0.5, 2.0, 1.5)
    uv = rng.uniform(-3.0, 4.0, (1000, 2)).astype(np.float32)
    textures = {"t": Bitmap(file="f", wrap=("mirror", "clamp"), factor=factor)}
    found = looked_up(textures, {"f": pixels}, uv)
    mirrored = np.abs((uv.astype(np.float64) + 1.0) % 2.0 - 1.0)  # a triangle wave in u
    inside = np.column_stack([mirrored[:, 0], np.clip(uv[:, 1], 0.0, 1.0)])
    np.testing.assert_allclose(found, twin(pixels, inside, "clamp", False) * factor, atol=1e-5)
    mean = TextureTable(scene(textures=textures, images={"f": pixels})).mean("t")
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 1)) * factor, rtol=1e-5)


def test_vertex_colors(rng):
    """The colour is that of the mesh times `factor`, times another texture with its factor; or the mesh's opacity."""
    pixels, uv, color = rng.random((3, 4, 3)), rng.random((50, 2)).astype(np.float32), (0.2, 0.4, 0.8, 0.25)
    textures = {
        "tinted": VertexColor(factor=(1.0, 2.0, 0.5), texture="image"),
        "image": Bitmap(file="f", factor=3.0),
        "opacity": VertexColor(channel="a", factor=0.5),
    }
    described = scene(textures=textures, images={"f": pixels.astype(np.float32)})
    table = TextureTable(described)
    found = looked_up(textures, described.images, uv, table.index("tinted"), color)
    expected = twin(pixels, uv, "repeat", False) * 3.0 * np.array([0.2, 0.8, 0.4])
    np.testing.assert_allclose(found, expected, atol=32 * EPS)
    np.testing.assert_allclose(
        looked_up(textures, described.images, uv, table.index("opacity"), color), 0.125, rtol=EPS
    )


def test_the_same_image_raw_and_decoded(rng):
    """An 8- or 16-bit file used both as data and as colour has separate values for each use."""
    for dtype in (np.uint8, np.uint16):
        pixels = np.full((2, 2, 3), np.iinfo(dtype).max // 2, dtype)
        level = pixels[0, 0, 0] / np.iinfo(dtype).max
        textures = {"colour": Bitmap(file="f"), "data": Bitmap(file="f", raw=True)}
        uv = np.float32([[0.3, 0.3]])
        assert looked_up(textures, {"f": pixels}, uv, 0)[0, 0] == pytest.approx(decode_srgb(level), rel=4 * EPS)
        assert looked_up(textures, {"f": pixels}, uv, 1)[0, 0] == pytest.approx(level, rel=4 * EPS)


def test_top_row_is_v_zero():
    """v = 0 is the image's top row and u = 0 its left column."""
    pixels = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
    found = looked_up(
        {"t": Bitmap(file="f", filter="nearest")}, {"f": pixels}, np.float32([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]])
    )
    np.testing.assert_array_equal(found[:, 0], [0.0, 3.0, 8.0])


def test_uv_transform(rng):
    """`to_uv` transforms (u, v) before the look-up."""
    pixels = rng.random((5, 5, 3)).astype(np.float32)
    steps = (Scale((2.0, 3.0, 1.0)), Rotate(axis=(0, 0, 1), angle=90.0), Translate((0.25, 0.5, 0.0)))
    uv = rng.random((500, 2)).astype(np.float32)
    mapped = np.column_stack([-3.0 * uv[:, 1].astype(np.float64) + 0.25, 2.0 * uv[:, 0].astype(np.float64) + 0.5])
    found = looked_up({"t": Bitmap(file="f", to_uv=steps)}, {"f": pixels}, uv)
    np.testing.assert_allclose(found, twin(pixels, mapped, "repeat", False), atol=5 * 16 * EPS)


def test_checkerboard():
    """The first colour appears where the halves of u and v have the same parity, also at negative coordinates."""
    uv = np.float32(
        [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75], [-0.25, 0.25], [-0.25, -0.25], [7.25, 3.75]]
    )
    found = looked_up({"t": Checkerboard(color0=0.9, color1=(0.1, 0.2, 0.3))}, {}, uv)
    first = np.array([True, False, True, False, False, True, False])
    np.testing.assert_allclose(found, np.where(first[:, None], 0.9, np.array([0.1, 0.2, 0.3])), rtol=EPS)


def test_huge_coordinates_stay_in_the_image():
    """Coordinates beyond the range of integers, infinite ones and NaN read no memory outside the image."""
    uv = np.float32([[1e20, -1e20], [3e9, -3e9], [np.inf, 0.5], [0.5, -np.inf], [np.nan, 0.5]])
    for wrap in ("repeat", "mirror", "clamp"):
        found = looked_up(
            {"t": Bitmap(file="f", filter="nearest", wrap=wrap)}, {"f": np.full((3, 5, 3), 0.5, np.float32)}, uv
        )
        np.testing.assert_array_equal(found, 0.5)


def test_unknown_texture_is_an_error():
    """A material that uses a missing texture is an error that names the texture."""
    with pytest.raises(SceneError, match="brick"):
        on_device(scene(materials={"m": Diffuse(reflectance="brick")}))
