"""`nrc.tasks`: fitting in one call, using and loading a fitted model, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import torch

import nrc_tracer as nrc
from nrc_tracer.errors import ConfigError, DataError, SnapshotError
from nrc_tracer.tasks.training import train
from tests.tasks.nerf.analytic import ball_photographs
from tests.tasks.sdf.shapes import sphere
from tests.tasks.sdf.small import SMALL
from tests.tasks.toy import CONFIG, Wave

CENTER, RADIUS = np.array([1.0, 2.0, 3.0]), 4.0
BALL = sphere(3, RADIUS, CENTER)


def ramp(height=16, width=24):
    """A smooth image, uint8 [height, width, 3]."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = (columns / width, rows / height, np.full((height, width), 0.25))
    return (255.0 * np.stack(channels, axis=2)).astype(np.uint8)


def fitted_image(image=None, **options):
    settings = {"config": CONFIG, "batch": 256, "device": "cpu"} | options
    return nrc.tasks.fit_image(ramp() if image is None else image, **settings)


def fitted_shape(**options):
    settings = {"config": SMALL, "batch": 1024, "device": "cpu"} | options
    return nrc.tasks.fit_sdf(BALL, **settings)


def params(fit):
    return fit.task.trainer.model.params


def test_names_are_available_without_heavy_imports():
    code = "import sys, nrc_tracer as nrc; nrc.tasks.__all__; print([m for m in ('numpy', 'torch', 'warp') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    for name in nrc.tasks.__all__:
        assert getattr(nrc.tasks, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        _ = nrc.tasks.no_such_name


def test_an_image(tmp_path):
    """Colours at positions are those of crops, files and the model loaded again."""
    fit = fitted_image(steps=200)
    assert (fit.steps, fit.finished) == (200, True)
    assert fit.seconds > 0.0
    assert fit.scores["psnr"] > 30.0
    image = fit.model
    assert (image.width, image.height, image.space) == (24, 16, "srgb")
    np.testing.assert_allclose(image.crop(0, 0, 24, 16), ramp() / 255.0, atol=0.15)

    centers = np.stack(np.meshgrid(np.arange(3, 9) + 0.5, np.arange(2, 6) + 0.5), axis=-1)
    np.testing.assert_allclose(image.colors(centers), image.crop(3, 2, 6, 4), atol=1e-5)
    assert image.crop(3, 2, 6, 4, scale=2.5).shape == (10, 15, 3)

    image.save(tmp_path / "part.png", crop=(3, 2, 6, 4))
    written = np.asarray(PIL.Image.open(tmp_path / "part.png")) / 255.0
    np.testing.assert_allclose(written, np.clip(image.crop(3, 2, 6, 4), 0.0, 1.0), atol=0.51 / 255.0)

    again = nrc.tasks.load(fit.save(tmp_path / "image.safetensors"), device="cpu")
    assert isinstance(again, nrc.tasks.NeuralImage)
    np.testing.assert_array_equal(again.colors(centers), image.colors(centers))
    assert fit.evaluate()["pixels"] == 24 * 16


def test_images_of_other_kinds(tmp_path):
    """A file, an `Image` in linear light and a grey array are fitted in their own colour spaces and channels."""
    PIL.Image.fromarray(ramp()).save(tmp_path / "ramp.png")
    from_file = fitted_image(tmp_path / "ramp.png", steps=3)
    assert torch.equal(params(from_file), params(fitted_image(steps=3)))
    linear = fitted_image(nrc.Image(ramp() / np.float32(255.0)), steps=1)
    assert linear.model.space == "linear"
    assert fitted_image(ramp()[:, :, 0], steps=1).model.crop(0, 0, 24, 16).shape == (16, 24, 1)
    with pytest.raises(DataError, match="array of int64"):
        fitted_image(ramp().astype(np.int64))
    with pytest.raises(DataError, match=r"array of shape \[24\]"):
        fitted_image(ramp()[0, :, 0])


def test_crops_and_positions_outside_an_image_are_refused():
    image = fitted_image(steps=1).model
    with pytest.raises(DataError, match=r"crop: 20,0,5,4 is not inside"):
        image.crop(20, 0, 5, 4)
    with pytest.raises(DataError, match=r"crop: -1,0,5,4 is not inside"):
        image.save("none.png", crop=(-1, 0, 5, 4))
    with pytest.raises(DataError, match=r"positions: .*\[\.\.\., 2\]"):
        image.colors([0.0, 1.0, 2.0])


def test_a_shape(tmp_path):
    """Distances are in the mesh's own coordinates and units, inside and outside the cube of training, also when loaded again."""
    fit = fitted_shape(steps=150)
    assert fit.scores["iou"] > 0.95
    shape = fit.model
    points = CENTER + np.array([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]], [[0.0, 3.0, 0.0], [0.0, 0.0, -4.2]]])
    exact = np.linalg.norm(points - CENTER, axis=-1) - RADIUS
    np.testing.assert_allclose(shape.signed_distance(points), exact, atol=0.08 * RADIUS)
    far = CENTER + np.array([40.0, 0.0, 0.0])
    assert shape.signed_distance(far) == pytest.approx(36.0, abs=0.08 * RADIUS)

    mesh = shape.write_mesh(tmp_path / "ball.ply", resolution=16)
    bounds = nrc.load_scene(mesh).meshes.popitem()[1].positions
    np.testing.assert_allclose(np.ptp(bounds, axis=0), 2.0 * RADIUS, rtol=0.25)
    picture = shape.render(width=8, height=6)
    assert isinstance(picture, nrc.Image)
    assert picture.rgb.shape == (6, 8, 3)

    again = nrc.tasks.load(fit.save(tmp_path / "ball.safetensors"), device="cpu")
    assert isinstance(again, nrc.tasks.NeuralShape)
    np.testing.assert_array_equal(again.signed_distance(points), shape.signed_distance(points))
    with pytest.raises(DataError, match=r"points: .*\[\.\.\., 3\]"):
        shape.signed_distance([0.0, 1.0])


