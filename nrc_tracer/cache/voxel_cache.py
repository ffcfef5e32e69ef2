"""A radiance cache without a network: means of radiance in voxels, as games use it.

Sources: NVIDIA, *SHaRC: Spatially Hashed Radiance Cache* (RTX Global Illumination SDK, 2023); Binder, Fricke, Keller,
*Massively Parallel Path Space Filtering* (2019). It ends paths at the same cuts as `RadianceCache` and learns from the same
records, so that a comparison shows what the network is worth.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import torch
import warp as wp
from msgspec.structs import replace
from numpy.typing import ArrayLike
from torch import Tensor

from nrc_tracer.cache.cache import RadianceCache, shuffle
from nrc_tracer.cache.cache_file import StoredCache
from nrc_tracer.cache.options import CacheOptions
from nrc_tracer.cache.state import CacheState, ImageState
from nrc_tracer.cache.voxel_file import VoxelFile, VoxelMetadata, read_voxel_file, write_voxel_bytes
from nrc_tracer.cache.voxel_table import LEVELS, VoxelTable, add_records, find_voxels, look_up, move_entries
from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import CacheError, OutputError
from nrc_tracer.files.atomic import replacing

ENTRIES = 1 << 18
"""Entries of the table, 28 bytes each."""

REMEMBERED = 4.0
"""Largest count of a mean after a change of the scene: what was right before is soon outweighed."""


class VoxelOptions(CacheOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of voxels: those of `CacheOptions` that concern paths and training frames, and these.

    Attributes:
        voxel_angle: Edge of a voxel over its distance from the camera, before it is rounded down to a power of two.
        most_count: Largest count of a running mean; beyond it, older records are forgotten exponentially.
        least_count: Records that a voxel needs for its mean to be used; with fewer, a larger voxel is.
    """

    voxel_angle: float = 0.05
    most_count: float = 1024.0
    least_count: float = 64.0

    _BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        **CacheOptions._BOUNDS,
        "voxel_angle": (1e-5, 1.0),
        "most_count": (1.0, 1e6),
        "least_count": (1.0, 1e6),
    }
    OF_NETWORKS: ClassVar[tuple[str, ...]] = (
        *("encoding", "config", "feature_size", "steps", "decay_frames", "average"),
        *("backend", "precision", "deterministic", "fused"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        usual = {field.name: field.default for field in msgspec.structs.fields(self)}
        for name in self.OF_NETWORKS:
            if getattr(self, name) != usual[name]:
                raise CacheError(f"{name}: voxels have no network; leave it out")


class VoxelCache(RadianceCache):
    """A cache of mean radiance in voxels, whose edges grow with the distance from the camera.

    Arguments, attributes and errors are those of `RadianceCache`, with `VoxelOptions` for options.
    """

    options: VoxelOptions

    def __init__(self, options: VoxelOptions | None = None, **settings: Any) -> None:
        if options is None:
            unknown = sorted(set(settings) - set(VoxelOptions.__struct_fields__))
            if unknown:
                raise CacheError(f"a cache of voxels has no setting {unknown[0]!r}")
            options, settings = VoxelOptions(**settings), {}
        super().__init__(options, **settings)
        self._launcher: TorchLauncher | None = None
        self._keys, self._means, self._counts = _empty("cpu", 0)
        self._eye = np.zeros(3)
        self._records = 0

    # Life

    def begin(
        self, low: ArrayLike, high: ArrayLike, *, device: str | torch.device, threads: int | None, seed: int
    ) -> bool:
        """Make the table for a scene, as `RadianceCache.begin` makes a network; nothing about it is random."""
        launcher, here = self._launcher, find_torch_device(device)
        if launcher is not None and self._holds(low, high):
            if launcher.torch_device != here:
                raise CacheError(
                    f"the cache is on {launcher.torch_device}; save it, and load it for a renderer on {device}"
                )
            return True
        if launcher is None or launcher.torch_device != here:
            self._launcher = launcher = TorchLauncher(here, threads=threads)
        if len(self._keys) and self._holds(low, high):  # from a file
            self._keys, self._means, self._counts = (x.to(here) for x in (self._keys, self._means, self._counts))
            return True
        self._enclose(low, high)
        self._keys, self._means, self._counts = _empty(here, ENTRIES)
        self.gain, self.scale, self._records = 0.0, 0.0, 0
        self.state = CacheState()
        return False

    def look_from(self, eye: ArrayLike) -> None:
        """Let voxels grow with the distance from this point, the camera [scene units], from now on."""
        self._eye = np.asarray(eye, np.float64)

    @property
    def is_begun(self) -> bool:
        """Whether a renderer has used the cache, so that it has a table."""
        return self._launcher is not None

    @property
    def is_trained(self) -> bool:
        """Whether the cache has taken in records."""
        return self._records > 0

    def numbers(self) -> dict[str, Any]:
        """Statistics of the table for reports, as JSON data: records taken in so far, and voxels."""
        return {"encoding": "voxel", "records": self._records, "voxels": int(torch.count_nonzero(self._keys))}

    def identity(self) -> dict[str, Any]:
        """The properties of the table that determine an image's bits, besides the options."""
        return {"entries": ENTRIES, "voxels": find_voxels.module.get_module_hash().hex()[:16]}

    def load_kernels(self) -> None:
        """Load the kernels of the table, compiling them on the first run."""
        wp.load_module(find_voxels.module, device=self._begun_launcher().device)

    def _begun_launcher(self, name: str = "") -> TorchLauncher:
        if self._launcher is None:
            raise CacheError(f"{name}the cache has not been used yet; render with it first")
        return self._launcher

    # Use

    def predict(self, features: Tensor, *, trained: bool = False, count: Tensor | None = None) -> Tensor:
        """Predict the radiance scattered at vertices, as `RadianceCache.predict`; `trained` and `count` make no difference."""
        launcher = self._begun_launcher()
        found = torch.ones((len(features), 3), device=features.device)
        arrays = [as_warp(features), self.options.least_count, self._table()]
        launcher.run(look_up, len(features), lambda base: [base, *arrays, as_warp(found, wp.vec3)])
        return found * (self.gain * self._reflectance(features))

    def _table(self) -> VoxelTable:
        table = VoxelTable()
        table.keys, table.counts = wp.from_torch(self._keys), wp.from_torch(self._counts)
        table.means = wp.from_torch(self._means, dtype=wp.vec3)
        table.eye, table.angle = wp.vec3(*((self._eye - self.low) / self.size)), self.options.voxel_angle
        return table

    # Training

    def train(self, features: Tensor, targets: Tensor, *, records: int, steps: int, seed: int) -> float:
        """Add records, drawn at random if there are too many, to the means of their voxels.

        Args:
            features: Features of the records, float32 [N, FEATURES].
            targets: Radiance scattered there, float32 [N, 3], finite.
            records: Largest number of records to use.
            steps: Without effect.
            seed: Seed of the draw.

        Returns:
            0: voxels have no loss.
        """
        if self.gain == 0.0 or not len(targets):
            return 0.0
        self.state = replace(self.state, learning_rate_step=self.state.learning_rate_step + 1)
        chosen = shuffle(len(targets), seed)[:records].to(features.device)
        features, targets = features.index_select(0, chosen), targets.index_select(0, chosen)
        self._records += len(features)
        self._add(features, targets / (self.gain * self._reflectance(features)))
        return 0.0

    def _add(self, features: Tensor, radiance: Tensor) -> None:
        launcher, table = self._begun_launcher(), self._table()
        keys = torch.zeros((len(features), LEVELS), dtype=torch.int64, device=features.device)
        launcher.run(find_voxels, len(features), lambda base: [base, as_warp(features), table, as_warp(keys)])
        keys, places = torch.sort(keys.view(-1), stable=True)
        order = places.to(torch.int32)
        voxels, numbers = torch.unique_consecutive(keys, return_counts=True)
        ends = numbers.cumsum(0, dtype=torch.int32)
        arrays = [as_warp(voxels), as_warp(ends), as_warp(order), as_warp(radiance, wp.vec3)]
        most = self.options.most_count
        if self._insert(add_records, len(voxels), [*arrays, most, table]):
            self._make_room()

    def _insert(self, kernel: wp.Kernel, count: int, arguments: list[Any]) -> int:
        """Run a kernel that inserts `count` voxels, on the CPU in one thread; the number of those without room."""
        launcher = self._begun_launcher()
        per_thread = 1 if launcher.device.is_cuda else max(count, 1)
        threads = -(-count // per_thread)
        lost = torch.zeros(max(threads, 1), dtype=torch.int32, device=launcher.torch_device)
        launcher.run(kernel, threads, lambda base: [base, per_thread, *arguments, as_warp(lost)])
        return int(lost.sum())

    def _make_room(self) -> None:
        """Forget the half of the voxels with the fewest records, where the table is full: another camera may have left them."""
        old, before = self._table(), (self._keys, self._means, self._counts)
        entries = torch.nonzero(self._keys)[:, 0]
        fullest = torch.sort(self._counts[entries], descending=True, stable=True).indices[: len(entries) // 2]
        kept = entries[fullest].sort().values
        self._keys, self._means, self._counts = _empty(self._keys.device, ENTRIES)
        self._insert(move_entries, len(kept), [as_warp(kept), old, self._table()])
        del before  # the old table's memory until here

    def learn_anew(self) -> None:
        """Learn as quickly as at first, after a change of the scene: no mean counts for more than a few records."""
        self.state = replace(self.state, learning_rate_step=0)
        self._counts.clamp_(max=REMEMBERED)

    # Files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write all voxels to a file for `load`.

        Raises:
            CacheError: The cache has not been used yet.
            OutputError: The file cannot be written.
        """
        self._begun_launcher(f"{path}: not written: ")
        with replacing(Path(path), error=OutputError) as temporary:
            temporary.write_bytes(self.to_bytes())
        return Path(path)

    def to_bytes(self, image: ImageState | None = None, extra: Mapping[str, Tensor] | None = None) -> bytes:
        """The contents of the file that `save` writes, with the state of an image and further tensors if they are given."""
        used = torch.nonzero(self._keys)[:, 0]
        tensors = {"entries": used, "keys": self._keys[used], "means": self._means[used], "counts": self._counts[used]}
        metadata = VoxelMetadata(
            options=msgspec.to_builtins(self.options),
            low=(float(self.low[0]), float(self.low[1]), float(self.low[2])),
            size=float(self.size),
            gain=self.gain,
            scale=self.scale,
            table=ENTRIES,
            records=self._records,
            state=self.state,
            image=image,
        )
        return write_voxel_bytes(metadata, tensors, extra or {})

    def inference_bytes(self, image: ImageState) -> bytes:
        """Not for voxels: a cluster renders with networks alone. Raises `CacheError`."""
        raise CacheError("a cluster cannot render with voxels; use --cache on or raw, or one machine")

    @classmethod
    def load(cls, path: str | os.PathLike[str], **settings: Any) -> VoxelCache:
        """Read voxels from a file; `settings` replace options that they were saved with. Raises `CacheError`."""
        file = read_voxel_file(Path(path))
        cache = cls(**{**file.metadata.options, **settings})
        cache._take_voxels(file, torch.device("cpu"))
        return cache

    def read_bytes(self, data: bytes) -> StoredCache:
        """Read what `to_bytes` has written. Raises `CacheError`."""
        return read_voxel_file(data)

    def restore(
        self, file: StoredCache, *, device: str | torch.device, threads: int | None, training: bool = True
    ) -> None:
        """Continue from voxels with the same options, to the same bits. Raises `CacheError` for a file of another cache."""
        if not isinstance(file, VoxelFile):
            raise CacheError("radiance cache: its voxels are missing")
        self._launcher = TorchLauncher(device, threads=threads)
        self._take_voxels(file, self._launcher.torch_device)

    def _take_voxels(self, file: VoxelFile, device: torch.device) -> None:
        metadata = file.metadata
        if metadata.table != ENTRIES:
            raise CacheError(
                f"radiance cache: its table has {metadata.table} entries, and those of this release have {ENTRIES}; train it anew"
            )
        self.low, self.size = np.array(metadata.low, np.float64), metadata.size
        self.gain, self.scale, self.state = metadata.gain, metadata.scale, metadata.state
        self._records = metadata.records
        self._keys, self._means, self._counts = _empty(device, ENTRIES)
        entries = file.entries.to(device)
        for ours, theirs in ((self._keys, file.keys), (self._means, file.means), (self._counts, file.counts)):
            ours[entries] = theirs.to(device)


def _empty(device: torch.device | str, entries: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, means and counts of a table without voxels."""
    return (
        torch.zeros(entries, dtype=torch.int64, device=device),
        torch.zeros((entries, 3), device=device),
        torch.zeros(entries, device=device),
    )
