"""`Image`: shape, mean, saving and loading."""

import numpy as np
import pytest

from nrc_tracer.imaging import Image


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
    # Half an 8-bit code is at most 0.5 / 255 of sRGB, whose slope is at most 2.4 linear per encoded
    np.testing.assert_allclose(Image.load(path).rgb, rgb, atol=tolerance)
