"""The oracle compared with numbers worked out by hand or published, so that it can serve as a reference for the package."""

from fractions import Fraction

import numpy as np
import pytest

from tests.nn import oracle
from tests.nn.oracle.grid import fma

UNIT_GRID = {"otype": "HashGrid", "n_levels": 1, "n_features_per_level": 1, "base_resolution": 2}


def growth(finest, n_levels, base=16):
    return float(np.exp(np.log(finest / base) / (n_levels - 1)))


@pytest.mark.parametrize(
    ("n_dims", "config", "count"),
    [
        (3, {}, 14_229_504),
        (3, {"per_level_scale": 1.51572}, 13_074_912),
        (3, {"per_level_scale": 1.66248}, 13_623_184),
        (3, {"per_level_scale": growth(2048, 16)}, 12_196_240),
        (3, {"n_levels": 8, "n_features_per_level": 4, "per_level_scale": growth(2048, 8)}, 11_681_792),
        (2, {"log2_hashmap_size": 15, "per_level_scale": 1.5}, 708_368),
    ],
)
def test_grid_has_the_published_number_of_parameters(n_dims, config, count):
    """The counts are those of the specification's table."""
    assert oracle.n_params({"otype": "HashGrid", **config}, n_dims) == count


def test_levels_follow_the_growth_factor():
    """b = 2 gives resolutions 16, 32, 64 ...; offsets are running sums, and only levels that do not fit are hashed."""
    levels = oracle.grid_levels({"otype": "Grid", "n_levels": 4, "log2_hashmap_size": 12}, 3)
    assert [level.resolution for level in levels] == [16, 32, 64, 128]
    assert [level.entries for level in levels] == [4096] * 4
    assert [level.offset for level in levels] == [0, 4096, 8192, 12288]
    assert [level.hashed for level in levels] == [False, True, True, True]


def test_dense_grid_ends_at_256():
    """The default growth factor of a dense grid is exp(ln(256 / 16) / (L - 1))."""
    levels = oracle.grid_levels({"otype": "DenseGrid", "n_levels": 3}, 2)
    assert levels[1].resolution == 64
    assert abs(float(levels[2].scale) - 255) < 1e-3


@pytest.mark.parametrize(
    ("config", "x", "value"),
    [
        # p = 1/2 lies amid corners 0, 1, 2, 3; p = 1 on corner (1, 1); p = 3/2 amid (1..2, 1..2) = 3, 4, 5, 6
        ({}, (0, 0), 1.5),
        ({}, (0.5, 0.5), 3),
        ({}, (1, 1), 4.5),
        # Column -1 is 0xffffffff, 7 modulo 8 entries, and its neighbour wraps to 0; in the next row they are 1 and 2
        ({}, (-1, 0), 2.5),
        # Four entries: 3, 4, 5, 6 become 3, 0, 1, 2
        ({"otype": "TiledGrid"}, (1, 1), 1.5),
        # 3/4 of the way along dimension 0, 1/2 along dimension 1, and 3/4 smoothed
        ({}, (0.25, 0), 0.75 + 1),
        ({"interpolation": "Smoothstep"}, (0.25, 0), 0.84375 + 1),
        ({"interpolation": "Nearest"}, (0.49, 0.5), 2),
        # 16 vertices in 4 entries, cell (2, 3): 2 xor 3 * 2654435761 = 2 xor 3 modulo 4
        ({"base_resolution": 4, "log2_hashmap_size": 2, "interpolation": "Nearest"}, (0.5, 0.9), 1),
    ],
)
def test_grid_interpolates_corner_values(config, x, value):
    """The level's entry i contains the number i."""
    config = UNIT_GRID | config
    table = np.arange(oracle.n_params(config, 2), dtype=np.float32)
    np.testing.assert_allclose(oracle.encode(config, np.array([x]), table), [[value]], rtol=1e-15)


