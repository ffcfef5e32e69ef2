"""The checks themselves: each passes here, and each notices a fault of what it checks."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import warp as wp

from nrc_tracer import nn
from nrc_tracer.cache import RadianceCache
from nrc_tracer.device.launch import Launcher
from nrc_tracer.doctor import network_checks
from nrc_tracer.doctor.check import judge
from nrc_tracer.doctor.checks import CHECKS
from nrc_tracer.doctor.scenes import box_scene, furnace_scene
from nrc_tracer.doctor.task_checks import ball_mesh
from nrc_tracer.nn.blocked_mlp import BlockedMlp
from nrc_tracer.tasks import fitting
from nrc_tracer.tasks.nerf.rendering import Volume
from nrc_tracer.tracer import Renderer

QUICK = ("launches and copies", "network, float32", "path tracer")
"""Checks that take a second or less once their kernels are compiled."""

BY_NAME = {check.name: check for check in CHECKS}
NAMES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name, check in BY_NAME.items()
    if not check.cuda_only
]


def wrong(name):
    """The names of the comparisons of a check that do not agree here."""
    return {comparison.what for comparison in BY_NAME[name].compare("cpu") if not comparison.agrees}


@pytest.mark.parametrize("name", NAMES)
def test_passes_on_this_cpu(name):
    check = BY_NAME[name]
    finding = judge(check, "cpu", check.compare("cpu"), 0.0)
    assert finding.detail == ""
    assert finding.comparisons


@pytest.mark.cuda
@pytest.mark.parametrize("name", BY_NAME)
def test_passes_on_a_gpu(name):
    if not (wp.is_cuda_available() and torch.cuda.is_available()):
        pytest.skip("no CUDA device")
    check = BY_NAME[name]
    assert judge(check, "cuda:0", check.compare("cuda:0"), 0.0).detail == ""


def test_the_list_loads_nothing_heavy():
    """Commands read it to know what a GPU must have passed."""
    code = (
        "import sys, nrc_tracer.doctor.checks, nrc_tracer.doctor.first_use\n"
        "print([name for name in ('numpy', 'torch', 'warp') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_names_fit_their_column_and_advice_is_one_sentence():
    assert len(BY_NAME) == len(CHECKS)
    for check in CHECKS:
        assert len(check.name) <= 20
        assert all(len(check.peer_of(device)) <= 29 for device in ("cpu", "cuda:0"))
        assert check.advice.endswith(".")
        assert "\n" not in check.advice


# Faults


def test_a_block_that_is_not_launched_is_noticed(monkeypatch):
    run = Launcher.run
    monkeypatch.setattr(Launcher, "run", lambda self, kernel, count, arguments: run(self, kernel, count - 1, arguments))
    assert wrong("launches and copies") == {"integers mixed wrongly"}


def test_outputs_that_are_a_little_too_large_are_noticed(monkeypatch):
    """By 0.1 %, a hundred times what float32 explains."""
    infer = BlockedMlp.infer
    monkeypatch.setattr(BlockedMlp, "infer", lambda self, *given: 1.001 * infer(self, *given))
    assert wrong("network, float32") == {"output"}


@pytest.mark.slow
def test_training_that_goes_otherwise_is_noticed(monkeypatch):
    """In one form alone, by steps of half the length."""
    build = nn.Trainer.__init__

    def slower(self, model):
        build(self, model)
        if model.form == "fused":
            self.learning_rate *= 0.5

    monkeypatch.setattr(nn.Trainer, "__init__", slower)
    assert wrong("training") == {"loss, fused"}


def test_a_gradient_that_is_not_finite_is_noticed(monkeypatch):
    spread = network_checks.spread_params

    def with_nan(model):
        params = spread(model)
        params[3] = torch.nan
        return params

    monkeypatch.setattr(network_checks, "spread_params", with_nan)
    assert wrong("network, float32") == {"gradients that are not finite"}


@pytest.mark.parametrize(("pixels", "factor"), [(slice(0, 1), 1.5), (slice(None), 1.001)])
def test_pixels_of_one_structure_that_differ_are_noticed(monkeypatch, pixels, factor):
    """One row that is half as bright again, and an image that is 0.1 % too bright."""
    moments, asked = Renderer.moments, []

    def perturbed(self):
        mean, variance = moments(self)
        asked.append(self)
        if len(asked) == 2:  # of the furnace, of the device, of the CPU
            mean = mean.copy()
            mean[pixels] *= factor
        return mean, variance

    monkeypatch.setattr(Renderer, "moments", perturbed)
    found = wrong("path tracer")
    expected = "median relative difference of pixels" if factor < 1.1 else "fraction of pixels 4 standard errors apart"
    assert expected in found


def test_energy_that_is_lost_is_noticed(monkeypatch):
    """In all images alike, which then agree with each other; the furnace's radiance is known."""
    moments = Renderer.moments
    monkeypatch.setattr(Renderer, "moments", lambda self: (0.99 * moments(self)[0], moments(self)[1]))
    assert wrong("path tracer") == {"error of the furnace's radiance"}


