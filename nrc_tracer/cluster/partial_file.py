"""Partial files: the sums of some blocks of an image's samples, to be merged with those of other machines.

A partial file is a safetensors file (https://github.com/huggingface/safetensors) with two tensors for each block of 64 samples,
named by the index of the block's first sample:

* `0`, `64`, ...: float64 [height, width, 6], the sums of the samples (red, green, blue) and of their squares;
* `0 dropped`, ...: uint8 [height, width], the number of samples that were dropped because they were not finite;
* metadata: `nrc_tracer`, JSON with the rest and a digest of each block; and `digest`, the digest of that JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
import numpy as np

from nrc_tracer.errors import CheckpointError, one_line
from nrc_tracer.files.atomic import replacing
from nrc_tracer.files.tensor_file import opened_tensors
from nrc_tracer.tracer.checkpoint import Identity
from nrc_tracer.tracer.film_sums import BLOCK, BlockSums
from nrc_tracer.tracer.fingerprint import MACHINE
from nrc_tracer.tracer.scene_digests import digest
from nrc_tracer.tracer.strips import Strip, blocks_of

FORMAT = "nrc_tracer.cluster.partial"
VERSION = 1
"""Version of the format; files of other versions are refused."""

MAX_HEADER_BYTES = 64 * 2**20
"""Largest size of the JSON in a file."""

_KEY, _DIGEST = "nrc_tracer", "digest"
_VALUES = 6
"""Values of a pixel: sums of red, green and blue, and the sums of their squares."""


class _Block(msgspec.Struct, forbid_unknown_fields=True):
    """A block of a file: its number of samples, and the digest of its tensors."""

    samples: Annotated[int, msgspec.Meta(ge=1, le=BLOCK)]
    data: str


class PartialHeader(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a partial file says about its sums.

    Attributes:
        format, version: What kind of file it is.
        width, height: Size of the image [pixels].
        first: Index of the first sample, a multiple of 64.
        blocks: The blocks, in order. All but the last of them have 64 samples.
        identity: Scene and settings.
        fingerprint: What else decides the bits: see `machine_fingerprint`.
    """

    format: str
    version: Annotated[int, msgspec.Meta(ge=1)]
    width: Annotated[int, msgspec.Meta(ge=1, le=2**16)]
    height: Annotated[int, msgspec.Meta(ge=1, le=2**16)]
    first: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1, multiple_of=BLOCK)]
    blocks: list[_Block]
    identity: Identity
    fingerprint: dict[str, str]

    @property
    def end(self) -> int:
        """The index after that of the last sample."""
        return self.first + sum(block.samples for block in self.blocks)


@dataclass(frozen=True)
class PartialRender:
    """What is rendered into a partial file.

    Attributes:
        width, height: Size of the image [pixels].
        first: Index of the first sample, a multiple of 64.
        end: The index after that of the last sample.
        identity: Scene and settings of the image.
        fingerprint: What else decides the bits of its samples.
    """

    width: int
    height: int
    first: int
    end: int
    identity: Identity
    fingerprint: Mapping[str, str]


def write_partial(
    path: Path,
    render: PartialRender,
    strips: Sequence[Strip],
    trace: Callable[[Strip, int, int], BlockSums],
    *,
    stop: Callable[[], bool],
    progress: Callable[[int], object],
) -> int:
    """Render blocks of samples into a file, strip by strip, so that no more than a strip is in memory.

    Args:
        path: The file; one of that name is replaced only when the new one is complete.
        render: What is rendered.
        strips: The strips of the image, from its first row to its last.
        trace: Sums the samples of a strip: their first index and their number are given.
        stop: Called after each strip; True ends the work early. Then the file has the blocks that are finished.
        progress: Called after each strip with the number of samples of pixels done so far.

    Returns:
        The index after that of the last sample in the file; `render.first` if no block was finished. Then there is no file.

    Raises:
        CheckpointError: The file cannot be written.
    """
    planned = list(blocks_of(render.first, render.end))
    room = len(_encoded(render, [_Block(count, "0" * 32) for _, count in planned]))
    finished: list[_Block] = []
    done = 0

    def write_block(file: IO[bytes], first: int, count: int) -> str | None:
        """Render a block and write it; return its digest, None if it was not finished."""
        nonlocal done
        total, dropped = hashlib.blake2b(digest_size=16), []
        for strip in strips:
            if stop():
                return None
            block = trace(strip, first, count)
            values = np.concatenate([block.sums, block.squares], axis=2)
            total.update(values.data)
            file.write(values.data)
            dropped.append(block.dropped.astype(np.uint8))
            done += strip.rows * render.width * count
            progress(done)
        lost = np.concatenate(dropped)
        total.update(lost.data)
        file.write(lost.data)
        return total.hexdigest()

    with (
        contextlib.suppress(_NothingFinished),
        replacing(path, error=CheckpointError) as temporary,
        temporary.open("xb") as file,
    ):
        file.write(bytes(room))
        for first, count in planned:
            data = write_block(file, first, count)
            if data is None:
                break
            finished.append(_Block(count, data))
        if not finished:
            raise _NothingFinished
        header = _encoded(render, finished, room)
        file.truncate(len(header) + len(finished) * _block_bytes(render.width, render.height))
        file.seek(0)
        file.write(header)
    return render.first + sum(block.samples for block in finished)


