"""Strips: the rows of an image that are traced together, on this machine or another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import numpy as np
import warp as wp

from nrc_tracer.device.launch import Launcher, initialize
from nrc_tracer.scene.model import Camera, Film, Scene
from nrc_tracer.tracer.device_scene import film_record
from nrc_tracer.tracer.film_sums import BLOCK, BlockSums
from nrc_tracer.tracer.fingerprint import machine_fingerprint
from nrc_tracer.tracer.path import trace_paths
from nrc_tracer.tracer.path_inputs import PathInputs
from nrc_tracer.tracer.vocabulary import Accel, SamplerKind

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
    """

    def __init__(self, inputs: PathInputs, launcher: Launcher) -> None:
        self._inputs, self._launcher = inputs, launcher
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
        inputs, settings = self._inputs, self._inputs.settings
        sampler = SamplerKind(settings.sampler)
        return PathJob(inputs.scene, inputs.film, inputs.camera, int(settings.seed), sampler, inputs.max_depth)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image [pixels]."""
        return self._inputs.size

    def load_kernels(self) -> None:
        """Load the kernels, compiling them on the first run."""
        wp.load_module(trace_paths.module, device=self._launcher.device)
        self._is_loaded = True

    def fingerprint(self) -> dict[str, str]:
        """What else decides the bits of the sums: see `machine_fingerprint`."""
        self.load_kernels()
        return machine_fingerprint(str(self._launcher.device), self._inputs.accel, [trace_paths])

    def trace(self, strip: Strip, first: int, count: int) -> BlockSums:
        """Sum the samples `first` .. `first + count - 1` of every pixel of a strip, in their order."""
        if not self._is_loaded:
            self.load_kernels()
        x, y, width, _ = self._inputs.film.crop or (0, 0, *self._inputs.size)
        film = film_record(msgspec.structs.replace(self._inputs.film, crop=(x, y + strip.first, width, strip.rows)))
        scene, camera, _, settings = self._inputs.records
        device, pixels = self._launcher.device, width * strip.rows
        arrays: list[Any] = [wp.zeros(pixels, dtype=wp.vec3d, device=device) for _ in range(2)]
        arrays.append(wp.zeros(pixels, dtype=int, device=device))
        longest = CUDA_SAMPLES if device.is_cuda else count
        for begin in range(first, first + count, longest):
            span = min(longest, first + count - begin)
            before = (scene, camera, film, settings, begin, span)
            self._launcher.run(trace_paths, pixels, partial(_arguments, before, arrays))
        sums, squares = (array.numpy().reshape(strip.rows, width, 3) for array in arrays[:2])
        return BlockSums(sums, squares, arrays[2].numpy().reshape(strip.rows, width).astype(np.int32, copy=False))


def _arguments(before: Sequence[Any], after: Sequence[Any], base: int) -> list[Any]:
    """The arguments of a kernel for a launch whose first item is `base`."""
    return [*before, base, *after]
