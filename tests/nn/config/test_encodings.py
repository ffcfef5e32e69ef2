"""Accepted and refused configurations of encodings."""

import math

import pytest

from nrc_tracer.nn import config
from nrc_tracer.nn.config import ConfigError
from tests.nn.config.documents import NRC_DEFAULT


@pytest.mark.parametrize(
    ("otype", "given", "expected"),
    [
        ("Grid", {}, "Hash"),
        ("HashGrid", {}, "Hash"),
        ("DenseGrid", {}, "Dense"),
        ("TiledGrid", {}, "Tiled"),
        ("TiledGrid", {"type": "Hash"}, "Hash"),
        ("Grid", {"type": "Tile"}, "Tiled"),
    ],
)
def test_otype_sets_the_default_type_of_a_grid(otype, given, expected):
    assert config.read_encoding({"otype": otype, **given}).type == expected


def test_default_growth_of_a_dense_grid_ends_at_256():
    grid = config.read_encoding({"otype": "DenseGrid", "n_levels": 5, "base_resolution": 16})
    assert grid.per_level_scale == pytest.approx(2.0, rel=1e-7)
    grid = config.read_encoding({"otype": "Grid", "type": "Dense", "n_features": 32})
    assert 16 * grid.per_level_scale**15 == pytest.approx(256, rel=15 * 2**-23)
    assert config.read_encoding({"otype": "DenseGrid", "per_level_scale": 1.3}).per_level_scale == 1.3
    # tiny-cuda-nn divides by zero here
    assert config.read_encoding({"otype": "DenseGrid", "n_levels": 1}).per_level_scale == 2.0


