"""Training: steps, skipped steps, averages, states and threads; ten steps agree with the reference."""

import numpy as np
import pytest
import torch
import warp as wp

import nrc_tracer.nn as nn
from nrc_tracer.device.arrays import ArrayError
from nrc_tracer.errors import ConfigError, NrcError
from nrc_tracer.nn import trainer as trainer_module
from nrc_tracer.nn.blocked_mlp import BLOCK
from nrc_tracer.nn.training_counters import LossScaling, TrainingCounters
from tests.nn.samples import (
    EMA,
    GRID,
    NETWORK,
    SMALL,
    SMOOTH,
    SOFT,
    make_model,
    relative,
    same_bits,
    spread_params,
    uniform,
)

L2 = {"otype": "L2"}
DECAYED = {
    "otype": "Ema",
    "decay": 0.9,
    "nested": {"otype": "ExponentialDecay", "decay_start": 2, "nested": EMA["nested"]},
}
TWO_GRIDS = {
    "otype": "Composite",
    "nested": [SMOOTH | {"n_dims_to_encode": 2}, GRID | {"log2_hashmap_size": 12, "n_dims_to_encode": 3}],
}


def make_trainer(encoding=GRID, network=SMALL, n_input_dims=3, loss=L2, optimizer=EMA, **options):
    return nn.Trainer(make_model(encoding, network, n_input_dims, loss=loss, optimizer=optimizer, **options))


def batch(seed, n=300, n_input_dims=3, n_output_dims=3):
    """Points, and a smooth function of them."""
    x = uniform(n, n_input_dims, seed=seed)
    phases = torch.arange(n_output_dims, dtype=torch.float32)
    return x, torch.sin(5.0 * x.sum(dim=1, keepdim=True) + phases)


def train(trainer, steps, first=0, n=300):
    model = trainer.model
    for seed in range(first, first + steps):
        trainer.step(*batch(seed, n, model.n_input_dims, model.n_output_dims))


def assert_same_state(state, other):
    assert state.keys() == other.keys()
    for key, value in state.items():
        if isinstance(value, dict):
            assert_same_state(value, other[key])
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, other[key]), key
        else:
            assert value == other[key], key


# Steps


def test_a_step_returns_the_loss_before_it():
    """It is the mean over elements for the parameters, not for their average, and it falls."""
    trainer = make_trainer()
    x, target = batch(0)
    for _ in range(5):
        expected = ((trainer.model.apply(x, trainer.model.params) - target) ** 2).mean()
        assert trainer.step(x, target).item() == pytest.approx(expected.item(), rel=1e-5)
    assert trainer.step(x, target) < make_trainer().step(x, target)
    assert (trainer.steps, trainer.skipped_steps) == (6, 0)


def test_arrays_of_all_kinds():
    """torch, NumPy, Warp and strided arrays give the same step."""
    x, target = batch(0)
    expected = make_trainer()
    expected.step(x, target)
    for kind in (
        lambda value: value.numpy(),
        wp.from_torch,
        lambda value: wp.from_numpy(value.numpy(), dtype=wp.vec3, device="cpu"),
        lambda value: torch.cat([value, value], dim=1)[:, :3],
        lambda value: value.T.contiguous().T.requires_grad_(),
    ):
        trainer = make_trainer()
        trainer.step(kind(x), kind(target))
        assert same_bits(trainer.model.params, expected.model.params)


def test_an_empty_batch_changes_nothing():
    """The loss is 0, and nothing changes."""
    trainer = make_trainer()
    train(trainer, 2)
    before, state = trainer.model.params.clone(), trainer.state()
    assert trainer.step(torch.zeros(0, 3), torch.zeros(0, 3)) == 0.0
    assert torch.equal(trainer.model.params, before)
    assert_same_state(trainer.state(), state)


@pytest.mark.parametrize(
    ("x", "target", "pdf", "message"),
    [
        (torch.zeros(4, 2), torch.zeros(4, 3), None, r"x: expected shape \[N, 3\]"),
        (torch.zeros(4, 3), torch.zeros(4, 1), None, r"target: expected shape \[N, 3\]"),
        (torch.zeros(4, 3), torch.zeros(5, 3), None, "target: 5 rows for 4 inputs"),
        (torch.zeros(4, 3), torch.zeros(4, 3).double(), None, "target: expected float32"),
        (torch.zeros(4, 3), None, None, "target: expected a torch tensor"),
        (torch.zeros(4, 3), torch.zeros(4, 3), torch.ones(5), "data_pdf: expected shape"),
        (torch.zeros(4, 3), torch.zeros(4, 3), torch.ones(4, 1), "data_pdf: expected shape"),
        (torch.zeros(4, 3), torch.zeros(4, 3), torch.ones(4).double(), "data_pdf: expected a float32 tensor"),
        (torch.zeros(4, 3), torch.zeros(4, 3), [1.0] * 4, "data_pdf: expected a float32 tensor"),
    ],
)
def test_wrong_batches_change_nothing(x, target, pdf, message):
    """The error names the argument, and no step is counted."""
    trainer = make_trainer()
    before = trainer.model.params.clone()
    with pytest.raises(ArrayError, match=f"^{message}"):
        trainer.step(x, target, data_pdf=pdf)
    assert torch.equal(trainer.model.params, before)
    assert (trainer.steps, trainer.skipped_steps) == (0, 0)


