"""Image files: stored values are read back, and every problem is a clear error."""

import itertools
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from nrc_tracer.errors import OutputError, SceneError
from nrc_tracer.imaging import check_writable, decode_image, files, png16, radiance_hdr, read_image, write_image


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.mark.parametrize(("extension", "tolerance"), [(".exr", 0.0), (".npy", 0.0), (".hdr", 1 / 128)])
def test_linear_formats_keep_the_values(tmp_path, rng, extension, tolerance):
    rgb = (rng.random((7, 13, 3)) * 1000).astype(np.float32)
    path = write_image(tmp_path / f"a{extension}", rgb, tone="agx", exposure=3)
    back = np.load(path) if extension == ".npy" else read_image(path)
    assert back.dtype == np.float32
    assert np.all(np.abs(back - rgb) <= tolerance * rgb.max(axis=2, keepdims=True))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_png_holds_srgb_codes(tmp_path):
    rgb = np.broadcast_to(np.array([0.0, 0.21404114, 2.0], dtype=np.float32), (2, 3, 3))
    back = read_image(write_image(tmp_path / "a.PNG", rgb))
    assert back.dtype == np.uint8
    assert back[1, 2].tolist() == [0, 128, 255]  # 0.2140 is the linear value of 127.5 / 255, rounded up


@pytest.mark.parametrize(
    ("mode", "extension"),
    sorted(
        set(itertools.product(["L", "RGB", "RGBA", "LA", "P", "1", "CMYK"], [".png", ".tif", ".bmp", ".tga"]))
        - {("LA", ".bmp"), ("CMYK", ".png"), ("CMYK", ".bmp"), ("CMYK", ".tga")}  # modes that do not exist
    ),
)
def test_pillow_modes_become_grey_rgb_or_rgba(tmp_path, rng, mode, extension):
    source = PIL.Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).convert(mode)
    path = tmp_path / f"a{extension}"
    source.save(path)
    pixels = read_image(path)
    channels = {"L": 1, "1": 1, "RGBA": 4, "LA": 4}.get(mode, 3)
    assert pixels.dtype == np.uint8
    assert pixels.shape[:2] == (5, 6)
    assert pixels.shape[2] in ({channels, 3} if extension == ".bmp" else {channels})
    if extension == ".png" and mode in ("L", "RGB", "RGBA"):
        np.testing.assert_array_equal(pixels.squeeze(), np.asarray(source))


def test_palette_with_transparency_becomes_rgba(tmp_path):
    image = PIL.Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=1)
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [10, 20, 30, 0]


def test_grey_16_bit_png_stays_16_bit(tmp_path, rng):
    values = rng.integers(0, 65536, (6, 5), dtype=np.uint16)
    PIL.Image.fromarray(values).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels[..., 0], values)


def _predict(kind, left, above, corner):
    """The predictors of PNG's row filters, one byte at a time as in the specification."""
    if kind == 4:
        estimate = left + above - corner
        return min((left, above, corner), key=lambda value: abs(estimate - value))
    return (0, left, above, (left + above) // 2)[kind]


def _png16(values, colour_type, interlace=0):
    """Write a 16-bit PNG whose rows use all five filters in turn."""
    height, width, channels = values.shape
    size = 2 * channels
    plain = values.astype(">u2").tobytes()
    rows = [bytes(width * size)] + [plain[y * width * size :][: width * size] for y in range(height)]
    filtered = b""
    for y in range(height):
        above, row = rows[y], rows[y + 1]
        out = bytearray([y % 5])
        for i, byte in enumerate(row):
            left, corner = (row[i - size], above[i - size]) if i >= size else (0, 0)
            out.append((byte - _predict(y % 5, left, above[i], corner)) & 255)
        filtered += bytes(out)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, interlace)
    packed = zlib.compress(filtered)
    body = chunk(b"IDAT", packed[:40]) + chunk(b"IDAT", packed[40:])
    return png16.SIGNATURE + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("shape", [(11, 4), (3, 9)])
def test_colour_16_bit_png_keeps_all_bits(tmp_path, rng, colour_type, channels, shape):
    values = rng.integers(0, 65536, (*shape, channels), dtype=np.uint16)
    data = _png16(values, colour_type)
    (tmp_path / "a.png").write_bytes(data)
    # Pillow also reads the file, at 8 bits, so it is a valid PNG
    eight = np.asarray(PIL.Image.open(tmp_path / "a.png").convert("RGBA"))
    pixels = read_image(tmp_path / "a.png")
    assert pixels.dtype == np.uint16
    if channels == 2:
        values = values[..., [0, 0, 0, 1]]
    np.testing.assert_array_equal(pixels, values)
    np.testing.assert_array_equal(pixels >> 8, eight[..., : pixels.shape[2]])


