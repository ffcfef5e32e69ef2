"""Snapshots of instant-ngp: reading its models from `.ingp` and `.msgpack` files, and writing models of images and SDFs.

A file is MessagePack, plain or compressed by gzip or zlib. It holds the configuration of the model and, under the key `snapshot`,
its parameters as tiny-cuda-nn writes them (`n_params`, `params_type`, `params_binary`: those for inference) with the rest of the
program's state. Mueller, Evans, Schied, Keller, *Instant Neural Graphics Primitives with a Multiresolution Hash Encoding*
(SIGGRAPH 2022), section 5.4, describes the two networks of a radiance field.

**Not verified** with a file that instant-ngp has written: the tests use files made from its published description. To be checked
with a real file: the names and places of `mode`, `aabb_scale` and `n_extra_learnable_dims`, the order of the axes in the density
grid, that a colour network takes the density outputs before the direction, and whether instant-ngp loads the files of
`write_ingp`. A wrong size is always an error, so an unknown kind of file is refused rather than misread.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from torch import Tensor

from nrc_tracer.errors import SnapshotError
from nrc_tracer.files.atomic import replacing
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.instant_ngp_snapshot import DIMS, IngpSnapshot
from nrc_tracer.nn.model import Model
from nrc_tracer.nn.morton_order import from_morton

MAX_BYTES = 4 * 2**30
"""Largest size of a file and of its contents [bytes]."""

MAX_RATIO = 64
"""Largest ratio of contents to compressed file, for contents above `SMALL_BYTES`. Parameters compress badly."""

SMALL_BYTES = 64 * 2**20
"""Size of contents [bytes] up to which any compression ratio is accepted."""

MAX_DOCUMENT_BYTES = 4 * 2**20
"""Largest encoded size [bytes] of the configuration and state that are kept; the largest members are left out."""

MAX_CASCADES = 8
"""Largest number of nested density grids."""

MAX_GRID_SIDE = 512
"""Largest number of cells along an edge of a density grid."""

MAX_EXTRA_DIMS = 2**16
"""Largest number of trained input columns per picture."""

_PIECE = 2**16
"""Compressed bytes per step of decompression; they may grow a thousandfold."""
_DTYPES: dict[str, np.dtype[Any]] = {"float": np.dtype("<f4"), "__half": np.dtype("<f2")}


def read_ingp(path: str | os.PathLike[str]) -> IngpSnapshot:
    """Read a snapshot of instant-ngp, compressed or not, whatever its file name.

    Raises:
        SnapshotError: The file cannot be read, is damaged, of another kind, or implausibly large.
    """
    path = Path(path)
    data = _read_bytes(path)
    try:
        return _decode(path, _decompress(data))
    except _Damaged as error:
        raise SnapshotError(f"{path}: not a snapshot of instant-ngp, or damaged: {error}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError, zlib.error) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise SnapshotError(f"{path}: not a snapshot of instant-ngp, or damaged: {what}") from error
    except MemoryError as error:
        raise SnapshotError(f"{path}: not enough memory to read this snapshot") from error


class _Damaged(Exception):
    """A problem of a file, without the file's name."""


def _read_bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SnapshotError(f"{path}: cannot be read: it is not a file")
        if status.st_size > MAX_BYTES:
            raise SnapshotError(f"{path}: not a snapshot of instant-ngp: larger than {MAX_BYTES / 2**30:g} GiB")
        return path.read_bytes()
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a null character in the name
        raise SnapshotError(f"{str(path)!r}: not a file name: {error}") from error


def _decompress(data: bytes) -> bytes | bytearray:
    """Decompress gzip or zlib data; return other data unchanged."""
    is_gzip = data[:2] == b"\x1f\x8b"
    # No MessagePack map begins like a zlib header
    is_zlib = len(data) >= 2 and data[0] & 0x0F == 8 and data[0] < 0x80 and (data[0] << 8 | data[1]) % 31 == 0
    if not is_gzip and not is_zlib:
        return data
    limit = min(MAX_BYTES, max(SMALL_BYTES, MAX_RATIO * len(data)))
    out = bytearray()
    position = 0
    while position < len(data):  # a gzip file may have several members
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | (16 if is_gzip else 0))
        while not stream.eof:
            piece = data[position : position + _PIECE]
            if not piece:
                raise _Damaged("the compressed data are cut off")
            out += stream.decompress(piece)
            position += len(piece) - len(stream.unused_data)
            if len(out) > limit:
                raise _Damaged(f"{len(data)} bytes would decompress to more than {limit}")
        if position < len(data) and not (is_gzip and data[position : position + 2] == b"\x1f\x8b"):
            raise _Damaged(f"{len(data) - position} bytes follow its end")
    return out


