"""The choice of a precision."""

import pytest
import torch

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn import precision
from nrc_tracer.nn.precision import bfloat16_pays, choose_precision
from tests.nn.samples import make_model, relative, spread_params, uniform

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_names_mean_what_they_say(name):
    """On both devices, and the model tells it."""
    assert choose_precision(name, "warp", CPU) == choose_precision(name, "warp", CUDA) == getattr(torch, name)
    assert make_model(precision=name).precision == name


def test_auto():
    """float16 on CUDA; on the CPU what a trial says; float64 for the reference."""
    assert choose_precision("auto", "warp", CUDA) == torch.float16
    assert choose_precision("auto", "reference", CPU) == torch.float64
    expected = torch.bfloat16 if bfloat16_pays() else torch.float32
    assert choose_precision("auto", "warp", CPU) == expected
    assert make_model(precision="auto", backend="blocked").backend.precision == expected
    made = make_model(precision="auto")
    assert made.backend.precision == (torch.float32 if made.form == "fused" else expected)


@pytest.mark.parametrize("pays", [True, False])
def test_auto_follows_the_trial(monkeypatch, pays):
    """Both ways."""
    monkeypatch.setattr(precision, "bfloat16_pays", lambda: pays)
    assert choose_precision("auto", "warp", CPU) == (torch.bfloat16 if pays else torch.float32)


def test_the_trial_leaves_torchs_threads_as_they_were():
    """It measures with one."""
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert isinstance(bfloat16_pays(rows=64, rounds=1), bool)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "backend", "message"),
    [
        ("half", "warp", 'unknown "half"'),
        ("bfloat61", "warp", 'did you mean "bfloat16"'),
        (torch.float16, "warp", 'unknown "torch.float16"'),
        (None, "warp", "unknown"),
        ("float64", "warp", 'needs backend="reference"'),
        ("float64", "tinycudann", 'needs backend="reference"'),
        ("float16", "reference", "has float32 and float64, not float16"),
        ("bfloat16", "reference", "not bfloat16"),
    ],
)
def test_precisions_that_are_not_to_be_had(name, backend, message):
    """A ConfigError that says where and what there is."""
    with pytest.raises(ConfigError, match=f"^precision: .*{message}"):
        choose_precision(name, backend, CPU)


def test_precisions_differ():
    """Rounding of operands shows: each is nearer to the reference than the next, by a factor of 4 at the least."""
    judge = make_model(backend="reference", precision="float64")
    judge.set_params(spread_params(judge))
    x, errors = uniform(500, 3), []
    for name in ("float32", "float16", "bfloat16"):
        model = make_model(precision=name)
        model.set_params(judge.params)
        errors.append(relative(model(x), judge(x)))
    assert 0.0 < 4 * errors[0] < errors[1]
    assert 4 * errors[1] < errors[2]
