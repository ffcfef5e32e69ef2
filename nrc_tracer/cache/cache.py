"""The radiance cache: a small network that predicts the radiance that a surface point scatters in a direction.

Mueller, Rousselle, Novak, Keller, *Real-time Neural Radiance Caching for Path Tracing* (SIGGRAPH 2021), with the hash encoding of
Mueller, Evans, Schied, Keller, *Instant Neural Graphics Primitives with a Multiresolution Hash Encoding* (2022), section 5.3.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import ArrayLike
from torch import Tensor

from nrc_tracer.cache.cache_file import IN_MEMORY, CacheFile, CacheMetadata, StoredCache, read_cache_file
from nrc_tracer.cache.features import DIFFUSE, SPECULAR
from nrc_tracer.cache.network import Network, network_config
from nrc_tracer.cache.options import CacheOptions
from nrc_tracer.cache.schedule import learning_rate_factor
from nrc_tracer.cache.state import CacheState, ImageState
from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.errors import CacheError
from nrc_tracer.nn import Model, Trainer, load_training, save_training
from nrc_tracer.nn.snapshot_format import SnapshotBytes
from nrc_tracer.nn.snapshot_writing import inference_to_bytes, training_to_bytes
from nrc_tracer.nn.training_counters import TrainingCounters

MIN_REFLECTANCE = 0.01
"""Smallest reflectance that radiance is divided by: a black surface has none."""

OTHER_LIGHT = 2.0
"""Factor between target and predicted brightness beyond which a change of the light counts as a change of all light."""

MARGIN = 0.01
"""Margin around the scene on each side of the cache's cube, as a fraction of the scene's largest extent."""


class RadianceCache:
    """A network for scattered radiance, trained while it is used.

    Its predictions are output x gain x reflectance: see `predict`. The network is made when a renderer first uses the cache, as
    it depends on where the scene is.

    Args:
        options: All options; or some of them by name, as `CacheOptions` has them.

    Attributes:
        options: The options.
        low: Lower corner of the cube that positions are mapped from, float64 [3] [scene units].
        size: Edge of the cube [scene units].
        gain: Radiance predicted for an output of 1 and a reflectance of 1; 0 until the cache has seen light. It comes from the
            first targets and is kept, as the weights belong to it.
        scale: Radiance that the loss takes for 1. It may change without a change of the predictions.
        state: What the cache has done so far.

    Raises:
        CacheError: An option is unknown or out of range.
    """

    def __init__(self, options: CacheOptions | None = None, **settings: Any) -> None:
        if options is not None and settings:
            raise CacheError("either options or settings by name, not both")
        self.options = options or _options(settings)
        self.low, self.size = np.zeros(3), 1.0
        self.gain = self.scale = 0.0
        self.state = CacheState()
        self._network: Network | None = None
        self._file: CacheFile | None = None  # what `load` has read, until a renderer uses it

    # Life

    def begin(
        self, low: ArrayLike, high: ArrayLike, *, device: str | torch.device, threads: int | None, seed: int
    ) -> bool:
        """Make the network for a scene, unless there is one already whose cube holds the scene.

        Args:
            low, high: Corners of the scene's bounding box [scene units].
            device: Torch device.
            threads: Threads on the CPU; one per core for None.
            seed: Seed of the initial weights.

        Returns:
            Whether the cache keeps what it has learnt.

        Raises:
            ConfigError, CacheError: The configuration is not one of a cache, or the cache is on another device.
            DeviceError: The device or the backend is not available.
        """
        if self._file is not None:
            self._network, self._file = self._load_network(self._file, device, threads), None
        if self._network is not None and self._holds(low, high):
            if self.model.device != find_torch_device(device):
                raise CacheError(
                    f"the cache is on {self.model.device}; save it, and load it for a renderer on {device}"
                )
            return True
        self._enclose(low, high)
        config, precision = network_config(self.options, self.size), self.options.precision
        self._network = Network.build(
            self.options, config, device=device, threads=threads, seed=seed, precision=precision
        )
        self.gain = self.scale = 0.0
        self.state = CacheState()
        return False

    def _holds(self, low: ArrayLike, high: ArrayLike) -> bool:
        """Whether the cache's cube holds a scene with these corners."""
        return bool(np.all(np.asarray(low) >= self.low) and np.all(np.asarray(high) <= self.low + self.size))

    def _enclose(self, low: ArrayLike, high: ArrayLike) -> None:
        """Take the cube around a scene with these corners."""
        low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        extent = float(np.max(high - low)) or 1.0
        self.size = extent * (1.0 + 2.0 * MARGIN)
        self.low = 0.5 * (low + high) - 0.5 * self.size

    def look_from(self, eye: ArrayLike) -> None:
        """Take note of the camera's position [scene units], before an image; a network does not depend on it."""

    @property
    def is_begun(self) -> bool:
        """Whether a renderer has used the cache, so that it has a network."""
        return self._network is not None

    @property
    def model(self) -> Model:
        """The network. Raises `CacheError` before `begin`."""
        return self._begun().model

    @property
    def trainer(self) -> Trainer:
        """The network's training. Raises `CacheError` before `begin`."""
        return self._begun().trainer

    def _begun(self, name: str = "") -> Network:
        if self._network is None:
            raise CacheError(f"{name}the cache has not been used yet; render with it first")
        return self._network

    @property
    def is_trained(self) -> bool:
        """Whether the cache has taken a training step."""
        return self.is_begun and self.trainer.steps > 0

    def numbers(self) -> dict[str, Any]:
        """Statistics of the network for reports, as JSON data."""
        trainer = self.trainer
        return {
            "encoding": self.options.encoding,
            "training_steps": trainer.steps,
            "skipped_steps": trainer.skipped_steps,
        }

    def identity(self) -> dict[str, Any]:
        """The properties of the network that determine an image's bits, besides the options."""
        return {"precision": self.model.precision, "form": self.model.form}

    def load_kernels(self) -> None:
        """Load the network's kernels, compiling them on the first run, by a step of another network with its configuration."""
        other = self._begun().like_new(self.options)
        features = torch.full((64, other.model.n_input_dims), 0.5, device=other.model.device)
        target = torch.ones(64, other.model.n_output_dims, device=other.model.device)
        other.trainer.step(features, target, factor=target)
        other.model(features)

    # Use

    def predict(self, features: Tensor, *, trained: bool = False, count: Tensor | None = None) -> Tensor:
        """Predict the radiance scattered at vertices, [N, 3], float32, at least 0; NaN where the network has diverged.

        Args:
            features: Features of the vertices, float32 [N, FEATURES].
            trained: Predict with the trained weights instead of their average.
            count: Number of vertices to predict, as in `Model`; all unless given.
        """
        averaged = self.options.average and not trained
        output = self.model(features, averaged=averaged, count=count)
        return torch.clamp_min(output, 0.0) * (self.gain * self._reflectance(features))

    def _reflectance(self, features: Tensor) -> Tensor:
        """The factor of the network's output in addition to the gain: max(alpha + beta, MIN_REFLECTANCE), [N, 3]."""
        if not self.options.factorize:
            return torch.ones_like(features[:, DIFFUSE])
        return (features[:, DIFFUSE] + features[:, SPECULAR]).clamp_min_(MIN_REFLECTANCE)

    def measure_scale(self, features: Tensor, targets: Tensor) -> None:
        """Take the scale, and the gain if there is none, from unbiased targets; targets without light change nothing."""
        if not len(targets):
            return
        mean = float(targets.mean(dtype=torch.float64))
        if not (math.isfinite(mean) and mean > 0.0):
            return
        self.scale = mean / float(self._reflectance(features).mean(dtype=torch.float64))
        if self.gain == 0.0:
            self.gain = self.scale

    def follow_brightness(self, features: Tensor, targets: Tensor) -> None:
        """After a change of the light, rescale all predictions if unbiased targets have another brightness altogether.

        Steps of the optimizer take long over a factor of a thousand. Factors up to `OTHER_LIGHT` are left to them: there, one
        light may have changed and another stayed.
        """
        predicted, found = (float(x.mean(dtype=torch.float64)) for x in (self.predict(features), targets))
        if not (math.isfinite(predicted) and math.isfinite(found) and predicted > 0.0 and found > 0.0):
            return
        if not 1.0 / OTHER_LIGHT <= found / predicted <= OTHER_LIGHT:
            self.gain *= found / predicted

    # Training

    def train(self, features: Tensor, targets: Tensor, *, records: int, steps: int, seed: int) -> float:
        """Train for one frame, on records in a random order.

        The network follows the noise of its targets, which adds an error; so the learning rate falls from frame to
        frame. `learn_anew` sets it back.

        Args:
            features: Features of the records, float32 [N, FEATURES].
            targets: Radiance scattered there, float32 [N, 3], finite.
            records: Largest number of records to use.
            steps: Steps of the optimizer that they are divided into.
            seed: Seed of the order.

        Returns:
            The mean loss.
        """
        # Until the cache has seen light it predicts darkness, and there is no scale to train with
        if self.gain == 0.0 or not len(targets):
            return 0.0
        self.begin_training_frame()
        order = shuffle(len(targets), seed)[:records].to(features.device)
        features, targets = features.index_select(0, order), targets.index_select(0, order)
        sizes = [len(part) for part in torch.tensor_split(order, min(steps, len(order)))]
        factor = self._reflectance(features) * (self.gain / self.scale)
        return float(self.trainer.take_steps(features, targets / self.scale, sizes, factor=factor).mean())

    def begin_training_frame(self) -> None:
        """Set the learning rate of the next training frame."""
        step, decay_frames = self.state.learning_rate_step, self.options.decay_frames
        self.state = replace(self.state, learning_rate_step=step + 1)
        if decay_frames is not None:
            network = self._begun()
            network.trainer.learning_rate = network.learning_rate * learning_rate_factor(step, decay_frames)

    def take_step(self, features: Tensor, targets: Tensor) -> Tensor:
        """Take a step of the optimizer; see `train`. Returns the loss before the step, 0-d."""
        factor = self._reflectance(features) * (self.gain / self.scale)
        return self.trainer.step(features, targets / self.scale, factor=factor)

    def learn_anew(self) -> None:
        """Learn as quickly as at first, after a change of the scene.

        Training continues from the average of the weights. The optimizer's moments and the average start over: in the average,
        what was right before the change would last for a hundred steps.
        """
        self.state = replace(self.state, learning_rate_step=0)
        if self._network is None:
            return
        before = self.trainer
        self.model.params.copy_(self.model.inference_params)
        self._network = self._network.with_new_training(self.options)
        self.trainer.counters = TrainingCounters(self.trainer.loss_scale, before.steps, before.skipped_steps)

    # Files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what the cache has learnt, and all it needs to continue learning, to a file for `load`.

        Raises:
            CacheError: The cache has not been used yet.
            SnapshotError: The file cannot be written.
        """
        return save_training(self._begun(f"{path}: not written: ").trainer, path, metadata=self._metadata(None))

    def to_bytes(self, image: ImageState | None = None, extra: Mapping[str, Tensor] | None = None) -> bytes:
        """The contents of the file that `save` writes, with the state of an image and further tensors if they are given.

        Raises:
            CacheError: The cache has not been used yet.
            SnapshotError: The weights are not finite.
        """
        return training_to_bytes(self.trainer, IN_MEMORY, extra=extra, metadata=self._metadata(image))

    def inference_bytes(self, image: ImageState) -> bytes:
        """All that predictions need, with the state of an image, for `restore` with `training=False`.

        That is one number per parameter: a seventh of `to_bytes` with the usual optimizer.

        Raises:
            CacheError: The cache has not been used yet.
            SnapshotError: The weights are not finite.
        """
        averaged = self.options.average
        return inference_to_bytes(self.model, IN_MEMORY, averaged=averaged, metadata=self._metadata(image))

    def _metadata(self, image: ImageState | None) -> dict[str, Any]:
        metadata = CacheMetadata(
            options=self.options,
            low=(float(self.low[0]), float(self.low[1]), float(self.low[2])),
            size=float(self.size),
            gain=self.gain,
            scale=self.scale,
            state=self.state,
            image=image,
        )
        return msgspec.to_builtins(metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **settings: Any) -> RadianceCache:
        """Read a cache from a file; `settings` replace options that it was saved with.

        Raises:
            CacheError, SnapshotError: The file cannot be read or is not one of a cache; or a setting belongs to the network,
                which is that of the file.
        """
        for name in ("encoding", "config", "feature_size"):
            if name in settings:
                raise CacheError(f"{path}: its {name} must be the one that it was saved with")
        cache, file = cls(), read_cache_file(Path(path))
        cache._take_over(file.metadata)
        if settings:
            cache.options = _options({**msgspec.structs.asdict(cache.options), **settings})
        cache._file = file
        return cache

    def read_bytes(self, data: bytes) -> StoredCache:
        """Read what `to_bytes` has written. Raises `CacheError` or `SnapshotError`."""
        return read_cache_file(SnapshotBytes(IN_MEMORY, data))

    def restore(
        self, file: StoredCache, *, device: str | torch.device, threads: int | None, training: bool = True
    ) -> None:
        """Continue from a cache with the same options, to the same bits; on an error nothing has changed.

        Args:
            file: The cache.
            device: Torch device.
            threads: Threads on the CPU; one per core for None.
            training: Whether the file has the state of the training, so that the cache can continue to learn.

        Raises:
            SnapshotError: The training of its network is damaged.
            CacheError: It is a cache of another kind.
        """
        if not isinstance(file, CacheFile):
            raise CacheError("radiance cache: its network is missing")
        self._network, self._file = self._load_network(file, device, threads, training=training), None
        self._take_over(file.metadata)

    def _take_over(self, metadata: CacheMetadata) -> None:
        self.options, self.state = metadata.options, metadata.state
        self.low, self.size = np.array(metadata.low, np.float64), metadata.size
        self.gain, self.scale = metadata.gain, metadata.scale

    def _load_network(
        self, file: CacheFile, device: str | torch.device, threads: int | None, *, training: bool = True
    ) -> Network:
        snapshot, precision = file.snapshot, self.options.precision
        if precision == "auto" and not self.options.fused:
            precision = snapshot.precision
        network = Network.build(
            self.options,
            snapshot.config,
            device=device,
            threads=threads,
            seed=snapshot.seed,
            precision=precision,
            form=snapshot.form_with(precision, device),
        )
        if training:
            load_training(network.trainer, file.source)
        else:
            network.model.set_params(snapshot.params)
            network.model.set_average(None)
        return network


def _options(settings: Mapping[str, Any]) -> CacheOptions:
    """The options with the given names and values. Raises `CacheError` for an unknown name."""
    unknown = set(settings) - set(CacheOptions.__struct_fields__)
    if unknown:
        raise CacheError(f"a cache has no setting {sorted(unknown)[0]!r}")
    return CacheOptions(**settings)


def shuffle(count: int, seed: int) -> Tensor:
    """A random order of 0 .. count - 1, int64 [count], on the CPU: the same for the same seed on every machine."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed % 2**63))
