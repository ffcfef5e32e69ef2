"""Strips: the rows of an image that are traced together, on this machine or another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

import warp as wp

from nrc_tracer.device.launch import Launcher, initialize
from nrc_tracer.scene.model import Camera, Film, Scene
from nrc_tracer.tracer.film_sums import BLOCK, BlockSums
from nrc_tracer.tracer.fingerprint import machine_fingerprint
from nrc_tracer.tracer.path import trace_paths
from nrc_tracer.tracer.path_inputs import PathInputs
from nrc_tracer.tracer.vocabulary import Accel, SamplerKind

FilmArrays = tuple[Any, Any, Any]
"""Sums of the samples and of their squares, `wp.array` of `vec3d` [pixels], and dropped samples, of int [pixels]."""

STRIP_PIXELS = 2**16
"""Largest number of pixels of a strip that has more than one row: 64 samples of them take some seconds on a CPU."""

FEWEST_STRIPS = 16
"""Number of strips that even a small image is divided into, if it has as many rows: so that several machines have work."""

CUDA_SAMPLES = 16
"""Largest number of samples per launch on CUDA: launches are kept short for displays whose drivers end long ones."""


@dataclass(frozen=True)
class Strip:
    """Rows `first` .. `first + rows - 1` of an image."""

    first: int
    rows: int

    @property
    def slice(self) -> slice:
        """The rows, as an index of an array."""
        return slice(self.first, self.first + self.rows)


@dataclass(frozen=True)
class PathJob:
    """All that decides the paths of an image, to be sent to other machines: the arguments of `PathInputs`."""

    scene: Scene
    film: Film
    camera: Camera
    seed: int
    sampler: SamplerKind
    max_depth: int | None


def strips_of(width: int, height: int) -> list[Strip]:
    """Divide an image of this size [pixels] into strips. The division depends on the size alone."""
    rows = max(1, min(STRIP_PIXELS // width, -(-height // FEWEST_STRIPS)))
    return [Strip(first, min(rows, height - first)) for first in range(0, height, rows)]


def blocks_of(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the index of the first sample and the number of samples of each block of `first` .. `end - 1`.

    `first` is a multiple of 64; so is every block's first sample.
    """
    for begin in range(first, end, BLOCK):
        yield begin, min(BLOCK, end - begin)


class StripTracer:
    """Sums blocks of samples in strips of an image.

    Args:
        inputs: What the image's paths are traced from.
        launcher: Launches kernels on the device of `inputs`.

    Attributes:
        inputs, launcher: As given.
    """

    def __init__(self, inputs: PathInputs, launcher: Launcher) -> None:
        self.inputs, self.launcher = inputs, launcher
        self._is_loaded = False

    @classmethod
    def of_job(cls, job: PathJob, *, device: str, threads: int | None, accel: Accel) -> StripTracer:
        """Prepare a job's scene on a device. Raises as `Renderer` does."""
        initialize()
        inputs = PathInputs(
            job.scene,
            job.film,
            device=device,
            threads=threads,
            accel=accel,
            camera=job.camera,
            seed=job.seed,
            sampler=job.sampler,
            max_depth=job.max_depth,
        )
        return cls(inputs, Launcher(device, threads=threads, block_size=1024))

    def job(self) -> PathJob:
        """What other machines trace this image's paths from."""
        inputs, settings = self.inputs, self.inputs.settings
        sampler = SamplerKind(settings.sampler)
        return PathJob(inputs.scene, inputs.film, inputs.camera, int(settings.seed), sampler, inputs.max_depth)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image [pixels]."""
        return self.inputs.size

    def load_kernels(self) -> None:
        """Load the kernels, compiling them on the first run."""
        wp.load_module(trace_paths.module, device=self.launcher.device)
        self._is_loaded = True

    def fingerprint(self, *, cached: bool = False) -> dict[str, str]:
        """What else decides the bits of the sums, with a radiance cache if `cached`: see `machine_fingerprint`."""
        self.load_kernels()
        found = machine_fingerprint(str(self.launcher.device), self.inputs.accel, [trace_paths])
        return {**found, "torch": metadata.version("torch")} if cached else found

    def trace(self, strip: Strip, first: int, count: int) -> BlockSums:
        """Sum the samples `first` .. `first + count - 1` of every pixel of a strip, in their order."""
        if not self._is_loaded:
            self.load_kernels()
        inputs = self.inputs.in_rows(strip.first, strip.rows)
        device, pixels = self.launcher.device, strip.rows * inputs.size[0]
        arrays = block_arrays(pixels, device)
        longest = CUDA_SAMPLES if device.is_cuda else count
        for begin in range(first, first + count, longest):
            span = min(longest, first + count - begin)
            before = (*inputs.records, begin, span)
            self.launcher.run(trace_paths, pixels, partial(_arguments, before, arrays))
        return block_sums(arrays, strip.rows)


def block_arrays(pixels: int, device: Any) -> FilmArrays:
    """Sums of samples and of their squares, and dropped samples, all 0, for kernels."""
    sums, squares = (wp.zeros(pixels, dtype=wp.vec3d, device=device) for _ in range(2))
    return sums, squares, wp.zeros(pixels, dtype=int, device=device)


def block_sums(arrays: FilmArrays, rows: int) -> BlockSums:
    """What kernels have added to the arrays of `block_arrays`, for an image of so many rows."""
    sums, squares = (array.numpy().reshape(rows, -1, 3) for array in arrays[:2])
    return BlockSums(sums, squares, arrays[2].numpy().reshape(rows, -1))


def _arguments(before: Sequence[Any], after: Sequence[Any], base: int) -> list[Any]:
    """The arguments of a kernel for a launch whose first item is `base`."""
    return [*before, base, *after]
