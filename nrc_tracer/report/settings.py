"""What a study compares: ways to render, and how much each may spend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MODES = {"off": "uncached", "on": "cached", "unbiased": "unbiased", "view": "view"}
ENCODINGS = ("hash", "triangle-wave")


@dataclass(frozen=True)
class Setting:
    """A way to render.

    Attributes:
        mode: `off` is plain path tracing; `on`, `unbiased` and `view` are the modes of the radiance cache.
        encoding: Of the cache's network; None without a cache.
        name: What tables and figures call it.
    """

    mode: str
    encoding: str | None = None
    name: str = "uncached"


@dataclass(frozen=True)
class Budget:
    """How much one image may cost: `samples` per pixel, or seconds of `time`."""

    kind: Literal["samples", "time"]
    value: float

    @property
    def name(self) -> str:
        """`16 spp` or `10 s`."""
        return f"{self.value:.6g} {'spp' if self.kind == 'samples' else 's'}"


def make_settings(encodings: Sequence[str] = ("hash",), *, view: bool = False) -> tuple[Setting, ...]:
    """Return uncached rendering, and the modes of a cache for each encoding; `view`, the cache's own values, if asked for."""
    modes = ("on", "unbiased", "view") if view else ("on", "unbiased")
    encodings = tuple(dict.fromkeys(encodings))
    several = len(encodings) > 1
    cached = [
        Setting(mode, encoding, f"{MODES[mode]}, {encoding}" if several else MODES[mode])
        for encoding in encodings
        for mode in modes
    ]
    return (Setting("off"), *cached)