def test_a_loss_that_needs_more_outputs_is_refused():
    """Relative luminance needs three outputs; the error is raised when the trainer is made."""
    loss = {"otype": "RelativeL2Luminance"}
    with pytest.raises(ConfigError, match="RelativeL2Luminance needs at least 3 outputs, but the model has 2"):
        make_trainer(loss=loss, n_output_dims=2)
    train(make_trainer(loss=loss, n_output_dims=3), 1)


@pytest.mark.parametrize("shape", ["rows", "elements"])
def test_density_of_samples(shape):
    """The loss is divided by the density, as in a step with explicit weights."""
    x, target = batch(0)
    pdf = uniform(300, low=0.5, high=2.0, seed=9)
    pdf = pdf if shape == "rows" else pdf[:, None].repeat(1, 3)
    sgd = {"otype": "SGD", "learning_rate": 0.5, "l2_reg": 0.0}
    trainer, by_hand = make_trainer(optimizer=sgd), make_model()
    loss = trainer.step(x, target, data_pdf=pdf)
    params = by_hand.params.clone().requires_grad_()
    weights = (pdf if pdf.ndim == 2 else pdf[:, None]).double()
    expected = ((by_hand.structure.reference(x, params.double()) - target) ** 2 / weights).mean()
    (gradient,) = torch.autograd.grad(expected, params)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert (
        relative(trainer.model.params - by_hand.params, -0.5 * gradient) < 1e-4
    )  # parameters are a thousand times as large
    assert make_trainer().step(x, target).item() != pytest.approx(expected.item(), rel=1e-2)


# Skipped steps


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["input", "target", "density"])
def test_batches_that_are_not_finite_are_skipped(where, bad, precision):
    """The step is counted as skipped, and the next steps give the same bits as without it."""
    trainer, expected = make_trainer(precision=precision), make_trainer(precision=precision)
    train(trainer, 2)
    train(expected, 2)
    state = trainer.state()
    x, target = batch(2)
    pdf = torch.ones(300) if where == "density" else None
    if where == "density":
        pdf[5] = np.nan if np.isinf(bad) else 0.0
    else:
        (x if where == "input" else target)[5, 1] = bad
    loss = trainer.step(x, target, data_pdf=pdf)
    assert not torch.isfinite(loss)
    assert (trainer.steps, trainer.skipped_steps) == (2, 1)
    assert_same_state(trainer.state() | {"skipped_steps": 0}, state)
    assert torch.equal(trainer.model.params, expected.model.params)
    train(trainer, 2, 3)
    train(expected, 2, 3)
    assert same_bits(trainer.model.params, expected.model.params)
    assert same_bits(trainer.model.inference_params, expected.model.inference_params)


def test_nan_does_not_reach_an_encoding_alone():
    """Cross entropy ignores NaN where the target is zero, but the gradient of the grid would not."""
    trainer = make_trainer(network=None, loss={"otype": "CrossEntropy"})
    before = trainer.model.params.clone()
    x, target = uniform(50, 3), torch.zeros(50, 10)
    x[3] = np.nan
    trainer.step(x, target)
    assert trainer.skipped_steps == 1
    assert torch.equal(trainer.model.params, before)


def test_the_loss_scale_falls_until_gradients_fit():
    """Each such gradient is skipped and halves the scale until gradients fit; then training proceeds."""
    trainer = make_trainer(precision="float16")
    assert trainer.loss_scale == 128.0
    before, (x, _) = trainer.model.params.clone(), batch(0)
    target = torch.full((300, 3), 1e6)
    while not trainer.steps:
        assert torch.equal(trainer.model.params, before)
        loss = trainer.step(x, target)
        assert loss.item() == pytest.approx(1e12, rel=1e-3)
        assert trainer.skipped_steps < 18
    assert trainer.skipped_steps >= 3
    assert trainer.loss_scale == 128.0 * 0.5**trainer.skipped_steps
    assert torch.isfinite(trainer.model.params).all()
    assert not torch.equal(trainer.model.params, before)
    train(trainer, 10)
    assert torch.isfinite(trainer.model.params).all()


