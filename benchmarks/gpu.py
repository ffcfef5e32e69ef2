"""Benchmark of a GPU: networks, frames with the radiance cache, and scores of the tasks.

    python -m benchmarks.gpu [--device cuda:0] [--parts networks frames tasks] [--quick] [--json [FILE]]

Networks are compared with a reference, with tiny-cuda-nn, with torch and with the limits of the hardware. The model is that of
`benchmarks.nn` with tables of 2^19 entries. `fused` runs encoding and network in one kernel, and `graph` launches the same as a
CUDA graph, with optimizer steps that are decided on the device; `blocked` runs the encoding's kernel and torch's matrix
products, `tinycudann` its modules, if they can be imported, with our loss and optimizer, and `torch` the plain peer of
`benchmarks.torch_grid`. All take turns in one run, and compilation is excluded; ratios are speeds of fused relative to the
others. The floor of an operation is the largest of three times: its bytes over the measured bandwidth of a copy and its
multiplications over the rate of the largest matrix product, both counted as with perfect caches, and its random reads over
their measured rate, as they are the most expensive part. Frames are those of `benchmarks.gpu_frames`, and tasks those of
`benchmarks.tasks` without their peer, if their data are available.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import nrc_tracer.nn as nn
from benchmarks import tasks
from benchmarks.ceilings import copy_bandwidth, gather_rate
from benchmarks.gpu_frames import measure_frames
from benchmarks.machine import describe_machine, device_slug
from benchmarks.nn_cases import ADAM, N_INPUT, N_OUTPUT, TRIAL_RANGE, batch, configuration
from benchmarks.nn_peers import TOLERANCES, largest_difference, relative_norm
from benchmarks.timing import time_in_turn
from benchmarks.torch_grid import PLAIN, TorchModel, TorchTraining, in_chunks
from nrc_tracer.device.launch import default_threads
from nrc_tracer.device.recording import Recording
from nrc_tracer.errors import NrcError
from nrc_tracer.nn.losses import LossFunction, build_loss

RESULTS = Path(__file__).parent / "results"
PARTS = ("networks", "frames", "tasks")
LOG2_ENTRIES = 19
SIZES, QUICK_SIZES = (14, 16, 18, 20, 21), (14, 16)
"""Binary logarithms of the number of queries."""

WIDTHS = ((16, 2), (32, 2), (64, 2), (64, 5), (128, 2), (128, 4))
"""Neurons and hidden layers of the networks whose agreement is checked."""

PARITY_SIZES = (1000, 2**16 + 3)
TORCH_CHUNK = 2**19
FRAME, QUICK_FRAME = (1920, 1080), (480, 270)
TASK_TIMES = (1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
"""Training times in seconds at which scores are taken."""
MATRIX = 8192
"""Number of rows and columns of the matrix product whose rate is the ceiling."""


def make_model(device: torch.device, network: tuple[int, int] = (64, 2), **options: Any) -> nn.Model:
    """A model whose grid has values as large as its inputs."""
    config = configuration(LOG2_ENTRIES)
    config["network"] |= {"n_neurons": network[0], "n_hidden_layers": network[1]}
    model = nn.Model(N_INPUT, N_OUTPUT, config, device=device, **options)
    split = model.structure.n_matrix_params
    grid = torch.rand(model.n_params - split, generator=torch.Generator().manual_seed(1))
    model.params[split:] = (TRIAL_RANGE * (2 * grid - 1)).to(device)
    return model


# Parity


def check_parity(device: torch.device) -> list[dict[str, Any]]:
    """Compare the fused network with the float64 reference for every width, and print a table."""
    limits = dict(zip(("output", "weights", "grid"), TOLERANCES["float16"], strict=True))
    print("parity with float64" + "".join(f"{f'{name} (<= {limit:g})':>22}" for name, limit in limits.items()))
    rows = []
    for network in WIDTHS:
        fused = make_model(device, network, fused=True)
        exact = make_model(device, network, backend="reference")
        split = fused.structure.n_matrix_params
        loss = build_loss(fused.config.loss)
        for n in PARITY_SIZES:
            x, target = batch(n, device)
            evaluate = partial(evaluate_loss, loss, target)
            first, again, wanted = (
                model.backend.gradient(x, model.params, evaluate)[1].dense().clone() for model in (fused, fused, exact)
            )
            found = {
                "output": largest_difference(fused(x), exact(x)),
                "weights": relative_norm(first[:split], wanted[:split]),
                "grid": relative_norm(first[split:], wanted[split:]),
            }
            same = torch.equal(first[:split], again[:split])
            good = same and all(found[name] <= limit for name, limit in limits.items())
            shown = "".join(f"{value:>22.1e}" for value in found.values())
            print(f"  {network[0]:>3} x {network[1]}  {n:>8}{shown}  {'agrees' if good else 'DIFFERS'}", flush=True)
            rows.append({"network": network, "queries": n, **found, "same_bits": same, "agrees": good})
    return rows


def evaluate_loss(loss: LossFunction, target: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The mean loss and its gradient, in the precision of the output."""
    return loss.evaluate(y, target.to(y.dtype))


