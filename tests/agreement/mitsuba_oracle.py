"""Mitsuba 3 as an oracle: renders a scene file with the variance of every pixel."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import numpy as np

from tests.agreement.statistics import Estimate


BATCHES = 64
"""Renderings whose spread gives the variance."""


def load():
    """Import Mitsuba in its fastest variant that works here: `llvm_ad_rgb` where LLVM is found, else `scalar_rgb`."""
    import mitsuba as mi

    if mi.variant() is None:
        if "DRJIT_LIBLLVM_PATH" not in os.environ:
            found = sorted(glob.glob("/usr/lib/*/libLLVM*.so.1[5-9]*") + glob.glob("/usr/lib/*/libLLVM.so.[12]*"))
            if found:
                os.environ["DRJIT_LIBLLVM_PATH"] = found[-1]
        try:
            mi.set_variant("llvm_ad_rgb")
            mi.load_dict({"type": "independent"})
        except Exception:
            mi.set_variant("scalar_rgb")
    return mi


def render(path: Path, *, spp: int, seed: int = 0, **parameters: str) -> Estimate:
    """Render a scene file with its own integrator; box filter and independent samples are expected in the file.

    The variance comes from the spread of many batches with seeds of their own (Mitsuba's `moment` integrator gives moments
    in XYZ only).

    Args:
        path: The scene.
        spp: Samples per pixel, a multiple of BATCHES.
        seed: First seed.
        **parameters: Values for the file's `<default>`s.
    """
    mi = load()
    scene = mi.load_file(str(path), **parameters)
    batches = np.stack(
        [
            np.array(mi.render(scene, spp=spp // BATCHES, seed=seed + i), dtype=np.float64)[..., :3]
            for i in range(BATCHES)
        ]
    )
    return Estimate(batches.mean(axis=0), batches.var(axis=0, ddof=1) * (spp // BATCHES), spp // BATCHES * BATCHES)