def test_fma_rounds_once():
    """Exact rational arithmetic, including a case where an intermediate rounding to float64 would give the other neighbour."""
    rng = np.random.default_rng(1)
    x = np.append(rng.random(200), 3 * (1 + 2.0**-22) * 2.0**-12).astype(np.float32)
    for scale in (np.float32(22.2), np.float32((1 - 2.0**-22) * 2.0**-13)):
        for a, p in zip(x, fma(x, scale, 0.5), strict=True):
            exact = Fraction(float(a)) * Fraction(float(scale)) + Fraction(1, 2)
            error = abs(Fraction(float(p)) - exact)
            for way in (-np.inf, np.inf):
                other = abs(Fraction(float(np.nextafter(p, np.float32(way)))) - exact)
                assert error < other or (error == other and not p.view(np.int32) & 1)
    assert fma(x[-1:], scale, 0.5)[0] == 0.5 + 2.0**-24


def test_triangle_wave_at_quarter_points():
    """k = 0 has v = x / 2; k = 1 has v = x + 1/4."""
    x = np.array([[0], [0.25], [0.5], [0.75], [1]])
    wave = oracle.encode({"otype": "TriangleWave", "n_frequencies": 2}, x)
    np.testing.assert_array_equal(wave, [[1, 0], [0.5, -1], [0, 0], [-0.5, 1], [-1, 0]])


def test_frequency_order():
    """sin and cos of pi x precede those of 2 pi x; all frequencies of one dimension come first."""
    value = oracle.encode({"otype": "Frequency", "n_frequencies": 2}, np.array([[0.25, 0.5]]))
    root = np.sqrt(0.5)
    np.testing.assert_allclose(value, [[root, root, 1, 0, 1, 0, 0, -1]], atol=1e-15)


def test_oneblob_keeps_its_mass():
    """The blob at 1/2 covers two of four bins by half each; every blob in [0, 1] has mass 1, wrapped or not."""
    config = {"otype": "OneBlob", "n_bins": 4}
    np.testing.assert_allclose(oracle.encode(config, np.array([[0.5]])), [[0, 0.5, 0.5, 0]], atol=1e-15)
    np.testing.assert_allclose(oracle.encode(config, np.array([[0.0]])), [[0.5, 0, 0, 0.5]], atol=1e-15)
    x = np.linspace(0, 1, 101)[:, None]
    np.testing.assert_allclose(oracle.encode(config, x).sum(axis=1), 1, rtol=1e-14)


def test_spherical_harmonics_against_the_textbook():
    """Degree 4 in Cartesian form with tiny-cuda-nn's signs agrees for unit directions and others."""
    x01 = np.random.default_rng(2).random((20, 3)).astype(np.float32)
    x, y, z = (x01 * np.float32(2) - np.float32(1)).astype(np.float64).T
    pi = np.pi
    expected = [
        np.full(20, np.sqrt(1 / pi) / 2),
        -np.sqrt(3 / (4 * pi)) * y,
        np.sqrt(3 / (4 * pi)) * z,
        -np.sqrt(3 / (4 * pi)) * x,
        np.sqrt(15 / pi) / 2 * x * y,
        -np.sqrt(15 / pi) / 2 * y * z,
        np.sqrt(5 / pi) / 4 * (3 * z * z - 1),
        -np.sqrt(15 / pi) / 2 * x * z,
        np.sqrt(15 / pi) / 4 * (x * x - y * y),
        -np.sqrt(35 / (2 * pi)) / 4 * y * (3 * x * x - y * y),
        np.sqrt(105 / pi) / 2 * x * y * z,
        -np.sqrt(21 / (2 * pi)) / 4 * y * (5 * z * z - 1),
        np.sqrt(7 / pi) / 4 * z * (5 * z * z - 3),
        -np.sqrt(21 / (2 * pi)) / 4 * x * (5 * z * z - 1),
        np.sqrt(105 / pi) / 4 * z * (x * x - y * y),
        -np.sqrt(35 / (2 * pi)) / 4 * x * (x * x - 3 * y * y),
    ]
    value = oracle.encode({"otype": "SphericalHarmonics"}, x01)
    np.testing.assert_allclose(value, np.stack(expected, axis=1), atol=1e-14)


def test_spherical_harmonics_are_orthonormal():
    """The mean over the sphere of Y_i Y_j is 1 / (4 pi) or 0 for all 64 of them, by a quadrature exact to degree 15."""
    z, weight = np.polynomial.legendre.leggauss(8)
    turn = 2 * np.pi * np.arange(16) / 16
    radius = np.sqrt(1 - z * z)[:, None]
    direction = np.stack((radius * np.cos(turn), radius * np.sin(turn), np.broadcast_to(z[:, None], (8, 16))), axis=2)
    value = oracle.encode({"otype": "SphericalHarmonics", "degree": 8}, (direction.reshape(-1, 3) + 1) / 2)
    gram = np.einsum("n,ni,nj->ij", np.repeat(weight, 16) * 2 * np.pi / 16, value, value)
    # Directions are rounded to float32
    np.testing.assert_allclose(gram, np.eye(64), atol=2e-6)


