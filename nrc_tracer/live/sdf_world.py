"""A fitted signed distance as a world: its shaded surface, its normals, slices of it, and the mesh beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.errors import NrcError
from nrc_tracer.imaging.tonemap import encode_srgb
from nrc_tracer.live.picture import Statistic
from nrc_tracer.live.refinement import Painter
from nrc_tracer.live.sight import Sight, camera_at
from nrc_tracer.live.task_edits import SetSlice
from nrc_tracer.live.task_world import TaskWorld
from nrc_tracer.live.view import View
from nrc_tracer.live.world import Edit
from nrc_tracer.tasks.sdf.fit import SdfTask
from nrc_tracer.tasks.sdf.mesh_field import MeshField
from nrc_tracer.tasks.sdf.rendering import FIELD_OF_VIEW, FITTING, DistanceField, Orbit, background, shade
from nrc_tracer.tasks.sdf.shape import NeuralShape
from nrc_tracer.tasks.sdf.sphere_tracing import enter_box, trace
from nrc_tracer.tasks.training import Training

START_SIZE = 1280, 720
"""Size of the first view [pixels], before a page tells the size of its window."""

EARLY = 8.0
"""Time of training up to which the shape is drawn without shadows [s]."""

CONTOUR = 0.025
"""Difference of the distance between two contour lines of a slice [unit cubes]."""

INSIDE, OUTSIDE = (0.95, 0.60, 0.25), (0.35, 0.60, 0.90)
"""sRGB colours of a slice where the distance is negative and positive."""

SHADED, NORMALS, SLICE, MESH = "shape", "normals", "slice of the distance", "mesh"
"""Labels of what is shown."""


class SdfWorld(TaskWorld):
    """A signed distance, fitted or in training.

    Args:
        shape: The shape.
        task: The task in training, which has the mesh; None for a fitted shape.
        training: Its training.
        watch: As for `TaskWorld`.
    """

    score_name = "IoU"
    score_unit = "%"
    first_steps = 40  # rays take far fewer steps to the surface of a shape than through random distances

    def __init__(
        self,
        shape: NeuralShape,
        task: SdfTask | None = None,
        training: Training | None = None,
        *,
        watch: Callable[[], bool] = lambda: False,
    ) -> None:
        self.shape, self._task = shape, task
        self._mesh: MeshField | None = None
        self._slice = SetSlice(2, 0.5)
        labels: dict[str, str | None] = {SHADED: None, NORMALS: "normals", SLICE: "slice"}
        if task is not None:
            labels[MESH] = "mesh"
        low, high = self.bounds
        middle, radius = 0.5 * (low + high), 0.5 * float(np.linalg.norm(high - low))
        back = FITTING * radius / math.sin(math.radians(FIELD_OF_VIEW) / 2.0)
        axes = Orbit().axes()
        camera = camera_at(middle + back * axes[2], middle, axes[1], FIELD_OF_VIEW)
        super().__init__(View(camera, *START_SIZE), labels, training, watch=watch)

    @classmethod
    def of_task(cls, task: SdfTask, training: Training, watch: Callable[[], bool] = lambda: False) -> SdfWorld:
        """A task in training."""
        return cls(task.shape, task, training, watch=watch)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of the mesh, in its own coordinates."""
        return self.shape.bounds[0], self.shape.bounds[1]

    # What is drawn

    def painted(self, layer: str | None) -> Hashable:
        return (layer, self._slice) if layer == "slice" else layer

    def learns(self, layer: str | None) -> bool:
        return layer != "mesh"

    def painter(self, view: View, *, is_quick: bool) -> Painter:
        is_quick = is_quick or self._is_early
        sight, shape = Sight(view), self.shape
        device = shape.device
        eye = ((sight.origin - shape.center) * shape.scale + 0.5).astype(np.float32)
        axes = np.stack((sight.right, sight.up, -sight.forward)).astype(np.float32)
        camera = torch.from_numpy(axes).to(device)
        origin = torch.from_numpy(eye).to(device)

        def paint(points: np.ndarray) -> np.ndarray:
            directions = torch.from_numpy(sight.directions(points).astype(np.float32)).to(device)
            origins = origin.expand_as(directions).contiguous()
            colors = background(torch.from_numpy(points[:, 1].astype(np.float32)).to(device))
            if view.layer == "slice":
                self._paint_slice(origins, directions, colors)
            elif view.layer == "normals":
                self._paint_normals(origins, directions, colors)
            elif view.layer == "mesh":
                mesh = self._mesh_field()
                hits = mesh.hits(origins, directions)
                shade(mesh, origins, directions, camera, colors, hits=hits, is_quick=is_quick)
            else:
                shade(shape, origins, directions, camera, colors, is_quick=is_quick)
            return colors.cpu().numpy()

        return paint

    @property
    def _is_early(self) -> bool:
        """Whether the training has just begun: shadows of early shapes take long, and the shape itself matters more."""
        return self.is_training and self.training is not None and self.training.progress.seconds < EARLY

    def colors(self, view: View, values: np.ndarray) -> np.ndarray:
        return encode_srgb(np.clip(values, 0.0, 1.0))

    def _paint_normals(self, origins: Tensor, directions: Tensor, colors: Tensor) -> None:
        hits = self._hits(self.shape, origins, directions)
        seen = torch.nonzero(torch.isfinite(hits)).flatten()
        if len(seen):
            normals = self.shape.normal(origins[seen] + hits[seen, None] * directions[seen])
            colors[seen] = _linear(0.5 + 0.5 * normals)

    def _paint_slice(self, origins: Tensor, directions: Tensor, colors: Tensor) -> None:
        """Paint the distance in a plane of the box, with contour lines, which are bold on the surface."""
        axis, box = self._slice.axis, self.shape.box
        level = float(box[0, axis] + self._slice.place * (box[1, axis] - box[0, axis]))
        along = directions[:, axis]
        t = (level - origins[:, axis]) / torch.where(along.abs() < 1e-9, torch.full_like(along, 1e-9), along)
        points = origins + t[:, None] * directions
        points[:, axis] = level
        low, high = (torch.tensor(corner, dtype=torch.float32, device=colors.device) for corner in box)
        inside = (t > 0.0) & ((points >= low - 1e-6) & (points <= high + 1e-6)).all(dim=1)
        seen = torch.nonzero(inside).flatten()
        if len(seen):
            distances = self.shape.distance(points[seen].clamp(0.0, 1.0).contiguous())
            colors[seen] = _linear(_slice_colors(distances))

    def _hits(self, shape: DistanceField, origins: Tensor, directions: Tensor) -> Tensor:
        low, high = (torch.tensor(corner, dtype=torch.float32, device=origins.device) for corner in shape.box)
        return trace(shape.distance, origins, directions, *enter_box(origins, directions, low, high))

    def _mesh_field(self) -> MeshField:
        if self._mesh is None:
            if self._task is None:
                raise NrcError("a fitted shape does not have its mesh; only a task in training has")
            self._mesh = MeshField(self._task.field, self._task.choice.method)
        return self._mesh

    # What pages show and change

    def written_score(self, score: float) -> float:
        return 100.0 * score

    def facts(self) -> Mapping[str, Statistic]:
        low, high = self.bounds
        return {"longest side": Statistic(float(np.max(high - low)), "units of the mesh")}

    def edit(self, edit: Edit) -> None:
        if isinstance(edit, SetSlice):
            self._slice = edit
        else:
            super().edit(edit)


def _slice_colors(distances: Tensor) -> Tensor:
    """sRGB colours of distances [N] in unit cubes, [N, 3]."""
    inside, outside = (torch.tensor(color, device=distances.device) for color in (INSIDE, OUTSIDE))
    colors = torch.where((distances < 0.0)[:, None], inside, outside)
    nearness = torch.exp(-6.0 * distances.abs())[:, None]
    phase = (distances / CONTOUR - torch.round(distances / CONTOUR)).abs()[:, None]
    lines = 1.0 - 0.35 * (phase < 0.06).float()
    surface = (distances.abs() < 0.06 * CONTOUR)[:, None]
    return torch.where(surface, torch.ones_like(colors), colors * (0.45 + 0.55 * nearness) * lines)


def _linear(colors: Tensor) -> Tensor:
    """sRGB as linear RGB."""
    curved = ((colors.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(colors <= 0.04045, colors / 12.92, curved)
