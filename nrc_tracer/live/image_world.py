"""An image as a world: the fitted image, its source, and their difference, from the whole down to single pixels.

The image hangs in the plane z = 0, with x to the right and y up, and its longer side is `LONG_SIDE`. A camera sees the rectangle
around the point where its axis meets the plane, as large as its distance and its field of view make it. Its rotation is ignored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from nrc_tracer.errors import NrcError
from nrc_tracer.imaging.tonemap import tone_map
from nrc_tracer.live.picture import Statistic
from nrc_tracer.live.refinement import Painter
from nrc_tracer.live.sight import Sight, camera_at
from nrc_tracer.live.task_world import TaskWorld, displayed
from nrc_tracer.live.view import View
from nrc_tracer.tasks.image.fit import ImageTask
from nrc_tracer.tasks.image.neural_image import NeuralImage
from nrc_tracer.tasks.image.pixels import Space, default_space, to_linear, to_space, to_srgb
from nrc_tracer.tasks.image.prediction import predict
from nrc_tracer.tasks.image.source import Source
from nrc_tracer.tasks.training import Training

LONG_SIDE = 1000.0
"""Longer side of the image in the coordinates of cameras."""

FOV = 45.0
"""Vertical field of view of the first camera [degrees]."""

START_SIZE = 1280, 720
"""Size of the first view [pixels], before a page tells the size of its window."""

ROOM = 1.04
"""Size of what the first camera sees, in sizes of the image."""

BESIDE = 0.12
"""Grey in sRGB beside the image."""

ERROR_GAIN = 8.0
"""Factor of the differences that the layer `error` shows."""

FIT, SOURCE, ERROR = "fit", "source", "error"
"""Labels of what is shown."""


class ImageWorld(TaskWorld):
    """A fitted image, an image in training, or an image without a model.

    Args:
        image: The fitted image; None to show the source alone.
        source: The image's pixels, if they are known.
        training: The training.
        watch: As for `TaskWorld`.

    Raises:
        NrcError: There is neither a model nor a source.
    """

    def __init__(
        self,
        image: NeuralImage | None,
        source: Source | None = None,
        training: Training | None = None,
        *,
        watch: Callable[[], bool] = lambda: False,
    ) -> None:
        self.image, self.source = image, source
        self.space: Space
        if image is not None:
            self.width, self.height, self.space = image.width, image.height, image.space
        elif source is not None:
            self.width, self.height, self.space = source.width, source.height, default_space(source.linear)
        else:
            raise NrcError("there is neither a fitted image nor a source to show")
        labels: dict[str, str | None] = {}
        if image is not None:
            labels[FIT] = None
        if source is not None:
            labels[SOURCE] = "source"
        if image is not None and source is not None:
            labels[ERROR] = "error"
        self.unit = LONG_SIDE / max(self.width, self.height)
        width, height = START_SIZE
        seen = ROOM * max(self.unit * self.height, self.unit * self.width * height / width)
        distance = 0.5 * seen / math.tan(math.radians(FOV) / 2.0)
        camera = camera_at(np.array([0.0, 0.0, distance]), np.zeros(3), np.array([0.0, 1.0, 0.0]), FOV)
        super().__init__(View(camera, width, height, layer=next(iter(labels.values()))), labels, training, watch=watch)

    @classmethod
    def of_task(cls, task: ImageTask, training: Training, watch: Callable[[], bool] = lambda: False) -> ImageWorld:
        """A task in training."""
        return cls(task.image, task.source, training, watch=watch)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of the image, in the coordinates of cameras."""
        corner = 0.5 * self.unit * np.array([self.width, self.height, 0.0])
        return -corner, corner

    # What is drawn

    def learns(self, layer: str | None) -> bool:
        return layer != "source"

    def painter(self, view: View, *, is_quick: bool) -> Painter:
        left, top, across, down = self.rectangle(view)
        layer = "source" if self.image is None else view.layer

        def paint(points: np.ndarray) -> np.ndarray:
            places = np.column_stack((left + across * points[:, 0], top + down * points[:, 1]))
            inside = np.all((places >= 0.0) & (places < (self.width, self.height)), axis=1)
            values = np.full((len(points), 4), BESIDE, np.float32)
            values[:, 3] = inside
            seen = places[inside]
            if layer == "error":
                found = np.abs(to_srgb(self._fit(seen), self.space) - to_srgb(self._source(seen), self.space))
                values[inside, :3] = np.minimum(ERROR_GAIN * found, 1.0)
            else:
                values[inside, :3] = self._source(seen) if layer == "source" else self._fit(seen)
            return values

        return paint

    def colors(self, view: View, values: np.ndarray) -> np.ndarray:
        if view.layer == "error":
            return values[:, :, :3]
        colors = to_srgb(values[:, :, :3], self.space)
        return np.where(values[:, :, 3:] > 0.5, colors, BESIDE)

    def exposed(self, view: View, values: np.ndarray) -> np.ndarray:
        if view.layer == "error" or self.space == "srgb":
            return displayed(self.colors(view, values), view)
        colors = tone_map(to_linear(values[:, :, :3], self.space), view.tone, view.exposure)
        return np.where(values[:, :, 3:] > 0.5, colors, BESIDE)

    def facts(self) -> Mapping[str, Statistic]:
        return {"image": Statistic(self.width * self.height / 1e6, f"megapixels ({self.width} × {self.height})")}

    def rectangle(self, view: View) -> tuple[float, float, float, float]:
        """Left, top, width and height of what a view shows, in pixels of the image."""
        sight = Sight(view)
        x, y, z = sight.origin
        # A camera that looks along the plane sees what is straight behind it
        distance = abs(z / sight.forward[2]) if abs(sight.forward[2]) > 0.05 else abs(z)
        center = sight.origin + distance * sight.forward
        if abs(sight.forward[2]) <= 0.05:
            center = np.array([x, y, 0.0])
        across = 2.0 * distance * sight.half_width / self.unit
        down = 2.0 * distance * sight.half_height / self.unit
        middle = 0.5 * self.width + center[0] / self.unit, 0.5 * self.height - center[1] / self.unit
        return middle[0] - 0.5 * across, middle[1] - 0.5 * down, across, down

    def _fit(self, places: np.ndarray) -> np.ndarray:
        assert self.image is not None
        inputs = torch.from_numpy((places / (self.width, self.height)).astype(np.float32))
        return predict(self.image.model, inputs) if len(inputs) else np.empty((0, 3), np.float32)

    def _source(self, places: np.ndarray) -> np.ndarray:
        assert self.source is not None
        columns, rows = places.astype(np.int64).T
        return to_space(self.source.at(columns, rows), linear=self.source.linear, space=self.space)
