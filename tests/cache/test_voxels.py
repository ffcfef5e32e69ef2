"""The cache of voxels: its table against a plain dictionary, closed forms, and rendering with it."""

import numpy as np
import pytest
import torch

import nrc_tracer as nrc
from nrc_tracer.cache import VoxelCache
from nrc_tracer.cache import voxel_cache as voxel_cache_module
from nrc_tracer.cache.voxel_table import FINEST, LEVELS
from nrc_tracer.errors import CacheError
from nrc_tracer.scene.model import Diffuse, LookAt, Perspective, Sphere
from tests.cache.small_cache import samples
from tests.conftest import REPOSITORY
from tests.tracer.tiny_scenes import scene

EYE = np.array([-0.9, 0.2, 0.1])
INSIDE = Perspective(to_world=(LookAt(origin=(0.3, 0.2, 0.7), target=(-0.5, 0.1, -0.6)),), fov=100.0)
ROOM = REPOSITORY / "scenes" / "door-ajar.json"


def began(cache=None, *, threads=2):
    """The cache, begun in a scene from -1 to 1 on each axis and seen from `EYE`, with a gain of 1."""
    cache = VoxelCache() if cache is None else cache
    cache.begin([-1.0] * 3, [1.0] * 3, device="cpu", threads=threads, seed=0)
    cache.look_from(EYE)
    cache.gain = cache.scale = 1.0
    return cache


def learn(cache, features, targets, *, records=10**6):
    cache.train(features, targets, records=records, steps=1, seed=3)


def voxel_of(cache, features, level_up):
    """A record's voxel in plain Python, as what a dictionary can hold."""
    eye = ((EYE - cache.low) / cache.size).astype(np.float32)
    p = features[:3].numpy()
    distance = float(np.linalg.norm(p - eye))
    level = int(np.clip(np.floor(np.log2(max(cache.options.voxel_angle * distance, 1e-30))) + FINEST, 0, FINEST))
    level = min(level + level_up, FINEST)
    polar, azimuth = features[5].item() * np.pi, (features[6].item() - 0.5) * 2.0 * np.pi
    n = np.array([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)])
    axis = int(np.argmax(np.abs(n)))
    return (*np.floor(p * 2.0 ** (FINEST - level)).astype(int), level, axis, n[axis] < 0)


def test_means_equal_those_of_a_dictionary():
    """The finest voxel with enough records gives their mean; records of several batches and of coarser voxels count as well."""
    cache = began(VoxelCache(factorize=False, voxel_angle=0.2, least_count=8))
    features, targets = samples(3000, 5)
    for part in range(3):
        learn(cache, features[1000 * part :][:1000], targets[1000 * part :][:1000])
    sums: dict = {}
    for row, target in zip(features, targets, strict=True):
        for key in {voxel_of(cache, row, up) for up in range(LEVELS)}:
            total, count = sums.get(key, (0.0, 0))
            sums[key] = total + target.double().numpy(), count + 1
    found = cache.predict(features[:500])
    for row, prediction in zip(features[:500], found, strict=True):
        keys = [voxel_of(cache, row, up) for up in range(LEVELS)]
        total, count = next((sums[k] for k in keys if sums[k][1] >= cache.options.least_count), sums[keys[-1]])
        assert prediction.numpy() == pytest.approx(total / count, rel=1e-4)
    assert cache.numbers() == {"encoding": "voxel", "records": 3000, "voxels": len(sums)}


def test_constant_radiance_is_exact_and_unseen_places_have_the_mean():
    cache = began(VoxelCache(factorize=False))
    features, _ = samples(2000, 1)
    features[:, :3] *= 0.4
    learn(cache, features, torch.full((2000, 3), 2.5))
    assert torch.allclose(cache.predict(features), torch.tensor(2.5), rtol=1e-6)
    far = features.clone()
    far[:, :3] = 0.95
    assert torch.equal(cache.predict(far), torch.ones(2000, 3))  # the gain: the mean of the first targets