# Throughput


class Way:
    """One way to run the model.

    Args:
        model: A model of this package.
    """

    def __init__(self, model: nn.Model) -> None:
        self.model = model
        self.trainer = nn.Trainer(model)

    def task(self, operation: str, x: Tensor, target: Tensor) -> Callable[[], object] | None:
        """The function to time, or None if the operation does not exist."""
        if operation == "encode":
            encode = getattr(self.model.backend, "encode", None)
            return encode and (lambda: encode(x, self.model.params))
        if operation == "inference":
            return lambda: self.model(x)
        return lambda: self.trainer.step(x, target)


class GraphWay(Way):
    """A fused model launched as a CUDA graph.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Model) -> None:
        self.model = model
        self.trainer = nn.Trainer(model, capturable=True)

    def task(self, operation: str, x: Tensor, target: Tensor) -> Callable[[], object] | None:
        work = None if operation == "encode" else super().task(operation, x, target)
        return work and partial(Recording(self.model.backend.launcher), work)


class TorchWay:
    """Plain torch with half operands.

    Args:
        model: The model whose parameters are copied.
    """

    def __init__(self, model: nn.Model) -> None:
        self.peer = TorchModel.of(model, PLAIN, torch.float16)
        self.training = TorchTraining(self.peer, ADAM, TORCH_CHUNK)

    def task(self, operation: str, x: Tensor, target: Tensor) -> Callable[[], object]:
        """The function to time."""
        if operation == "training":
            return lambda: self.training.step(x, target)
        return lambda: in_chunks(self.peer.encode if operation == "encode" else self.peer, x, TORCH_CHUNK)


def build_ways(device: torch.device) -> tuple[dict[str, Any], dict[str, str]]:
    """All ways that are available, and the reasons why others are left out."""
    ways: dict[str, Any] = {
        "fused": Way(make_model(device, fused=True)),
        "graph": GraphWay(make_model(device, fused=True)),
        "blocked": Way(make_model(device)),
    }
    absent = {}
    try:
        ways["tinycudann"] = Way(make_model(device, backend="tinycudann"))
    except NrcError as error:
        absent["tinycudann"] = str(error)
        print(f"tinycudann is left out: {error}")
    ways["torch"] = TorchWay(ways["blocked"].model)
    return ways, absent


def measure_throughput(ways: dict[str, Any], device: torch.device, sizes: tuple[int, ...], rounds: int) -> list[dict]:
    """Measure queries per second for each operation, size and way, and print a table."""
    others = [name for name in ways if name != "fused"]
    print(f"\n{'M queries/s':<12}{'queries':>8}{'fused':>10}" + "".join(f"{name:>12}{'ratio':>8}" for name in others))
    rows = []
    for operation in ("encode", "inference", "training"):
        for log2_size in sizes:
            x, target = batch(2**log2_size, device)
            tasks = {name: way.task(operation, x, target) for name, way in ways.items()}
            if operation == "encode":
                tasks.pop("fused")  # fused has no such step
            seconds = time_in_turn({name: task for name, task in tasks.items() if task}, device, rounds)
            rates = {name: 2**log2_size / value for name, value in seconds.items()}
            line = f"{operation:<12}{f'2^{log2_size}':>8}" + _column(rates, "fused", 10)
            for name in others:
                both = "fused" in rates and name in rates
                line += _column(rates, name, 12) + (f"{rates['fused'] / rates[name]:>7.2f}x" if both else " " * 8)
            print(line, flush=True)
            rows.append({"operation": operation, "queries": 2**log2_size, "queries_per_second": rates})
    return rows


def _column(rates: dict[str, float], name: str, width: int) -> str:
    return f"{rates[name] / 1e6:>{width}.1f}" if name in rates else f"{'-':>{width}}"


# The floor


def measure_ceilings(model: nn.Model, rounds: int) -> dict[str, float]:
    """Measure the peak rates of the GPU."""
    device = model.device
    a, b = (torch.randn(MATRIX, MATRIX, device=device).half() for _ in range(2))
    seconds = time_in_turn({"product": lambda: a @ b}, device, rounds)["product"]
    return {
        "copy_bytes_per_second": copy_bandwidth(device, 1, rounds),
        "gathers_per_second": gather_rate(model.backend.launcher, LOG2_ENTRIES, rounds),
        "matrix_flops": 2 * MATRIX**3 / seconds,
    }


def compare_with_floor(ceilings: dict[str, float], model: nn.Model, throughput: list[dict]) -> list[dict[str, Any]]:
    """Compare measured times with the floor, and print a table."""
    structure = model.structure
    flops = 2 * structure.n_matrix_params
    reads = 2**N_INPUT * len(structure.encoding.levels)
    table = 4 * (structure.n_params - structure.n_matrix_params)
    print("\nceilings: " + ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in ceilings.items()))
    print(
        f"{'floor, ns a query':<20}{'queries':>8}{'bytes':>9}{'products':>10}{'gathers':>9}{'measured':>10}{'over':>8}"
    )
    rows = []
    for row in throughput:
        operation, n = row["operation"], row["queries"]
        if "fused" not in row["queries_per_second"]:
            continue
        training = operation == "training"
        # Input and output; in training also the target and both gradients through memory, and the table's gradient and moments
        moved = 4 * (N_INPUT + N_OUTPUT) + (4 * 4 * N_OUTPUT + 4 * structure.width if training else 0)
        floor = {
            "bytes": (moved + table * (1 + 9 * training) / n) / ceilings["copy_bytes_per_second"],
            # Forward pass again, input gradient, weight gradient
            "products": flops * (4 if training else 1) / ceilings["matrix_flops"],
            "gathers": reads * (2 if training else 1) / ceilings["gathers_per_second"],
        }
        measured = 1.0 / row["queries_per_second"]["fused"]
        over = measured / max(floor.values())
        shown = "".join(f"{value * 1e9:>{width}.3f}" for value, width in zip(floor.values(), (9, 10, 9), strict=True))
        print(f"{operation:<20}{n:>8}{shown}{measured * 1e9:>10.3f}{over:>7.1f}x")
        rows.append({"operation": operation, "queries": n, "floor_seconds": floor, "measured": measured, "over": over})
    return rows


def measure_networks(device: torch.device, sizes: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Measure agreement, throughput and floor of encoding and network."""
    parity = check_parity(device)
    ways, absent = build_ways(device)
    throughput = measure_throughput(ways, device, sizes, rounds)
    model = ways["fused"].model
    ceilings = measure_ceilings(model, rounds)
    floor = compare_with_floor(ceilings, model, throughput)
    return {"parity": parity, "absent": absent, "throughput": throughput, "ceilings": ceilings, "floor": floor}


