"""Writing frames as a video, or as numbered images."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType

import numpy as np

from nrc_tracer.errors import NrcError, OutputError, one_line
from nrc_tracer.files.atomic import replacing
from nrc_tracer.imaging.pixels import write_pixels

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}


class VideoWriter:
    """Writes frames one after the other; use it in a `with` statement. A video that fails is not left behind.

    Args:
        path: `.mp4`, `.mov` or `.mkv` for H.264 by ffmpeg (extra: tasks); without an extension, a folder for 00000.png, ....
        width, height: Size of the frames in pixels; for a video odd sizes are padded by a pixel, as H.264 needs even ones.
        fps: Frames per second.
        quality: Quality of a video, from 0 to 10.

    Raises:
        OutputError: The file cannot be written, or has an unknown extension.
        NrcError: imageio-ffmpeg is not installed.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float = 30.0, quality: float = 8.0) -> None:
        self.path, self.frames = Path(path), 0
        self._size = (height, width)
        self._padding = (height % 2, width % 2)
        self._process = None
        if not self.path.suffix:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
            return
        container = CONTAINERS.get(self.path.suffix.lower())
        if container is None:
            known = ", ".join(CONTAINERS)
            raise OutputError(
                f'{path}: unknown video format "{self.path.suffix}" (known: {known}, or a folder for PNG images)'
            )
        try:
            import imageio_ffmpeg
        except ImportError as error:
            raise NrcError(
                f'{path}: videos need imageio-ffmpeg: pip install "nrc-tracer[tasks]", or name a folder without extension '
                "for PNG images"
            ) from error
        if not self.path.parent.is_dir() or self.path.is_dir() or not os.access(self.path.parent, os.W_OK):
            raise OutputError(f"{path}: cannot be written: it is a folder, or its folder is missing or write-protected")
        self._place = contextlib.ExitStack()
        temporary = self._place.enter_context(replacing(self.path))
        even = (width + self._padding[1], height + self._padding[0])
        self._process = imageio_ffmpeg.write_frames(
            str(temporary),
            even,
            fps=fps,
            quality=quality,
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=["-f", container],
        )
        self._process.send(None)

    def __enter__(self) -> VideoWriter:
        return self

    def add(self, frame: np.ndarray) -> None:
        """Write the next frame, uint8 [height, width, 3], sRGB. Raises `OutputError`."""
        if frame.shape != (*self._size, 3) or frame.dtype != np.uint8:
            raise ValueError(f"a frame is uint8 [{self._size[0]}, {self._size[1]}, 3], not {frame.dtype} {frame.shape}")
        if self._process is None:
            write_pixels(self.path / f"{self.frames:05d}.png", frame)
        else:
            if any(self._padding):
                frame = np.pad(frame, ((0, self._padding[0]), (0, self._padding[1]), (0, 0)), mode="edge")
            try:
                self._process.send(np.ascontiguousarray(frame))
            except (OSError, StopIteration) as error:
                raise OutputError(f"{self.path}: ffmpeg cannot write it: {one_line(error)}") from error
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        self._process.close()
        if kind is None and not self.frames:
            error = OutputError(f"{self.path}: not written, as it has no frames")
            self._place.__exit__(OutputError, error, None)
            raise error
        self._place.__exit__(kind, error, trace)
