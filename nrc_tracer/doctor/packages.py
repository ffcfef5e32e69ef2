"""Which packages are installed, found without loading them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re

BESIDE = {"tinycudann": "tinycudann"}
"""Optional packages that no extra installs, and the modules by which they are found; see `OTHER`."""

OTHER = "other"
"""Name under which they are listed, in place of an extra."""

DEVELOPMENT = {"test"}
"""Extras that are not for users."""

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+).*;.*\bextra\s*==\s*['\"]([\w-]+)['\"]")


def package_version(name: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def optional_packages() -> dict[str, dict[str, str | None]]:
    """The packages of each extra of this package, and others that it can use, with their versions; None if absent."""
    try:
        requirements = importlib.metadata.requires("nrc-tracer") or []
    except importlib.metadata.PackageNotFoundError:  # run from a folder, without having been installed
        requirements = []
    found: dict[str, dict[str, str | None]] = {}
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is not None and match.group(2) not in DEVELOPMENT:
            found.setdefault(match.group(2), {})[match.group(1)] = package_version(match.group(1))
    for name, module in BESIDE.items():
        present = importlib.util.find_spec(module) is not None
        found.setdefault(OTHER, {})[name] = (package_version(name) or "present") if present else None
    return found
