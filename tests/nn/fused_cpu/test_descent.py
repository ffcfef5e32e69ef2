"""Training by the fused kernels on the CPU: gradients, steps of optimizers, and bits that do not depend on threads."""

import pytest
import torch

from nrc_tracer.device.arrays import ArrayError
from nrc_tracer.nn import Trainer
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.activations import ACTIVATIONS
from nrc_tracer.nn.fused_cpu.adam_chain import AdamChain
from nrc_tracer.nn.fused_cpu.descent import LONGEST_RUN
from nrc_tracer.nn.fused_cpu.program import GROUPS, STRETCH
from nrc_tracer.nn.losses import RoundedMape, TargetLoss, build_loss
from tests.nn.fused_cpu.test_inference import CACHE, DIRECTIONS, ENCODINGS, NERF, pair
from tests.nn.samples import EMA, GRID, SMALL, make_model, relative, same_bits, spread_params, uniform

TIGHT = 1e-4
"""Largest relative L2 distance between a gradient and the reference."""

ADAM = {"otype": "Adam", "learning_rate": 1e-2, "epsilon": 1e-10, "l2_reg": 1e-4}
SOFT_CACHE = SMALL | {"activation": "Softplus"}


def gradients(models, x, evaluate):
    """The losses of the models, and their gradients."""
    found = [model.backend.gradient(x, model.params, evaluate) for model in models]
    return [loss.item() for loss, _ in found], [gradient.dense().clone() for _, gradient in found]


def check(models, x, evaluate):
    """A fused model and the reference agree on the loss and on the gradients of weights and tables."""
    losses, (found, expected) = gradients(models, x, evaluate)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    split = models[0].structure.n_matrix_params
    assert relative(found[:split], expected[:split]) < TIGHT
    if split < len(found):
        assert relative(found[split:], expected[split:]) < TIGHT


@pytest.mark.parametrize("name", ENCODINGS)
def test_gradients_of_encodings_agree_with_the_reference(name):
    """Every encoding, with more points than two stretches and a partial last one."""
    encoding, n_input_dims = ENCODINGS[name]
    n = 2 * STRETCH + 77
    x, target = uniform(n, n_input_dims, low=0.01, high=0.99), uniform(n, 3, seed=1)
    check(pair(encoding, n_input_dims, SOFT_CACHE), x, TargetLoss(build_loss(configuration.Loss(otype="L2")), target))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_activations_agree_with_the_reference(activation):
    """Every activation, in the hidden layers and at the output."""
    hidden = "Tanh" if activation == "Exponential" else activation
    network = SMALL | {"activation": hidden, "output_activation": activation}
    x, target = uniform(500, 10), uniform(500, 3, seed=1)
    check(pair(CACHE, 10, network), x, TargetLoss(build_loss(configuration.Loss(otype="L2")), target))


@pytest.mark.parametrize("width", [16, 48, 128, 256])
def test_gradients_of_widths_agree_with_the_reference(width):
    """Layers of odd and even numbers of vectors, and networks of a single matrix."""
    network = {"otype": "CutlassMLP", "n_neurons": width, "n_hidden_layers": 2, "activation": "Softplus"}
    x, target = uniform(500, 3), uniform(500, 19, seed=1)
    loss = build_loss(configuration.Loss(otype="L2"))
    check(pair(GRID, 3, network, n_output_dims=19), x, TargetLoss(loss, target))
    check(pair(GRID, 3, {**network, "n_hidden_layers": 0}, n_output_dims=19), x, TargetLoss(loss, target))


OTYPES = "L1", "L2", "RelativeL1", "RelativeL2", "RelativeL2Luminance", "MAPE", "SMAPE", "CrossEntropy", "Huber"
EVERY_LOSS = {name: build_loss(configuration.Loss(otype=name)) for name in OTYPES} | {"rounded": RoundedMape(0.1)}


