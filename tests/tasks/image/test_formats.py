"""Kinds of images that cameras and other programs write: turned, compressed, with rare colours and samples."""

import io

import numpy as np
import PIL.Image
import pytest

from nrc_tracer.errors import DataError
from nrc_tracer.imaging import read_image
from nrc_tracer.imaging.orientation import TAG, shown
from nrc_tracer.imaging.pixels import write_pixels
from nrc_tracer.tasks.image import decoded
from nrc_tracer.tasks.image.opening import open_source

GIB = 2**30


def smooth(height=90, width=130, top=255):
    """A picture that JPEG keeps well."""
    y, x = np.mgrid[0:height, 0:width]
    planes = (x / width, y / height, (x + y) / (width + height))
    return np.stack([(top * plane).round() for plane in planes], axis=2).astype(np.uint8 if top < 256 else np.uint16)


def opened(path, memory=GIB):
    """All pixels of a file, and the notes about it."""
    found = open_source(path, memory)
    return found.read(0, 0, found.width, found.height), found.notes


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_orientations_are_applied(tmp_path, monkeypatch, name, orientation, in_memory):
    """In memory and in a scratch file, with a note."""
    pixels = smooth()
    exif = PIL.Image.Exif()
    exif[TAG] = orientation
    options = {"lossless": True} if name == "a.webp" else {}
    PIL.Image.fromarray(pixels).save(tmp_path / name, exif=exif, **options)
    if not in_memory:
        monkeypatch.setattr(decoded, "IN_MEMORY", 0)
        monkeypatch.setattr(decoded, "MEMORY_SHARE", 0.0)
    found, notes = opened(tmp_path / name)
    assert "its EXIF orientation is applied" in notes
    np.testing.assert_allclose(found, shown(pixels, orientation), atol=12 if name == "a.jpg" else 0)


def test_orientation_of_a_png_of_16_bits(tmp_path):
    pixels = smooth(top=65535)
    write_pixels(tmp_path / "a.png", pixels)
    data = (tmp_path / "a.png").read_bytes()
    exif = PIL.Image.Exif()
    exif[TAG] = 6
    with io.BytesIO() as other:
        PIL.Image.fromarray(smooth()).save(other, "png", exif=exif)
        written = other.getvalue()
    begin = written.index(b"eXIf") - 4
    chunk = written[begin : begin + 12 + int.from_bytes(written[begin : begin + 4], "big")]
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])  # after the signature and IHDR
    np.testing.assert_array_equal(opened(tmp_path / "a.png")[0], shown(pixels, 6))


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "tiff_deflate", "tiff_adobe_deflate", "webp", "zstd"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_compressed_tiff_of_pillow(tmp_path, compression, mode):
    """The compressions that Pillow writes are read as Pillow reads them, strip by strip."""
    if compression == "webp" and mode == "L":
        pytest.skip("WebP has no grey")
    image = PIL.Image.fromarray(smooth()).convert(mode)
    try:
        image.save(tmp_path / "a.tif", compression=compression, tiffinfo={278: 16})
    except (OSError, RuntimeError) as error:
        pytest.skip(f"this Pillow does not write {compression}: {error}")
    found, _ = opened(tmp_path / "a.tif")
    with PIL.Image.open(tmp_path / "a.tif") as expected:
        np.testing.assert_array_equal(found, np.array(expected).reshape(found.shape))


