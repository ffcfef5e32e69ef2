"""`Image`: shape, mean, saving and loading, and its picture in a notebook."""

import io

import numpy as np
import PIL.Image
import pytest

from nrc_tracer.imaging import Image, eight_bits, encode_srgb


def test_mean_and_size():
    image = Image(np.full((2, 5, 3), [1, 2, 3]), samples=4)
    assert (image.width, image.height, image.samples, image.dropped) == (5, 2, 4, 0)
    assert image.mean == (1.0, 2.0, 3.0)
    assert image.rgb.dtype == np.float32


def test_other_shapes_are_refused():
    for shape in ((2, 5), (2, 5, 4), (0, 5, 3)):
        with pytest.raises(ValueError, match="height, width, 3"):
            Image(np.zeros(shape))


@pytest.mark.parametrize(("extension", "tolerance"), [(".exr", 0), (".png", 0.005)])
def test_save_and_load(tmp_path, extension, tolerance):
    rgb = np.random.default_rng(0).random((4, 6, 3)).astype(np.float32)
    path = Image(rgb).save(tmp_path / f"a{extension}")
    # Half an 8-bit step is at most 0.5 / 255 in sRGB, and sRGB decoding has a slope of at most 2.4
    np.testing.assert_allclose(Image.load(path).rgb, rgb, atol=tolerance)


def test_the_picture_in_a_notebook_is_srgb():
    rgb = np.random.default_rng(0).random((4, 6, 3)) * 1.5
    with PIL.Image.open(io.BytesIO(Image(rgb)._repr_png_())) as picture:
        assert picture.format == "PNG"
        np.testing.assert_array_equal(np.asarray(picture), eight_bits(encode_srgb(np.minimum(rgb, 1.0))))


def test_a_large_image_is_scaled_down_in_a_notebook():
    rgb = np.zeros((30, 2500, 3))
    rgb[:, 1500:] = 1.0
    with PIL.Image.open(io.BytesIO(Image(rgb)._repr_png_())) as picture:
        assert picture.size == (834, 10)  # a third, rounded up
        np.testing.assert_array_equal(np.asarray(picture)[:, :500], 0)
        np.testing.assert_array_equal(np.asarray(picture)[:, 500:], 255)