@pytest.mark.parametrize("outputs", [3, 6])
@pytest.mark.parametrize("name", EVERY_LOSS)
def test_losses_agree_with_the_reference(name, outputs):
    """Every loss: plain, with probability densities of both shapes, and with factors of both shapes."""
    models = pair(GRID, 3, SOFT_CACHE | {"output_activation": "Sigmoid"}, outputs)
    loss = EVERY_LOSS[name]
    x, target = uniform(300, 3), uniform(300, outputs, seed=1)
    target[::7] = 0.0
    for pdf in (None, uniform(300, low=0.5, high=2.0, seed=2), uniform(300, outputs, low=0.5, high=2.0, seed=2)):
        check(models, x, TargetLoss(loss, target, pdf=pdf))
    for factor in (uniform(300, 1, low=0.5, seed=3), uniform(300, outputs, low=0.5, seed=3)):
        check(models, x, TargetLoss(loss, target, factor=factor))


def test_a_loss_given_as_a_function():
    """The loss may be any function of the outputs that returns the loss and its gradient."""
    x, target = uniform(700, 10), uniform(700, 3, seed=1)

    def evaluate(y):
        difference = y - target.to(y.dtype)
        return (difference**4).mean(), 4.0 * difference**3 / difference.numel()

    check(pair(CACHE, 10, SOFT_CACHE), x, evaluate)


def test_radiance_fields_agree_with_the_reference():
    """Gradients of both networks, of the density through the colour network, and of grids of positions and directions."""
    for second in (DIRECTIONS, {**GRID, "n_levels": 8, "n_dims_to_encode": 3}):
        encoding = {"otype": "Composite", "nested": [{**GRID, "n_levels": 8, "n_dims_to_encode": 3}, second]}
        network = {**NERF, "density": NERF["density"] | {"activation": "Softplus"}}
        network["rgb"] = NERF["rgb"] | {"activation": "Softplus"}
        x, target = uniform(700, 6), uniform(700, 4, seed=1)
        check(pair(encoding, 6, network, 4), x, TargetLoss(build_loss(configuration.Loss(otype="L2")), target))


