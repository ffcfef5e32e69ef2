"""Composites: derivatives through all combinations of encodings. Values are tested in `test_golden`."""

import pytest
import torch

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.gradients import GradientSink
from tests.nn.samples import GRID, SMOOTH, make_encoding, make_launcher, make_model, relative, uniform

IDENTITY = {"otype": "Identity", "scale": -1.7, "offset": 0.3}
ONE_BLOB = {"otype": "OneBlob", "n_bins": 8}
WAVES = {"otype": "TriangleWave", "n_frequencies": 5}
FREQUENCY = {"otype": "Frequency", "n_frequencies": 3}
HARMONICS = {"otype": "SphericalHarmonics", "degree": 4}


def of(encoding, n_dims, begin=None):
    return encoding | {"n_dims_to_encode": n_dims} | ({} if begin is None else {"dims_to_encode_begin": begin})


def composite(*nested, reduction="Concatenation"):
    return {"otype": "Composite", "nested": list(nested), "reduction": reduction}


COMPOSITES = {
    "concatenation": (composite(of(IDENTITY, 1), of(SMOOTH | {"n_features_per_level": 4}, 3), HARMONICS), 7),
    "two-grids": (composite(of(SMOOTH, 2), of(GRID | {"n_features_per_level": 8}, 3), ONE_BLOB), 6),
    "overlapping": (composite(of(FREQUENCY, 2, 1), of(SMOOTH, 3, 0), of(IDENTITY, 4, 0)), 4),
    "nested": (composite(of(composite(of(IDENTITY, 1), SMOOTH), 3), of(composite(of(SMOOTH, 2), WAVES), 3)), 6),
    "sum": (composite(of(SMOOTH, 2), of(SMOOTH, 3), of(IDENTITY, 10), reduction="Sum"), 15),
    "product": (composite(of(SMOOTH, 3, 0), of(GRID, 3, 0), of(IDENTITY, 10, 1), reduction="Product"), 11),
    "product-padded": (composite(of(ONE_BLOB, 2), of(HARMONICS, 3), reduction="Product"), 5),
    "product-of-one": (composite(of(SMOOTH, 3), reduction="Product"), 3),
    "sum-of-products": (
        composite(
            of(composite(of(SMOOTH, 2, 0), of(SMOOTH, 2, 1), reduction="Product"), 3), of(IDENTITY, 10), reduction="Sum"
        ),
        13,
    ),
}
each_composite = pytest.mark.parametrize("name", COMPOSITES)


def inputs(encoding, dtype):
    x = uniform(150, encoding.n_input_dims, seed=3).to(dtype).requires_grad_()
    params = uniform(encoding.n_params, low=-1.0, seed=1).to(dtype).requires_grad_()
    d_out = uniform(150, encoding.width(16), low=-1.0, seed=2).to(dtype)
    return x, params, d_out


@each_composite
def test_kernel_gradients_agree_with_the_definition(name):
    """Gradients of inputs and parameters, without the padding, are added to existing values and agree to 1e-5."""
    encoding = make_encoding(*COMPOSITES[name])
    x, params, d_out = inputs(encoding, torch.float64)
    expected = torch.autograd.grad(
        encoding.reference(x, params, encoding.width(16)), (x, params), d_out, allow_unused=True
    )
    x, params, d_out = (tensor.detach().float() for tensor in (x, params, d_out))
    launcher, d_x, d_params = make_launcher(), torch.ones_like(x), torch.ones_like(params)
    encoding.backward_input(launcher, x, params, d_out, d_x)
    encoding.backward_params(launcher, x, params, d_out, GradientSink(d_params))
    assert relative(d_x - 1.0, expected[0]) < 1e-5
    assert encoding.n_params == 0 or relative(d_params - 1.0, expected[1]) < 1e-5


