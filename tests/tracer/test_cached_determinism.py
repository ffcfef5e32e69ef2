"""Renders with a cache are the same bit for bit, however the work is divided, and after continuing from a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

from nrc_tracer.cache import RadianceCache
from nrc_tracer.errors import CheckpointError
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.checkpoint import Identity
from tests.tracer.cached_renders import warm_up
from tests.tracer.checkpoint_contents import assert_same
from tests.tracer.test_determinism import room

MODES = pytest.mark.parametrize("mode", ["on", "unbiased", "view"])
SAMPLES = 6
SIZE = {"width": 60, "height": 48}


def small_cache(**settings) -> RadianceCache:
    """A cache that trains in every second frame, also on its own predictions: there are eight pixels per record."""
    return RadianceCache(**{"records": 360, "train_frames": 4, "train_every": 2, **settings})


def begun(mode: str, cache: RadianceCache | None = None, **options) -> Renderer:
    """A renderer after its warm-up. In mode `unbiased` half of the paths continue beyond the cache."""
    options = {**SIZE, **options}
    renderer = Renderer(room(), device="cpu", cache=cache or small_cache(), cache_mode=mode, **options)
    warm_up(renderer, 0.5)
    return renderer


def rendered(mode: str, *splits: int, **options) -> Renderer:
    """A renderer that has taken samples in these steps."""
    renderer = begun(mode, **options)
    for samples in splits:
        renderer.step(samples)
    return renderer


@MODES
def test_threads_blocks_and_steps_change_no_bit(mode):
    """Film and cache are equal for one to three threads, other block sizes, and six samples at once, as 3 + 3 or one by one."""
    reference = rendered(mode, SAMPLES, threads=1)
    assert reference.dropped == 0
    assert reference.cache_report()["queries_per_path"] > 0.1
    assert reference.cache.trainer.steps == 4 * 8 + SAMPLES // 2 * 8
    for split, options in (
        ((3, 3), {"threads": 2, "block_size": 10_000}),
        ((1,) * SAMPLES, {"threads": 3, "block_size": 37}),
    ):
        assert_same(rendered(mode, *split, **options), reference, f"{split} {options}")


def test_an_image_of_more_pixels_than_a_block_of_the_network():
    """The network distributes its own blocks over threads, too; 20,000 pixels are more than one of its blocks."""
    options = {"width": 160, "height": 128}
    one, two = (
        rendered("view", 2, threads=threads, cache=small_cache(records=2560, train_every=1), **options)
        for threads in (1, 2)
    )
    assert one.cache.trainer.steps == (4 + 2) * 8
    assert_same(one, two)


@MODES
def test_the_seed_changes_the_image(mode):
    a, b = (rendered(mode, 2, seed=seed).image().rgb for seed in (0, 1))
    assert np.mean(a != b) > 0.5


def test_modes_differ():
    """The modes share the warm-up and give three different images."""
    images = [rendered(mode, 2).image().rgb for mode in ("on", "unbiased", "view")]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.mean(images[i] != images[j]) > 0.05


@MODES
@pytest.mark.parametrize("samples", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_resumed_render_has_the_same_bits(mode, samples, tmp_path):
    """Saving, and continuing in a renderer with an untrained cache, other blocks and other threads, changes no bit."""
    whole = rendered(mode, SAMPLES, threads=1)
    rendered(mode, samples).save_checkpoint(tmp_path / "a")
    renderer = Renderer(room(), device="cpu", cache=small_cache(), cache_mode=mode, threads=2, block_size=7, **SIZE)
    renderer.load_checkpoint(tmp_path / "a")
    assert renderer.samples == samples
    renderer.step(SAMPLES - samples)
    assert_same(renderer, whole)
    assert renderer.cache_report()["warm_up_frames"] == 4


def test_loading_a_checkpoint_replaces_what_the_cache_has_learnt(tmp_path):
    """The loaded checkpoint replaces everything that the cache of the loading renderer has learnt."""
    whole = rendered("on", SAMPLES)
    rendered("on", 3).save_checkpoint(tmp_path / "a")
    renderer = rendered("on", 5)
    renderer.load_checkpoint(tmp_path / "a")
    renderer.step(SAMPLES - 3)
    assert_same(renderer, whole)


OTHERS = {
    "mode": ("unbiased", {}),
    "spread": ("on", {"spread": 0.02}),
    "records": ("on", {"records": 600}),
    "steps": ("on", {"steps": 3}),
    "train_every": ("on", {"train_every": 3}),
    "encoding": ("on", {"encoding": "triangle-wave"}),
    "unbiased": ("on", {"unbiased": 0.5}),
    "freeze": ("on", {"freeze": True}),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The checkpoint of a render in mode `on`."""
    return rendered("on", 1).save_checkpoint(tmp_path_factory.mktemp("cached") / "good")


def refusal(renderer: Renderer, path) -> str:
    """The one-line message of the error that loading raises."""
    with pytest.raises(CheckpointError) as caught:
        renderer.load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert renderer.samples == 0
    return str(caught.value)


@pytest.mark.parametrize("name", OTHERS)
def test_the_setting_that_differs_from_a_checkpoint_is_named(written, name):
    mode, settings = OTHERS[name]
    renderer = Renderer(room(), device="cpu", cache=small_cache(**settings), cache_mode=mode, **SIZE)
    message = refusal(renderer, written)
    assert "of another render" in message
    assert f"cache {name} is " in message
    assert message.count(" there and ") == 1


def test_renders_with_and_without_a_cache_share_no_checkpoint(written, tmp_path):
    """Neither kind of render accepts the other's checkpoint."""
    plain = Renderer(room(), device="cpu", **SIZE)
    assert "cache" in refusal(plain, written).split("of another render", 1)[1]
    plain.step(1)
    plain.save_checkpoint(tmp_path / "plain")
    renderer = Renderer(room(), device="cpu", cache=small_cache(), **SIZE)
    assert "cache" in refusal(renderer, tmp_path / "plain").split("of another render", 1)[1]


def test_the_form_of_the_network_is_only_named_if_nothing_else_differs():
    """Another encoding may require another form of the network; the form is named if nothing else of the cache differs."""
    here = Identity({"cache": {"encoding": "hash", "form": "fused"}}, {})
    other_form = Identity({"cache": {"encoding": "hash", "form": "blocked"}}, {})
    other_encoding = Identity({"cache": {"encoding": "triangle-wave", "form": "blocked"}}, {})
    assert here.differences(other_form) == ["cache form is blocked there and fused here"]
    assert here.differences(other_encoding) == ["cache encoding is triangle-wave there and hash here"]
