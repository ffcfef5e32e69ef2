"""The ledger, with a clock of the test's own: what is given to whom, and what happens when nodes fail, leave or are slow."""

import random

import pytest

from nrc_tracer.cluster.ledger import TRIES, WINDOW, Ledger, Unit
from nrc_tracer.errors import ClusterError


def ledger(*nodes, strips=3, first=0, end=200):
    made = Ledger(strips, first=first, end=end)
    for node in nodes:
        made.join(node)
    return made


def drain(units, node, now=0.0):
    """All that a node gets before the ledger has nothing for it."""
    found = []
    while (unit := units.give(node, now)) is not None:
        found.append(unit)
    return found


def test_units_come_in_the_order_of_blocks_within_the_window():
    units = ledger("a")
    given = drain(units, "a")
    assert given == [Unit(first, strip, 64) for first in (0, 64) for strip in range(3)]
    assert len(given) == 3 * WINDOW == units.load("a")
    assert units.finish("a", given[1], 1.0)
    assert units.give("a", 1.0) is None  # the first block is not done
    for unit in (given[0], given[2]):
        units.finish("a", unit, 1.0)
    assert units.frontier == 64
    assert drain(units, "a") == [Unit(128, strip, 64) for strip in range(3)]


def test_the_last_block_may_be_short():
    units, seen = ledger("a", strips=1), []
    while not units.is_finished:
        unit = units.give("a", 0.0)
        seen.append((unit.first, unit.samples))
        units.finish("a", unit, 1.0)
    assert seen == [(0, 64), (64, 64), (128, 64), (192, 8)]
    assert (units.done, units.give("a", 2.0)) == (4, None)


def test_it_begins_where_a_checkpoint_ended():
    assert ledger("a", first=128).give("a", 0.0) == Unit(128, 0, 64)


def test_without_an_end_it_goes_on():
    units = ledger("a", strips=1, end=None)
    for block in range(50):
        units.finish("a", units.give("a", 0.0), 1.0)
        assert (units.frontier, units.is_finished) == (64 * (block + 1), False)


def test_strangers_get_nothing():
    assert ledger("a").give("b", 0.0) is None


def test_what_was_out_on_a_node_that_leaves_is_given_first():
    units = ledger("a", "b")
    lost = [units.give("a", 0.0), units.give("a", 0.0)]
    mine = units.give("b", 0.0)
    units.leave("a", "it died")
    assert units.give("a", 1.0) is None
    assert drain(units, "b")[:2] == lost
    assert units.load("b") == 6
    assert mine not in lost


def test_a_unit_that_comes_twice_is_dropped():
    units = ledger("a", "b")
    unit = units.give("a", 0.0)
    units.leave("a", "it seemed dead")
    again = units.give("b", 1.0)
    assert again == unit
    assert units.finish("a", unit, 2.0)
    assert not units.finish("b", unit, 3.0)
    assert units.done == 1


def test_a_late_result_takes_a_unit_from_those_to_be_given_again():
    units = ledger("a", "b")
    unit = units.give("a", 0.0)
    units.leave("a", "it seemed dead")
    assert units.finish("a", unit, 1.0)
    assert unit not in drain(units, "b")


def test_a_failed_unit_goes_to_another_node():
    units = ledger("a", "b")
    unit = units.give("a", 0.0)
    assert units.fail("a", unit, "bad") is False
    assert unit not in drain(units, "a")
    assert units.give("b", 1.0) == unit


def test_the_only_node_tries_again():
    units = ledger("a")
    unit = units.give("a", 0.0)
    units.fail("a", unit, "bad")
    assert units.give("a", 1.0) == unit


def test_three_failures_of_a_unit_are_one_clear_error():
    units = ledger("a", "b", "c")
    for node in "ab":
        unit = units.give(node, 0.0)
        units.fail(node, unit, "bad luck")
    assert units.give("c", 0.0) == unit
    with pytest.raises(ClusterError, match=r"samples 0:64 of strip 0 failed 3 times \(on a, b, c\): bad luck"):
        units.fail("c", unit, "bad luck")


