"""The choice of a precision."""

import pytest
import torch

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn import precision
from nrc_tracer.nn.precision import bfloat16_pays, choose_precision
from tests.nn.samples import make_model, relative, spread_params, uniform

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_names_of_precisions(name):
    """This holds on both devices, and the model reports it."""
    assert choose_precision(name, "warp", CPU) == choose_precision(name, "warp", CUDA) == getattr(torch, name)
    assert make_model(precision=name).precision == name


def test_defaults_of_auto():
    """float16 on CUDA, the result of a trial on the CPU, and float64 for the reference."""
    assert choose_precision("auto", "warp", CUDA) == torch.float16
    assert choose_precision("auto", "reference", CPU) == torch.float64
    expected = torch.bfloat16 if bfloat16_pays() else torch.float32
    assert choose_precision("auto", "warp", CPU) == expected
    assert make_model(precision="auto", backend="blocked").backend.precision == expected
    made = make_model(precision="auto")
    assert made.backend.precision == (torch.float32 if made.form == "fused" else expected)


@pytest.mark.parametrize("pays", [True, False])
def test_auto_follows_the_trial(monkeypatch, pays):
    """Either result is used."""
    monkeypatch.setattr(precision, "bfloat16_pays", lambda: pays)
    assert choose_precision("auto", "warp", CPU) == (torch.bfloat16 if pays else torch.float32)


def test_the_trial_restores_the_number_of_torch_threads():
    """The trial itself uses one thread."""
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
def test_unavailable_precisions_are_refused(name, backend, message):
    """The ConfigError names the argument and the available precisions."""
    with pytest.raises(ConfigError, match=f"^precision: .*{message}"):
        choose_precision(name, backend, CPU)


def test_precisions_differ_in_accuracy():
    """The rounding of operands matters: each precision is at least 4 times as close to the reference as the next."""
    judge = make_model(backend="reference", precision="float64")
    judge.set_params(spread_params(judge))
    x, errors = uniform(500, 3), []
    for name in ("float32", "float16", "bfloat16"):
        model = make_model(precision=name)
        model.set_params(judge.params)
        errors.append(relative(model(x), judge(x)))
    assert 0.0 < 4 * errors[0] < errors[1]
    assert 4 * errors[1] < errors[2]
