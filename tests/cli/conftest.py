"""A scene file, and a stand-in for the renderer."""

import json

import pytest

import nrc_tracer.tracer
from tests.cli.stand_in import SCENE, FakeRenderer, run


@pytest.fixture
def tracer(monkeypatch):
    """The package of the tracer, with a renderer that stands in for its own; a test may replace more of it."""
    monkeypatch.setattr(nrc_tracer.tracer, "Renderer", type("Renderer", (FakeRenderer,), {}))
    monkeypatch.setattr(nrc_tracer.tracer, "run", run)
    return nrc_tracer.tracer


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A scene file; the current folder is its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "box.json").write_text(json.dumps(SCENE))
    return tmp_path / "box.json"
