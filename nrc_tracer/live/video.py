"""Videos of a world: every frame is drawn as a still picture, between the frames of those who look."""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from nrc_tracer.errors import NrcError
from nrc_tracer.live.session import Session
from nrc_tracer.live.view import View
from nrc_tracer.live.world import Budget, Learning, World

VIDEO_RATE = 24
"""Number of frames per second of a video."""

TURN_SECONDS = 0.2
"""Time for which a frame of a video is drawn before those who look have a turn [s]."""


def can_make_videos() -> bool:
    """Whether ffmpeg is installed, with the extra `tasks`."""
    return importlib.util.find_spec("imageio_ffmpeg") is not None


def make_video(
    session: Session, name: str, views: Sequence[View], samples: int, go_on: Callable[[], bool] = lambda: True
) -> bytes | None:
    """Draw a video. It takes long: call it on a thread of its own.

    Args:
        session: Draws the frames.
        name: A name that no client of the session has; the world forgets it at the end.
        views: A view for each frame; all have the size of the first.
        samples: Samples per pixel of each frame.
        go_on: Called before each frame; False ends the video.

    Returns:
        The contents of an MP4 file; None if `go_on` has ended it.

    Raises:
        NrcError: ffmpeg is missing or fails, a frame cannot be drawn, or the model trains, so that no frame becomes complete.
    """
    from nrc_tracer.tasks.nerf.video import VideoWriter

    width, height = views[0].width, views[0].height
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "flight.mp4"
            with VideoWriter(file, width, height, fps=VIDEO_RATE) as video:
                for view in views:
                    if not go_on():
                        return None
                    video.add(_frame(session, name, dataclasses.replace(view, width=width, height=height), samples))
            return file.read_bytes()
    finally:
        session.ask(lambda world: world.forget(name), redraws=False)


def _frame(session: Session, name: str, view: View, samples: int) -> np.ndarray:
    """The pixels of a frame, uint8 [height, width, 3]."""
    budget = Budget(view.width, view.height, seconds=TURN_SECONDS, most_samples=samples)

    def draw(world: World) -> np.ndarray | None:
        if isinstance(world, Learning) and world.is_training and world.learns(view.layer):
            raise NrcError("the model is in training; pause it, then save the video")
        picture = world.draw(name, view, budget)
        is_done = picture is not None and (picture.is_complete or picture.samples >= samples)
        return picture.pixels if picture is not None and is_done else None

    while (pixels := session.ask(draw, redraws=False).result()) is None:
        pass
    return pixels
