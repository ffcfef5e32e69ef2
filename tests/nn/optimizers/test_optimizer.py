"""States that do not fit an optimizer."""

import pytest
import torch

from nrc_tracer.nn import config
from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.optimizers.build import build_optimizer
from nrc_tracer.nn.optimizers.optimizer import StateError
from tests.nn.optimizers.model import assert_same_state, launcher


def build(n=4):
    return build_optimizer(config.Ema(nested=config.Adam()), n, 2, launcher())


DAMAGES = {
    "another size": (
        lambda s: build(5).state(),
        r"state\.averages: expected torch.float32 of shape \[4\], got .*\[5\]",
    ),
    "a missing key": (lambda s: s["nested"].pop("counts"), r"state\.nested: 'counts' is missing, which Adam needs"),
    "an unknown key": (lambda s: s.update(slow=1), r"state: 'slow' is not known to Ema"),
    "another dtype": (lambda s: s.update(updated=torch.zeros(4)), r"state\.updated: expected torch.int32"),
    "no tensor": (lambda s: s.update(averages=[1.0]), r"state\.averages: expected a tensor, got list"),
    "a negative count": (lambda s: s["nested"]["counts"].fill_(-1), r"state\.nested\.counts: holds numbers outside"),
    "a fraction": (lambda s: s["nested"].update(steps=1.5), r"state\.nested\.steps: expected an integer"),
    "not finite": (
        lambda s: s["nested"].update(learning_rate=float("nan")),
        r"learning_rate: expected a finite number",
    ),
    "no dict": (lambda s: s.update(nested=3), r"state\.nested: expected a dict, got int"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_state_that_does_not_fit_is_refused(name):
    """The message names the wrong entry, and the optimizer does not change."""
    damage, message = DAMAGES[name]
    optimizer = build()
    optimizer.step(torch.ones(4), Gradient(torch.ones(4), 2))
    before, state = optimizer.state(), optimizer.state()
    returned = damage(state)
    with pytest.raises(StateError, match=message):
        optimizer.load_state(returned if name == "another size" else state)
    assert_same_state(optimizer.state(), before)


def test_a_state_is_a_copy():
    """Later steps do not change it."""
    optimizer = build()
    state = optimizer.state()
    optimizer.step(torch.ones(4), Gradient(torch.ones(4), 2))
    assert state["nested"]["moments"].count_nonzero() == 0
