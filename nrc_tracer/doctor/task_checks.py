"""The checks of the tasks: some steps of each on data in closed form, and its result against the reference in float64."""

from __future__ import annotations

import copy
import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nrc_tracer import nn
from nrc_tracer.doctor.check import Comparison
from nrc_tracer.doctor.network_checks import relative_peak
from nrc_tracer.tasks import NeuralScene, fit_image, fit_nerf, fit_sdf, load
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.config import default_config
from nrc_tracer.tasks.nerf.rendering import Volume
from nrc_tracer.tasks.nerf.scene_camera import looking_at
from nrc_tracer.tasks.nerf.views import View, Views
from nrc_tracer.tasks.sdf.fit import CONFIG as SDF_CONFIG

OUTPUT = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 2e-2}
"""Largest error of outputs relative to the largest one, by the type of the operands of products."""

IMAGE_STEPS, IMAGE_ERROR = 60, 3e-3
SDF_STEPS, SDF_ERROR = 60, 0.02
NERF_STEPS, NERF_ERROR = 150, 0.018
"""Steps of training, and the largest error after them: mean squared error of colours of the image and of held-out photographs,
mean absolute error of distances [unit cubes]. They are a third or less of the error of the best constant."""

BALL = 0.25
"""Radius of the ball that is photographed, around the centre of the unit cube."""

SMALL_GRID = {"n_levels": 6, "log2_hashmap_size": 14, "base_resolution": 8, "per_level_scale": 1.45}


def reference(model: nn.Model, precision: str = "float64") -> nn.Model:
    """The reference on the CPU with a model's parameters for inference."""
    return nn.Model(
        model.n_input_dims,
        model.n_output_dims,
        model.config,
        device="cpu",
        backend="reference",
        precision=precision,
        params=model.inference_params.detach().cpu(),
    )


def compare_outputs(model: nn.Model, x: Tensor) -> Comparison:
    """Compare the outputs of a trained model with those of the reference, for inputs on the CPU."""
    error = relative_peak(model(x.to(model.device)), reference(model)(x))
    return Comparison("output of the trained model", error, OUTPUT[model.precision])


# Images