@pytest.mark.parametrize(
    ("config", "columns"),
    [
        ({"otype": "Identity"}, [0.5, 0.25, 0, 1]),
        ({"otype": "SphericalHarmonics", "degree": 1}, [1, 1, 1, np.sqrt(1 / np.pi) / 2]),
        ({"otype": "Identity", "scale": 2, "offset": 1}, [2, 1.5, 1, 1]),
        ({"otype": "TriangleWave", "n_frequencies": 1}, [0, 0.5, 1, 1]),
        ({"otype": "Empty"}, []),
    ],
)
def test_value_and_place_of_padding(config, columns):
    """With alignment 4, ones follow the coefficients, but precede those of spherical harmonics."""
    value = oracle.encode(config, np.array([[0.5, 0.25, 0]], np.float32), alignment=4)
    np.testing.assert_allclose(value, [columns], atol=1e-15)


def test_grid_pads_with_zero():
    """The same grid is wider."""
    table = np.arange(8, dtype=np.float32)
    np.testing.assert_array_equal(oracle.encode(UNIT_GRID, np.array([[0.5, 0.5]]), table, 4), [[3, 0, 0, 0]])


def test_composite_pads_each_to_the_next_ones_alignment():
    """One column of Identity grows with a one to the grid's two features; the last encoding grows to the requested width."""
    grid = {"otype": "HashGrid", "n_levels": 1, "base_resolution": 2, "n_dims_to_encode": 2}
    nested = [{"otype": "Identity", "n_dims_to_encode": 1}, grid, {"otype": "Identity"}]
    config = {"otype": "Composite", "nested": nested}
    x, table = np.array([[7, 0.5, 0.5, 9]], np.float32), np.arange(16, dtype=np.float32)
    np.testing.assert_array_equal(oracle.encode(config, x, table), [[7, 1, 6, 7, 9]])
    np.testing.assert_array_equal(oracle.encode(config, x, table, alignment=8), [[7, 1, 6, 7, 9, 1, 1, 1]])
    assert oracle.output_dims(config, 4) == 5


@pytest.mark.parametrize(("reduction", "expected"), [("Sum", [12, 14, 2]), ("Product", [35, 49, 1])])
def test_composite_reduces(reduction, expected):
    """Two Identities cover dimensions given by their first one; the padding is reduced, too."""
    nested = [
        {"otype": "Identity", "n_dims_to_encode": 2, "dims_to_encode_begin": 1},
        {"otype": "Identity", "n_dims_to_encode": 2, "dims_to_encode_begin": 0, "offset": 2},
    ]
    config = {"otype": "Composite", "reduction": reduction, "nested": nested}
    # (5, 7) and (5, 5) + 2, each with a one
    np.testing.assert_array_equal(oracle.encode(config, np.array([[5, 5, 7]]), alignment=3), [expected])


def test_nrc_alias():
    """Three dimensions in 12 waves, five in 4 bins and six unchanged; with eight dimensions nothing is left for Identity."""
    assert oracle.output_dims({"otype": "NRC"}, 14) == 36 + 20 + 6
    assert oracle.output_dims({"otype": "OneBlobFrequency"}, 8) == 56
    x = np.linspace(0, 1, 28, dtype=np.float32).reshape(2, 14)
    np.testing.assert_array_equal(oracle.encode({"otype": "NRC"}, x)[:, -6:], x[:, -6:])


def test_network_by_hand():
    """One hidden layer of 16: h = ReLU(x0 - bias input), y = 2 h, where the bias is one of the padding ones."""
    config = {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 1}
    assert oracle.network_shapes(config, 16, 1) == [(16, 16), (16, 16)]
    first, last = np.zeros((16, 16)), np.zeros((16, 16))
    first[3, 0], first[3, 15], last[0, 3] = 1, -1, 2
    weights = np.concatenate((first.ravel(), last.ravel()))
    np.testing.assert_array_equal(oracle.network(config, 2, 1, weights, [[4, 0], [0.5, 0]]), [[6], [0]])
    assert oracle.network_shapes({"n_hidden_layers": 0}, 32, 3) == [(16, 32)]
    assert oracle.network_shapes({}, 32, 3) == [(128, 32), *[(128, 128)] * 4, (16, 128)]


