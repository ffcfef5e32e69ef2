"""A scene learnt from photographs, with their cameras."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import DataError, SnapshotError
from nrc_tracer.imaging.pixels import write_pixels
from nrc_tracer.imaging.tonemap import eight_bits
from nrc_tracer.scene.positions import stored_positions
from nrc_tracer.surfaces.surface_mesh import Isosurface, write_surface
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.camera_records import read_cameras
from nrc_tracer.tasks.nerf.mesh import DENSITY, RESOLUTION, extract_surface
from nrc_tracer.tasks.nerf.occupancy import OccupancyGrid
from nrc_tracer.tasks.nerf.rays import rays_of
from nrc_tracer.tasks.nerf.rendering import Volume
from nrc_tracer.tasks.nerf.space import Space
from nrc_tracer.tasks.task import read_task


@dataclass(frozen=True)
class RenderedView:
    """A rendered view of a learnt scene.

    Attributes:
        color: sRGB times alpha, float32 [height, width, 3].
        alpha: float32 [height, width].
        distance: Mean distance along the rays in the data's units, float32 [height, width]; 0 where nothing is seen.
    """

    color: np.ndarray
    alpha: np.ndarray
    distance: np.ndarray

    def pixels(self, background: float | None = 0.0) -> np.ndarray:
        """uint8 [height, width, 3] over a grey from 0 to 1, or with straight alpha, [height, width, 4], over None."""
        if background is not None:
            values = self.color + (1.0 - self.alpha)[:, :, None] * background
        else:
            straight = self.color / np.maximum(self.alpha, 1e-6)[:, :, None]
            values = np.concatenate([straight, self.alpha[:, :, None]], axis=2)
        return eight_bits(values)

    def save(self, path: str | os.PathLike[str], background: float | None = 0.0) -> Path:
        """Write the view as `.png` over a grey from 0 to 1, or with alpha over None. Raises `OutputError`."""
        write_pixels(Path(path), self.pixels(background))
        return Path(path)


@dataclass(frozen=True)
class NeuralScene:
    """A scene learnt from photographs: a radiance field, and the photographs' cameras.

        scene = nrc.tasks.load("room.safetensors")
        view = scene.view(scene.cameras["test"][0])
        view.save("view.png")

    Attributes:
        volume: The field with its occupancy grid, in unit-cube space.
        scale: Factor from the data's units to unit cubes.
        offset: Position of the data's origin in unit-cube space.
        has_alpha: Whether the photographs were transparent.
        names: Names of the photographs, by split: `train` and `test`.
        cameras: Their cameras, by split; those of `train` as they were corrected, if they were.
    """

    volume: Volume
    scale: float
    offset: tuple[float, float, float]
    has_alpha: bool
    names: dict[str, list[str]]
    cameras: dict[str, list[PhotoCamera]]

    def view(self, camera: PhotoCamera, progress: Callable[[int], None] | None = None) -> RenderedView:
        """Render the scene from a camera, in the data's coordinates.

        Args:
            camera: The camera, such as one of `cameras`, perhaps `scaled` or `placed` elsewhere.
            progress: Called with the number of rays done.
        """
        rays = rays_of(camera, self.scale, self.offset, self.volume.launcher)
        seen = self.volume.render(rays.origins, rays.directions, progress=progress)
        shape = (camera.height, camera.width)
        return RenderedView(
            seen.color.cpu().numpy().reshape(*shape, 3),
            seen.alpha.cpu().numpy().reshape(shape),
            seen.distance.cpu().numpy().reshape(shape) / np.float32(self.scale),
        )

    def surface(
        self,
        resolution: int = RESOLUTION,
        *,
        density: float = DENSITY,
        side: float = 1.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Isosurface:
        """The surface on which the field has a density, as a closed triangle mesh with colours, in the data's units.

        Args:
            resolution: Cells along each side of the meshed box.
            density: Density per unit cube, above 0.
            side: Side of the meshed box around the centre of the scene in unit cubes; at most the field's own.
            progress: See `nrc_tracer.surfaces.isosurface.extract`.

        Returns:
            The mesh; its attributes are linear RGB in [0, 1].

        Raises:
            DataError: There is no such surface, a number is out of range, or scikit-image is missing.
        """
        surface = extract_surface(self.volume, density=density, resolution=resolution, side=side, progress=progress)
        positions = (surface.positions.astype(np.float64) - np.asarray(self.offset)) / self.scale
        return replace(surface, positions=stored_positions(positions))

    def write_mesh(self, path: str | os.PathLike[str], resolution: int = RESOLUTION) -> Path:
        """Write the surface as a coloured mesh for other programs: `.ply`, `.obj`, `.glb` or `.stl`.

        Raises:
            DataError: There is no surface, or scikit-image or trimesh is missing.
            OutputError: The file cannot be written, or has another extension.
        """
        return write_surface(self.surface(resolution), Path(path))


def corrected_cameras(cameras: Sequence[PhotoCamera], poses: Tensor, scale: float) -> list[PhotoCamera]:
    """Cameras with the corrections of their poses, [N, 6], whose shifts are in unit cubes (see `RayTable.at`)."""
    corrections = poses.double().cpu().numpy()
    return [camera.corrected(pose[:3], pose[3:] / scale) for camera, pose in zip(cameras, corrections, strict=True)]


def load_neural_scene(
    path: str | os.PathLike[str], *, device: str | torch.device | None = None, threads: int | None = None
) -> NeuralScene:
    """Read a learnt scene from the snapshot of a fitted radiance field.

    Args:
        path: The snapshot.
        device: Torch device; CUDA if available, if None.
        threads: Threads on the CPU; one per core if None.

    Raises:
        SnapshotError: The snapshot cannot be read, or is of another task.
        DeviceError: There is no such device.
    """
    snapshot = read_task(path, "nerf")
    data = snapshot.metadata["nerf"]
    model = snapshot.model(device=find_torch_device(device), threads=threads)
    launcher = TorchLauncher(model.device, threads=threads)
    try:
        space = Space(data["aabb_scale"], float(data["near"]))
        scale = float(data["scale"])
        x, y, z = (float(value) for value in data["offset"])
        names: dict[str, list[str]] = {}
        cameras: dict[str, list[PhotoCamera]] = {}
        for split in ("train", "test"):
            names[split], cameras[split] = read_cameras(data["cameras"][split], str(Path(path)))
        thickness = snapshot.extra["occupancy"]
        if (poses := snapshot.extra.get("poses.values")) is not None:
            cameras["train"] = corrected_cameras(cameras["train"], poses, scale)
        grid = OccupancyGrid(space, launcher)
        grid.restore(thickness, int(data["occupancy_updates"]))
        volume = Volume(model, space, grid, launcher)
        return NeuralScene(volume, scale, (x, y, z), bool(data["has_alpha"]), names, cameras)
    except (KeyError, TypeError, ValueError, RuntimeError, DataError) as error:
        raise SnapshotError(f"{path}: not the snapshot of a radiance field, or damaged: {error}") from error
