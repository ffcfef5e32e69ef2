"""Settings of a cache: which values are refused, and with which messages."""

import math

import msgspec
import numpy as np
import pytest

from nrc_tracer.cache import CacheOptions, RadianceCache
from nrc_tracer.errors import CacheError, ConfigError
from tests.cache.small_cache import SMALL, began


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spread", -0.1),
        ("spread", math.nan),
        ("spread", "0.1"),
        ("train_spread", -1.0),
        ("feature_size", 0.0),
        ("feature_size", -1.0),
        ("train_frames", -1),
        ("records", 0),
        ("records", 2**24 + 1),
        ("steps", 0),
        ("train_every", 0),
        ("capacity", 1),
        ("capacity", True),
        ("unbiased", 1.5),
        ("unbiased", math.nan),
        ("warm_up_unbiased", -0.5),
        ("warm_up_unbiased", math.inf),
    ],
)
def test_values_out_of_range_are_refused(name, value):
    """The error is one line that names the setting and the value."""
    with pytest.raises(CacheError) as caught:
        RadianceCache(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    assert repr(value)[:20] in message


@pytest.mark.parametrize(
    "settings",
    [
        {"spread": 0.0, "unbiased": 0.0, "warm_up_unbiased": 0, "train_frames": 0},
        {"spread": math.inf, "unbiased": 1.0, "capacity": 2, "records": 2**24, "steps": 1},
        {"train_spread": None, "feature_size": None, "train_frames": None},
    ],
)
def test_the_bounds_themselves_are_allowed(settings):
    options = CacheOptions(**settings)
    assert {name: getattr(options, name) for name in settings} == settings


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.uint64])
def test_numpy_integers_are_accepted(kind, tmp_path):
    """They are converted to Python integers so that a cache can be saved with them; NumPy floats are accepted for fractions."""
    options = CacheOptions(records=kind(100), train_frames=kind(3), spread=np.float32(0.5), unbiased=kind(1))
    assert options == CacheOptions(records=100, train_frames=3, spread=0.5, unbiased=1)
    assert all(type(value) in (int, float) for value in (options.records, options.train_frames, options.spread))
    assert msgspec.json.decode(msgspec.json.encode(options), type=CacheOptions) == options
    for value in (np.float64(3.0), np.bool_(True), np.array([3])):
        with pytest.raises(CacheError, match="records: expected a whole number"):
            CacheOptions(records=value)


def test_unknown_names_are_refused():
    """The error names the unknown setting, or the unknown encoding together with the one that was probably meant."""
    with pytest.raises(CacheError, match="'spred'"):
        RadianceCache(spred=0.1)
    with pytest.raises(CacheError, match=r'"hsh".*hash'):
        RadianceCache(encoding="hsh")
    with pytest.raises(CacheError, match="not both"):
        RadianceCache(CacheOptions(), spread=0.1)


def test_settings_by_name_are_those_of_options():
    assert RadianceCache(spread=0.5, capacity=4).options == CacheOptions(spread=0.5, capacity=4)
    assert RadianceCache().options == CacheOptions()


def test_suffix_spread_defaults_to_the_spread_of_paths():
    assert CacheOptions(spread=0.3).suffix_spread == 0.3
    assert CacheOptions(spread=0.3, train_spread=0.0).suffix_spread == 0.0


def test_invalid_configurations_are_refused(tmp_path):
    """A missing file, a file that is not JSON and an unknown encoding give one-line ConfigErrors when the cache begins."""
    (tmp_path / "bad.json").write_text("{")
    wrong = {**SMALL, "encoding": {"otype": "HashGird"}}
    for config in (str(tmp_path / "none.json"), str(tmp_path / "bad.json"), wrong):
        with pytest.raises(ConfigError) as caught:
            began(RadianceCache(config=config))
        assert "\n" not in str(caught.value)


def test_a_configuration_may_be_given_as_a_file(tmp_path):
    path = tmp_path / "small.json"
    path.write_bytes(msgspec.json.encode(SMALL))
    a, b = began(RadianceCache(config=str(path))), began(RadianceCache(config=SMALL))
    assert a.model.config.encoding == b.model.config.encoding
    assert a.model.config.network == b.model.config.network
    assert a.model.params.equal(b.model.params)


@pytest.mark.parametrize("feature_size", [0.5, 0.05, 1e-3, 1e-9])
def test_the_grid_is_not_finer_than_the_smallest_feature(feature_size):
    """The finest cells have about that size, but are never finer than without the bound; the number of levels stays."""
    cache = began(RadianceCache(feature_size=feature_size))
    grid = cache.model.config.encoding.nested[0].encoding
    finest = grid.base_resolution * grid.per_level_scale ** (grid.n_levels - 1)
    assert (grid.n_levels, grid.base_resolution) == (8, 8)
    assert finest == pytest.approx(min(max(8.0, cache.size / feature_size), 8.0 * 2.2**7), rel=1e-5)