def test_hdr_reads_runs_and_flat_pixels():
    header = b"#?RADIANCE\n# made by hand\nFORMAT=32-bit_rle_rgbe\nEXPOSURE=4\n\n-Y 2 +X 8\n"
    runs = bytes((2, 2, 0, 8, 128 + 8, 128, 3, 1, 2, 3, 128 + 5, 0, 128 + 8, 64, 128 + 8, 129))
    flat = bytes((16, 32, 64, 130)) * 8
    rgb = radiance_hdr.decode(header + runs + flat)
    assert rgb.shape == (2, 8, 3)
    assert rgb[0, :, 0].tolist() == [1.0] * 8  # 128 * 2^(129 - 136)
    assert (rgb[0, :, 1] * 128).tolist() == [1, 2, 3, 0, 0, 0, 0, 0]
    assert rgb[1, 5].tolist() == [0.25, 0.5, 1.0]


def test_hdr_agrees_with_a_published_environment_map(data_folder):
    mitsuba = pytest.importorskip("mitsuba")  # the other package that reads the same file
    mitsuba.set_variant("scalar_rgb")
    path = min((data_folder / "envmaps").glob("*.hdr"))
    expected = np.array(mitsuba.Bitmap(str(path)).convert(component_format=mitsuba.Struct.Type.Float32), copy=False)
    np.testing.assert_allclose(read_image(path), expected[..., :3], rtol=1e-6)


@pytest.mark.parametrize("layer", ["", "beauty."])
def test_the_part_of_an_exr_with_colours_is_read(tmp_path, layer):
    """The part with R, G and B is read, in a layer or not, and never a depth; a file with depths only is refused."""
    import OpenEXR

    rng = np.random.default_rng(2)
    planes = {f"{layer}{letter}": rng.uniform(size=(3, 4)).astype(np.float32) for letter in "RGB"}
    expected = np.stack(list(planes.values()), axis=2)
    depth = {"Z": np.full((3, 4), 7.0, np.float32)}
    grey = {"Y": np.full((3, 4), 5.0, np.float32)}
    parts = [OpenEXR.Part({}, channels, name) for name, channels in (("z", depth), ("y", grey), ("rgb", planes))]
    OpenEXR.File(parts).write(str(tmp_path / "parts.exr"))
    np.testing.assert_array_equal(read_image(tmp_path / "parts.exr"), expected)
    two = [OpenEXR.Part({}, {letter: np.ones((3, 4), np.float32) for letter in "ZW"}, name) for name in ("a", "b")]
    OpenEXR.File(two).write(str(tmp_path / "depths.exr"))
    with pytest.raises(SceneError, match=r"no channels R, G, B or Y"):
        read_image(tmp_path / "depths.exr")


@pytest.mark.parametrize("corner", [(2, 1), (0, 0), (-1, -2), (6, 3), (20, 20)])
def test_an_exr_fills_its_display_window(tmp_path, corner):
    """Pixels outside the data window are black, and those outside the display window are cut off."""
    import OpenEXR

    from nrc_tracer.imaging.files import float_size

    data = np.random.default_rng(1).uniform(0.1, 1.0, (4, 5, 3)).astype(np.float32)
    left, top = corner
    windows = {
        "displayWindow": (np.array([0, 0], np.int32), np.array([8, 6], np.int32)),
        "dataWindow": (np.array([left, top], np.int32), np.array([left + 4, top + 3], np.int32)),
    }
    OpenEXR.File(windows, {"RGB": data}).write(str(tmp_path / "a.exr"))
    expected = np.zeros((7, 9, 3), np.float32)
    for row in range(4):
        for column in range(5):
            if 0 <= top + row < 7 and 0 <= left + column < 9:
                expected[top + row, left + column] = data[row, column]
    np.testing.assert_array_equal(read_image(tmp_path / "a.exr"), expected)
    assert float_size(tmp_path / "a.exr") == (7, 9, 3)