@pytest.mark.parametrize(
    ("name", "at_one", "at_minus_one"),
    [
        ("None", 1, -1),
        ("ReLU", 1, 0),
        ("LeakyReLU", 1, -0.01),
        ("SiLU", 0.7310585786, -0.2689414214),
        ("Exponential", np.e, 1 / np.e),
        ("Sine", 0.8414709848, -0.8414709848),
        ("Sigmoid", 0.7310585786, 0.2689414214),
        ("Squareplus", 1.0099019514, 0.0099019514),
        ("Softplus", 1.0000045399, 0.0000045399),
        ("Tanh", 0.7615941560, -0.7615941560),
    ],
)
def test_activations(name, at_one, at_minus_one):
    """The values have ten digits and come from a calculator."""
    np.testing.assert_allclose(oracle.activate(name, [1, -1]), [at_one, at_minus_one], atol=1e-10)


def test_pcg32_demo_output():
    """The numbers are those of O'Neill's pcg32-demo, round 1: seed 42, sequence 54."""
    rng = oracle.Pcg32(42, 54)
    expected = [0xA15C02B7, 0x7B47F409, 0xBA1D3330, 0x83D2F293, 0xBFA4784B, 0xCBED606E]
    assert rng.draw(6).tolist() == expected
    rng = oracle.Pcg32(42, 54)
    rng.advance(4)
    assert rng.draw(2).tolist() == expected[4:]


def test_initial_parameters_use_random_numbers_in_order():
    """Matrices use one number after the other; thread i of a grid writes numbers 4i .. 4i + 3 a block apart, n in total."""
    grid = {"otype": "HashGrid", "n_levels": 1, "n_features_per_level": 1, "base_resolution": 32}
    nested = [grid | {"n_dims_to_encode": 2}, grid | {"n_dims_to_encode": 2}]
    mlp = {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 1}
    params = oracle.initial_parameters(4, 3, {"otype": "Composite", "nested": nested}, mlp)
    assert params.dtype == np.float32
    assert params.size == 512 + 2048
    unit = (oracle.Pcg32(1337).draw(512 + 2048) >> 9) / 2**23
    np.testing.assert_allclose(params[:512], (2 * unit[:512] - 1) * np.sqrt(6 / 32), atol=1e-7)
    # 1024 entries give 256 threads
    for start in (512, 512 + 1024):
        for i, j in ((0, 0), (0, 1), (1, 0), (255, 3)):
            expected = (2 * unit[start + 4 * i + j] - 1) * 1e-4
            assert abs(params[start + i + 256 * j] - expected) < 1e-11


def test_sine_networks_start_wider():
    """30 / fan_in for the first matrix, sqrt(6 / fan_in) for others; the largest of 1024 numbers is within 1 % of the bound."""
    mlp = {"n_neurons": 32, "n_hidden_layers": 2, "activation": "Sine"}
    params = np.abs(oracle.initial_parameters(32, 16, None, mlp))
    bounds = [params[:1024].max(), params[1024:2048].max(), params[2048:].max()]
    np.testing.assert_allclose(bounds, [30 / 32, np.sqrt(6 / 32), np.sqrt(6 / 32)], rtol=0.01)


@pytest.mark.parametrize(
    ("name", "value", "slope"),
    [
        # Prediction 3, target 1
        ("L1", 2, 1),
        ("L2", 4, 4),
        ("RelativeL1", 2 / 3.01, 1 / 3.01),
        ("RelativeL2", 4 / 9.01, 4 / 9.01),
        ("MAPE", 2 / 1.01, 1 / 1.01),
        ("SMAPE", 2 / 2.01, 1 / 2.01),
        ("CrossEntropy", -np.log(3), -1 / 3),
        ("Huber", (2 - 0.05) / 5, 0.2),
    ],
)
def test_loss_of_one_element(name, value, slope):
    """The element is alone, among four elements, and divided by a density of 2."""
    mean, gradient = oracle.loss({"otype": name}, [[3]], [[1]])
    np.testing.assert_allclose([mean, gradient[0, 0]], [value, slope], rtol=1e-14)
    mean, gradient = oracle.loss({"otype": name}, np.full((2, 2), 3), np.ones((2, 2)), np.full((2, 2), 2))
    np.testing.assert_allclose(mean, value / 2, rtol=1e-14)
    np.testing.assert_allclose(gradient, slope / 8, rtol=1e-14)