def smooth_image(height: int = 64, width: int = 96) -> np.ndarray:
    """An image of three waves, uint8 [height, width, 3]."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = (np.sin(0.1 * columns), np.cos(0.1 * rows), np.sin(0.05 * (columns + rows)))
    return (127.5 * (1.0 + np.stack(waves, axis=2))).astype(np.uint8)


def compare_image(device: str) -> list[Comparison]:
    """Fit an image."""
    config = {
        "encoding": {"otype": "HashGrid", **SMALL_GRID},
        "network": {"otype": "FullyFusedMLP", "n_neurons": 64, "n_hidden_layers": 2},
        "loss": {"otype": "L2"},
        "optimizer": {"otype": "Adam", "learning_rate": 1e-2, "epsilon": 1e-15},
    }
    fit = fit_image(smooth_image(), config=config, steps=IMAGE_STEPS, batch=4096, device=device)
    error = 10.0 ** (-0.1 * fit.scores["psnr"])
    x = torch.rand(2000, 2, generator=torch.Generator().manual_seed(2))
    return [
        Comparison(f"squared error after {fit.steps} steps", error, IMAGE_ERROR),
        compare_outputs(fit.model.model, x),
    ]


# Shapes


def ball_mesh(columns: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """A closed ball of radius 1: positions [V, 3] on circles of latitude, and triangles [T, 3] that face outwards."""
    rows = columns // 2
    height, turn = np.meshgrid(
        np.linspace(0.0, math.pi, rows + 1)[1:-1], np.arange(columns) * 2.0 * math.pi / columns, indexing="ij"
    )
    ring = np.stack((np.sin(height) * np.cos(turn), np.cos(height), np.sin(height) * np.sin(turn)), axis=2)
    positions = np.concatenate((ring.reshape(-1, 3), [(0.0, 1.0, 0.0), (0.0, -1.0, 0.0)]))
    top, bottom = len(positions) - 2, len(positions) - 1
    triangles = []
    for column in range(columns):
        beside = (column + 1) % columns
        triangles.append((top, beside, column))
        triangles.append((bottom, (rows - 2) * columns + column, (rows - 2) * columns + beside))
        for row in range(rows - 2):
            a, b = row * columns + column, row * columns + beside
            triangles += [(a, b, b + columns), (a, b + columns, a + columns)]
    return positions, np.array(triangles)


def compare_shape(device: str) -> list[Comparison]:
    """Fit a ball, whose distance is known: that to its centre less its radius."""
    config = copy.deepcopy(SDF_CONFIG)
    config["encoding"] |= SMALL_GRID
    config["loss"] = {"otype": "L2"}
    config["optimizer"] = {"otype": "Adam", "learning_rate": 4e-3, "epsilon": 1e-15}
    fit = fit_sdf(ball_mesh(), config=config, steps=SDF_STEPS, batch=4096, device=device)
    points = np.random.default_rng(3).uniform(-1.0, 1.0, (4000, 3))
    exact = np.linalg.norm(points, axis=1) - 1.0
    scale = float(fit.task.metadata()["scale"])  # unit cubes per unit of the mesh
    error = float(np.abs(fit.model.signed_distance(points) - exact).mean()) * scale
    x = torch.rand(2000, 3, generator=torch.Generator().manual_seed(2))
    return [
        Comparison(f"error of distances after {fit.steps} steps", error, SDF_ERROR),
        compare_outputs(fit.model.model, x),
    ]


# Radiance fields


def ball_photographs(count: int = 20, side: int = 24) -> Views:
    """Photographs of an opaque ball, coloured by its normals, from all around; a fifth of them is held out."""
    views = []
    center, focal = np.full(3, 0.5), 0.5 * side / math.tan(math.radians(18.0))
    columns, rows = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    for index in range(count):
        height = 1.0 - 2.0 * (index + 0.5) / count
        turn = index * math.pi * (3.0 - math.sqrt(5.0))  # the golden angle spreads the cameras evenly
        flat = math.sqrt(1.0 - height * height)
        place = center + 1.2 * np.array([flat * math.cos(turn), height, flat * math.sin(turn)])
        pose = looking_at(place, center, np.array([0.1, 1.0, 0.2]))
        camera = PhotoCamera(side, side, focal, focal, side / 2, side / 2, to_world=pose)
        directions = camera.directions(np.stack((columns.ravel(), rows.ravel()), axis=1))
        along = directions @ (place - center)
        squared = BALL**2 - (1.2**2 - along**2)
        enter = -along - np.sqrt(np.maximum(squared, 0.0))
        normals = (place - center + enter[:, None] * directions) / BALL
        seen = (squared > 0.0)[:, None]
        pixels = np.concatenate((np.where(seen, 0.5 * normals + 0.5, 0.0), seen), axis=1)
        image = (255.0 * np.clip(pixels, 0.0, 1.0) + 0.5).astype(np.uint8).reshape(side, side, 4)
        views.append(View(f"ball-{index}", camera, image, has_alpha=True))
    return Views(
        train=tuple(view for index, view in enumerate(views) if index % 5 != 2),
        test=tuple(views[2::5]),
        scale=1.0,
        offset=(0.0, 0.0, 0.0),
        has_alpha=True,
    )


def compare_field(device: str) -> list[Comparison]:
    """Fit photographs of a ball, and render a view of the fit by the reference as well."""
    config = default_config(1, on_cpu=True)
    config["encoding"]["nested"][0] |= SMALL_GRID | {"n_levels": 4}
    fit = fit_nerf(ball_photographs(), config=config, steps=NERF_STEPS, batch=8192, device=device)
    error = 10.0 ** (-0.1 * fit.scores["psnr_black"])
    with tempfile.TemporaryDirectory() as folder:
        on_cpu = load(fit.save(Path(folder) / "ball.safetensors"), device="cpu")
        exact = _by_reference(on_cpu)
    model = fit.model.volume.model
    view, expected = (scene.view(scene.cameras["test"][0]) for scene in (fit.model, exact))
    difference = relative_peak(torch.from_numpy(view.color), torch.from_numpy(expected.color))
    # A view multiplies the errors of densities and colours along a ray
    return [
        Comparison(f"squared error after {fit.steps} steps", error, NERF_ERROR),
        Comparison("view of the trained model", difference, 10.0 * OUTPUT[model.precision]),
    ]


def _by_reference(scene: Any) -> NeuralScene:
    """A learnt scene on the CPU, with the reference as its model, in the float32 that rays are composited in."""
    assert isinstance(scene, NeuralScene)
    volume = scene.volume
    exact = Volume(reference(volume.model, "float32"), volume.space, volume.grid, volume.launcher)
    return dataclasses.replace(scene, volume=exact)
