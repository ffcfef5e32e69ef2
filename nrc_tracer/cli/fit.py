"""`nrc-tracer fit`."""

from __future__ import annotations

import click

from nrc_tracer.cli.fit_image import image
from nrc_tracer.cli.fit_nerf import nerf
from nrc_tracer.cli.fit_sdf import sdf


@click.group(short_help="Fit a small model to an image, a shape or photographs.")
def fit() -> None:
    """Train a hash grid and a small network on an image, on the signed distance of a mesh, or on photographs of a scene.

    The model is kept in a snapshot, which `nrc-tracer decode` turns back into an image, a mesh or views. Ctrl-C or SIGTERM ends
    the training after the current step; the same command with --resume goes on to the same bits.
    """


fit.add_command(image)
fit.add_command(sdf)
fit.add_command(nerf)
