"""The machine that a benchmark ran on, for the heads of tables, for JSON, and for the names of result files."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe_machine(packages: tuple[str, ...]) -> dict[str, Any]:
    """Processor, cores, and versions of Python and of some packages."""
    return {
        "cpu": cpu_name(),
        "cores": core_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def core_count() -> int:
    """The number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def device_slug(gpu: str | None, threads: int) -> str:
    """The part of a result's file name that identifies the machine: `cpu-2-cores`, `nvidia-h100-80gb-hbm3`."""
    if gpu is None:
        return f"cpu-{threads}-cores"
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
