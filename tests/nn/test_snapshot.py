"""Models and trainings in files."""

import json
import os
import struct
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import nrc_tracer.nn as nn
from nrc_tracer.errors import ConfigError, NrcError, SnapshotError
from nrc_tracer.nn import snapshot_format
from nrc_tracer.nn.snapshot import (
    SnapshotWarning,
    load_model,
    load_training,
    read_snapshot,
    save_model,
    save_training,
)

CONFIG = {
    "encoding": {"otype": "HashGrid", "n_levels": 4, "log2_hashmap_size": 10, "per_level_scale": 1.45},
    "network": {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 1},
    "loss": {"otype": "L2"},
    "optimizer": {
        "otype": "Ema",
        "decay": 0.9,
        "nested": {
            "otype": "ExponentialDecay",
            "decay_start": 2,
            "nested": {"otype": "Adam", "learning_rate": 0.1 / 3},
        },
    },
}
# What nothing is drawn for: small enough to be damaged byte by byte
TINY = {
    "encoding": {"otype": "Identity"},
    "network": {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 1},
    "optimizer": {"otype": "SGD"},
}


def _model(config=CONFIG, n_input_dims=3, n_output_dims=1, **options):
    return nn.Model(n_input_dims, n_output_dims, config, device="cpu", **options)


def _batch(seed, n=300):
    x = torch.rand(n, 3, generator=torch.Generator().manual_seed(seed))
    return x, torch.sin(6.0 * x.sum(dim=1, keepdim=True))


def _train(trainer, steps, first=0):
    for seed in range(first, first + steps):
        trainer.step(*_batch(seed))


@pytest.fixture(scope="module")
def trained():
    model = _model(precision="float32")
    trainer = nn.Trainer(model)
    _train(trainer, 5)
    return trainer


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    trainer = nn.Trainer(_model(TINY))
    save_training(trainer, path, extra={"grid": torch.arange(3)}, metadata={"steps": 1})
    return path


# Round trips


@pytest.mark.parametrize(
    ("backend", "precision"),
    [
        ("warp", "float32"),
        ("warp", "bfloat16"),
        ("warp", "float16"),
        ("reference", "float32"),
        ("reference", "float64"),
    ],
)
def test_a_loaded_model_gives_the_same_bits(tmp_path, backend, precision):
    model = _model(backend=backend, precision=precision, seed=7)
    save_model(model, tmp_path / "m.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_model(tmp_path / "m.safetensors", device="cpu", backend=backend)
    x = _batch(0)[0]
    assert torch.equal(loaded(x), model(x))
    assert torch.equal(loaded.params, model.params)
    assert (loaded.seed, loaded.precision, loaded.config) == (7, precision, model.config)
    assert loaded.inference_params is loaded.params


@pytest.mark.parametrize(
    ("config", "n_output_dims"),
    [
        ({"encoding": {"otype": "HashGrid", "n_levels": 2, "log2_hashmap_size": 8}, "network": None}, None),
        ({"encoding": {"otype": "Frequency"}, "network": {"otype": "CutlassMLP", "n_neurons": 8}}, 17),
        ({"encoding": {"otype": "SphericalHarmonics"}, "network": None}, None),
    ],
)
def test_other_models(tmp_path, config, n_output_dims):
    model = _model(config, 3, n_output_dims)
    model.save(tmp_path / "m.safetensors")
    loaded = nn.load(tmp_path / "m.safetensors", device="cpu")
    x = _batch(0)[0]
    assert torch.equal(loaded(x), model(x))


def test_a_loaded_model_answers_by_the_average(tmp_path, trained):
    model = trained.model
    assert not torch.equal(model.inference_params, model.params)
    model.save(tmp_path / "m.safetensors")
    loaded = nn.load(tmp_path / "m.safetensors", device="cpu")
    x = _batch(9)[0]
    assert torch.equal(loaded.params, model.params)
    assert torch.equal(loaded.inference_params, model.inference_params)
    assert torch.equal(loaded(x), model(x))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_goes_on_to_the_same_bits(tmp_path, precision):
    path = tmp_path / "m.safetensors"
    trainer = nn.Trainer(_model(precision=precision))
    _train(trainer, 4)
    save_training(trainer, path)
    resumed = nn.Trainer(load_model(path, device="cpu"))
    load_training(resumed, path)
    x = _batch(9)[0]
    assert torch.equal(resumed.model(x), trainer.model(x))
    assert resumed.learning_rate == trainer.learning_rate
    assert resumed.steps == 4
    _train(trainer, 4, first=4)
    _train(resumed, 4, first=4)
    assert torch.equal(resumed.model.params, trainer.model.params)
    assert torch.equal(resumed.model(x), trainer.model(x))


def test_a_training_with_a_configuration_of_its_own_is_resumed_with_it(tmp_path):
    path = tmp_path / "m.safetensors"
    model = _model(TINY)
    trainer = nn.Trainer(model, {**TINY, "loss": {"otype": "L1"}, "optimizer": {"otype": "Adam"}})
    _train(trainer, 2)
    save_training(trainer, path)
    resumed = nn.Trainer(load_model(path, device="cpu"))
    load_training(resumed, path)
    _train(trainer, 2, first=2)
    _train(resumed, 2, first=2)
    assert torch.equal(resumed.model.params, model.params)


class _Recorder:
    """A trainer that keeps the state it is given."""

    def __init__(self, model, state):
        self.model, self.config, self._state = model, model.config, state

    def state(self, *, copy: bool = True):
        return self._state

    def load_state(self, state):
        self._state = state


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text(max_size=5)
)
NAMES = st.text(min_size=1, max_size=6).filter(lambda name: "/" not in name)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    state=st.recursive(
        st.dictionaries(NAMES, NUMBERS, max_size=4), lambda inner: st.dictionaries(NAMES, inner, max_size=3)
    )
)
@example({"empty": {}, "a": {"b": {"rate": 0.1 + 0.2, "small": 5e-324, "count": 2**53 + 1}}})
def test_numbers_of_a_state_come_back_exactly(tmp_path, state):
    model = _model(TINY)
    save_training(_Recorder(model, state), tmp_path / "m.safetensors")
    recorder = _Recorder(model, None)
    load_training(recorder, tmp_path / "m.safetensors")
    assert recorder._state == state
    assert repr(recorder._state) == repr(json.loads(json.dumps(state, sort_keys=True)))


