"""Reading and writing image files."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nrc_tracer.errors import OutputError, SceneError, nearest, one_line
from nrc_tracer.files.atomic import check_place, replacing
from nrc_tracer.files.reading import reading
from nrc_tracer.imaging import png16, radiance_hdr
from nrc_tracer.imaging.tonemap import Tone, eight_bits, tone_map

MAX_PIXELS = 2**28
"""Largest number of pixels of an image; larger ones are refused before any memory is allocated."""
OUTPUT_EXTENSIONS = (".exr", ".hdr", ".npy", ".png")

FORMAT_NAMES = "PNG, JPEG, TIFF, BMP, TGA, WebP, GIF, EXR, HDR"

_EXR_MAGIC = b"\x76\x2f\x31\x01"
PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "TGA", "WEBP", "GIF")
"""The formats that are read with Pillow, by its names."""
_PILLOW_LOCK = threading.Lock()


def read_image(path: str | Path) -> np.ndarray:
    """Read a PNG, JPEG, TIFF, BMP, TGA, WebP, GIF, OpenEXR or Radiance HDR file, whose format is recognized by its content.

    Values are returned as stored: no sRGB decoding, no alpha multiplication, no EXIF rotation except of TIFF. Palettes are
    resolved, CMYK is converted, 32-bit integers are narrowed to 8 or 16 bits if they fit. Of an animation the first picture is
    read. Of a multi-part EXR the first part with a colour is read (R, G, B in any layer; else a grey one), and of its data
    window what lies in the display window, black around it; of 16-bit colour TIFF, Pillow reads the upper 8 bits.

    Returns:
        Shape [height, width, channels] with 1 (grey), 3 (RGB) or 4 (RGBA) channels; uint8, uint16, or float32 (linear).

    Raises:
        SceneError: The file is missing, damaged, larger than `MAX_PIXELS`, or of another format.
    """
    path = Path(path)
    with reading(path, SceneError), path.open("rb") as file:
        head = file.read(32)
    if head.startswith(_EXR_MAGIC):
        read: Callable[[Path], np.ndarray] = _read_exr
    elif head.startswith(radiance_hdr.MAGIC):
        read = _read_hdr
    elif png16.is_png16(head):
        read = _read_png16
    else:
        read = _read_with_pillow
    with _decoding(path):
        return read(path)


def float_size(path: Path) -> tuple[int, int, int]:
    """Return height, width and number of channels of an OpenEXR or Radiance HDR file. A damaged file raises any exception."""
    with path.open("rb") as file:
        head = file.read(radiance_hdr.HEAD_BYTES)
    if head.startswith(radiance_hdr.MAGIC):
        return *radiance_hdr.hdr_size(head), 3
    exr = _exr_head(path)
    return *exr.size, len(exr.channels)


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode an image in one of the formats PILLOW_FORMATS that is in memory, as `read_image` does.

    Args:
        data: The bytes of an image file.
        name: Its name in messages.

    Raises:
        SceneError: It is damaged, larger than `MAX_PIXELS`, or of another format.
    """
    with _decoding(name):
        if png16.is_png16(data[:32]):
            return _decode_png16(data, name)
        return _decode_with_pillow(io.BytesIO(data), name)


def write_image(path: str | Path, rgb: np.ndarray, *, tone: Tone = "srgb", exposure: float = 0.0) -> Path:
    """Write an image. An existing file is replaced only when the new one is complete.

    Args:
        path: `.exr` (float32), `.hdr` (RGBE) and `.npy` (float32) keep linear values and ignore tone and exposure;
            `.png` has 8 bits per channel after tone mapping.
        rgb: Linear Rec. 709, shape [height, width, 3].
        tone: See `nrc_tracer.imaging.tone_map`.
        exposure: Exposure in stops, of a PNG.

    Returns:
        The path.

    Raises:
        OutputError: The extension is unknown, or the file cannot be written.
    """
    path = Path(path)
    write = _writer(path)
    rgb = np.ascontiguousarray(rgb, dtype=np.float32)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(f"an image has the shape (height, width, 3), not {rgb.shape}")
    with replacing(path) as temporary:
        if write is _write_png:
            _write_png(temporary, tone_map(rgb, tone, exposure))
        else:
            write(temporary, rgb)
    return path


