"""Choice of lights by the tree, compared with choice by power: variance and time.

    python -m benchmarks.lights [--lamps 10000 100000] [--samples 24] [--rounds 3] [--json FILE]

The scene is the street of `scenes/make_street.py` with as many lamps as given. Both renderers take samples in turn, with
independent random numbers. The variance is compared where the camera sees surfaces alone: lamps at the edges of pixels are noisy
with any choice of lights.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

import nrc_tracer as nrc
from benchmarks.machine import describe_machine
from nrc_tracer.scene.model import Scene
from nrc_tracer.tracer import light_table
from nrc_tracer.tracer.vocabulary import REC709_LUMINANCE

SCENES = Path(__file__).parent.parent / "scenes"
LUMINANCE = np.array(REC709_LUMINANCE)
MOST = 1 << 30
"""Number of lights up to which lights are chosen by power, to leave the tree out."""


def street(lamps: int) -> Scene:
    """The street with `lamps` lamps."""
    spec = importlib.util.spec_from_file_location("make_street", SCENES / "make_street.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(SCENES / "make_street.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with tempfile.TemporaryDirectory() as folder:
        return nrc.load_scene(script.write(Path(folder) / "street.json", lamps))


def measure(lamps: int, samples: int, rounds: int, width: int) -> dict[str, float]:
    """Compare both choices; ratios are those of the tree to choice by power."""
    scene = street(lamps)
    start = time.perf_counter()
    renderers = {"tree": nrc.Renderer(scene, device="cpu", width=width, sampler="independent")}
    loading = time.perf_counter() - start
    with mock.patch.object(light_table, "FEW_LIGHTS", MOST):
        renderers["power"] = nrc.Renderer(scene, device="cpu", width=width, sampler="independent")
    for renderer in renderers.values():
        renderer.step(1)
        renderer.reset()
    seconds: dict[str, list[float]] = {name: [] for name in renderers}
    for _ in range(rounds):
        for name, renderer in renderers.items():
            start = time.perf_counter()
            renderer.step(samples)
            seconds[name].append(time.perf_counter() - start)
    direct = nrc.Renderer(scene, device="cpu", width=width, max_depth=1)
    direct.step(64)
    dark = direct.image().rgb.max(axis=2) == 0.0
    variances = {name: (renderer.moments()[1] @ LUMINANCE**2)[dark] for name, renderer in renderers.items()}
    slower = statistics.median(seconds["tree"]) / statistics.median(seconds["power"])
    variance = float(variances["tree"].mean() / variances["power"].mean())
    return {
        "lamps": lamps,
        "surface_pixels": float(dark.mean()),
        "loading_seconds": loading,
        "time_ratio": slower,
        "variance_ratio": variance,
        "median_variance_ratio": float(np.median(variances["tree"] / variances["power"])),
        "variance_ratio_at_equal_time": slower * variance,
    }


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lamps", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--samples", type=int, default=24, help="samples per pixel of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=240)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = []
    print(f"{'lamps':>8}{'time':>8}{'variance':>10}{'median':>8}{'at equal time':>15}  (tree / choice by power)")
    for lamps in arguments.lamps:
        r = measure(lamps, arguments.samples, arguments.rounds, arguments.width)
        figures = f"{r['time_ratio']:>8.2f}{r['variance_ratio']:>10.3f}{r['median_variance_ratio']:>8.3f}"
        print(f"{lamps:>8}{figures}{r['variance_ratio_at_equal_time']:>15.3f}", flush=True)
        results.append(r)
    if arguments.json:
        machine = describe_machine(("nrc-tracer", "warp-lang"))
        arguments.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
