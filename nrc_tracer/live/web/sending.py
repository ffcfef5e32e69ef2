"""Sending pictures to one page: composed of one or two views, encoded, and at most one under way."""

from __future__ import annotations

import functools
import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Literal

import numpy as np
import PIL.Image

from nrc_tracer.live.picture import Picture
from nrc_tracer.live.web.server import Frame

JPEG_QUALITY = 85
"""Quality of pictures while something moves, of 100."""

DIVIDER_COLOR = (255, 255, 255)
"""Colour of the line between two views."""

Acknowledge = Callable[[str, int], None]


class Sender:
    """Sends the newest pictures of a page's views. The next one is sent when the browser has received the last.

    Args:
        send: Puts a frame into the page's connection.
        acknowledge: Is told the view and the number of each picture that the browser has received, or that a newer one replaced.
        executor: Runs the encoding.
        sent: Called with the main view's picture and the time of encoding [ms], after each frame that is sent.
        failed: Called with an error of the encoding.
    """

    def __init__(
        self,
        send: Callable[[Frame], None],
        acknowledge: Acknowledge,
        executor: Executor,
        sent: Callable[[Picture, float], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._send_frame, self._acknowledge, self._executor = send, acknowledge, executor
        self._sent, self._failed = sent, failed
        self._lock = threading.Lock()
        self._main: Picture | None = None
        self._other: Picture | None = None
        self._kept: Picture | None = None
        self._unacknowledged: list[tuple[str, int]] = []
        self._divider = 0.5
        self._is_under_way = self._is_stale = False

    def take(self, view: str, number: int, picture: Picture, *, is_main: bool) -> None:
        """Take a new picture of a view; the other view is the one to the right of the divider."""
        with self._lock:
            if is_main:
                self._main = picture
            else:
                self._other = picture
            self._unacknowledged.append((view, number))
        self._refresh()

    def divide(self, divider: float) -> None:
        """Move the divider: the other view covers what is right of this fraction of the width."""
        with self._lock:
            self._divider = divider
        self._refresh()

    def drop_other(self) -> None:
        """Show the main view alone, until the next picture of the other view."""
        with self._lock:
            self._other = None
        self._refresh()

    def keep(self) -> bool:
        """Keep the main view's newest picture for `show_kept`; return whether there is one."""
        with self._lock:
            self._kept = self._main
            return self._kept is not None

    def show_kept(self) -> None:
        """Show the picture that was kept as the other view."""
        with self._lock:
            self._other = self._kept
        self._refresh()

    def _refresh(self) -> None:
        """Send the newest pictures now, or as soon as the frame under way has been received."""
        with self._lock:
            self._is_stale = True
            if self._is_under_way or self._main is None:
                return
            self._is_under_way = True
        self._executor.submit(self._send)

    def _send(self) -> None:
        with self._lock:
            main, other, divider = self._main, self._other, self._divider
            acknowledged, self._unacknowledged = self._unacknowledged, []
            self._is_stale = False
        assert main is not None
        try:
            start = time.perf_counter()
            pixels = main.pixels if other is None else divided(main.pixels, other.pixels, divider)
            is_final = main.is_final and (other is None or other is self._kept or other.is_final)
            kind: Literal["jpeg", "png"] = "png" if is_final else "jpeg"
            frame = Frame(kind, encoded(pixels, kind), functools.partial(self._arrived, acknowledged))
            self._sent(main, 1e3 * (time.perf_counter() - start))
            self._send_frame(frame)
        except Exception as error:  # this runs on an executor, which would hide it
            self._arrived(acknowledged)
            self._failed(error)

    def _arrived(self, acknowledged: list[tuple[str, int]]) -> None:
        for view, number in acknowledged:
            self._acknowledge(view, number)
        with self._lock:
            self._is_under_way = False
            is_stale = self._is_stale
        if is_stale:
            self._refresh()


def encoded(pixels: np.ndarray, kind: Literal["jpeg", "png"]) -> bytes:
    """Encode sRGB values, uint8 [height, width, 3]."""
    file = io.BytesIO()
    image = PIL.Image.fromarray(pixels)
    if kind == "png":
        image.save(file, format="PNG", compress_level=1)
    else:
        image.save(file, format="JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def divided(main: np.ndarray, other: np.ndarray, divider: float) -> np.ndarray:
    """Put two pictures beside each other: the other one covers what is right of the divider.

    Args:
        main, other: sRGB values, uint8 [height, width, 3]; the smaller one is scaled up.
        divider: Fraction of the width.
    """
    height, width = max(main.shape[0], other.shape[0]), max(main.shape[1], other.shape[1])
    pixels = np.array(_resized(main, width, height))
    column = round(min(max(divider, 0.0), 1.0) * width)
    pixels[:, column:] = _resized(other, width, height)[:, column:]
    line = max(1, width // 640)
    if 0 < column < width:
        pixels[:, max(column - line, 0) : column + line] = DIVIDER_COLOR
    return pixels


def _resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(PIL.Image.fromarray(pixels).resize((width, height), PIL.Image.Resampling.BILINEAR))