def test_tensors_of_every_type_and_shape_come_back(tmp_path):
    model = _model(TINY)
    tensors = {str(dtype): torch.tensor([[0, 1, 2], [3, 1, 0]]).to(dtype) for dtype in snapshot_format._DTYPES}
    tensors |= {
        "scalar": torch.tensor(0.5),
        "empty": torch.empty(0, 3),
        "turned": torch.rand(4, 3).T,
        "a/b": torch.ones(1),
    }
    shared = torch.arange(10.0)
    tensors |= {"part": shared[3:6], "whole": shared}
    metadata = {"task": "image", "size": [3, 4], "score": 0.1}
    save_model(model, tmp_path / "m.safetensors", extra=tensors, metadata=metadata)
    found = read_snapshot(tmp_path / "m.safetensors")
    assert found.metadata == metadata
    assert set(found.extra) == set(tensors)
    for name, tensor in tensors.items():
        assert found.extra[name].dtype == tensor.dtype
        assert torch.equal(found.extra[name], tensor)


def test_what_was_read_does_not_hang_on_the_file(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(_model(TINY), path, extra={"a": torch.ones(5)})
    found = read_snapshot(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert torch.equal(found.extra["a"], torch.ones(5))
    assert found.params.any()


def test_other_programs_read_the_file_and_equal_models_give_equal_files(tmp_path, trained):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in paths:
        save_training(trained, path, metadata={"a": 1, "b": 2})
    assert paths[0].read_bytes() == paths[1].read_bytes()
    tensors = safetensors.torch.load_file(paths[0])
    assert torch.equal(tensors["params"], trained.model.params)
    moments = trained.state()["optimizer"]["nested"]["nested"]["moments"]
    assert torch.equal(tensors["training/optimizer/nested/nested/moments"], moments)


# Precision


def test_a_precision_that_is_not_to_be_had_is_said(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(_model(backend="reference", precision="float64"), path)
    with pytest.warns(SnapshotWarning, match="saved with float64, loaded with"):
        assert load_model(path, device="cpu").precision in ("float32", "bfloat16")
    with pytest.raises(ConfigError, match="float64"):
        load_model(path, device="cpu", precision="float64")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model(path, device="cpu", precision="float32").precision == "float32"


def test_half_of_a_gpu_is_not_taken_to_a_cpu(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(_model(precision="float16"), path)
    path.write_bytes(path.read_bytes().replace(b'\\"device\\": \\"cpu\\"', b'\\"device\\":\\"cuda\\"'))
    with pytest.warns(SnapshotWarning, match="does not pay on a CPU"):
        assert load_model(path, device="cpu").precision != "float16"
    assert load_model(path, device="cpu", precision="float16").precision == "float16"


# Writing to the disk


def _fail(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("name", ["replace", "fsync"])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, name):
    path = tmp_path / "m.safetensors"
    save_model(_model(TINY, seed=1), path)
    before = path.read_bytes()
    monkeypatch.setattr(os, name, _fail)
    with pytest.raises(SnapshotError, match=r"m\.safetensors: cannot be written: No space left on device$"):
        save_model(_model(TINY, seed=2), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_model(_model(TINY, seed=1), path)
    before = path.read_bytes()

    def interrupt(path, *arguments, **options):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(snapshot_format, "write_tensors", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_model(_model(TINY, seed=2), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.safetensors"]


@pytest.mark.parametrize("place", ["none/m.safetensors", ".", "nul\0", "x" * 300])
def test_impossible_places(tmp_path, place):
    with pytest.raises(SnapshotError, match=r"cannot be written") as error:
        save_model(_model(TINY), tmp_path / place)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_file_may_be_read_by_others(tmp_path):
    (tmp_path / "plain").touch()
    save_model(_model(TINY), tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"extra": {"a": [1.0]}}, r"extra\['a'\] must be a string and a tensor"),
        ({"extra": {"a": torch.ones(2, dtype=torch.complex64)}}, "complex64"),
        ({"extra": {"a": torch.eye(2).to_sparse()}}, "sparse"),
        ({"metadata": {"a": float("nan")}}, "JSON cannot hold"),
        ({"metadata": {"a": np.float32(1)}}, "JSON cannot hold"),
        ({"metadata": {"a": "x" * 2**24}}, "larger than 16 MiB"),
    ],
)
def test_what_cannot_be_stored_is_refused(tmp_path, arguments, message):
    with pytest.raises(SnapshotError, match=message):
        save_model(_model(TINY), tmp_path / "m.safetensors", **arguments)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("state", [{"a/b": 1}, {"": 1}, {1: 2}, {"a": [torch.ones(1)]}, {"a": float("inf")}])
def test_states_that_cannot_be_stored_are_refused(tmp_path, state):
    with pytest.raises(SnapshotError, match="not written"):
        save_training(_Recorder(_model(TINY), state), tmp_path / "m.safetensors")


def test_a_model_that_diverged_does_not_replace_a_good_file(tmp_path):
    model = _model(TINY)
    model.save(tmp_path / "m.safetensors")
    model.params[3] = float("nan")
    with pytest.raises(SnapshotError, match="not finite"):
        model.save(tmp_path / "m.safetensors")
    nn.load(tmp_path / "m.safetensors", device="cpu")


# Files that are not what they should be


def _rewrite(path, change):
    """Change a file's JSON and its tensors' entries."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    entries = json.loads(data[8 : 8 + size])
    document = json.loads(entries["__metadata__"][snapshot_format.KEY])
    change(document, entries)
    entries["__metadata__"][snapshot_format.KEY] = json.dumps(document)
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + size :])


DAMAGES = {
    "newer": (lambda d, e: d.update(version=2), "newer release"),
    "another format": (lambda d, e: d.update(format="other"), "not one of a model"),
    "no count": (lambda d, e: d.pop("n_input_dims"), "n_input_dims"),
    "a wrong type": (lambda d, e: d.update(seed="1"), "seed"),
    "a negative count": (lambda d, e: d.update(n_output_dims=-1), "n_output_dims"),
    "another width": (lambda d, e: d["config"]["network"].update(n_neurons=32), "512 parameters|1024 parameters"),
    "a huge grid": (
        lambda d, e: d["config"].update(encoding={"otype": "HashGrid", "n_levels": 24, "log2_hashmap_size": 31}),
        "parameters",
    ),
    "countless layers": (lambda d, e: d["config"]["network"].update(n_hidden_layers=2**32 - 1), "layers"),
    "huge inputs": (lambda d, e: d.update(n_input_dims=2**31 - 1), "parameters"),
    "an unknown encoding": (lambda d, e: d["config"].update(encoding={"otype": "Gird"}), "unknown encoding"),
    "a parent": (lambda d, e: d["config"].update(parent="/etc/hostname"), "parent"),
    "an unknown precision": (lambda d, e: d.update(precision="int4"), "precision"),
    "no params": (lambda d, e: e.update(extras=e.pop("params")), "no tensor 'params'|unknown tensor"),
    "an unknown tensor": (lambda d, e: e.update(more=e.pop("extra/grid")), "unknown tensor 'more'"),
    "another type": (lambda d, e: e["params"].update(dtype="I32"), "I32"),
    "two dimensions": (lambda d, e: e["params"].update(shape=[2, 256]), "one dimension"),
    "overlapping": (lambda d, e: e["params"].update(data_offsets=[0, 8]), "damaged"),
    "a tensor without a place": (lambda d, e: e.update({"training/x/y": e.pop("extra/grid")}), "no place"),
    "a tensor over a number": (lambda d, e: e.update({"training/steps": e.pop("extra/grid")}), "no place"),
    "version 0": (lambda d, e: d.update(version=0), "version"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files(tmp_path, tiny_file, name):
    change, message = DAMAGES[name]
    path = tmp_path / "m.safetensors"
    path.write_bytes(tiny_file.read_bytes())
    _rewrite(path, change)
    with pytest.raises(SnapshotError, match=message) as error:
        load_training(nn.Trainer(load_model(path, device="cpu")), path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_values_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(_model(TINY), path)
    path.write_bytes(path.read_bytes()[:-4] + struct.pack("<f", float("inf")))
    with pytest.raises(SnapshotError, match="not finite"):
        load_model(path)


def test_files_of_another_kind(tmp_path, tiny_file):
    data = tiny_file.read_bytes()
    contents = {
        "empty": b"",
        "text": b'{"encoding": {}}',
        "zip": b"PK\3\4" + b"\0" * 100,
        "cut": data[:-1],
        "cut in the header": data[:50],
        "longer": data + b"\0",
        "a huge header": struct.pack("<Q", 2**40) + data[8:],
        "a large header": struct.pack("<Q", 2**26) + data[8:],
        "deep": struct.pack("<Q", 20000) + b'{"a":' * 4000,
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SnapshotError, match=str(path)):
            load_model(path)
    safetensors.torch.save_file({"params": torch.ones(3)}, tmp_path / "other")
    for path in (tmp_path / "other", tmp_path / "none", tmp_path, tmp_path / "nul\0", "/dev/zero"):
        with pytest.raises(SnapshotError) as error:
            load_model(path)
        assert "\n" not in str(error.value)


def test_damaged_bytes_give_a_model_or_one_error(tmp_path, tiny_file):
    """Any byte of the header, and some after it, changed in turn by a random amount."""
    data = tiny_file.read_bytes()
    header = 8 + struct.unpack("<Q", data[:8])[0]
    rng = np.random.default_rng(1)
    places = np.concatenate((np.arange(0, header, max(1, header // 350)), rng.integers(header, len(data), 30)))
    path = tmp_path / "m.safetensors"
    messages = []
    for place in places:
        broken = bytearray(data)
        broken[place] ^= rng.integers(1, 256)
        path.write_bytes(broken)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                load_training(nn.Trainer(load_model(path, device="cpu")), path)
                read_snapshot(path)
        except (SnapshotError, ConfigError) as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not [message for message in messages if "\n" in message]


_ENTRIES = st.dictionaries(
    st.sampled_from(["nrc_tracer", "dtype", "shape", "data_offsets"]), st.one_of(st.text(), st.lists(st.integers()))
)
_HEADERS = st.dictionaries(st.sampled_from(["__metadata__", "params", "extra/a"]), st.one_of(st.integers(), _ENTRIES))
_JSON = _HEADERS.map(lambda value: json.dumps(value).encode())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_bytes_give_one_error(tmp_path, data):
    header = data.draw(
        st.one_of(st.binary(max_size=64), st.text(max_size=64).map(lambda text: b"{" + text.encode()), _JSON)
    )
    size = data.draw(st.sampled_from([len(header), 0, 2**63, 2**64 - 1]))
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", size) + header + data.draw(st.binary(max_size=16)))
    with pytest.raises(SnapshotError):
        read_snapshot(path)


def test_a_training_of_another_model_changes_nothing(tmp_path, trained):
    path = tmp_path / "m.safetensors"
    save_training(trained, path)
    others = {
        "n_output_dims": _model(n_output_dims=2),
        "encoding": _model({**CONFIG, "encoding": {**CONFIG["encoding"], "n_levels": 3}}),
        "network": _model({**CONFIG, "network": {**CONFIG["network"], "activation": "Sine"}}),
        "not a state of this trainer": _model({**CONFIG, "optimizer": {"otype": "Adam"}}),
    }
    for message, model in others.items():
        before = model.params.clone()
        trainer = nn.Trainer(model)
        with pytest.raises(SnapshotError, match=message):
            load_training(trainer, path)
        assert torch.equal(model.params, before)
        assert trainer.steps == 0
    save_model(trained.model, path)
    with pytest.raises(SnapshotError, match="without its training"):
        load_training(trained, path)


def test_a_wrong_device_or_backend_is_no_damage(tiny_file):
    with pytest.raises(NrcError, match="device"):
        load_model(tiny_file, device="tpu")
    with pytest.raises(ConfigError, match="backend"):
        load_model(tiny_file, device="cpu", backend="wrap")