def test_a_scene(tmp_path):
    """Views from a photograph's camera and from one of the user's, also when loaded again."""
    views = ball_photographs(6, 12, test=2)
    fit = nrc.tasks.fit_nerf(views, steps=20, batch=1024, device="cpu")
    assert set(fit.scores) == {"psnr_black", "psnr_white"}
    scene = fit.model
    assert [len(scene.cameras[split]) for split in ("train", "test")] == [4, 2]
    view = scene.view(scene.cameras["test"][0])
    assert view.color.shape == (12, 12, 3)
    assert view.alpha.max() > 0.0
    view.save(tmp_path / "view.png")
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(tmp_path / "view.png")), view.pixels(0.0))
    assert scene.view(scene.cameras["train"][0].scaled(0.5)).alpha.shape == (6, 6)

    again = nrc.tasks.load(fit.save(tmp_path / "ball.safetensors"), device="cpu")
    assert isinstance(again, nrc.tasks.NeuralScene)
    assert again.names == scene.names
    np.testing.assert_array_equal(again.view(again.cameras["test"][0]).color, view.color)
    with pytest.raises(ConfigError, match="these views have their own"):
        nrc.tasks.fit_nerf(views, steps=1, scale=2.0, device="cpu")


def test_numpy_numbers_are_accepted():
    plain = fitted_shape(steps=3, seed=5, threads=1)
    numpy = fitted_shape(steps=np.int64(3), seed=np.uint8(5), threads=np.int32(1), batch=np.int16(1024))
    assert torch.equal(params(plain), params(numpy))
    assert not torch.equal(params(plain), params(fitted_shape(steps=3, seed=6)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps: expected an integer of at least 1, not 0"),
        ({"steps": 2.5}, "steps: expected an integer of at least 1, not 2.5"),
        ({"seconds": 0.0}, "seconds: must be above 0"),
        ({"seed": -1}, "seed: expected an integer of at least 0"),
        ({"threads": "two"}, "threads: expected an integer"),
    ],
)
def test_wrong_numbers_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        fitted_image(**({"steps": 1} | options))


def test_progress_is_called_after_every_step_and_can_stop():
    seen = []

    def progress(state):
        seen.append(state.steps)
        return state.steps == 4

    fit = fitted_image(steps=9, progress=progress)
    assert seen == [0, 1, 2, 3, 4]
    assert (fit.steps, fit.finished) == (4, False)


def test_resuming_gives_the_same_bits(tmp_path):
    whole = fitted_image(steps=6)
    part = fitted_image(steps=2, snapshot=tmp_path / "part.safetensors")
    resumed = fitted_image(steps=6, snapshot=tmp_path / "part.safetensors", resume=True)
    assert (part.steps, resumed.steps) == (2, 6)
    assert torch.equal(params(resumed), params(whole))
    with pytest.raises(SnapshotError, match="nothing to continue from"):
        fitted_image(steps=6, resume=True)
    # The result itself can also be continued explicitly
    train(part.task, steps=6)
    assert torch.equal(params(part), params(whole))


def interrupt(at):
    def progress(state):
        if state.steps == at:
            os.kill(os.getpid(), signal.SIGINT)

    return progress


def test_ctrl_c_returns_the_partly_trained_model(tmp_path):
    path = tmp_path / "part.safetensors"
    with pytest.warns(nrc.InterruptedWarning, match="after 3 steps"):
        fit = fitted_image(steps=9, progress=interrupt(3), snapshot=path)
    assert (fit.steps, fit.finished) == (3, False)
    assert torch.equal(params(fit), params(fitted_image(steps=3)))
    assert fitted_image(steps=4, snapshot=path, resume=True).steps == 4


def test_ctrl_c_before_the_first_step_raises_keyboard_interrupt():
    with pytest.raises(KeyboardInterrupt):
        fitted_image(steps=9, progress=interrupt(0))


def test_snapshots_of_other_tasks_are_not_loaded(tmp_path):
    with pytest.raises(SnapshotError, match='unknown task "wave"'):
        nrc.tasks.load(Wave().save(tmp_path / "wave.safetensors"))
