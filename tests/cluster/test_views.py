"""Views of a data set on nodes inside the test: the pixels of one machine, whatever happens to the nodes."""

import dataclasses
import pickle

import numpy as np
import pytest

from nrc_tracer.cluster.node import Versions
from nrc_tracer.cluster.views import ViewNode, ViewsJob, dispatch_views, views_fingerprint
from nrc_tracer.errors import ClusterError
from nrc_tracer.scene.cameras import choose_camera
from nrc_tracer.tasks.nerf.scene_camera import photograph_camera
from nrc_tracer.tasks.nerf.synthetic import ImageSettings, View
from nrc_tracer.tracer import Renderer, run
from nrc_tracer.tracer.vocabulary import Accel
from tests.cluster.fake_nodes import FakeNodes
from tests.tracer.test_determinism import room

WIDTH, HEIGHT, COUNT = 12, 10, 6


def job(**settings):
    """Views that differ in their seeds."""
    scene = room()
    camera = photograph_camera(choose_camera(scene.description), WIDTH, HEIGHT)
    views = tuple(View("train", number, camera, 7 + number) for number in range(COUNT))
    return ViewsJob(scene, WIDTH, HEIGHT, ImageSettings(spp=3, **settings), views)


def renderer_of(work):
    return Renderer(work.scene, width=WIDTH, height=HEIGHT, device="cpu")


def loaded(work, *, fingerprint=None):
    """A node that has the job, which came to it through pickling."""
    node = ViewNode(Versions.here())
    accel = renderer_of(work).accel.value
    node.load(pickle.loads(pickle.dumps(work)), "cpu", accel, 1, fingerprint, False)
    return node


class FakeViewNodes(FakeNodes):
    """Nodes that render views. They share one `ViewNode`."""

    def __init__(self, work, names, **chances):
        super().__init__(renderer_of(work), names, **chances)
        self._node = loaded(work)

    def work(self, unit):
        return self._node.work(unit)


def dispatched(work, names, *, stop=lambda found: False, **chances):
    """Render views on fake nodes; return their pixels by number, and whether all were rendered."""
    found = {}

    def take(view, pixels):
        assert view.number not in found
        found[view.number] = pixels

    nodes = FakeViewNodes(work, names, **chances)
    finished = dispatch_views(
        work.views, nodes, take=take, progress=lambda nodes: None, stop=lambda: stop(found), say=pytest.fail
    )
    return found, finished


@pytest.mark.parametrize("transparent", [False, True])
def test_the_pixels_are_those_of_one_machine(transparent):
    """Five nodes that die, fail and deliver twice; each view is taken once."""
    work = job(transparent=transparent)
    found, finished = dispatched(work, "abcde", dies=0.15, fails=0.1, twice=0.4, seed=2)
    assert finished
    assert sorted(found) == list(range(COUNT))
    here = work.renderer(device="cpu", accel=Accel(renderer_of(work).accel), threads=2)
    for view in work.views:
        expected = here.render(view, lambda renderer, spp: run(renderer, spp=spp))
        np.testing.assert_array_equal(found[view.number], expected)
    assert not np.array_equal(found[0], found[1])


def test_it_stops_and_continues_with_the_missing_views():
    """What `dataset` does when it is interrupted and started again."""
    work = job()
    some, finished = dispatched(work, "ab", stop=lambda found: len(found) >= 2)
    assert not finished
    assert 2 <= len(some) < COUNT
    rest = tuple(view for view in work.views if view.number not in some)
    others, finished = dispatched(dataclasses.replace(work, views=rest), "c")
    assert finished
    whole, _ = dispatched(work, "d")
    assert {**some, **others}.keys() == whole.keys()
    for number, pixels in {**some, **others}.items():
        np.testing.assert_array_equal(pixels, whole[number])


def test_a_view_that_always_fails_is_named():
    with pytest.raises(ClusterError, match=r"^view \d of the split train failed 3 times \(on .+\): bad luck$"):
        dispatched(job(), "abcd", fails=1.0)


def test_a_node_with_another_fingerprint_is_refused():
    work = job()
    fingerprint = views_fingerprint(renderer_of(work), work.settings)
    loaded(work, fingerprint=fingerprint)
    with pytest.raises(ClusterError, match=r"^samples have other bits there: warp: \S+ there, 0\.1 here; --mixed"):
        loaded(work, fingerprint={**fingerprint, "warp": "0.1"})
