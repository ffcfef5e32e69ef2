"""A radiance field out of a snapshot, with the cameras of its photographs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import DataError, SnapshotError
from nrc_tracer.imaging.tonemap import eight_bits
from nrc_tracer.tasks.nerf.camera import Camera
from nrc_tracer.tasks.nerf.camera_records import read_cameras
from nrc_tracer.tasks.nerf.occupancy import OccupancyGrid
from nrc_tracer.tasks.nerf.rays import rays_of
from nrc_tracer.tasks.nerf.rendering import Volume
from nrc_tracer.tasks.nerf.space import Space
from nrc_tracer.tasks.task import read_task


@dataclass(frozen=True)
class Picture:
    """A view of a field.

    Attributes:
        color: sRGB times alpha, float32 [height, width, 3].
        alpha: float32 [height, width].
        distance: Along the rays, in the units of the data, float32 [height, width]; 0 where nothing is.
    """

    color: np.ndarray
    alpha: np.ndarray
    distance: np.ndarray

    def pixels(self, background: float | None) -> np.ndarray:
        """uint8 [height, width, 3] over a grey from 0 to 1, or with straight alpha, [height, width, 4], for None."""
        if background is not None:
            values = self.color + (1.0 - self.alpha)[:, :, None] * background
        else:
            straight = self.color / np.maximum(self.alpha, 1e-6)[:, :, None]
            values = np.concatenate([straight, self.alpha[:, :, None]], axis=2)
        return eight_bits(values)


@dataclass(frozen=True)
class Field:
    """A fitted radiance field.

    Attributes:
        volume: The field.
        scale: From the data's units to unit-cube space.
        offset: Three numbers.
        has_alpha: Whether it was fitted to transparent photographs.
        names: Of the photographs: `train` and `test`.
        cameras: Likewise; those that were learnt from as they were corrected, if they were.
    """

    volume: Volume
    scale: float
    offset: tuple[float, float, float]
    has_alpha: bool
    names: dict[str, list[str]]
    cameras: dict[str, list[Camera]]

    def view(self, camera: Camera, progress: Callable[[int], None] | None = None) -> Picture:
        """What a camera sees."""
        rays = rays_of(camera, self.scale, self.offset, self.volume.launcher)
        seen = self.volume.render(rays.origins, rays.directions, progress=progress)
        shape = (camera.height, camera.width)
        return Picture(
            seen.color.cpu().numpy().reshape(*shape, 3),
            seen.alpha.cpu().numpy().reshape(shape),
            seen.distance.cpu().numpy().reshape(shape) / np.float32(self.scale),
        )


def load_field(
    path: str | os.PathLike[str], *, device: str | torch.device | None = None, threads: int | None = None
) -> Field:
    """Read a radiance field.

    Args:
        path: The snapshot of a `NerfTask`.
        device: Torch device; CUDA where there is one unless given.
        threads: Threads on the CPU; one per core unless given.

    Raises:
        SnapshotError: The snapshot cannot be read, or is of another task.
        DeviceError: No such device.
    """
    snapshot = read_task(path, "nerf")
    data = snapshot.metadata["nerf"]
    model = snapshot.model(device=find_torch_device(device), threads=threads)
    launcher = TorchLauncher(model.device, threads=threads)
    try:
        space = Space(data["aabb_scale"], float(data["near"]))
        scale, offset = float(data["scale"]), tuple(float(value) for value in data["offset"])
        names, cameras = {}, {}
        for split in ("train", "test"):
            names[split], cameras[split] = read_cameras(data["cameras"][split], str(Path(path)))
        thickness = snapshot.extra["occupancy"]
        if len(offset) != 3:
            raise ValueError(f"offset has {len(offset)} numbers")
        if (poses := snapshot.extra.get("poses.values")) is not None:
            corrections = poses.double().numpy()
            pairs = zip(cameras["train"], corrections, strict=True)
            cameras["train"] = [camera.corrected(pose[:3], pose[3:] / scale) for camera, pose in pairs]
        grid = OccupancyGrid(space, launcher)
        grid.restore(thickness, int(data["occupancy_updates"]))
        return Field(Volume(model, space, grid, launcher), scale, offset, bool(data["has_alpha"]), names, cameras)
    except (KeyError, TypeError, ValueError, RuntimeError, DataError) as error:
        raise SnapshotError(f"{path}: not the snapshot of a radiance field, or damaged: {error}") from error
