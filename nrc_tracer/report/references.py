"""References: two independent images of a scene, rendered to a given error and stored for the next study.

A stored reference is a NumPy archive with `first` and `second`, float32 [height, width, 3], and `samples`, the samples per
pixel of each. It is found by a digest of scene, camera, film, depth and release. Seed, sampler, device and threads are not part
of the digest, because the noise-free image does not depend on them.
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
    from nrc_tracer.scene.model import Camera, Scene
    from nrc_tracer.tracer import Renderer

FIRST_SAMPLES = 16
"""Samples per pixel before the error is estimated for the first time."""
GROWTH = 4
"""Largest factor by which the samples grow before the error is estimated again."""
Advance = Callable[["Renderer", int, Callable[[], object]], object]
"""Adds samples to a renderer's film until it has so many per pixel; calls its last argument after each part of them."""
SEED = 2**40
"""Smallest seed of references; the images that are compared with them have smaller ones."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The image that others are compared with.

    Attributes:
        first: Linear Rec. 709, shape [height, width, 3], float32.
        second: The same image with other random numbers; None if there is only one, which then counts as exact.
        samples: Samples per pixel of the first and of the second image, 0 if unknown.
        source: Names of the file or files.
        reused: Whether it was read from a file instead of being rendered.
        nodes: Names of the nodes of a cluster that rendered it; empty if this machine did, or it was read.
    """

    first: np.ndarray
    second: np.ndarray | None
    samples: tuple[int, int] = (0, 0)
    source: tuple[str, ...] = ()
    reused: bool = False
    nodes: tuple[str, ...] = ()

    @property
    def mean(self) -> np.ndarray:
        """The mean of both images: the best estimate of the noise-free image."""
        return self.first if self.second is None else (self.first + self.second) / 2.0

    @property
    def error(self) -> float | None:
        """Relative error of `mean`; None for one image, which counts as exact."""
        return None if self.second is None else _error_of_mean(self.first, self.second)


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


