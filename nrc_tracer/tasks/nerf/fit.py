"""Fitting a radiance field to photographs (Mueller et al. 2022, section 5.4 and appendix E)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.device.torch_launcher import TorchLauncher, single_threaded_torch
from nrc_tracer.errors import DataError, SnapshotError
from nrc_tracer.nn.backends.backend import Evaluate
from nrc_tracer.nn.losses import build_loss
from nrc_tracer.nn.model import Model
from nrc_tracer.nn.trainer import Trainer
from nrc_tracer.tasks.nerf.camera_records import record_cameras
from nrc_tracer.tasks.nerf.config import default_config
from nrc_tracer.tasks.nerf.evaluation import Evaluation, summary
from nrc_tracer.tasks.nerf.frusta import frusta
from nrc_tracer.tasks.nerf.marching import Samples
from nrc_tracer.tasks.nerf.neural_scene import NeuralScene, corrected_cameras
from nrc_tracer.tasks.nerf.occupancy import OccupancyGrid, Visits
from nrc_tracer.tasks.nerf.rays import PhotographRays, RayTable
from nrc_tracer.tasks.nerf.refinement import (
    GAIN_RATE,
    POSE_RATE,
    START,
    Corrected,
    by_view,
    exposed_loss,
    pose_gradient,
)
from nrc_tracer.tasks.nerf.rendering import Volume
from nrc_tracer.tasks.nerf.space import Space
from nrc_tracer.tasks.nerf.views import Views
from nrc_tracer.tasks.task import Task

BATCH = {"cpu": 1 << 14, "cuda": 1 << 18}
"""Visible samples per step, by type of device."""
MARCHED = 2
"""Most samples marched per step, in batches, to find those that are visible."""
LIMIT = 1024
"""Most samples of one ray."""
FEWEST_RAYS = 64
MOST_RAYS = {"cpu": 1 << 14, "cuda": 1 << 17}
"""Fewest and most rays per step."""
RAYS_ROUNDED = 16
"""The number of rays per step is a multiple of this."""
STEPS = {"cpu": 6000, "cuda": 35_000}
"""Number of steps if neither steps nor a time are given, by type of device."""
BACKGROUNDS = ("random", "black")
NEAR = 0.1
"""Distance from a camera at which its rays start, in unit cubes."""
VISITS = {"cpu": Visits(warm_up=((16, 4), (8, 2)), at_most=1 << 17, decay=0.6), "cuda": Visits()}
"""Updates of the occupancy grid, by type of device."""

MODULES = tuple(f"nrc_tracer.tasks.nerf.{name}" for name in ("marching", "compositing", "occupancy", "ray_kernels"))


@dataclass(frozen=True)
class NerfOptions:
    """How a radiance field is fitted.

    Attributes:
        near: Distance from a camera at which its rays start, in unit cubes.
        batch: Approximate number of visible samples per step; chosen for the device if None.
        visits: Updates of the occupancy grid; chosen for the device if None.
        background: Background of the scene in training. `random` is a random colour for each ray: transparent photographs are
            laid over it, and opaque ones must be explained by density. `black` may stand for whatever is black in a photograph.
        refine_poses: Correct the cameras during training, which makes a step about half as long again.
        refine_exposure: Correct the photographs' exposures, which must be opaque.
    """

    near: float = NEAR
    batch: int | None = None
    visits: Visits | None = None
    background: str = "random"
    refine_poses: bool = False
    refine_exposure: bool = False


class NerfTask(Task):
    """A radiance field in training.

    Args:
        views: The photographs.
        config: Configuration of model and training; see `nrc_tracer.tasks.nerf.config` for the default.
        options: How the field is fitted.
        device: Torch device; CUDA if available, if None.
        seed: Seed of everything random.
        threads: Threads on the CPU; one per core if None.

    Attributes:
        volume: The field with its occupancy grid.
        rays_per_step: Rays of the next step, adapted so that their samples fill the batch.

    Raises:
        ConfigError: The configuration cannot be read.
        DataError: The options do not fit the photographs, or these cannot be read.
        DeviceError: There is no such device.
    """

    kind = "nerf"
    modules = (*Task.modules, *MODULES)

    def __init__(
        self,
        views: Views,
        config: Any = None,
        *,
        options: NerfOptions | None = None,
        device: str | torch.device | None = None,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        self.views = views
        self.options = options or NerfOptions()
        self.seed = seed
        if self.options.background not in BACKGROUNDS:
            raise DataError(
                f"background: expected one of {', '.join(BACKGROUNDS)}, got {self.options.background!r:.40}"
            )
        if self.options.refine_exposure and views.has_alpha:
            raise DataError("exposure refinement: needs opaque photographs, but some of these are transparent")
        space = Space(views.aabb_scale, self.options.near)
        place = find_torch_device(device)
        if config is None:
            config = default_config(space.extent, on_cpu=place.type == "cpu")
        model = Model(6, 4, config, device=place, seed=seed, threads=threads)
        self.trainer = Trainer(model)
        self._loss = build_loss(self.trainer.config.loss)
        self.launcher = TorchLauncher(place, threads=threads)
        self.batch = self.options.batch or BATCH[place.type]
        self.visits = self.options.visits or VISITS[place.type]
        grid = OccupancyGrid(
            space, self.launcher, frusta([view.camera for view in views.train], views.scale, views.offset)
        )
        self.volume = Volume(model, space, grid, self.launcher)
        self.table = RayTable(views.train, views.scale, views.offset, device=place, threads=threads)
        self.evaluation = Evaluation(self.volume, views.test, views.scale, views.offset)
        self.rays_per_step = self._rounded(self.batch / 128.0)
        count = len(views.train)
        self.poses = Corrected.zeros(count, 6, place) if self.options.refine_poses else None
        self.gains = Corrected.zeros(count, 1, place) if self.options.refine_exposure else None

    def step(self) -> Tensor:
        with single_threaded_torch(self.launcher), torch.no_grad():
            return self._step()

    def _step(self) -> Tensor:
        device = self.launcher.torch_device
        model, volume = self.volume.model, self.volume
        if self.number % self.visits.every == 0:
            generator = self.generator(device, stream=1)
            volume.grid.update(lambda x: model.density(x, averaged=False), generator, self.visits)

        generator = self.generator(device)
        poses = None if self.poses is None else self.poses.values
        rays = self.table.sample(self.rays_per_step, generator, poses=poses)
        jitter = torch.rand(self.rays_per_step, generator=generator, device=device)
        # Use a random background, so that density which imitates the background cannot lower the loss
        background = torch.rand(self.rays_per_step, 3, generator=generator, device=device)
        if self.options.background == "black":
            background.zero_()
        most = max(MARCHED * self.batch, LIMIT)
        samples = volume.marcher.march(volume.grid.words, rays.origins, rays.directions, jitter, limit=LIMIT, most=most)
        # Drop samples behind surfaces, most of them once there are surfaces: their gradient is zero
        samples = volume.compositor.reached(samples, model.density(samples.x[:, :3].contiguous(), averaged=False))
        count = len(samples.rays)
        alpha = rays.colors[:count, 3:]
        background = background[:count]
        view = rays.view[:count].long()
        d_gain = torch.zeros(count, device=device)
        target = rays.colors[:count, :3] * alpha + background * (1.0 - alpha)

        def evaluate(raw: Tensor) -> tuple[Tensor, Tensor]:
            color, _, transmittance = volume.compositor.composite(samples, raw, count)
            shown = color + transmittance[:, None] * background
            if self.gains is None:
                loss, d_color = self._loss.evaluate(shown, target)
            else:
                loss, d_color, d_gain[:] = exposed_loss(self._loss, shown, self.gains.values[view, 0], target)
            d_transmittance = (d_color * background).sum(dim=1)
            return loss, volume.compositor.backward(samples, raw, color, transmittance, d_color, d_transmittance)

        share = len(samples) / max(count, 1)
        self.rays_per_step = self._rounded(min(self.batch / max(share, 1.0), 2.0 * self.rays_per_step))
        if not len(samples):
            # Count the step, so that the next one draws other rays and the grid is updated again
            self.trainer.skip()
            return torch.zeros((), device=device)
        if self.poses is not None and self.number >= START:
            self._correct_poses(self.poses, samples, rays, evaluate)
        loss = self.trainer.descend(samples.x, evaluate)
        if self.gains is not None and self.number > START:
            self.gains.step(by_view(d_gain[:, None], view, len(self.views.train)), GAIN_RATE)
            self.gains.values -= self.gains.values.mean()
        return loss

    def _correct_poses(self, poses: Corrected, samples: Samples, rays: PhotographRays, evaluate: Evaluate) -> None:
        """Take a step of the cameras' corrections."""
        model = self.volume.model
        with torch.enable_grad():
            x = samples.x.detach().requires_grad_()
            raw = model.apply(x, model.params.detach())
            _, d_raw = evaluate(raw.detach())
            # Scale the loss as in training, or the gradient of a mean over many rays would underflow in float16
            scale = self.trainer.loss_scale
            (d_x,) = torch.autograd.grad(raw, x, scale * d_raw)
        poses.step(
            pose_gradient(samples, d_x / scale, rays, self.volume.space.extent, len(self.views.train)), POSE_RATE
        )

    def _rounded(self, rays: float) -> int:
        most = MOST_RAYS[self.launcher.torch_device.type]
        return max(FEWEST_RAYS, min(most, round(rays / RAYS_ROUNDED) * RAYS_ROUNDED))

    def score(self) -> dict[str, float]:
        return self.evaluation.quick()

    def evaluate(self) -> dict[str, Any]:
        """PSNR in dB and SSIM over all pixels of the held-out views, by background if there are two."""
        return dict(summary(self.evaluation.full()))

    @property
    def scene(self) -> NeuralScene:
        """The scene as it has been learnt so far, with the cameras as they have been corrected so far."""
        views = self.views
        cameras = [view.camera for view in views.train]
        if self.poses is not None:
            cameras = corrected_cameras(cameras, self.poses.values, views.scale)
        return NeuralScene(
            self.volume,
            views.scale,
            views.offset,
            views.has_alpha,
            names={"train": [view.name for view in views.train], "test": [view.name for view in views.test]},
            cameras={"train": cameras, "test": [view.camera for view in views.test]},
        )

    # --- State

    def metadata(self) -> dict[str, Any]:
        grid = self.volume.grid
        return {
            "aabb_scale": self.views.aabb_scale,
            "scale": self.views.scale,
            "offset": list(self.views.offset),
            "near": self.options.near,
            "batch": self.batch,
            "background": self.options.background,
            "has_alpha": self.views.has_alpha,
            "split": self.views.split,
            "cameras": {"train": record_cameras(self.views.train), "test": record_cameras(self.views.test)},
            "rays_per_step": self.rays_per_step,
            "occupancy_updates": grid.updates,
            "corrections": {name: corrected.steps for name, corrected in self._corrections().items()},
        }

    def tensors(self) -> dict[str, Tensor]:
        tensors = {"occupancy": self.volume.grid.thickness}
        for name, corrected in self._corrections().items():
            tensors |= corrected.tensors(name)
        return tensors

    def _corrections(self) -> dict[str, Corrected]:
        both = {"poses": self.poses, "gains": self.gains}
        return {name: corrected for name, corrected in both.items() if corrected is not None}

    def check(self, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        ours = json.loads(json.dumps(self.metadata()))
        for name in ("aabb_scale", "scale", "offset", "near", "batch", "background", "has_alpha", "cameras"):
            if metadata.get(name) != ours[name]:
                words = (
                    "has other cameras" if name == "cameras" else f"has {name} {metadata.get(name)}, not {ours[name]}"
                )
                raise SnapshotError(f"the snapshot cannot be continued with these photographs: it {words}")
        own, thickness = self.volume.grid.thickness, tensors.get("occupancy")
        corrections = metadata.get("corrections")
        if not isinstance(corrections, dict) or set(corrections) != set(self._corrections()):
            raise SnapshotError("the snapshot was made with other corrections of poses and exposures")
        numbers = [metadata.get("rays_per_step"), metadata.get("occupancy_updates"), *corrections.values()]
        if thickness is None or thickness.shape != own.shape or not all(isinstance(n, int) for n in numbers):
            raise SnapshotError("the snapshot is damaged: its occupancy grid is missing or of another size")
        for name, corrected in self._corrections().items():
            corrected.check(name, tensors)

    def restore(self, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        for name, corrected in self._corrections().items():
            corrected.restore(name, metadata["corrections"][name], tensors)
        self.rays_per_step = metadata["rays_per_step"]
        self.volume.grid.restore(tensors["occupancy"], metadata["occupancy_updates"])
