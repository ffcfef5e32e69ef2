"""Fitting a network to the signed distance of a mesh."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import ConfigError, SnapshotError
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.losses import TargetLoss
from nrc_tracer.nn.model import Model
from nrc_tracer.nn.trainer import Trainer
from nrc_tracer.tasks.sdf import metrics
from nrc_tracer.tasks.sdf.loss import LOSS
from nrc_tracer.tasks.sdf.mesh import UnitMesh
from nrc_tracer.tasks.sdf.samples import SamplePool
from nrc_tracer.tasks.sdf.shape import NeuralShape
from nrc_tracer.tasks.sdf.sign import choose_sign
from nrc_tracer.tasks.task import Task

STEPS = 11_000
BATCH = {"cpu": 2**14, "cuda": 2**18}
LEAST_BATCH = 64
CONFIG: dict[str, Any] = {
    "loss": {"otype": "MAPE"},
    "optimizer": {
        "otype": "Ema",
        "decay": 0.95,
        "nested": {
            "otype": "ExponentialDecay",
            "decay_base": 0.6,
            "decay_start": 1000,
            "decay_interval": 250,
            "decay_end": 2500,
            "nested": {
                "otype": "Adam",
                "learning_rate": 2e-3,
                "beta1": 0.9,
                "beta2": 0.99,
                "epsilon": 1e-15,
                "l2_reg": 1e-6,
            },
        },
    },
    "encoding": {
        "otype": "HashGrid",
        "n_levels": 16,
        "n_features_per_level": 2,
        "log2_hashmap_size": 19,
        "base_resolution": 16,
        "per_level_scale": 1.38191288,  # to 2048 at the finest level
    },
    "network": {
        "otype": "FullyFusedMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": 64,
        "n_hidden_layers": 2,
    },
}
"""The paper's model. Its learning rate, 1e-4, is reached after 2,500 steps: training starts at twenty times as much, so that a
shape is visible after a minute on a CPU."""


class SdfTask(Task):
    """A network that learns the signed distance to a mesh: position in the unit cube to distance in units of the cube.

    Args:
        mesh: The mesh.
        config: Configuration of model and training; `CONFIG` if None. In place of the loss MAPE, `loss.LOSS` is trained.
        batch: Samples per step; chosen for the device if None.
        sign: `normal`, `parity`, `winding` or `auto`; see `choose_sign`.
        device: Torch device; CUDA if available, if None.
        threads: Threads on the CPU; one per core if None.
        seed: Seed of parameters and samples.

    Attributes:
        mesh: The mesh that is learnt, with its triangles reversed if it was inside out.
        field: Distance to the mesh.
        sampler: Draws points of the mesh.
        choice: How the sign is found.

    Raises:
        ConfigError: A configuration cannot be read, or the batch is too small.
        DataError: The mesh encloses no volume.
        DeviceError: There is no such device.
    """

    kind: ClassVar[str] = "sdf"

    def __init__(
        self,
        mesh: UnitMesh,
        *,
        config: str | os.PathLike[str] | Mapping[str, Any] | configuration.ModelConfig | None = None,
        batch: int | None = None,
        sign: str = "auto",
        device: str | torch.device | None = None,
        threads: int | None = None,
        seed: int = 1337,
    ) -> None:
        resolved = find_torch_device(device)
        self.seed = seed
        self.batch = BATCH[resolved.type] if batch is None else batch
        if self.batch < LEAST_BATCH:
            raise ConfigError(f"batch: must be at least {LEAST_BATCH}, not {batch}")
        # In bfloat16 the error of distances is 10 to 25 % larger, as measured
        model = Model(
            3, 1, CONFIG if config is None else config, device=resolved, seed=seed, precision="float32", threads=threads
        )
        self.trainer = Trainer(model)
        self.field, self.sampler, self.choice = choose_sign(
            mesh, TorchLauncher(resolved, threads=threads), requested=sign
        )
        self.mesh = self.field.mesh
        self._pool = SamplePool(self.field, self.sampler, self.choice.method, batch=self.batch, seed=seed)

    @property
    def shape(self) -> NeuralShape:
        """The shape as it has been learnt so far."""
        return NeuralShape(self.trainer.model, self.metadata())

    @property
    def held_out_points(self) -> int:
        """Points in the box, and as many in the band, of the final scores."""
        return metrics.POINTS[self.choice.method]

    def step(self) -> Tensor:
        points, distances = self._pool.batch(self.number)
        if self.trainer.config.loss.otype != "MAPE":
            return self.trainer.step(points, distances)
        return self.trainer.descend(points, TargetLoss(LOSS, distances))

    def score(self) -> dict[str, float]:
        scores = self._held_out.scores(self.predict)
        return {name: scores[name] for name in ("iou", "mae")}

    def predict(self, points: Tensor) -> Tensor:
        """Distances [N] of points in the unit cube [N, 3], in unit cubes."""
        return self.trainer.model(points)[:, 0]

    def evaluate(self) -> dict[str, float]:
        """The scores of `HeldOut.scores` from many points."""
        count = self.held_out_points
        return metrics.held_out(self.field, self.sampler, self.choice.method, count).scores(self.predict)

    def evaluate_surface(self, resolution: int) -> dict[str, float]:
        """The scores of `surface_scores` of the extracted surface. Raises `DataError` if there is no surface."""
        return metrics.surface_scores(self.shape.surface(resolution, in_cube=True), self.field, self.sampler)

    def metadata(self) -> dict[str, Any]:
        return {
            "center": self.mesh.center.tolist(),
            "scale": self.mesh.scale,
            "bounds": self.mesh.bounds.tolist(),
            "mesh": self.mesh.name,
            "fingerprint": self.mesh.fingerprint,
            "sign": self.choice.method.name.lower(),
            "batch": self.batch,
        }

    def check(self, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        own = self.metadata()
        if metadata.get("fingerprint") != own["fingerprint"]:
            raise SnapshotError(
                f"the snapshot is of another mesh ({metadata.get('mesh')!s:.60}), not {own['mesh']}; leave out --resume to start "
                "again"
            )
        for name in ("sign", "batch"):
            if metadata.get(name) != own[name]:
                raise SnapshotError(
                    f"the snapshot was started with {name} {metadata.get(name)!s:.20}, not {own[name]}; resume with the same"
                )

    @cached_property
    def _held_out(self) -> metrics.HeldOut:
        return metrics.held_out(self.field, self.sampler, self.choice.method, metrics.QUICK)