def reference_key(
    scene: Scene, *, camera: str | int | Camera | None = None, width: int, height: int, max_depth: int
) -> str:
    """Return a digest of everything that the noise-free image of a scene depends on."""
    import msgspec

    from nrc_tracer.scene.cameras import choose_camera
    from nrc_tracer.scene.film import resize_film
    from nrc_tracer.tracer.scene_digests import scene_digests
    from nrc_tracer.version import __version__

    description = scene.description
    identity = {
        "scene": scene_digests(scene),
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
    advance: Advance | None = None,
    multiple: int = 1,
) -> Reference:
    """Return the stored reference; render it, or add samples to it, until its error is small enough.

    Args:
        path: File of the stored reference, which need not exist yet.
        make_renderer: Makes an uncached renderer of the scene from a seed.
        error: Relative error to reach, 0.02 for 2 %.
        most_seconds: Time after which rendering ends even if the error is larger.
        say: Shows the progress.
        advance: Takes the samples; on this machine unless given.
        multiple: Divisor of the numbers of samples per pixel that `advance` is called with.

    Raises:
        SceneError: The stored file is damaged or of another size.
        OutputError: The place cannot be written to.
    """
    stored = _load(path) if path.exists() else None
    if stored is not None and stored.error <= error:
        return stored.as_reference(path, reused=True)
    with replacing(path, keep=False) as temporary:
        temporary.touch()
    begun = 0 if stored is None else sum(stored.samples)
    halves = [make_renderer(SEED + 2 * begun + half) for half in range(2)]
    for renderer in halves:
        renderer.compile()
    if stored is not None:
        _check_size(path, stored.first, halves[0].width, halves[0].height)
    take = step_here if advance is None else advance
    wanted = FIRST_SAMPLES
    while True:
        wanted = -(-wanted // multiple) * multiple
        for half, renderer in enumerate(halves):

            def show(renderer: Renderer = renderer, half: int = half, goal: int = wanted) -> None:
                say(f"reference: {renderer.samples} of {goal} samples in half {half + 1} of 2")

            take(renderer, wanted, show)
        pair = _joined(stored, halves)
        reached = pair.error
        say(f"reference: error {100 * reached:.2g} % with 2 x {pair.samples[0]} samples per pixel")
        seconds = sum(renderer.seconds for renderer in halves)
        if reached <= error or (most_seconds is not None and seconds >= most_seconds):
            break
        total = pair.samples[0] * (reached / error) ** 2 * 1.05
        more = max(total - pair.samples[0], 1.0)
        if most_seconds is not None:
            more = min(more, (most_seconds - seconds) / max(seconds, 1e-6) * wanted)
        wanted += int(np.clip(np.ceil(more), 1, GROWTH * wanted))
    _save(path, pair)
    return pair.as_reference(path, reused=False)


def step_here(renderer: Renderer, samples: int, show: Callable[[], object]) -> None:
    """Add samples on this machine until there are so many per pixel; call `show` after each pass."""
    while renderer.samples < samples:
        renderer.step(min(renderer.suggested_pass(), samples - renderer.samples))
        show()


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two independent images, float32 [height, width, 3], and the samples per pixel of each."""

    first: np.ndarray
    second: np.ndarray
    samples: tuple[int, int]

    @property
    def error(self) -> float:
        """Relative error of the mean."""
        return _error_of_mean(self.first, self.second)

    def as_reference(self, path: Path, *, reused: bool) -> Reference:
        """The reference that these images are, stored in a file."""
        return Reference(self.first, self.second, self.samples, (str(path),), reused=reused)


def _error_of_mean(first: np.ndarray, second: np.ndarray) -> float:
    """Relative error of the mean of two images, the root of its expected `rel_mse`, measured from their difference."""
    # Half the difference has the variance of the mean; `rel_mse` is relative to its second argument
    mean = np.asarray((first + second) / 2.0, np.float64)
    return float(np.sqrt(rel_mse(mean + (first.astype(np.float64) - second) / 2.0, mean)))


def _joined(stored: _Pair | None, halves: list[Renderer]) -> _Pair:
    """Average the rendered images and the stored ones, weighted by their samples."""
    images, samples = [], []
    for half, renderer in enumerate(halves):
        image, count = renderer.image().rgb.astype(np.float64), renderer.samples
        if stored is not None:
            before, weight = (stored.first, stored.second)[half], stored.samples[half]
            image = (image * count + before.astype(np.float64) * weight) / (count + weight)
            count += weight
        images.append(image.astype(np.float32))
        samples.append(count)
    return _Pair(images[0], images[1], (samples[0], samples[1]))


def _load(path: Path) -> _Pair:
    """Read a stored reference. Raises `SceneError`."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            first, second, samples = (np.array(archive[name]) for name in ("first", "second", "samples"))
        if first.shape != second.shape or first.ndim != 3 or first.shape[2] != 3 or samples.shape != (2,):
            raise ValueError("its images do not have the shapes of a reference")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SceneError(
            f"{path}: not a readable reference ({one_line(error)}); delete it to render a new one"
        ) from error
    counts = (int(samples[0]), int(samples[1]))
    return _Pair(first.astype(np.float32), second.astype(np.float32), counts)


def _save(path: Path, pair: _Pair) -> None:
    """Write a reference to its file. Raises `OutputError`."""
    with replacing(path, error=OutputError) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, first=pair.first, second=pair.second, samples=np.array(pair.samples))


def _check_size(path: Path, rgb: np.ndarray, width: int, height: int) -> None:
    if rgb.shape[:2] != (height, width):
        found = f"{rgb.shape[1]} x {rgb.shape[0]}"
        raise SceneError(
            f"{path}: a reference of {found} pixels cannot be compared with {width} x {height}; give --width {rgb.shape[1]} "
            f"--height {rgb.shape[0]}, or another reference"
        )
