"""The exponential moving average: its definition, entries that rest, and constant weights."""

import numpy as np
import pytest
import torch

from nrc_tracer.nn import config
from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.optimizers.build import build_optimizer
from tests.nn.optimizers.model import GridModel, assert_same_state, launcher

ADAM = config.Adam(learning_rate=0.05)
NESTINGS = {
    "Ema > Adam": config.Ema(decay=0.9, nested=ADAM),
    "ExponentialDecay > Ema > Adam": config.ExponentialDecay(
        decay_start=2, decay_interval=2, nested=config.Ema(decay=0.9, nested=ADAM)
    ),
    "Ema > ExponentialDecay > Adam": config.Ema(
        decay=0.9, nested=config.ExponentialDecay(decay_start=2, decay_interval=2, nested=ADAM)
    ),
    "Ema > SGD": config.Ema(decay=0.9, nested=config.SGD(l2_reg=0.1)),
    "Ema > Batched > Adam": config.Ema(decay=0.9, nested=config.Batched(batch_size_multiplier=2, nested=ADAM)),
    "Ema > Adam without skipping": config.Ema(
        decay=0.9, nested=config.Adam(skip_zero_grad_non_matrix_params=False, non_matrix_l2_reg=0.1)
    ),
}


class Definition:
    """e_t = (d (1 - d^(t-1)) e_(t-1) + (1 - d) w_t) / (1 - d^t) in float64, for all weights at every step."""

    def __init__(self, decay):
        self.d = float(np.float32(decay))
        self.t = 0
        self.average = 0.0

    def add(self, weights):
        self.t += 1
        old = self.d * (1 - self.d ** (self.t - 1)) * self.average
        self.average = (old + (1 - self.d) * weights.double()) / (1 - self.d**self.t)


def rounding(params, decay):
    """Possible rounding error of float32: a few roundings per step, of which the fraction `decay` remains in each later step."""
    return 4 * 2**-24 * params.abs().max().item() / (1 - decay)


@pytest.mark.parametrize("name", NESTINGS)
def test_agrees_with_an_average_of_every_step(name):
    """The average is correct with lists, resting entries, full gradients in between, and occasional reads of the average."""
    model = GridModel()
    optimizer = model.optimizer(NESTINGS[name])
    expected = Definition(0.9)
    assert optimizer.inference_params(model.params) is None
    for step in range(24):
        gradient = model.dense_gradient if step in (9, 10) else model.gradient
        optimizer.step(model.params, gradient(step, 30 if step % 5 else 1000))
        expected.add(model.params)
        if step in (6, 17, 23):
            average = optimizer.inference_params(model.params)
            np.testing.assert_allclose(average, expected.average, rtol=0, atol=rounding(model.params, 0.9))
    # The average differs from the weights
    assert (average - model.params).abs().max() > 20 * rounding(model.params, 0.9)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 0.9999])
def test_constant_weights_are_their_own_average(decay):
    """With a learning rate of zero, the average equals the weights to the last bit after any number of steps."""
    model = GridModel()
    optimizer = model.optimizer(config.Ema(decay=decay, nested=config.Adam(learning_rate=0.0)))
    for step in range(12):
        optimizer.step(model.params, (model.dense_gradient if step == 6 else model.gradient)(step, 30))
        if step in (3, 8):
            assert torch.equal(optimizer.inference_params(model.params), model.params)
    assert torch.equal(optimizer.inference_params(model.params), model.params)


@pytest.mark.parametrize("rest", [1, 10, 3000, 10_000])
def test_a_long_rest_is_brought_up_to_date(rest):
    """For an entry that moved in two steps and then rested, the closed form equals the average over every step."""
    model = GridModel()
    optimizer = model.optimizer(config.Ema(decay=0.999, nested=config.Adam(learning_rate=0.5)))
    expected = Definition(0.999)
    for step in range(2):
        optimizer.step(model.params, model.gradient(step, 1000))
        expected.add(model.params)
    resting = optimizer.state()
    resting["nested"]["steps"] += rest
    optimizer.load_state(resting)
    weights = model.params[300:]
    d, t = expected.d, 2 + rest
    # The closed form of the recursion: weights d^(t-i) of w_i, normalized
    total = 1 - d**t
    old = expected.average[300:] * (1 - d**2) * d**rest
    wanted = (old + weights.double() * (1 - d**rest)) / total
    average = optimizer.inference_params(model.params)[300:]
    np.testing.assert_allclose(average, wanted, rtol=0, atol=4 * 2**-24 * weights.abs().max().item())


