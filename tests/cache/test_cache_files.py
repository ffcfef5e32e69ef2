"""Saved caches: predictions and training continue as before, and files that are no caches give one-line errors."""

import json

import numpy as np
import pytest

from nrc_tracer.cache import RadianceCache
from nrc_tracer.cache.cache_file import read_cache_file
from nrc_tracer.cache.state import CacheState, ImageState
from nrc_tracer.errors import CacheError, NrcError, SnapshotError
from nrc_tracer.nn import Model, Trainer, save_training
from nrc_tracer.nn.fused_cpu.choice import VARIABLE
from nrc_tracer.nn.snapshot_format import SnapshotBytes
from tests.cache.small_cache import SMALL, began, samples, trained


def test_a_loaded_cache_predicts_and_learns_as_the_saved_one(tmp_path):
    """Predictions, average, further training, scale and state are equal bit for bit."""
    cache = trained(began(RadianceCache(config=SMALL, spread=0.25)))
    cache.state = CacheState(
        frame=12, is_warm=True, credit=0.3, learning_rate_step=cache.state.learning_rate_step, bad_records=4
    )
    path = cache.save(tmp_path / "cache.safetensors")
    loaded = RadianceCache.load(path)
    assert loaded.options == cache.options
    assert began(loaded) is loaded
    features, targets = samples(700, 5)
    for options in ({}, {"trained": True}):
        assert loaded.predict(features, **options).equal(cache.predict(features, **options))
    assert (loaded.gain, loaded.scale, loaded.size) == (cache.gain, cache.scale, cache.size)
    np.testing.assert_array_equal(loaded.low, cache.low)
    assert loaded.state == cache.state
    for one in (cache, loaded):
        one.train(features, targets, records=500, steps=6, seed=8)
    assert loaded.trainer.steps == cache.trainer.steps == 26
    for options in ({}, {"trained": True}):
        assert loaded.predict(features, **options).equal(cache.predict(features, **options))


@pytest.mark.parametrize(("saved", "other"), [("fused", "blocked"), ("blocked", "fused")])
def test_a_cache_keeps_the_form_of_its_kernels(saved, other, tmp_path, monkeypatch):
    """A loaded or restored cache predicts the same bits even where a new cache of its precision would use another form."""
    features, _ = samples(100, 5)
    monkeypatch.setenv(VARIABLE, saved)
    cache = trained(began(RadianceCache(config=SMALL, precision="float32")))
    path, before = cache.save(tmp_path / "cache.safetensors"), cache.predict(features)
    monkeypatch.setenv(VARIABLE, other)
    loaded = began(RadianceCache.load(path))
    again = began(RadianceCache(config=SMALL, precision="float32"))
    assert (again.model.form, loaded.model.form) == (other, saved)
    assert loaded.predict(features).equal(before)
    again.restore(read_cache_file(path), device="cpu", threads=1)
    assert again.model.form == saved
    assert again.predict(features).equal(before)


def test_given_settings_replace_those_of_the_file(tmp_path):
    cache = trained(began(RadianceCache(config=SMALL, spread=0.25)))
    path = cache.save(tmp_path / "a")
    loaded = RadianceCache.load(path, spread=0.5, freeze=True)
    assert (loaded.options.spread, loaded.options.freeze, loaded.options.config) == (0.5, True, SMALL)
    for settings, words in (({"capacity": 0}, "capacity"), ({"spred": 1.0}, "spred")):
        with pytest.raises(CacheError, match=words) as caught:
            RadianceCache.load(path, **settings)
        assert "damaged" not in str(caught.value)  # the file is not to blame


def test_restoring_a_cache_in_place_discards_later_training(tmp_path):
    """Checkpoints do this: whatever the cache has learnt since then is discarded."""
    features, _ = samples(100, 5)
    cache = trained(began(RadianceCache(config=SMALL)))
    data, before = cache.to_bytes(), cache.predict(features)
    assert data == cache.save(tmp_path / "a").read_bytes()
    trained(cache)
    assert not cache.predict(features).equal(before)
    cache.restore(read_cache_file(SnapshotBytes("bytes", data)), device="cpu", threads=1)
    assert cache.predict(features).equal(before)
    assert cache.trainer.steps == 20


