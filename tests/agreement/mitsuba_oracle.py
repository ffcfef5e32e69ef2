"""Mitsuba 3 as an oracle: renders a scene file with the variance of every pixel."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from types import ModuleType

import numpy as np

from tests.agreement.statistics import Estimate

BATCHES = 64
"""Number of independent renderings; their spread gives the variance."""


def find_llvm() -> str | None:
    """Path of an LLVM library that Mitsuba's `llvm` variants can use, or None."""
    if "DRJIT_LIBLLVM_PATH" in os.environ:
        return os.environ["DRJIT_LIBLLVM_PATH"]
    found = sorted(glob.glob("/usr/lib/*/libLLVM*.so.1[5-9]*") + glob.glob("/usr/lib/*/libLLVM.so.[12]*"))
    return found[-1] if found else None


def load(variant: str | None = None) -> ModuleType:
    """Import Mitsuba once per process, by default in the fastest available variant.

    This is `llvm_ad_rgb` if LLVM is found, and `scalar_rgb` otherwise.
    """
    import mitsuba as mi

    if mi.variant() is None:
        llvm = find_llvm()
        if llvm:
            os.environ["DRJIT_LIBLLVM_PATH"] = llvm
        mi.set_variant(variant or ("llvm_ad_rgb" if llvm else "scalar_rgb"))
    return mi


def render(path: Path, *, spp: int, seed: int = 0, **parameters: str) -> Estimate:
    """Render a scene file with its own integrator. The file must ask for a box filter and independent samples.

    The variance is estimated from many batches with different seeds, as Mitsuba's `moment` integrator only gives moments in
    XYZ.

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
