"""Files of radiance caches: a snapshot of the network and its training, with the metadata of the cache.

The same bytes are in a checkpoint, together with the state of the image, the held-out paths and, in mode `on`, the residuals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from torch import Tensor

from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.options import CacheOptions
from nrc_tracer.cache.state import Amount, CacheState, ImageState
from nrc_tracer.errors import CacheError, NrcError, one_line
from nrc_tracer.nn.snapshot import Snapshot, read_snapshot
from nrc_tracer.nn.snapshot_format import SnapshotBytes

FORMAT = "nrc_tracer.cache"
VERSION = 2
"""Version of the metadata; files of other versions are refused."""

IN_MEMORY = "radiance cache"
"""Name of a cache's bytes in messages."""

CHANNELS = 3
"""Columns of the network's output: red, green and blue."""


class CacheMetadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The data of a cache that are stored with its network.

    Attributes:
        options: The options it was made with.
        low: Lower corner of its cube [scene units].
        size: Edge of its cube [scene units].
        gain, scale: As in `RadianceCache`.
        state: What the cache has done so far.
        image: The state of an image, in a checkpoint.
        format, version: Name and version of this format.
    """

    options: CacheOptions
    low: tuple[float, float, float]
    size: Annotated[float, msgspec.Meta(gt=0.0)]
    gain: Amount
    scale: Amount
    state: CacheState
    image: ImageState | None = None
    format: str = FORMAT
    version: int = VERSION


class StoredCache(Protocol):
    """The contents of any cache's file: what `RadianceCache.read_bytes` returns and `RadianceCache.restore` takes."""

    @property
    def image(self) -> ImageState | None:
        """The state of an image, in a checkpoint."""

    @property
    def extra(self) -> dict[str, Tensor]:
        """Further tensors that were stored with the cache."""


@dataclass(frozen=True)
class CacheFile:
    """A file that was read.

    Attributes:
        source: The file, or its contents.
        metadata: The metadata of the cache.
        snapshot: The network, without its training.
    """

    source: Path | SnapshotBytes
    metadata: CacheMetadata
    snapshot: Snapshot

    @property
    def image(self) -> ImageState | None:
        """The state of an image, in a checkpoint."""
        return self.metadata.image

    @property
    def extra(self) -> dict[str, Tensor]:
        """Further tensors that were stored with the cache."""
        return self.snapshot.extra


def read_cache_file(source: Path | SnapshotBytes) -> CacheFile:
    """Read all of a cache but the training of its network.

    Raises:
        CacheError, SnapshotError: The file cannot be read, is damaged, or is of another kind or version.
    """
    snapshot = read_snapshot(source)
    name, data = snapshot.path, snapshot.metadata
    dims = (snapshot.n_input_dims, snapshot.n_output_dims)
    if data.get("format") != FORMAT or dims != (FEATURES, CHANNELS):
        raise CacheError(f"{name}: a snapshot, but not of a radiance cache")
    _check_version(name, data.get("version", 1))  # the first version was not written
    try:
        metadata = msgspec.convert(data, CacheMetadata)
        if not all(math.isfinite(x) for x in (*metadata.low, metadata.size, metadata.gain, metadata.scale)):
            raise ValueError("its cube or scale is not finite")
    except (NrcError, msgspec.MsgspecError, ValueError) as error:
        raise CacheError(f"{name}: not a radiance cache, or damaged: {one_line(error)}") from error
    return CacheFile(source, metadata, snapshot)


def _check_version(name: Path, version: Any) -> None:
    if not isinstance(version, int) or version == VERSION:
        return
    release = "a newer release; upgrade nrc-tracer" if version > VERSION else "an older release; train a new one"
    raise CacheError(f"{name}: a radiance cache of {release} (format {version}, this release reads format {VERSION})")