class _Dataset(msgspec.Struct):
    aabb_scale: float | None = None
    n_extra_learnable_dims: int | None = None


class _Nerf(msgspec.Struct):
    aabb_scale: float | None = None
    dataset: _Dataset | None = None


def _decode(path: Path, data: bytes | bytearray) -> IngpSnapshot:
    # Decode only the needed members: a byte of MessagePack can take a hundred as Python objects
    top = msgspec.msgpack.decode(data, type=dict[str, msgspec.Raw])
    if "snapshot" not in top:
        raise _Damaged('no key "snapshot"; is it only a configuration?')
    members = msgspec.msgpack.decode(top.pop("snapshot"), type=dict[str, msgspec.Raw])
    params, params_type = _params(members)
    nerf = _member(members, "nerf", _Nerf | None) or _Nerf()
    dataset = nerf.dataset or _Dataset()
    n_extra_dims = dataset.n_extra_learnable_dims or 0
    if not 0 <= n_extra_dims <= MAX_EXTRA_DIMS:
        raise _Damaged(f"snapshot.nerf.dataset.n_extra_learnable_dims: {n_extra_dims}")
    density_grid = _density_grid(members)
    mode = _member(members, "mode", str | None)
    if mode is None and ("nerf" in members or density_grid is not None):
        mode = "nerf"
    return IngpSnapshot(
        path=path,
        document=_document(top, members),
        mode=mode and mode.lower(),
        params=params,
        params_type=params_type,
        aabb_scale=nerf.aabb_scale or dataset.aabb_scale or 1.0,
        n_extra_dims=n_extra_dims,
        density_grid=density_grid,
    )


def _member(members: Mapping[str, msgspec.Raw], name: str, kind: Any) -> Any:
    """A member of the snapshot; None if it is missing."""
    if name not in members:
        return None
    try:
        return msgspec.msgpack.decode(members[name], type=kind)
    except msgspec.MsgspecError as error:
        raise _Damaged(f"snapshot.{name}: {error}") from error


def _params(members: Mapping[str, msgspec.Raw]) -> tuple[Tensor, str]:
    binary = _member(members, "params_binary", memoryview)
    if binary is None:
        raise _Damaged('no "params_binary" in its snapshot')
    n_params = _member(members, "n_params", int | None)
    params_type = _member(members, "params_type", str | None)
    if params_type is None:  # tiny-cuda-nn then uses its own type, half on most GPUs
        params_type = "float" if n_params is not None and len(binary) == 4 * n_params else "__half"
    if params_type not in _DTYPES:
        raise _Damaged(f"snapshot.params_type: expected __half or float, got {params_type[:40]!r}")
    dtype = _DTYPES[params_type]
    if n_params is None:
        n_params = len(binary) // dtype.itemsize
    if len(binary) != n_params * dtype.itemsize:
        raise _Damaged(f"snapshot.params_binary: {len(binary)} bytes are not {n_params} values of type {params_type}")
    params = torch.from_numpy(np.frombuffer(binary, dtype=dtype).astype(np.float32))
    if not torch.isfinite(params).all():
        raise _Damaged("snapshot.params_binary: has values that are not finite")
    return params, params_type


