"""COLMAP's model files: cameras, images and points3D, as text and in binary.

Source: colmap.github.io/format.html; the binary layout is that of COLMAP's scripts/python/read_write_model.py.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.camera_models import MODELS, NAMES

T = TypeVar("T")
N = TypeVar("N", int, float)

NO_POINT = -1


@dataclass(frozen=True, eq=False)
class ColmapCamera:
    """A line of cameras: model, size in pixels, and the model's parameters in COLMAP's order."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ColmapImage:
    """An image: the world-to-camera transform (x right, y down, z forward) as quaternion (w, x, y, z) and translation.

    `points` are its features in pixels, float64 [M, 2]; `point_ids` the points3D that they show, int64 [M], -1 for none.
    """

    rotation: tuple[float, float, float, float]
    translation: tuple[float, float, float]
    camera: int
    name: str
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    point_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class ColmapPoint:
    """A scene point: position, 8-bit colour, reprojection error, and the images and features that show it, int32 [M, 2]."""

    position: tuple[float, float, float]
    color: tuple[int, int, int]
    error: float
    track: np.ndarray


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """Cameras, images and points by number."""

    cameras: dict[int, ColmapCamera]
    images: dict[int, ColmapImage]
    points: dict[int, ColmapPoint] = field(default_factory=dict)


def read_model(folder: Path, *, points: bool = True) -> ColmapModel:
    """Read a model, from its binary files if it has them, otherwise from text.

    Args:
        folder: Folder with cameras, images and, unless `points` is False, points3D.
        points: Whether to read features and points.

    Raises:
        DataError: A file is missing or damaged; the message gives its name, and the line or byte.
    """
    cameras = _read(folder, "cameras", _cameras_from_text, _cameras_from_bytes)
    images = _read(
        folder, "images", lambda path: _images_from_text(path, points), lambda file: _images_from_bytes(file, points)
    )
    if not points:
        return ColmapModel(cameras, images)
    return ColmapModel(cameras, images, _read(folder, "points3D", _points_from_text, _points_from_bytes))


