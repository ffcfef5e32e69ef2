"""EXIF orientations, compared with Pillow's."""

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from nrc_tracer.imaging.orientation import TAG, orientation_of, shown, stored, swaps_sides

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_shown_as_pillow_shows_it_and_back(orientation):
    image = PIL.Image.fromarray(PIXELS)
    image.getexif()[TAG] = orientation
    expected = np.array(PIL.ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(shown(PIXELS, orientation), expected)
    np.testing.assert_array_equal(stored(expected, orientation), PIXELS)
    assert swaps_sides(orientation) == (expected.shape[:2] == (6, 4))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_found_in_headers(tmp_path, name):
    image = PIL.Image.fromarray(PIXELS)
    for orientation in (3, 6):
        exif = PIL.Image.Exif()
        exif[TAG] = orientation
        image.save(tmp_path / name, exif=exif)
        with PIL.Image.open(tmp_path / name) as found:
            assert orientation_of(found) == orientation
    image.save(tmp_path / name)
    with PIL.Image.open(tmp_path / name) as found:
        assert orientation_of(found) == 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_nonsense_is_upright(tmp_path):
    for value in (0, 9, 77):
        exif = PIL.Image.Exif()
        exif[TAG] = value
        PIL.Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=exif)
        with PIL.Image.open(tmp_path / "a.jpg") as found:
            assert orientation_of(found) == 1
    PIL.Image.fromarray(PIXELS).save(tmp_path / "b.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    with PIL.Image.open(tmp_path / "b.jpg") as found:
        assert orientation_of(found) == 1