@each_composite
def test_second_derivatives_agree_with_the_definition(name):
    """Derivatives of a penalty on the gradients of inputs and parameters agree with the definition in float64."""
    encoding = make_encoding(*COMPOSITES[name])
    width = encoding.width(16)

    def derivatives(function, dtype):
        x, params, d_out = inputs(encoding, dtype)
        wanted = (x, params) if encoding.n_params else (x,)
        first = torch.autograd.grad(function(x, params), wanted, d_out, create_graph=True)
        penalty = sum((gradient**2).sum() / (400.0 if gradient is first[0] else 1.0) for gradient in first)
        return [*(gradient.detach() for gradient in first), *torch.autograd.grad(penalty, wanted)]

    launcher = make_launcher()
    found = derivatives(lambda x, params: encoding.differentiable(launcher, x, params, width), torch.float32)
    expected = derivatives(lambda x, params: encoding.reference(x, params, width), torch.float64)
    for value, other in zip(found, expected, strict=True):
        assert relative(value, other) < 1e-5


def test_parameters_of_nested_encodings_are_in_order():
    """Views by name are the slices that the encodings read."""
    config, n_dims = COMPOSITES["two-grids"]
    model = make_model(config, None, n_dims)
    first, second, blob = (model.encoding.nested(index) for index in range(3))
    assert (first.n_levels, second.n_levels, blob.n_levels) == (5, 5, 0)
    assert first.params.data_ptr() == model.params.data_ptr()
    assert second.params.data_ptr() == model.params[len(first.params) :].data_ptr()
    assert len(first.params) + len(second.params) == model.n_params
    assert len(blob.params) == 0
    model.params.zero_()
    second.level(4).fill_(2.0)
    y = model(uniform(50, n_dims))
    assert not y[:, :10].any()  # columns of the first grid
    columns = slice(16 + 4 * 8, 16 + 5 * 8)  # after the first grid, at a multiple of 8: the columns of the last level
    assert (y[:, columns] - 2.0).abs().max() < 1e-6


@pytest.mark.parametrize("reduction", ["Sum", "Product"])
def test_widths_must_agree(reduction):
    """After padding to the alignment of grids inside, 3 and 4 columns fit next to a grid of 4 features, but 3 and 5 do not."""
    grid = GRID | {"n_features_per_level": 4, "n_levels": 1}
    fits = composite(of(grid, 2), of(IDENTITY, 3), of(IDENTITY, 4), reduction=reduction)
    assert make_encoding(fits, 9).n_output_dims == 4
    with pytest.raises(ConfigError, match=r"encoding.reduction: .* one width, got 4, 3, 5"):
        make_encoding(composite(of(grid, 2), of(IDENTITY, 3), of(IDENTITY, 5), reduction=reduction), 10)


def test_encodings_without_dimensions_are_left_out():
    """They have no columns and cause no padding."""
    config = composite(of(IDENTITY, 0), of(IDENTITY, 2), of(GRID, 0))
    encoding = make_encoding(config, 2)
    assert (encoding.n_output_dims, encoding.n_params, encoding.alignment) == (2, 0, 1)


def test_unused_dimensions_have_no_gradient():
    """With `dims_to_encode_begin`, some columns may remain unused."""
    encoding = make_encoding(composite(of(IDENTITY, 1, 1), of(SMOOTH, 2, 2)), 5)
    x, params, d_out = inputs(encoding, torch.float32)
    y = encoding.differentiable(make_launcher(), x, params, encoding.width(16))
    (d_x,) = torch.autograd.grad(y, x, d_out)
    assert [bool(column.any()) for column in d_x.T] == [False, True, True, True, False]


def test_too_many_dimensions_are_refused():
    """The error gives the place in the configuration."""
    config = configuration.read_encoding(composite(of(IDENTITY, 3), of(GRID, 3)))
    with pytest.raises(ConfigError, match=r"encoding\.nested: the nested encodings take 6 dimensions"):
        make_encoding(configuration.to_json(config), 5)
