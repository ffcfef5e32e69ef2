"""The container of snapshots and checkpoints: safetensors files (https://github.com/huggingface/safetensors).

They are read by that package, after a check of the header, so that no memory is allocated for a damaged file. They are written
here: the package's own writer makes files that only their owner may read.
"""

from __future__ import annotations

import json
import stat
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nrc_tracer.errors import NrcError, one_line


@dataclass(frozen=True)
class TensorSource:
    """A tensor to write, whose bytes are made when they are needed.

    Attributes:
        dtype: Its type by safetensors' name, such as `F32`.
        shape: Its shape.
        size: Number of its bytes.
        data: Returns those bytes; called once, when they are written.
    """

    dtype: str
    shape: Sequence[int]
    size: int
    data: Callable[[], memoryview]


def write_tensors(
    file: IO[bytes], metadata: Mapping[str, str], sources: Mapping[str, TensorSource], *, max_header: int
) -> None:
    """Write a container, tensors in the order given.

    Args:
        file: An empty binary file, on a disk or in memory.
        metadata: Strings for the header.
        sources: The tensors by name.
        max_header: Largest size of the header [bytes].

    Raises:
        OSError: The file cannot be written, or metadata and names are too large for the header.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, source in sources.items():
        begin, end = end, end + source.size
        header[name] = {"dtype": source.dtype, "shape": list(source.shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    if len(encoded) > max_header:
        raise OSError(f"metadata and names are larger than {max_header // 2**20} MiB")
    file.write(struct.pack("<Q", len(encoded)))
    file.write(encoded)
    for source in sources.values():
        file.write(source.data())


def read_header(data: bytes) -> dict[str, Any]:
    """The JSON header of a container in memory that safetensors has read: tensors by name, and `__metadata__`."""
    size = struct.unpack_from("<Q", data)[0]
    return json.loads(data[8 : 8 + size])


@contextmanager
def opened_tensors(
    path: Path, framework: str, *, kind: str, error: type[NrcError], max_header: int, missing: str = ""
) -> Iterator[Any]:
    """Open a file as `safetensors.safe_open` does.

    Args:
        path: The file.
        framework: Kind of the tensors: `pt` or `numpy`.
        kind: What the file should be, for messages: "snapshot".
        error: The exception class for all problems with the file, those inside the `with` block included.
        max_header: Largest size of the header [bytes].
        missing: Message if there is no such file; the system's message unless given.

    Raises:
        NrcError: An `error`: the file cannot be read, is damaged or is not a safetensors file.
    """
    import safetensors

    _check_header(path, kind, error, max_header, missing)
    try:
        with safetensors.safe_open(path, framework=framework) as file:
            yield file
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror or one_line(problem)}") from problem
    except safetensors.SafetensorError as problem:
        raise error(f"{path}: not a {kind}, or damaged: {one_line(problem)}") from problem


def _check_header(path: Path, kind: str, error: type[NrcError], max_header: int, missing: str) -> None:
    """Check that this is a file with a header of plausible size, before memory is allocated for it."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise error(f"{path}: cannot be read: it is not a file")
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as problem:
        if missing and isinstance(problem, FileNotFoundError):
            raise error(f"{path}: {missing}") from problem
        raise error(f"{path}: cannot be read: {problem.strerror or problem}") from problem
    except ValueError as problem:  # a null character in the name
        raise error(f"{str(path)!r}: not a file name: {problem}") from problem
    if len(head) < 9 or head[8:] != b"{":
        raise error(f"{path}: not a {kind}: a safetensors file begins in another way")
    size = struct.unpack("<Q", head[:8])[0]
    if size > max_header:
        raise error(f"{path}: not a {kind}, or damaged: its header would have {size} bytes")
