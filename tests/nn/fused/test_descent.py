"""Steps that are decided on the device: they equal steps decided on the host, and never wait for the device."""

import pytest
import torch

import nrc_tracer.nn as nn
from nrc_tracer.device.recording import Recording
from nrc_tracer.errors import ConfigError
from tests.nn.fused.samples import NoSynchronization, quickly_compiled
from tests.nn.samples import EMA, GRID, SMALL, make_model, same_bits, uniform

BESIDE = {
    "otype": "Composite",
    "nested": [{"otype": "OneBlob", "n_bins": 4, "n_dims_to_encode": 2}, GRID | {"n_dims_to_encode": 3}],
}
TWO_GRIDS = {
    "otype": "Composite",
    "nested": [GRID | {"n_dims_to_encode": 2, "n_levels": 3}, GRID | {"n_dims_to_encode": 3}],
}
ADAM = {"otype": "Adam", "learning_rate": 1e-2, "epsilon": 1e-10, "l2_reg": 1e-6, "beta2": 0.99}
FACTORS = ADAM | {"non_matrix_learning_rate_factor": 0.5, "clipping_magnitude": 0.2}
ALL = ADAM | {"skip_zero_grad_non_matrix_params": False}
FROZEN = ADAM | {"optimize_matrix_params": False}


def make_trainer(*, capturable, encoding=BESIDE, optimizer=EMA, **options):
    dims = 3 if encoding is GRID else 5
    model = make_model(
        encoding, SMALL, dims, loss={"otype": "L2"}, optimizer=optimizer, fused=True, precision="float16", **options
    )
    return nn.Trainer(model, capturable=capturable)


def batch(trainer, seed):
    x = uniform(100, trainer.model.n_input_dims, seed=seed)
    return x, 1.5 + torch.sin(5.0 * x[:, :3])


def assert_same(trainer, expected):
    """Assert that saved state and outputs of two trainings are equal."""
    assert same_bits(trainer.model.params, expected.model.params)
    assert same_bits(trainer.model.inference_params, expected.model.inference_params)
    state, other = trainer.state(), expected.state()
    assert {key: state[key] for key in state if key != "optimizer"} == {
        key: other[key] for key in other if key != "optimizer"
    }
    if not trainer.steps:  # before the first step, averages are undefined
        return
    for found, wanted in zip(leaves(state["optimizer"]), leaves(other["optimizer"]), strict=True):
        assert same_bits(found, wanted) if isinstance(found, torch.Tensor) else found == wanted


def leaves(state):
    for key in sorted(state):
        yield from leaves(state[key]) if isinstance(state[key], dict) else (state[key],)


@pytest.mark.parametrize(
    ("encoding", "optimizer"),
    [(BESIDE, EMA), (TWO_GRIDS, EMA), (GRID, ADAM), (GRID, EMA | {"nested": FACTORS}), (GRID, EMA | {"nested": ALL})],
    ids=["beside", "two-grids", "adam", "factors", "all"],
)
def test_steps_equal_those_of_the_host(encoding, optimizer):
    """Parameters, moments, counts, averages and numbers agree to the last bit while the learning rate changes."""
    trainer, expected = (
        make_trainer(capturable=capturable, encoding=encoding, optimizer=optimizer) for capturable in (True, False)
    )
    with quickly_compiled(trainer.model.backend.fused):
        for seed in range(5):
            for each in (trainer, expected):
                each.learning_rate = 1e-2 / (1 + seed)
            assert same_bits(trainer.step(*batch(trainer, seed)), expected.step(*batch(expected, seed)))
            assert_same(trainer, expected)
    assert trainer.steps == 5


def test_frozen_parameters_do_not_change():
    """The network's weights stay, and the grid's parameters change."""
    trainer = make_trainer(capturable=True, encoding=GRID, optimizer=FROZEN)
    before, split = trainer.model.params.clone(), trainer.model.structure.n_matrix_params
    with quickly_compiled(trainer.model.backend.fused):
        trainer.step(*batch(trainer, 0))
    assert torch.equal(trainer.model.params[:split], before[:split])
    assert not torch.equal(trainer.model.params[split:], before[split:])


def test_steps_do_not_wait_for_the_device():
    """Neither steps nor inference with the average wait for the device; the host's steps do, so waiting is detected."""
    trainer, host = (make_trainer(capturable=capturable) for capturable in (True, False))
    x, target = batch(trainer, 0)
    with quickly_compiled(trainer.model.backend.fused):
        with NoSynchronization():
            for _ in range(3):
                trainer.step(x, target, factor=target)
                trainer.model(x)
        with pytest.raises(AssertionError, match="scalar"), NoSynchronization():
            host.step(x, target)
    assert trainer.steps == 3


