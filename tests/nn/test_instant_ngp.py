"""Snapshots of instant-ngp according to their description; no file written by instant-ngp itself is available."""

import gzip
import os
import warnings
import zlib

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nrc_tracer.nn as nn
from nrc_tracer.errors import ConfigError, SnapshotError
from nrc_tracer.nn import instant_ngp
from nrc_tracer.nn.config import ConfigWarning
from nrc_tracer.nn.instant_ngp import read_ingp, write_ingp
from nrc_tracer.nn.morton_order import from_morton, to_morton

NETWORK = {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 1}
GRID = {"otype": "HashGrid", "n_levels": 4, "log2_hashmap_size": 10, "per_level_scale": 1.45}
CONFIG = {"encoding": GRID, "network": NETWORK, "loss": {"otype": "L2"}, "optimizer": {"otype": "Adam"}}

# As in the configurations of instant-ngp: the Identity is for trained columns, of which there may be none
NERF = {
    "encoding": {**GRID, "n_features_per_level": 4, "n_levels": 3},
    "dir_encoding": {
        "otype": "Composite",
        "nested": [
            {"n_dims_to_encode": 3, "otype": "SphericalHarmonics", "degree": 3},
            {"otype": "Identity", "n_bins": 4, "degree": 4},
        ],
    },
    "network": NETWORK,
    "rgb_network": {"otype": "FullyFusedMLP", "n_neurons": 32, "n_hidden_layers": 2},
    "loss": {"otype": "Huber"},
    "optimizer": {"otype": "Ema", "decay": 0.95, "nested": {"otype": "Adam"}},
}


def _nerf_file(path, n_extra_dims=0, n_density=16, grid=None, **changes):
    """Write a file according to the description; return its parameters."""
    config = {**NERF, "network": {**NETWORK, "n_output_dims": n_density}}
    rng = np.random.default_rng(3)
    n_position = nn.Model(3, None, {"encoding": NERF["encoding"], "network": None}, device="cpu").n_params
    n_density_network = 16 * 16 + 16 * 16  # 12 features and 4 of padding; 16 outputs, including padding
    # 16 outputs of density, 9 + n_extra_dims padded to 16
    n_colour_network = 32 * 32 + 32 * 32 + 16 * 32
    n_params = n_density_network + n_colour_network + n_position
    params = rng.uniform(-0.5, 0.5, n_params).astype(np.float16)
    snapshot = {
        "version": 1,
        "mode": "nerf",
        "n_params": n_params,
        "params_type": "__half",
        "params_binary": params.tobytes(),
        "aabb": {"min": [0.0, 0.0, 0.0], "max": [1.0, 1.0, 1.0]},
        "nerf": {"aabb_scale": 4, "dataset": {"n_extra_learnable_dims": n_extra_dims, "thumbnail": b"\0" * 50}},
        "optimizer": {"first_moments_binary": b"\0" * 4 * n_params},
    }
    if grid is not None:
        snapshot |= {
            "density_grid_size": grid.shape[1],
            "density_grid_binary": to_morton(grid).astype(np.float16).tobytes(),
        }
    snapshot |= changes
    path.write_bytes(gzip.compress(msgspec.msgpack.encode({**config, "parent": "base.json", "snapshot": snapshot})))
    sizes = np.cumsum([n_density_network, n_colour_network])
    return np.split(params.astype(np.float32), sizes)


def _write(path, snapshot, config=CONFIG):
    path.write_bytes(msgspec.msgpack.encode({**config, "snapshot": snapshot}))
    return path


def _image(count, /, **changes):
    params = np.linspace(-1, 1, count, dtype=np.float32)
    return {
        "mode": "image",
        "n_params": count,
        "params_type": "float",
        "params_binary": params.tobytes(),
        **changes,
    }


# Images and distances


@pytest.mark.parametrize("params_type", ["__half", "float"])
@pytest.mark.parametrize(("mode", "dims"), [("image", (2, 3)), ("sdf", (3, 1))])
@pytest.mark.parametrize("name", ["m.ingp", "m.msgpack"])
def test_a_written_model_is_read_back(tmp_path, params_type, mode, dims, name):
    path = tmp_path / name
    model = nn.Model(*dims, CONFIG, device="cpu", precision="float32")
    model.params.mul_(300.0).add_(1e-3)
    assert write_ingp(path, model, params_type=params_type) == path
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == (name == "m.ingp")
    found = read_ingp(path)
    assert (found.mode, found.params_type, found.density_grid) == (mode, params_type, None)
    loaded = getattr(found, f"{mode}_model")(device="cpu", precision="float32")
    expected = model.params.half().float() if params_type == "__half" else model.params
    assert torch.equal(loaded.params, expected)
    assert loaded.config == model.config
    x = torch.rand(100, dims[0])
    model.set_params(expected)
    assert torch.equal(loaded(x), model(x))


