"""Unknown keys, and instant-ngp's dialect."""

import math

import pytest

from nrc_tracer.nn import config
from nrc_tracer.nn.config import ConfigError, ConfigWarning
from tests.nn.config.documents import NERF


def test_unknown_keys_warn_with_place_and_nearest_key():
    nested = [{"n_dims_to_encode": 2}, {"otype": "OneBlob", "n_binz": 8}]
    with pytest.warns(ConfigWarning) as caught:
        config.read_model({"encoding": {"otype": "Composite", "nested": nested}})
    assert [str(warning.message) for warning in caught] == [
        'encoding.nested[1].n_binz: unknown key, ignored (did you mean "n_bins"?)'
    ]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"encodng": {}}, 'encodng: unknown key, ignored (did you mean "encoding"?)'),
        ({"network": {"n_neuron": 3}}, 'network.n_neuron: unknown key, ignored (did you mean "n_neurons"?)'),
        ({"loss": {"otype": "L2", "delta": 1}}, "loss.delta: unknown key, ignored"),
        ({"optimizer": {"otype": "SGD", "beta1": 0.9}}, "optimizer.beta1: unknown key, ignored"),
        ({"optimizer": {"otype": "Ema", "nested": {"decay": 1}}}, "optimizer.nested.decay: unknown key"),
        ({"encoding": {"n_dims_to_encode": 3}}, "encoding.n_dims_to_encode: unknown key"),
        ({"encoding": {"otype": "NRC", "degree": 3}}, "encoding.degree: unknown key"),
        ({"encoding": {"otype": "Empty", "odd key\n": 3}}, r'encoding["odd key\n"]: unknown key, ignored'),
    ],
    ids=str,
)
def test_unknown_keys_warn_everywhere(document, message):
    with pytest.warns(ConfigWarning) as caught:
        config.read_model(document)
    assert len(caught) == 1
    assert str(caught[0].message).startswith(message)


def test_warnings_and_errors_name_the_file(tmp_path):
    path = tmp_path / "model.json"
    path.write_text('{"encoding": {"otype": "Grid", "n_level": 3}}')
    with pytest.warns(ConfigWarning, match=r'model.json: encoding.n_level: .*"n_levels"') as caught:
        config.read_model(path)
    assert caught[0].filename == __file__
    path.write_text('{"encoding": {"otype": "Grid", "n_levels": -3}}')
    with pytest.raises(ConfigError, match=r"model.json: encoding.n_levels: expected") as error:
        config.read_model(str(path))
    assert str(error.value).count("model.json") == 1
    with pytest.raises(ConfigError, match=r"^model.json: rgb_network: expected an object"):
        config.read_network(3, place="rgb_network", file="model.json")


def test_at_most_twenty_warnings_are_given():
    with pytest.warns(ConfigWarning) as caught:
        config.read_loss({f"key{i}": i for i in range(1000)})
    assert len(caught) == 21
    assert str(caught[20].message) == "more unknown keys"


def test_keys_of_instant_ngp_give_no_warning():
    model = config.read_model(NERF, n_input_dims=3)
    assert model.loss == config.Loss(otype="Huber")
    assert model.optimizer.nested.nested.epsilon == 1e-15
    document = config.read_document(NERF)
    direction = config.read_encoding(document["dir_encoding"], dialect="instant-ngp", place="dir_encoding")
    assert direction.nested[0].encoding == config.SphericalHarmonics(degree=4)
    # In tiny-cuda-nn's dialect the same leftovers of another otype are pointed out
    with pytest.warns(ConfigWarning, match=r"dir_encoding.nested\[1\].(n_bins|degree)"):
        config.read_encoding(document["dir_encoding"], place="dir_encoding")
    assert config.read_network(document["rgb_network"], place="rgb_network").n_hidden_layers == 2


def test_other_typing_errors_still_warn_in_instant_ngps_dialect():
    with pytest.warns(ConfigWarning, match=r"encoding.n_lvels"):
        config.read_encoding({"otype": "Grid", "n_lvels": 3}, dialect="instant-ngp")


@pytest.mark.parametrize(
    ("keywords", "n_max"),
    [({}, 2048), ({"aabb_scale": 16}, 32768), ({"image_resolution": (300, 1000)}, 500)],
    ids=str,
)
def test_automatic_growth_ends_at_the_finest_resolution(keywords, n_max):
    grid = config.read_encoding({"otype": "HashGrid", "n_levels": 8}, dialect="instant-ngp", **keywords)
    assert grid.log2_hashmap_size == 15
    # float32 rounds three times, and the rounding of b is raised to the 7th power
    assert 16 * grid.per_level_scale**7 == pytest.approx(n_max, rel=16 * 2**-23)


def test_dialects_only_differ_in_defaults():
    given = {"otype": "HashGrid", "per_level_scale": 1.25, "log2_hashmap_size": 20}
    assert config.read_encoding(given, dialect="Instant-NGP") == config.read_encoding(given)
    assert config.read_encoding({"otype": "HashGrid"}) == config.Grid(per_level_scale=2.0, log2_hashmap_size=19)
    nested = {"otype": "Composite", "nested": [{"otype": "HashGrid"}]}
    model = config.read_model({"encoding": nested}, dialect="instant-ngp", aabb_scale=2)
    grid = model.encoding.nested[0].encoding
    assert (grid.log2_hashmap_size, grid.per_level_scale) == (15, config.growth_factor(4096, 16, 16))
    grid = config.Grid()
    assert config.read_encoding(grid, dialect="instant-ngp") is grid


def test_growth_factor_gives_the_parameter_counts_of_the_specification():
    def n_params(b, n_levels, per_level):
        total = 0
        for level in range(n_levels):
            resolution = math.ceil(16 * 2 ** (level * math.log2(b)) - 1) + 1
            total += min(-(-(resolution**3) // 8) * 8, 2**19) * per_level
        return total

    assert n_params(config.growth_factor(2048, 16, 16), 16, 2) == 12_196_240
    assert n_params(config.growth_factor(2048, 16, 8), 8, 4) == 11_681_792


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"dialect": "instant-npg"}, r'unknown dialect "instant-npg" \(did you mean "instant-ngp"\?\)'),
        ({"aabb_scale": 0}, "aabb_scale: expected"),
        ({"aabb_scale": "1"}, "aabb_scale: expected"),
        ({"image_resolution": (3,)}, r"image_resolution: expected \(width, height\)"),
        ({"image_resolution": 3}, r"image_resolution: expected \(width, height\)"),
        ({"image_resolution": (3, 0)}, r"image_resolution\[1\]: expected"),
    ],
    ids=str,
)
def test_arguments_are_checked(keywords, message):
    with pytest.raises(ConfigError, match=message):
        config.read_model({}, **keywords)
