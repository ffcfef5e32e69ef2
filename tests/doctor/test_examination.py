"""Checks in a process of their own: every fault is reported by name with advice, and the other checks still run."""

import time

import pytest

from nrc_tracer.doctor.check import ADVICE, Comparison, Finding, Status
from nrc_tracer.doctor.examination import Examination
from tests.doctor import faulty

EXPECTED = {
    "agree": (Status.PASSED, "", ""),
    "differ": (Status.DIFFERS, "large difference 2 (limit 1)", "advice of differ"),
    "not a number": (Status.DIFFERS, "difference nan (limit 1)", "advice of not_a_number"),
    "compare nothing": (Status.DIFFERS, "nothing was compared", "advice of compare_nothing"),
    "fail": (Status.RAISED, "ValueError: the kernel failed", ADVICE[Status.RAISED]),
    "exhaust memory": (Status.OUT_OF_MEMORY, "allocate", ADVICE[Status.OUT_OF_MEMORY]),
    "hang": (Status.TIMED_OUT, "no result after", ADVICE[Status.TIMED_OUT]),
    "crash": (Status.CRASHED, "error 700: an illegal memory access", ADVICE[Status.CRASHED]),
    "talk": (Status.PASSED, "", ""),
}


@pytest.fixture(scope="module")
def findings():
    """The findings of all faulty checks."""
    examination = Examination("cpu", limit=3.0, registry=f"{faulty.__name__}:CHECKS")
    checks = [check for check in examination.checks if check.name in EXPECTED]
    return list(examination.run(checks))


@pytest.mark.slow
def test_every_check_has_its_finding_in_order(findings):
    assert [finding.check for finding in findings] == list(EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_faults_are_named_with_advice(findings, name):
    status, detail, advice = EXPECTED[name]
    found = next(finding for finding in findings if finding.check == name)
    assert (found.status, found.advice) == (status, advice)
    assert detail in found.detail
    assert "\n" not in found.detail + found.advice
    assert found.failed == (status is not Status.PASSED)


@pytest.mark.slow
def test_a_hang_costs_its_limit_alone(findings):
    found = next(finding for finding in findings if finding.check == "hang")
    assert 3.0 <= found.seconds < 60.0


def test_json_keeps_what_was_compared():
    row = Finding("", "", Status.DIFFERS, comparisons=(Comparison("difference", float("nan"), 1.0),)).as_json()
    assert row["comparisons"] == [{"what": "difference", "error": "nan", "limit": 1.0, "agrees": False}]


def test_the_worst_comparison_is_relative_to_its_limit():
    """One without a number is worse than all others, and any error is where none is allowed."""

    def worst(*comparisons):
        found = Finding("", "", Status.PASSED, comparisons=tuple(Comparison(*row) for row in comparisons)).worst
        return None if found is None else found.what

    assert worst(("a", 1.0, 10.0), ("b", 0.2, 1.0)) == "b"
    assert worst(("a", 0.0, 0.0), ("b", 0.2, 1.0)) == "b"
    assert worst(("a", 1.0, 0.0), ("b", 0.9, 1.0)) == "a"
    assert worst(("a", 0.9, 1.0), ("b", float("nan"), 1.0)) == "b"
    assert worst() is None


@pytest.mark.slow
def test_an_error_on_a_gpu_does_not_fail_the_checks_after_it():
    """It stays in its process; the others run in a new one."""
    examination = Examination("cuda:0", registry=f"{faulty.__name__}:CHECKS")
    checks = [check for check in examination.checks if check.name in ("poison", "agree unless poisoned")]
    assert [finding.status for finding in examination.run(checks)] == [Status.RAISED, Status.PASSED]


@pytest.mark.slow
def test_closing_ends_the_process():
    """As Ctrl-C does: nothing is left running, and a hanging check is not waited for."""
    examination = Examination("cpu", registry=f"{faulty.__name__}:CHECKS")
    checks = [check for check in examination.checks if check.name in ("agree", "hang")]
    running = examination.run(checks)
    assert next(running).status is Status.PASSED
    start = time.perf_counter()
    running.close()
    assert time.perf_counter() - start < 30.0