def test_the_average_is_what_is_written(tmp_path):
    config = {**CONFIG, "optimizer": {"otype": "Ema", "nested": {"otype": "Adam", "learning_rate": 0.1}}}
    model = nn.Model(2, 3, config, device="cpu")
    trainer = nn.Trainer(model)
    for seed in range(3):
        x = torch.rand(64, 2, generator=torch.Generator().manual_seed(seed))
        trainer.step(x, torch.cat((x, x[:, :1]), dim=1))
    write_ingp(tmp_path / "m.ingp", model, params_type="float")
    params = read_ingp(tmp_path / "m.ingp").params
    assert torch.equal(params, model.inference_params)
    assert not torch.equal(params, model.params)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zlib.compress, lambda data: zlib.compress(data, 1)])
def test_compression_is_detected_from_the_content(tmp_path, compress):
    model = nn.Model(2, 3, CONFIG, device="cpu")
    data = msgspec.msgpack.encode({**CONFIG, "snapshot": _image(model.n_params)})
    (tmp_path / "any").write_bytes(compress(data))
    expected = np.linspace(-1, 1, model.n_params, dtype=np.float32)
    np.testing.assert_array_equal(read_ingp(tmp_path / "any").params.numpy(), expected)


def test_gzip_of_several_members_is_one_file(tmp_path):
    model = nn.Model(2, 3, CONFIG, device="cpu")
    data = msgspec.msgpack.encode({**CONFIG, "snapshot": _image(model.n_params)})
    (tmp_path / "any").write_bytes(gzip.compress(data[:1000]) + gzip.compress(data[1000:]))
    assert len(read_ingp(tmp_path / "any").params) == model.n_params


def test_levels_grow_as_in_instant_ngp(tmp_path):
    grid = {"otype": "HashGrid", "n_levels": 8}
    full = {**grid, "log2_hashmap_size": 15, "per_level_scale": nn.config.growth_factor(320, 16, 8)}
    n_params = nn.Model(2, 3, {**CONFIG, "encoding": full}, device="cpu").n_params
    found = read_ingp(_write(tmp_path / "m.msgpack", _image(n_params), {**CONFIG, "encoding": grid}))
    model = found.image_model(image_resolution=(640, 480), device="cpu")
    assert model.config.encoding.log2_hashmap_size == 15
    assert model.config.encoding.per_level_scale == pytest.approx(full["per_level_scale"])
    with pytest.raises(SnapshotError, match="give image_resolution"):
        found.image_model(device="cpu")


def test_a_file_without_type_or_mode(tmp_path):
    n_params = nn.Model(2, 3, CONFIG, device="cpu").n_params
    snapshot = _image(n_params)
    for key in ("mode", "params_type"):
        del snapshot[key]
    found = read_ingp(_write(tmp_path / "m.msgpack", snapshot))
    assert (found.mode, found.params_type) == (None, "float")
    assert found.image_model(device="cpu").n_params == n_params
    del snapshot["n_params"]
    snapshot["params_binary"] = np.ones(n_params, np.float16).tobytes()
    found = read_ingp(_write(tmp_path / "m.msgpack", snapshot))
    assert found.params_type == "__half"
    assert torch.equal(found.params, torch.ones(n_params))


def test_an_unknown_loss_is_replaced_with_a_warning(tmp_path):
    n_params = nn.Model(2, 3, CONFIG, device="cpu").n_params
    found = read_ingp(_write(tmp_path / "m.msgpack", _image(n_params), {**CONFIG, "loss": {"otype": "LogL1"}}))
    with pytest.warns(ConfigWarning, match="using the default instead"):
        assert found.image_model(device="cpu").config.loss == nn.config.Loss()


# Radiance fields


