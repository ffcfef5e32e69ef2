"""Adam: comparison with its definition, step counts per parameter, and lists compared with full scans."""

import math

import numpy as np
import pytest
import torch

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn import config
from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.optimizers.build import build_optimizer
from tests.nn.optimizers.model import N_MATRIX, GridModel, assert_same_state, launcher

CONFIGS = {
    "default": config.Adam(),
    "published": config.Adam(learning_rate=1e-2, beta2=0.99, epsilon=1e-15, l2_reg=1e-6),
    "adabound": config.Adam(learning_rate=0.5, adabound=True),
    "decay": config.Adam(relative_decay=0.3, absolute_decay=0.2, learning_rate=0.05),
    "clipping": config.Adam(clipping_magnitude=0.9, gradient_clipping_magnitude=0.4, learning_rate=0.05),
    "other rate": config.Adam(non_matrix_learning_rate_factor=0.1, non_matrix_l2_reg=0.5),
    "no skip": config.Adam(skip_zero_grad_non_matrix_params=False, non_matrix_l2_reg=0.5),
    "matrix only": config.Adam(optimize_non_matrix_params=False),
    "others only": config.Adam(optimize_matrix_params=False),
    "no momentum": config.Adam(beta1=0.0, beta2=0.0),
}
COMPACT = {
    "bfloat16": config.Adam(moments="bfloat16", non_matrix_l2_reg=0.1),
    "bfloat16 no skip": config.Adam(moments="bfloat16", skip_zero_grad_non_matrix_params=False),
}


def definition(c, w, gradients, n_matrix):
    """The weights after a step for each gradient, one scalar at a time in float64, with float32 hyperparameters."""
    f = {name: float(np.float32(value)) for name, value in config.to_json(c).items() if isinstance(value, float)}
    w = w.astype(np.float64)
    for i in range(len(w)):
        matrix, m, v, t = i < n_matrix, 0.0, 0.0, 0
        if not (c.optimize_matrix_params if matrix else c.optimize_non_matrix_params):
            continue
        for step, gradient in enumerate(gradients, start=1):
            g = float(gradient[i])
            if g == 0 and not matrix and c.skip_zero_grad_non_matrix_params:
                continue
            g += f["l2_reg" if matrix else "non_matrix_l2_reg"] * w[i]
            if f["gradient_clipping_magnitude"]:
                g = math.copysign(min(abs(g), f["gradient_clipping_magnitude"]), g)
            m = f["beta1"] * m + (1 - f["beta1"]) * g
            v = f["beta2"] * v + (1 - f["beta2"]) * g * g
            t += 1
            rate = f["learning_rate"] * (1.0 if matrix else f["non_matrix_learning_rate_factor"])
            rate *= math.sqrt(1 - f["beta2"] ** t) / (1 - f["beta1"] ** t)
            effective = rate / (math.sqrt(v) + f["epsilon"])
            if c.adabound:
                effective = max(effective, 0.1 - 0.1 / ((1 - f["beta2"]) * step + 1))
                effective = min(effective, 0.1 + 0.1 / ((1 - f["beta2"]) * step))
            decayed = (1 - f["relative_decay"] * rate) * w[i] - math.copysign(f["absolute_decay"] * rate, w[i])
            w[i] = decayed - effective * m
            if f["clipping_magnitude"]:
                w[i] = min(max(w[i], -f["clipping_magnitude"]), f["clipping_magnitude"])
    return w


