"""The grid: its levels and derivatives, and that threads and lists do not change a bit of the results."""

import numpy as np
import pytest
import torch

from nrc_tracer.errors import ConfigError, NrcError
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.encodings.grid import GridEncoding
from nrc_tracer.nn.gradients import Gradient, GradientSink, ListedGrid
from nrc_tracer.nn.regions import Regions
from tests.nn import oracle
from tests.nn.oracle import grid as oracle_grid
from tests.nn.samples import GRID, SMOOTH, make_encoding, make_launcher, relative, same_bits, uniform

NEAREST = GRID | {"interpolation": "Nearest"}
SHAPES = [(2, 1), (2, 2), (3, 4), (3, 2), (4, 2), (2, 8)]


@pytest.mark.parametrize("n_dims", [2, 3, 4])
@pytest.mark.parametrize(
    "config",
    [
        GRID,
        {"otype": "HashGrid", "n_levels": 20, "log2_hashmap_size": 12},
        {"otype": "HashGrid", "per_level_scale": 1.5, "log2_hashmap_size": 10},
        {"otype": "HashGrid", "per_level_scale": 1.0, "n_levels": 3},
        {"otype": "HashGrid", "per_level_scale": 0.7, "n_levels": 4, "base_resolution": 7},
        {"otype": "TiledGrid", "n_levels": 12, "per_level_scale": 1.38191},
        {"otype": "DenseGrid", "n_levels": 4, "base_resolution": 5, "per_level_scale": 1.3},
        {"otype": "DenseGrid", "n_levels": 1},
    ],
)
def test_levels_agree_with_the_oracle(config, n_dims):
    """The scale agrees to the last bit, and so do resolution, entries, offset, and whether indices are hashed."""
    levels = make_encoding(config, n_dims).levels
    expected = oracle.grid_levels(config, n_dims)
    assert len(levels) == len(expected)
    for level, other in zip(levels, expected, strict=True):
        assert np.float32(level.scale) == other.scale == level.scale
        assert (level.resolution, level.entries) == (other.resolution, other.entries)
        assert (level.offset, level.hashed) == (other.offset, other.hashed)


@pytest.mark.parametrize(
    ("config", "n_dims", "message"),
    [
        (configuration.Grid(n_levels=40), 3, "level 27 would have"),
        (configuration.Grid(type="Dense", n_levels=5, base_resolution=128), 3, "at most 2,147,483,647"),
        (
            configuration.Grid(n_levels=16, log2_hashmap_size=28, n_features_per_level=8, base_resolution=512),
            3,
            "at most",
        ),
        (configuration.Grid(), 5, "2, 3 or 4 input dimensions, got 5"),
    ],
)
def test_impossible_grids_are_refused(config, n_dims, message):
    """The error is raised before any memory is allocated."""
    with pytest.raises(ConfigError, match=message):
        GridEncoding(config, n_dims)


# Derivatives


def inner_points(config, n_dims, n, distance):
    """Points at least `distance` cells away from the faces of their cells, in every level."""
    x = uniform(20 * n, n_dims, seed=4).double()
    keep = torch.ones(len(x), dtype=torch.bool)
    for level in oracle.grid_levels(config, n_dims):
        p = x * float(level.scale) + 0.5
        keep &= ((p - p.round()).abs() > distance).all(dim=1)
    assert keep.sum() >= n
    return x[keep][:n].float()


@pytest.fixture
def exact(monkeypatch):
    """The oracle's grid in float64 throughout: a smooth function inside cells, suitable for finite differences."""
    monkeypatch.setattr(oracle_grid, "fma", lambda x, scale, addend: np.asarray(x, np.float64) * float(scale) + addend)

    def values(config, x, params):
        return torch.from_numpy(oracle_grid.encode_grid(config, x.numpy(), params.numpy()))

    return values


def kernel_gradients(encoding, x, params, d_out):
    launcher = make_launcher()
    d_x, d_params = torch.zeros_like(x), torch.zeros_like(params)
    encoding.backward_input(launcher, x, params, d_out, d_x)
    encoding.backward_params(launcher, x, params, d_out, GradientSink(d_params))
    return d_x, d_params


