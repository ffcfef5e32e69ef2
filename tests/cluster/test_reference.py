"""References of comparisons on nodes inside the test: the images of one machine, and numbers of samples that are whole blocks."""

import numpy as np
import pytest

from nrc_tracer.cluster.reference import ReferenceCluster, render_seed
from nrc_tracer.cluster.settings import Cluster
from nrc_tracer.report.references import find_reference
from nrc_tracer.tracer import Renderer
from tests.cluster.fake_nodes import FakeNodes
from tests.tracer.test_determinism import accumulated, room
from tests.tracer.tiny_scenes import rendered


class Advancing:
    """Does what `ReferenceCluster.advance` does, on fake nodes that share a scene."""

    def __init__(self, names, **chances):
        self.nodes = FakeNodes(Renderer(room(), device="cpu"), names, **chances)
        self.joined, self.asked = (), []

    def __call__(self, renderer, samples, show):
        self.asked.append(samples)
        self.joined, finished = render_seed(
            renderer, self.nodes, samples, joined=self.joined, stop=lambda: False, show=show, say=pytest.fail
        )
        assert finished


def test_images_with_several_seeds_are_those_of_one_machine():
    """Two seeds in turn, on nodes that die and deliver twice: results of one image never get into the other."""
    advance = Advancing("abc", dies=0.05, twice=0.5, slow=("c",), seed=4)
    halves = [Renderer(room(), device="cpu", seed=seed) for seed in (3, 4)]
    for samples in (64, 192):
        for half in halves:
            advance(half, samples, lambda: None)
    for half, seed in zip(halves, (3, 4), strict=True):
        np.testing.assert_array_equal(accumulated(half), accumulated(rendered(room(), 192, seed=seed)))


def test_a_reference_has_whole_blocks(tmp_path):
    advance, lines = Advancing("ab"), []
    made = find_reference(
        tmp_path / "a.npz",
        lambda seed: Renderer(room(), device="cpu", seed=seed),
        error=0.015,
        say=lines.append,
        advance=advance,
        multiple=64,
    )
    assert made.error <= 0.015
    assert made.samples[0] == made.samples[1] == advance.asked[-1]
    assert len(set(advance.asked)) > 1
    assert all(samples % 64 == 0 for samples in advance.asked)
    assert any("in half 2 of 2" in line for line in lines)


def test_a_stored_reference_needs_no_cluster(tmp_path):
    """Neither Ray nor a head is looked for when no sample is missing."""

    def make(seed):
        return Renderer(room(), device="cpu", seed=seed)

    find_reference(tmp_path / "a.npz", make, error=0.5)
    with ReferenceCluster(Cluster("192.0.2.1:6379"), pytest.fail) as nodes:
        found = find_reference(tmp_path / "a.npz", make, error=0.5, advance=nodes.advance, multiple=64)
    assert found.reused
    assert nodes.nodes == ()
