"""The simulation of a cluster agrees with cases whose result is known."""

import dataclasses

import pytest

from benchmarks.cluster import Model, simulate

IDEAL = Model(rate=1e6, spread=0.0, add=0.0, bandwidth=1e12, latency=0.0, mean_life=1e12, restart=1.0)


def test_nodes_without_loss_are_fully_used():
    """The efficiency is 1 for one node, and for four nodes that each get the same number of units."""
    for nodes in (1, 4):
        assert simulate(IDEAL, nodes, 1024, 1024, 1024)["efficiency"] == pytest.approx(1.0, abs=0.01)


def test_more_nodes_than_units_in_work_do_not_help():
    """With 2 blocks in work at most, an image of 8192 x 8192 has 2048 units in work, two for each node."""
    found = simulate(IDEAL, 4000, 8192, 8192, 256)
    assert 0.2 < found["efficiency"] < 0.55


def test_the_link_limits_the_speed():
    """A link that takes a hundred results a second, for nodes that make a thousand, is always busy."""
    size = 49 * 64 * 1024
    found = simulate(dataclasses.replace(IDEAL, rate=1e8, bandwidth=100 * size), 40, 1024, 1024, 2048)
    assert found["link"] > 0.95
    assert found["seconds"] == pytest.approx(16 * 32 / 100, rel=0.1)


def test_deaths_of_nodes_cost_only_the_units_in_work():
    """Nodes die after every few units: the render still ends, only later."""
    short = simulate(dataclasses.replace(IDEAL, mean_life=60.0, restart=5.0), 4, 1024, 1024, 2048)
    assert 0.6 < short["efficiency"] < 0.97