@pytest.mark.parametrize(("n_extra_dims", "n_density"), [(0, 16), (0, 4), (2, 16)])
def test_radiance_fields_agree_with_their_description(tmp_path, n_extra_dims, n_density):
    """Both models agree with explicit matrix products, with the padding columns at the places of tiny-cuda-nn."""
    path = tmp_path / "fox.ingp"
    density_weights, colour_weights, features = _nerf_file(path, n_extra_dims, n_density)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_ingp(path)
        density, colour = found.nerf_models(device="cpu", backend="reference", precision="float64")
    assert (found.mode, found.aabb_scale) == ("nerf", 4.0)
    assert (density.n_output_dims, colour.n_input_dims, colour.n_output_dims) == (16, 19 + n_extra_dims, 3)

    x, direction = torch.rand(50, 3), torch.rand(50, 3 + n_extra_dims)
    grid = nn.Model(3, None, {"encoding": NERF["encoding"], "network": None}, device="cpu", backend="reference")
    grid.set_params(torch.from_numpy(features))
    encoded = torch.cat((grid(x).double(), torch.zeros(50, 4, dtype=torch.float64)), dim=1)
    first, last = (torch.from_numpy(part).double().view(16, 16) for part in np.split(density_weights, 2))
    h = torch.relu(encoded @ first.T) @ last.T
    torch.testing.assert_close(density(x), h, rtol=1e-6, atol=1e-6)

    harmonics = nn.Model(
        3,
        None,
        {"encoding": {"otype": "SphericalHarmonics", "degree": 3}, "network": None},
        device="cpu",
        backend="reference",
    )
    coefficients = harmonics(direction[:, :3].contiguous()).double()
    ones = torch.ones(50, 16 - 9 - n_extra_dims, dtype=torch.float64)
    if n_extra_dims:  # the Identity comes last, followed by its ones
        encoded = torch.cat((coefficients, direction[:, 3:].double(), ones), dim=1)
    else:  # the ones of spherical harmonics precede them
        encoded = torch.cat((ones, coefficients), dim=1)
    first, second, last = np.split(colour_weights, [32 * 32, 2 * 32 * 32])
    first, second, last = (torch.from_numpy(part).double().view(-1, 32) for part in (first, second, last))
    rgb = torch.relu(torch.relu(torch.cat((h, encoded), dim=1) @ first.T) @ second.T) @ last.T
    given = torch.cat((h.float(), direction), dim=1)
    torch.testing.assert_close(colour(given), rgb[:, :3], rtol=1e-5, atol=1e-5)


def test_the_document_is_plain_data_without_parents(tmp_path):
    _nerf_file(tmp_path / "fox.ingp")
    document = read_ingp(tmp_path / "fox.ingp").document
    assert "parent" not in document
    assert document["snapshot"]["aabb"]["max"] == [1.0, 1.0, 1.0]
    assert document["snapshot"]["nerf"]["dataset"] == {"n_extra_learnable_dims": 0}
    assert not {"params_binary", "optimizer"} & set(document["snapshot"])
    assert {key: document[key] for key in NERF if key != "network"} == {
        key: NERF[key] for key in NERF if key != "network"
    }


def test_large_state_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(instant_ngp, "MAX_DOCUMENT_BYTES", 2000)
    _nerf_file(tmp_path / "fox.ingp", history=[0.5] * 1000)
    found = read_ingp(tmp_path / "fox.ingp")
    assert "history" not in found.document["snapshot"]
    found.nerf_models(device="cpu")


def test_density_grids(tmp_path):
    grid = np.random.default_rng(1).uniform(-1, 5, (2, 8, 8, 8)).astype(np.float16).astype(np.float32)
    _nerf_file(tmp_path / "fox.ingp", grid=grid)
    found = read_ingp(tmp_path / "fox.ingp")
    np.testing.assert_array_equal(found.density_grid.numpy(), grid)


# Morton order


def _morton(x, y, z, bits):
    return sum((x >> b & 1) << 3 * b | (y >> b & 1) << 3 * b + 1 | (z >> b & 1) << 3 * b + 2 for b in range(bits))


@pytest.mark.parametrize("bits", [0, 1, 2, 4])
def test_morton_order_against_a_loop(bits):
    side = 1 << bits
    cells = np.random.default_rng(0).random((2, side**3))
    grid = from_morton(cells)
    assert grid.shape == (2, side, side, side)
    for x in range(side):
        for y in range(side):
            for z in range(side):
                assert (grid[:, x, y, z] == cells[:, _morton(x, y, z, bits)]).all()
    np.testing.assert_array_equal(to_morton(grid), cells)


def test_morton_order_of_the_largest_grid():
    cells = np.arange(128**3)
    grid = from_morton(cells)
    assert grid[100, 3, 77] == _morton(100, 3, 77, 7)
    np.testing.assert_array_equal(to_morton(grid), cells)


@pytest.mark.parametrize("n_cells", [2, 27, 100])
def test_morton_order_needs_a_power_of_two(n_cells):
    with pytest.raises(ValueError, match="power of two"):
        from_morton(np.zeros(n_cells))


# Errors


