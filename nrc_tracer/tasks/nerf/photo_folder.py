"""The image files that a set of photographs refers to: where they are, and whether they fit their cameras.

Every reader of photographs uses this file, so that what one of them tolerates, all do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from nrc_tracer.errors import DataError
from nrc_tracer.imaging.orientation import UPRIGHT
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.photographs import PhotographHead

EXTENSIONS = (".png", ".jpg", ".jpeg", ".exr", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".PNG", ".JPG", ".JPEG")
"""Extensions tried, in this order, for a name without one."""
DYNAMIC_MASK = "dynamic_mask_{}.png"
"""Name of instant-ngp's masks, which lie beside the images and are white where pixels do not count."""
UNEVEN = 0.005
"""Largest error of a side of an evenly resized photograph, as a fraction of the side: it is rounded to whole pixels, by some
programs downwards."""


def find_image(folder: Path, name: str, *, converted: bool = False) -> Path | None:
    """The file that a data set calls `name`, relative to a folder; None if there is none.

    Backslashes separate folders too. The extension may be missing, be in other letters of case, or be that of another format if
    the images may have been `converted`.
    """
    path = folder / PurePosixPath(name.replace("\\", "/"))
    try:
        if path.is_file():
            return path
        # with_name, because a stem may contain dots
        others = [path.name + extension for extension in EXTENSIONS]
        others += [path.stem + change(path.suffix) for change in (str.lower, str.upper)]
        if converted:
            others += [path.stem + extension for extension in EXTENSIONS]
        for other in others:
            if (candidate := path.with_name(other)).is_file():
                return candidate
    except (OSError, ValueError):  # an impossible file name
        pass
    return None


def _endings(name: str) -> Iterator[str]:
    """A path, and what remains of it without its first folders, longest first."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for first in range(len(parts)):
        yield "/".join(parts[first:])


class PhotoFolder:
    """The folder of a set's photographs, and what was noticed about them.

    Args:
        folder: The folder that the set's names are relative to.
        moved: Whether the user named the folder in place of the set's: then names may begin with folders that it lacks, and end
            with the extension of another format.
        upright: Whether cameras are those of images with their EXIF orientation applied where the images' sizes do not tell.

    Attributes:
        missing: Names of photographs that do not exist.
    """

    def __init__(self, folder: Path, *, moved: bool = False, upright: bool = True) -> None:
        self.folder = folder
        self.missing: list[str] = []
        self._moved = moved
        self._upright = upright
        self._turned: list[str] = []
        self._as_stored: list[str] = []
        self._found: dict[Path, str] = {}
        self._resized: list[tuple[str, float]] = []

    def find(self, name: str) -> Path | None:
        """The file of a photograph. One that does not exist is noted as missing.

        Raises:
            DataError: In a folder that the user named, two photographs are the same file.
        """
        endings: Sequence[str] = tuple(_endings(name)) if self._moved else (name,)
        for ending in endings:
            file = find_image(self.folder, ending, converted=self._moved)
            if file is None:
                continue
            other = self._found.setdefault(file, name)
            if self._moved and other != name:
                raise DataError(
                    f"{self.folder}: both {other} and {name} would be {file}; give the folder that has the data's folders"
                )
            return file
        self.missing.append(name)
        return None

    def dynamic_mask(self, image: Path) -> Path | None:
        """instant-ngp's mask of an image, white where pixels do not count; None if there is none."""
        mask = image.with_name(DYNAMIC_MASK.format(image.stem))
        return mask if mask.is_file() else None

    def fitted(self, camera: PhotoCamera, head: PhotographHead, name: str) -> tuple[PhotoCamera, bool] | None:
        """Fit a camera to its photograph.

        A photograph with an EXIF orientation may have been turned before its camera was found or not; its size tells. A
        photograph that was resized evenly has its camera resized.

        Returns:
            The camera, and whether the orientation is to be applied; None if the photograph cannot be this camera's.
        """
        sizes = [((head.width, head.height), True), (head.stored_size, False)]
        if not self._upright:
            sizes.reverse()
        size = (camera.width, camera.height)
        choice = next((found for found in sizes if found[0] == size), None)
        if choice is None:
            choice = next((found for found in sizes if is_even(size, found[0])), None)
            if choice is None:
                return None
            self._resized.append((name, max(choice[0]) / max(size)))
            camera = camera.resized(*choice[0])
        if head.orientation != UPRIGHT:
            (self._turned if choice[1] else self._as_stored).append(name)
        return camera, choice[1]

    @property
    def notes(self) -> list[str]:
        """What was done about the photographs, one sentence each."""
        notes = []
        if self._resized:
            name, factor = self._resized[0]
            whose = _of(len(self._resized))
            notes.append(f"the intrinsics {whose} were scaled to the size of the image files, {name} by {factor:.4g}")
        if self._turned:
            notes.append(f"the EXIF orientation {_of(len(self._turned))} is applied, as of {self._turned[0]}")
        if self._as_stored:
            notes.append(
                f"the EXIF orientation {_of(len(self._as_stored))} is not applied, as the cameras are those of the stored "
                f"pixels: {self._as_stored[0]}"
            )
        return notes


def _of(count: int) -> str:
    return "of a photograph" if count == 1 else f"of {count} photographs"


def is_even(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether an image of one size (width, height), resized evenly, can have the other size."""
    longer = 0 if size[0] >= size[1] else 1
    if min(*size, *other) < 1:
        return False
    exact = size[1 - longer] * other[longer] / size[longer]
    return abs(exact - other[1 - longer]) <= max(0.5, min(1.0, UNEVEN * exact))
