"""The progress bar on a terminal, and messages printed while it is shown."""

import io
import sys

import pytest

from nrc_tracer.cli.fit_bar import FitBar
from nrc_tracer.cli.progress import Bar
from nrc_tracer.tasks import training
from tests.tasks.toy import Wave


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch):
    """Replace stderr by a terminal. Tests must call this themselves, because pytest installs its own stderr before each test."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def test_a_bar_shows_its_fields_and_counts(monkeypatch):
    seen = terminal(monkeypatch)
    with Bar(
        "{task.completed:.0f}/{task.total:.0f} images", after=("{task.fields[word]}",), total=8, quiet=False, word=""
    ) as bar:
        assert bar.shown
        bar.show(3, word="clouds")
        bar.say("a line [beside] it")
    assert "3/8 images" in seen.getvalue()
    assert "clouds" in seen.getvalue()
    assert "a line [beside] it" in seen.getvalue()


@pytest.mark.parametrize("quiet", [True, False])
def test_no_bar_without_a_terminal(quiet, capsys):
    with Bar("{task.fields[word]}", quiet=quiet, word="hidden") as bar:
        assert not bar.shown
        bar.show(0.5, word="hidden too")
        bar.say("a line")
    assert capsys.readouterr().err == "a line\n"


def test_a_training_shows_step_loss_and_score(monkeypatch):
    seen = terminal(monkeypatch)
    with FitBar(steps=5, seconds=None, quiet=False) as line:
        training.train(Wave(), steps=5, watch=line)
    assert "step 5/5, loss " in seen.getvalue()
    assert "steps/s" in seen.getvalue()
