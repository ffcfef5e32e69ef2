"""What a study compares: ways to render a scene, and what each image may cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

DENOISED_MODES = frozenset({"off", "on", "raw"})
"""Modes whose images are also compared after denoising, where that is asked for."""


@dataclass(frozen=True)
class Setting:
    """A way to render.

    Attributes:
        mode: `off` is plain path tracing; `on`, `raw`, `unbiased` and `view` are the modes of the radiance cache, and `voxel` is
            `raw` with a cache of voxels.
        encoding: Encoding of the cache's network; None without one.
        name: Name in tables and figures.
        denoised: Whether Open Image Denoise removes noise from the images, within the same time.
    """

    mode: str
    encoding: str | None = None
    name: str = "uncached"
    denoised: bool = False

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
    encodings: Sequence[str] = ("hash",), modes: Sequence[str] = ("on", "unbiased"), *, denoised: bool = False
) -> tuple[Setting, ...]:
    """Return uncached rendering, and every mode of a cache with every encoding.

    Args:
        encodings: Encodings of the cache.
        modes: Modes of the cache: some of `on`, `raw`, `voxel`, `unbiased` and `view`. Voxels have no encoding.
        denoised: Whether uncached, uncorrected and corrected rendering are also compared with denoised images.
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
    settings = (Setting("off"), *cached, *voxels)
    if not denoised:
        return settings
    return (
        *settings,
        *(replace(s, name=f"{s.name}, denoised", denoised=True) for s in settings if s.mode in DENOISED_MODES),
    )
