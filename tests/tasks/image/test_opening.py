"""Opening images of all formats, compared with the arrays they were written from, and errors for those that cannot be read."""

import gc
import os
import struct
import sys
import tempfile
import zlib

import numpy as np
import PIL.Image
import pytest

from nrc_tracer.errors import DataError
from nrc_tracer.imaging import png16
from nrc_tracer.tasks.image import decoded, opening, source
from nrc_tracer.tasks.image.opening import open_source

GIB = 2**30
RECTANGLES = [(0, 0, 130, 100), (17, 33, 1, 1), (60, 30, 70, 70), (129, 99, 1, 1), (31, 31, 2, 35)]


def _pixels(dtype, channels=3, height=100, width=130):
    rng = np.random.default_rng(5)
    if np.dtype(dtype).kind == "f":
        return rng.random((height, width, channels)).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype, endpoint=True)


def _check(found, expected):
    assert (found.width, found.height, found.channels) == (expected.shape[1], expected.shape[0], expected.shape[2])
    for x, y, width, height in RECTANGLES:
        block = found.read(x, y, width, height)
        assert block.dtype == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(block, expected[y : y + height, x : x + width])
    rows = [(y, band) for y, band in found.bands()]
    np.testing.assert_array_equal(np.concatenate([band for _, band in rows]), expected)
    assert [y for y, _ in rows] == np.cumsum([0, *(len(band) for _, band in rows)])[:-1].tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
@pytest.mark.parametrize("layout", ["strips", "tiles", "big", "big-endian"])
def test_uncompressed_tiff_is_mapped(tmp_path, monkeypatch, dtype, layout):
    """Uncompressed strips and tiles are mapped, in either byte order; bands that end within a tile are correct."""
    tifffile = pytest.importorskip("tifffile")
    monkeypatch.setattr(source, "BAND_PIXELS", 130 * 7)
    pixels = _pixels(dtype)
    options = {
        "strips": {"rowsperstrip": 16},
        "tiles": {"tile": (32, 48)},
        "big": {"tile": (64, 64), "bigtiff": True},
        "big-endian": {"rowsperstrip": 7, "byteorder": ">"},
    }[layout]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", **options)
    found = open_source(tmp_path / "a.tif", GIB)
    assert found.mapped is not None
    assert found.scratch_bytes == 0
    assert found.linear == (np.dtype(dtype).kind == "f")
    _check(found, pixels)


