"""`nrc-tracer fit`."""

from __future__ import annotations

import click

from nrc_tracer.cli.command import Group
from nrc_tracer.cli.fit_image import image
from nrc_tracer.cli.fit_nerf import nerf
from nrc_tracer.cli.fit_sdf import sdf


@click.group(
    cls=Group,
    short_help="Fit a small model to an image, a shape or photographs.",
    examples=(
        "nrc-tracer fit image scenes/pictures/window-room.png --time 20",
        "nrc-tracer fit sdf scenes/meshes/knot.ply --time 60",
        "nrc-tracer fit nerf room --time 300",
    ),
)
def fit() -> None:
    """Train a hash grid and a small network on an image, on the signed distance to a mesh, or on photographs of a scene.

    The model is kept in a snapshot, which `nrc-tracer decode` turns back into an image, a mesh or views. Ctrl-C or SIGTERM ends
    the training after the current step; the same command with --resume continues it, with the same result as without an
    interruption.
    """


for _command in (image, sdf, nerf):
    fit.add_command(_command)