class _NothingFinished(Exception):
    """The work was stopped before the first block was finished, so that no file is to be written."""


def _block_bytes(width: int, height: int) -> int:
    return width * height * (8 * _VALUES + 1)


def _encoded(render: PartialRender, blocks: list[_Block], size: int = 0) -> bytes:
    """The file's header, filled with spaces to `size` bytes."""
    settings = {name: value for name, value in render.identity.settings.items() if name not in MACHINE}
    about = PartialHeader(
        format=FORMAT,
        version=VERSION,
        width=render.width,
        height=render.height,
        first=render.first,
        blocks=blocks,
        identity=Identity(settings=settings, scene=render.identity.scene),
        fingerprint=dict(render.fingerprint),
    )
    text = msgspec.json.encode(about)
    tensors: dict[str, Any] = {"__metadata__": {_KEY: text.decode(), _DIGEST: digest(text)}}
    end = 0
    for number in range(len(blocks)):
        first, shape = render.first + BLOCK * number, [render.height, render.width]
        for key, dtype, dimensions, bytes_per_value in (
            (str(first), "F64", [*shape, _VALUES], 8),
            (_dropped(first), "U8", shape, 1),
        ):
            begin, end = end, end + int(np.prod(dimensions)) * bytes_per_value
            tensors[key] = {"dtype": dtype, "shape": dimensions, "data_offsets": [begin, end]}
    encoded = json.dumps(tensors, separators=(",", ":")).encode()
    length = max(size - 8, -(-len(encoded) // 8) * 8)
    if length > MAX_HEADER_BYTES:
        raise OSError(f"its header would be larger than {MAX_HEADER_BYTES // 2**20} MiB")
    return struct.pack("<Q", length) + encoded.ljust(length)


def _dropped(first: int) -> str:
    return f"{first} dropped"


class PartialFile:
    """A partial file to read from.

    Args:
        path: The file.

    Attributes:
        path: The file.
        header: What it says about its sums.

    Raises:
        CheckpointError: The file is missing, damaged or of another kind.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with self._opened() as file:
            self.header = self._read_header(file.metadata() or {})
            self._check_tensors(file)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        opened = opened_tensors(
            self.path, "numpy", kind="partial file", error=CheckpointError, max_header=MAX_HEADER_BYTES
        )
        try:
            with opened as file:
                yield file
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError) as error:
            raise self._damaged(one_line(error)) from error

    def add_block(self, number: int, total: np.ndarray, dropped: np.ndarray, strips: Sequence[Strip]) -> None:
        """Add a block's sums to `total`, float64 [height, width, 6], and `dropped`, int32 [height, width], strip by strip.

        Raises:
            CheckpointError: The block is damaged.
        """
        name = self.header.first + BLOCK * number
        found = hashlib.blake2b(digest_size=16)
        with self._opened() as file:
            sums = file.get_slice(str(name))
            for strip in strips:
                values = sums[strip.slice]
                found.update(np.ascontiguousarray(values).data)
                total[strip.slice] += values
            lost = file.get_tensor(_dropped(name))
        found.update(np.ascontiguousarray(lost).data)
        dropped += lost
        if found.hexdigest() != self.header.blocks[number].data:
            raise self._damaged("its sums are not those that were written")

    def _read_header(self, metadata: Mapping[str, str]) -> PartialHeader:
        text = metadata.get(_KEY, "").encode()
        if _DIGEST not in metadata or not text:
            raise CheckpointError(f"{self.path}: a safetensors file, but not a partial file of a render")
        if digest(text) != metadata[_DIGEST]:
            raise self._damaged("its metadata is not what was written")
        about = msgspec.json.decode(text)
        if not isinstance(about, dict):
            raise self._damaged("its metadata is not an object")
        if about.get("format") != FORMAT:
            raise CheckpointError(f"{self.path}: {_kind(about.get('format'))}, not a partial file of a render")
        if about.get("version") != VERSION:
            raise CheckpointError(
                f"{self.path}: its format has the version {about.get('version')}, this release reads {VERSION}; render and "
                "merge with the same release"
            )
        header = msgspec.json.decode(text, type=PartialHeader)
        if not header.blocks or any(block.samples < BLOCK for block in header.blocks[:-1]):
            raise self._damaged("its blocks are incomplete")
        return header

    def _check_tensors(self, file: Any) -> None:
        shape = [self.header.height, self.header.width]
        expected: dict[str, tuple[str, list[int]]] = {}
        for number in range(len(self.header.blocks)):
            first = self.header.first + BLOCK * number
            expected |= {str(first): ("F64", [*shape, _VALUES]), _dropped(first): ("U8", shape)}
        if set(file.keys()) != set(expected):
            raise self._damaged("its tensors are not those of its blocks")
        for name, (dtype, dimensions) in expected.items():
            view = file.get_slice(name)
            if (view.get_dtype(), list(view.get_shape())) != (dtype, dimensions):
                raise self._damaged(f'"{name}" is {view.get_dtype()} of shape {list(view.get_shape())}')

    def _damaged(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: not a partial file, or damaged: {problem}")


def _kind(name: object) -> str:
    return "a checkpoint" if name == "nrc_tracer.tracer" else "a file of another kind"
