"""Corrections of poses and exposures: their gradients, and how well they undo errors."""

import dataclasses

import numpy as np
import pytest
import torch

from nrc_tracer.errors import DataError, SnapshotError
from nrc_tracer.imaging.tonemap import decode_srgb, encode_srgb
from nrc_tracer.tasks.nerf import fit
from nrc_tracer.tasks.nerf.fit import NerfOptions, NerfTask
from nrc_tracer.tasks.nerf.marching import Samples
from nrc_tracer.tasks.nerf.neural_scene import load_neural_scene
from nrc_tracer.tasks.nerf.rays import RayTable
from nrc_tracer.tasks.nerf.refinement import exposed, pose_gradient
from nrc_tracer.tasks.nerf.rotations import rotation_of
from tests.tasks.nerf.analytic import ball_photographs
from tests.tasks.nerf.test_fit import VISITS, small_config


def test_gradient_of_poses():
    """Compared with finite differences of a loss of positions and directions, along rays of corrected cameras."""
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
    """A photograph whose camera is recorded at a wrong pose."""
    pose = view.camera.to_world.copy()
    turn = rotation_of(np.array([np.cos(angle / 2.0), *(np.sin(angle / 2.0) * axis)]))
    pose[:, :3] = turn @ pose[:, :3]
    pose[:, 3] += shift
    return dataclasses.replace(view, camera=view.camera.placed(pose))


@pytest.mark.slow
def test_poses_get_better():
    """With a third of the cameras shifted and a third turned in place, corrections undo most of the error at the ball.

    There a small turn looks like a shift, and Adam takes equal steps in both. So at distance 1.2 a turn is undone to 1.2 / 2.2 by
    turning and otherwise by shifting.
    """
    views = ball_photographs(count=24, side=32, alpha=False)
    generator = np.random.default_rng(0)
    moved, shifts, turns = [], np.zeros((len(views.train), 3)), np.zeros((len(views.train), 3))
    for index, view in enumerate(views.train):
        if index % 3 == 0:
            shifts[index] = 0.03 * generator.choice((-1.0, 1.0), 3)
        elif index % 3 == 1:
            turns[index] = 0.03 * view.camera.to_world[:, :2] @ generator.choice((-1.0, 1.0), 2)
        angle = np.linalg.norm(turns[index])
        axis = turns[index] / angle if angle else np.array([1.0, 0.0, 0.0])
        moved.append(turned(view, angle, axis, shifts[index]))
    task = refined_task(dataclasses.replace(views, train=tuple(moved)), refine_poses=True)
    plain = refined_task(dataclasses.replace(views, train=tuple(moved)))
    for each in (task, plain):
        for _ in range(500):
            each.step()

    def at_ball(index, turn, shift):
        """Distance by which a turn and a shift move the visible part of the ball across the viewing direction."""
        camera = moved[index].camera
        return np.linalg.norm(
            (shift + np.cross(turn, 0.5 - camera.position)) @ views.train[index].camera.to_world[:, :2]
        )

    corrections = task.poses.values.numpy()
    left_turns, left_shifts = turns + corrections[:, :3], shifts + corrections[:, 3:]
    for kind in (0, 1):
        some = range(kind, len(moved), 3)
        before = np.mean([at_ball(i, turns[i], shifts[i]) for i in some])
        assert np.mean([at_ball(i, left_turns[i], left_shifts[i]) for i in some]) < 0.5 * before
    was, remains = (np.linalg.norm(values[1::3], axis=1).mean() for values in (turns, left_turns))
    assert remains < 0.65 * was  # it would be 0.45 if everything visible were moved back exactly
    assert task.score()["psnr"] > plain.score()["psnr"]


