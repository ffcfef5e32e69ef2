"""Recorded frames give the same bits as frames run by the host, without waiting for the device; on a GPU they match the CPU."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
import warp as wp

from nrc_tracer.cache import RadianceCache
from nrc_tracer.cache import cache as cache_module
from nrc_tracer.cache import frames as frames_module
from nrc_tracer.cache.mode import CacheMode
from nrc_tracer.cache.recorded_frames import RecordedRendering, RecordedTraining
from nrc_tracer.device.launch import Launcher
from nrc_tracer.device.random_bits import shuffled
from nrc_tracer.errors import CacheError, ConfigError
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.film_sums import FilmSums
from tests.nn.fused.samples import NoSynchronization, quickly_compiled
from tests.tracer.cached_renders import cached, estimate, frames, freeze, niche, uncached
from tests.tracer.checkpoint_contents import assert_same, contents

SMALL = {
    "loss": {"otype": "RelativeL2Luminance"},
    "optimizer": {"otype": "Ema", "decay": 0.9, "nested": {"otype": "Adam", "learning_rate": 1e-2, "epsilon": 1e-15}},
    "encoding": {
        "otype": "Composite",
        "nested": [
            {"n_dims_to_encode": 3, "otype": "HashGrid", "n_levels": 4, "log2_hashmap_size": 10, "base_resolution": 4},
            {"otype": "Identity"},
        ],
    },
    "network": {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 1, "output_activation": "Softplus"},
}


def fused_cache(**settings) -> RadianceCache:
    """A small fused cache; during its warm-up a quarter of the training paths continue beyond it."""
    options = {
        "config": SMALL,
        "records": 256,
        "steps": 2,
        "train_frames": 6,
        "train_every": 1,
        "warm_up_unbiased": 0.25,
    }
    return RadianceCache(**{**options, "precision": "float16", "fused": True, **settings})


def fused(mode: str = "on", **settings) -> Renderer:
    """A renderer with a small fused cache."""
    return cached(niche(), mode, fused_cache(**settings))


@pytest.fixture(autouse=True)
def quickly():
    """All caches here have the same network, whose kernels are compiled without optimization."""
    with quickly_compiled(fused().cache.model.backend.fused):
        yield


@wp.kernel(enable_backward=False)
def shuffle_all(n: int, key: wp.uint64, order: wp.array[int]):
    order[wp.tid()] = shuffled(wp.tid() % n, n, key)


def shuffle_as_kernels_do(count: int, seed: int) -> torch.Tensor:
    """Replaces the host's order: the first 256 entries of the kernels' order, in which records repeat if there are fewer."""
    order = wp.zeros(256, dtype=int, device="cpu")
    wp.launch(shuffle_all, dim=256, inputs=[count, wp.uint64(seed), order], device="cpu")
    return torch.from_numpy(order.numpy()).long()


def with_host(cache: RadianceCache) -> None:
    """Make the host run frames step by step instead of recording them."""
    cache.options = msgspec.structs.replace(cache.options, fused=False)


@pytest.fixture
def recorded(monkeypatch):
    """The recorded renderings and the recorded trainings that are created, in two lists."""
    made = ([], [])
    for kind, found in zip((RecordedRendering, RecordedTraining), made, strict=True):

        def make(*arguments, kind=kind, found=found, **options):
            found.append(kind(*arguments, **options))
            return found[-1]

        monkeypatch.setattr(frames_module, kind.__name__, make)
    return made


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 64, 65, 1000])
def test_an_order_contains_every_item_once(n):
    """This holds for every key, and different keys give different orders."""
    orders = []
    for key in (0, 1, 2**63 + 5):
        order = wp.zeros(n, dtype=int, device="cpu")
        wp.launch(shuffle_all, dim=n, inputs=[n, wp.uint64(key), order], device="cpu")
        np.testing.assert_array_equal(np.sort(order.numpy()), np.arange(n))
        orders.append(order.numpy())
    if n >= 64:
        assert not np.array_equal(orders[0], orders[1])
        assert not np.array_equal(orders[0], np.arange(n))


def test_orders_are_random(rng):
    """Each item appears at each place equally often: chi-square test of 6000 orders of six."""
    n, keys = 6, 6000
    times = np.zeros((n, n))
    for key in rng.integers(0, 2**64, keys, dtype=np.uint64):
        order = wp.zeros(n, dtype=int, device="cpu")
        wp.launch(shuffle_all, dim=n, inputs=[n, wp.uint64(int(key)), order], device="cpu")
        times[np.arange(n), order.numpy()] += 1
    expected = keys / n
    # 25 degrees of freedom: the mean is 25, and 60 is exceeded once in ten thousand tests
    assert ((times - expected) ** 2 / expected).sum() < 60.0


@pytest.mark.parametrize("mode", ["on", "view"])
def test_recorded_frames_equal_frames_of_the_host(monkeypatch, recorded, mode):
    """Film, weights, moments, counts and the number of training paths agree, after the warm-up and frames that train."""
    monkeypatch.setattr(cache_module, "shuffle", shuffle_as_kernels_do)
    alone = fused(mode)
    alone.step(8)
    before = [len(made) for made in recorded]
    assert min(before) > 0
    host = fused(mode)
    with_host(host.cache)
    host.step(8)
    assert [len(made) for made in recorded] == before
    assert_same(alone, host, mode)
    assert alone.cache.trainer.steps == host.cache.trainer.steps > 12
    reports = [{k: v for k, v in r.cache_report().items() if "seconds" not in k} for r in (alone, host)]
    assert reports[0] == reports[1]
    densities = [renderer.layers(["training_density"])["training_density"] for renderer in (alone, host)]
    assert densities[0].sum() > 0.0
    np.testing.assert_array_equal(*densities)


def test_recorded_frames_do_not_wait_for_the_device(monkeypatch):
    """Once the scene's brightness is known, frames that render and train do not wait for the device; frames of the host do."""
    cache = fused_cache(train_frames=8)
    size = (64, 48)  # large enough for training in every frame
    film, begun = FilmSums(*size, Launcher("cpu")).arrays, frames(niche(film=size), CacheMode.ON, cache)
    begun.warm_up()
    begun.render_frame(0, film)
    steps = cache.trainer.steps

    def refuse(array):
        raise AssertionError("scalar read from an array")

    with monkeypatch.context() as patch:
        patch.setattr(wp.array, "numpy", refuse)
        with NoSynchronization():
            for sample in (1, 2, 3):
                begun.render_frame(sample, film)
    assert cache.trainer.steps == steps + 3 * 2
    with_host(cache)
    with monkeypatch.context() as patch:
        patch.setattr(wp.array, "numpy", refuse)
        with pytest.raises(AssertionError, match=r"scalar|nonzero"), NoSynchronization():
            begun.render_frame(4, film)


