"""The benchmark of the tasks: its peer trains the same models, and its figures match their definitions."""

import argparse
import json
import math

import numpy as np
import pytest
import torch

from benchmarks import task_cases, tasks
from benchmarks.tasks import Curve, compare, fastest_layout, keep
from benchmarks.torch_grid import LAYOUTS
from benchmarks.torch_tasks import put_into
from nrc_tracer import nn
from nrc_tracer.errors import DataError
from nrc_tracer.tasks.image.fit import ImageTask
from nrc_tracer.tasks.image.source import whole
from nrc_tracer.tasks.nerf.config import default_config
from nrc_tracer.tasks.nerf.fit import NerfOptions, NerfTask
from nrc_tracer.tasks.sdf.fit import SdfTask
from nrc_tracer.tasks.sdf.mesh import unit_mesh
from tests.tasks.nerf.analytic import ball_photographs
from tests.tasks.sdf.shapes import box

STEPS = 4
GRID = {
    **{"otype": "HashGrid", "n_levels": 4, "n_features_per_level": 4, "log2_hashmap_size": 10},
    **{"base_resolution": 4, "per_level_scale": 1.8},
}
NETWORK = {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 1}
ADAM = {
    **{"otype": "Adam", "learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-15, "l2_reg": 1e-2},
    "skip_zero_grad_non_matrix_params": False,  # as in torch
}
DECAY = {"otype": "ExponentialDecay", "decay_start": 1, "decay_interval": 1, "decay_base": 0.5, "nested": ADAM}
OPTIMIZER = {"otype": "Ema", "decay": 0.95, "nested": DECAY}
"""An optimizer of which every part has an effect within a few steps."""


def image():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    config = {"encoding": GRID, "network": NETWORK, "loss": {"otype": "L2"}, "optimizer": OPTIMIZER}
    return ImageTask(whole("noise", pixels, linear=False), config=config, batch=256, device="cpu", seed=3)


def sdf():
    config = {"encoding": GRID, "network": NETWORK, "loss": {"otype": "MAPE"}, "optimizer": OPTIMIZER}
    return SdfTask(unit_mesh(*box(), "box"), config=config, batch=256, device="cpu", seed=3)


def nerf():
    config = default_config(1, on_cpu=True) | {"optimizer": OPTIMIZER}
    config["encoding"]["nested"][0] |= GRID
    views = ball_photographs(8, 16, test=1)
    return NerfTask(views, config, options=NerfOptions(batch=1024), device="cpu", seed=3)


@pytest.mark.parametrize("make", [image, sdf, nerf])
@pytest.mark.parametrize("layout", ["index", "planes"])
def test_the_peer_trains_the_same_model(make, layout, monkeypatch):
    """In float32, the losses of some steps and the predictions of the trained models are equal up to rounding.

    Rounding may decide the sign of a gradient that is almost zero, and so, in Adam's first steps, whole steps along directions
    in which the loss is flat.
    """
    monkeypatch.setattr(nn.precision, "bfloat16_pays", lambda: False)
    ours, theirs = make(), make()
    put_into(theirs, layout, 1)
    for _ in range(STEPS):
        assert float(theirs.step()) == pytest.approx(float(ours.step()), rel=1e-5)
    x = torch.rand(500, ours.trainer.model.n_input_dims, generator=torch.Generator().manual_seed(0))
    mine, peers = (task.trainer.model(x, averaged=False) for task in (ours, theirs))
    assert (mine - peers).abs().max() < 3e-4 * mine.abs().max()


def test_a_layout_that_fails_is_left_out(monkeypatch):
    """It is an error only if all layouts fail, because then there is nothing to compare with."""
    tried = []

    def broken(task, layout, threads):
        tried.append(layout)
        if layout != "planes":
            raise RuntimeError(f"no {layout}")
        put_into(task, layout, threads)

    monkeypatch.setattr(tasks, "put_into", broken)
    assert fastest_layout(image, 1) == ("planes", 1)
    assert tried == list(LAYOUTS)

    def hopeless(task, layout, threads):
        raise RuntimeError("no memory")

    monkeypatch.setattr(tasks, "put_into", hopeless)
    with pytest.raises(RuntimeError, match="every layout"):
        fastest_layout(image, 1)


def test_a_curve_is_interpolated():
    """Scores, steps and times to a score are interpolated linearly; a temporary drop of the score is ignored."""
    curve = Curve(30, 4.0, [(0.0, 0, 10.0), (1.0, 10, 20.0), (2.0, 14, 18.0), (4.0, 30, 26.0)])
    assert [curve.at(t) for t in (0.0, 0.5, 1.5, 3.0)] == [10.0, 15.0, 19.0, 22.0]
    assert [curve.steps_at(t) for t in (0.5, 1.5, 4.0)] == [5.0, 12.0, 30.0]
    assert math.isnan(curve.at(4.5))
    assert math.isnan(curve.steps_at(4.5))
    assert [curve.first(score) for score in (5.0, 15.0, 20.0, 22.0)] == [0.0, 0.5, 1.0, 3.0]
    assert curve.first(26.1) == math.inf


def test_ratios_are_those_of_equal_time():
    """Progress after the end of torch's training does not count: in this example our steps are ten times as fast after it."""
    ours = Curve(2800, 90.0, [(0.0, 0, 0.0), (30.0, 100, 30.0), (60.0, 200, 30.0), (90.0, 2800, 40.0)])
    theirs = Curve(50, 60.0, [(0.0, 0, 0.0), (60.0, 50, 60.0)])
    # After a third of torch's time our score is 20, which torch reaches after 20 s
    assert compare(ours, theirs) == pytest.approx((4.0, 1.0))
    slow = Curve(50, 60.0, [(0.0, 0, 0.0), (60.0, 50, 15.0)])
    assert compare(ours, slow) == (4.0, None)
    # Where both should end at the same time, each ends with the first step after that time
    late = Curve(50, 90.5, [(0.0, 0, 0.0), (90.5, 50, 15.0)])
    assert compare(ours, late)[0] == pytest.approx(2800 / (50 * 90.0 / 90.5))


def test_results_are_kept_case_by_case_with_their_machine(tmp_path):
    """Running a case again replaces only its own result, and each result names the machine that it ran on."""
    file = tmp_path / "results.json"
    arguments = argparse.Namespace(json=str(file), device="cpu", threads=2)
    keep({"case": "fox", "seconds": 1.0}, arguments)
    keep({"case": "room", "seconds": 2.0}, arguments)
    arguments.threads = 1
    keep({"case": "fox", "seconds": 3.0}, arguments)
    fox, room = json.loads(file.read_text())["results"]
    assert (fox["case"], fox["seconds"], fox["machine"]["threads"]) == ("fox", 3.0, 1)
    assert (room["case"], room["seconds"], room["machine"]["threads"]) == ("room", 2.0, 2)
    assert fox["machine"]["torch"] == torch.__version__


@pytest.mark.parametrize("name", list(task_cases.CASES))
def test_a_case_without_data_says_so(name, tmp_path, monkeypatch):
    """The error is a DataError, so that the benchmark can continue with the other cases."""
    monkeypatch.setattr(task_cases, "DATA", tmp_path / "data")
    monkeypatch.setattr(task_cases, "CACHE", tmp_path / "made")
    with pytest.raises(DataError, match=r"does not exist|there is no data set"):
        task_cases.CASES[name].make("cpu", 1)
