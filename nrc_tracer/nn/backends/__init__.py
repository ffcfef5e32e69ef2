"""Ways to run a model: `warp` (the default), `reference` (slow, exact) and `tinycudann` (where it is installed)."""