def test_frames_are_recorded_again_for_a_new_image():
    """Another seed gives another image, and the first seed again gives the first image, as the cache is frozen."""
    renderer = fused()
    renderer.warm_up()
    freeze(renderer)
    images = []
    for seed in (1, 2, 1):
        renderer.reset(seed=seed)
        renderer.step(2)
        images.append(renderer.image().rgb)
    np.testing.assert_array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[1])


def test_frames_follow_a_change_of_the_scene():
    """Another scene at the same place is visible at once: twice the light gives twice the radiance."""
    renderer = fused()
    renderer.step(8)
    before = renderer.image().rgb.mean()
    renderer.update(niche(light=2.0))
    renderer.step(8)
    assert renderer.image().rgb.mean() == pytest.approx(2.0 * before, rel=0.2)


def test_frames_are_recorded_again_after_the_scene_has_grown():
    """The cache is reset, so the host runs the first frames, and new ones are recorded afterwards."""
    renderer = fused()
    renderer.step(2)
    assert renderer.update(niche(size=4.0)) == "reset"
    renderer.step(2)
    assert renderer.samples == 2
    assert renderer.dropped == 0
    assert renderer.cache_report()["queries_per_path"] > 0.0


def training_paths(renderer: Renderer) -> int:
    """The number of training paths of the next frame."""
    return contents(renderer)[1]["image"]["training_paths"]


def test_loading_a_checkpoint_replaces_the_state_of_frames(tmp_path):
    """The counts and choices of the loading renderer are replaced by those of the checkpoint."""
    renderer = fused()
    renderer.step(8)
    renderer.save_checkpoint(tmp_path / "image.checkpoint")
    paths = training_paths(renderer)
    renderer.step(8)
    other = fused()
    other.step(3)
    assert training_paths(other) != paths
    other.load_checkpoint(tmp_path / "image.checkpoint")
    assert training_paths(other) == paths
    other.step(8)
    assert_same(other, renderer)


@pytest.mark.parametrize("name", ["gain", "scale"])
def test_frames_are_recorded_again_for_another_gain_or_scale(recorded, name):
    """These numbers of the cache are part of recorded frames, so the frames are recorded again, once."""
    renderer = fused()
    renderer.step(8)
    before = [len(made) for made in recorded]
    setattr(renderer.cache, name, 4.0 * getattr(renderer.cache, name))
    renderer.step(8)
    assert [len(made) for made in recorded] == [count + 1 for count in before]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"deterministic": True}, CacheError),
        ({"backend": "reference"}, CacheError),
        ({"precision": "float32"}, ConfigError),
        ({"config": SMALL | {"optimizer": {"otype": "SGD"}}}, CacheError),
    ],
)
def test_settings_that_exclude_fusing_are_refused(settings, error):
    """The error names the setting as the user wrote it."""
    with pytest.raises(error, match="fused:"):
        fused(**settings)


@pytest.mark.cuda
def test_a_gpu_renders_the_image_of_the_cpu(recorded):
    """With CUDA graphs, the image agrees with path tracing up to the small cache's bias and the noise."""
    if not wp.is_cuda_available():
        pytest.skip("no CUDA device")
    cache = RadianceCache(records=4096, train_frames=64, precision="float16", fused=True)
    renderer = Renderer(niche(), device="cuda:0", cache=cache, max_depth=-1, sampler="independent")
    renderer.step(256)
    for made in recorded:
        assert made[-1].is_recorded
    assert renderer.dropped == 0
    assert renderer.cache.trainer.skipped_steps < 8
    expected = estimate(uncached(niche(), 1024))
    assert renderer.moments()[0].mean() == pytest.approx(expected.mean.mean(), rel=0.03)