@pytest.mark.slow
def test_a_cache_that_predicts_too_much_is_noticed(monkeypatch):
    """Half as much again, in frames; training goes on with what it has learnt."""
    predict = RadianceCache.predict
    monkeypatch.setattr(
        RadianceCache,
        "predict",
        lambda self, features, *, trained=False: (1.0 if trained else 1.5) * predict(self, features, trained=trained),
    )
    assert "relative error of the image's mean" in wrong("cached frame")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["image", "sdf", "nerf"])
def test_training_that_does_nothing_is_noticed(monkeypatch, task):
    def no_training(task, **given):
        return original(task, **{**given, "steps": 1})

    original = fitting.train
    monkeypatch.setattr(fitting, "train", no_training)
    found = wrong(f"fit {task}")
    assert len(found) == 1
    assert "after 1 steps" in found.pop()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["image", "sdf"])
def test_outputs_of_a_task_with_another_rounding_are_noticed(monkeypatch, task):
    call = nn.Model.__call__
    monkeypatch.setattr(
        nn.Model,
        "__call__",
        lambda self, x, **options: call(self, x, **options) * (1.0 if self.form == "reference" else 1.0001),
    )
    assert "output of the trained model" in wrong(f"fit {task}")


@pytest.mark.slow
def test_a_field_rendered_otherwise_is_noticed(monkeypatch):
    render = Volume.render

    def perturbed(self, origins, directions, **options):
        seen = render(self, origins, directions, **options)
        return seen if self.model.form == "reference" else type(seen)(seen.color * 1.001, seen.alpha, seen.distance)

    monkeypatch.setattr(Volume, "render", perturbed)
    assert wrong("fit nerf") == {"view of the trained model"}


# The data of the checks


def test_the_ball_is_closed_and_faces_outwards():
    """Its triangles enclose nearly the volume of the ball, with the sign of the outside."""
    positions, triangles = ball_mesh()
    corners = positions[triangles]
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6.0
    assert volume == pytest.approx(4.0 / 3.0 * np.pi, rel=0.02)
    edges = np.concatenate((triangles[:, :2], triangles[:, 1:], triangles[:, ::2][:, ::-1]))
    assert {tuple(edge) for edge in edges} == {tuple(edge[::-1]) for edge in edges}


def test_scenes_are_seen():
    """Every ray of the furnace meets the ball, and the box's image is lit everywhere."""
    furnace = Renderer(furnace_scene(8), device="cpu", threads=1)
    assert np.isfinite(furnace.layers(("depth",))["depth"]).all()
    box = Renderer(box_scene(16, 12), device="cpu", threads=1)
    box.step(64)
    assert (box.moments()[0] > 0.0).all()