@pytest.mark.parametrize("average", [True, False])
def test_what_predictions_need_is_a_seventh_of_a_cache(average):
    """The average of the parameters, or those in training where the cache predicts with them; predictions have the same bits."""
    features, _ = samples(100, 5)
    cache = trained(began(RadianceCache(config=SMALL, average=average)))
    assert not cache.model.inference_params.equal(cache.model.params)
    data = cache.inference_bytes(ImageState(paths=3))
    file = read_cache_file(SnapshotBytes("bytes", data))
    there = RadianceCache(config=SMALL, average=average)
    there.restore(file, device="cpu", threads=1, training=False)
    assert there.predict(features).equal(cache.predict(features))
    assert file.metadata.image == ImageState(paths=3)
    assert 4 * cache.model.n_params < len(data) < 4 * cache.model.n_params + 10_000
    assert 6 * len(data) < len(cache.to_bytes())


def test_saving_an_unused_cache_or_into_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(CacheError, match="has not been used"):
        RadianceCache().save(tmp_path / "a")
    with pytest.raises(SnapshotError):
        began(RadianceCache(config=SMALL)).save(tmp_path / "none" / "a")
    assert not list(tmp_path.iterdir())


def _refusal(path):
    with pytest.raises((CacheError, SnapshotError)) as caught:
        RadianceCache.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_files_that_are_no_caches_are_refused(tmp_path):
    """Missing and empty files, text, and snapshots of other networks are refused in one line that names the file."""
    _refusal(tmp_path / "missing")
    for name, content in (("empty", b""), ("text", b"hello\n" * 100)):
        (tmp_path / name).write_bytes(content)
        _refusal(tmp_path / name)
    for name, dims in (("image", (2, 3)), ("as wide", (14, 3)), ("narrow", (14, 1))):
        config = {"loss": {"otype": "L2"}, "encoding": {"otype": "Identity"}, "network": SMALL["network"]}
        model = Model(*dims, config, device="cpu")
        save_training(Trainer(model), tmp_path / name)
        assert "not of a radiance cache" in _refusal(tmp_path / name)
    model = Model(2, 3, config, device="cpu")
    save_training(Trainer(model), tmp_path / "disguised", metadata={"format": "nrc_tracer.cache"})
    assert "not of a radiance cache" in _refusal(tmp_path / "disguised")


def _header(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 0.0),
        ("size", -1.0),
        ("size", "wide"),
        ("low", [0.0, 0.0]),
        ("low", None),
        ("gain", None),
        ("state", {"bad_records": "many"}),
        ("state", {"bad_records": -1}),
        ("state", {"good_records": 1}),
        ("options", {"spread": -1.0}),
        ("options", {"spred": 1.0}),
        ("options", 3),
        ("state", 7),
        ("state", None),
        ("scale", None),
    ],
)
def test_damaged_metadata_is_refused(tmp_path, name, value):
    """Every part of the cache's metadata is damaged in turn; None means that the part is missing."""
    path = began(RadianceCache(config=SMALL)).save(tmp_path / "cache")
    _change(path, name, value)
    _refusal(path)


def _change(path, name, value):
    """Give an entry of a file's metadata another value, or remove it if the value is None."""
    header, tensors = _header(path)
    about = json.loads(header["__metadata__"]["nrc_tracer"])
    if value is None:
        del about["metadata"][name]
    else:
        about["metadata"][name] = value
    header["__metadata__"]["nrc_tracer"] = json.dumps(about)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + tensors)


@pytest.mark.parametrize(
    ("version", "words"), [(None, "an older release"), (1, "an older release"), (3, "a newer release")]
)
def test_files_of_other_releases(tmp_path, version, words):
    """They are refused without being called damaged; the first format had no version number."""
    path = began(RadianceCache(config=SMALL)).save(tmp_path / "cache")
    _change(path, "version", version)
    message = _refusal(path)
    assert words in message
    assert "damaged" not in message


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = began(RadianceCache(config=SMALL)).save(tmp_path / "cache")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    _refusal(path)


@pytest.mark.parametrize("damage", [lambda data: b"not a cache", lambda data: data[:-1], lambda data: b""])
def test_a_failed_restore_changes_nothing(damage):
    cache = trained(began(RadianceCache(config=SMALL)))
    features, _ = samples(100, 5)
    before, options = cache.predict(features), cache.options
    with pytest.raises(NrcError) as caught:
        cache.restore(read_cache_file(SnapshotBytes("bytes", damage(cache.to_bytes()))), device="cpu", threads=1)
    assert "\n" not in str(caught.value)
    assert cache.predict(features).equal(before)
    assert cache.options == options
