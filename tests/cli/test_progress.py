"""The progress bar on a terminal, and messages printed while it is shown."""

import io
import sys
import time as clock

import pytest

from nrc_tracer.cli import fit_bar
from nrc_tracer.cli.fit_bar import EvaluationBar, FitBar
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


def test_lines_come_on_time_however_long_scores_take(monkeypatch, capsys):
    """Without a terminal, slow scores are taken less often, and the lines show the last ones."""
    monkeypatch.setattr(fit_bar, "LINE_EVERY", 0.05)
    monkeypatch.setattr(fit_bar, "SCORE_EVERY", 0.01)

    class Slow(Wave):
        def score(self):
            clock.sleep(0.2)
            return super().score()

    begun = clock.perf_counter()
    with FitBar(steps=None, seconds=None, quiet=False) as line:

        def watch(progress):
            clock.sleep(0.01)
            line(progress)
            return clock.perf_counter() - begun > 1.2

        training.train(Slow(), steps=10**6, watch=watch)
    lines = capsys.readouterr().err.splitlines()
    # After one score the next is due 4 s later: lines that waited for it would be one
    assert len(lines) >= 4
    assert all("error" in line for line in lines)


def test_a_long_evaluation_is_announced_with_an_estimate(monkeypatch, capsys):
    monkeypatch.setattr(fit_bar, "LINE_EVERY", 0.0)
    monkeypatch.setattr(fit_bar, "ANNOUNCED", 0.0)
    with EvaluationBar("Ctrl-C ends it", quiet=False) as bar:
        for fraction in (0.0, 0.25, 0.5, 1.0):
            clock.sleep(0.02)
            bar(fraction)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("evaluating takes about ")
    assert lines[0].endswith("s; Ctrl-C ends it")
    assert [line.split(",")[0] for line in lines[1:]] == ["evaluating: 25%", "evaluating: 50%"]
    with EvaluationBar("", quiet=True) as bar:
        bar(0.5)
    assert capsys.readouterr().err == ""
