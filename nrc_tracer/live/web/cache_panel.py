"""The tab of the radiance cache: its encoding, where paths end, whether it learns. All pages share it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import viser

from nrc_tracer.live.edits import SetCache
from nrc_tracer.live.scene_world import SceneWorld
from nrc_tracer.live.session import Session
from nrc_tracer.live.web.controls import set_value
from nrc_tracer.live.world import World

if TYPE_CHECKING:
    from nrc_tracer.cache.options import CacheOptions

ENCODING_LABELS = {"hash": "hash grid", "triangle-wave": "triangle waves"}
"""Encodings of positions, by what the page calls them."""

LEAST_SPREAD, LARGEST_SPREAD = -4.0, 0.0
"""Range of the spread, as powers of ten."""


class CachePanel:
    """The tab of the cache.

    Args:
        options: The options that the cache has.
    """

    def __init__(self, options: CacheOptions) -> None:
        self._start = self._present = SetCache(options.encoding, options.spread, options.freeze)

    def add(self, server: viser.ViserServer, group: viser.GuiTabGroupHandle, session: Session) -> None:
        """Add the tab to the panel of all pages."""
        gui = server.gui
        first = _power(self._start.spread)
        with group.add_tab("Cache", viser.Icon.BRAIN):
            frozen = gui.add_checkbox("Freeze", self._start.is_frozen, hint="The cache learns no more")
            encoding = gui.add_dropdown(
                "Encoding",
                tuple(ENCODING_LABELS.values()),
                initial_value=ENCODING_LABELS[self._start.encoding],
                hint="Another one begins with a new cache",
            )
            spread = gui.add_slider(
                "Spread (power of 10)",
                LEAST_SPREAD,
                LARGEST_SPREAD,
                0.1,
                first,
                hint="A path ends where its footprint is this many times that of its first vertex",
            )
            anew = gui.add_button("Learn from scratch", icon=viser.Icon.REFRESH, hint="Forgets all that it has learnt")

        def change(generation: int) -> None:
            names = {label: name for name, label in ENCODING_LABELS.items()}
            power = min(max(float(spread.value), LEAST_SPREAD), LARGEST_SPREAD)
            # The slider rounds the first spread
            wide = self._start.spread if power == first else 10.0**power
            wanted = SetCache(
                names.get(str(encoding.value), self._present.encoding), wide, bool(frozen.value), generation
            )
            if wanted.encoding != self._present.encoding or generation != self._present.generation:
                set_value(frozen, False)  # a new cache has to learn
                wanted = SetCache(wanted.encoding, wanted.spread, False, generation)
            self._present = wanted

            def refused() -> None:
                session.ask(follow, redraws=False)

            session.edit(wanted, refused)

        def follow(world: World) -> None:
            """Show what the cache has, after a change was refused; several may have been. Called on the session's thread."""
            assert isinstance(world, SceneWorld)
            present = world.cache_settings
            if present is None:
                return
            self._present = present
            set_value(frozen, present.is_frozen)
            set_value(encoding, ENCODING_LABELS[present.encoding])
            set_value(spread, first if present.spread == self._start.spread else _power(present.spread))

        for control in (frozen, encoding, spread):

            @control.on_update
            async def _(event: Any) -> None:
                if event.client_id is not None:  # a page has changed it
                    change(self._present.generation)

        @anew.on_click
        async def _(_: Any) -> None:
            change(self._present.generation + 1)


def _power(spread: float) -> float:
    """The value of the slider for a spread."""
    return round(min(max(math.log10(max(spread, 1e-9)), LEAST_SPREAD), LARGEST_SPREAD), 1)
