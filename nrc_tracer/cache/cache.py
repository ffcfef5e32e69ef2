"""The radiance cache: a small network that says how much light a surface scatters towards a viewer.

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
from torch import Tensor

from nrc_tracer.cache.features import DIFFUSE, FEATURES, SPECULAR
from nrc_tracer.cache.network import network_config, start_at_one
from nrc_tracer.cache.options import CacheOptions
from nrc_tracer.cache.schedule import learning_rate_factor
from nrc_tracer.cache.state import CacheState
from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.errors import CacheError, ConfigError, NrcError, one_line
from nrc_tracer.nn import Model, Trainer, load_training, save_training
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.snapshot import read_snapshot
from nrc_tracer.nn.snapshot_format import SnapshotBytes
from nrc_tracer.nn.snapshot_writing import training_to_bytes
from nrc_tracer.nn.training_counters import TrainingCounters

MIN_REFLECTANCE = 0.01
"""Of what radiance is divided by: a black surface scatters nothing, and its reflectance must not be divided by."""

OTHER_LIGHT = 2.0
"""Factor of brightness beyond which a change of the light is taken for one of all light."""

MARGIN = 0.01
"""Of the cube around a scene, on each side, as a share of the scene's largest extent."""

_FORMAT = "nrc_tracer.cache"
_VERSION = 2
IN_MEMORY = "radiance cache"
"""Name of a cache's bytes in messages."""


