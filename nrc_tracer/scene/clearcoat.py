"""The gloss of the principled material's clear coat."""

from __future__ import annotations

ROUGHEST, SMOOTHEST = 0.1, 0.001
"""Widths (alpha) of the coat's microfacet distribution at gloss 0 and 1 (Burley 2012)."""


def gloss_of(alpha: float) -> float:
    """Return the gloss in [0, 1] whose coat has the width `alpha`, or is as close to it as possible."""
    return min(max((ROUGHEST - alpha) / (ROUGHEST - SMOOTHEST), 0.0), 1.0)
