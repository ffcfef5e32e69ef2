"""Corrections of poses and exposures: their gradients, and that they bring back what was taken away."""

import dataclasses

import numpy as np
import pytest
import torch

from nrc_tracer.errors import DataError, SnapshotError
from nrc_tracer.imaging.tonemap import decode_srgb, encode_srgb
from nrc_tracer.tasks.nerf import fit
from nrc_tracer.tasks.nerf.fit import NerfOptions, NerfTask
from nrc_tracer.tasks.nerf.marching import Samples
from nrc_tracer.tasks.nerf.rays import RayTable
from nrc_tracer.tasks.nerf.refinement import exposed, pose_gradient
from nrc_tracer.tasks.nerf.rotations import rotation_of
from tests.tasks.nerf.analytic import ball_photographs
from tests.tasks.nerf.test_fit import VISITS, small_config


def test_gradient_of_poses():
    """Against differences of a loss of positions and directions, with the rays that corrected cameras have."""
    views = ball_photographs(count=4, test=0)
    table = RayTable(views.train, 1.0, (0.0, 0.0, 0.0), "cpu", 2)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(table.count, (40,), generator=generator, dtype=torch.int32)
    rays_of_samples = torch.repeat_interleave(torch.arange(40), 3)
    t = 1.0 + 0.3 * torch.rand(120, generator=generator)
    weights = torch.randn(120, 6, generator=generator).double()

    def inputs(poses):
        rays = table.at(pixels, poses=poses)
        position = (
            rays.origins[rays_of_samples].double() + t.double()[:, None] * rays.directions[rays_of_samples].double()
        )
        return rays, torch.cat(
            [(position - 0.5) / 2.0 + 0.5, 0.5 * rays.directions[rays_of_samples].double() + 0.5], dim=1
        )

    rays, x = inputs(torch.zeros(4, 6))
    samples = Samples(torch.arange(40, dtype=torch.int32), torch.arange(3, 123, 3, dtype=torch.int32), x.float(), t, t)
    d_x = (weights * torch.cos(x)).float()  # of the loss sum(weights sin(x))
    gradient = pose_gradient(samples, d_x, rays, 2, 4)
    step = 1e-2
    for view in range(4):
        for column in range(6):
            values = []
            for sign in (-1.0, 1.0):
                poses = torch.zeros(4, 6)
                poses[view, column] = sign * step
                values.append(float((weights * torch.sin(inputs(poses)[1])).sum()))
            expected = (values[1] - values[0]) / (2.0 * step)
            assert float(gradient[view, column]) == pytest.approx(expected, rel=5e-3, abs=5e-3)


def refined_task(views, *, seed=5, **options):
    return NerfTask(
        views,
        small_config(),
        options=NerfOptions(batch=1 << 13, visits=VISITS, background="black", **options),
        device="cpu",
        seed=seed,
        threads=2,
    )


def turned(view, angle, axis, shift):
    """A photograph whose camera is believed elsewhere."""
    pose = view.camera.to_world.copy()
    turn = rotation_of(np.array([np.cos(angle / 2.0), *(np.sin(angle / 2.0) * axis)]))
    pose[:, :3] = turn @ pose[:, :3]
    pose[:, 3] += shift
    return dataclasses.replace(view, camera=view.camera.placed(pose))


@pytest.mark.slow
def test_poses_get_better():
    """Half of the cameras are shifted and turned at random: their corrections undo most of it."""
    views = ball_photographs(count=24, side=32, alpha=False)
    generator = np.random.default_rng(0)
    moved, shifts = [], np.zeros((len(views.train), 3))
    for index, view in enumerate(views.train):
        if index % 3 == 0:
            shifts[index] = 0.03 * generator.choice((-1.0, 1.0), 3)
            view = turned(view, 0.0, np.array([1.0, 0.0, 0.0]), shifts[index])
        moved.append(view)
    task = refined_task(dataclasses.replace(views, train=tuple(moved)), refine_poses=True)
    plain = refined_task(dataclasses.replace(views, train=tuple(moved)))
    for each in (task, plain):
        for _ in range(500):
            each.step()
    # What a correction does at the ball: its shift, and its turn times the distance, across the axis of view
    before, after = [], []
    for index, view in enumerate(views.train):
        if index % 3 == 0:
            across = view.camera.to_world[:, :2]
            w, t = task.poses.values[index, :3].numpy(), task.poses.values[index, 3:].numpy()
            at_ball = t + np.cross(w, 0.5 - (view.camera.position + shifts[index]))
            before.append(np.linalg.norm(shifts[index] @ across))
            after.append(np.linalg.norm((shifts[index] + at_ball) @ across))
    assert np.mean(after) < 0.5 * np.mean(before)
    assert task.score()["psnr"] > plain.score()["psnr"]


def test_exposure_is_a_factor_of_light():
    """Twice the light, in the formula of sRGB."""
    color = torch.linspace(0.0, 0.7, 30).reshape(10, 3)
    ours = exposed(color, torch.full((10,), float(np.log(2.0))))
    np.testing.assert_allclose(ours.numpy(), encode_srgb(2.0 * decode_srgb(color.numpy())), atol=2e-5)
    assert torch.equal(exposed(torch.zeros(1, 3), torch.ones(1)), torch.zeros(1, 3))


@pytest.mark.slow
def test_exposures_are_found():
    """Photographs taken with more and with less light, at random: the gains of both kinds come near to what they were.

    A single gain comes less near, as colours that change with direction can explain some of it.
    """
    views = ball_photographs(count=44, side=24, alpha=False)
    count = len(views.train)
    gains = np.random.default_rng(1).permutation(np.where(np.arange(count) % 2, 0.25, -0.25))
    changed = []
    for view, gain in zip(views.train, gains, strict=True):
        light = decode_srgb(0.75 * view.pixels / 255.0) * np.exp(gain)
        changed.append(dataclasses.replace(view, image=(encode_srgb(light.clip(0, 1)) * 255.0 + 0.5).astype(np.uint8)))
    task = refined_task(dataclasses.replace(views, train=tuple(changed)), refine_exposure=True)
    for _ in range(400):
        task.step()
    found = task.gains.values[:, 0].numpy()
    assert abs(found.mean()) < 1e-6
    assert 0.15 < found[gains > 0.0].mean() < 0.35
    assert -0.35 < found[gains < 0.0].mean() < -0.15
    assert np.corrcoef(found, gains)[0, 1] > 0.6


def test_resumes_with_corrections(tmp_path, monkeypatch):
    """Corrections and their moments are kept; a snapshot without them does not fit."""
    monkeypatch.setattr(fit, "START", 4)
    views = ball_photographs(count=6, side=16, test=1, alpha=False)
    options = {"refine_poses": True, "refine_exposure": True}
    whole, first, second = (refined_task(views, **options) for _ in range(3))
    for _ in range(12):
        whole.step()
    for _ in range(8):
        first.step()
    first.save(tmp_path / "first.safetensors")
    second.resume(tmp_path / "first.safetensors")
    for _ in range(4):
        second.step()
    assert float(whole.poses.values.abs().max()) > 0.0
    assert float(whole.gains.values.abs().max()) > 0.0
    for name, value in whole.tensors().items():
        assert torch.equal(value, second.tensors()[name]), name
    with pytest.raises(SnapshotError, match="other corrections"):
        refined_task(views).resume(tmp_path / "first.safetensors")


def test_exposures_of_transparent_photographs():
    """They have no exposure of their own to be found."""
    with pytest.raises(DataError, match="opaque"):
        refined_task(ball_photographs(count=4, test=1), refine_exposure=True)
