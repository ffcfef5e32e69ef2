"""Backends that run a model: `warp` (the default), `reference` (slow, exact) and `tinycudann` (if it is installed)."""
