"""Loading Embree, and the message when it is not available."""

import gc
import mmap
from pathlib import Path

import numpy as np
import pytest

from nrc_tracer.errors import DeviceError
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.accel import embree
from nrc_tracer.tracer.accel.embree import EmbreeScene
from nrc_tracer.tracer.vocabulary import Accel
from tests.tracer.tiny_scenes import ACCELS, needs_embree, scene, triangles

TRIANGLE = triangles([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])


@needs_embree
def test_version_four_is_loaded_once():
    """`load` returns the same library each time, with the addresses of both functions."""
    library = embree.load()
    assert library is embree.load()
    assert library.intersect
    assert library.occluded
    assert library.intersect != library.occluded


def resident() -> int:
    """Memory of this process, in bytes."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")
    return int(statm.read_text().split()[1]) * mmap.PAGESIZE


@needs_embree
def test_scenes_free_their_memory():
    """Building and discarding a large scene twelve times does not keep the memory of twelve scenes."""
    rng = np.random.default_rng(0)
    positions = rng.random((60_000, 3)).astype(np.float32)
    indices = np.arange(60_000, dtype=np.int32).reshape(-1, 3)

    def build(count: int) -> None:
        for _ in range(count):
            EmbreeScene(positions, indices)
            gc.collect()

    gc.freeze()  # garbage collection need not visit the objects of all other tests
    try:
        build(3)
        before = resident()
        build(12)
    finally:
        gc.unfreeze()
    # A scene has at least 60,000 vertices of 12 bytes and as many indices of 4, so twelve leaked scenes exceed 11 MB
    assert resident() - before < 6e6


def test_missing_embree_falls_back_with_a_notice(monkeypatch):
    """Without embreex the renderer uses Warp's BVH and says so; it is an error if Embree was requested by name."""

    def missing() -> None:
        raise DeviceError("the package embreex is not installed")

    monkeypatch.setattr(embree, "load", missing)
    renderer = Renderer(scene(TRIANGLE), device="cpu")
    assert renderer.accel == Accel.WARP
    assert "embreex is not installed" in renderer.notice
    with pytest.raises(DeviceError, match="not installed"):
        Renderer(scene(TRIANGLE), device="cpu", accel="embree")


@ACCELS
def test_the_requested_acceleration_structure_is_used(accel):
    """`embree` and `warp` are used as requested, without a notice."""
    renderer = Renderer(scene(TRIANGLE), device="cpu", accel=accel)
    assert renderer.accel == accel
    assert renderer.notice is None


def test_unknown_accels_are_refused():
    """For an unknown acceleration structure, the error names the most similar one."""
    with pytest.raises(DeviceError, match="embree"):
        Renderer(scene(TRIANGLE), device="cpu", accel="embre")
