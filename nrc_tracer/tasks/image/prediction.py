"""Evaluating a model of an image."""

from __future__ import annotations

import numpy as np
import torch

from nrc_tracer.nn import Model

PIECE = 2**18
"""Pixels per evaluation of the model."""


def positions(
    width: int,
    height: int,
    corner: tuple[float, float],
    columns: int,
    rows: int,
    step: tuple[float, float] = (1.0, 1.0),
) -> torch.Tensor:
    """Model inputs for a lattice of points in an image, float32 [rows * columns, 2].

    Args:
        width, height: Size of the image in pixels.
        corner: Left and top of the lattice in pixels; the first point is half a step from it.
        columns, rows: Number of points.
        step: Distance between points along x and y, in pixels.
    """
    u = (corner[0] + (torch.arange(columns, dtype=torch.float64) + 0.5) * step[0]) / width
    v = (corner[1] + (torch.arange(rows, dtype=torch.float64) + 0.5) * step[1]) / height
    x = torch.empty(rows, columns, 2)
    x[:, :, 0] = u.float()
    x[:, :, 1] = v.float()[:, None]
    return x.view(-1, 2)


def predict(model: Model, x: torch.Tensor) -> np.ndarray:
    """The model's values for inputs [n, 2], float32 [n, channels]."""
    return model(x.to(model.device)).cpu().numpy()
