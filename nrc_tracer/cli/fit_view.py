"""Training while pages show the model: `nrc-tracer fit ... --view`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from nrc_tracer.cli.fit_bar import FitBar
from nrc_tracer.cli.options import Messages
from nrc_tracer.cli.view import address_lines

if TYPE_CHECKING:
    from nrc_tracer.tasks.training import Training, TrainingProgress


def train_in_browser(
    training: Training,
    name: str,
    address: tuple[str, int],
    *,
    messages: Messages,
    bar: FitBar,
    watch: Callable[[TrainingProgress], bool],
    is_ended: Callable[[], bool],
    save: Callable[[], None],
) -> TrainingProgress:
    """Train while pages show the model, write the snapshot, and wait until the user or a signal ends the page.

    The training runs on the thread that draws.

    Args:
        training: The training.
        name: Name of the data.
        address: Host and port of the page.
        messages: What the command prints.
        bar: Shows the progress.
        watch: Called after each step; ends the training by returning True.
        is_ended: Whether the user or a signal has asked for the end.
        save: Writes the snapshot.

    Raises:
        NrcError: The extra `viewer` is not installed, or the port is in use.
    """
    from nrc_tracer.live.task_viewing import training_world, view_world
    from nrc_tracer.live.viewing import check_viewer

    check_viewer()
    from nrc_tracer.live.web.binding import bound_socket

    world = training_world(training.progress.task, training, lambda: watch(training.progress))
    listener = bound_socket(*address)
    try:
        viewer = view_world(world, name, listener, host=address[0])
    except BaseException:
        listener.close()
        raise
    with viewer:
        for line in address_lines(viewer, dict(os.environ)):
            click.echo(line, err=True)
        with bar:
            viewer.wait(lambda: is_ended() or world.is_over)
        if world.error is not None:
            raise world.error
        training.progress.finished = training.is_done
        if training.is_done and not is_ended():
            save()
            if not messages.quiet:
                click.echo("the training is complete; Ctrl-C closes the page, and then the model is scored", err=True)
            viewer.wait(is_ended)
    save()
    return training.progress
