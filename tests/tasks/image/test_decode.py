"""Pictures decoded from a model whose colours are known: sample positions, crops and scales."""

import numpy as np
import pytest
import torch

from nrc_tracer.errors import DataError, OutputError
from nrc_tracer.imaging import read_image
from nrc_tracer.imaging.tonemap import decode_srgb
from nrc_tracer.tasks.image import decode
from nrc_tracer.tasks.image.decode import Crop, ImageInfo, read_crop, rows, write_picture, write_preview, write_zoom

WIDTH, HEIGHT = 90, 60


class Ramp:
    """A fake model: red is x and green is y, both in [0, 1], and blue is a quarter."""

    device = torch.device("cpu")

    def __init__(self):
        self.calls = []

    def __call__(self, x):
        self.calls.append(len(x))
        return torch.cat((x, torch.full((len(x), 1), 0.25)), dim=1)


def _picture(space="srgb", bits=8, floating=False, channels=3):
    return ImageInfo(WIDTH, HEIGHT, channels, space, bits, floating)


def _expected(crop, width, height):
    x = (crop.x + (np.arange(width) + 0.5) * crop.width / width) / WIDTH
    y = (crop.y + (np.arange(height) + 0.5) * crop.height / height) / HEIGHT
    grid = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=2)
    return np.concatenate((grid, np.full((height, width, 1), 0.25)), axis=2)


@pytest.mark.parametrize("scale", [1.0, 4.0, 1.7, 0.5, 0.3, 0.02])
@pytest.mark.parametrize("crop", [Crop(0, 0, WIDTH, HEIGHT), Crop(10, 20, 30, 25), Crop(89, 59, 1, 1)])
@pytest.mark.parametrize("piece", [2**20, 100])
def test_output_rows_have_the_right_positions(monkeypatch, scale, crop, piece):
    """The mean of a linear function over an output pixel's samples is its value at the centre, however rows are split."""
    monkeypatch.setattr(decode, "PIECE", piece)
    model = Ramp()
    width, height = decode.output_size(crop, scale)
    found = np.concatenate(list(rows(model, _picture(), crop, scale)))
    assert found.shape == (height, width, 3)
    assert (width, height) == (max(1, round(crop.width * scale)), max(1, round(crop.height * scale)))
    np.testing.assert_allclose(found, _expected(crop, width, height), atol=2e-6)
    assert max(model.calls) <= max(piece, decode.MAX_SAMPLES**2)


def test_smaller_pictures_are_means_of_pixels():
    """At half the size, an output pixel is the mean of the four pixels it covers."""

    class Noise(Ramp):
        values = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(1))

        def __call__(self, x):
            return self.values[(x[:, 1] * HEIGHT).long(), (x[:, 0] * WIDTH).long()]

    model = Noise()
    found = np.concatenate(list(rows(model, _picture(), Crop(0, 0, WIDTH, HEIGHT), 0.5)))
    expected = model.values.numpy().reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("space", ["srgb", "linear"])
def test_each_format_has_its_colour_space(tmp_path, space):
    """PNG has sRGB, EXR linear light and TIFF the image's own samples, whatever the colour space of training."""
    tifffile = pytest.importorskip("tifffile")
    linear = _expected(Crop(0, 0, WIDTH, HEIGHT), WIDTH, HEIGHT).astype(np.float32)
    linear = linear if space == "linear" else decode_srgb(linear)
    for name in ("a.png", "a.exr", "a.tif"):
        facts = write_picture(Ramp(), _picture(space), tmp_path / name)
        assert (facts["width"], facts["height"]) == (WIDTH, HEIGHT)
    np.testing.assert_allclose(read_image(tmp_path / "a.exr"), linear, atol=1e-5)
    png = read_image(tmp_path / "a.png")
    np.testing.assert_allclose(decode_srgb(png / 255.0), linear, atol=0.005)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), png)
    write_picture(Ramp(), _picture(space, bits=16), tmp_path / "b.tif")
    assert tifffile.imread(tmp_path / "b.tif").dtype == np.uint16
    write_picture(Ramp(), _picture("linear", bits=32, floating=True), tmp_path / "c.tif")
    assert tifffile.imread(tmp_path / "c.tif").dtype == np.float32


def test_crops_are_parsed():
    """X,Y,W,H inside the image is accepted; anything else is a one-line error."""
    assert read_crop(None, _picture()) == Crop(0, 0, WIDTH, HEIGHT)
    assert read_crop(" 1, 2,3,4", _picture()) == Crop(1, 2, 3, 4)
    for wrong in ("", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,0,4", "80,0,11,5", "-1,0,5,5", "1.5,0,2,2"):
        with pytest.raises(DataError, match="crop"):
            read_crop(wrong, _picture())


def test_impossible_scales_are_refused():
    """Zero, negative scales, and sizes above the limit of files are refused."""
    for wrong in (0.0, -1.0, float("nan"), float("inf"), 1e9):
        with pytest.raises(DataError, match="scale"):
            decode.output_size(Crop(0, 0, WIDTH, HEIGHT), wrong)


def test_previews(tmp_path):
    """The whole image, reduced, or views of equal size that zoom in on a pixel until it is large."""
    write_preview(Ramp(), ImageInfo(3000, 1500, 3, "srgb", 8, False), tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (512, 1024, 3)
    facts = write_zoom(Ramp(), ImageInfo(3000, 1500, 3, "srgb", 8, False), tmp_path / "b.png", (2900, 30))
    strip = read_image(tmp_path / "b.png")
    side, border = decode.ZOOM_SIDE, decode.BORDER
    assert strip.shape == (side, facts["width"], 3)
    views = [strip[:, i : i + side] / 255.0 for i in range(0, strip.shape[1], side + border)]
    assert len(views) == 4
    widths = [(view[0, -1, 0] - view[0, 0, 0]) * 3000 for view in views]
    np.testing.assert_allclose(widths, [1500, 375, 94, 40], atol=13)  # a unit of eight bits is 12 pixels
    assert abs(views[-1][:, :, 0].mean() - 2900 / 3000) < 0.006
    with pytest.raises(DataError, match="outside"):
        write_zoom(Ramp(), _picture(), tmp_path / "c.png", (90, 0))


def test_unknown_extensions_are_refused(tmp_path):
    """A file of an unknown kind is a one-line error."""
    with pytest.raises(OutputError, match="unknown image format"):
        write_picture(Ramp(), _picture(), tmp_path / "a.jpg")
