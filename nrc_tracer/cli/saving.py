"""What a render leaves on the disk while it runs: checkpoints, and the image so far."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nrc_tracer.cli.periodic import Jobs, Periodic
from nrc_tracer.errors import CheckpointError, NrcError

if TYPE_CHECKING:
    from nrc_tracer.tracer import Renderer


class Saves:
    """Writes checkpoints and partial images between passes. Call it with the renderer after every pass.

    What fails while the render goes on is a warning, and leaves the file before as it was.

    Args:
        checkpoint: The checkpoint's file.
        kept: Whether it stays after success, then with all samples, so that more can be added to them.
        checkpoint_every: Seconds between checkpoints.
        save_image: Writes the image so far.
        image_every: Seconds between partial images; none unless given.
        warn: Shows a warning.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        kept: bool,
        checkpoint_every: float,
        save_image: Callable[[Renderer], None],
        image_every: float | None,
        warn: Callable[[str], None],
    ) -> None:
        self.checkpoint = checkpoint
        self._kept = kept
        self._is_ours = False
        jobs = [Periodic(self._write_checkpoint, checkpoint_every)]
        if image_every is not None:
            jobs.append(Periodic(save_image, image_every))
        self._jobs = Jobs(jobs, lambda error: warn(f"{error}; the render goes on"))

    def resume(self, renderer: Renderer) -> None:
        """Go on from the checkpoint. Raises `CheckpointError`."""
        renderer.load_checkpoint(self.checkpoint)
        self._is_ours = True

    def start(self) -> None:
        """Count the seconds from now on."""
        self._jobs.start()

    def __call__(self, renderer: Renderer) -> None:
        self._jobs.run_due(renderer)

    def succeed(self, renderer: Renderer) -> None:
        """Leave the checkpoint as it has to be once all images are written. Raises `CheckpointError`."""
        if self._kept:
            self._write_checkpoint(renderer)
        elif self._is_ours:
            with contextlib.suppress(OSError):
                self.checkpoint.unlink(missing_ok=True)

    def stop(self, renderer: Renderer) -> None:
        """Write the last checkpoint of a render that is not at its end. Raises `CheckpointError`."""
        self._write_checkpoint(renderer)

    def rescue(self, renderer: Renderer, error: NrcError) -> NrcError:
        """Keep the samples of a render whose image cannot be written; return the error to end with."""
        try:
            self._write_checkpoint(renderer)
        except CheckpointError as problem:
            return type(error)(f"{error}\n{problem}")
        return type(error)(f"{error}; {self.checkpoint} has all samples, and --resume writes the image")

    def _write_checkpoint(self, renderer: Renderer) -> None:
        renderer.save_checkpoint(self.checkpoint)
        self._is_ours = True
