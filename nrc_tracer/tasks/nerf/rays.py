"""Rays of photographs: random ones for training, and those of whole views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import DataError
from nrc_tracer.scene.memory import available_memory
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.ray_kernels import Lens, ViewRecord, rays_of_pixels, rays_of_view
from nrc_tracer.tasks.nerf.views import View

MAX_PIXELS = 2**31 - 1
"""Most pixels of all photographs: kernels count in 32 bits."""
SHARE = 0.8
"""Fraction of the free memory that photographs may take."""


@dataclass(frozen=True, eq=False)
class Rays:
    """Rays in unit-cube space, u = position * scale + offset.

    Attributes:
        origins: float32 [N, 3].
        directions: Unit vectors, float32 [N, 3].
    """

    origins: Tensor
    directions: Tensor

    def __len__(self) -> int:
        return len(self.origins)


@dataclass(frozen=True, eq=False)
class PhotographRays(Rays):
    """Rays through pixels of photographs.

    Attributes:
        colors: sRGB and straight alpha in [0, 1], float32 [N, 4]; alpha is 1 for images without it.
        view: Number of the view in the table, int32 [N].
        pixels: Number of the pixel in the table, int32 [N].
        places: Point of the pixel that the ray passes through, in [0, 1]^2, float32 [N, 2].
    """

    colors: Tensor
    view: Tensor
    pixels: Tensor
    places: Tensor


class RayTable:
    """All pixels of a set of photographs in one array, and the rays through them.

    Args:
        views: The photographs.
        scale: Factor from the data's units to unit cubes.
        offset: Position of the data's origin in unit-cube space.
        device: Device that holds the pixels and makes the rays.
        threads: Threads on the CPU; one per core if None.

    Attributes:
        cameras: The views' cameras.
        count: Number of pixels that masks do not exclude.

    Raises:
        DataError: An image cannot be read, the images do not fit into memory, or masks exclude all pixels.
    """

    def __init__(
        self,
        views: Sequence[View],
        scale: float,
        offset: Sequence[float],
        device: str | torch.device = "cpu",
        threads: int | None = None,
    ) -> None:
        if not views:
            raise DataError("there are no photographs to take rays from")
        self._launcher = TorchLauncher(device, threads=threads)
        self.device = self._launcher.torch_device
        self.scale, self.offset = scale, tuple(offset)
        self.cameras = [view.camera for view in views]
        sizes = np.array([camera.width * camera.height for camera in self.cameras], np.int64)
        self._first = np.concatenate(([0], np.cumsum(sizes)))
        self._channels = 4 if any(view.has_alpha for view in views) else 3
        self._check_memory(len(views), any(view.mask_image is not None for view in views))
        self._records = wp.array(
            view_records(self.cameras, scale, offset), dtype=ViewRecord, device=self._launcher.device
        )
        self._firsts = torch.from_numpy(self._first[:-1].astype(np.int32)).to(self.device)
        self._table, self._allowed = self._load(views)
        self.count = int(self._first[-1]) if self._allowed is None else len(self._allowed)
        if self.count == 0:
            raise DataError(
                f"{views[0].name}: its mask and those of all other photographs leave no pixel to learn from"
            )
        self._no_poses = torch.zeros((1, 6), device=self.device)

    @property
    def bytes(self) -> int:
        """Memory in bytes of the pixels and, with masks, of the list of those that count."""
        allowed = 0 if self._allowed is None else self._allowed.nbytes
        return self._table.nbytes + allowed

    def _check_memory(self, images: int, masked: bool) -> None:
        pixels = int(self._first[-1])
        needed = pixels * (self._channels + (4 if masked else 0))
        remedy = "use fewer photographs, or smaller ones (with w, h, fl_x, fl_y, cx and cy scaled alike)"
        if pixels > MAX_PIXELS:
            raise DataError(
                f"the {images} photographs have {pixels:,} pixels, but at most {MAX_PIXELS:,} are possible: {remedy}"
            )
        free = torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else available_memory()
        if free is not None and needed > SHARE * free:
            raise DataError(
                f"the {images} photographs need {needed / 1e9:.3g} GB of memory, but {self.device} has {free / 1e9:.3g} GB free "
                f"(at most {SHARE:.0%} is used): {remedy}"
            )

    def _load(self, views: Sequence[View]) -> tuple[Tensor, Tensor | None]:
        """The pixels, uint8 [pixels, channels], and the numbers of those that count, int32, or None if all count."""
        table = torch.empty((int(self._first[-1]), self._channels), dtype=torch.uint8)
        counted: list[np.ndarray | None] = [None] * len(views)

        def load(index: int) -> None:
            pixels = views[index].pixels
            begin, end = int(self._first[index]), int(self._first[index + 1])
            rows = table[begin:end].numpy()
            rows[:, : pixels.shape[2]] = pixels.reshape(end - begin, -1)
            if pixels.shape[2] < self._channels:
                rows[:, 3] = 255
            mask = views[index].mask
            if mask is not None:
                counted[index] = (np.flatnonzero(mask) + begin).astype(np.int32)

        self._launcher.each(load, range(len(views)))
        allowed = None
        if any(numbers is not None for numbers in counted):
            every = [
                np.arange(self._first[i], self._first[i + 1], dtype=np.int32) if numbers is None else numbers
                for i, numbers in enumerate(counted)
            ]
            allowed = torch.from_numpy(np.concatenate(every)).to(self.device)
        return table.to(self.device), allowed

    def sample(
        self, n: int, generator: torch.Generator, *, poses: Tensor | None = None, jitter: bool = False
    ) -> PhotographRays:
        """Rays through pixels drawn uniformly, with replacement, from all pixels of all views that count.

        Args:
            n: Number of rays.
            generator: Source of random numbers, on any device.
            poses: Corrections of the cameras, as for `at`.
            jitter: Whether rays pass through random points of their pixels instead of the centres.
        """
        chosen = torch.randint(self.count, (n,), generator=generator, device=generator.device).to(self.device)
        pixels = chosen.to(torch.int32) if self._allowed is None else self._allowed[chosen]
        places = None
        if jitter:
            places = torch.rand((n, 2), generator=generator, device=generator.device).to(self.device)
        return self.at(pixels, places, poses=poses)

    def at(self, pixels: Tensor, places: Tensor | None = None, *, poses: Tensor | None = None) -> PhotographRays:
        """The rays and colours of pixels of the table.

        Args:
            pixels: Numbers of the pixels, int32 [N]: views one after the other, each row by row.
            places: Points of the pixels that rays pass through, in [0, 1]^2, float32 [N, 2]; the centres if None.
            poses: Corrections of the cameras, float32 [views, 6]: a rotation vector w in radians that turns the camera in place,
                and a translation t in unit cubes, both along the world's axes: d' = exp([w]) d, o' = o + t. So the gradient of a
                loss with respect to t is the sum over the view's rays of the gradient with respect to origins, and with respect
                to small w it is the sum of d x (gradient with respect to directions).
        """
        n = len(pixels)
        if places is None:
            places = torch.full((n, 2), 0.5, device=self.device)
        rays = PhotographRays(
            torch.empty((n, 3), device=self.device),
            torch.empty((n, 3), device=self.device),
            torch.empty((n, 4), device=self.device),
            torch.empty(n, dtype=torch.int32, device=self.device),
            pixels,
            places,
        )
        if n:
            if poses is not None and len(poses) != len(self.cameras):
                raise ValueError(f"poses: expected shape [{len(self.cameras)}, 6], got {list(poses.shape)}")
            corrections = self._no_poses if poses is None else poses.detach().contiguous()
            arguments = [
                self._records,
                as_warp(self._firsts),
                len(self.cameras),
                as_warp(self._table),
                self._channels,
                as_warp(pixels),
                as_warp(places),
                as_warp(corrections),
                int(poses is not None),
                *(as_warp(t) for t in (rays.origins, rays.directions, rays.colors, rays.view)),
            ]
            self._launcher.run(rays_of_pixels, n, lambda base: [base, *arguments])
        return rays

    def rays_of(self, camera: PhotoCamera, first_row: int = 0, rows: int | None = None, step: int = 1) -> Rays:
        """The rays of a camera in the same space; see `rays_of`."""
        return rays_of(camera, self.scale, self.offset, self._launcher, first_row=first_row, rows=rows, step=step)


def rays_of(
    camera: PhotoCamera,
    scale: float,
    offset: Sequence[float],
    launcher: TorchLauncher,
    *,
    first_row: int = 0,
    rows: int | None = None,
    step: int = 1,
) -> Rays:
    """Rays of a camera through the centres of pixels, row by row: of the pixels `image[first_row::step, ::step][:rows]`.

    Args:
        camera: The camera.
        scale: Factor from its units to unit cubes.
        offset: Position of its origin in unit-cube space.
        launcher: Launches the kernels.
        first_row: First row of pixels.
        rows: Most rows; all down to the bottom if None.
        step: Distance between rows and between columns, in pixels.
    """
    columns = -(-camera.width // step)
    count = max(0, -(-(camera.height - first_row) // step))
    count = count if rows is None else min(rows, count)
    device = launcher.torch_device
    rays = Rays(torch.empty((count * columns, 3), device=device), torch.empty((count * columns, 3), device=device))
    if len(rays):
        records = wp.array(view_records([camera], scale, offset), dtype=ViewRecord, device=launcher.device)
        arguments = [records, first_row, columns, step, as_warp(rays.origins), as_warp(rays.directions)]
        launcher.run(rays_of_view, len(rays), lambda base: [base, *arguments])
    return rays


def view_records(cameras: Sequence[PhotoCamera], scale: float, offset: Sequence[float]) -> np.ndarray:
    """Cameras as an array of `ViewRecord`s."""
    records: np.ndarray = np.zeros(len(cameras), dtype=ViewRecord.numpy_dtype())  # type: ignore[attr-defined]  # added by wp.struct
    for record, camera in zip(records, cameras, strict=True):
        record["width"] = camera.width
        record["lens"] = Lens[camera.model.upper()]
        record["focal"] = camera.fx, camera.fy
        record["center"] = camera.cx, camera.cy
        record["radial"], record["tangential"] = camera.distortion[:4], camera.distortion[4:]
        record["axes"] = camera.to_world[:, :3]
        record["origin"] = camera.position * scale + np.asarray(offset, np.float64)
    return records
