"""Path tracing compared with Mitsuba 3: samples per second, and the error after equal time.

    python -m benchmarks.render [--seconds 5] [--rounds 5] [--width 512] [--only cornell-box] [--json FILE]

Each scene is a Mitsuba XML file that both renderers load. Each engine runs in its own process. The engines render in turn, one
at a time, for several rounds; the medians and their ratios to Mitsuba's are printed. Loading and compilation are excluded for all
engines, and listed separately. The error is relMSE = mean((x - r)^2 / (r^2 + 0.01 mean(r)^2)), where the reference r is the mean
of long renders by ours and by Mitsuba.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import data_folder
from benchmarks.machine import describe_machine
from benchmarks.peers import ENGINES, serve
from benchmarks.scenes import SCENES, write_scenes
from nrc_tracer.imaging.metrics import rel_mse
from tests.agreement.mitsuba_oracle import find_llvm

BASELINES = ("mitsuba llvm", "mitsuba scalar")
"""Engines that ratios refer to: the first one that can run on this machine."""

REFERENCE_CHUNK = 64
"""Samples per pixel of one render of the reference; it limits Mitsuba's memory."""


class Worker:
    """An engine in its own process, with one scene loaded."""

    def __init__(self, engine: str, scene: Path, width: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, child = context.Pipe()
        self._process = context.Process(target=serve, args=(child, engine, str(scene), width), daemon=True)
        self._process.start()
        self.ready = self._receive()

    def render(self, spp: int, seed: int) -> tuple[float, np.ndarray]:
        """Render; return the time [s] and the image."""
        self._pipe.send((spp, seed))
        return self._receive()

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join(10)

    def _receive(self) -> Any:
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def measure(name: str, path: Path, arguments: argparse.Namespace) -> dict:
    """Measure one scene with all engines, and print its table."""
    engines = [e for e in ENGINES if e != "mitsuba llvm" or find_llvm()]
    workers = {engine: Worker(engine, path, arguments.width) for engine in engines}
    pixels = arguments.width**2

    # Measure samples per second, all engines in turn so that other load on the machine slows all of them equally
    spp = {e: int(np.clip(arguments.seconds / worker.render(4, 1)[0], 1, 64)) for e, worker in workers.items()}
    rates: dict[str, list[float]] = {engine: [] for engine in engines}
    for seed in range(arguments.rounds):
        for engine, worker in workers.items():
            seconds, _ = worker.render(spp[engine], 10 + seed)
            rates[engine].append(pixels * spp[engine] / seconds)
    rate = {engine: statistics.median(values) for engine, values in rates.items()}

    # Render for equal time, and compare with a reference of which half is by ours and half by the faster Mitsuba
    base = next(b for b in BASELINES if b in engines)
    chunks = [
        workers[e].render(REFERENCE_CHUNK, 1000 + i)[1]
        for e in ("ours sobol", base)
        for i in range(max(1, arguments.reference // REFERENCE_CHUNK))
    ]
    reference = np.mean(chunks, axis=0)
    samples = {e: max(1, int(rate[e] * arguments.seconds / pixels)) for e in engines}
    error = {e: float(rel_mse(worker.render(samples[e], 7)[1], reference)) for e, worker in workers.items()}

    rows = {}
    for engine, worker in workers.items():
        worker.close()
        rows[engine] = {
            "load_seconds": worker.ready,
            "samples_per_second": rate[engine],
            "rounds": rates[engine],
            "speed_ratio": rate[engine] / rate[base],
            "spp_at_equal_time": samples[engine],
            "rel_mse_at_equal_time": error[engine],
            "error_ratio": error[engine] / error[base],
        }
    print(f"\n{name} ({arguments.width} x {arguments.width}; {arguments.seconds:g} s each; ratios to {base})")
    print(f"  {'':<17}{'load s':>7}{'M samples/s':>13}{'ratio':>7}{'spp':>13}{'relMSE':>10}{'ratio':>7}")
    for engine, r in rows.items():
        speed, ratio = f"{r['samples_per_second'] / 1e6:.2f}", f"{r['speed_ratio']:.2f}"
        left = f"{r['rel_mse_at_equal_time']:.1e}", f"{r['error_ratio']:.2f}"
        columns = f"{speed:>13}{ratio:>7}{r['spp_at_equal_time']:>13}{left[0]:>10}{left[1]:>7}"
        print(f"  {engine:<17}{r['load_seconds']:>7.1f}{columns}", flush=True)
    return {"scene": name, "pixels": pixels, "seconds": arguments.seconds, "baseline": base, "engines": rows}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="time of each equal-time render")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--reference", type=int, default=1024, help="samples per pixel of each half of the reference")
    parser.add_argument("--only", choices=SCENES, action="append")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    machine = describe_machine(("nrc-tracer", "warp-lang", "mitsuba"))
    print(", ".join(f"{k} {v}" for k, v in machine.items()))
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_scenes(Path(folder), arguments.width, arguments.only or SCENES, data_folder())
        results = [measure(name, path, arguments) for name, path in paths.items()]
    print(f"\n{time.time() - start:.0f} s in total")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
