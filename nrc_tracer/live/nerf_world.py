"""A radiance field as a world: its pictures, distances and occupied cells, and the photographs that it is learnt from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import torch

from nrc_tracer.errors import NrcError
from nrc_tracer.imaging.tonemap import encode_srgb
from nrc_tracer.live.layers import layer_colors
from nrc_tracer.live.picture import Statistic
from nrc_tracer.live.refinement import Painter
from nrc_tracer.live.sight import Sight
from nrc_tracer.live.task_edits import ChoosePhotograph, Corner, SetCrop
from nrc_tracer.live.task_world import TaskWorld
from nrc_tracer.live.view import View
from nrc_tracer.live.world import Edit
from nrc_tracer.scene.model import Perspective
from nrc_tracer.tasks.nerf.camera import NO_DISTORTION, PhotoCamera
from nrc_tracer.tasks.nerf.compositing import MIN_TRANSMITTANCE
from nrc_tracer.tasks.nerf.crop import cropped_words
from nrc_tracer.tasks.nerf.fit import NerfTask
from nrc_tracer.tasks.nerf.neural_scene import NeuralScene
from nrc_tracer.tasks.nerf.rendering import Rendered, Volume
from nrc_tracer.tasks.nerf.scene_camera import scene_camera
from nrc_tracer.tasks.nerf.space import RESOLUTION
from nrc_tracer.tasks.nerf.views import View as Photograph
from nrc_tracer.tasks.nerf.views import Views
from nrc_tracer.tasks.task import Task
from nrc_tracer.tasks.training import Training

QUICK_TRANSMITTANCE = 0.05
"""Transmittance below which rays end while the camera moves. What is seen so far then counts as opaque."""

QUICK_STRIDE = 2
"""Steps of the rays' lattice between two samples while the camera moves."""

FOGGY, FOGGY_STRIDE = 0.6, 4
"""Fraction of occupied cells above which the field is still fog, which has no detail, and steps between two samples then."""

SCORE_COARSER = 2
"""Factor by which fewer pixels are compared in x and y, for the plotted score, than for the scores that `fit` prints."""

START_SIZE = 1280, 720
"""Size of the first view [pixels], before a page tells the size of its window."""

OUTSIDE = 0.12
"""Grey in sRGB where a photograph does not reach."""

FIELD, DEPTH, OCCUPANCY, PHOTOGRAPH, ERROR = "radiance field", "depth", "occupancy", "photograph", "error"
"""Labels of what is shown."""

ERROR_GAIN = 4.0
"""Factor of the differences that the layer `error` shows."""