def test_exr_layers_half_and_luminance(tmp_path):
    import OpenEXR

    half = np.full((3, 4), 0.5, dtype=np.float16)
    OpenEXR.File({}, {"Y": half}).write(str(tmp_path / "y.exr"))
    assert read_image(tmp_path / "y.exr").shape == (3, 4, 1)
    layers = {f"diffuse.{c}": half * (i + 1) for i, c in enumerate("RGB")}
    OpenEXR.File({}, {**layers, "Z": half.astype(np.float32)}).write(str(tmp_path / "layers.exr"))
    pixels = read_image(tmp_path / "layers.exr")
    assert pixels.dtype == np.float32
    assert pixels[0, 0].tolist() == [0.5, 1.0, 1.5]


@pytest.mark.parametrize(("name", "dtype"), [("a.png", np.uint8), ("a.jpg", np.uint8), ("grey.png", np.uint16)])
def test_an_image_in_memory_is_read_like_a_file(tmp_path, rng, name, dtype):
    path = tmp_path / name
    PIL.Image.fromarray(rng.integers(256, size=(5, 7) if dtype == np.uint16 else (5, 7, 3)).astype(dtype)).save(path)
    image = decode_image(path.read_bytes(), "the image")
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, read_image(path))
    with pytest.raises(SceneError, match=r"^the image: not "):
        decode_image(path.read_bytes()[:40], "the image")


def test_missing_and_foreign_files_are_refused(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("none.png", "text.png", "empty.jpg", "."):
        with pytest.raises(SceneError, match=name) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's warnings about the damage
@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif", ".bmp", ".tga", ".hdr", ".exr", ".16.png"])
def test_damaged_files_are_scene_errors(tmp_path, rng, extension):
    path = tmp_path / f"a{extension}"
    if extension in (".hdr", ".exr"):
        write_image(path, rng.random((16, 16, 3)))
    elif extension == ".16.png":
        path.write_bytes(_png16(rng.integers(0, 65536, (16, 16, 3), dtype=np.uint16), 2))
    else:
        PIL.Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    # A truncated file gives an image or a SceneError
    for length in range(1, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        _read_or_scene_error(path)
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(SceneError):
        read_image(path)
    # So does a file with a changed byte
    for offset in rng.integers(0, len(whole), 60):
        changed = bytearray(whole)
        changed[offset] ^= 0xFF
        path.write_bytes(changed)
        _read_or_scene_error(path)


def _read_or_scene_error(path):
    try:
        pixels = read_image(path)
    except SceneError:
        return
    assert pixels.ndim == 3


def test_sizes_are_checked_before_memory_is_taken(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(files, "MAX_PIXELS", 100)
    PIL.Image.fromarray(np.zeros((20, 20), dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(_png16(np.zeros((11, 11, 3), dtype=np.uint16), 2))
    (tmp_path / "c.hdr").write_bytes(b"#?RADIANCE\n\n-Y 999999999 +X 999999999\n")
    write_image(tmp_path / "d.exr", np.zeros((11, 11, 3)))
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(SceneError, match="pixels are more than"):
            read_image(path)


def test_more_pixels_than_the_limit_of_pillow_are_read(tmp_path, monkeypatch):
    PIL.Image.fromarray(np.zeros((20, 20), dtype=np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    assert read_image(tmp_path / "a.png").shape == (20, 20, 1)
    assert PIL.Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("name", ["none/a.png", "a.jpeg", "a", "folder.png", "file.txt/a.png"])
def test_unwritable_outputs_are_refused(tmp_path, name):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.txt").touch()
    with pytest.raises(OutputError):
        check_writable(tmp_path / name)
    with pytest.raises(OutputError) as caught:
        write_image(tmp_path / name, np.zeros((2, 2, 3)))
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.txt", "folder.png"]


def test_check_writable_leaves_no_trace(tmp_path):
    (tmp_path / "b.exr").write_bytes(b"keep")
    check_writable(tmp_path / "a.exr")
    check_writable(tmp_path / "b.exr")
    assert [p.name for p in tmp_path.iterdir()] == ["b.exr"]
    assert (tmp_path / "b.exr").read_bytes() == b"keep"


@pytest.mark.parametrize("extension", [".exr", ".png", ".hdr", ".npy"])
def test_a_failed_write_keeps_the_old_file(tmp_path, extension):
    """The system limits files to one kilobyte."""
    resource = pytest.importorskip("resource", reason="needs an operating system that can limit the size of files")
    path = write_image(tmp_path / f"a{extension}", np.ones((2, 2, 3)))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            write_image(path, np.random.default_rng(0).random((64, 64, 3)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