def test_n_features_is_accepted_for_n_levels():
    assert config.read_encoding({"otype": "Grid", "n_features": 32, "n_features_per_level": 4}).n_levels == 8
    assert config.read_encoding({"otype": "Grid", "n_grid_features": 6}).n_levels == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_features": 32, "n_levels": 16}, "encoding.n_features: n_levels is given too"),
        ({"n_features": 30, "n_features_per_level": 4}, "expected a multiple of n_features_per_level = 4, got 30"),
        ({"n_features": 512}, "encoding.n_levels: expected an integer from 1 to 128, got 256"),
        ({"n_features": True}, "encoding.n_features: expected an integer .*got true"),
        ({"n_features_per_level": 3}, "encoding.n_features_per_level: expected 1, 2, 4 or 8, got 3"),
        ({"n_levels": "many"}, 'encoding.n_levels: expected an integer from 1 to 128, got "many"'),
        ({"n_levels": True}, "encoding.n_levels: expected an integer from 1 to 128, got true"),
        ({"n_levels": 2.5}, "got 2.5"),
        ({"n_levels": None}, "got null"),
        ({"n_levels": 0}, "got 0"),
        ({"n_levels": 129}, "got 129"),
        ({"n_levels": 10**5000}, "got an integer of more than 38 digits"),
        ({"n_levels": [16]}, "got an array"),
        ({"log2_hashmap_size": 32}, "from 1 to 31, got 32"),
        ({"log2_hashmap_size": 0}, "from 1 to 31, got 0"),
        ({"base_resolution": 0}, "encoding.base_resolution: .* got 0"),
        ({"per_level_scale": 0}, "encoding.per_level_scale: expected a finite number above 0, got 0"),
        ({"per_level_scale": -1.5}, "got -1.5"),
        ({"per_level_scale": 1e-60}, "above 0, got 1e-60"),
        ({"per_level_scale": math.inf}, "got inf"),
        ({"per_level_scale": math.nan}, "got nan"),
        ({"per_level_scale": 1e39}, r"got 1e\+39"),
        ({"per_level_scale": 10**400}, "got an integer of more"),
        ({"per_level_scale": False}, "got false"),
        ({"type": "Octree"}, 'encoding.type: unknown grid type "Octree"'),
        ({"type": 3}, "encoding.type: expected the name of a grid type, got 3"),
        ({"interpolation": "Cubic"}, "encoding.interpolation: unknown interpolation"),
        ({"hash": "Prime"}, "encoding.hash: Prime is not supported, use CoherentPrime"),
        ({"hash": "basecONVERT"}, "encoding.hash: BaseConvert is not supported, use CoherentPrime"),
        ({"fixed_point_pos": True}, "encoding.fixed_point_pos: not supported"),
        ({"stochastic_interpolation": True}, "encoding.stochastic_interpolation: not supported"),
        ({"stochastic_interpolation": 1}, "encoding.stochastic_interpolation: expected true or false, got 1"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else value,
)
def test_invalid_grids_are_refused(given, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config.read_encoding({"otype": "HashGrid", **given})
    assert "\n" not in str(caught.value)


def test_switched_off_features_of_grids_are_accepted():
    given = {"otype": "Grid", "fixed_point_pos": False, "stochastic_interpolation": False}
    assert config.read_encoding(given) == config.Grid()


def test_limits_of_a_grid_are_accepted():
    low = {"n_levels": 1, "n_features_per_level": 1, "log2_hashmap_size": 1, "base_resolution": 1}
    high = {"n_levels": 128, "n_features_per_level": 8, "log2_hashmap_size": 31, "base_resolution": 2**31 - 1}
    for values in (low, high):
        assert config.read_encoding({"otype": "Grid", **values}) == config.Grid(**values)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"otype": "OneBlob", "n_bins": 12}, "encoding.n_bins: expected a power of two from 1 to 65536, got 12"),
        ({"otype": "OneBlob", "n_bins": 0}, "got 0"),
        (
            {"otype": "Frequency", "n_frequencies": 0},
            "encoding.n_frequencies: expected an integer from 1 to 128, got 0",
        ),
        ({"otype": "TriangleWave", "n_frequencies": 129}, "got 129"),
        ({"otype": "SphericalHarmonics", "degree": 9}, "encoding.degree: expected an integer from 1 to 8, got 9"),
        ({"otype": "Identity", "scale": "big"}, 'encoding.scale: expected a finite number, got "big"'),
        ({"otype": "HashGird"}, r'encoding.otype: unknown encoding "HashGird" \(did you mean "HashGrid"\?\)'),
        ({"otype": 5}, "encoding.otype: expected the name of an encoding, got 5"),
        ({"otype": None}, "encoding.otype: expected the name of an encoding, got null"),
        ([], "encoding: expected an object, got an empty array"),
        (None, "encoding: expected an object, got null"),
        ({3: 4}, "encoding: expected strings as keys, got 3"),
        ({"otype": "x" * 1000 + "\n\ud800"}, "unknown encoding"),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "replace").decode(),
)
def test_invalid_encodings_are_refused(given, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config.read_encoding(given)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("otype", ["NRC", "OneBlobFrequency", "nrc"])
def test_nrc_stands_for_a_composite(otype):
    assert config.read_encoding({"otype": otype}) == config.read_encoding(NRC_DEFAULT)
    nrc = config.read_encoding({"otype": otype, "n_frequencies": 6, "n_bins": 8})
    assert nrc.nested[0].encoding == config.TriangleWave(n_frequencies=6)
    assert nrc.nested[1].encoding == config.OneBlob(n_bins=8)
    with pytest.raises(ConfigError, match=r"encoding.n_bins: expected a power of two"):
        config.read_encoding({"otype": otype, "n_bins": 3})


def test_nrc_needs_eight_dimensions():
    nrc = config.read_encoding({"otype": "NRC"}, n_input_dims=8)
    assert config.input_slices(nrc, 8) == ((0, 3), (3, 5), (8, 0))
    assert config.input_slices(nrc, 14) == ((0, 3), (3, 5), (8, 6))
    with pytest.raises(
        ConfigError, match=r"encoding.nested: the nested encodings take 8 dimensions, but the input has 7"
    ):
        config.read_encoding({"otype": "NRC"}, n_input_dims=7)


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        (None, "encoding.nested: expected an array, got null"),
        ({}, "encoding.nested: expected an array, got an object"),
        ([], "encoding.nested: expected an array with at least one member, got an empty array"),
        ([3], r"encoding.nested\[0\]: expected an object, got 3"),
        (
            [{}, {}],
            r"encoding.nested\[1\]: n_dims_to_encode is missing; only one may leave it out, and nested\[0\] already does",
        ),
        ([{"dims_to_encode_begin": 1}], r"encoding.nested\[0\]: n_dims_to_encode is missing"),
        (
            [{"n_dims_to_encode": 1, "dims_to_encode_begin": 0}, {}],
            r"encoding.nested\[1\]: n_dims_to_encode is missing",
        ),
        ([{"n_dims_to_encode": 0}], "encoding.nested: no dimension is encoded"),
        ([{"n_dims_to_encode": -1}], r"encoding.nested\[0\].n_dims_to_encode: expected an integer from 0"),
        (
            [{"otype": "Composite", "nested": [{}, {"otype": "Grid", "n_levels": "x"}]}],
            r"encoding.nested\[0\].nested\[1\].n_levels: expected",
        ),
    ],
    ids=str,
)
def test_invalid_composites_are_refused(nested, message):
    with pytest.raises(ConfigError, match=message):
        config.read_encoding({"otype": "Composite", "nested": nested})
    with pytest.raises(ConfigError, match=r"encoding.nested: expected an array, got nothing"):
        config.read_encoding({"otype": "Composite"})
    with pytest.raises(ConfigError, match=r"encoding.reduction: unknown reduction"):
        config.read_encoding({"otype": "Composite", "nested": [{}], "reduction": "Mean"})