class NerfWorld(TaskWorld):
    """A radiance field, fitted or in training, or photographs without a field.

    Args:
        scene: The field; None for photographs alone.
        photographs: The photographs, whose pixels are read when they are shown; those of the training come first.
        training: The training of the field.
        background: Grey behind the field in sRGB.
        options: As for `TaskWorld`.

    Raises:
        NrcError: There is neither a field nor a photograph.
    """

    def __init__(
        self,
        scene: NeuralScene | None,
        photographs: Sequence[Photograph] = (),
        training: Training | None = None,
        *,
        background: float = 0.0,
        scale: float | None = None,
        offset: tuple[float, float, float] | None = None,
        watch: Callable[[], bool] = lambda: False,
    ) -> None:
        self.scene, self.photographs = scene, tuple(photographs)
        if photographs:
            self.cameras = [photograph.camera for photograph in photographs]
            self.names = [photograph.name for photograph in photographs]
        elif scene is not None:
            self.cameras = [camera for split in ("train", "test") for camera in scene.cameras.get(split, [])]
            self.names = [name for split in ("train", "test") for name in scene.names.get(split, [])]
        else:
            raise NrcError("there is neither a radiance field nor a photograph to show")
        if not self.cameras:
            raise NrcError("the radiance field has no camera to begin with")
        self.scale = scene.scale if scene is not None else scale or 1.0
        self.offset = np.asarray(scene.offset if scene is not None else offset or (0.5, 0.5, 0.5))
        self.chosen = 0
        self._background = background
        self._crop: tuple[Corner, Corner] | None = None
        self._cropped: torch.Tensor | None = None
        self._pixels: tuple[int, np.ndarray] | None = None
        self._occupied: tuple[int, float] | None = None
        labels: dict[str, str | None] = {}
        if scene is not None:
            labels = {FIELD: None, DEPTH: "depth", OCCUPANCY: "occupancy"}
        if photographs:
            labels[PHOTOGRAPH] = "photograph"
            if scene is not None:
                labels[ERROR] = "error"
        start = View(page_camera(self.cameras[0]), *START_SIZE, layer=next(iter(labels.values())))
        super().__init__(start, labels, training, watch=watch)

    @classmethod
    def of_task(cls, task: NerfTask, training: Training, watch: Callable[[], bool] = lambda: False) -> NerfWorld:
        """A task in training."""
        views = task.views
        background = 1.0 if views.has_alpha else 0.0
        return cls(task.scene, (*views.train, *views.test), training, background=background, watch=watch)

    @classmethod
    def of_views(cls, views: Views) -> NerfWorld:
        """Photographs without a field."""
        return cls(None, views.all, scale=views.scale, offset=views.offset)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of the unit cube, in the data's coordinates."""
        return (np.zeros(3) - self.offset) / self.scale, (np.ones(3) - self.offset) / self.scale

    @property
    def extent(self) -> float:
        """Side of the field's box, in unit cubes."""
        return 1.0 if self.scene is None else float(self.scene.volume.space.extent)

    # What is drawn

    def painted(self, layer: str | None) -> Hashable:
        return {"depth": None}.get(layer or "", layer), self._crop, self.chosen

    def learns(self, layer: str | None) -> bool:
        return layer != "photograph"

    def painter(self, view: View, *, is_quick: bool) -> Painter:
        sight = Sight(view)
        if view.layer == "photograph" or self.scene is None:
            return self._photograph_painter(sight)
        if view.layer == "occupancy":
            return self._occupancy_painter(sight, self.scene.volume)
        field = self._field_painter(sight, self.scene.volume, is_quick)
        if view.layer != "error":
            return field
        photograph = self._photograph_painter(sight)

        def paint(points: np.ndarray) -> np.ndarray:
            shown, seen = photograph(points), field(points)
            seen = seen[:, :3] + (1.0 - seen[:, 3:4]) * np.float32(self._background)
            error = ERROR_GAIN * np.abs(seen - shown[:, :3])
            return np.where(shown[:, 3:] > 0.0, error, OUTSIDE).astype(np.float32)

        return paint

    def colors(self, view: View, values: np.ndarray) -> np.ndarray:
        if view.layer == "depth":
            return layer_colors("depth", np.where(values[:, :, 3] > 0.5, values[:, :, 4], 0.0))
        if values.shape[2] == 5:
            return values[:, :, :3] + (1.0 - values[:, :, 3:4]) * np.float32(self._background)
        return values[:, :, :3]

    def facts(self) -> Mapping[str, Statistic]:
        if self.scene is None:
            return {}
        return {"occupied": Statistic(100.0 * self._occupied_share(), "% of the cells")}

    def find_scores(self, task: Task) -> Mapping[str, float]:
        return task.evaluation.quick(SCORE_COARSER) if isinstance(task, NerfTask) else task.score()

    def _occupied_share(self) -> float:
        """Fraction of the cells that cameras see that are occupied; 1 before the first update of the grid."""
        if self.scene is None:
            return 0.0
        grid = self.scene.volume.grid
        if self._occupied is None or self._occupied[0] != grid.updates:
            self._occupied = grid.updates, grid.occupied_share() if grid.updates else 1.0
        return self._occupied[1]

    def _field_painter(self, sight: Sight, volume: Volume, is_quick: bool) -> Painter:
        words = self._words(volume)
        origin = self._unit(sight.origin)
        least = QUICK_TRANSMITTANCE if is_quick else MIN_TRANSMITTANCE
        stride = FOGGY_STRIDE if self._occupied_share() > FOGGY else QUICK_STRIDE if is_quick else 1

        def paint(points: np.ndarray) -> np.ndarray:
            origins, directions = _rays(volume, origin, sight.directions(points))
            seen = volume.render(origins, directions, words=words, least_transmittance=least, stride=stride)
            if is_quick:
                seen = _completed(seen)
            return torch.cat((seen.color, seen.alpha[:, None], seen.distance[:, None]), dim=1).cpu().numpy()

        return paint

    def _occupancy_painter(self, sight: Sight, volume: Volume) -> Painter:
        """The first occupied cell of each ray, in a colour of its own that is darker far away."""
        words = self._words(volume)
        origin = self._unit(sight.origin)

        def paint(points: np.ndarray) -> np.ndarray:
            origins, directions = _rays(volume, origin, sight.directions(points))
            jitter = torch.zeros(len(origins), device=origins.device)
            samples = volume.marcher.march(words, origins, directions, jitter, limit=1)
            rays = samples.rays[torch.diff(samples.ends, prepend=samples.ends.new_zeros(1)) > 0].long()
            places = (origins[rays] + samples.t[:, None] * directions[rays]).cpu().numpy()
            values = np.full((len(points), 3), self._background, np.float32)
            values[rays.cpu().numpy()] = cell_colors(places, samples.t.cpu().numpy(), volume.space.cascades)
            return values

        return paint

    def _photograph_painter(self, sight: Sight) -> Painter:
        """The chosen photograph, as seen from its own place in the directions of the view; alpha is 0 where it does not reach."""
        camera, pixels = self.cameras[self.chosen], self._photograph()

        def paint(points: np.ndarray) -> np.ndarray:
            found, depth = camera.project(camera.position + sight.directions(points))
            is_inside = (depth > 0.0) & np.all((found >= 0.0) & (found < (camera.width, camera.height)), axis=1)
            columns, rows = np.where(is_inside[:, None], found, 0.0).astype(np.int64).T
            values = np.full((len(points), 4), OUTSIDE, np.float32)
            values[:, 3] = is_inside
            values[is_inside, :3] = pixels[rows[is_inside], columns[is_inside]] * np.float32(1.0 / 255.0)
            return values

        return paint

    def _photograph(self) -> np.ndarray:
        """The pixels of the chosen photograph over the background, uint8 [height, width, 3]."""
        if self._pixels is None or self._pixels[0] != self.chosen:
            pixels = self.photographs[self.chosen].pixels
            if pixels.shape[2] == 4:
                alpha = pixels[:, :, 3:] / 255.0
                pixels = pixels[:, :, :3] * alpha + 255.0 * self._background * (1.0 - alpha)
            self._pixels = self.chosen, pixels.astype(np.uint8)
        return self._pixels[1]

    def _unit(self, point: np.ndarray) -> np.ndarray:
        """A point in unit-cube space."""
        return point * self.scale + self.offset

    def _words(self, volume: Volume) -> torch.Tensor:
        """Bits of the cells that are shown."""
        if self._crop is None:
            return volume.grid.words
        if self._cropped is None:
            self._cropped = cropped_words(volume.grid, *self._crop)
        return volume.grid.words & self._cropped

    # What pages change

    def edit(self, edit: Edit) -> None:
        if isinstance(edit, ChoosePhotograph):
            if not 0 <= edit.index < len(self.cameras):
                raise NrcError(f"there is no photograph {edit.index}: there are {len(self.cameras)}, counted from 0")
            self.chosen = edit.index
        elif isinstance(edit, SetCrop):
            half = 0.5 * self.extent
            is_whole = all(value <= 0.5 - half for value in edit.low) and all(
                value >= 0.5 + half for value in edit.high
            )
            self._crop, self._cropped = None if is_whole else (edit.low, edit.high), None
        else:
            super().edit(edit)


