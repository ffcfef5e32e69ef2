"""Changes of a scene that pages make, and undoing them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nrc_tracer.live.edits import SceneEdit
from nrc_tracer.scene.model import SceneDescription

MOST_UNDO = 200
"""Largest number of changes that can be undone."""

SAME_CHANGE_SECONDS = 1.0
"""Time within which changes of the same thing are undone together [s]."""


class Editor:
    """Makes changes and undoes them.

    Args:
        description: The scene before all changes.
        make: Makes a change in the session's world.
        now: The clock [s].

    Attributes:
        description: The scene after all changes that were asked for. The world follows soon; if it refuses one, `follow` returns
            to the world's scene.
    """

    def __init__(
        self,
        description: SceneDescription,
        make: Callable[[SceneEdit], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.description, self._make, self._now = description, make, now
        self._undone_by: list[SceneEdit] = []
        self._last: tuple[Any, float] | None = None

    def change(self, edit: SceneEdit) -> None:
        """Make a change. Changes of the same thing in quick succession are undone together. Raises `NrcError`."""
        inverse, now = edit.inverse(self.description), self._now()
        description = edit.apply(self.description)
        self._make(edit)
        self.description = description
        is_same = self._last is not None and self._last[0] == edit.target and now - self._last[1] < SAME_CHANGE_SECONDS
        if not is_same:
            self._undone_by = [*self._undone_by[1 - MOST_UNDO :], inverse]
        self._last = (edit.target, now)

    def undo(self) -> bool:
        """Undo the last change; return whether there was one. Raises `NrcError`."""
        if not self._undone_by:
            return False
        edit, self._last = self._undone_by[-1], None
        description = edit.apply(self.description)
        self._make(edit)
        self._undone_by.pop()
        self.description = description
        return True

    def follow(self, description: SceneDescription) -> None:
        """Continue from the world's scene, after it has refused a change."""
        self.description, self._last = description, None
