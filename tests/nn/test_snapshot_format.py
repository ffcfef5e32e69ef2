"""Files of models and their training: their contents, and the refusal of invalid ones."""

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
from nrc_tracer.nn import snapshot_format, snapshot_writing
from nrc_tracer.nn.snapshot import load_model, load_training, read_snapshot
from nrc_tracer.nn.snapshot_writing import save_model, save_training
from tests.nn.snapshots import TINY, Recorder, make


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    trainer = nn.Trainer(make(TINY))
    save_training(trainer, path, extra={"grid": torch.arange(3)}, metadata={"steps": 1})
    return path


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
def test_numbers_of_a_state_are_read_back_exactly(tmp_path, state):
    model = make(TINY)
    save_training(Recorder(model, state), tmp_path / "m.safetensors")
    recorder = Recorder(model, None)
    load_training(recorder, tmp_path / "m.safetensors")
    assert recorder.state() == state
    assert repr(recorder.state()) == repr(json.loads(json.dumps(state, sort_keys=True)))


def test_tensors_of_every_type_and_shape_are_read_back(tmp_path):
    model = make(TINY)
    tensors = {str(dtype): torch.tensor([[0, 1, 2], [3, 1, 0]]).to(dtype) for dtype in snapshot_writing.DTYPES}
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
def test_values_that_cannot_be_stored_are_refused(tmp_path, arguments, message):
    with pytest.raises(SnapshotError, match=message):
        save_model(make(TINY), tmp_path / "m.safetensors", **arguments)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("state", [{"a/b": 1}, {"": 1}, {1: 2}, {"a": [torch.ones(1)]}, {"a": float("inf")}])
def test_states_that_cannot_be_stored_are_refused(tmp_path, state):
    with pytest.raises(SnapshotError, match="not written"):
        save_training(Recorder(make(TINY), state), tmp_path / "m.safetensors")


def _rewrite(path, change):
    """Change a file's JSON and its tensor entries."""
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
    "another format": (lambda d, e: d.update(format="other"), "not a snapshot"),
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
    "a tensor without a place": (lambda d, e: e.update({"training/x/y": e.pop("extra/grid")}), "does not belong"),
    "a tensor over a number": (lambda d, e: e.update({"training/steps": e.pop("extra/grid")}), "does not belong"),
    "version 0": (lambda d, e: d.update(version=0), "version"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_refused(tmp_path, tiny_file, name):
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
    save_model(make(TINY), path)
    path.write_bytes(path.read_bytes()[:-4] + struct.pack("<f", float("inf")))
    with pytest.raises(SnapshotError, match="not finite"):
        load_model(path)


def test_files_of_other_kinds_are_refused(tmp_path, tiny_file):
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
    """Every byte of the header, and some bytes after it, are changed in turn by a random amount."""
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


def test_a_wrong_device_or_backend_is_not_called_damage(tiny_file):
    with pytest.raises(NrcError, match="device"):
        load_model(tiny_file, device="tpu")
    with pytest.raises(ConfigError, match="backend"):
        load_model(tiny_file, device="cpu", backend="wrap")
