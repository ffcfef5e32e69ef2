"""The container of snapshots and checkpoints: safetensors files (https://github.com/huggingface/safetensors).

They are read by that package, after a check that keeps a damaged file from having memory allocated for it, and written here: the
package's own writer gives files that only their owner may read.
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
        metadata: Strings to put into the header.
        sources: The tensors by name.
        max_header: Bytes that the header may have.

    Raises:
        OSError: It cannot be written, or metadata and names are too large.
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
        framework: Whose tensors it gives: `pt` or `numpy`.
        kind: What it should be, for messages: "snapshot".
        error: What problems become, inside the `with` too where they are of the file or of safetensors.
        max_header: Bytes that the header may have.
        missing: What to say where there is no such file; the system's words unless given.

    Raises:
        NrcError: Of the class `error`: it cannot be read, is damaged or no safetensors file.
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
    """Make sure that this is a file with a header of sensible size, before anything is allocated for it."""
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