def test_only_the_unit_in_work_can_be_the_cause_of_a_death():
    """A node that dies with two units blames the first; the second has not failed however often that happens."""
    units = ledger()
    for number in range(TRIES - 1):
        units.join(f"n{number}")
        first, second = units.give(f"n{number}", 0.0), units.give(f"n{number}", 1.0)
        units.leave(f"n{number}", "it died")
    units.join("n9")
    assert (units.give("n9", 3.0), units.give("n9", 3.0)) == (first, second)
    units.finish("n9", first, 4.0)
    units.leave("n9", "it died")  # no error: this is the first failure of the second unit
    units.join("n10")
    assert units.give("n10", 5.0) == second


def test_a_node_that_fails_again_and_again_gets_no_more():
    units = ledger("a", "b", strips=8)
    for _ in range(TRIES - 1):
        assert units.fail("a", units.give("a", 0.0), "bad") is False
    assert units.fail("a", units.give("a", 0.0), "bad") is True
    assert units.nodes == ("b",)


def test_a_success_clears_the_failures():
    units = ledger("a", "b", strips=8)
    for _ in range(2 * TRIES):
        units.finish("a", units.give("a", 0.0), 1.0)
        if units.fail("a", units.give("a", 0.0), "bad"):
            pytest.fail("a node that also succeeds is kept")
        units.finish("b", units.give("b", 0.0), 1.0)


def test_a_slow_unit_is_given_again_once_to_an_idle_node():
    units = ledger("a", "b", "c", strips=2, end=64)
    slow, quick = units.give("a", 0.0), units.give("b", 0.0)
    assert units.give("b", 1.0) is None  # nothing is known to be usual yet
    units.finish("b", quick, 2.0)
    assert units.give("b", 3.9) is None  # less than twice the usual time
    assert units.give("a", 4.1) is None  # it has it already
    assert units.give("b", 4.1) == slow
    assert units.give("c", 9.0) is None  # two have it
    assert units.finish("b", slow, 10.0)
    assert not units.finish("a", slow, 11.0)
    assert units.is_finished


def test_a_node_that_hangs_does_not_collect_units():
    """A unit that another node has delivered instead still counts as a node's load until it answers."""
    units = ledger("hangs", "b", strips=2, end=640)
    for now in range(0, 400, 10):
        for node in ("hangs", "b"):
            unit = units.give(node, now) if units.load(node) < 2 else None
            if node == "b" and unit is not None:
                units.finish("b", unit, now + 1.0)
    assert units.load("hangs") == 2
    assert units.is_finished


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_every_unit_is_done_once(seed):
    """Nodes that join, leave, fail, are slow and deliver twice, at random; no more than the window is open at any time."""
    chance = random.Random(seed)
    units, done, out, now, names = ledger(strips=4, end=400), [], [], 0.0, iter(range(10**6))
    while not units.is_finished:
        now += chance.random()
        if len(units.nodes) < 2 or chance.random() < 0.05:
            units.join(f"n{next(names)}")
        for node in units.nodes:
            unit = units.give(node, now) if units.load(node) < 2 else None
            if unit is not None:
                out.append((node, unit))
        assert len({unit.first for _, unit in out if unit.first >= units.frontier}) <= WINDOW
        event = chance.random()
        if event < 0.03 and len(units.nodes) > 1:
            # A node dies; the result of its first unit has arrived
            node = chance.choice(units.nodes)
            started = [unit for name, unit in out if name == node]
            for unit in started[:1]:  # delivered before the death, so that it does not fail
                if units.finish(node, unit, now):
                    done.append(unit)
                out.remove((node, unit))
            units.leave(node, "it died")
        elif out:
            node, unit = out.pop(chance.randrange(len(out)))
            deliveries = chance.choice((1, 1, 2))
            done += [unit for _ in range(deliveries) if units.finish(node, unit, now)]
    assert sorted(done) == [
        Unit(first, strip, min(64, 400 - first)) for first in range(0, 400, 64) for strip in range(4)
    ]
    assert units.out == 0
