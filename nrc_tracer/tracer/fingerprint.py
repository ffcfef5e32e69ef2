"""What determines the bits of a sample, besides the scene and the settings: code, processor, device and packages."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import warp as wp

from nrc_tracer.tracer.accel import embree
from nrc_tracer.tracer.vocabulary import Accel
from nrc_tracer.version import __version__

MACHINE = ("release", "path tracing code", "device", "accel")
"""The settings of a render's identity that belong to the machine and not to the image."""

_INSTRUCTION_SETS = ("sse", "ssse", "avx", "fma", "f16c", "bmi", "amx", "neon", "asimd", "sve")
"""Beginnings of the names of processor features that compilers and libraries choose instructions by."""


def machine_settings(device: str, accel: Accel, kernels: Iterable[wp.Kernel]) -> dict[str, Any]:
    """The settings of `MACHINE` by name; modules of the kernels are named by digests of 16 digits. They must be loaded."""
    found = wp.get_device(device)
    return {
        "device": f"cuda (sm_{found.arch})" if found.is_cuda else "cpu",
        "accel": accel.value,
        "release": __version__,
        "path tracing code": [kernel.module.get_module_hash().hex()[:16] for kernel in kernels],
    }


def machine_fingerprint(device: str, accel: Accel, kernels: Iterable[wp.Kernel]) -> dict[str, str]:
    """Describe what determines the bits of samples on this machine, besides scene and settings.

    Samples with equal fingerprints have equal bits; with different ones they are estimates of the same image.

    Args:
        device: Warp device.
        accel: What intersects triangles.
        kernels: The kernels that trace paths, loaded.

    Returns:
        `release`, `path tracing code`, `device`, `accel`, `processor`, `embree`, `system` and the version of `warp`, by name.
    """
    found: dict[str, str] = machine_settings(device, accel, kernels)
    found["path tracing code"] = " ".join(found["path tracing code"])
    found["warp"] = metadata.version("warp-lang")
    if not wp.get_device(device).is_cuda:
        found["processor"] = _processor()
        found["system"] = " ".join([platform.system(), platform.machine(), *platform.libc_ver()]).strip()
        if accel == Accel.EMBREE:
            found["embree"] = embree.describe()
    return found


def fingerprint_differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """What differs between two fingerprints, in words: `processor: avx2 fma there, avx512f here`; only the words that differ."""
    found = []
    for name in {**ours, **theirs}:
        here, there = ours.get(name, "none"), theirs.get(name, "none")
        if here == there:
            continue
        # Of two long lists of features, only those that one of them lacks
        if name == "processor" and len(here.split()) > 1 and len(there.split()) > 1:
            only = (set(there.split()) - set(here.split()), set(here.split()) - set(there.split()))
            there, here = (" ".join(sorted(words)) or "nothing more" for words in only)
        found.append(f"{name}: {there} there, {here} here")
    return found


def _processor() -> str:
    """The processor's instruction sets; its name where they cannot be read."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, words = line.partition(":")
            if name.strip().lower() in ("flags", "features"):
                sets = {word for word in words.split() if word.startswith(_INSTRUCTION_SETS)}
                return " ".join(sorted(sets))
    except OSError:
        pass
    return platform.processor() or platform.machine()
