"""What a study compares: ways to render a scene, and what each image may cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MODES = {
    "off": "uncached",
    "on": "cached",
    "raw": "uncorrected",
    "voxel": "voxels",
    "unbiased": "unbiased",
    "view": "view",
}
"""Names of the modes in tables and figures."""

BIASED_MODES = frozenset({"raw", "voxel", "view"})
"""Modes whose bias stays however many samples there are; that of the others vanishes or never was."""


@dataclass(frozen=True)
class Setting:
    """A way to render.

    Attributes:
        mode: `off` is plain path tracing; `on`, `raw`, `unbiased` and `view` are the modes of the radiance cache, and `voxel` is
            `raw` with a cache of voxels.
        encoding: Encoding of the cache's network; None without one.
        name: Name in tables and figures.
    """

    mode: str
    encoding: str | None = None
    name: str = "uncached"

    @property
    def is_biased(self) -> bool:
        """Whether its images keep a bias however many samples there are."""
        return self.mode in BIASED_MODES


@dataclass(frozen=True)
class Budget:
    """What one image may cost: `samples` per pixel, or seconds of `time`."""

    kind: Literal["samples", "time"]
    value: float

    @property
    def name(self) -> str:
        """`16 spp` or `10 s`."""
        return f"{self.value:.6g} {'spp' if self.kind == 'samples' else 's'}"


def make_settings(
    encodings: Sequence[str] = ("hash",), modes: Sequence[str] = ("on", "unbiased")
) -> tuple[Setting, ...]:
    """Return uncached rendering, and every mode of a cache with every encoding.

    Args:
        encodings: Encodings of the cache.
        modes: Modes of the cache: some of `on`, `raw`, `voxel`, `unbiased` and `view`. Voxels have no encoding, and come last.
    """
    encodings = tuple(dict.fromkeys(encodings))
    several = len(encodings) > 1
    cached = [
        Setting(mode, encoding, f"{MODES[mode]}, {encoding}" if several else MODES[mode])
        for encoding in encodings
        for mode in modes
        if mode != "voxel"
    ]
    voxels = [Setting("voxel", None, MODES["voxel"])] if "voxel" in modes else []
    return (Setting("off"), *cached, *voxels)