def write_model(model: ColmapModel, folder: Path, *, binary: bool = True) -> None:
    """Write cameras, images and points3D into a folder, which is created if needed. Raises `DataError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, to_bytes, to_text in (
            ("cameras", _cameras_to_bytes, _cameras_to_text),
            ("images", _images_to_bytes, _images_to_text),
            ("points3D", _points_to_bytes, _points_to_text),
        ):
            if binary:
                (folder / f"{name}.bin").write_bytes(to_bytes(model))
            else:
                (folder / f"{name}.txt").write_text(to_text(model), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _read(
    folder: Path, name: str, from_text: Callable[[Path], dict[int, T]], from_bytes: Callable[[_Bytes], dict[int, T]]
) -> dict[int, T]:
    binary, text = folder / f"{name}.bin", folder / f"{name}.txt"
    try:
        if binary.is_file():
            return from_bytes(_Bytes(binary))
        if text.is_file():
            return from_text(text)
    except OSError as error:
        raise DataError(f"{folder / name}: cannot be read: {error.strerror or error}") from error
    raise DataError(f"{folder}: has neither {name}.bin nor {name}.txt")


# --- Text


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each line that is neither a comment nor blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text: {error.reason} at byte {error.start}") from error
    # Not splitlines, which would also split at characters that may be part of a name
    for number, line in enumerate(text.split("\n"), start=1):
        if (stripped := line.strip()) and not stripped.startswith("#"):
            yield f"{path}:{number}", stripped


def _floats(words: Sequence[str], place: str) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise DataError(f"{place}: {error}") from None


def _integers(words: Sequence[str], place: str, bits: int = 64) -> list[int]:
    try:
        values = [int(word) for word in words]
    except ValueError as error:
        raise DataError(f"{place}: {error}") from None
    if values and not -(2 ** (bits - 1)) <= min(values) <= max(values) < 2 ** (bits - 1):
        raise DataError(f"{place}: has an integer of more than {bits} bits")
    return values


def _need(words: list[str], count: int, place: str, what: str) -> None:
    if len(words) < count:
        raise DataError(f"{place}: has {len(words)} words, but {what} takes {count}")


def _cameras_from_text(path: Path) -> dict[int, ColmapCamera]:
    cameras = {}
    for place, line in _lines(path):
        words = line.split()
        _need(words, 4, place, "a camera")
        number, width, height = _integers([words[0], *words[2:4]], place)
        _check_model(words[1], place)
        parameters = _floats(words[4:], place)
        expected = len(MODELS[words[1]].parameters)
        if len(parameters) != expected:
            raise DataError(f"{place}: {words[1]} takes {expected} parameters, not {len(parameters)}")
        cameras[number] = ColmapCamera(words[1], width, height, tuple(parameters))
    return cameras


def _check_model(name: str, place: str) -> None:
    if name not in MODELS:
        raise _unknown_model(name, place)


def _unknown_model(name: str, place: str) -> DataError:
    return DataError(f'{place}: unknown camera model "{name}" (known: {", ".join(MODELS)})')


def _images_from_text(path: Path, points: bool) -> dict[int, ColmapImage]:
    """Read images. The line of features after that of an image may be blank, and may be missing."""
    images: dict[int, ColmapImage] = {}
    last: int | None = None  # the image whose features may be in the next line
    for place, line in _lines(path):
        if last is not None and _are_features(line):
            if points:
                pixels, ids = _features(line.split(), place)
                images[last] = replace(images[last], points=pixels, point_ids=ids)
            last = None
            continue
        words = line.split(maxsplit=9)  # a name may contain spaces
        if last is not None and len(words) < 10:
            raise DataError(
                f"{place}: has {len(words)} words, so it is not an image; as features of image {last} it must be triples "
                "x, y, point3D"
            )
        _need(words, 10, place, "an image")
        last, camera = _integers([words[0], words[8]], place)
        if last in images:
            raise DataError(f"{place}: there are two images {last}")
        w, x, y, z, *translation = _floats(words[1:8], place)
        images[last] = ColmapImage((w, x, y, z), _triple(translation), camera, words[9])
    return images


_NUMBERS = re.compile(r"[-+0-9.eEnaifNAIF\s]+")


def _are_features(line: str) -> bool:
    """Whether a line is triples of numbers. An image is not, unless its name is three words that are numbers."""
    return _NUMBERS.fullmatch(line) is not None and len(line.split()) % 3 == 0


def _features(words: list[str], place: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, float64 [M, 2], and numbers of points, int64 [M]."""
    values = np.array(_floats(words, place)).reshape(-1, 3)
    return values[:, :2], np.array(_integers(words[2::3], place), np.int64)


def _points_from_text(path: Path) -> dict[int, ColmapPoint]:
    points = {}
    for place, line in _lines(path):
        words = line.split()
        _need(words, 8, place, "a point")
        if len(words) % 2:
            raise DataError(f"{place}: the track must be pairs of image and feature; there are {len(words) - 8} words")
        number, *color = _integers([words[0], *words[4:7]], place)
        *position, error = _floats([*words[1:4], words[7]], place)
        track = np.array(_integers(words[8:], place, 32), np.int32).reshape(-1, 2)
        points[number] = ColmapPoint(_triple(position), _triple(color), error, track)
    return points


def _cameras_to_text(model: ColmapModel) -> str:
    lines = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]", f"# Number of cameras: {len(model.cameras)}"]
    for number, camera in model.cameras.items():
        lines.append(f"{number} {camera.model} {camera.width} {camera.height} {_words(camera.parameters)}")
    return "\n".join(lines) + "\n"


def _images_to_text(model: ColmapModel) -> str:
    lines = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    for number, image in model.images.items():
        lines.append(f"{number} {_words((*image.rotation, *image.translation))} {image.camera} {image.name}")
        features = zip(image.points.tolist(), image.point_ids.tolist(), strict=True)
        lines.append(" ".join(f"{x!r} {y!r} {point}" for (x, y), point in features))
    return "\n".join(lines) + "\n"


def _points_to_text(model: ColmapModel) -> str:
    lines = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)"]
    for number, point in model.points.items():
        track = " ".join(str(value) for value in point.track.ravel().tolist())
        color = " ".join(str(value) for value in point.color)
        lines.append(f"{number} {_words(point.position)} {color} {float(point.error)!r} {track}".rstrip())
    return "\n".join(lines) + "\n"