@pytest.mark.parametrize("tile", [None, (32, 48)])
@pytest.mark.parametrize("in_memory", [True, False])
def test_compressed_tiff_is_decoded(tmp_path, monkeypatch, tile, in_memory):
    """Compressed strips or tiles are decoded once, into memory or into a scratch file of the size of the pixels."""
    tifffile = pytest.importorskip("tifffile")
    if not in_memory:
        monkeypatch.setattr(decoded, "IN_MEMORY", 0)
    pixels = _pixels(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", tile=tile, compression="zlib", predictor=False)
    found = open_source(tmp_path / "a.tif", GIB if in_memory else 1000)
    assert found.scratch_bytes == (0 if in_memory else pixels.nbytes)
    _check(found, pixels)


def test_unusual_layouts_of_tiff_are_converted(tmp_path):
    """Separate planes are interleaved; TIFFs without plain samples (palettes, bits, white is zero) are converted."""
    tifffile = pytest.importorskip("tifffile")
    pixels = _pixels(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(pixels, 2, 0), photometric="rgb", planarconfig="separate")
    _check(open_source(tmp_path / "a.tif", GIB), pixels)
    tifffile.imwrite(tmp_path / "b.tif", pixels[:, :, 0], photometric="miniswhite")
    _check(open_source(tmp_path / "b.tif", GIB), 255 - pixels[:, :, :1])
    colors = np.random.default_rng(1).integers(0, 2**16, (3, 256), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "c.tif", pixels[:, :, 0], photometric="palette", colormap=colors)
    _check(open_source(tmp_path / "c.tif", GIB), np.moveaxis(colors[:, pixels[:, :, 0]], 0, 2))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1"])
def test_png(tmp_path, mode):
    """Alpha is dropped, with a note, from images that Pillow converts to grey or RGB."""
    image = PIL.Image.fromarray(_pixels(np.uint8)).convert("RGBA" if mode == "LA" else mode).convert(mode)
    image.save(tmp_path / "a.png")
    found = open_source(tmp_path / "a.png", GIB)
    grey = mode in ("L", "1")
    expected = np.asarray(image.convert("L" if grey else "RGB")).reshape(100, 130, 1 if grey else 3)
    _check(found, expected)
    assert (decoded.ALPHA in found.notes) == ("A" in mode)


def test_png_of_16_bits(tmp_path):
    """16-bit grey, and 16-bit colour, of which Pillow would keep only eight bits."""
    pixels = _pixels(np.uint16)
    (tmp_path / "a.png").write_bytes(png16.encode(pixels))
    _check(open_source(tmp_path / "a.png", GIB), pixels)
    PIL.Image.fromarray(pixels[:, :, 0]).save(tmp_path / "b.png")
    _check(open_source(tmp_path / "b.png", GIB), pixels[:, :, :1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_ranges_of_scanlines_of_an_exr(tmp_path, monkeypatch, dtype):
    """Ranges of an EXR's scanlines: channels R, G, B without A, in the file's precision."""
    import OpenEXR

    from nrc_tracer.tasks.image import exr

    monkeypatch.setattr(exr, "BAND_PIXELS", 130 * 9)
    pixels = _pixels(dtype, channels=4)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGBA": pixels}).write(str(tmp_path / "a.exr"))
    found = open_source(tmp_path / "a.exr", GIB)
    assert found.linear
    _check(found, pixels[:, :, :3])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_npy(tmp_path, channels):
    """Arrays are mapped; a grey one may lack the last axis."""
    pixels = _pixels(np.uint16, channels=channels)
    np.save(tmp_path / "a.npy", pixels[:, :, 0] if channels == 1 else pixels)
    found = open_source(tmp_path / "a.npy", GIB)
    assert found.mapped is not None
    _check(found, pixels[:, :, : 3 if channels >= 3 else 1])


def test_a_large_jpeg_is_decoded_into_an_unnamed_file(tmp_path, monkeypatch):
    """A large JPEG is decoded into an unnamed file, which is removed at the end, also after errors."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(decoded, "IN_MEMORY", 0)
    PIL.Image.fromarray(_pixels(np.uint8)).save(tmp_path / "a.jpg")
    found = open_source(tmp_path / "a.jpg", 130 * 100 * 4)
    assert found.scratch_bytes == 130 * 100 * 3
    assert any("scratch file" in note for note in found.notes)
    _check(found, np.asarray(PIL.Image.open(tmp_path / "a.jpg")))
    if os.name == "posix":
        assert not list((tmp_path / "scratch").iterdir())
    del found
    gc.collect()
    assert not list((tmp_path / "scratch").iterdir())


def _broken(tmp_path):
    """Files that are not images, by name, with the words that the error must contain."""
    pixels = _pixels(np.uint8)
    for name in ("a.png", "a.jpg"):
        PIL.Image.fromarray(pixels).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / f"cut-{name}").write_bytes(data[: len(data) // 2])
    np.save(tmp_path / "a.npy", pixels)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:1000])
    np.save(tmp_path / "bool.npy", pixels > 7)
    np.save(tmp_path / "shape.npy", pixels[None])
    np.save(tmp_path / "fortran.npy", np.asfortranarray(pixels))
    (tmp_path / "words.png").write_text("not an image at all")
    (tmp_path / "empty.png").touch()
    for name, side in (("huge.png", 10**6), ("nothing.png", 0)):
        data = bytearray((tmp_path / "a.png").read_bytes())
        data[16:24] = side.to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        (tmp_path / name).write_bytes(data)
    return {
        "cut-a.png": "cut off",
        "cut-a.jpg": "cut off",
        "cut.npy": "cut off",
        "bool.npy": "bool",
        "shape.npy": "shape",
        "fortran.npy": "columns",
        "words.png": "not an image",
        "empty.png": "empty",
        "huge.png": "--memory",
        "nothing.png": "not",
        "missing.png": "cannot be read",
        ".": "folder",
    }


def test_broken_files_give_one_line_errors(tmp_path, monkeypatch):
    """Any defect of a file is a one-line error that names it."""
    monkeypatch.setitem(sys.modules, "pyvips", None)
    for name, words in _broken(tmp_path).items():
        with pytest.raises(DataError) as caught:
            open_source(tmp_path / name, GIB)
        message = str(caught.value)
        assert words in message, (name, message)
        assert "\n" not in message
        assert len(message) < 400
        assert name == "." or name in message


def test_broken_tiff_gives_a_one_line_error(tmp_path):
    """A TIFF that ends early, compressed or not, or whose samples are not an image's, is a one-line error."""
    tifffile = pytest.importorskip("tifffile")
    for options, words in (
        ({"rowsperstrip": 10}, "cut off"),
        ({"compression": "zlib", "rowsperstrip": 10}, "cut off"),
    ):
        tifffile.imwrite(tmp_path / "a.tif", _pixels(np.uint8), photometric="rgb", **options)
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            offset = file.pages[0].dataoffsets[5]
        (tmp_path / "cut.tif").write_bytes((tmp_path / "a.tif").read_bytes()[: offset + 10])
        with pytest.raises(DataError, match=words):
            open_source(tmp_path / "cut.tif", GIB)
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((10, 10), np.complex64))
    with pytest.raises(DataError, match="complex64"):
        open_source(tmp_path / "b.tif", GIB)
    (tmp_path / "c.tif").write_bytes(b"II*\0" + bytes(40))
    with pytest.raises(DataError):
        open_source(tmp_path / "c.tif", GIB)


@pytest.mark.parametrize(("bits", "compression"), [(4, 1), (12, 1), (4, 32773)])
def test_packed_samples_are_refused(tmp_path, bits, compression):
    """Packed samples, which could be mistaken for other types, are a one-line error that names their bits."""
    pytest.importorskip("tifffile")
    width, height = 16, 8
    data = bytes(range(width * height * bits // 8))
    if compression != 1:  # PackBits: pieces that are copied unchanged
        data = b"".join(bytes([len(data[i : i + 128]) - 1]) + data[i : i + 128] for i in range(0, len(data), 128))
    tags = {256: width, 257: height, 258: bits, 259: compression, 262: 1, 277: 1, 278: height, 279: len(data)}
    first = 8 + 2 + 12 * (len(tags) + 1) + 4
    tags[273] = first
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    header = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(header + data)
    with pytest.raises(DataError, match=f"samples of {bits} bits"):
        open_source(tmp_path / "a.tif", GIB)


def test_a_missing_pyvips_is_named(tmp_path, monkeypatch):
    """A JPEG that exceeds the budget while it is decoded is refused, with advice, if pyvips is missing."""
    monkeypatch.setitem(sys.modules, "pyvips", None)
    PIL.Image.fromarray(_pixels(np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="convert the image to an uncompressed TIFF"):
        open_source(tmp_path / "a.jpg", 130 * 100 * 4 - 1)


def test_pyvips_decodes_in_strips(tmp_path, monkeypatch):
    """pyvips decodes the same image, and reports a truncated one."""
    pytest.importorskip("pyvips")
    from nrc_tracer.tasks.image import pillow

    monkeypatch.setattr(pillow, "BAND_PIXELS", 130 * 16)
    PIL.Image.fromarray(_pixels(np.uint8)).save(tmp_path / "a.png")
    _check(open_source(tmp_path / "a.png", 1000), _pixels(np.uint8))
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cut off|not a readable"):
        open_source(tmp_path / "b.png", 1000)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_formats_that_are_decoded_as_a_whole_keep_to_the_budget(tmp_path, kind):
    """They are refused above it, also where pyvips is installed: libvips does not decode them in strips."""
    PIL.Image.fromarray(_pixels(np.uint8)).convert("P" if kind == "GIF" else "RGB").save(tmp_path / "a", kind)
    with pytest.raises(DataError, match=f"as a {kind} is decoded as a whole"):
        open_source(tmp_path / "a", 1000)


def test_a_small_gif_with_a_huge_canvas_is_refused(tmp_path):
    """libvips would allocate 17 GB for these 43 bytes, and end the process where it cannot."""
    PIL.Image.new("P", (1, 1)).save(tmp_path / "a.gif")
    data = bytearray((tmp_path / "a.gif").read_bytes())
    data[6:10] = b"\xff" * 4
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(DataError, match="65535 x 65535 pixels take"):
        open_source(tmp_path / "a.gif", GIB)


def test_the_limit_of_pillow_is_restored(tmp_path, monkeypatch):
    """Pillow's limit on pixels is lifted only during the call."""
    monkeypatch.setitem(sys.modules, "pyvips", None)
    before = PIL.Image.MAX_IMAGE_PIXELS
    PIL.Image.fromarray(_pixels(np.uint8)).save(tmp_path / "a.png")
    open_source(tmp_path / "a.png", GIB)
    with pytest.raises(DataError):
        open_source(tmp_path / "a.png", 100)
    assert before == PIL.Image.MAX_IMAGE_PIXELS


def test_all_errors_of_decoders_are_caught(tmp_path, monkeypatch):
    """Errors that a reader did not foresee are one line, too."""

    def fail(*arguments):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(opening, "open_with_pillow", fail)
    PIL.Image.fromarray(_pixels(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: not a readable image: division by zero"):
        open_source(tmp_path / "a.png", GIB)