@pytest.mark.parametrize("name", CONFIGS)
def test_agrees_with_the_definition(name):
    """Thirty steps with every third gradient zero agree with a loop in float64."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(60).astype(np.float32)
    gradients = rng.standard_normal((30, 60)).astype(np.float32) * (rng.random((30, 60)) < 0.7)
    optimizer = build_optimizer(CONFIGS[name], 60, 25, launcher())
    params = torch.from_numpy(weights.copy())
    for gradient in gradients:
        optimizer.step(params, Gradient(torch.from_numpy(gradient), 25))
    expected = definition(CONFIGS[name], weights, gradients, 25)
    # 30 steps with a few roundings of 2^-24 of about 1 each
    np.testing.assert_allclose(params.numpy(), expected, atol=30 * 4 * 2**-24, rtol=0)
    assert optimizer.steps == 30


@pytest.mark.parametrize("name", [*CONFIGS, *COMPACT])
@pytest.mark.parametrize("n_points", [40, 400, 3000], ids=["few", "in order", "several stretches"])
def test_lists_agree_with_a_full_scan(name, n_points):
    """Parameters and state are equal bit for bit whether lists are followed or everything is scanned."""
    chosen = (CONFIGS | COMPACT)[name]
    listed, dense = GridModel(), GridModel()
    a, b = listed.optimizer(chosen), dense.optimizer(chosen)
    for step in range(4):
        a.step(listed.params, listed.gradient(step, n_points))
        b.step(dense.params, dense.dense_gradient(step, n_points))
    assert torch.equal(listed.params, dense.params)
    assert_same_state(a.state(), b.state())


def test_untouched_entries_are_left_alone():
    """Weights, moments and counts of entries without a gradient do not change; those of the others do."""
    model = GridModel()
    optimizer = model.optimizer(config.Adam(non_matrix_l2_reg=0.1, relative_decay=0.1))
    optimizer.moments.copy_(torch.randn(model.n_params, 2).abs())
    optimizer.counts.fill_(7)
    before, moments = model.params.clone(), optimizer.moments.clone()
    gradient = model.gradient(0, 40)
    moves = gradient.dense() != 0
    optimizer.step(model.params, gradient)
    assert 0 < moves[N_MATRIX:].sum() < model.is_touched()[N_MATRIX:].sum() < model.n_params / 4
    assert torch.equal(model.params[~moves], before[~moves])
    assert torch.equal(optimizer.moments[~moves], moments[~moves])
    assert torch.equal(optimizer.counts, 7 + moves.int())
    assert (optimizer.moments[moves] != moments[moves]).any(dim=1).all()


def test_threads_do_not_change_a_bit():
    """One thread and two threads give the same bits."""
    states = []
    for threads in (1, 2):
        model = GridModel(threads)
        optimizer = model.optimizer(config.Adam())
        for step in range(3):
            optimizer.step(model.params, model.gradient(step, 3000))
        states.append({"params": model.params, **optimizer.state()})
    assert_same_state(*states)


def test_resumed_steps_have_the_same_bits():
    """Steps from a saved state equal uninterrupted steps."""
    model, other = GridModel(), GridModel()
    optimizer = model.optimizer(config.Adam(adabound=True))
    optimizer.learning_rate = 0.02
    for step in range(3):
        optimizer.step(model.params, model.gradient(step, 500))
    resumed = other.optimizer(config.Adam(adabound=True))
    resumed.load_state(optimizer.state())
    other.params.copy_(model.params)
    for step in range(3, 6):
        optimizer.step(model.params, model.gradient(step, 500))
        resumed.step(other.params, other.gradient(step, 500))
    assert torch.equal(model.params, other.params)
    assert_same_state(optimizer.state(), resumed.state())


@pytest.mark.parametrize("steps", [1, 4094, 4095, 4096, 70_000, 2**31 - 3])
@pytest.mark.parametrize("beta2", [0.999, 0.9999])
def test_corrects_the_bias_at_any_count(steps, beta2):
    """At a high count a step moves a weight as defined: without NaN, and without correcting the bias too often."""
    optimizer = build_optimizer(config.Adam(beta2=beta2, l2_reg=0.0, epsilon=0.0), 1, 1, launcher())
    state = optimizer.state()
    state["steps"], state["counts"] = steps - 1, torch.tensor([steps - 1], dtype=torch.int32)
    optimizer.load_state(state)
    params = torch.zeros(1)
    optimizer.step(params, Gradient(torch.ones(1), 1))
    b1, b2 = float(np.float32(0.9)), float(np.float32(beta2))
    expected = -1e-3 * math.sqrt(1 - b2**steps) / (1 - b1**steps) * (1 - b1) / math.sqrt(1 - b2)
    assert params.item() == pytest.approx(expected, rel=2**-20)


def test_zero_divided_by_zero_does_not_move_a_weight():
    """A zero gradient with epsilon and learning rate of zero does not change a matrix weight."""
    optimizer = build_optimizer(config.Adam(learning_rate=0.0, epsilon=0.0, l2_reg=0.0), 3, 3, launcher())
    params = torch.tensor([1.0, -2.0, 0.0])
    optimizer.step(params, Gradient(torch.zeros(3), 3))
    assert params.tolist() == [1.0, -2.0, 0.0]


def test_learning_rate_can_be_set():
    """The next step uses the new rate."""
    optimizer = build_optimizer(config.Adam(), 1, 1, launcher())
    optimizer.learning_rate = 0.25
    params = torch.zeros(1)
    optimizer.step(params, Gradient(torch.ones(1), 1))
    assert params.item() == pytest.approx(-0.25, rel=1e-6)


def _mean_and_error(optimizer, column):
    values = optimizer.moments[:, column].double()
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def test_compact_moments_lose_nothing_on_average():
    """A thousand small changes, each below half a unit of bfloat16, add up; without stochastic rounding v would stop at 0.34."""
    n, steps = 4096, 1500
    optimizer = build_optimizer(config.Adam(moments="bfloat16", learning_rate=0.0), n, n, launcher())
    params, gradient = torch.zeros(n), torch.ones(n)
    for _ in range(steps):
        optimizer.step(params, Gradient(gradient, n))
    for column, decay in ((0, 0.9), (1, 0.999)):
        mean, error = _mean_and_error(optimizer, column)
        assert abs(mean - (1 - decay**steps)) < 4 * error + 1e-6
    assert (optimizer.counts == steps).all()
    assert (optimizer.moments.dtype, optimizer.counts.dtype) == (torch.bfloat16, torch.int16)


def test_compact_moments_give_nearly_the_same_steps():
    """After thirty steps, weights agree with those of float32 moments within the error that 8-bit moments cause per step."""
    rng = np.random.default_rng(0)
    gradients = torch.from_numpy(rng.standard_normal((30, 600)).astype(np.float32))
    ends = []
    for moments in ("float32", "bfloat16"):
        optimizer = build_optimizer(config.Adam(moments=moments, learning_rate=1e-2, beta2=0.99), 600, 600, launcher())
        params = torch.ones(600)
        for gradient in gradients:
            optimizer.step(params, Gradient(gradient, 600))
        ends.append(params)
    # m and sqrt(v) have relative errors up to 2^-8 and 2^-9, in each of the ten steps that they remember
    assert (ends[0] - ends[1]).abs().max() < 30 * 1e-2 * 10 * 1.5 * 2**-8
    assert not torch.equal(*ends)


def test_compact_counts_stop_without_overflow():
    """After 32,767 steps of a parameter its count stays: by then the bias correction is 1."""
    optimizer = build_optimizer(config.Adam(moments="bfloat16", learning_rate=0.1), 10, 0, launcher())
    params = torch.zeros(10)
    optimizer.counts.fill_(32766)
    optimizer.moments[:] = 1.0
    optimizer.steps = 40000
    for _ in range(3):
        optimizer.step(params, Gradient(torch.ones(10), 0))
    assert (optimizer.counts == 32767).all()
    # m and sqrt(v) stay at 1
    np.testing.assert_allclose(params.numpy(), -0.3, rtol=1e-5)


def test_compact_state_is_restored():
    """A state loaded into another optimizer continues with the same bits."""
    model, other = GridModel(), GridModel()
    a = model.optimizer(COMPACT["bfloat16"])
    b = other.optimizer(COMPACT["bfloat16"])
    for step in range(3):
        a.step(model.params, model.gradient(step, 40))
    b.load_state(a.state())
    other.params.copy_(model.params)
    a.step(model.params, model.gradient(9, 40))
    b.step(other.params, other.gradient(9, 40))
    assert torch.equal(model.params, other.params)
    assert_same_state(a.state(), b.state())


def test_compact_moments_refuse_a_beta2_that_is_too_long():
    """A beta2 that still matters after 32,767 steps is refused."""
    with pytest.raises(ConfigError, match="beta2"):
        config.Adam(moments="bfloat16", beta2=0.99999)
