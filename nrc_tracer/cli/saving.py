"""The files that a render writes while it runs: checkpoints, and the image so far."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nrc_tracer.cli.periodic import Jobs, Periodic
from nrc_tracer.errors import CheckpointError, NrcError

if TYPE_CHECKING:
    from nrc_tracer.tracer import Renderer


@dataclass(frozen=True)
class CheckpointOptions:
    """When a render writes files, and whether it resumes from one.

    Attributes:
        file: The checkpoint's file.
        kept: Whether the checkpoint is kept after success, with all samples, so that more can be added to them.
        every: Seconds between two checkpoints.
        save_image_every: Seconds between two writes of the image so far; None for none.
        resume: Whether to resume from the checkpoint, which has to exist.
        auto_resume: Whether to resume from the checkpoint if it exists.
    """

    file: Path
    kept: bool
    every: float
    save_image_every: float | None
    resume: bool
    auto_resume: bool


def check_checkpoint(options: CheckpointOptions, outputs: tuple[Path, ...]) -> None:
    """Check, before the work of a long render, that its checkpoint can be written, and exists if it is to be read.

    Raises:
        CheckpointError: It cannot be written, is not there to be read, or has the name of an output.
    """
    from nrc_tracer.files.atomic import check_place

    if options.resume and not options.file.exists():
        raise CheckpointError(
            f"there is no checkpoint {options.file} to resume from; leave out --resume, or give --auto-resume, which starts "
            "over if there is none"
        )
    if options.file in outputs:
        raise CheckpointError(f"{options.file}: is the name of the image already; choose another for the checkpoint")
    check_place(options.file, error=CheckpointError)


class Saves:
    """Writes checkpoints and the image so far between passes. Call it with the renderer after every pass.

    An error while the render continues becomes a warning, and leaves the previous file as it was.

    Args:
        options: What to write, and when.
        save_image: Writes the image so far.
        warn: Prints a warning.
    """

    def __init__(
        self,
        options: CheckpointOptions,
        *,
        save_image: Callable[[Renderer], None],
        warn: Callable[[str], None],
    ) -> None:
        self._options = options
        self._is_ours = False
        jobs = [Periodic(self._write_checkpoint, options.every)]
        if options.save_image_every is not None:
            jobs.append(Periodic(save_image, options.save_image_every))
        self._jobs = Jobs(jobs, lambda error: warn(f"{error}; the render continues"))

    def resume(self, renderer: Renderer) -> None:
        """Continue from the checkpoint. Raises `CheckpointError`."""
        renderer.load_checkpoint(self._options.file)
        self._is_ours = True

    def start(self) -> None:
        """Count the seconds from now on."""
        self._jobs.start()

    def __call__(self, renderer: Renderer) -> None:
        self._jobs.run_due(renderer)

    def succeed(self, renderer: Renderer) -> None:
        """Write or remove the checkpoint after all images have been written. Raises `CheckpointError`."""
        if self._options.kept:
            self._write_checkpoint(renderer)
        elif self._is_ours:
            with contextlib.suppress(OSError):
                self._options.file.unlink(missing_ok=True)

    def stop(self, renderer: Renderer) -> None:
        """Write the last checkpoint of an interrupted render. Raises `CheckpointError`."""
        self._write_checkpoint(renderer)

    def rescue(self, renderer: Renderer, error: NrcError) -> NrcError:
        """Keep the samples of a render whose image cannot be written; return the error that ends the command."""
        try:
            self._write_checkpoint(renderer)
        except CheckpointError as problem:
            return type(error)(f"{error}\n{problem}")
        return type(error)(f"{error}; {self._options.file} has all samples, and --resume writes the image")

    def _write_checkpoint(self, renderer: Renderer) -> None:
        renderer.save_checkpoint(self._options.file)
        self._is_ours = True
