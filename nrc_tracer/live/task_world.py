"""A fitted model, or a task in training, as a world: what images, shapes and radiance fields have in common.

While the camera moves, a picture of the budget's size is painted. While the model trains and the camera rests, a picture is
painted now and then, as large as the measured speed allows. When nothing changes, the picture becomes finer (`Refinement`).
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nrc_tracer.errors import NrcError, nearest
from nrc_tracer.imaging.tonemap import decode_srgb, eight_bits, tone_map
from nrc_tracer.live.frames import Stages
from nrc_tracer.live.history import Curve
from nrc_tracer.live.picture import Picture, Statistic
from nrc_tracer.live.refinement import Painter, Refinement, Speed, pixel_points
from nrc_tracer.live.resolution import LEAST_PIXELS
from nrc_tracer.live.task_edits import Pause
from nrc_tracer.live.view import PictureMode, View
from nrc_tracer.live.world import Budget, Edit
from nrc_tracer.tasks.task import Task
from nrc_tracer.tasks.training import Training

SAMPLES = 16
"""Samples per pixel after which a still picture is complete."""

TRAINING_PICTURE = 0.02, 0.1, 0.5
"""Time that a picture takes while the model trains: a fraction of the training so far, at least and at most some seconds."""

MOVING_PICTURE = 0.24
"""Longest time that a picture takes while the camera moves, unless the frame rate allows more [s]. It is made smaller instead."""

SCORE_SHARE = 0.02
"""Largest fraction of the time of training that is spent on scores, while somebody looks."""

FIRST_SCORE = 8.0
"""Time of training before the first score [s]."""

FIRST_STEPS = 12
"""Number of steps before the first picture. Random models are slow to draw, and show nothing."""


@dataclass
class _Film:
    """The refined picture of a client, what it depends on, and the picture that was shown last."""

    key: Hashable = None
    refinement: Refinement | None = None
    shown: Picture | None = None


class TaskWorld(ABC):
    """A fitted model, or a task in training.

    Args:
        start: The first view.
        layers: What pages may show, by label: the name of a layer, or None for the picture itself.
        training: The training that `advance` continues; None for a model that is complete.
        watch: Called after each step of training; ends the training by returning True.
        now: The clock [s].

    Attributes:
        training: The training.
        loss: Loss over time.
        score: The score over time, in `score_unit`.
        score_name, score_unit: What is scored.
        first_steps: Number of steps before the first picture.
        error: The error that has ended the training, if one has.
        heard: Called on the session's thread when there is news of the training; may be replaced.
    """

    score_name: ClassVar[str] = "PSNR"
    score_unit: ClassVar[str] = "dB"
    first_steps: ClassVar[int] = FIRST_STEPS

    def __init__(
        self,
        start: View,
        layers: Mapping[str, str | None],
        training: Training | None = None,
        *,
        watch: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._start, self.labels, self.training, self._watch, self._now = start, dict(layers), training, watch, now
        self.loss, self.score = Curve(), Curve()
        self.heard: Callable[[], None] = lambda: None
        self.error: Exception | None = None
        self.is_paused = self._has_ended = False
        self._films: dict[str, _Film] = {}
        self._speeds: dict[tuple[str | None, bool], Speed] = {}
        self._version = 0
        self._last_score, self._score_seconds = 0.0, 0.0  # time of training, and time that the score took [s]
        self._is_watched = False

    # What models differ in

    @property
    @abstractmethod
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of what cameras orbit about, float64 [3] each."""

    @abstractmethod
    def painter(self, view: View, *, is_quick: bool) -> Painter:
        """A function that computes the values of points of a view's picture; `is_quick` while the camera moves."""

    @abstractmethod
    def colors(self, view: View, values: np.ndarray) -> np.ndarray:
        """sRGB colours [height, width, 3] for the values of a picture, [height, width, channels], float32."""

    def exposed(self, view: View, values: np.ndarray) -> np.ndarray:
        """The same with the exposure and the tone operator of the view."""
        return displayed(self.colors(view, values), view)

    def painted(self, layer: str | None) -> Hashable:
        """What a painter depends on other than the camera: layers with the same result share a picture's values."""
        return layer

    def learns(self, layer: str | None) -> bool:
        """Whether training changes what a layer shows."""
        return True

    def facts(self) -> Mapping[str, Statistic]:
        """More numbers for the page."""
        return {}

    # What sessions use

    @property
    def start(self) -> View:
        """The first view."""
        return self._start

    @property
    def modes(self) -> Sequence[PictureMode]:
        """Tasks have a single mode."""
        return (PictureMode.OFF,)

    @property
    def layers(self) -> Sequence[str]:
        """Names of the layers."""
        return tuple(name for name in self.labels.values() if name is not None)

    @property
    def is_training(self) -> bool:
        """Whether a training has steps left and is not paused."""
        return self.training is not None and not (self.is_paused or self.is_over)

    @property
    def is_over(self) -> bool:
        """Whether the training has reached its end, or was ended."""
        return self.training is None or self._has_ended or self.training.is_done

    def draw(self, client: str, view: View, budget: Budget) -> Picture | None:
        """Draw a frame for a client; None if it was interrupted, or needs more time. A complete picture is returned again.

        Raises:
            NrcError: There is no such layer.
        """
        if view.layer is not None and view.layer not in self.layers:
            raise NrcError(f'there is no layer "{view.layer}"{nearest(view.layer, self.layers)}')
        film = self._films.setdefault(client, _Film())
        stages = Stages()
        learns = self.is_training and self.learns(view.layer)
        self._is_watched = True
        if learns and self.training is not None and self.training.progress.steps < self.first_steps:
            return None
        if budget.is_moving or learns:
            film.refinement = film.key = None
            picture = self._whole(view, budget, stages)
        else:
            picture = self._refined(film, view, budget, stages)
        film.shown = picture or film.shown
        return picture

    def advance(self, seconds: float) -> None:
        """Train for about this long [s]."""
        training = self.training
        if training is None:
            return
        end = self._now() + seconds
        try:
            while self.is_training:
                training.step()
                self._version += 1
                self._has_ended = self._watch()
                if self._now() >= end:
                    break
        except Exception as error:
            self.error, self._has_ended = error, True
            raise
        progress = training.progress
        if math.isfinite(progress.loss):
            self.loss.add(progress.seconds, progress.loss)
        is_due = self._score_seconds <= SCORE_SHARE * (progress.seconds - self._last_score)
        if self.is_over or (self._is_watched and progress.seconds >= FIRST_SCORE and is_due):
            self.take_score()
        self.heard()

    def edit(self, edit: Edit) -> None:
        """Change what all pages share.

        Raises:
            NrcError: The edit is none of this world's.
        """
        if not isinstance(edit, Pause):
            raise NrcError(f"this model cannot be changed by {type(edit).__name__}")
        self.is_paused = edit.is_paused
        self.heard()

    def forget(self, client: str) -> None:
        """Release the picture of a client."""
        self._films.pop(client, None)

    # What pages show and save

    def shown(self, client: str) -> Picture | None:
        """The picture that was drawn last for a client."""
        film = self._films.get(client)
        return None if film is None else film.shown

    def take_score(self) -> None:
        """Score the model now."""
        if self.training is None:
            return
        start = self._now()
        scores = self.find_scores(self.training.progress.task)
        if scores:
            self.score.add(self.training.progress.seconds, self.written_score(next(iter(scores.values()))), always=True)
        self._score_seconds, self._last_score = self._now() - start, self.training.progress.seconds
        self._is_watched = False

    def find_scores(self, task: Task) -> Mapping[str, float]:
        """The scores of a task, of which the first is shown; quickly, as the training waits for them."""
        return task.score()

    def written_score(self, score: float) -> float:
        """A score of the task in `score_unit`."""
        return score

    # Drawing

    def _speed(self, layer: str | None, is_quick: bool) -> Speed:
        return self._speeds.setdefault((layer, is_quick), Speed(self._now))

    def _whole(self, view: View, budget: Budget, stages: Stages) -> Picture | None:
        """Paint a picture of one sample per pixel."""
        speed = self._speed(view.layer, budget.is_moving)
        with stages.time("paint"):
            painter = self.painter(view, is_quick=budget.is_moving)
            speed.find(painter)
            seconds = max(budget.seconds, MOVING_PICTURE)
            if not budget.is_moving:
                assert self.training is not None
                share, least, most = TRAINING_PICTURE
                seconds = min(max(share * self.training.progress.seconds, least), most)
            shrink = min(1.0, math.sqrt(seconds / speed.seconds_per_point / (budget.width * budget.height)))
            width, height = max(1, round(budget.width * shrink)), max(1, round(budget.height * shrink))
            count, done = width * height, 0
            parts: list[np.ndarray] = []
            while done < count:
                if not budget.is_moving and budget.interrupted():
                    return None
                size = min(speed.piece(), count - done) if not budget.is_moving else count
                pixels = np.arange(done, done + size)
                parts.append(speed.paint(painter, pixel_points(pixels, width, height)))
                done += size
        values = np.concatenate(parts).reshape(height, width, -1)
        return self._picture(view, values, stages, samples=1)

    def _refined(self, film: _Film, view: View, budget: Budget, stages: Stages) -> Picture | None:
        """Continue the refinement of a still picture."""
        speed = self._speed(view.layer, is_quick=False)
        version = self._version if self.learns(view.layer) else None
        key = view.camera, budget.width, budget.height, self.painted(view.layer), version
        refinement = film.refinement
        if refinement is None or film.key != key:
            refinement = Refinement(
                budget.width,
                budget.height,
                samples=min(SAMPLES, budget.most_samples or SAMPLES),
                least_pixels=LEAST_PIXELS,
                speed=speed,
            )
            film.refinement, film.key = refinement, key
        with stages.time("paint"):
            painter = self.painter(view, is_quick=False)
            speed.find(painter)
            has_changed = refinement.add(painter, budget.seconds, budget.interrupted)
        if refinement.picture is None or not (has_changed or refinement.is_complete):
            return None
        if not has_changed and film.shown is not None and film.shown.view == view:
            return film.shown  # the complete picture, once more
        samples = refinement.samples
        return self._picture(
            view,
            refinement.picture,
            stages,
            samples=max(samples, 1),
            is_final=samples > 0,
            is_complete=refinement.is_complete,
        )

    def _picture(
        self,
        view: View,
        values: np.ndarray,
        stages: Stages,
        *,
        samples: int,
        is_final: bool = False,
        is_complete: bool = False,
    ) -> Picture:
        with stages.time("colours"):
            pixels = eight_bits(self.exposed(view, values))
        return Picture(
            pixels,
            view,
            samples=samples,
            is_final=is_final,
            is_complete=is_complete,
            stage_times=stages.times,
            statistics={**self._training_facts(), **self.facts()},
        )

    def _training_facts(self) -> dict[str, Statistic]:
        if self.training is None:
            return {}
        progress = self.training.progress
        speed = progress.steps / progress.seconds if progress.seconds else None
        return {
            "step": Statistic(float(progress.task.number)),
            "training": Statistic(progress.seconds, "s"),
            "speed": Statistic(speed, "steps/s"),
            "loss": Statistic(None if math.isnan(progress.loss) else progress.loss),
            self.score_name: Statistic(self.score.last, self.score_unit),
        }


def displayed(colors: np.ndarray, view: View) -> np.ndarray:
    """sRGB colours with the exposure and the tone operator of a view."""
    if view.exposure == 0.0 and view.tone == "srgb":
        return colors
    return tone_map(decode_srgb(np.clip(colors, 0.0, 1.0)), view.tone, view.exposure)