def test_slices_of_a_composite():
    def slices(n_input_dims, *nested):
        composite = config.read_encoding({"otype": "Composite", "nested": list(nested)})
        return config.input_slices(composite, n_input_dims)

    assert slices(7, {"n_dims_to_encode": 2}, {}, {"n_dims_to_encode": 1}) == ((0, 2), (2, 4), (6, 1))
    # A slice without a beginning follows the one before it; slices may overlap
    placed = {"n_dims_to_encode": 2, "dims_to_encode_begin": 1}
    assert slices(4, placed, {"n_dims_to_encode": 1}, placed) == ((1, 2), (3, 1), (1, 2))
    with pytest.raises(ConfigError, match=r"encoding.nested\[1\]: takes the dimensions 3 to 4, but the input has 4"):
        slices(4, placed, {"n_dims_to_encode": 2})


@pytest.mark.parametrize(
    ("encoding", "good", "bad"),
    [
        ({"otype": "Grid"}, (2, 3, 4), (1, 5)),
        ({"otype": "SphericalHarmonics"}, (3,), (2, 4)),
        ({"otype": "OneBlob"}, (1, 9), ()),
        ({"otype": "Composite", "nested": [{"n_dims_to_encode": 2}, {"otype": "Grid"}]}, (2, 4, 5, 6), (1, 3, 7)),
    ],
)
def test_input_dimensions_are_checked(encoding, good, bad):
    for n_input_dims in good:
        config.read_model({"encoding": encoding}, n_input_dims=n_input_dims)
    for n_input_dims in bad:
        with pytest.raises(ConfigError, match=r"encoding"):
            config.read_model({"encoding": encoding}, n_input_dims=n_input_dims)
        with pytest.raises(ConfigError, match=r"encoding"):
            config.read_model(config.ModelConfig(encoding=config.read_encoding(encoding)), n_input_dims=n_input_dims)
    with pytest.raises(ConfigError, match=r"n_input_dims: expected an integer"):
        config.read_encoding(encoding, n_input_dims=0)