def test_huber_is_quadratic_within_a_tenth():
    """For d = 0.05 the loss is d^2 / 0.2 / 5 and the slope d / 0.1 / 5."""
    mean, gradient = oracle.loss({"otype": "Huber"}, [[0.05]], [[0]])
    np.testing.assert_allclose([mean, gradient[0, 0]], [0.0025, 0.1], rtol=1e-14)


def test_relative_l2_luminance():
    """The prediction's luminance is 2 for every channel; a second triple adds up; two channels are refused."""
    mean, gradient = oracle.loss({"otype": "RelativeL2Luminance"}, [[2, 2, 2]], [[2, 2, 1]])
    np.testing.assert_allclose(mean, 1 / 4.01 / 3)
    np.testing.assert_allclose(gradient, [[0, 0, 2 / 4.01 / 3]])
    mean, _ = oracle.loss({"otype": "RelativeL2Luminance"}, [[1.0] * 6], [[0.0] + [1] * 5])
    np.testing.assert_allclose(mean, 1 / 4.01 / 6)
    with pytest.raises(ValueError, match="three"):
        oracle.loss({"otype": "RelativeL2Luminance"}, [[1, 1]], [[1, 1]])


def run(config, gradients, weights=(1.0, 1.0), n_matrix=0):
    """Inference weights after all gradients, the trained weights, and the optimizer."""
    weights, optimizer = np.array(weights), oracle.optimizer(config, n_matrix, len(weights))
    for gradient in gradients:
        weights = optimizer.step(weights, np.array(gradient))
    return optimizer.inference_weights, weights, optimizer


def test_adam_first_step_is_the_learning_rate():
    """This holds for any gradient except zero: then a scalar is skipped outside of matrices, and decays by its l2_reg inside."""
    config = {"learning_rate": 0.25, "epsilon": 0}
    np.testing.assert_allclose(run(config, [[1e-3, 0]])[1], [0.75, 1], rtol=1e-9)
    np.testing.assert_allclose(run(config, [[-7, 0]], n_matrix=2)[1], [1.25, 0.75], rtol=1e-7)


def test_adam_counts_the_steps_of_each_scalar():
    """A scalar that is first touched in the third step moves as in its first step."""
    config = {"learning_rate": 0.25, "epsilon": 0}
    np.testing.assert_allclose(run(config, [[1, 0], [1, 0], [1, 1]])[1], [0.25, 0.75], rtol=1e-7)
    dense = run(config | {"skip_zero_grad_non_matrix_params": False}, [[1, 0], [1, 0], [1, 1]])[1]
    assert dense[1] > 0.75


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"optimize_matrix_params": False}, [1, 0.75]),
        ({"optimize_non_matrix_params": False}, [0.75, 1]),
        ({"non_matrix_learning_rate_factor": 2}, [0.75, 0.5]),
        ({"clipping_magnitude": 0.5}, [0.5, 0.5]),
        # The corrected rate of the first step is 1/4 sqrt(1 - b2) / (1 - b1)
        ({"relative_decay": 1, "beta1": 0, "beta2": 0}, [0.5, 0.5]),
        ({"absolute_decay": 0.5, "beta1": 0, "beta2": 0}, [0.625, 0.625]),
        # AdaBound in the first step with b2 = 1/2: between 1/10 - 1/15 and 3/10, for m = 1 / 2 and rate / sqrt(v) = 1/2
        ({"adabound": True, "beta1": 0.5, "beta2": 0.5}, [1 - 0.3 / 2, 1 - 0.3 / 2]),
        ({"gradient_clipping_magnitude": 0.5, "epsilon": 0.5}, [0.875, 0.875]),
    ],
)
def test_parameters_of_adam(keys, expected):
    """One step with gradient 1 for a matrix parameter and for another one."""
    config = {"learning_rate": 0.25, "epsilon": 0, "l2_reg": 0} | keys
    if "gradient_clipping_magnitude" in keys:
        config |= {"beta1": 0, "beta2": 0}
    np.testing.assert_allclose(run(config, [[1, 1]], n_matrix=1)[1], expected, rtol=1e-6)