def test_untouched_entries_are_not_visited():
    """A step with few listed entries does not change the averages and marks of the others."""
    model = GridModel()
    optimizer = model.optimizer(config.Ema(decay=0.9, nested=ADAM))
    optimizer.step(model.params, model.gradient(0, 2000))
    averages, updated = optimizer.averages.clone(), optimizer.updated.clone()
    optimizer.step(model.params, model.gradient(1, 20))
    rests = ~model.is_touched()
    assert rests.sum() > model.n_params / 2
    assert torch.equal(optimizer.averages[rests], averages[rests])
    assert torch.equal(optimizer.updated[rests], updated[rests])
    # Marks of the other entries are at the step before, whose weights the step changed
    assert (optimizer.updated[300:][~rests[300:]] == 1).all()


def test_features_of_an_entry_may_rest_for_different_times():
    """An average that is one step behind, as fused steps leave it, is brought up to date like the others."""
    first, second = GridModel(), GridModel()
    decay = 0.9
    optimizers = [model.optimizer(config.Ema(decay=decay, nested=ADAM)) for model in (first, second)]
    for step in range(3):
        for model, optimizer in zip((first, second), optimizers, strict=True):
            optimizer.step(model.params, model.gradient(step, 2000))
    behind = optimizers[1]
    behind.catch_up(second.params)
    behind.complete = 0
    behind.updated.fill_(3)
    odd = slice(301, None, 2)
    weights = second.params[odd]
    rest = behind.decay * (1 - behind.decay**2) / (1 - behind.decay**3)
    behind.averages[odd] = weights + (behind.averages[odd] - weights) / rest
    behind.updated[odd] = 2
    for model, optimizer in zip((first, second), optimizers, strict=True):
        optimizer.step(model.params, model.gradient(3, 2000))
    found, expected = (o.inference_params(m.params) for m, o in zip((first, second), optimizers, strict=True))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_training_does_not_depend_on_the_average():
    """The trained weights equal those of the nested optimizer alone, bit for bit."""
    with_average, alone = GridModel(), GridModel()
    a, b = with_average.optimizer(config.Ema(nested=ADAM)), alone.optimizer(ADAM)
    for step in range(5):
        a.step(with_average.params, with_average.gradient(step, 200))
        b.step(alone.params, alone.gradient(step, 200))
        a.inference_params(with_average.params)
    assert torch.equal(with_average.params, alone.params)


def test_threads_do_not_change_a_bit():
    """One thread and two threads give the same bits."""
    results = []
    for threads in (1, 2):
        model = GridModel(threads)
        optimizer = model.optimizer(config.Ema(decay=0.9, nested=ADAM))
        for step in range(4):
            optimizer.step(model.params, model.gradient(step, 3000 if step % 2 else 30))
        results.append({"average": optimizer.inference_params(model.params), **optimizer.state()})
    assert_same_state(*results)


@pytest.mark.parametrize("name", NESTINGS)
def test_resumed_steps_have_the_same_bits(name):
    """Steps from a saved state equal uninterrupted steps, even with entries at rest."""
    model, other = GridModel(), GridModel()
    optimizer, resumed = model.optimizer(NESTINGS[name]), other.optimizer(NESTINGS[name])
    for step in range(5):
        optimizer.step(model.params, model.gradient(step, 50))
    resumed.load_state(optimizer.state())
    other.params.copy_(model.params)
    for step in range(5, 9):
        optimizer.step(model.params, model.gradient(step, 50))
        resumed.step(other.params, other.gradient(step, 50))
    assert torch.equal(model.params, other.params)
    assert torch.equal(optimizer.inference_params(model.params), resumed.inference_params(other.params))
    assert_same_state(optimizer.state(), resumed.state())


def test_inference_weights_of_the_nested_optimizer_are_averaged():
    """Around Lookahead it averages the slow weights instead of the trained ones."""
    optimizer = build_optimizer(
        config.Ema(decay=0.9, nested=config.Lookahead(n_steps=3, nested=config.SGD(learning_rate=0.1))),
        4,
        4,
        launcher(),
    )
    params, expected = torch.arange(4.0), Definition(0.9)
    for _ in range(7):
        optimizer.step(params, Gradient(torch.ones(4), 4))
        expected.add(optimizer.nested.inference_params(params))
    assert (optimizer.nested.inference_params(params) != params).all()
    np.testing.assert_allclose(optimizer.inference_params(params), expected.average, rtol=1e-6)
