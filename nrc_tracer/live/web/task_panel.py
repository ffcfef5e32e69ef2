"""The tab of a task or of a fitted model: its training, and what only some kinds of models have. All pages share it."""

from __future__ import annotations

import html
import threading
import time
from typing import Any

import numpy as np
import viser
from viser import uplot

from nrc_tracer.errors import NrcError
from nrc_tracer.live.history import Curve
from nrc_tracer.live.session import Session
from nrc_tracer.live.task_edits import Pause
from nrc_tracer.live.task_world import TaskWorld
from nrc_tracer.live.world import Edit

NEWS_SECONDS = 1.0
"""Shortest time between two updates of the numbers and plots of a training [s]."""

COLORS = "#4dabf7", "#ffa94d"
"""Colours of the curves of the score and of the loss."""


class TaskPanel:
    """The tab of a task's training. Kinds of models add their own controls in `add_more`.

    Args:
        world: The world.
    """

    title = "Model"

    def __init__(self, world: TaskWorld) -> None:
        self.world = world
        self._told = 0.0
        self._lock = threading.Lock()

    def add(self, server: viser.ViserServer, group: viser.GuiTabGroupHandle, session: Session) -> None:
        """Add the tab to the panel of all pages."""
        self.server, self.gui, self.session = server, server.gui, session
        if self.world.training is not None:
            with group.add_tab("Training", viser.Icon.CHART_LINE):
                self._add_training()
        self.add_more(group)

    def add_more(self, group: viser.GuiTabGroupHandle) -> None:
        """Add what only this kind of model has."""

    def change(self, edit: Edit) -> None:
        """Change the world."""
        try:
            self.session.edit(edit)
        except NrcError as error:
            for client in self.server.get_clients().values():
                client.add_notification("Error", str(error), color="red", auto_close_seconds=15.0)

    def _add_training(self) -> None:
        gui, world = self.gui, self.world
        self._numbers = gui.add_html(self._numbers_html())
        pause = gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE)
        self._score = _Plot(gui, f"{world.score_name} ({world.score_unit})", COLORS[0])
        self._loss = _Plot(gui, "log₁₀ of the loss", COLORS[1])
        world.heard = self._hear

        @pause.on_click
        async def _(_: Any) -> None:
            paused = not world.is_paused
            pause.label, pause.icon = (
                ("Continue", viser.Icon.PLAYER_PLAY) if paused else ("Pause", viser.Icon.PLAYER_PAUSE)
            )
            self.change(Pause(paused))

    def _hear(self) -> None:
        """Show news of the training; the session's thread calls this after each piece of it."""
        world, now = self.world, time.monotonic()
        if now - self._told < NEWS_SECONDS and world.is_training:
            return
        self._told = now
        self._numbers.content = self._numbers_html()
        self._score.show(world.score)
        loss = Curve()
        loss.seconds = world.loss.seconds
        loss.values = np.log10(np.maximum(world.loss.values, 1e-12)).tolist()
        self._loss.show(loss)

    def _numbers_html(self) -> str:
        training, world = self.world.training, self.world
        assert training is not None
        progress = training.progress
        state = "paused" if world.is_paused else "training" if world.is_training else "complete"
        score = "not known yet" if world.score.last is None else f"{world.score.last:.2f} {world.score_unit}"
        rows = [
            ("state", f"{state}, {progress.fraction:.0%}"),
            ("steps", f"{progress.task.number:,}"),
            ("time of training", f"{progress.seconds:.1f} s"),
            ("speed", f"{progress.steps / max(progress.seconds, 1e-9):.1f} steps/s"),
            ("loss", "not known yet" if not progress.steps else f"{progress.loss:.3g}"),
            (world.score_name, score),
        ]
        cells = "".join(
            f'<tr><td style="opacity:.65;padding:0 .8em 0 0">{html.escape(name)}</td>'
            f'<td style="text-align:right;font-variant-numeric:tabular-nums">{html.escape(value)}</td></tr>'
            for name, value in rows
        )
        return (
            '<div style="padding:.2em .9em .5em"><table class="nrc-training" '
            f'style="width:100%;font-size:.8em;border-spacing:0">{cells}</table></div>'
        )


class _Plot:
    """A curve over the time of training, which appears with its second point."""

    def __init__(self, gui: viser.GuiApi, title: str, color: str) -> None:
        data = (np.zeros(2), np.zeros(2))
        self._shown = 0
        self._handle = gui.add_uplot(
            data,
            (uplot.Series(label="s"), uplot.Series(label=title, stroke=color, width=2)),
            scales={"x": uplot.Scale(time=False)},
            title=f"{title} over seconds of training",
            aspect=2.0,
            visible=False,
        )

    def show(self, curve: Curve) -> None:
        if len(curve.seconds) < 2:
            return
        self._handle.data = (np.array(curve.seconds), np.array(curve.values))
        if not self._handle.visible:
            self._handle.visible = True