def test_predictions_are_proportional_to_the_reflectance():
    cache = began()
    features, _ = samples(4000, 2)
    reflectance = (features[:, 8:11] + features[:, 11:14]).clamp_min(0.01)
    learn(cache, features, 3.0 * reflectance)
    assert torch.allclose(cache.predict(features), 3.0 * reflectance, rtol=1e-5)


def test_means_converge_and_old_records_are_forgotten():
    """The error of a mean of n records falls as 1 / sqrt(n), up to the largest count; beyond it a mean follows its records."""
    generator = torch.Generator().manual_seed(4)
    features = samples(1, 3)[0].repeat(64, 1)
    cache = began(VoxelCache(factorize=False, most_count=4096.0))
    errors = []
    for number in range(64):
        noise = torch.rand((64, 3), generator=generator) * 2.0
        learn(cache, features, noise)
        if number in (0, 15, 63):
            errors.append(float((cache.predict(features[:1]) - 1.0).abs().max()))
    # The standard deviation of one record is 0.58
    for error, records in zip(errors, (64, 1024, 4096), strict=True):
        assert error < 4.5 * 0.58 / records**0.5
    # After the largest count, n records of another value have the weight 1 - (1 - 64 / 4096)^n
    for _ in range(64):
        learn(cache, features, torch.full((64, 3), 5.0))
    old = (1.0 - 64.0 / 4096.0) ** 64
    assert cache.predict(features[:1]).mean().item() == pytest.approx(5.0 - 4.0 * old, abs=0.05)
    cache.learn_anew()
    learn(cache, features, torch.full((64, 3), 9.0))
    assert cache.predict(features[:1]).mean().item() == pytest.approx(9.0, abs=0.4)


def test_a_batch_larger_than_the_largest_count_replaces_the_mean():
    features = samples(1, 3)[0].repeat(64, 1)
    cache = began(VoxelCache(factorize=False, most_count=16.0))
    for value in (1.0, 4.0):
        learn(cache, features, torch.full((64, 3), value))
        assert torch.allclose(cache.predict(features[:1]), torch.tensor(value))


def test_bits_do_not_depend_on_threads():
    features, targets = samples(5000, 6)
    found = []
    for threads in (1, 2, 3):
        cache = began(threads=threads)
        for part in range(4):
            learn(cache, features[part::4], targets[part::4])
        found.append((cache.predict(features), cache.to_bytes()))
    assert all(torch.equal(found[0][0], other[0]) and found[0][1] == other[1] for other in found[1:])


def test_a_full_table_forgets_the_voxels_with_the_fewest_records(monkeypatch):
    monkeypatch.setattr(voxel_cache_module, "ENTRIES", 1 << 10)
    cache = began(VoxelCache(factorize=False, voxel_angle=0.01))
    known, _ = samples(1, 8)
    features, _ = samples(3000, 9)
    learn(cache, known.repeat(500, 1), torch.full((500, 3), 7.0))
    learn(cache, features, torch.ones((3000, 3)))
    assert 256 <= cache.numbers()["voxels"] <= 1024
    assert torch.allclose(cache.predict(known), torch.tensor(7.0), rtol=0.02)


def test_only_the_count_of_records_that_a_frame_may_have_is_used():
    cache = began()
    learn(cache, *samples(1000, 2), records=100)
    assert cache.numbers()["records"] == 100


def test_files(tmp_path):
    cache = began(VoxelCache(voxel_angle=0.07))
    features, targets = samples(2000, 5)
    learn(cache, features, targets)
    cache.save(tmp_path / "a.voxels")
    loaded = VoxelCache.load(tmp_path / "a.voxels", freeze=True)
    assert (loaded.options.voxel_angle, loaded.options.freeze) == (0.07, True)
    assert loaded.begin([-1.0] * 3, [1.0] * 3, device="cpu", threads=1, seed=0)
    loaded.look_from(EYE)
    assert torch.equal(loaded.predict(features), cache.predict(features))
    data = cache.to_bytes()
    for damaged in (data[:100], b"", data.replace(b"voxels", b"vowels")):
        with pytest.raises(CacheError, match="radiance cache: "):
            cache.read_bytes(damaged)
    with pytest.raises(CacheError, match="nowhere: cannot be read"):
        VoxelCache.load(tmp_path / "nowhere")
    with pytest.raises(CacheError, match="its network is missing"):
        nrc.RadianceCache().restore(cache.read_bytes(data), device="cpu", threads=1)


