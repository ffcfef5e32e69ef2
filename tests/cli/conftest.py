"""A scene file, and a stand-in for the renderer."""

import json
import sys
import types

import pytest

from tests.cli.stand_in import SCENE, FakeRenderer, run


@pytest.fixture
def tracer(monkeypatch):
    """The module that stands in for `nrc_tracer.tracer`."""
    module = types.ModuleType("nrc_tracer.tracer")
    module.Renderer, module.run = type("Renderer", (FakeRenderer,), {}), run
    monkeypatch.setitem(sys.modules, "nrc_tracer.tracer", module)
    return module


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A scene file; the current folder is its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "box.json").write_text(json.dumps(SCENE))
    return tmp_path / "box.json"
