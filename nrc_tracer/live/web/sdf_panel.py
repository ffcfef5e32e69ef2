"""The tab of a fitted shape: the slice of its distance."""

from __future__ import annotations

from typing import Any

import viser

from nrc_tracer.live.task_edits import SetSlice
from nrc_tracer.live.web.task_panel import TaskPanel

AXES = ("x", "y", "z")


class SdfPanel(TaskPanel):
    """The tabs of a fitted shape."""

    def add_more(self, group: viser.GuiTabGroupHandle) -> None:
        """Add the controls of the slice."""
        with group.add_tab("Shape", viser.Icon.CUBE):
            self.gui.add_markdown("Choose *slice of the distance* under **Show** or **Beside** on the first tab.")
            axis = self.gui.add_dropdown("Slice across", AXES, initial_value="z")
            place = self.gui.add_slider("Place (%)", 0.0, 100.0, 1.0, 50.0, hint="Along this axis of the shape's box")

        for handle in (axis, place):

            @handle.on_update
            async def _(_: Any) -> None:
                number = AXES.index(axis.value) if axis.value in AXES else 2
                self.change(SetSlice(number, min(max(float(place.value) / 100.0, 0.0), 1.0)))