def test_a_table_of_another_size_and_values_that_are_not_finite_are_refused(monkeypatch):
    """Slots follow from the size of the table, so that voxels of another one would not be found."""
    cache = began(VoxelCache())
    learn(cache, *samples(200, 5))
    data = cache.to_bytes()
    for entries in (1 << 17, 1 << 19):
        monkeypatch.setattr(voxel_cache_module, "ENTRIES", entries)
        with pytest.raises(
            CacheError, match=rf"its table has 262144 entries, and those of this release have {entries}"
        ):
            VoxelCache().restore(cache.read_bytes(data), device="cpu", threads=1)
    monkeypatch.undo()
    cache._means[torch.nonzero(cache._keys)[0, 0]] = torch.nan
    with pytest.raises(CacheError, match="a mean or a count is not finite"):
        cache.read_bytes(cache.to_bytes())


def test_a_cache_in_use_stays_on_its_device(monkeypatch):
    cache = began(VoxelCache())
    monkeypatch.setattr(voxel_cache_module, "find_torch_device", lambda device: torch.device("meta"))
    with pytest.raises(CacheError, match="the cache is on cpu; save it, and load it for a renderer on cuda:0"):
        cache.begin([-1.0] * 3, [1.0] * 3, device="cuda:0", threads=1, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 4}, "steps: voxels have no network; leave it out"),
        ({"fused": True}, "fused: voxels have no network; leave it out"),
        ({"voxel_angle": 2.0}, "voxel_angle: expected a number from 1e-05 to 1, got 2.0"),
        ({"angle": 1.0}, "a cache of voxels has no setting 'angle'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(CacheError, match=message):
        VoxelCache(**options)


def test_a_furnace_has_its_radiance():
    """Inside a glowing sphere all surfaces scatter the same; some ten thousand records know it to 1 %."""
    albedo, glow = np.array([0.8, 0.5, 0.1]), np.array([1.0, 2.0, 3.0])
    walls = Sphere(emission=tuple(glow), flip_normals=True, material="grey")
    described = scene(
        walls, materials={"grey": Diffuse(reflectance=tuple(albedo))}, camera=INSIDE, film=(24, 24), max_depth=None
    )
    cache = VoxelCache(train_frames=8, records=4000, freeze=False)
    inside = nrc.Renderer(described, device="cpu", threads=2, seed=2, cache=cache, cache_mode="raw")
    inside.step(32)
    assert inside.image().rgb.mean(axis=(0, 1)) == pytest.approx(glow / (1.0 - albedo), rel=0.03)


def renderer(mode, *, threads=2, seed=1):
    cache = VoxelCache(train_frames=6, records=4000)
    settings = {"width": 48, "height": 30, "max_depth": -1, "device": "cpu"}
    return nrc.Renderer(nrc.load_scene(ROOM), threads=threads, seed=seed, cache=cache, cache_mode=mode, **settings)


def test_an_image_resumes_to_the_same_bits(tmp_path):
    """In mode `on` a resumed image has the bits of one that was not interrupted, whatever the number of threads."""
    whole = renderer("on")
    whole.step(12)
    part = renderer("on", threads=1)
    part.step(5)
    part.save_checkpoint(tmp_path / "part")
    resumed = renderer("on")
    resumed.load_checkpoint(tmp_path / "part")
    resumed.step(7)
    assert np.array_equal(resumed.image().rgb, whole.image().rgb)
    report = whole.cache_report()
    assert (report["encoding"], report["mode"]) == ("voxel", "on")
    assert report["voxels"] > 100
