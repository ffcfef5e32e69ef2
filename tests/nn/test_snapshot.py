"""Models and trainings in files."""

import os
import warnings

import pytest
import safetensors.torch
import torch

import nrc_tracer.nn as nn
from nrc_tracer.errors import ConfigError, SnapshotError
from nrc_tracer.nn import snapshot_writing
from nrc_tracer.nn.snapshot import (
    SnapshotWarning,
    load_model,
    load_training,
    read_snapshot,
)
from nrc_tracer.nn.snapshot_writing import save_model, save_training
from tests.nn.snapshots import CONFIG, TINY, batch, make, train


@pytest.fixture(scope="module")
def trained():
    model = make(precision="float32")
    trainer = nn.Trainer(model)
    train(trainer, 5)
    return trainer


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
    model = make(backend=backend, precision=precision, seed=7)
    save_model(model, tmp_path / "m.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_model(tmp_path / "m.safetensors", device="cpu", backend=backend)
    x = batch(0)[0]
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
def test_other_models_are_read_back(tmp_path, config, n_output_dims):
    model = make(config, 3, n_output_dims)
    model.save(tmp_path / "m.safetensors")
    loaded = nn.load(tmp_path / "m.safetensors", device="cpu")
    x = batch(0)[0]
    assert torch.equal(loaded(x), model(x))


def test_a_loaded_model_uses_the_average(tmp_path, trained):
    model = trained.model
    assert not torch.equal(model.inference_params, model.params)
    model.save(tmp_path / "m.safetensors")
    loaded = nn.load(tmp_path / "m.safetensors", device="cpu")
    x = batch(9)[0]
    assert torch.equal(loaded.params, model.params)
    assert torch.equal(loaded.inference_params, model.inference_params)
    assert torch.equal(loaded(x), model(x))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resumed_training_has_the_same_bits(tmp_path, precision):
    path = tmp_path / "m.safetensors"
    trainer = nn.Trainer(make(precision=precision))
    train(trainer, 4)
    save_training(trainer, path)
    resumed = nn.Trainer(load_model(path, device="cpu"))
    load_training(resumed, path)
    x = batch(9)[0]
    assert torch.equal(resumed.model(x), trainer.model(x))
    assert resumed.learning_rate == trainer.learning_rate
    assert resumed.steps == 4
    train(trainer, 4, first=4)
    train(resumed, 4, first=4)
    assert torch.equal(resumed.model.params, trainer.model.params)
    assert torch.equal(resumed.model(x), trainer.model(x))


def test_a_training_with_its_own_configuration_is_resumed_with_it(tmp_path):
    path = tmp_path / "m.safetensors"
    model = make(TINY)
    trainer = nn.Trainer(model, {**TINY, "loss": {"otype": "L1"}, "optimizer": {"otype": "Adam"}})
    train(trainer, 2)
    save_training(trainer, path)
    resumed = nn.Trainer(load_model(path, device="cpu"))
    load_training(resumed, path)
    train(trainer, 2, first=2)
    train(resumed, 2, first=2)
    assert torch.equal(resumed.model.params, model.params)


def test_loaded_data_do_not_depend_on_the_file(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(make(TINY), path, extra={"a": torch.ones(5)})
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


def test_an_unavailable_precision_is_reported(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(make(backend="reference", precision="float64"), path)
    with pytest.warns(SnapshotWarning, match="saved with float64, loaded with"):
        assert load_model(path, device="cpu").precision in ("float32", "bfloat16")
    with pytest.raises(ConfigError, match="float64"):
        load_model(path, device="cpu", precision="float64")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model(path, device="cpu", precision="float32").precision == "float32"


def test_float16_of_a_gpu_is_not_used_on_a_cpu(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(make(precision="float16"), path)
    path.write_bytes(path.read_bytes().replace(b'\\"device\\": \\"cpu\\"', b'\\"device\\":\\"cuda\\"'))
    with pytest.warns(SnapshotWarning, match="float16 is slow on a CPU"):
        assert load_model(path, device="cpu").precision != "float16"
    assert load_model(path, device="cpu", precision="float16").precision == "float16"


# Writing to the disk


def _fail(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("name", ["replace", "fsync"])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, name):
    path = tmp_path / "m.safetensors"
    save_model(make(TINY, seed=1), path)
    before = path.read_bytes()
    monkeypatch.setattr(os, name, _fail)
    with pytest.raises(SnapshotError, match=r"m\.safetensors: cannot be written: No space left on device$"):
        save_model(make(TINY, seed=2), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_model(make(TINY, seed=1), path)
    before = path.read_bytes()

    def interrupt(file, *arguments, **options):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(snapshot_writing, "write_tensors", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_model(make(TINY, seed=2), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.safetensors"]


@pytest.mark.parametrize("place", ["none/m.safetensors", ".", "nul\0", "x" * 300])
def test_impossible_paths_are_refused(tmp_path, place):
    with pytest.raises(SnapshotError, match=r"cannot be written") as error:
        save_model(make(TINY), tmp_path / place)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_other_users_may_read_a_file(tmp_path):
    (tmp_path / "plain").touch()
    save_model(make(TINY), tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_model_that_diverged_does_not_replace_a_good_file(tmp_path):
    model = make(TINY)
    model.save(tmp_path / "m.safetensors")
    model.params[3] = float("nan")
    with pytest.raises(SnapshotError, match="not finite"):
        model.save(tmp_path / "m.safetensors")
    nn.load(tmp_path / "m.safetensors", device="cpu")


# Trainings of other models


def test_a_training_of_another_model_changes_nothing(tmp_path, trained):
    path = tmp_path / "m.safetensors"
    save_training(trained, path)
    others = {
        "n_output_dims": make(n_output_dims=2),
        "encoding": make({**CONFIG, "encoding": {**CONFIG["encoding"], "n_levels": 3}}),
        "network": make({**CONFIG, "network": {**CONFIG["network"], "activation": "Sine"}}),
        "not a state of this trainer": make({**CONFIG, "optimizer": {"otype": "Adam"}}),
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