@pytest.mark.parametrize("target", [torch.nan, torch.inf, 1e6], ids=["nan", "inf", "overflow"])
def test_skipped_steps_equal_those_of_the_host(target):
    """Both before the average exists and later, skipped steps are counted, and only an overflow halves the scale."""
    trainer, expected = (make_trainer(capturable=capturable) for capturable in (True, False))
    with quickly_compiled(trainer.model.backend.fused):
        for seed, bad in enumerate((True, False, True, True, False)):
            for each in (trainer, expected):
                x, good = batch(each, seed)
                loss = each.step(x, torch.full_like(good, target) if bad else good)
                assert not bad or target == 1e6 or not torch.isfinite(loss)
            assert_same(trainer, expected)
    assert trainer.skipped_steps == 3
    assert trainer.loss_scale == (16.0 if target == 1e6 else 128.0)


def test_inference_before_the_first_step_uses_the_parameters():
    """Inference uses the parameters if every step so far was skipped, or if there was none."""
    trainer = make_trainer(capturable=True)
    before = trainer.model.params.clone()
    assert torch.equal(trainer.model.inference_params, before)
    with quickly_compiled(trainer.model.backend.fused):
        x, target = batch(trainer, 0)
        trainer.step(x, torch.full_like(target, torch.nan))
    assert torch.equal(trainer.model.inference_params, before)
    assert torch.equal(trainer.model.params, before)


@pytest.mark.parametrize("first", [True, False])
def test_states_are_interchangeable(first):
    """A trainer of either kind continues from the state of the other without a difference."""
    trainers = [make_trainer(capturable=capturable) for capturable in (first, not first, first)]
    with quickly_compiled(trainers[0].model.backend.fused):
        for seed in range(3):
            for each in trainers[0], trainers[2]:
                each.step(*batch(each, seed))
        trainers[1].model.params.copy_(trainers[0].model.params)
        trainers[1].load_state(trainers[0].state())
        assert trainers[1].steps == 3
        for seed in range(3, 6):
            for each in trainers[1:]:
                each.step(*batch(each, seed))
            assert_same(trainers[1], trainers[2])


def test_the_loss_scale_recovers():
    """After a thousand steps without an overflow the scale doubles, in both kinds of trainers."""
    trainer, expected = (make_trainer(capturable=capturable) for capturable in (True, False))
    with quickly_compiled(trainer.model.backend.fused):
        for each in (trainer, expected):
            counters = each.counters
            counters.loss_scale, counters.since_overflow = 32.0, 998
            each.counters = counters
        for scale in (32.0, 64.0, 64.0):
            for each in (trainer, expected):
                each.step(*batch(each, 0))
                assert each.loss_scale == scale
    assert trainer.state()["since_overflow"] == expected.state()["since_overflow"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fused": False}, "fused=True"),
        ({"deterministic": True}, "deterministic"),
        ({"optimizer": {"otype": "SGD"}}, "Adam"),
        ({"optimizer": ADAM | {"adabound": True}}, "adabound"),
        ({"optimizer": ADAM | {"moments": "bfloat16"}}, "float32"),
        ({"optimizer": {"otype": "ExponentialDecay", "nested": ADAM}}, "Adam"),
    ],
)
def test_other_models_and_optimizers_are_refused(options, message):
    options = {"optimizer": EMA, "fused": True, "precision": "float16"} | options
    model = make_model(GRID, SMALL, loss={"otype": "L2"}, **options)
    with pytest.raises(ConfigError, match=message):
        nn.Trainer(model, capturable=True)


@pytest.mark.cuda
def test_cuda_graphs_take_the_same_steps():
    """With an encoding without atomics, ten steps launched as a graph equal ten steps decided by the host to the last bit."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    config = {
        "encoding": {"otype": "OneBlob", "n_bins": 8},
        "network": SMALL,
        "loss": {"otype": "L2"},
        "optimizer": EMA,
    }
    models = [nn.Model(3, 3, config, device="cuda:0", fused=True) for _ in range(2)]
    trainer, expected = nn.Trainer(models[0], capturable=True), nn.Trainer(models[1])
    x = uniform(1000, 3).cuda()
    target = 1.5 + torch.sin(5.0 * x)
    record = Recording(models[0].backend.launcher)
    for seed in range(10):
        x.copy_(uniform(1000, 3, seed=seed))
        target.copy_(1.5 + torch.sin(5.0 * x))
        record(lambda: trainer.step(x, target))
        expected.step(x, target)
    assert record.is_recorded
    assert_same(trainer, expected)