def page_camera(camera: PhotoCamera) -> Perspective:
    """A photograph's camera without distortion, and with its axis in the middle, as pages have them."""
    plain = dataclasses.replace(
        camera,
        model="pinhole",
        distortion=NO_DISTORTION,
        fx=camera.fy,
        cx=0.5 * camera.width,
        cy=0.5 * camera.height,
    )
    fov = 2.0 * math.degrees(math.atan(0.5 * camera.height / camera.fy))
    return Perspective(to_world=scene_camera(plain).to_world, fov=fov, fov_axis="y")


def cell_colors(places: np.ndarray, distances: np.ndarray, cascades: int) -> np.ndarray:
    """sRGB colours of occupied cells: by cascade, lighter and darker in turn, and darker far away.

    Args:
        places: Points in unit-cube space, [N, 3].
        distances: Their distances, [N].
        cascades: Number of cascades.
    """
    reach = np.abs(places - 0.5).max(axis=1)
    cascade = np.clip(np.ceil(np.log2(np.maximum(2.0 * reach, 1e-9))), 0, cascades - 1).astype(int)
    cells = np.floor((places - 0.5) * (RESOLUTION / 2.0**cascade)[:, None]).astype(int)
    colors = layer_colors("cells", cascade[:, None])[:, 0]
    light = np.where(cells.sum(axis=1) % 2 == 0, 1.0, 0.7)[:, None]
    return encode_srgb(np.clip(colors * light / (1.0 + 0.5 * distances[:, None]), 0.0, 1.0))


def _rays(volume: Volume, origin: np.ndarray, directions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    device = volume.launcher.torch_device
    both = torch.from_numpy(directions.astype(np.float32)).to(device)
    return torch.from_numpy(origin.astype(np.float32)).to(device).expand_as(both).contiguous(), both


def _completed(seen: Rendered) -> Rendered:
    """What rays have seen that ended early, as if it were opaque."""
    ended = seen.alpha > 1.0 - QUICK_TRANSMITTANCE
    factor = torch.where(ended, 1.0 / seen.alpha.clamp(min=1e-6), torch.ones_like(seen.alpha))
    return Rendered(
        seen.color * factor[:, None], torch.where(ended, torch.ones_like(seen.alpha), seen.alpha), seen.distance
    )