DAMAGES = {
    "no parameters": ({"params_binary": None}, "params_binary"),
    "too few bytes": ({"params_binary": b"\0" * 6}, "6 bytes are not"),
    "another count": ({"n_params": 7}, "not 7 values"),
    "a negative count": ({"n_params": -1}, "not -1 values"),
    "a huge count": ({"n_params": 2**63}, "values"),
    "an unknown type": ({"params_type": "double"}, "expected __half or float"),
    "text for bytes": ({"params_binary": "x"}, "params_binary"),
    "not finite": ({"n_params": 1, "params_binary": np.float32(np.nan).tobytes()}, "not finite"),
    "a grid without a side": ({"density_grid_binary": b"\0" * 16}, "density_grid_size"),
    "a side of 3": ({"density_grid_size": 3, "density_grid_binary": b"\0" * 54}, "power of two"),
    "a huge side": ({"density_grid_size": 2**40, "density_grid_binary": b"\0" * 54}, "power of two"),
    "half a grid": ({"density_grid_size": 2, "density_grid_binary": b"\0" * 15}, "15 bytes are not"),
    "no cells": ({"density_grid_size": 2, "density_grid_binary": b""}, "0 bytes are not"),
    "too many cascades": ({"density_grid_size": 2, "density_grid_binary": b"\0" * 16 * 9}, "cascades|grids"),
    "a wrong scale": ({"nerf": {"aabb_scale": "big"}}, "aabb_scale"),
    "too many columns": ({"nerf": {"dataset": {"n_extra_learnable_dims": 2**40}}}, "n_extra_learnable_dims"),
    "a number as mode": ({"mode": 3}, "mode"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_snapshots_are_refused(tmp_path, name):
    changes, message = DAMAGES[name]
    path = _write(tmp_path / "m.msgpack", _image(10, **changes))
    with pytest.raises(SnapshotError, match=message) as error:
        read_ingp(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


WRONG_MODELS = {
    "another count": ({}, {}, "image_model", "10 parameters, but its configuration describes a model with"),
    "another kind": ({}, {"mode": "nerf"}, "image_model", "use nerf_models"),
    "a volume": ({}, {"mode": "volume"}, "sdf_model", "not supported"),
    "no directions": ({}, {"mode": "nerf"}, "nerf_models", "dir_encoding"),
    "countless layers": ({"network": {"n_hidden_layers": 2**32 - 1}}, {}, "image_model", "layers"),
    "countless colour layers": (
        {**NERF, "rgb_network": {"n_hidden_layers": 2**31}},
        {"mode": "nerf"},
        "nerf_models",
        "layers",
    ),
    "an unknown encoding": ({"encoding": {"otype": "Takikawa"}}, {}, "image_model", "unknown encoding"),
    "a network of text": ({"network": "MLP"}, {}, "image_model", "expected an object"),
    "a scale of nothing": (NERF, {"mode": "nerf", "nerf": {"aabb_scale": -1.0}}, "nerf_models", "aabb_scale"),
    "a wide density": ({**NERF, "network": {"n_output_dims": 2**20}}, {"mode": "nerf"}, "nerf_models", "n_output_dims"),
}


@pytest.mark.parametrize("name", WRONG_MODELS)
def test_models_that_do_not_fit_are_refused(tmp_path, name):
    config, changes, method, message = WRONG_MODELS[name]
    found = read_ingp(_write(tmp_path / "m.msgpack", _image(10, **changes), {**CONFIG, **config}))
    with pytest.raises((SnapshotError, ConfigError), match=message):
        getattr(found, method)(device="cpu")


def test_unreadable_files_are_refused(tmp_path):
    data = msgspec.msgpack.encode({**CONFIG, "snapshot": _image(10)})
    contents = {
        "empty": b"",
        "text": b'{"encoding": {}}',
        "configuration": msgspec.msgpack.encode(CONFIG),
        "cut": data[:-1],
        "cut gzip": gzip.compress(data)[:-9],
        "gzip and more": gzip.compress(data) + b"more",
        "wrong sum": gzip.compress(data)[:-8] + b"\0" * 8,
        "deep": b"\x81\xa8snapshot" + b"\x91" * 100_000,
        "deep inside": b"\x82\xa1a" + b"\x91" * 100_000 + b"\xc0\xa8snapshot\x80",
        "countless": b"\xdf\xff\xff\xff\xff\xa8snapshot\xdf\xff\xff\xff\xff",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SnapshotError, match=name) as error:
            read_ingp(tmp_path / name)
        assert "\n" not in str(error.value)
    for path in (tmp_path / "none", tmp_path, tmp_path / "nul\0", "/dev/zero"):
        with pytest.raises(SnapshotError):
            read_ingp(path)


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(instant_ngp, "SMALL_BYTES", 2**20)
    (tmp_path / "bomb.ingp").write_bytes(gzip.compress(b"\0" * 2**24))
    with pytest.raises(SnapshotError, match="would decompress to more than"):
        read_ingp(tmp_path / "bomb.ingp")
    monkeypatch.setattr(instant_ngp, "MAX_BYTES", 100)
    (tmp_path / "large.ingp").write_bytes(b"\0" * 101)
    with pytest.raises(SnapshotError, match="larger than"):
        read_ingp(tmp_path / "large.ingp")


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_bytes_give_models_or_one_error(tmp_path, compressed):
    path = tmp_path / "fox.ingp"
    _nerf_file(path, grid=np.zeros((1, 2, 2, 2)), optimizer=None)
    data = path.read_bytes() if compressed else gzip.decompress(path.read_bytes())
    rng = np.random.default_rng(2)
    names = 1200  # configuration and most names
    places = np.concatenate(
        (np.arange(0, names, 5), len(data) - 1 - np.arange(0, 200, 4), rng.integers(0, len(data), 20))
    )
    messages = []
    for place in places:
        broken = bytearray(data)
        broken[place] ^= rng.integers(1, 256)
        path.write_bytes(broken)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read_ingp(path).nerf_models(device="cpu")
        except (SnapshotError, ConfigError) as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not [message for message in messages if "\n" in message]


_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(max_size=4),
        st.binary(max_size=16),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)
_NAMES = ("n_params", "params_type", "params_binary", "density_grid_size", "density_grid_binary", "mode", "nerf")
_KEYS = ("encoding", "network", "loss", "dir_encoding", "rgb_network", "parent")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    config=st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=3),
    snapshot=st.dictionaries(st.sampled_from(_NAMES), _VALUES),
)
def test_any_document_gives_models_or_an_error(tmp_path, config, snapshot):
    snapshot = {"params_binary": b"\0" * 20, **snapshot}
    path = _write(
        tmp_path / "m.msgpack", snapshot, {"encoding": {"otype": "Identity"}, "network": {"n_neurons": 1}, **config}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((SnapshotError, ConfigError)):
            read_ingp(path).image_model(device="cpu")
        with pytest.raises((SnapshotError, ConfigError)):
            read_ingp(path).nerf_models(device="cpu")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=80), start=st.sampled_from([b"", b"\x81\xa8snapshot", b"\x1f\x8b\x08", b"\x78\x9c"]))
