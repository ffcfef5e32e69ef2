"""Images written row by row are read back by published packages."""

import numpy as np
import PIL.Image
import pytest

from nrc_tracer.errors import OutputError
from nrc_tracer.imaging import png16, read_image
from nrc_tracer.imaging.row_files import write_rows


def _pixels(dtype, channels, height=53, width=37):
    rng = np.random.default_rng(2)
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal((height, width, channels)).astype(dtype)
    smooth = np.linspace(0, np.iinfo(dtype).max, height * width * channels).reshape(height, width, channels)
    return (smooth + rng.integers(0, 3, smooth.shape)).clip(0, np.iinfo(dtype).max).astype(dtype)


def _blocks(pixels, sizes=(1, 7, 20)):
    y, turn = 0, 0
    while y < len(pixels):
        yield pixels[y : y + sizes[turn % len(sizes)]]
        y += sizes[turn % len(sizes)]
        turn += 1


def _write(path, pixels, **options):
    height, width, channels = pixels.shape
    return write_rows(
        path, _blocks(pixels), width=width, height=height, channels=channels, dtype=pixels.dtype, **options
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png(tmp_path, dtype, channels):
    """Pillow reads 8 bits and 16-bit grey; the package's own reader reads 16-bit colour, which Pillow would reduce."""
    pixels = _pixels(dtype, channels)
    path = _write(tmp_path / "a.png", pixels)
    if (dtype, channels) == (np.uint16, 3):
        found = png16.decode(path.read_bytes())
    else:
        found = np.asarray(PIL.Image.open(path)).reshape(pixels.shape)
    np.testing.assert_array_equal(found, pixels)


def test_a_large_png_has_many_chunks(tmp_path):
    """Compressed bytes are written in chunks of 1 MiB: 5 MiB of noise, which do not compress, take at least five."""
    pixels = np.random.default_rng(0).integers(0, 256, (1400, 1300, 3), dtype=np.uint8)
    path = _write(tmp_path / "a.png", pixels)
    assert path.read_bytes().count(b"IDAT") >= 5
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(path)), pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("big", [False, True])
def test_tiff(tmp_path, monkeypatch, dtype, channels, big):
    """tifffile reads the file in several strips; a large file is a BigTIFF."""
    tifffile = pytest.importorskip("tifffile")
    from nrc_tracer.imaging import row_files

    if big:
        monkeypatch.setattr(row_files, "BIG_TIFF", 1)
    pixels = _pixels(dtype, channels, height=530, width=400)
    path = _write(tmp_path / "a.tif", pixels)
    np.testing.assert_array_equal(tifffile.imread(path).reshape(pixels.shape), pixels)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff == big
        assert file.pages[0].photometric == (2 if channels == 3 else 1)
        assert len(file.pages[0].dataoffsets) == -(-530 // file.pages[0].rowsperstrip)


@pytest.mark.parametrize("channels", [1, 3])
def test_exr(tmp_path, channels):
    """The package's reader returns exactly the floats that were written."""
    pixels = _pixels(np.float32, channels)
    np.testing.assert_array_equal(read_image(_write(tmp_path / "a.exr", pixels)), pixels)


def test_impossible_outputs_give_one_line_errors(tmp_path):
    """Unknown extensions, unsupported sample types and impossible paths give one-line errors."""
    for name, words in (("a.gif", "unknown image format"), ("a.png", "not float32"), ("no/a.exr", "no folder")):
        with pytest.raises(OutputError, match=words):
            _write(tmp_path / name, _pixels(np.float32, 3))
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path):
    """An error while rows are generated leaves the existing file unchanged."""
    path = _write(tmp_path / "a.png", _pixels(np.uint8, 3))
    before = path.read_bytes()

    def fail():
        yield _pixels(np.uint8, 3)[:5]
        raise KeyError("rows")

    with pytest.raises(KeyError):
        write_rows(path, fail(), width=37, height=53, channels=3, dtype=np.uint8)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match="5 rows"):
        write_rows(path, [_pixels(np.uint8, 3)[:5]], width=37, height=53, channels=3, dtype=np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.exr"])
def test_numpy_integers_are_accepted_as_sizes(tmp_path, name):
    """Sizes of NumPy's 8-bit types, whose products would overflow, give the same file as Python integers."""
    pixels = _pixels(np.float32 if name == "a.exr" else np.uint8, 3)
    expected = _write(tmp_path / name, pixels)
    height, width, channels = map(np.uint8, pixels.shape)
    path = tmp_path / f"b{name}"
    write_rows(path, _blocks(pixels), width=width, height=height, channels=channels, dtype=pixels.dtype)
    np.testing.assert_array_equal(read_image(path), read_image(expected))
