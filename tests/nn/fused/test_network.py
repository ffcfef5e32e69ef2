"""Fused networks with emulated instructions: every width, partial batches, depths and activations; forward and backward."""

import re

import pytest
import torch

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.fused import forward
from nrc_tracer.nn.fused.backward import backward_kernel, backward_snippet
from nrc_tracer.nn.fused.forward import forward_kernel
from nrc_tracer.nn.fused.fragments import preamble
from nrc_tracer.nn.fused.network import FusedMlp
from nrc_tracer.nn.fused.plan import Shape, Share, backward_variant
from tests.nn.fused.samples import make_mlp, quickly_compiled, rounded_reference, unsure_rows, weights_of
from tests.nn.samples import make_launcher, relative, same_bits, uniform

OUTPUT, WEIGHTS, INPUT = 2e-2, 3e-2, 0.06
"""Largest errors due to half operands: of outputs relative to the largest one, and of gradients in relative L2 norm."""

ROUNDED = 2e-3
"""The same for a reference with rounded operands: a few differences by an ulp of a half, because sums have another order."""

CASES = {
    "16": ({"width": 16, "n_hidden_layers": 1, "n_in": 16}, 1),
    "32": ({"width": 32, "n_hidden_layers": 3, "n_in": 48, "n_out": 17}, 129),
    "64": ({"width": 64, "n_hidden_layers": 2, "n_in": 32}, 700),
    "64-deep": ({"width": 64, "n_hidden_layers": 5, "n_in": 64}, 300),
    "128": ({"width": 128, "n_hidden_layers": 2, "n_in": 32}, 256),
    "128-deep": ({"width": 128, "n_hidden_layers": 4, "n_in": 16, "n_out": 64}, 100),
    "leaky-sigmoid": ({"width": 16, "n_in": 32, "activation": "LeakyReLU", "output_activation": "Sigmoid"}, 200),
    "softplus-exponential": (
        {"width": 16, "n_in": 16, "activation": "Softplus", "output_activation": "Exponential"},
        90,
    ),
    "tanh-softplus": ({"width": 16, "n_in": 16, "activation": "Tanh", "output_activation": "Softplus"}, 90),
    "squareplus-relu": ({"width": 16, "n_in": 16, "activation": "Squareplus", "output_activation": "ReLU"}, 90),
    "none-leaky": ({"width": 16, "n_in": 16, "activation": "None", "output_activation": "LeakyReLU"}, 90),
    "sigmoid-tanh": ({"width": 16, "n_in": 16, "activation": "Sigmoid", "output_activation": "Tanh"}, 90),
    "exponential-squareplus": (
        {"width": 16, "n_in": 16, "activation": "Exponential", "output_activation": "Squareplus"},
        90,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_agree_with_the_reference(name):
    """They are close to float64 with rounded operands, and as close to plain float64 as half operands allow."""
    options, n = CASES[name]
    mlp = make_mlp(**options)
    params = weights_of(mlp, 0.3 if options.get("activation") == "Exponential" else 1.0)
    x = uniform(n, mlp.n_input_dims, low=-1.0)
    target = uniform(n, mlp.n_output_dims, low=0.5, high=1.5, seed=2).double()
    exact_x, exact_params = x.double().requires_grad_(), params.double().requires_grad_()
    exact = mlp.reference(exact_x, exact_params)[:, : mlp.n_output_dims]
    d_out = (exact.detach() - target).float()
    unsure = unsure_rows(mlp, x, params)
    assert unsure.double().mean() < 0.05
    d_out[unsure] = 0.0
    d_exact_x, d_exact_params = torch.autograd.grad(exact, (exact_x, exact_params), d_out.double())
    rounded, d_rounded_x, d_rounded_params = rounded_reference(mlp, x, params, d_out.double())

    d_params = torch.full((mlp.n_params,), torch.nan)
    with quickly_compiled(FusedMlp(mlp, make_launcher(1))) as fused:
        out, kept = fused.forward(x, params)
        assert same_bits(out, fused.infer(x, params))
        d_x = fused.backward(d_out, kept, params, d_params)

    largest = float(exact.detach().abs().max())
    assert out.shape == (n, mlp.n_output_dims)
    assert (out - rounded).abs().max() < ROUNDED * largest
    assert (out - exact.detach()).abs().max() < OUTPUT * largest
    assert relative(d_params, d_rounded_params) < ROUNDED
    assert relative(d_x, d_rounded_x) < ROUNDED
    assert relative(d_params, d_exact_params) < WEIGHTS
    assert relative(d_x, d_exact_x) < INPUT
    torch.testing.assert_close(fused.magnitude, d_x.abs().sum(), rtol=1e-4, atol=0.0)


def test_missing_rows_do_not_contribute_to_gradients():
    """Without rows the gradient is zero, and gradients of parts of a batch add up to that of the batch."""
    mlp = make_mlp(16, 1, 16)
    params, x, d_out = weights_of(mlp), uniform(65, 16, low=-1.0), uniform(65, 3, low=-1.0, seed=2)
    with quickly_compiled(FusedMlp(mlp, make_launcher(1))) as fused:

        def gradient(rows):
            d_params = torch.full((mlp.n_params,), torch.nan)
            fused.backward(d_out[rows], fused.forward(x[rows], params)[1], params, d_params, unscale=0.5)
            return d_params

        assert torch.equal(gradient(slice(0, 0)), torch.zeros(mlp.n_params))
        whole = gradient(slice(0, 65))
        parts = sum(gradient(slice(begin, begin + 13)) for begin in range(0, 65, 13))
        assert relative(parts, whole) < 1e-6
        assert fused.infer(x[:0], params).shape == (0, 3)


def test_nan_is_not_hidden():
    """After an overflow in half, a weight or an input must not appear as a zero behind a ReLU."""
    mlp = make_mlp(16, 1, 16)
    params, x = weights_of(mlp), uniform(40, 16, low=-1.0)
    with quickly_compiled(FusedMlp(mlp, make_launcher(1))) as fused:
        x[3, 2] = torch.nan
        assert torch.isnan(fused.infer(x, params)[3]).all()
        assert torch.isfinite(fused.infer(x, params)[4:]).all()
        params[0] = 1e6
        kept = fused.forward(x, params)[1]
        d_params = torch.empty(mlp.n_params)
        fused.backward(torch.ones(40, 3), kept, params, d_params)
        assert not torch.isfinite(d_params.abs().sum() + fused.magnitude)


def test_the_order_of_warps_between_barriers_does_not_matter(monkeypatch):
    """Running the last warp first gives the same bits: within a phase no warp reads what another one writes.

    The emulation ends a phase for all warps at once, with or without a barrier; the next test checks that barriers exist.
    """
    mlp = make_mlp(32, 2, 64)
    params, x, d_out = weights_of(mlp), uniform(300, 64, low=-1.0), uniform(300, 3, low=-1.0, seed=2)

    def everything():
        forward_kernel.cache_clear()
        backward_kernel.cache_clear()
        with quickly_compiled(FusedMlp(mlp, make_launcher(1))) as fused:
            out, kept = fused.forward(x, params)
            d_params = torch.full((mlp.n_params,), torch.nan)
            return out, fused.backward(d_out, kept, params, d_params), d_params

    in_order = everything()
    forwards, backwards = "w = 0, warp = 0; w < HERE; ++w, ++warp", "w = HERE - 1, warp = w; w >= 0; --w, --warp"
    assert forwards in preamble(4)
    monkeypatch.setattr(forward, "preamble", lambda warps: preamble(warps).replace(forwards, backwards))
    for value, expected in zip(everything(), in_order, strict=True):
        assert same_bits(value, expected)
    forward_kernel.cache_clear()
    backward_kernel.cache_clear()


@pytest.mark.parametrize("name", ["16", "64-deep", "128"])
def test_barriers_separate_all_phases(name):
    """Phases and barriers alternate in the text of the backward kernel; the last phase only uses registers."""
    variant = backward_variant(Shape.of(make_mlp(**CASES[name][0])))
    text = backward_snippet(variant)
    tokens = re.findall(r"NRC_WARPS\(w|NRC_SYNC;", text[text.index("float magnitudes") :])
    phases = 1 + 2 * len(variant.shape.matrices)
    assert tokens == ["NRC_WARPS(w", "NRC_SYNC;"] * (phases - 1) + ["NRC_WARPS(w"]


@pytest.mark.parametrize("warps", [2, 4, 8])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("columns", [1, 2, 3, 5, 8])
def test_shares_cover_a_matrix_once(rows, columns, warps):
    """Every tile of 16 x 16 belongs to exactly one warp, and no warp needs more registers than its share states."""
    share = Share.of(rows, columns, warps)
    owned = [
        (warp % share.down + share.down * p, warp // share.down + share.across * q)
        for warp in range(warps)
        for p in range(share.own_rows)
        for q in range(share.own_columns)
    ]
    inside = [tile for tile in owned if tile[0] < rows and tile[1] < columns]
    assert sorted(inside) == [(row, column) for row in range(rows) for column in range(columns)]


def test_networks_that_cannot_be_fused_are_refused():
    """Other widths and activations, no hidden layer, and more layers than fit into shared memory are refused."""
    launcher = make_launcher(1)
    for mlp in (
        make_mlp(activation="Sine"),
        make_mlp(output_activation="SiLU"),
        make_mlp(n_out=200),
        make_mlp(128, 200),
    ):
        with pytest.raises(ConfigError, match="fused: needs a network of 16"):
            FusedMlp(mlp, launcher)
    assert backward_variant(Shape(16, 128, 200, 16)) is None
    assert backward_variant(Shape(32, 64, 20, 16)).activations <= 48 * 1024
