"""Frames without the host: those with it, bit for bit, and without a question to the device; on a GPU beside the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import warp as wp

from nrc_tracer.cache import RadianceCache
from nrc_tracer.cache import cache as cache_module
from nrc_tracer.cache.frames import CachedFrames
from nrc_tracer.cache.schedule import Reason, Train
from nrc_tracer.device.random_bits import shuffled
from nrc_tracer.errors import CacheError, ConfigError
from nrc_tracer.tracer import Renderer
from tests.nn.fused.samples import NoQuestions, quickly_compiled
from tests.tracer.cached_renders import cached, estimate, freeze, niche, uncached
from tests.tracer.checkpoint_contents import assert_same

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


def fused(mode: str = "on", **settings) -> Renderer:
    """A renderer with a small fused cache, whose training paths go on beyond the cache one time in four."""
    options = {
        "config": SMALL,
        "records": 256,
        "steps": 2,
        "train_frames": 6,
        "train_every": 1,
        "warm_up_unbiased": 0.25,
    }
    cache = RadianceCache(**{**options, "precision": "float16", "fused": True, **settings})
    return cached(niche(), mode, cache)


@pytest.fixture(autouse=True)
def quickly():
    """All caches here have one network, whose kernels are compiled without optimization."""
    with quickly_compiled(fused().cache.model.backend.fused):
        yield


@wp.kernel(enable_backward=False)
def shuffle_all(n: int, key: wp.uint64, order: wp.array[int]):
    order[wp.tid()] = shuffled(wp.tid() % n, n, key)


def shuffle_as_kernels_do(count: int, seed: int) -> torch.Tensor:
    """In place of the host's order: as many as are asked for of the 256 records of these frames, some twice if need be."""
    order = wp.zeros(256, dtype=int, device="cpu")
    wp.launch(shuffle_all, dim=256, inputs=[count, wp.uint64(seed), order], device="cpu")
    return torch.from_numpy(order.numpy()).long()


def with_host(monkeypatch) -> None:
    """Let frames be gone through with the host."""
    monkeypatch.setattr(CachedFrames, "_runs_alone", property(lambda frames: False))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 64, 65, 1000])
def test_an_order_has_everything_once(n):
    """For whatever key, and keys differ."""
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
    """Each item comes to each place equally often: chi-square over 6000 orders of six."""
    n, keys = 6, 6000
    times = np.zeros((n, n))
    for key in rng.integers(0, 2**64, keys, dtype=np.uint64):
        order = wp.zeros(n, dtype=int, device="cpu")
        wp.launch(shuffle_all, dim=n, inputs=[n, wp.uint64(int(key)), order], device="cpu")
        times[np.arange(n), order.numpy()] += 1
    expected = keys / n
    # 25 degrees of freedom: mean 25, above 60 one time in ten thousand
    assert ((times - expected) ** 2 / expected).sum() < 60.0


@pytest.mark.parametrize("mode", ["on", "view"])
def test_frames_are_those_of_the_host(monkeypatch, mode):
    """Film, weights, moments, counts and the number of training paths, after warm-up and frames that train."""
    monkeypatch.setattr(cache_module, "shuffle", shuffle_as_kernels_do)
    alone = fused(mode)
    alone.step(8)
    assert alone._frames._recorded_rendering is not None
    assert alone._frames._recorded_training is not None
    with_host(monkeypatch)
    host = fused(mode)
    host.step(8)
    assert host._frames._recorded_rendering is None
    assert_same(alone, host, mode)
    assert alone.cache.trainer.steps == host.cache.trainer.steps > 12
    reports = [{k: v for k, v in r.cache_report().items() if "seconds" not in k} for r in (alone, host)]
    assert reports[0] == reports[1]
    np.testing.assert_array_equal(alone._frames.training_density, host._frames.training_density)