@pytest.mark.parametrize("config", [GRID, SMOOTH, NEAREST], ids=["linear", "smoothstep", "nearest"])
@pytest.mark.parametrize(("n_dims", "features"), SHAPES)
def test_gradients_agree_with_finite_differences(exact, config, n_dims, features):
    """The oracle in float64 is differenced; the error, h^2 s^3 for smoothstep at scale s plus rounding / h, is 1e-8 of them."""
    config = config | {"n_features_per_level": features}
    encoding = make_encoding(config, n_dims)
    h = 1e-6
    x = inner_points(config, n_dims, 100, 1e-3)
    params = uniform(encoding.n_params, low=-1.0, seed=1)
    d_out = uniform(len(x), encoding.n_output_dims, low=-1.0, seed=2)
    d_x, d_params = kernel_gradients(encoding, x, params, d_out)

    differences = torch.zeros(x.shape, dtype=torch.float64)
    for d, step in enumerate(h * torch.eye(n_dims, dtype=torch.float64)):
        change = exact(config, x.double() + step, params) - exact(config, x.double() - step, params)
        differences[:, d] = (change * d_out).sum(dim=1) / (2 * h)
    if config.get("interpolation") == "Nearest":
        assert not differences.any()
        assert not d_x.any()
    else:
        # The fractional position has an error of half an ulp of the position, 2^-20 of a cell
        assert relative(d_x, differences) < 1e-5

    # Values are linear in the parameters, so their derivative along a direction is the value for that direction
    for seed in range(3, 8):
        along = uniform(encoding.n_params, low=-1.0, seed=seed)
        expected = (exact(config, x, along) * d_out).sum()
        scale = float((exact(config, x, along) * d_out).norm())
        assert abs(float((d_params.double() * along).sum() - expected)) < 1e-5 * scale


@pytest.mark.parametrize("config", [GRID, SMOOTH], ids=["linear", "smoothstep"])
@pytest.mark.parametrize("n_dims", [2, 3, 4])
def test_second_derivatives_agree_with_finite_differences(exact, config, n_dims):
    """(Input gradient . v) along x: h = 1e-4 leaves 1e-16 / h^2 of rounding and h^2 s^2 of truncation, about 1e-6."""
    encoding, h = make_encoding(config, n_dims), 1e-4
    x = inner_points(config, n_dims, 100, 1e-2).requires_grad_()
    params = uniform(encoding.n_params, low=-1.0, seed=1)
    d_out = uniform(len(x), encoding.n_output_dims, low=-1.0, seed=2)
    v = uniform(*x.shape, low=-1.0, seed=3)
    y = encoding.differentiable(make_launcher(), x, params, encoding.n_output_dims)
    (d_x,) = torch.autograd.grad(y, x, d_out, create_graph=True)
    (second,) = torch.autograd.grad(d_x, x, v)

    at, expected = x.detach().double(), torch.zeros(x.shape, dtype=torch.float64)
    for d, step in enumerate(h * torch.eye(n_dims, dtype=torch.float64)):
        corners = [
            sign * other * (exact(config, at + sign * step + other * h * v.double(), params) * d_out).sum(dim=1)
            for sign in (-1, 1)
            for other in (-1, 1)
        ]
        expected[:, d] = sum(corners) / (4 * h * h)
    assert relative(second, expected) < 2e-5


@pytest.mark.parametrize("config", [GRID, SMOOTH, NEAREST], ids=["linear", "smoothstep", "nearest"])
@pytest.mark.parametrize(("n_dims", "features"), SHAPES)
def test_all_second_derivatives_agree_with_the_definition(config, n_dims, features):
    """A penalty on both gradients is differentiated by input, parameters and output gradient; 1e-5 in relative norm."""
    encoding = make_encoding(config | {"n_features_per_level": features}, n_dims)
    n = encoding.n_output_dims

    def derivatives(values, dtype):
        x = uniform(200, n_dims, seed=3).to(dtype).requires_grad_()
        params = uniform(encoding.n_params, low=-1.0, seed=1).to(dtype).requires_grad_()
        d_out = uniform(200, n, low=-1.0, seed=2).to(dtype).requires_grad_()
        d_x, d_params = torch.autograd.grad(values(x, params), (x, params), d_out, create_graph=True)
        # Scaled to a similar size: a cell is about 1/20 wide
        penalty = (d_x**2).sum() / 400.0 + (d_params**2).sum()
        return [d_x.detach(), d_params.detach(), *torch.autograd.grad(penalty, (x, params, d_out))]

    launcher = make_launcher()
    found = derivatives(lambda x, params: encoding.differentiable(launcher, x, params, n), torch.float32)
    expected = derivatives(encoding.values, torch.float64)
    for value, other in zip(found, expected, strict=True):
        if other.any():
            assert relative(value, other) < 1e-5
        else:
            assert not value.any()


