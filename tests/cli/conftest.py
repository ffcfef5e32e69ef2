"""A scene file, and a package with a fake renderer."""

import json

import pytest

import nrc_tracer.tracer
from tests.cli.stand_in import SCENE, FakeRenderer, run


@pytest.fixture
def tracer(monkeypatch):
    """The tracer's package with a fake renderer; a test may replace further names in it."""
    monkeypatch.setattr(nrc_tracer.tracer, "Renderer", type("Renderer", (FakeRenderer,), {}))
    monkeypatch.setattr(nrc_tracer.tracer, "run", run)
    return nrc_tracer.tracer


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A scene file in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "box.json").write_text(json.dumps(SCENE))
    return tmp_path / "box.json"