def test_frames_ask_nothing(monkeypatch):
    """Neither rendering nor training waits for the device once the scene's brightness is known; with the host both do."""
    renderer = fused(train_frames=8)
    renderer.step(2)
    frames, numpy = renderer._frames, wp.array.numpy

    def refuse(array):
        raise AssertionError("scalar read from an array")

    monkeypatch.setattr(wp.array, "numpy", refuse)
    with NoQuestions():
        for sample in range(2, 4):
            frames._render(sample, renderer._sums.arrays)
            frames._train(Train(0.25, Reason.REGULAR))
    with_host(monkeypatch)
    for work in (lambda: frames._render(5, renderer._sums.arrays), lambda: frames._train(Train(0.25, Reason.REGULAR))):
        with pytest.raises(AssertionError, match=r"scalar|nonzero"), NoQuestions():
            work()
    monkeypatch.setattr(wp.array, "numpy", numpy)


def test_a_new_image_is_recorded_anew():
    """After another seed, and after the other seed was taken back: the first image again, as the cache learns no more."""
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


def test_a_change_of_the_scene_is_followed():
    """Another scene in the same place is what is seen from then on: twice the light, twice the radiance."""
    renderer = fused()
    renderer.step(8)
    before = renderer.image().rgb.mean()
    renderer.update(niche(light=2.0))
    renderer.step(8)
    assert renderer.image().rgb.mean() == pytest.approx(2.0 * before, rel=0.2)


def test_begins_anew_where_the_scene_has_grown():
    """The cache knows nothing of the place, so that frames with the host come first, and then others are recorded."""
    renderer = fused()
    renderer.step(2)
    assert renderer.update(niche(size=4.0)) == "reset"
    renderer.step(2)
    assert renderer.samples == 2
    assert renderer.dropped == 0
    assert renderer.cache_report()["queries_per_path"] > 0.0


def test_a_file_is_gone_on_from_by_a_renderer_that_has_rendered_otherwise(tmp_path):
    """What its frames had counted and chosen is not that of the file: as if it had not been."""
    renderer = fused()
    renderer.step(8)
    renderer.save_checkpoint(tmp_path / "image.checkpoint")
    paths = renderer._frames.image.training_paths
    renderer.step(8)
    other = fused()
    other.step(3)
    other._frames._recorded_training._paths.fill_(999)
    other.load_checkpoint(tmp_path / "image.checkpoint")
    assert other._frames.image.training_paths == paths
    other.step(8)
    assert_same(other, renderer)


@pytest.mark.parametrize("name", ["gain", "scale"])
def test_a_brightness_that_another_renderer_has_found_is_seen(name):
    """Numbers of the cache that are in recorded frames: others are recorded."""
    renderer = fused()
    renderer.step(8)
    before = renderer._frames._recorded_rendering, renderer._frames._recorded_training
    setattr(renderer.cache, name, 4.0 * getattr(renderer.cache, name))
    renderer.step(8)
    after = renderer._frames._recorded_rendering, renderer._frames._recorded_training
    assert all(new is not old for new, old in zip(after, before, strict=True))


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"deterministic": True}, CacheError),
        ({"backend": "reference"}, CacheError),
        ({"precision": "float32"}, ConfigError),
        ({"config": SMALL | {"optimizer": {"otype": "SGD"}}}, CacheError),
    ],
)
def test_refuses_what_does_not_go_together(settings, error):
    """By the name that the user wrote."""
    with pytest.raises(error, match="fused:"):
        fused(**settings)


@pytest.mark.cuda
def test_a_gpu_renders_what_the_cpu_renders():
    """With graphs: the image of path tracing within what the small cache's bias and the noise allow."""
    if not wp.is_cuda_available():
        pytest.skip("no CUDA device")
    cache = RadianceCache(records=4096, train_frames=64, precision="float16", fused=True)
    renderer = Renderer(niche(), device="cuda:0", cache=cache, max_depth=-1, sampler="independent")
    renderer.step(256)
    assert renderer._frames._recorded_rendering.is_recorded
    assert renderer._frames._recorded_training.is_recorded
    assert renderer.dropped == 0
    assert renderer.cache.trainer.skipped_steps < 8
    expected = estimate(uncached(niche(), 1024))
    assert renderer.moments()[0].mean() == pytest.approx(expected.mean.mean(), rel=0.03)