@pytest.mark.parametrize("wanted", [0, 1, 2], ids=["input", "params", "output gradient"])
def test_third_derivatives_are_refused(wanted):
    """It is an error with a clear message instead of a wrong number."""
    encoding = make_encoding(SMOOTH, 3)
    x = uniform(10, 3).requires_grad_()
    params = uniform(encoding.n_params, low=-1.0).requires_grad_()
    d_out = uniform(10, encoding.n_output_dims).requires_grad_()
    y = encoding.differentiable(make_launcher(), x, params, encoding.n_output_dims)
    (first,) = torch.autograd.grad(y, x, d_out, create_graph=True)
    second = torch.autograd.grad((first**2).sum(), (x, params, d_out), create_graph=True)
    with pytest.raises(NrcError, match="third derivatives of a grid are not available"):
        second[wanted].sum().backward()


# Threads, blocks and lists


def scatter(encoding, x, d_out, threads, *, listed=False, direction=None, before=None):
    """Dense gradient of the parameters, with or without lists; `before` is a batch whose gradient was computed before."""
    launcher = make_launcher(threads)
    if not listed:
        flat = torch.zeros(encoding.n_params)
        encoding.launches.backward_params(launcher, x, d_out, GradientSink(flat), direction=direction)
        return flat, None
    regions = Regions(encoding.layout, launcher.device, threads, listed=True)
    # NaN reveals any read of memory that was not written
    flat = torch.full((encoding.n_params,), torch.nan)
    sink = GradientSink(flat, {encoding.layout: regions})
    for points, gradient in [before, (x, d_out)] if before else [(x, d_out)]:
        regions.begin_step()
        encoding.backward_params(launcher, points, flat, gradient, sink)
    listing = ListedGrid(0, regions)
    return Gradient(flat, 0, [listing]).dense(), regions


def touched(regions):
    listed = []
    for stretch in regions.stretches():
        listed += regions.entries(stretch).tolist()
    return sorted(listed)