def test_the_loss_scale_has_a_lower_limit():
    """If gradients never fit, all steps are skipped, and the scale stays above zero."""
    trainer = make_trainer(precision="float16")
    before, (x, _) = trainer.model.params.clone(), batch(0)
    for _ in range(25):
        trainer.step(x, torch.full((300, 3), 1e15))
    assert (trainer.steps, trainer.skipped_steps) == (0, 25)
    assert trainer.loss_scale == 2.0**-10
    assert torch.equal(trainer.model.params, before)


def test_the_loss_scale_recovers(monkeypatch):
    """It doubles after a number of consecutive steps that fit, and never exceeds its initial value."""
    monkeypatch.setattr(trainer_module, "LossScaling", lambda: LossScaling(interval=3))
    trainer = make_trainer(precision="float16")
    trainer.counters, scales = TrainingCounters(32.0), []
    for seed in range(8):
        trainer.step(*batch(seed))
        scales.append(trainer.loss_scale)
    assert scales == [32.0, 32.0, 64.0, 64.0, 64.0, 128.0, 128.0, 128.0]
    # An overflow restarts the count
    trainer = make_trainer(precision="float16")
    trainer.counters = TrainingCounters(32.0)
    train(trainer, 2)
    trainer.step(batch(0)[0], torch.full((300, 3), 1e7))
    assert (trainer.loss_scale, trainer.skipped_steps) == (16.0, 1)
    train(trainer, 2)
    assert trainer.loss_scale == 16.0
    train(trainer, 1)
    assert trainer.loss_scale == 32.0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_only_float16_is_scaled(precision):
    """The other types have the exponents of float32."""
    trainer = make_trainer(precision=precision)
    trainer.step(batch(0)[0], torch.full((300, 3), 1e15))
    assert (trainer.loss_scale, trainer.steps) == (1.0, 1)


# Averages, rates and states


def test_the_model_uses_the_average():
    """The average is used from the first step on; before it, and without an average, the parameters are used."""
    trainer = make_trainer()
    model, (x, _) = trainer.model, batch(7)
    initial = model.params.clone()
    assert model.inference_params is model.params
    average, norm = torch.zeros_like(initial, dtype=torch.float64), 0.0
    for step in range(4):
        train(trainer, 1, step)
        average, norm = 0.9 * average + 0.1 * model.params.double(), 0.9 * norm + 0.1
        assert (model.inference_params - average / norm).abs().max() < 1e-6
        plain = make_model()
        plain.set_params(model.inference_params)
        assert torch.equal(model(x), plain(x))
        plain.set_params(model.params)
        assert step == 0 or not torch.equal(model(x), plain(x))
    model.set_average(None)
    assert torch.equal(model(x), plain(x))
    without = make_trainer(optimizer=EMA["nested"])
    train(without, 2)
    assert without.model.inference_params is without.model.params


def test_learning_rate():
    """The rate can be read and set; zero stops everything except regularization."""
    trainer = make_trainer(optimizer={"otype": "Adam", "learning_rate": 0.03, "l2_reg": 0.0})
    assert trainer.learning_rate == pytest.approx(0.03)
    trainer.learning_rate = 0
    before = trainer.model.params.clone()
    train(trainer, 2)
    assert torch.equal(trainer.model.params, before)
    trainer.learning_rate = 0.5
    assert trainer.optimizer.learning_rate == 0.5
    x, target = batch(0)
    trainer.step(x, target)
    # The gradient is the same twice, except for the size of the third step: no parameter moves by more than the corrected rate
    moved = (trainer.model.params - before).abs().max()
    assert 0.1 < moved < 1.0
    for wrong in (-1.0, np.nan, np.inf, "fast", None, True):
        with pytest.raises(ConfigError, match=r"^learning_rate: expected a number of at least 0"):
            trainer.learning_rate = wrong
    assert trainer.learning_rate == 0.5


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_resumed_training_has_the_same_bits(precision):
    """Another trainer continues from a state and the parameters with the same parameters, averages and states."""
    trainer = make_trainer(optimizer=DECAYED, precision=precision)
    train(trainer, 3)
    trainer.step(batch(0)[0], torch.full((300, 3), torch.nan))
    state, params = trainer.state(), trainer.model.params.clone()
    train(trainer, 3, 3)
    resumed = make_trainer(optimizer=DECAYED, precision=precision, seed=2)
    train(resumed, 1, 30)
    resumed.load_state(state)
    resumed.model.set_params(params)
    assert (resumed.steps, resumed.skipped_steps) == (3, 1)
    train(resumed, 3, 3)
    assert same_bits(resumed.model.params, trainer.model.params)
    assert same_bits(resumed.model.inference_params, trainer.model.inference_params)
    assert_same_state(resumed.state(), trainer.state())