def measure_tasks(device: str, seconds: float) -> list[dict[str, Any]]:
    """Take the scores of all tasks whose data are available."""
    print(f"\ntasks, up to {seconds:g} s of training each")
    times = tuple(t for t in TASK_TIMES if t < seconds)
    found = []
    for case in tasks.CASES.values():
        try:
            found.append(tasks.measure(case, device, default_threads(), seconds=seconds, times=times))
        except NrcError as error:
            print(f"{case.name}: left out: {error}", flush=True)
    return found


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="few queries, small frames, short training")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--json",
        nargs="?",
        type=Path,
        const=Path(),
        help="write results to this file, or without a name to benchmarks/results",
    )
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.gpu: needs a CUDA GPU and a build of torch with CUDA; on a CPU run benchmarks.nn")
    device, quick = torch.device(arguments.device), arguments.quick
    if device.type != "cuda":
        raise SystemExit(
            f'benchmarks.gpu: --device {arguments.device} is not a GPU; on a CPU run "python -m benchmarks.nn"'
        )

    start = time.time()
    machine = describe_machine(("nrc-tracer", "warp-lang", "torch"))
    machine["device"] = torch.cuda.get_device_name(device)
    print(", ".join(f"{k} {v}" for k, v in machine.items()) + "\n")
    results: dict[str, Any] = {"machine": machine}
    if "networks" in arguments.parts:
        results |= measure_networks(device, QUICK_SIZES if quick else SIZES, arguments.rounds)
    if "frames" in arguments.parts:
        results["frames"] = measure_frames(arguments.device, QUICK_FRAME if quick else FRAME, arguments.rounds)
    if "tasks" in arguments.parts:
        results["tasks"] = measure_tasks(arguments.device, 5.0 if quick else 60.0)
    print(f"\n{time.time() - start:.0f} s in total")
    if arguments.json is not None:
        slug = device_slug(machine["device"], 1)
        file = RESULTS / f"gpu-{slug}.json" if arguments.json == Path() else arguments.json
        file.write_text(json.dumps(results, indent=1, default=float) + "\n")
        print(f"written to {file}")
    if not all(row["agrees"] for row in results.get("parity", ())):
        raise SystemExit("benchmarks.gpu: the fused network differs from the reference, so its speed means nothing")


if __name__ == "__main__":
    main()
