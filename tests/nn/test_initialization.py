"""Initial parameters, compared value by value with the oracle."""

import numpy as np
import pytest

from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.initialization import Pcg32
from nrc_tracer.nn.structure import Structure
from tests.nn import oracle
from tests.nn.samples import GRID, NETWORK, SMALL, make_model

TWO_GRIDS = {
    "otype": "Composite",
    "nested": [
        GRID | {"n_dims_to_encode": 2, "n_features_per_level": 4},
        {"otype": "OneBlob", "n_dims_to_encode": 1, "n_bins": 4},
        GRID | {"n_dims_to_encode": 3, "otype": "TiledGrid", "n_features_per_level": 1},
    ],
}
ARCHITECTURES = {
    "grid": (3, 3, GRID, NETWORK),
    "one_blob": (3, 17, {"otype": "OneBlob"}, {"otype": "CutlassMLP"}),
    "sine": (2, 3, {"otype": "Identity"}, {"otype": "CutlassMLP", "n_neurons": 40, "activation": "Sine"}),
    "sine-output": (2, 3, GRID, SMALL | {"output_activation": "Sine"}),
    "two-grids": (6, 1, TWO_GRIDS, SMALL),
    "matrix": (3, 5, GRID, {"otype": "CutlassMLP", "n_hidden_layers": 0}),
    "encoding": (3, None, GRID | {"n_levels": 3, "n_features_per_level": 1}, None),
    "composite": (6, None, TWO_GRIDS, None),
    "nothing": (3, None, {"otype": "Frequency"}, None),
}


@pytest.mark.parametrize("seed", [1337, 0, 1, 2**32, 2**64 - 1, -1])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_agree_with_the_oracle(name, seed):
    """Widths, bounds, the order of numbers for grids, and the continued generator agree to the last bit."""
    n_in, n_out, encoding, network = ARCHITECTURES[name]
    parts = configuration.read_encoding(encoding), None if network is None else configuration.read_network(network)
    structure = Structure(n_in, n_out, *parts)
    expected = oracle.initial_parameters(n_in, n_out, encoding, network, seed)
    found = structure.initial_params(seed).numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))


def test_a_large_grid():
    """The grid needs more random numbers than the generator makes at a time."""
    config = GRID | {"log2_hashmap_size": 16, "n_levels": 8, "base_resolution": 16}
    model = make_model(config, None)
    assert model.n_params > 3 * 2**16
    np.testing.assert_array_equal(model.params, oracle.initial_parameters(3, None, config, None))
    assert model.params.abs().max() <= 1e-4


def test_seeds_give_different_parameters():
    """The default is tiny-cuda-nn's 1337."""
    assert not np.array_equal(make_model(seed=1).params, make_model(seed=2).params)
    np.testing.assert_array_equal(make_model().params, make_model(seed=1337).params)


def test_pcg32_demo_output():
    """The numbers are those of O'Neill's pcg32-demo, round 1: seed 42, sequence 54."""
    expected = [0xA15C02B7, 0x7B47F409, 0xBA1D3330, 0x83D2F293, 0xBFA4784B, 0xCBED606E]
    assert Pcg32(42, 54).integers(6).tolist() == expected


@pytest.mark.parametrize("n", [0, 1, 5, 2**16 - 1, 2**16, 2**16 + 1, 3 * 2**16 + 7])
def test_pcg32_draws_and_jumps(n):
    """Numbers can be drawn in any amounts, and skipping equals drawing."""
    generator, expected = Pcg32(7), oracle.Pcg32(7)
    np.testing.assert_array_equal(generator.integers(n), expected.draw(n))
    np.testing.assert_array_equal(generator.integers(3), expected.draw(3))
    skipping = Pcg32(7)
    skipping.advance(n)
    np.testing.assert_array_equal(skipping.integers(3), Pcg32(7).integers(n + 3)[n:])


def test_floats_are_in_their_range():
    """They lie in [0, 1) and [-bound, bound), with 23 bits each."""
    draws = Pcg32(3).floats(200_000)
    assert draws.dtype == np.float32
    assert (draws >= 0).all()
    assert (draws < 1).all()
    assert not (draws * 2**23 % 1).any()
    # The mean of n uniform numbers has the standard error sqrt(1 / 12 n)
    assert abs(draws.mean(dtype=np.float64) - 0.5) < 5 * (1 / 12 / len(draws)) ** 0.5
    wide = Pcg32(3).symmetric_floats(200_000, 0.3)
    np.testing.assert_allclose(wide, 0.3 * (2 * draws.astype(np.float64) - 1), atol=0.3 * 2**-23)