def _density_grid(members: Mapping[str, msgspec.Raw]) -> Tensor | None:
    binary = _member(members, "density_grid_binary", memoryview | None)
    if binary is None:
        return None
    side = _member(members, "density_grid_size", int | None)
    if side is None or not 1 <= side <= MAX_GRID_SIDE or side & (side - 1):
        raise _Damaged(f"snapshot.density_grid_size: expected a power of two up to {MAX_GRID_SIDE}, got {side}")
    cascades, rest = divmod(len(binary), 2 * side**3)
    if rest or not 1 <= cascades <= MAX_CASCADES:
        raise _Damaged(
            f"snapshot.density_grid_binary: {len(binary)} bytes are not 1 to {MAX_CASCADES} grids of {side}^3 half values"
        )
    cells = np.frombuffer(binary, dtype="<f2").astype(np.float32)
    return torch.from_numpy(from_morton(cells.reshape(cascades, side**3)))


def _document(top: Mapping[str, msgspec.Raw], members: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    """Configuration and state as plain data; the largest members are left out beyond MAX_DOCUMENT_BYTES."""
    document: dict[str, Any] = {}
    snapshot: dict[str, Any] = {}
    entries = [(raw, name, document) for name, raw in top.items()]
    entries += [(raw, name, snapshot) for name, raw in members.items() if name != "optimizer"]
    left = MAX_DOCUMENT_BYTES
    for raw, name, target in sorted(entries, key=lambda entry: memoryview(entry[0]).nbytes):
        left -= memoryview(raw).nbytes
        if left < 0:
            break
        value = _plain(msgspec.msgpack.decode(raw))
        if value is not _BINARY:
            target[name] = value
    document.pop("parent", None)  # already merged by instant-ngp
    return {**document, "snapshot": snapshot}


_BINARY = object()


def _plain(value: Any) -> Any:
    """A copy without binary data and other values that JSON cannot hold."""
    if isinstance(value, dict):
        members = {key: _plain(member) for key, member in value.items() if isinstance(key, str)}
        return {key: member for key, member in members.items() if member is not _BINARY}
    if isinstance(value, list):
        return [member for member in map(_plain, value) if member is not _BINARY]
    return value if value is None or isinstance(value, str | int | float) else _BINARY


def write_ingp(
    path: str | os.PathLike[str],
    model: Model,
    *,
    mode: Literal["image", "sdf"] | None = None,
    params_type: Literal["__half", "float"] = "__half",
) -> Path:
    """Write a model of an image or an SDF as a snapshot in the format that `read_ingp` reads.

    The parameters are those for inference. It has not been tested whether instant-ngp loads such a file.

    Args:
        path: The file: plain MessagePack for `.msgpack`, gzip for all other names, usually `.ingp`.
        model: The model, with 2 inputs and 3 outputs, or 3 inputs and 1 output.
        mode: `image` or `sdf`; follows from the number of columns unless given.
        params_type: `__half`, for which parameters are rounded to nearest even, or `float`.

    Returns:
        The path.

    Raises:
        SnapshotError: The format cannot hold the model or a parameter, or the file cannot be written.
    """
    path = Path(path)
    dims = (model.n_input_dims, model.n_output_dims)
    kind: str | None = mode or next((name for name, known in DIMS.items() if known == dims), None)
    if kind not in DIMS or DIMS[kind] != dims or model.network is None:
        raise SnapshotError(
            f"{path}: not written, as it can hold a network of 2 inputs and 3 outputs (image) or of 3 inputs and 1 output "
            f"(sdf), not {dims[0]} -> {dims[1]}{'' if model.network else ' without a network'} as {kind}"
        )
    if params_type not in _DTYPES:
        raise SnapshotError(f"{path}: not written, as params_type must be __half or float, not {params_type!r}")
    params = model.inference_params.detach().cpu().numpy()
    with np.errstate(over="ignore"):
        stored = params.astype(_DTYPES[params_type])
    if not np.isfinite(stored).all():
        hint = '; use params_type="float"' if np.isfinite(params).all() else ""
        raise SnapshotError(f"{path}: not written, as parameters are not finite in {params_type}{hint}")
    document = configuration.to_json(model.config)
    document["snapshot"] = {
        "version": 1,
        "mode": kind,
        "n_params": len(stored),
        "params_type": params_type,
        "params_binary": stored.tobytes(),
    }
    data = msgspec.msgpack.encode(document)
    if path.suffix.lower() != ".msgpack":
        data = gzip.compress(data, compresslevel=1, mtime=0)
    with replacing(path, error=SnapshotError) as temporary:
        temporary.write_bytes(data)
    return path
