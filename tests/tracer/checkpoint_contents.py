"""Everything that determines the rest of a render, read from its checkpoint."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from nrc_tracer.tracer import Renderer


def contents(renderer: Renderer) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays of a render and of its cache (weights, moments, held-out paths), and the numbers of the cache except times."""
    with tempfile.TemporaryDirectory() as folder:
        path = renderer.save_checkpoint(Path(folder) / "a.checkpoint")
        arrays = safetensors.numpy.load_file(path)
        cache = Path(folder) / "cache.safetensors"
        cache.write_bytes(arrays.pop("cache").tobytes())
        arrays |= {f"cache/{name}": array for name, array in safetensors.numpy.load_file(cache).items()}
        with safetensors.safe_open(cache, "numpy") as file:
            header = json.loads(file.metadata()["nrc_tracer"])
    numbers = {name: header["metadata"][name] for name in ("gain", "scale", "image", "state")}
    del numbers["state"]["warm_up_seconds"]
    return arrays, {**numbers, "training": header["training"]}


def assert_same(ours: Renderer, theirs: Renderer, message: str = "") -> None:
    """Assert that both renders are in the same state, so that they continue with the same bits."""
    (arrays, numbers), (their_arrays, their_numbers) = contents(ours), contents(theirs)
    assert numbers == their_numbers, message
    assert arrays.keys() == their_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, their_arrays[name], err_msg=f"{message}: {name}")
