"""The drop-in for tiny-cuda-nn's Python package on the CPU, compared with the same networks made of `torch.nn.Linear`.

    python -m benchmarks.tinycudann [--rows 8 11 14 17] [--rounds 5] [--json [FILE]]

`Network` alone is measured for three shapes: forward and backward pass with gradients of inputs and weights, and inference.
Both implementations take turns. Two times are compared: the elapsed time with one thread per core, and the processor time with
one thread, which other work on the machine changes little. Then a training step of `NetworkWithInputEncoding` with a table of
2^19 entries is measured: its four parts, with torch's Adam and with its fused form.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import core_count, describe_machine, device_slug
from benchmarks.timing import PAUSE
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn import tinycudann as tcnn
from nrc_tracer.nn import tinycudann_module

RESULTS = Path(__file__).parent / "results"
SHAPES = {"63-16-32-1": (63, 16, 32, 1), "32-1-16-2": (32, 1, 16, 2), "32-3-64-2": (32, 3, 64, 2)}
"""Networks by name: inputs, outputs, neurons, hidden layers."""
SHORTEST = 0.01
"""Shortest duration of one timing in seconds; shorter work is repeated."""
STEPS = 15
"""Number of timed training steps."""
GRID = {
    "otype": "HashGrid",
    "n_levels": 16,
    "n_features_per_level": 2,
    "log2_hashmap_size": 19,
    "base_resolution": 16,
    "per_level_scale": 1.5,
}
NETWORK = {"otype": "FullyFusedMLP", "activation": "ReLU", "output_activation": "None"}


def stack(inputs: int, outputs: int, width: int, hidden: int) -> torch.nn.Sequential:
    """The same network made of `torch.nn.Linear`, without biases."""
    layers: list[torch.nn.Module] = []
    for index in range(hidden):
        layers += [torch.nn.Linear(width if index else inputs, width, bias=False), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(width, outputs, bias=False))


def both_passes(module: torch.nn.Module, x: torch.Tensor, d_out: torch.Tensor) -> None:
    """A forward and a backward pass."""
    x.grad = None
    for parameter in module.parameters():
        parameter.grad = None
    module(x).backward(d_out)


@torch.no_grad()
def infer(module: torch.nn.Module, x: torch.Tensor) -> None:
    """A forward pass alone."""
    module(x)


def time_pair(tasks: list[Callable[[], None]], clock: Callable[[], float], rounds: int) -> list[float]:
    """The median time of each task in seconds, with tasks in turn."""
    repeats = []
    for task in tasks:
        for _ in range(3):
            start = clock()
            task()
            seconds = clock() - start
        repeats.append(max(1, int(SHORTEST / max(seconds, 1e-6))))
    times: list[list[float]] = [[] for _ in tasks]
    for _ in range(rounds):
        for found, task, repeat in zip(times, tasks, repeats, strict=True):
            # Let the other task's threads end their spinning, then come up to speed again
            time.sleep(PAUSE)
            for _ in range(repeat):
                task()
            start = clock()
            for _ in range(repeat):
                task()
            found.append((clock() - start) / repeat)
    return [statistics.median(found) for found in times]


def compare_networks(rows: list[int], threads: int, rounds: int) -> dict[str, Any]:
    """Ratios of our times to those of `torch.nn.Linear`, by shape and number of rows, and the times in milliseconds."""
    torch.set_num_threads(threads)
    launcher = TorchLauncher("cpu", threads=threads)
    tinycudann_module._launcher = lambda *_: launcher  # type: ignore[assignment]  # the threads of all modules
    clock = time.process_time if threads == 1 else time.perf_counter
    table: dict[str, Any] = {}
    for name, (inputs, outputs, width, hidden) in SHAPES.items():
        config = NETWORK | {"n_neurons": width, "n_hidden_layers": hidden}
        modules = [tcnn.Network(inputs, outputs, config), stack(inputs, outputs, width, hidden)]
        for exponent in rows:
            x, d_out = torch.rand(2**exponent, inputs), torch.rand(2**exponent, outputs)
            leaf = x.clone().requires_grad_()
            training = time_pair([partial(both_passes, m, leaf, d_out) for m in modules], clock, rounds)
            inference = time_pair([partial(infer, m, x) for m in modules], clock, rounds)
            table.setdefault(name, {})[f"2^{exponent}"] = {
                "training": [round(1e3 * seconds, 4) for seconds in training],
                "inference": [round(1e3 * seconds, 4) for seconds in inference],
            }
            ratios = training[0] / training[1], inference[0] / inference[1]
            print(
                f"{name:12} 2^{exponent:<3} training {1e3 * training[0]:8.3f} ms ({ratios[0]:.2f} x nn.Linear)   "
                f"inference {1e3 * inference[0]:8.3f} ms ({ratios[1]:.2f} x)",
                flush=True,
            )
    return table


def time_steps(exponent: int) -> dict[str, Any]:
    """Median times of the parts of a training step of `NetworkWithInputEncoding` in milliseconds, by optimizer."""
    module = tcnn.NetworkWithInputEncoding(3, 16, GRID, NETWORK | {"n_neurons": 64, "n_hidden_layers": 2})
    table: dict[str, Any] = {}
    for name, fused in (("Adam", False), ("Adam(fused=True)", True)):
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, eps=1e-15, fused=fused)
        parts: dict[str, list[float]] = {"zero_grad": [], "forward": [], "backward": [], "step": [], "total": []}
        for _ in range(STEPS + 2):
            x, target = torch.rand(2**exponent, 3), torch.rand(2**exponent, 16)
            marks = [time.perf_counter()]
            optimizer.zero_grad()
            marks.append(time.perf_counter())
            loss = ((module(x) - target) ** 2).mean()
            marks.append(time.perf_counter())
            loss.backward()
            marks.append(time.perf_counter())
            optimizer.step()
            marks.append(time.perf_counter())
            seconds = [end - begin for begin, end in itertools.pairwise(marks)]
            for found, value in zip(parts.values(), [*seconds, marks[-1] - marks[0]], strict=True):
                found.append(1e3 * value)
        table[name] = {part: round(statistics.median(found[2:]), 2) for part, found in parts.items()}
        print(f"2^{exponent} rows, {name}: " + ", ".join(f"{part} {ms:.1f} ms" for part, ms in table[name].items()))
    return table


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=list(range(8, 18)), help="exponents of the numbers of rows"
    )
    parser.add_argument("--rounds", type=int, default=9, help="timings of each way")
    parser.add_argument("--json", nargs="?", const="", metavar="FILE", help="write the results")
    options = parser.parse_args()
    cores = core_count()
    result: dict[str, Any] = {
        "machine": describe_machine(("torch", "warp-lang")),
        "unit": "ms; pairs are ours, torch.nn.Linear",
    }
    print("processor time, one thread")
    result["one thread"] = compare_networks(options.rows, 1, options.rounds)
    print(f"time, {cores} threads")
    result[f"{cores} threads"] = compare_networks(options.rows, cores, options.rounds)
    result["NetworkWithInputEncoding, 2^19 entries, 2^11 rows"] = time_steps(11)
    if options.json is not None:
        path = Path(options.json or RESULTS / f"tinycudann-{device_slug(None, cores)}.json")
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