def test_random_bytes_give_one_error(tmp_path, data, start):
    (tmp_path / "m.ingp").write_bytes(start + data)
    with pytest.raises(SnapshotError):
        read_ingp(tmp_path / "m.ingp")


# Writing


def _no_space(*_):
    raise OSError(28, "No space left on device")


def test_impossible_snapshots_are_not_written(tmp_path, monkeypatch):
    image = nn.Model(2, 3, CONFIG, device="cpu")
    path = tmp_path / "m.ingp"
    for model, options, message in (
        (nn.Model(3, 2, CONFIG, device="cpu"), {}, "not 3 -> 2"),
        (image, {"mode": "sdf"}, "not 2 -> 3"),
        (image, {"mode": "nerf"}, "nerf"),
        (image, {"params_type": "half"}, "params_type"),
        (nn.Model(3, None, {"encoding": GRID, "network": None}, device="cpu"), {}, "without a network"),
    ):
        with pytest.raises(SnapshotError, match=message):
            write_ingp(path, model, **options)
    with pytest.raises(SnapshotError, match="there is no folder"):
        write_ingp(tmp_path / "none" / "m.ingp", image)
    image.params[0] = 1e6
    with pytest.raises(SnapshotError, match='use params_type="float"'):
        write_ingp(path, image)
    assert os.listdir(tmp_path) == []
    write_ingp(path, image, params_type="float")
    before = path.read_bytes()
    image.params.add_(1.0)
    monkeypatch.setattr(os, "replace", _no_space)
    with pytest.raises(SnapshotError, match="No space left on device"):
        write_ingp(path, image, params_type="float")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.ingp"]


def test_equal_models_give_equal_files(tmp_path):
    for name in ("a.ingp", "b.ingp"):
        write_ingp(tmp_path / name, nn.Model(2, 3, CONFIG, device="cpu"))
    assert (tmp_path / "a.ingp").read_bytes() == (tmp_path / "b.ingp").read_bytes()