def _triple(values: Sequence[N]) -> tuple[N, N, N]:
    x, y, z = values
    return x, y, z


def _words(values: Iterable[float]) -> str:
    """Numbers as text that reads back as the same numbers."""
    return " ".join(repr(float(value)) for value in values)


# --- Binary, little-endian


class _Bytes:
    """A binary file and the position up to which it has been read."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, path.read_bytes(), 0

    def take(self, form: str) -> tuple:
        size = struct.calcsize("<" + form)
        if self.at + size > len(self.data):
            raise DataError(f"{self.path}: ends at byte {len(self.data)} in the middle of an entry; it is damaged")
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += size
        return values

    def count(self, smallest: int) -> int:
        """Read a number of entries, which take at least `smallest` bytes each and must fit into the rest of the file."""
        (count,) = self.take("Q")
        if count * smallest > len(self.data) - self.at:
            raise DataError(
                f"{self.path}: announces {count:,} entries at byte {self.at - 8}, more than it has room for; it is damaged"
            )
        return count

    def array(self, dtype: np.dtype, count: int) -> np.ndarray:
        size = np.dtype(dtype).itemsize * count
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += size
        return values

    def text(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise DataError(f"{self.path}: the name at byte {self.at} does not end; it is damaged")
        name = self.data[self.at : end].decode(errors="replace")
        self.at = end + 1
        return name


_FEATURE = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<i8")])


def _cameras_from_bytes(file: _Bytes) -> dict[int, ColmapCamera]:
    cameras = {}
    for _ in range(file.count(24)):
        begin = file.at
        number, model, width, height = file.take("iiQQ")
        name = NAMES.get(model)
        if name is None:
            raise _unknown_model(str(model), f"{file.path}: byte {begin}")
        cameras[number] = ColmapCamera(name, width, height, file.take(f"{len(MODELS[name].parameters)}d"))
    return cameras


def _images_from_bytes(file: _Bytes, points: bool) -> dict[int, ColmapImage]:
    images = {}
    for _ in range(file.count(73)):
        number, w, x, y, z, *translation, camera = file.take("i7di")
        if number in images:
            raise DataError(f"{file.path}: there are two images {number}; it is damaged")
        name = file.text()
        features = file.array(_FEATURE, file.count(_FEATURE.itemsize))
        image = ColmapImage((w, x, y, z), _triple(translation), camera, name)
        if points:
            pixels = np.column_stack((features["x"], features["y"]))
            image = replace(image, points=pixels, point_ids=features["point"].copy())
        images[number] = image
    return images


def _points_from_bytes(file: _Bytes) -> dict[int, ColmapPoint]:
    points = {}
    for _ in range(file.count(51)):
        number, x, y, z, *color, error = file.take("Q3d3Bd")
        track = file.array(np.dtype("<i4"), 2 * file.count(8)).reshape(-1, 2).copy()
        points[number] = ColmapPoint((x, y, z), _triple(color), error, track)
    return points


def _cameras_to_bytes(model: ColmapModel) -> bytes:
    parts = [struct.pack("<Q", len(model.cameras))]
    for number, camera in model.cameras.items():
        parts.append(struct.pack("<iiQQ", number, MODELS[camera.model].number, camera.width, camera.height))
        parts.append(struct.pack(f"<{len(camera.parameters)}d", *camera.parameters))
    return b"".join(parts)


def _images_to_bytes(model: ColmapModel) -> bytes:
    parts = [struct.pack("<Q", len(model.images))]
    for number, image in model.images.items():
        parts.append(struct.pack("<i7di", number, *image.rotation, *image.translation, image.camera))
        parts.append(image.name.encode() + b"\0" + struct.pack("<Q", len(image.points)))
        features = np.zeros(len(image.points), _FEATURE)
        features["x"], features["y"], features["point"] = image.points[:, 0], image.points[:, 1], image.point_ids
        parts.append(features.tobytes())
    return b"".join(parts)


def _points_to_bytes(model: ColmapModel) -> bytes:
    parts = [struct.pack("<Q", len(model.points))]
    for number, point in model.points.items():
        parts.append(struct.pack("<Q3d3Bd", number, *point.position, *point.color, point.error))
        parts.append(struct.pack("<Q", len(point.track)) + point.track.astype("<i4").tobytes())
    return b"".join(parts)