def test_a_state_is_a_copy():
    """Further training does not change it."""
    trainer = make_trainer()
    train(trainer, 1)
    state, again = trainer.state(), trainer.state()
    train(trainer, 2, 1)
    assert_same_state(state, again)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: None,
        lambda state: {},
        lambda state: state | {"more": 1},
        lambda state: {key: value for key, value in state.items() if key != "steps"},
        lambda state: state | {"steps": "abc"},
        lambda state: state | {"steps": -1},
        lambda state: state | {"steps": 1.5},
        lambda state: state | {"loss_scale": float("nan")},
        lambda state: state | {"loss_scale": None},
        lambda state: state | {"optimizer": None},
        lambda state: state | {"optimizer": {}},
        lambda state: state | {"optimizer": state["optimizer"] | {"averages": torch.zeros(3)}},
        lambda state: make_trainer(SMOOTH | {"n_levels": 3}).state(),
        lambda state: make_trainer(optimizer=EMA["nested"]).state(),
    ],
)
def test_other_states_are_refused_and_change_nothing(change):
    """Errors belong to this package."""
    trainer = make_trainer()
    train(trainer, 2)
    state = trainer.state()
    with pytest.raises(NrcError, match="state"):
        trainer.load_state(change(state))
    assert_same_state(trainer.state(), state)


# Threads and backends


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("encoding", "n_input_dims", "n"),
    [
        (GRID | {"n_levels": 1, "log2_hashmap_size": 12, "base_resolution": 40}, 3, 300),
        (GRID | {"n_levels": 2, "log2_hashmap_size": 12, "base_resolution": 40}, 3, 450),
        (SMOOTH, 3, 2 * BLOCK + 11),
        (TWO_GRIDS, 5, 77),
        ({"otype": "OneBlob"}, 3, BLOCK + 1),
    ],
    ids=["one-level", "two-levels", "five-levels", "two-grids", "one-blob"],
)
def test_threads_do_not_change_a_bit(encoding, n_input_dims, n, precision):
    """Parameters and averages are equal after steps on batches of several sizes, with levels cut into up to six regions."""
    trained = []
    for threads in (1, 2, 3):
        trainer = make_trainer(encoding, NETWORK, n_input_dims, threads=threads, precision=precision)
        for step in range(6):
            train(trainer, 1, step, n // (step % 3 + 1) + step)
        trained.append(trainer.model)
    for model in trained[1:]:
        assert same_bits(model.params, trained[0].params)
        assert same_bits(model.inference_params, trained[0].inference_params)


def test_repeated_training_gives_the_same_bits():
    """A model's first training and the next one have the same bits, despite listed gradients and averages."""
    first, second = make_trainer(TWO_GRIDS, SMALL, 5), make_trainer(TWO_GRIDS, SMALL, 5)
    initial = second.model.params.clone()
    train(second, 3, 40)
    fresh = nn.Trainer(second.model)
    second.model.set_params(initial)
    train(first, 5)
    train(fresh, 5)
    assert same_bits(first.model.params, fresh.model.params)
    assert same_bits(first.model.inference_params, fresh.model.inference_params)


OPTIMIZERS = {
    "sgd": {"otype": "SGD", "learning_rate": 0.1, "l2_reg": 1e-6},
    # The sensitivity of a step to its gradient is at most rate / epsilon
    "adam": {"otype": "Adam", "learning_rate": 1e-3, "epsilon": 1e-3},
    "ema": {"otype": "Ema", "decay": 0.9, "nested": {"otype": "Adam", "learning_rate": 1e-3, "epsilon": 1e-3}},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("encoding", [SMOOTH, {"otype": "OneBlob"}], ids=["grid", "one_blob"])
def test_kernels_train_like_the_reference(name, encoding):
    """Ten gradients accurate to 1e-5 each leave an error of 1e-4 of the distance moved, plus the rounding of ten sums."""
    kernels = make_trainer(encoding, SOFT, optimizer=OPTIMIZERS[name])
    judge = make_trainer(encoding, SOFT, optimizer=OPTIMIZERS[name], backend="reference", precision="float64")
    start = spread_params(kernels.model)
    for trainer in (kernels, judge):
        trainer.model.set_params(start)
    for seed in range(10):
        losses = [trainer.step(*batch(seed)).item() for trainer in (kernels, judge)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for found, expected in (
        (kernels.model.params, judge.model.params),
        (kernels.model.inference_params, judge.model.inference_params),
    ):
        way = (expected - start).double().norm()
        rounding = 10 * 2**-24 * start.double().norm()
        assert float((found - expected).double().norm()) < 1e-4 * float(way) + rounding
