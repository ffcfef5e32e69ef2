"""A study of fake renderers, rendered and measured once."""

import pytest

from nrc_tracer.report.measure import Look, measure
from nrc_tracer.report.references import Reference, find_reference
from nrc_tracer.report.settings import Budget
from nrc_tracer.report.study import shoot
from tests.report.stand_in import SETTINGS, StandIn, make_renderer, run

BUDGETS = (Budget("samples", 64.0), Budget("time", 4.0))


@pytest.fixture(scope="session")
def shots():
    return shoot(SETTINGS, BUDGETS, make_renderer, seeds=4, seed=7, run=run)


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Reference:
    path = tmp_path_factory.mktemp("references") / "truth.npz"
    return find_reference(path, lambda seed: StandIn("off", seed), error=0.01)


@pytest.fixture(scope="session")
def measured(shots, reference):
    return measure(shots, reference, Look())