@pytest.mark.parametrize("compression", ["lzw", "deflate", "jpeg"])
@pytest.mark.parametrize("tile", [False, True])
@pytest.mark.parametrize("kind", ["8", "16", "float"])
def test_compressed_tiff_of_vips(tmp_path, compression, tile, kind):
    """Tiles and strips of 8 and 16 bits and floating-point, with predictors, written by libvips."""
    pyvips = pytest.importorskip("pyvips")
    if compression == "jpeg" and kind != "8":
        pytest.skip("JPEG has 8 bits")
    pixels = {"8": smooth(), "16": smooth(top=65535), "float": smooth().astype(np.float32) / 255}[kind]
    image = pyvips.Image.new_from_array(pixels).copy(
        interpretation={"8": "srgb", "16": "rgb16", "float": "scrgb"}[kind]
    )
    predictor = {"8": "horizontal", "16": "horizontal", "float": "float"}[kind]
    options = {"Q": 95} if compression == "jpeg" else {"predictor": predictor}
    if tile:
        options |= {"tile": True, "tile_width": 64, "tile_height": 48}
    image.tiffsave(str(tmp_path / "a.tif"), compression=compression, **options)
    found, _ = opened(tmp_path / "a.tif")
    assert found.dtype == pixels.dtype
    if compression == "jpeg":
        theirs = pyvips.Image.new_from_file(str(tmp_path / "a.tif")).numpy()
        # Decoders round YCbCr differently, and the edges between tiles have other neighbours
        np.testing.assert_allclose(found, theirs, atol=3)
        np.testing.assert_allclose(found, pixels, atol=16)
    else:
        np.testing.assert_array_equal(found, pixels)


def test_planes_of_a_compressed_tiff(tmp_path):
    """Channels that are stored one after the other."""
    pyvips = pytest.importorskip("pyvips")
    pixels = smooth(top=65535)
    planes = [pyvips.Image.new_from_array(np.ascontiguousarray(pixels[:, :, i])) for i in range(3)]
    joined = pyvips.Image.arrayjoin(planes, across=1).copy(interpretation="grey16")
    joined.tiffsave(str(tmp_path / "grey.tif"), compression="lzw", predictor="horizontal")
    found, _ = opened(tmp_path / "grey.tif")
    np.testing.assert_array_equal(found[:, :, 0], np.concatenate(np.moveaxis(pixels, 2, 0)))


def test_damaged_compressed_tiff_is_one_line(tmp_path):
    PIL.Image.fromarray(smooth()).save(tmp_path / "a.tif", compression="tiff_lzw")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    for end in range(8, len(data), max(1, len(data) // 40)):
        (tmp_path / "b.tif").write_bytes(data[:end])
        with pytest.raises(DataError) as caught:
            opened(tmp_path / "b.tif")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.webp", "a.gif"])
def test_other_formats(tmp_path, name):
    """Lossless WebP exactly, GIF with its palette; of animations the first picture, with a note."""
    pixels = smooth()
    image = PIL.Image.fromarray(pixels)
    options = {"lossless": True} if name == "a.webp" else {}
    image.save(tmp_path / name, **options)
    found, notes = opened(tmp_path / name)
    np.testing.assert_allclose(found, pixels, atol=0 if name == "a.webp" else 64)
    assert notes == []
    np.testing.assert_array_equal(found, read_image(tmp_path / name)[:, :, :3])
    (tmp_path / name).unlink()
    image.save(tmp_path / name, save_all=True, append_images=[image.rotate(90)], duration=100, **options)
    found, notes = opened(tmp_path / name)
    assert found.shape == pixels.shape
    assert notes[0] == "only the first of its pictures is used"


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path, name):
    """CMYK becomes RGB, with a note, in TIFF too."""
    image = PIL.Image.fromarray(smooth()).convert("CMYK")
    image.save(tmp_path / name)
    found, notes = opened(tmp_path / name)
    np.testing.assert_allclose(found, smooth(), atol=8 if name == "a.jpg" else 0)
    assert notes == ["CMYK colours are converted to RGB without their profile"]
    np.testing.assert_array_equal(found, read_image(tmp_path / name))


@pytest.mark.parametrize(("top", "dtype"), [(255, np.uint8), (60_000, np.uint16)])
def test_integers_of_32_bits(tmp_path, top, dtype):
    """Values that fit into 8 or 16 bits are read as those; what is white is unknown of others."""
    pixels = np.linspace(0, top, 64).astype(np.int32).reshape(8, 8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.tif")
    found, notes = opened(tmp_path / "a.tif")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[:, :, 0], pixels)
    assert notes == [f"its 32-bit integers are read as {8 * np.dtype(dtype).itemsize}-bit"]
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), found)
    for wrong in (pixels - 1, pixels + 65_536):
        PIL.Image.fromarray(wrong.astype(np.int32)).save(tmp_path / "b.tif")
        with pytest.raises(DataError, match=r"integers from .* 0 to 65535 can be read; convert"):
            opened(tmp_path / "b.tif")
