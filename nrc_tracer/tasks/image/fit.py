"""Training a model that maps positions in an image to colours."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import DataError, SnapshotError
from nrc_tracer.imaging.metrics import decibels
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.model import Model, read_config
from nrc_tracer.nn.trainer import Trainer
from nrc_tracer.tasks.digests import digest64
from nrc_tracer.tasks.image import kernels, quality
from nrc_tracer.tasks.image.decode import ImageInfo
from nrc_tracer.tasks.image.memory import format_size
from nrc_tracer.tasks.image.model import RESERVED_BYTES, check_state, image_config, state_bytes
from nrc_tracer.tasks.image.neural_image import NeuralImage
from nrc_tracer.tasks.image.pixels import SPACES, Space, default_space
from nrc_tracer.tasks.image.sampling import MovingTiles, Places, WholeImage
from nrc_tracer.tasks.image.source import Source
from nrc_tracer.tasks.task import Task

BATCH = {"cpu": 2**14, "cuda": 2**18}
"""Samples per step, by type of device."""
LARGE_IMAGE, LARGE_BATCH = 2**24, 2**16
"""Number of pixels from which on an image has larger batches on the CPU, and samples per step of these batches: a step touches a
smaller fraction of a large table."""
STEPS = 10_000
"""Number of steps if neither steps nor a time are given."""
HELD_OUT = 2**16
"""Number of pixels that the score is estimated from during training."""
LEAST_POOL = 32 * 2**20
"""Smallest pool of moving tiles, in bytes."""
POOL_SHARE = 0.8
"""Fraction of the remaining memory that the pool of moving tiles takes."""


class ImageTask(Task):
    """An image in training.

    Args:
        source: The image.
        space: Colour space of training, `srgb` or `linear`; the image's own if None.
        config: tiny-cuda-nn's JSON of model and training; chosen from the image's size if None.
        batch: Samples per step, a power of two. If None: 2^18 on CUDA; on the CPU 2^14, or 2^16 for images of at least 2^24
            pixels.
        bilinear: Draw samples between pixels instead of at their centres.
        memory: Memory budget for parameters and pixels, in bytes. It decides the size of the table, and whether samples come from
            the whole image or from a moving set of its tiles. On CUDA the GPU's free memory decides the size of the table.
        device, threads, seed: As for `nrc_tracer.nn.Model`.

    Attributes:
        source: The image.
        space: Colour space of training.
        sampler: Draws the training samples.

    Raises:
        DataError: The image does not fit into the memory budget.
        ConfigError, DeviceError: As for `nrc_tracer.nn.Model`.
    """

    kind = "image"
    modules: ClassVar[tuple[str, ...]] = (*Task.modules, kernels.__name__)

    def __init__(
        self,
        source: Source,
        *,
        space: Space | None = None,
        config: str | os.PathLike[str] | Mapping[str, Any] | configuration.ModelConfig | None = None,
        batch: int | None = None,
        bilinear: bool = False,
        memory: int | None = None,
        device: str | torch.device | None = None,
        threads: int | None = None,
        seed: int = 1337,
    ) -> None:
        place = find_torch_device(device)
        self.source = source
        self.space: Space = space or default_space(source.linear)
        if self.space not in SPACES:
            raise DataError(f'space: unknown "{self.space}" (known: {", ".join(SPACES)})')
        self.bilinear = bilinear
        self.seed = seed
        if config is None:
            config = image_config(
                source.width,
                source.height,
                space=self.space,
                floating=source.linear,
                memory=state_memory(memory, place),
                device=place.type,
            )
        model_config = read_config(config, 2)
        if memory is not None:
            check_state(model_config, memory, place.type)
        model = Model(2, source.channels, model_config, device=place, threads=threads, seed=seed)
        self.trainer = Trainer(model)
        larger = LARGE_BATCH if source.pixels >= LARGE_IMAGE else 0
        self.batch = batch or max(BATCH[place.type], larger)
        self._host = TorchLauncher("cpu", threads=threads)
        self.sampler = self._sampler(memory, threads)
        self._held_out: Places | None = None

    def _sampler(self, memory: int | None, threads: int | None) -> WholeImage | MovingTiles:
        source, model = self.source, self.trainer.model
        room = math.inf
        if memory is not None:
            on_host = state_bytes(model.config, "cpu") if model.device.type == "cpu" else 0
            room = memory - RESERVED_BYTES - on_host
        if source.mapped is None or source.buffer_bytes <= room:
            on_device = model.device.type == "cuda" and _fits_gpu(source.buffer_bytes, model.device)
            launcher = TorchLauncher(model.device, threads=threads) if on_device else self._host
            source.read_ahead()
            return WholeImage(source, self.space, self.batch, launcher, bilinear=self.bilinear)
        if self.bilinear:
            raise DataError(
                f"{source.name}: {format_size(source.buffer_bytes)} of pixels do not fit into memory, and a moving set of tiles "
                "has no samples between pixels; leave out --bilinear or give a larger --memory"
            )
        pool = int(POOL_SHARE * room)
        if pool < LEAST_POOL:
            raise DataError(
                f"{source.name}: only {format_size(max(pool, 0))} are left for pixels besides the model, and at least "
                f"{format_size(LEAST_POOL)} are needed; give a larger --memory or a smaller table (log2_hashmap_size)"
            )
        return MovingTiles(source, self.space, self.batch, self._host, seed=self.seed, memory=pool)

    @property
    def image(self) -> NeuralImage:
        """The image as it has been learnt so far."""
        return NeuralImage(self.trainer.model, ImageInfo.of(self.source, self.space))

    @property
    def table(self) -> str:
        """The size of the grid's table, such as `T 2^15`."""
        encoding = self.trainer.model.config.encoding
        size = getattr(encoding, "log2_hashmap_size", None)
        return "" if size is None else f"T 2^{size}"

    @property
    def sampling(self) -> str:
        """How samples are drawn, in words."""
        if isinstance(self.sampler, MovingTiles):
            share = self.sampler.slots / len(self.sampler.rectangles)
            return f"moving set of {self.sampler.slots:,} tiles ({share:.0%} of the image)"
        return "stratified between pixels" if self.bilinear else "stratified over all pixels"

    def step(self) -> Tensor:
        x, target = self.sampler.draw(self.number, self._key())
        device = self.trainer.model.device
        return self.trainer.step(x.to(device, non_blocking=True), target.to(device, non_blocking=True))

    def _key(self) -> int:
        return int(torch.randint(2**62, (1,), generator=self.generator()))

    def score(self) -> dict[str, float]:
        """PSNR in dB over 65,536 pixels of the image, always the same ones."""
        places = self._places()
        model = self.trainer.model
        prediction = model(places.x.to(model.device)).cpu()
        if self.space == "srgb" or not self.source.linear:
            prediction = prediction.clamp(0.0, 1.0)
        error = float((prediction - places.target).double().square().mean())
        return {"psnr": decibels(error)}

    def evaluate(self) -> dict[str, Any]:
        """The scores of `quality.evaluate` over all pixels."""
        return quality.evaluate(self.trainer.model, self.source, self.space)

    def _places(self) -> Places:
        if self._held_out is None:
            generator = np.random.Generator(np.random.PCG64(digest64(f"held out/{self.seed}".encode())))
            size = (self.source.width, self.source.height)
            drawn = generator.integers(0, size, (HELD_OUT, 2), dtype=np.int32)
            drawn = drawn[np.lexsort((drawn[:, 0], drawn[:, 1]))]
            self._held_out = Places(self.source, self.space, self._host, np.ascontiguousarray(drawn))
        return self._held_out

    def metadata(self) -> dict[str, Any]:
        source = self.source
        found: dict[str, Any] = {
            "name": source.name,
            "width": source.width,
            "height": source.height,
            "channels": source.channels,
            "dtype": source.dtype.newbyteorder("=").name,
            "linear_source": source.linear,
            "space": self.space,
            "batch": self.batch,
            "bilinear": self.bilinear,
            "digest": f"{digest64(self._places().target.numpy().tobytes()):016x}",
        }
        if isinstance(self.sampler, MovingTiles):
            found["tiles"] = self.sampler.describe()
        return found

    def check(self, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        own = self.metadata()
        for key in sorted({*own, *metadata} - {"name"}):
            if metadata.get(key) != own.get(key):
                if key == "digest":
                    raise SnapshotError(f"the snapshot is of an image of other pixels than {own['name']}")
                hint = "; --memory decides them" if key == "tiles" else ""
                raise SnapshotError(
                    f"the snapshot was started with {key} {metadata.get(key)}, not {own.get(key)}{hint}; resume with the same"
                )


def state_memory(memory: int | None, device: torch.device) -> int | None:
    """Bytes free on the device that holds the model, or None without a limit."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory


def _fits_gpu(size: int, device: torch.device) -> bool:
    return size <= 0.4 * torch.cuda.mem_get_info(device)[0]