@pytest.mark.parametrize("n", [1, 15, 17, 1023, 1025, 3000])
@pytest.mark.parametrize("levels", [1, 2, 5])
def test_threads_do_not_change_a_bit(n, levels):
    """Values, both gradients and those of the tangent are equal, with levels cut into up to six regions and partial blocks."""
    encoding = make_encoding(SMOOTH | {"n_levels": levels}, 3)
    x = uniform(n, 3, low=-0.1, high=1.1)
    params = uniform(encoding.n_params, low=-1.0, seed=1)
    d_out, v = uniform(n, encoding.n_output_dims, low=-1.0, seed=2), uniform(n, 3, seed=3)

    def everything(threads):
        launcher = make_launcher(threads)
        out, d_x, hessian = torch.empty_like(d_out), torch.zeros_like(x), torch.zeros_like(x)
        encoding.forward(launcher, x, params, out)
        encoding.backward_input(launcher, x, params, d_out, d_x)
        encoding.launches.backward_backward_input(launcher, x, params, d_out, v, hessian)
        tangent = torch.empty_like(d_out)
        encoding.launches.tangent(launcher, x, params, v, tangent)
        plain, along = (scatter(encoding, x, d_out, threads, direction=way)[0] for way in (None, v))
        return out, d_x, hessian, tangent, plain, along, scatter(encoding, x, d_out, threads, listed=True)[0]

    alone = everything(1)
    for threads in (2, 3):
        for value, expected in zip(everything(threads), alone, strict=True):
            assert same_bits(value, expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("n", [3, 40, 400])
def test_lists_contain_the_whole_gradient(n, threads):
    """Levels listed entirely or in part (or both in one grid, at n = 40) give the same bits, even after another batch."""
    encoding = make_encoding(GRID | {"log2_hashmap_size": 10}, 3)
    x, d_out = uniform(n, 3), uniform(n, encoding.n_output_dims, low=-1.0, seed=2)
    before = uniform(350, 3, seed=7), uniform(350, encoding.n_output_dims, low=-1.0, seed=8)
    expected, _ = scatter(encoding, x, d_out, 1)
    for earlier in (None, before, (x.flip(0), d_out)):
        found, regions = scatter(encoding, x, d_out, threads, listed=True, before=earlier)
        assert torch.equal(found, expected)
        listed = touched(regions)
        assert len(set(listed)) == len(listed)
        # Touched entries with zero gradient are not compared; levels with at least as many corners as entries are listed
        # entirely
        entire = [level for level in encoding.levels if 8 * n + 7 >= level.entries]
        assert len(entire) == {3: 0, 40: 2, 400: 5}[n]
        whole = sum(level.entries for level in entire)
        others = expected.view(-1, 2)[whole:].any(dim=1).nonzero().flatten() + whole
        assert listed == [*range(whole), *others.tolist()]


def test_lists_do_not_depend_on_threads():
    """Otherwise averages, which treat unlisted entries differently, would differ in their last bits."""
    encoding = make_encoding(GRID | {"n_levels": 2, "log2_hashmap_size": 10}, 3)
    for n in range(8, 30):
        x, d_out = uniform(n, 3, seed=n), uniform(n, encoding.n_output_dims, low=-1.0, seed=2)
        lists = [touched(scatter(encoding, x, d_out, threads, listed=True)[1]) for threads in (1, 2, 3, 8)]
        assert lists[0] == lists[1] == lists[2] == lists[3]


def test_integer_sums_do_not_depend_on_the_order():
    """In deterministic mode, shuffled points and other threads give the same bits, equal to plain sums up to rounding."""
    encoding = make_encoding(SMOOTH, 3)
    x, d_out = uniform(500, 3), uniform(500, encoding.n_output_dims, low=-1.0, seed=2)
    expected, _ = scatter(encoding, x, d_out, 1)
    results = []
    for threads, order in (
        (1, torch.arange(500)),
        (3, torch.randperm(500, generator=torch.Generator().manual_seed(1))),
    ):
        flat = torch.zeros(encoding.n_params)
        sink = GradientSink(flat, deterministic=True)
        encoding.backward_params(make_launcher(threads), x[order], flat, d_out[order], sink)
        results.append(flat)
    assert same_bits(*results)
    # An entry is the sum of about ten terms of at most 1, whose weights are products of three rounded factors
    assert (results[0] - expected).abs().max() < 500 * 2**-24
    assert not torch.equal(scatter(encoding, x[order], d_out[order], 1)[0], expected)  # the test needs this


def test_stamps_start_again_before_they_overflow():
    """Once all stamps are used, entries with old stamps count as untouched."""
    encoding, launcher = make_encoding(GRID, 3), make_launcher()
    regions = Regions(encoding.layout, launcher.device, 2, listed=True)
    flat = torch.full((encoding.n_params,), torch.nan)
    sink = GradientSink(flat, {encoding.layout: regions})
    x, d_out = uniform(3, 3), uniform(3, encoding.n_output_dims)
    regions.begin_step()  # the first step after the overflow must not mistake these stamps for its own
    encoding.backward_params(launcher, x, flat, d_out, sink)
    regions.stamp = 2 ** (32 - regions.slot_bits) - 2
    for _ in range(3):
        regions.begin_step()
        assert 0 < regions.stamp < 2 ** (32 - regions.slot_bits)
        encoding.backward_params(launcher, x, flat, d_out, sink)
        listing = ListedGrid(0, regions)
        assert torch.equal(Gradient(flat, 0, [listing]).dense(), scatter(encoding, x, d_out, 1)[0])


def test_an_empty_batch_touches_nothing():
    """The batch gives no values, no gradient and an empty list."""
    encoding = make_encoding(GRID, 3)
    x, d_out = torch.zeros(0, 3), torch.zeros(0, encoding.n_output_dims)
    encoding.forward(make_launcher(), x, torch.zeros(encoding.n_params), torch.zeros_like(d_out))
    before = uniform(400, 3), uniform(400, encoding.n_output_dims)
    gradient, regions = scatter(encoding, x, d_out, 2, listed=True, before=before)
    assert not gradient.any()
    assert touched(regions) == []
