"""The driver on nodes inside the test: the image of one machine, bit for bit, whatever happens to the nodes."""

import numpy as np
import pytest

from nrc_tracer.cluster.dispatch import PATIENCE, Left, Refused
from nrc_tracer.cluster.driver import Driver
from nrc_tracer.errors import ClusterError
from nrc_tracer.tracer import Renderer
from tests.cluster.fake_nodes import Clock, FakeNodes
from tests.tracer.test_determinism import accumulated, room
from tests.tracer.tiny_scenes import rendered

SPP = 200


@pytest.fixture(scope="module")
def whole():
    """All that one machine accumulates."""
    return accumulated(rendered(room(), SPP))


def drive(names, *, renderer=None, end=SPP, stop=lambda: False, is_over=lambda: False, said=None, **chances):
    """Render the room on fake nodes; return the renderer, the nodes and whether the run was finished."""
    renderer = renderer or Renderer(room(), device="cpu")
    nodes = FakeNodes(renderer, names, **chances)
    said = [] if said is None else said
    driver = Driver(renderer, nodes, end=end, say=said.append, now=nodes.clock)
    finished = driver.run(is_over=is_over, stop=stop, progress=lambda progress: None)
    return renderer, nodes, finished


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_image_does_not_depend_on_the_number_of_nodes(whole, count):
    renderer, nodes, finished = drive([f"n{i}" for i in range(count)])
    assert finished
    assert {node for node, _ in nodes.given} == {f"n{i}" for i in range(count)}
    np.testing.assert_array_equal(accumulated(renderer), whole)


@pytest.mark.parametrize("seed", range(2))
def test_nodes_that_die_fail_and_deliver_twice(whole, seed):
    renderer, nodes, _ = drive("abc", seed=seed, dies=0.08, fails=0.04, twice=0.3)
    assert nodes.deaths > 0
    np.testing.assert_array_equal(accumulated(renderer), whole)


def test_a_node_that_joins_late_gets_work(whole):
    renderer, nodes, _ = drive("a", later={9: ["late"]})
    assert any(node == "late" for node, _ in nodes.given)
    np.testing.assert_array_equal(accumulated(renderer), whole)


def test_units_of_a_slow_node_are_given_to_others(whole):
    renderer, nodes, _ = drive(["a", "slow"], slow=("slow",), twice=0.2)
    mine = [unit for node, unit in nodes.given if node == "slow"]
    assert any(("a", unit) in nodes.given for unit in mine)
    np.testing.assert_array_equal(accumulated(renderer), whole)


def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(whole, tmp_path):
    """On other nodes, or on one machine."""
    renderer = Renderer(room(), device="cpu")
    stopped, _, finished = drive("ab", renderer=renderer, stop=lambda: renderer.samples >= 128)
    assert (stopped.samples, finished) == (128, False)
    stopped.save_checkpoint(tmp_path / "a")
    for go_on in (lambda renderer: drive("xyz", renderer=renderer), lambda renderer: renderer.step(SPP - 128)):
        resumed = Renderer(room(), device="cpu")
        resumed.load_checkpoint(tmp_path / "a")
        go_on(resumed)
        np.testing.assert_array_equal(accumulated(resumed), whole)


def test_it_ends_when_it_is_over():
    renderer = Renderer(room(), device="cpu")
    drive("ab", renderer=renderer, end=None, is_over=lambda: renderer.samples >= 128)
    assert renderer.samples == 128
    np.testing.assert_array_equal(accumulated(renderer), accumulated(rendered(room(), 128)))


def test_a_unit_that_always_fails_is_one_clear_error():
    with pytest.raises(ClusterError, match=r"failed 3 times \(on .+\): bad luck"):
        drive("abcd", fails=1.0)


def test_without_a_node_it_says_so_after_a_while():
    clock = Clock()
    with pytest.raises(ClusterError, match="no node that can render: none joined within 60 seconds"):
        drive("", clock=clock)
    assert clock.time > PATIENCE


def test_it_waits_longer_for_nodes_that_are_being_started(whole, monkeypatch):
    """Loading a large scene may take minutes."""
    monkeypatch.setattr(FakeNodes, "expects_more", True)
    renderer, _, _ = drive("", later={800: ["a"]})
    np.testing.assert_array_equal(accumulated(renderer), whole)
    with pytest.raises(ClusterError, match="none joined within 900 seconds"):
        drive("")


def test_when_all_nodes_have_died_it_waits_for_others(whole, monkeypatch):
    """A death is not a refusal: the next node may join within a minute."""
    given = FakeNodes.events

    def events(self, timeout):
        died = [Left("a", "it died")] if self.count == 5 else []
        return [*died, *given(self, timeout)]

    monkeypatch.setattr(FakeNodes, "events", events)
    renderer, nodes, _ = drive("a", later={40: ["b"]})
    assert any(node == "b" for node, _ in nodes.given)
    np.testing.assert_array_equal(accumulated(renderer), whole)


def test_a_refused_node_is_named_and_the_others_go_on(whole, monkeypatch):
    """Alone, its reason is the error."""
    given = FakeNodes.events

    def events(self, timeout):
        refused = [Refused("old", "it has another version"), Left("gone", "it died")] if self.count == 0 else []
        return [*refused, *given(self, timeout)]

    monkeypatch.setattr(FakeNodes, "events", events)
    said = []
    renderer, _, _ = drive("a", said=said)
    assert said == ["node old takes no part: it has another version"]
    np.testing.assert_array_equal(accumulated(renderer), whole)
    with pytest.raises(ClusterError, match="no node that can render: old: it has another version"):
        drive("")
