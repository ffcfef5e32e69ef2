"""References: two independent images of a scene, rendered to a stated error and stored, so that the next study has them.

A stored reference is a NumPy archive with `first` and `second`, float32 [height, width, 3], and `samples`, the samples per
pixel of each. It is found by a digest of what it shows: scene, camera, film, depth and release. Of seeds, samplers, devices
and threads it does not depend: whatever they are, the noise-free image is the same.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nrc_tracer.errors import OutputError, SceneError, one_line
from nrc_tracer.files.atomic import replacing
from nrc_tracer.imaging import Image, rel_mse

if TYPE_CHECKING:
    from nrc_tracer.scene.model import Scene
    from nrc_tracer.tracer import Renderer

FIRST_SAMPLES = 16
GROWTH = 4
"""A reference grows at most by this factor before its error is estimated anew."""
SEED = 2**40
"""References have seeds from here on, far from those of what is held against them."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What images are held against.

    Attributes:
        first: Linear Rec. 709, shape [height, width, 3], float32.
        second: The same with other random numbers; None if there is only one image, which then counts as exact.
        samples: Samples per pixel of the first and of the second, 0 if not known.
        source: The file or files.
        reused: Whether it was there already.
    """

    first: np.ndarray
    second: np.ndarray | None
    samples: tuple[int, int] = (0, 0)
    source: tuple[str, ...] = ()
    reused: bool = False

    @property
    def mean(self) -> np.ndarray:
        """The mean of the two: the best estimate of the noise-free image."""
        return self.first if self.second is None else (self.first + self.second) / 2.0

    @property
    def error(self) -> float | None:
        """Relative error of `mean`, the root of its expected `rel_mse`, measured from the difference of the two."""
        if self.second is None:
            return None
        # Half the difference has the variance of the mean; `rel_mse` takes its level from the second argument
        mean = np.asarray(self.mean, np.float64)
        return float(np.sqrt(rel_mse(mean + (self.first.astype(np.float64) - self.second) / 2.0, mean)))


def read_reference(paths: tuple[Path, ...], *, width: int, height: int) -> Reference:
    """Read one image, or two independent ones, as a reference.

    Raises:
        SceneError: A file cannot be read or has another size than `width` x `height`.
    """
    images = [Image.load(path) for path in paths[:2]]
    for path, image in zip(paths, images, strict=False):
        _check_size(path, image.rgb, width, height)
    second = images[1].rgb if len(images) > 1 else None
    return Reference(images[0].rgb, second, source=tuple(map(str, paths[:2])), reused=True)


def reference_key(scene: Scene, *, camera: object = None, width: int, height: int, max_depth: int) -> str:
    """Return a digest of all that decides a scene's noise-free image."""
    import msgspec

    from nrc_tracer.scene.cameras import choose_camera
    from nrc_tracer.scene.film import resize_film
    from nrc_tracer.tracer.checkpoint import scene_parts
    from nrc_tracer.version import __version__

    description = scene.description
    identity = {
        "scene": scene_parts(scene),
        "camera": msgspec.to_builtins(choose_camera(description, camera)),
        "film": msgspec.to_builtins(resize_film(description.film, width, height))
        if not description.film.crop
        else msgspec.to_builtins(description.film),
        "max_depth": max_depth,
        "release": __version__,
    }
    return hashlib.sha256(msgspec.json.encode(identity, order="deterministic")).hexdigest()[:20]


def find_reference(
    path: Path,
    make_renderer: Callable[[int], Renderer],
    *,
    error: float,
    most_seconds: float | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> Reference:
    """Return the stored reference, rendering it, or more samples of it, until its error is low enough.

    Args:
        path: The stored reference, which need not exist yet.
        make_renderer: Makes an uncached renderer of the scene with the seed that it is given.
        error: Relative error to reach, 0.02 for 2 %.
        most_seconds: Rendering ends after about so long, whatever the error is then.
        say: Told how far it is, in words.

    Raises:
        SceneError: The stored file is damaged or of another size.
        OutputError: The place cannot be written to.
    """
    stored = _load(path) if path.exists() else None
    if stored is not None and stored.error <= error:
        return stored
    with replacing(path, keep=False) as temporary:
        temporary.touch()
    begun = 0 if stored is None else sum(stored.samples)
    halves = [make_renderer(SEED + 2 * begun + half) for half in range(2)]
    for renderer in halves:
        renderer.compile()
    if stored is not None:
        _check_size(path, stored.first, halves[0].width, halves[0].height)
    wanted, reference = FIRST_SAMPLES, stored
    while True:
        for half, renderer in enumerate(halves):
            while renderer.samples < wanted:
                renderer.step(min(renderer.suggested_pass(), wanted - renderer.samples))
                say(f"reference: {renderer.samples} of {wanted} samples in half {half + 1} of 2")
        reference = _joined(stored, halves)
        reached = reference.error
        say(f"reference: error {100 * reached:.2g} % with 2 x {reference.samples[0]} samples a pixel")
        seconds = sum(renderer.seconds for renderer in halves)
        if reached <= error or (most_seconds is not None and seconds >= most_seconds):
            break
        total = reference.samples[0] * (reached / error) ** 2 * 1.05
        more = max(total - reference.samples[0], 1.0)
        if most_seconds is not None:
            more = min(more, (most_seconds - seconds) / max(seconds, 1e-6) * wanted)
        wanted += int(np.clip(np.ceil(more), 1, GROWTH * wanted))
    _save(path, reference)
    return Reference(reference.first, reference.second, reference.samples, (str(path),))


def _joined(stored: Reference | None, halves: list[Renderer]) -> Reference:
    """Add what was rendered to what was stored, each by its samples."""
    images, samples = [], []
    for half, renderer in enumerate(halves):
        image, count = renderer.image().rgb.astype(np.float64), renderer.samples
        if stored is not None:
            before, weight = (stored.first, stored.second)[half], stored.samples[half]
            image = (image * count + before.astype(np.float64) * weight) / (count + weight)
            count += weight
        images.append(image.astype(np.float32))
        samples.append(count)
    return Reference(images[0], images[1], (samples[0], samples[1]))


def _load(path: Path) -> Reference:
    try:
        with np.load(path, allow_pickle=False) as archive:
            first, second, samples = (np.array(archive[name]) for name in ("first", "second", "samples"))
        if first.shape != second.shape or first.ndim != 3 or first.shape[2] != 3 or samples.shape != (2,):
            raise ValueError("its images have other shapes than they should")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SceneError(
            f"{path}: not a readable reference ({one_line(error)}); delete it to render it anew"
        ) from error
    counts = (int(samples[0]), int(samples[1]))
    return Reference(first.astype(np.float32), second.astype(np.float32), counts, (str(path),), reused=True)


def _save(path: Path, reference: Reference) -> None:
    with replacing(path, error=OutputError) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, first=reference.first, second=reference.second, samples=np.array(reference.samples))


def _check_size(path: Path, rgb: np.ndarray, width: int, height: int) -> None:
    if rgb.shape[:2] != (height, width):
        found = f"{rgb.shape[1]} x {rgb.shape[0]}"
        raise SceneError(
            f"{path}: a reference of {found} pixels cannot be held against {width} x {height}; give --width {rgb.shape[1]} "
            f"--height {rgb.shape[0]}, or another reference"
        )