def sgd(rate=1.0):
    return {"otype": "SGD", "learning_rate": rate, "l2_reg": 0}


def test_sgd_regularizes_everything():
    """w - lr (g + l2 w), also for zero gradients."""
    config = {"otype": "SGD", "learning_rate": 0.5, "l2_reg": 0.5}
    np.testing.assert_allclose(run(config, [[1, 0]])[1], [0.25, 0.75])


def test_ema_of_a_constant_is_the_constant():
    """Debiasing keeps a weight that does not move, from the first step on."""
    for n in (1, 2, 50):
        inference = run({"otype": "Ema", "nested": sgd()}, [[0, 0]] * n, weights=(3.0, -7.0))[0]
        np.testing.assert_allclose(inference, [3, -7], rtol=1e-12)


def test_ema_weighs_recent_steps_more():
    """Decay 1/2 over weights 0, -1: (1/4 * 0 + 1/2 * -1) / (3/4)."""
    inference, weights, _ = run({"otype": "EMA", "decay": 0.5, "nested": sgd()}, [[1, 1], [1, 1]])
    np.testing.assert_allclose(inference, [-2 / 3] * 2)
    np.testing.assert_allclose(weights, [-1, -1])


def test_exponential_decay_starts_after_decay_start_steps():
    """Rates are 1, 1, 1/2, 1/2, 1/4, 1/4 and then constant: sum 3.5."""
    config = {"otype": "ExponentialDecay", "decay_base": 0.5, "decay_start": 2, "decay_interval": 2, "decay_end": 5}
    _, weights, optimizer = run(config | {"nested": sgd()}, [[1, 0]] * 6)
    np.testing.assert_allclose(weights, [1 - 3.5, 1])
    assert optimizer.learning_rate == 0.25


def test_lookahead_restarts_from_the_slow_weights():
    """Two fast steps of -1 from 1 reach -1; before the third, the slow weights move half way, to 0."""
    config = {"otype": "Lookahead", "n_steps": 2, "nested": sgd()}
    inference, weights, _ = run(config, [[1, 1]] * 2)
    np.testing.assert_allclose([inference[0], weights[0]], [1, -1])
    inference, weights, _ = run(config, [[1, 1]] * 3)
    np.testing.assert_allclose([inference[0], weights[0]], [0, -1])


def test_batched_uses_the_mean_gradient():
    """After one of two calls nothing changes; after both, the mean of 1 and 3 is used."""
    config = {"otype": "Batched", "batch_size_multiplier": 2, "nested": sgd()}
    np.testing.assert_allclose(run(config, [[1, 0]])[1], [1, 1])
    np.testing.assert_allclose(run(config, [[1, 0], [3, 0]])[1], [-1, 1])


def test_average_of_the_last_samples():
    """For weights 0, -1, -2, -3 the last two average to -2.5."""
    config = {"otype": "Average", "n_samples": 2, "nested": sgd()}
    np.testing.assert_allclose(run(config, [[1, 1]] * 4)[0], [-2.5] * 2)


def test_composite_optimizes_parts():
    """SGD for the first part, an averaged Adam for the second, nothing for the third."""
    adam = {"otype": "Adam", "learning_rate": 0.25, "epsilon": 0}
    nested = [sgd() | {"n_params_to_optimize": 1}, {"otype": "Ema", "nested": adam, "n_params_to_optimize": 1}]
    config = {"otype": "Composite", "nested": nested}
    inference, weights, _ = run(config, [[1, 1, 1]] * 2, weights=(1.0, 1.0, 1.0), n_matrix=1)
    np.testing.assert_allclose(weights, [-1, 0.5, 1], rtol=1e-7)
    decay = float(np.float32(0.99))
    ema = (0.75 * decay * (1 - decay) + 0.5 * (1 - decay)) / (1 - decay**2)
    np.testing.assert_allclose(inference, [-1, ema, 1], rtol=1e-7)
