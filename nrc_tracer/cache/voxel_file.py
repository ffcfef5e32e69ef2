"""Files of voxel caches: the entries of the table that are in use, with the metadata of the cache, in the safetensors format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import safetensors.torch
import torch
from torch import Tensor

from nrc_tracer.cache.state import Amount, CacheState, Count, ImageState
from nrc_tracer.errors import CacheError, one_line
from nrc_tracer.files.tensor_file import read_header

KEY = "nrc_tracer.voxels"
"""Name of the metadata in the file."""

VERSION = 1
"""Version of the format; files of other versions are refused."""

_EXTRA = "extra/"
_TYPES = {"entries": torch.int64, "keys": torch.int64, "means": torch.float32, "counts": torch.float32}


class VoxelMetadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The data of a voxel cache that are stored with its table.

    Attributes:
        options: The options it was made with, by name.
        low: Lower corner of its cube [scene units].
        size: Edge of its cube [scene units].
        gain, scale: As in `RadianceCache`.
        table: Entries of the table, used and free ones.
        records: Records taken in so far.
        state: What the cache has done so far.
        image: The state of an image, in a checkpoint.
        version: Version of this format.
    """

    options: dict[str, Any]
    low: tuple[float, float, float]
    size: Annotated[float, msgspec.Meta(gt=0.0)]
    gain: Amount
    scale: Amount
    table: Count
    records: Count
    state: CacheState
    image: ImageState | None = None
    version: int = VERSION


@dataclass(frozen=True)
class VoxelFile:
    """The contents of a file of voxels.

    Attributes:
        metadata: The metadata.
        entries: Places in the table of the voxels, int64 [N].
        keys: Keys of the voxels, int64 [N].
        means: Their mean radiance, float32 [N, 3].
        counts: Their counts, float32 [N].
        extra: Further tensors that were stored with the cache.
    """

    metadata: VoxelMetadata
    entries: Tensor
    keys: Tensor
    means: Tensor
    counts: Tensor
    extra: dict[str, Tensor]

    @property
    def image(self) -> ImageState | None:
        """The state of an image, in a checkpoint."""
        return self.metadata.image


def write_voxel_bytes(metadata: VoxelMetadata, tensors: Mapping[str, Tensor], extra: Mapping[str, Tensor]) -> bytes:
    """The contents of a file of voxels; `tensors` are those of `VoxelFile` by name."""
    stored = {
        name: x.cpu().contiguous() for name, x in (*tensors.items(), *((_EXTRA + n, x) for n, x in extra.items()))
    }
    return safetensors.torch.save(stored, {KEY: msgspec.json.encode(metadata).decode()})


def read_voxel_file(source: Path | bytes) -> VoxelFile:
    """Read a file of voxels, or its contents. Raises `CacheError`: it cannot be read, is damaged, or is of another kind."""
    name = source if isinstance(source, Path) else "radiance cache"
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
        tensors = safetensors.torch.load(data)
        text = read_header(data).get("__metadata__", {}).get(KEY)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise CacheError(f"{name}: cannot be read: {one_line(error)}") from error
    if text is None:
        raise CacheError(f"{name}: not a cache of voxels; a file of a network needs --cache on, raw, unbiased or view")
    try:
        metadata = msgspec.json.decode(text, type=VoxelMetadata)
        extra = {key.removeprefix(_EXTRA): x for key, x in tensors.items() if key.startswith(_EXTRA)}
        file = VoxelFile(metadata, **{key: tensors[key] for key in _TYPES}, extra=extra)
        _check(file)
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        raise CacheError(f"{name}: not a cache of voxels, or damaged: {one_line(error)}") from error
    return file


def _check(file: VoxelFile) -> None:
    """Raise `ValueError` for a file whose parts do not fit together."""
    metadata = file.metadata
    numbers = (*metadata.low, metadata.size, metadata.gain, metadata.scale)
    if metadata.version != VERSION or not all(math.isfinite(x) for x in numbers):
        raise ValueError(f"version {metadata.version}, or a number that is not finite")
    count = len(file.entries)
    for key, dtype in _TYPES.items():
        tensor = getattr(file, key)
        if tensor.dtype != dtype or tensor.shape != ((count, 3) if key == "means" else (count,)):
            raise ValueError(f"{key} has the wrong shape or type")
    if count and not (int(file.entries.min()) >= 0 and int(file.entries.max()) < metadata.table):
        raise ValueError("an entry lies beyond the table")
    if not (torch.isfinite(file.means).all() and torch.isfinite(file.counts).all()):
        raise ValueError("a mean or a count is not finite")