def test_exposure_scales_linear_light():
    """Doubling the light, by the formula of sRGB."""
    color = torch.linspace(0.0, 0.7, 30).reshape(10, 3)
    ours = exposed(color, torch.full((10,), float(np.log(2.0))))
    np.testing.assert_allclose(ours.numpy(), encode_srgb(2.0 * decode_srgb(color.numpy())), atol=2e-5)
    assert torch.equal(exposed(torch.zeros(1, 3), torch.ones(1)), torch.zeros(1, 3))


@pytest.mark.slow
def test_exposures_are_found():
    """Photographs are randomly taken with more or less light, and the mean gains of both kinds are recovered.

    Single gains are recovered less well, as colours that depend on direction can explain part of them. How much is unknown, so
    the bounds are not derived: within 40 % for the means, and a clear correlation for single gains.
    """
    views = ball_photographs(count=44, side=24, alpha=False)
    count, size = len(views.train), 0.25
    gains = np.random.default_rng(1).permutation(np.where(np.arange(count) % 2, size, -size))
    changed = []
    for view, gain in zip(views.train, gains, strict=True):
        light = decode_srgb(0.75 * view.pixels / 255.0) * np.exp(gain)
        changed.append(dataclasses.replace(view, image=(encode_srgb(light.clip(0, 1)) * 255.0 + 0.5).astype(np.uint8)))
    task = refined_task(dataclasses.replace(views, train=tuple(changed)), refine_exposure=True)
    for _ in range(400):
        task.step()
    found = task.gains.values[:, 0].numpy()
    assert abs(found.mean()) < 1e-6
    for sign in (-1.0, 1.0):
        assert abs(found[gains * sign > 0.0].mean() - sign * size) < 0.4 * size
    assert np.corrcoef(found, gains)[0, 1] > 0.6


def test_resumes_with_corrections(tmp_path, monkeypatch):
    """Corrections and their moments are restored; a snapshot without them is refused."""
    monkeypatch.setattr(fit, "START", 4)
    views = ball_photographs(count=6, side=16, test=1, alpha=False)
    options = {"refine_poses": True, "refine_exposure": True}
    whole, first, second = (refined_task(views, **options) for _ in range(3))
    for _ in range(8):
        whole.step()
    for _ in range(6):
        first.step()
    first.save(tmp_path / "first.safetensors")
    second.resume(tmp_path / "first.safetensors")
    for _ in range(2):
        second.step()
    assert float(whole.poses.values.abs().max()) > 0.0
    assert float(whole.gains.values.abs().max()) > 0.0
    for name, value in whole.tensors().items():
        assert torch.equal(value, second.tensors()[name]), name
    with pytest.raises(SnapshotError, match="other corrections"):
        refined_task(views).resume(tmp_path / "first.safetensors")


def test_cameras_of_a_snapshot_are_the_corrected_ones(tmp_path):
    """A loaded snapshot has the cameras as training corrected them, in data whose scale is not the field's."""
    views = dataclasses.replace(ball_photographs(count=4, test=1), scale=0.5, offset=(0.25, 0.25, 0.25))
    task = refined_task(views, refine_poses=True)
    task.step()
    task.poses.values[:] = torch.from_numpy(np.random.default_rng(0).normal(0.0, 0.1, (3, 6)).astype(np.float32))
    task.poses.values[1] = 0.0
    field = load_neural_scene(task.save(tmp_path / "ball.safetensors"), device="cpu")
    for index, camera in enumerate(field.cameras["train"]):
        pixels = torch.arange(camera.width * camera.height, dtype=torch.int32) + index * camera.width * camera.height
        seen = task.table.at(pixels, poses=task.poses.values)
        rays = task.table.rays_of(camera)
        torch.testing.assert_close(rays.origins, seen.origins, rtol=0.0, atol=1e-6)
        torch.testing.assert_close(rays.directions, seen.directions, rtol=0.0, atol=1e-6)


def test_exposures_of_transparent_photographs():
    """Transparent photographs determine no exposures."""
    with pytest.raises(DataError, match="opaque"):
        refined_task(ball_photographs(count=4, test=1), refine_exposure=True)
