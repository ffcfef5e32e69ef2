"""Merging partial files to the image that one machine would have rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nrc_tracer.cluster.partial_file import PartialFile
from nrc_tracer.errors import CheckpointError
from nrc_tracer.imaging import Image
from nrc_tracer.tracer.film_sums import BLOCK, moments, noise
from nrc_tracer.tracer.fingerprint import fingerprint_differences
from nrc_tracer.tracer.strips import strips_of


@dataclass(frozen=True)
class Merged:
    """A merged image.

    Attributes:
        image: The image.
        noise: Its estimated relative error, as `Renderer.noise`.
        differences: What differs between the machines of the files, in words; empty where they give the same bits.
    """

    image: Image
    noise: float
    differences: tuple[str, ...]


def merge(paths: Sequence[Path], *, mixed: bool = False, progress: Callable[[int], object] | None = None) -> Merged:
    """Merge partial files, in any order, to one image.

    The blocks are added in the order of their samples, so the image has the bits of one that was rendered in one place. The sums
    of the film (52 bytes per pixel) and one strip of a block are in memory, however many files there are; the image and its
    error estimate come to them at the end.

    Args:
        paths: The files. Together they have every sample from the first on, and none twice.
        mixed: Whether files of machines that give different bits may be merged: the image is right, but no single
            machine would give the same bits.
        progress: Called after each block with the number of samples per pixel merged so far.

    Raises:
        CheckpointError: A file is missing, damaged or of another image; samples are missing or duplicated; or the machines
            differ. The message names the file and the difference.
    """
    files = sorted((PartialFile(path) for path in paths), key=lambda file: (file.header.first, file.header.end))
    if not files:
        raise CheckpointError("there is no partial file to merge")
    differences = _check_same(files, mixed)
    _check_range(files)
    header = files[0].header
    strips = strips_of(header.width, header.height)
    total = np.zeros((header.height, header.width, 6))
    dropped = np.zeros((header.height, header.width), np.int32)
    samples = 0
    for file in files:
        for number, block in enumerate(file.header.blocks):
            file.add_block(number, total, dropped, strips)
            samples += block.samples
            if progress is not None:
                progress(samples)
    mean, variance = moments(total[..., :3], total[..., 3:], dropped, samples)
    image = Image(mean.astype(np.float32), samples=samples, dropped=int(dropped.sum()))
    return Merged(image, noise(mean, variance, dropped, samples), differences)


def _check_same(files: Sequence[PartialFile], mixed: bool) -> tuple[str, ...]:
    """Check that all files are of one image; return what differs between their machines, which is allowed if `mixed`."""
    first, found = files[0], []
    for file in files[1:]:
        differences = first.header.identity.differences(file.header.identity)
        if differences:
            raise CheckpointError(f"{file.path}: of another image than {first.path}: {'; '.join(differences)}")
        machine = fingerprint_differences(first.header.fingerprint, file.header.fingerprint)
        if machine and not mixed:
            raise CheckpointError(
                f"{file.path}: rendered where samples have other bits than in {first.path}: {'; '.join(machine)}; --mixed "
                "merges them anyway"
            )
        found += [f"{file.path}: {difference}" for difference in machine]
    return tuple(found)


def _check_range(files: Sequence[PartialFile]) -> None:
    """Check that the files, in the order of their samples, have every sample once."""
    end, before = 0, None
    for file in files:
        first = file.header.first
        if first < end:
            raise CheckpointError(
                f"{file.path}: has samples {first}:{file.header.end}, and {before} has them up to {end} already; leave one out"
            )
        if end % BLOCK:
            raise CheckpointError(
                f"{before}: ends at sample {end}, within a block of {BLOCK}; only the file with the last samples may"
            )
        if first > end:
            raise CheckpointError(f"samples {end}:{first} are missing; render them with --samples {end}:{first}")
        end, before = file.header.end, file.path