OPTIMIZERS = {
    "adam": ADAM,
    "ema": EMA,
    "bounded": ADAM | {"adabound": True, "relative_decay": 1e-2, "absolute_decay": 1e-3, "clipping_magnitude": 0.4},
    "decay": {
        "otype": "ExponentialDecay",
        "decay_start": 2,
        "decay_interval": 2,
        "decay_base": 0.5,
        "nested": {"otype": "Ema", "decay": 0.9, "nested": ADAM},
    },
    "decay inside": {"otype": "Ema", "decay": 0.9, "nested": {"otype": "ExponentialDecay", "nested": ADAM}},
    "tables alone": ADAM | {"optimize_matrix_params": False},
    "all parameters": ADAM | {"skip_zero_grad_non_matrix_params": False},
    "compact": ADAM | {"moments": "bfloat16"},
    "sgd": {"otype": "SGD", "learning_rate": 1e-2},
    "lookahead": {"otype": "Lookahead", "n_steps": 3, "nested": ADAM},
    "average": {"otype": "Average", "n_samples": 3, "nested": ADAM},
    "batched": {"otype": "Batched", "batch_size_multiplier": 2, "nested": ADAM},
}
IN_ONE_PASS = {"adam", "ema", "bounded", "decay", "decay inside", "tables alone"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_agree_with_the_blocked_form(name):
    """Parameters, averages and the whole state agree for batches of several sizes, over few enough steps for small rounding."""
    options = {"optimizer": OPTIMIZERS[name], "loss": {"otype": "L2"}}
    models = [make_model(CACHE, SOFT_CACHE, 10, form=form, **options) for form in ("fused", "blocked")]
    for model in models:
        model.set_params(spread_params(models[1]))
    trainers = [Trainer(model) for model in models]
    assert (AdamChain.of(trainers[0].optimizer) is not None) == (name in IN_ONE_PASS)
    before = models[0].params.clone()
    for step, size in enumerate((300, 5, 700, 20, 300)):
        x, target = uniform(size, 10, seed=10 + step), uniform(size, 3, seed=20 + step)
        losses = [float(trainer.step(x, target)) for trainer in trainers]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert (models[0].params - before).norm() > 1e-3
    assert relative(models[0].params - before, models[1].params - before) < 1e-2
    assert relative(models[0].inference_params, models[1].inference_params) < 1e-3
    compare_states(*(trainer.state() for trainer in trainers), exact=name != "compact")


def compare_states(found, expected, *, exact):
    """Numbers are equal, tensors of integers nearly everywhere, and other tensors close.

    The forms bring stored averages up to date at different times, so these are not compared here: the inference parameters are.
    """
    assert found.keys() == expected.keys()
    for key in found.keys() - {"averages", "updated"}:
        value = found[key]
        if isinstance(value, dict):
            compare_states(value, expected[key], exact=exact)
        elif not isinstance(value, torch.Tensor):
            assert value == expected[key], key
        elif value.is_floating_point():
            assert relative(value.float(), expected[key].float()) < (2e-2 if exact else 0.3), key
        else:
            assert (value == expected[key]).float().mean() > 0.995, key


def test_bits_do_not_depend_on_threads():
    """Losses, parameters and averages are the same for one to four threads, with more groups than a thread has items."""
    results = []
    for threads in (1, 2, 3, 4):
        model = make_model(CACHE, SOFT_CACHE, 10, form="fused", threads=threads, optimizer=EMA)
        trainer = Trainer(model)
        losses = []
        for step, size in enumerate((STRETCH * GROUPS + 700, 100, 1536)):
            losses.append(trainer.step(uniform(size, 10, seed=step), uniform(size, 3, seed=9)))
        results.append((torch.stack(losses), model.params.clone(), model.inference_params.clone()))
    for result in results[1:]:
        for found, expected in zip(result, results[0], strict=True):
            assert same_bits(found, expected)


@pytest.mark.parametrize("bad", ["input", "target", "parameter", "overflow"])
def test_a_step_that_is_not_finite_changes_nothing(bad):
    """The step is counted as skipped, and the next steps are those of a trainer without it."""
    models = [make_model(CACHE, SOFT_CACHE, 10, form="fused", optimizer=EMA) for _ in range(2)]
    trainers = [Trainer(model) for model in models]
    batches = [(uniform(400, 10, seed=step), uniform(400, 3, seed=9)) for step in range(3)]
    trainers[0].step(*batches[0])
    trainers[1].step(*batches[0])
    x, target = batches[1][0].clone(), batches[1][1].clone()
    kept = models[0].params[5].clone()
    if bad == "input":
        x[17, 2] = torch.nan
    elif bad == "target":
        target[17, 1] = torch.inf
    elif bad == "parameter":
        models[0].params[5] = torch.nan
    else:
        target[17, 1] = 3e38
    trainers[0].step(x, target)
    models[0].params[5] = kept
    assert (trainers[0].steps, trainers[0].skipped_steps) == (1, 1)
    for trainer in trainers:
        trainer.step(*batches[2])
    assert same_bits(models[0].params, models[1].params)
    assert same_bits(models[0].inference_params, models[1].inference_params)


@pytest.mark.parametrize("form", ["fused", "blocked"])
def test_several_steps_at_once_are_the_single_steps(form):
    """Losses, parameters, averages and counts are the same to the bit, with more steps than one launch has, of unequal sizes.

    One of the steps is not finite. It is skipped, and the ones after it are taken.
    """
    sizes = [40, 700, 1] + [30] * LONGEST_RUN
    x, target, factor = uniform(sum(sizes), 10), uniform(sum(sizes), 3, seed=1), uniform(sum(sizes), 3, low=0.5, seed=2)
    target[sum(sizes[:5])] = torch.nan
    optimizer = {"otype": "ExponentialDecay", "decay_start": 2, "decay_interval": 3, "decay_base": 0.5, "nested": EMA}
    models = [make_model(CACHE, SOFT_CACHE, 10, form=form, optimizer=optimizer) for _ in range(2)]
    trainers = [Trainer(model) for model in models]
    losses = trainers[0].take_steps(x, target, sizes, factor=factor)
    parts = zip(x.split(sizes), target.split(sizes), factor.split(sizes), strict=True)
    expected = torch.stack([trainers[1].step(a, b, factor=c) for a, b, c in parts])
    assert same_bits(losses, expected)
    assert torch.isnan(losses).nonzero().flatten().tolist() == [5]
    assert same_bits(models[0].params, models[1].params)
    assert same_bits(models[0].inference_params, models[1].inference_params)
    assert trainers[0].learning_rate == trainers[1].learning_rate
    assert (trainers[0].steps, trainers[0].skipped_steps) == (len(sizes) - 1, 1)


def test_sizes_of_steps_must_fit():
    """Sizes below 1 and sums other than the number of rows are errors; no rows are no steps."""
    trainer = Trainer(make_model(form="fused"))
    for sizes in ([3, 3], [7, 0, -2], [5, 0]):
        with pytest.raises(ArrayError, match="sizes: expected numbers of at least 1 whose sum is 5"):
            trainer.take_steps(uniform(5, 3), uniform(5, 3), sizes)
    assert trainer.take_steps(uniform(5, 3)[:0], uniform(5, 3)[:0], []).shape == (0,)
    assert trainer.steps == 0


@pytest.mark.parametrize("optimizer", [EMA, ADAM], ids=["average", "plain"])
def test_a_state_continues_in_the_other_form(optimizer):
    """The state that fused steps leave is the one that steps of the blocked form expect, and the other way round."""
    models = [make_model(CACHE, SOFT_CACHE, 10, form=form, optimizer=optimizer) for form in ("fused", "blocked")]
    trainers = [Trainer(model) for model in models]
    batches = [(uniform(200, 10, seed=step), uniform(200, 3, seed=9)) for step in range(6)]
    for first, second in ((0, 1), (1, 0)):
        for trainer in trainers:
            for x, target in batches[:3]:
                trainer.step(x, target)
        trainers[second].load_state(trainers[first].state(copy=False))
        models[second].set_params(models[first].params)
        for x, target in batches[3:]:
            assert trainers[0].step(x, target).item() == pytest.approx(trainers[1].step(x, target).item(), rel=1e-3)
        assert relative(models[0].inference_params, models[1].inference_params) < 1e-3


def test_resumed_training_has_the_same_bits():
    """A trainer with the saved state continues with the same bits, even after the averages have been read."""
    batches = [(uniform(400, 10, seed=step), uniform(400, 3, seed=9)) for step in range(4)]
    model = make_model(CACHE, SOFT_CACHE, 10, form="fused", optimizer=EMA)
    trainer = Trainer(model)
    for x, target in batches[:2]:
        trainer.step(x, target)
    again = make_model(CACHE, SOFT_CACHE, 10, form="fused", optimizer=EMA, threads=1)
    other = Trainer(again)
    other.load_state(trainer.state())
    again.set_params(model.params)
    assert model.inference_params is not model.params
    for x, target in batches[2:]:
        assert same_bits(trainer.step(x, target), other.step(x, target))
    assert same_bits(model.params, again.params)
    assert same_bits(model.inference_params, again.inference_params)


def test_parameters_can_be_changed_between_steps():
    """Changes through the model's views take effect in the next output and in the next step."""
    model = make_model(CACHE, SOFT_CACHE, 10, form="fused", optimizer=ADAM)
    trainer = Trainer(model)
    x, target = uniform(400, 10), uniform(400, 3, seed=9)
    trainer.step(x, target)
    model.encoding.nested(0).level(1).fill_(0.25)
    model.network.layer(0).mul_(2.0)
    expected = model.structure.reference(x, model.params.double())
    torch.testing.assert_close(model(x).double(), expected, rtol=1e-5, atol=1e-6)
    assert trainer.step(x, target).item() == pytest.approx(
        ((expected - target) ** 2 / (expected**2 + 0.01)).mean().item()
    )