class RadianceCache:
    """A network for the radiance that surfaces scatter, trained while it is used.

    The network gives radiance / (gain x reflectance): see `predict`. It is made when a renderer first uses the cache, as it needs
    to know where the scene is.

    Args:
        options: All settings; or some of them by name, as `CacheOptions` has them.

    Attributes:
        options: The settings.
        model: The network, or None before `begin`.
        trainer: Its optimizer, likewise.
        low: Lower corner of the cube in which positions are told apart, float64 [3].
        size: Its edge.
        gain: Radiance for which the network stands at an output of 1 and a reflectance of 1; 0 before there was any light. It
            comes from the first targets and stays, as other weights would belong to another.
        scale: Radiance that the loss takes for 1. It may change without a change of what the cache says.
        state: What it has been through.

    Raises:
        CacheError: A setting that is out of range.
    """

    def __init__(self, options: CacheOptions | None = None, **settings: Any) -> None:
        if options is not None and settings:
            raise CacheError("either options or settings by name, not both")
        self.options = options or _options(settings)
        self.model: Model | None = None
        self.trainer: Trainer | None = None
        self.low, self.size = np.zeros(3), 1.0
        self.gain = self.scale = 0.0
        self.state = CacheState()
        self._stored: Path | SnapshotBytes | None = None

    # Life

    def begin(self, low: np.ndarray, high: np.ndarray, *, device: str, threads: int | None, seed: int) -> bool:
        """Make the network for a scene, unless it is there already for one whose cube holds this one.

        Args:
            low, high: Corners of the scene's bounding box.
            device: Torch device.
            threads: Threads on the CPU.
            seed: Of the first parameters.

        Returns:
            Whether what was learnt before is still there.

        Raises:
            ConfigError, CacheError: The configuration is not one of a cache.
            DeviceError: The device or the backend cannot be had.
        """
        low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        self._restore(device, threads)
        fits = bool(np.all(low >= self.low) and np.all(high <= self.low + self.size))
        if self.model is not None and fits:
            if self.model.device != find_torch_device(device):
                raise CacheError(
                    f"the cache is on {self.model.device}; save it, and load it for a renderer on {device}"
                )
            return True
        extent = float(np.max(high - low)) or 1.0
        self.size = extent * (1.0 + 2.0 * MARGIN)
        self.low = 0.5 * (low + high) - 0.5 * self.size
        self._build(network_config(self.options, self.size), device, threads, seed, self.options.precision)
        self.gain = self.scale = 0.0
        self.state = CacheState()
        return False

    def _build(
        self,
        config: configuration.ModelConfig,
        device: str | torch.device,
        threads: int | None,
        seed: int,
        precision: str,
    ) -> Trainer:
        self.model = self._model(config, device, threads, seed, precision)
        self.trainer = self._trainer(self.model)
        self._learning_rate = self.trainer.learning_rate
        start_at_one(self.model)
        return self.trainer

    def _model(
        self, config: configuration.ModelConfig, device: Any, threads: int | None, seed: int, precision: str
    ) -> Model:
        return Model(
            FEATURES,
            3,
            config,
            device=device,
            threads=threads,
            seed=seed % 2**32,
            backend=self.options.backend,
            precision=precision,
            deterministic=self.options.deterministic,
            fused=self.options.fused,
        )

    def _trainer(self, model: Model) -> Trainer:
        try:
            return Trainer(model, capturable=self.options.fused)
        except ConfigError as error:
            raise CacheError(str(error).replace("capturable:", "fused:")) from error

    def load_kernels(self) -> None:
        """Load, and on a first run compile, the network's kernels, by a step of another one like it."""
        model = self._model(self.model.config, self.model.device, self.model.threads, 0, self.model.precision)
        features, target = torch.full((64, FEATURES), 0.5, device=model.device), torch.ones(64, 3, device=model.device)
        self._trainer(model).step(features, target, factor=target)
        model(features)

    @property
    def is_trained(self) -> bool:
        """Whether there is anything that it has learnt."""
        return self.trainer is not None and self.trainer.steps > 0

    # Use

    def predict(self, features: Tensor, *, trained: bool = False, count: Tensor | None = None) -> Tensor:
        """The radiance that vertices scatter, [N, 3], float32, at least 0; NaN where the network has broken.

        Args:
            features: float32 [N, FEATURES].
            trained: Answer by the weights that are trained instead of their average.
            count: Of how many of the vertices, as in `Model`.
        """
        averaged = self.options.average and not trained
        said = self.model(features, averaged=averaged, count=count)
        return torch.clamp_min(said, 0.0) * (self.gain * self._factor(features))

    def _factor(self, features: Tensor) -> Tensor:
        """What the network's output is multiplied by, beside the gain: max(alpha + beta, 0.01), [N, 3]."""
        if not self.options.factorize:
            return torch.ones_like(features[:, DIFFUSE])
        return (features[:, DIFFUSE] + features[:, SPECULAR]).clamp_min_(MIN_REFLECTANCE)

    def measure_scale(self, features: Tensor, targets: Tensor) -> None:
        """Take scale, and the gain if there is none, from unbiased targets; without light, leave them as they are."""
        if not len(targets):
            return
        mean = float(targets.mean(dtype=torch.float64))
        if not (math.isfinite(mean) and mean > 0.0):
            return
        self.scale = mean / float(self._factor(features).mean(dtype=torch.float64))
        if self.gain == 0.0:
            self.gain = self.scale

    def train(self, features: Tensor, targets: Tensor, *, records: int, steps: int, seed: int) -> float:
        """Train on records in a random order.

        The targets are noisy, and what the network follows of their noise is an error of its own; so the learning rate falls from
        one call to the next. `learn_anew` sets it back.

        Args:
            features: float32 [N, FEATURES].
            targets: The radiance scattered there, float32 [N, 3], finite.
            records: Records to use at most.
            steps: Into how many steps of the optimizer they are divided.
            seed: Of the order.

        Returns:
            The mean loss.
        """
        # While nothing has been seen of any light it is dark, which is what it says
        if self.gain == 0.0 or not len(targets):
            return 0.0
        self.begin_training_frame()
        order = shuffle(len(targets), seed)[:records].to(features.device)
        losses = [
            self.take_step(features.index_select(0, part), targets.index_select(0, part))
            for part in torch.tensor_split(order, min(steps, len(order)))
        ]
        return float(torch.stack(losses).mean())

    def begin_training_frame(self) -> None:
        """Set the learning rate of the next training frame."""
        step = self.state.learning_rate_step
        self.state = replace(self.state, learning_rate_step=step + 1)
        if self.options.decay_frames is not None:
            self.trainer.learning_rate = self._learning_rate * learning_rate_factor(step, self.options.decay_frames)

    def take_step(self, features: Tensor, targets: Tensor) -> Tensor:
        """Take a step of the optimizer; see `train`. Returns the loss before it, 0-d."""
        factor = self._factor(features) * (self.gain / self.scale)
        return self.trainer.step(features, targets / self.scale, factor=factor)

    def learn_anew(self) -> None:
        """Learn as quickly as in the beginning, after a change of what there is to learn.

        It goes on from the average of the weights. What the optimizer knows of their gradients, and the average itself, in which
        what was right before the change would last for a hundred steps, begin anew.
        """
        self.state = replace(self.state, learning_rate_step=0)
        if self.trainer is None:
            return
        before = self.trainer
        self.model.params.copy_(self.model.inference_params)
        self.trainer = self._trainer(self.model)
        self.trainer.counters = TrainingCounters(self.trainer.loss_scale, before.steps, before.skipped_steps)

    def follow_brightness(self, features: Tensor, targets: Tensor) -> None:
        """After a change of the light, multiply all that the cache says, if unbiased targets are of quite another brightness.

        Steps of the optimizer take long over a factor of a thousand. Smaller factors than `OTHER_LIGHT` are left to them: there
        one light may have gone and another stayed, and it is not all that has changed.
        """
        said, found = (float(x.mean(dtype=torch.float64)) for x in (self.predict(features), targets))
        if not (math.isfinite(said) and math.isfinite(found) and said > 0.0 and found > 0.0):
            return
        if not 1.0 / OTHER_LIGHT <= found / said <= OTHER_LIGHT:
            self.gain *= found / said

    # Files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what the cache has learnt, and all it needs to continue learning, to a file for `load`.

        Raises:
            CacheError: The cache has not been used yet.
            SnapshotError: The file cannot be written.
        """
        return save_training(self._begun_trainer(str(path)), path, metadata=self._metadata())

    def to_bytes(
        self, *, extra: Mapping[str, Tensor] | None = None, metadata: Mapping[str, Any] | None = None
    ) -> bytes:
        """The contents of the file that `save` writes, for `restore`.

        Args:
            extra: Tensors to store with it.
            metadata: JSON data to store with it.

        Raises:
            CacheError: The cache has not been used yet.
            SnapshotError: The weights are not finite.
        """
        about = {**self._metadata(), **(metadata or {})}
        return training_to_bytes(self._begun_trainer(IN_MEMORY), IN_MEMORY, extra=extra, metadata=about)

    def _begun_trainer(self, name: str) -> Trainer:
        if self.trainer is None:
            raise CacheError(f"{name}: not written, as the cache has not been used yet")
        return self.trainer

    def _metadata(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "options": msgspec.to_builtins(self.options),
            "low": self.low.tolist(),
            "size": self.size,
            "gain": self.gain,
            "scale": self.scale,
            "state": msgspec.to_builtins(self.state),
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str], **settings: Any) -> RadianceCache:
        """Read a cache from a file; `settings` replace options that it was saved with.

        Raises:
            CacheError, SnapshotError: The file cannot be read or is not one of a cache; or a setting belongs to the network,
                which is that of the file.
        """
        for name in ("encoding", "config", "feature_size"):
            if name in settings:
                raise CacheError(f"{path}: its {name} cannot be another than it was saved with")
        cache = cls()
        cache._read(Path(path), settings)
        return cache

    def restore(self, data: bytes, *, device: torch.device, threads: int | None) -> None:
        """Continue from the bytes of a cache with the same options, to the same bits.

        Raises:
            CacheError, SnapshotError: The bytes are damaged or not those of a cache.
        """
        self._read(SnapshotBytes(IN_MEMORY, data), {})
        self._restore(device, threads)

    def _read(self, source: Path | SnapshotBytes, settings: Mapping[str, Any]) -> None:
        """Take over all but the network."""
        snapshot = read_snapshot(source)
        name, about = snapshot.path, snapshot.metadata
        if about.get("format") != _FORMAT or snapshot.n_input_dims != FEATURES or snapshot.n_output_dims != 3:
            raise CacheError(f"{name}: a snapshot, but not of a radiance cache")
        version = about.get("version", 1)
        if isinstance(version, int) and version != _VERSION:
            age = "a newer release; upgrade nrc-tracer" if version > _VERSION else "an older release; train a new one"
            raise CacheError(f"{name}: a radiance cache of {age} (format {version}, this one reads {_VERSION})")
        try:
            options = msgspec.convert(about["options"], CacheOptions)
            low, size = np.array(about["low"], np.float64), float(about["size"])
            gain, scale = float(about["gain"]), float(about["scale"])
            state = msgspec.convert(about["state"], CacheState)
            if low.shape != (3,) or not np.isfinite([*low, size, gain, scale]).all() or size <= 0.0:
                raise ValueError("its cube or scale is impossible")
        except (NrcError, msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            raise CacheError(f"{name}: not a radiance cache, or damaged: {one_line(error)}") from error
        if settings:
            options = _options({**msgspec.structs.asdict(options), **settings})
        self.options, self.low, self.size, self.gain, self.scale = options, low, size, gain, scale
        self.state, self._stored = state, source

    def _restore(self, device: str | torch.device, threads: int | None) -> None:
        """Make the network of what was read."""
        if self._stored is None:
            return
        source, self._stored = self._stored, None
        snapshot = read_snapshot(source)
        precision = self.options.precision
        if precision == "auto" and not self.options.fused:
            precision = snapshot.precision
        load_training(self._build(snapshot.config, device, threads, snapshot.seed, precision), source)


def _options(settings: Mapping[str, Any]) -> CacheOptions:
    """Settings by name."""
    unknown = set(settings) - set(CacheOptions.__struct_fields__)
    if unknown:
        raise CacheError(f"there is no setting {sorted(unknown)[0]!r} of a cache")
    return CacheOptions(**settings)


def shuffle(count: int, seed: int) -> Tensor:
    """A random order of 0 .. count - 1, int64 [count], on the CPU: the same for the same seed on every machine."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed % 2**63))
