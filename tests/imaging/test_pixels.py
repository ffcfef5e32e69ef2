"""Written pixels are read back bit for bit."""

import numpy as np
import pytest

from nrc_tracer.imaging import pixel_extension, read_image, write_pixels

KINDS = [(np.uint8, ".png"), (np.uint16, ".png"), (np.float32, ".exr")]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("dtype", "extension"), KINDS)
def test_every_kind_of_image_is_read_back(tmp_path, dtype, extension, channels):
    rng = np.random.default_rng(1)
    if dtype == np.float32:
        pixels = rng.normal(size=(5, 7, channels)).astype(dtype) * np.float32(1e4)
        pixels[0, 0, 0], pixels[1, 1, 0] = np.nan, np.inf
    else:
        pixels = rng.integers(0, np.iinfo(dtype).max, (5, 7, channels), dtype=dtype, endpoint=True)
    assert pixel_extension(pixels) == extension
    write_pixels(tmp_path / f"a{extension}", pixels)
    back = read_image(tmp_path / f"a{extension}")
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, pixels)


def test_data_that_are_not_pixels_are_refused(tmp_path):
    for pixels, name in (
        (np.zeros((2, 2), np.uint8), "a.png"),
        (np.zeros((2, 2, 2), np.uint8), "a.png"),
        (np.zeros((2, 2, 3)), "a.exr"),
        (np.zeros((2, 2, 3), np.float32), "a.png"),
    ):
        with pytest.raises(ValueError):
            write_pixels(tmp_path / name, pixels)
    assert not list(tmp_path.iterdir())