def check_writable(path: str | Path) -> None:
    """Check, before a long render, that `write_image` can write `path`. Raises `OutputError`."""
    path = Path(path)
    _writer(path)
    check_place(path)


# --- Reading


@contextlib.contextmanager
def _decoding(name: Path | str) -> Iterator[None]:
    """Turn the errors of decoders, which raise almost anything on damaged files, into `SceneError`s."""
    try:
        yield
    except SceneError:
        raise
    except MemoryError as error:
        raise SceneError(f"{name}: not enough memory to read this image") from error
    except Exception as error:
        raise SceneError(f"{name}: not a readable image: {one_line(error)}") from error


def _check_size(path: Path | str, height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise SceneError(f"{path}: not a readable image: its size is {width} x {height}")
    if height * width > MAX_PIXELS:
        raise SceneError(
            f"{path}: {width} x {height} pixels are more than the {MAX_PIXELS:,} accepted; scale the image down"
        )


def _read_with_pillow(path: Path) -> np.ndarray:
    return _decode_with_pillow(path, path)


def _decode_with_pillow(source: Path | io.BytesIO, path: Path | str) -> np.ndarray:
    import PIL.Image

    with pillow_without_limit():
        try:
            file = PIL.Image.open(source, formats=PILLOW_FORMATS)
        except PIL.UnidentifiedImageError as error:
            raise SceneError(f"{path}: not an image of a known format ({FORMAT_NAMES})") from error
    with file:
        _check_size(path, file.height, file.width)
        mode = file.mode
        if mode in ("L", "RGB", "RGBA", "F") or mode.startswith("I;16"):
            image: PIL.Image.Image = file
        elif mode == "1":
            image = file.convert("L")
        elif mode in ("LA", "La", "PA", "RGBa") or "transparency" in file.info:
            image = file.convert("RGBA")
        elif mode == "I":
            return narrow_integers(np.array(file), f"{path}")[:, :, None]
        else:  # P, CMYK, YCbCr, LAB, HSV, RGBX
            image = file.convert("RGB")
        pixels = np.array(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    return pixels.astype(np.uint16 if pixels.dtype.itemsize == 2 else np.uint8)


def narrow_integers(pixels: np.ndarray, name: str) -> np.ndarray:
    """Integers of any width as uint8 if they all fit, else as uint16.

    Raises:
        SceneError: There are negative values or values above 65535, so that what is white is not known.
    """
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > 65535:
        raise SceneError(
            f"{name}: not a readable image: integers from {low} to {high}, and 0 to 65535 can be read; convert it to 16 bits or "
            "to floating-point"
        )
    return pixels.astype(np.uint8 if high <= 255 else np.uint16)


@contextlib.contextmanager
def pillow_without_limit() -> Iterator[None]:
    """Lift Pillow's limit on pixels, a global of its module, while a file is opened; `MAX_PIXELS` is checked right after."""
    import PIL.Image

    with _PILLOW_LOCK:
        limit = PIL.Image.MAX_IMAGE_PIXELS
        PIL.Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit


def _read_png16(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        _check_size(path, *png16.png_size(file.read(26)))
    return _decode_png16(path.read_bytes(), path)


def _decode_png16(data: bytes, path: Path | str) -> np.ndarray:
    _check_size(path, *png16.png_size(data[:26]))
    pixels = png16.decode(data)
    if pixels.shape[2] == 2:  # grey with alpha
        pixels = pixels[:, :, [0, 0, 0, 1]]
    return pixels


def _read_hdr(path: Path) -> np.ndarray:
    data = path.read_bytes()
    _check_size(path, *radiance_hdr.hdr_size(data))
    return radiance_hdr.decode(data)


class _ExrHead(NamedTuple):
    """The part of an EXR file that is its picture. Corners are (left, top) and (right, bottom), inclusive."""

    part: int
    channels: list[str]
    display: np.ndarray
    data: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the display window."""
        width, height = (self.display[1] - self.display[0] + 1).tolist()
        return height, width


def _exr_head(path: Path) -> _ExrHead:
    """Find the part and the channels that make up the picture."""
    import OpenEXR

    headers = [part.header for part in OpenEXR.File(str(path), header_only=True).parts]
    names = [[channel.name for channel in header["channels"]] for header in headers]
    chosen = [exr_channels(part) for part in names]
    part = min(range(len(headers)), key=lambda index: (len(chosen[index]) < 3, not chosen[index], index))
    header = headers[part]
    if header.get("type") in (OpenEXR.deepscanline, OpenEXR.deeptile):
        raise SceneError(f"{path}: not a readable image: deep EXR is not supported")
    windows = (np.array(header[name], dtype=np.int64).reshape(2, 2) for name in ("displayWindow", "dataWindow"))
    head = _ExrHead(part, chosen[part], *windows)
    _check_size(path, *head.size)
    _check_size(path, *_ExrHead(part, [], head.data, head.data).size)
    if not head.channels:
        found = ", ".join(name for part_names in names for name in part_names)
        raise SceneError(f"{path}: not a readable image: no channels R, G, B or Y (found: {found})")
    return head


def _read_exr(path: Path) -> np.ndarray:
    import OpenEXR

    head = _exr_head(path)
    channels = OpenEXR.File(str(path), separate_channels=True).parts[head.part].channels
    planes = [channels[name].pixels for name in head.channels]
    left, top = (head.data[0] - head.display[0]).tolist()
    right, bottom = (head.data[1] - head.display[0] + 1).tolist()
    if any(plane.shape != (bottom - top, right - left) for plane in planes):
        raise SceneError(f"{path}: not a readable image: subsampled EXR channels are not supported")
    height, width = head.size
    pixels = np.stack(planes, axis=2).astype(np.float32)
    if (left, top, right, bottom) == (0, 0, width, height):
        return pixels
    placed = np.zeros((height, width, len(planes)), dtype=np.float32)
    inside = pixels[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
    placed[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = inside
    return placed


def exr_channels(names: list[str]) -> list[str]:
    """Choose the channels that make up the picture: plain RGB(A), else the first layer's, else Y, else the only channel."""
    layers = sorted({name.rpartition(".")[0] for name in names}, key=lambda layer: (layer != "", layer))
    for layer in layers:
        prefix = f"{layer}." if layer else ""
        color = [prefix + letter for letter in "RGB"]
        if all(name in names for name in color):
            return [*color, prefix + "A"] if prefix + "A" in names else color
    if "Y" in names and "RY" not in names:
        return ["Y"]
    return names if len(names) == 1 else []


# --- Writing


def _writer(path: Path) -> Callable[[Path, np.ndarray], None]:
    """Return the function that writes files of this extension. Raises `OutputError`."""
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        hint = nearest(path.suffix.lower(), OUTPUT_EXTENSIONS)
        raise OutputError(f'{path}: unknown image format "{path.suffix}"{hint}')
    return write


def _write_exr(path: Path, rgb: np.ndarray) -> None:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    try:
        OpenEXR.File(header, {"RGB": rgb}).write(str(path))
    except RuntimeError as error:
        raise OSError(one_line(error)) from error


def _write_hdr(path: Path, rgb: np.ndarray) -> None:
    path.write_bytes(radiance_hdr.encode(rgb))


def _write_npy(path: Path, rgb: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, rgb, allow_pickle=False)


def _write_png(path: Path, encoded: np.ndarray) -> None:
    """Write display values in [0, 1], unlike the other writers, which take linear ones."""
    import PIL.Image

    PIL.Image.fromarray(eight_bits(encoded)).save(path, format="PNG")


_WRITERS = {".exr": _write_exr, ".hdr": _write_hdr, ".npy": _write_npy, ".png": _write_png}
