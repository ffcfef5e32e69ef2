"""Encodings and networks compared with plain torch and, if installed, tiny-cuda-nn: queries per second, and their bounds.

    python -m benchmarks.nn [--device cpu] [--threads 2] [--quick] [--json [FILE]]

The model is a hash grid (16 levels of 2 features, base resolution 16, growth 1.5, 3-D) with tables of 2^15 and of 2^19 entries,
an MLP of two hidden layers of 64 with ReLU, three outputs, RelativeL2 and Adam. The peer, `benchmarks.torch_grid`, has the same
parameters; the benchmark first checks that it gives the same outputs and gradients. A trial in the same run chooses the fastest
of several ways for torch: `torch best` is the best of all; `torch plain` reads tables by `table[index]`, one corner at a time, as
most torch code does, on one thread or on all, whichever is faster. All are timed in turn. The tables show medians and ratios of
speeds, ours to theirs. Compilation is excluded.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import nrc_tracer.nn as nn
from benchmarks.ceilings import copy_bandwidth, gather_rate, matrix_rate
from benchmarks.machine import describe_machine, device_slug
from benchmarks.timing import synchronize, time_in_turn
from benchmarks.torch_grid import LAYOUTS, PLAIN, Setting, TorchModel, TorchTraining, in_chunks, torch_threads
from nrc_tracer.device.launch import default_threads
from nrc_tracer.errors import NrcError
from nrc_tracer.nn.losses import build_loss
from nrc_tracer.nn.precision import DTYPES

RESULTS = Path(__file__).parent / "results"

TABLE_SIZES = (15, 19)
"""Binary logarithms of the number of entries of a level."""

SIZES = (12, 14, 16, 18, 20, 21)
QUICK_SIZES = (12, 14, 16)
TRIAL_SIZES = (14, 16)
"""Binary logarithms of the number of queries: those measured, with `--quick`, and those for which torch's settings are chosen. A
setting is used for sizes up to that of its trial, the last one also for larger sizes."""

CHUNKS = {1: 2**14, 2: 2**17}
"""Queries that torch processes at a time: on one thread few enough for the cache, on several enough for all threads."""

CUDA_CHUNK = 2**19
"""Queries that torch processes at a time on CUDA, where memory is the limit."""

BATCH = 2**14
"""Queries per batch for the check of agreement and for the parts of a training step."""

N_INPUT, N_OUTPUT = 3, 3
OPERATIONS = ("encode", "inference", "training")
ADAM = {"otype": "Adam", "learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-15, "l2_reg": 0.0}
TRIAL_RANGE = 1.0
"""Bound of the magnitude of grid parameters: with the initial 1e-4, all outputs would be near zero."""

TOLERANCES = {  # outputs; gradients of network and grid in relative L2 norm
    "float32": (1e-4, 1e-4, 1e-3),
    "bfloat16": (2e-2, 3e-2, 0.15),
    "float16": (2e-2, 3e-2, 0.06),
}
ENCODING_TOLERANCE = 2e-3
"""Tolerance of encoded features: without fused multiply-add in torch, positions at the finest level differ by 5e-4 of a cell."""


def configuration(log2_entries: int) -> dict[str, Any]:
    """The configuration of the model in tiny-cuda-nn's dialect."""
    grid = {"n_levels": 16, "n_features_per_level": 2, "base_resolution": 16, "per_level_scale": 1.5}
    return {
        "encoding": {"otype": "HashGrid", "log2_hashmap_size": log2_entries, **grid},
        "network": {"otype": "FullyFusedMLP", "activation": "ReLU", "n_neurons": 64, "n_hidden_layers": 2},
        "loss": {"otype": "RelativeL2"},
        "optimizer": ADAM,
    }


class Ours:
    """Models of this package: a whole one, and its encoding alone.

    Args:
        log2_entries: Binary logarithm of the number of entries of a level.
        device: Torch device.
        threads: Threads on the CPU.
        backend: `warp`, or `tinycudann` for its modules with this package's loss and optimizer.
    """

    def __init__(self, log2_entries: int, device: torch.device, threads: int, backend: str = "warp") -> None:
        config = configuration(log2_entries)
        options = {"device": device, "threads": threads, "backend": backend}
        self.model = nn.Model(N_INPUT, N_OUTPUT, config, **options)
        self.encoder = nn.Model(N_INPUT, None, {**config, "network": None}, **options)
        generator = torch.Generator().manual_seed(1)
        grid = TRIAL_RANGE * (2 * torch.rand(self.encoder.n_params, generator=generator) - 1)
        self.encoder.set_params(grid)
        self.model.params[self.model.structure.n_matrix_params :] = grid.to(device)
        self.trainer = nn.Trainer(self.model)

    def task(self, operation: str, x: Tensor, target: Tensor) -> Callable[[], object]:
        """The function to time for an operation."""
        if operation == "encode":
            return lambda: self.encoder(x)
        if operation == "inference":
            return lambda: self.model(x)
        return lambda: self.trainer.step(x, target)


class Torch:
    """The peer in plain torch, in every layout.

    Args:
        ours: The model to copy.
        threads: Largest number of threads.
    """

    def __init__(self, ours: Ours, threads: int) -> None:
        self._device = ours.model.device
        self._threads = threads
        self._models: dict[str, TorchModel] = {}
        self._settings: dict[tuple[str, int, str], Setting] = {}
        self.dtype = torch.float32
        self._prepare(ours.model)

    def _prepare(self, model: nn.Model) -> None:
        """Choose the network's precision by the time of inference and gradient, and make the models."""
        x, target = batch(BATCH, self._device)
        candidates = {dtype: TorchModel.of(model, PLAIN, dtype) for dtype in {torch.float32, DTYPES[model.precision]}}
        features = in_chunks(candidates[torch.float32].encode, x, BATCH)

        def network(peer: TorchModel) -> Callable[[], None]:
            def run() -> None:
                with torch_threads(self._threads):
                    h = peer.network(features.clone().requires_grad_())
                    (h - target).square().mean().backward()

            return run

        seconds = time_in_turn({str(d): network(peer) for d, peer in candidates.items()}, self._device, 5)
        self.dtype = min(candidates, key=lambda dtype: seconds[str(dtype)])
        self._models = {layout: TorchModel.of(model, layout, self.dtype) for layout in LAYOUTS}

    def model(self, layout: str) -> TorchModel:
        """The model with its tables in one layout."""
        return self._models[layout]

    def try_settings(self, log2_sizes: Iterable[int], rounds: int) -> list[dict[str, Any]]:
        """Time all settings, keep the fastest for each operation and size, and print them."""
        trials = []
        for log2_size, operation in itertools.product(log2_sizes, OPERATIONS):
            size = 2**log2_size
            x, target = batch(size, self._device)
            settings = [Setting(*s) for s in itertools.product(LAYOUTS, self._thread_counts())]
            tasks = {str(s): self._task(s, operation, x, target) for s in settings}
            seconds = time_in_turn(tasks, self._device, rounds)
            for family, layouts in (("torch best", tuple(LAYOUTS)), ("torch plain", (PLAIN,))):
                best = min((s for s in settings if s.layout in layouts), key=lambda s: seconds[str(s)])
                self._settings[family, log2_size, operation] = best
                print(f"    {operation:<10}2^{log2_size}  {family:<13}{best}", flush=True)
            trials += [
                {
                    "operation": operation,
                    "queries": size,
                    "setting": str(s),
                    "queries_per_second": size / seconds[str(s)],
                }
                for s in settings
            ]
        return trials

    def _thread_counts(self) -> list[int]:
        return sorted({1, self._threads}) if self._device.type == "cpu" else [1]

    def task(self, family: str, operation: str, x: Tensor, target: Tensor) -> Callable[[], object]:
        """The function to time for an operation, in the best setting of a family."""
        tried = sorted({log2_size for _, log2_size, _ in self._settings})
        nearest = next((t for t in tried if len(x) <= 2**t), tried[-1])
        return self._task(self._settings[family, nearest, operation], operation, x, target)

    def _task(self, setting: Setting, operation: str, x: Tensor, target: Tensor) -> Callable[[], object]:
        model = self._models[setting.layout]
        chunk = CUDA_CHUNK if x.is_cuda else CHUNKS[min(setting.threads, 2)]
        training = TorchTraining(model, ADAM, chunk) if operation == "training" else None

        def run() -> None:
            with torch_threads(setting.threads):
                if training:
                    training.step(x, target)
                else:
                    in_chunks(model.encode if operation == "encode" else model, x, chunk)

        return run


def batch(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Points and a smooth target for them."""
    x = torch.rand(size, N_INPUT, generator=torch.Generator().manual_seed(size)).to(device)
    return x, (0.6 + 0.4 * torch.sin(7.0 * x @ torch.ones(N_INPUT, N_OUTPUT, device=device)))


# Agreement


def check_agreement(ours: Ours, peer: Torch) -> dict[str, float]:
    """Check that the peer is the same model, by outputs and gradients of one batch.

    Raises:
        SystemExit: It is a different model.
    """
    x, target = batch(BATCH, ours.model.device)
    n_matrix = ours.model.structure.n_matrix_params
    features, y = ours.encoder(x), ours.model(x)
    loss = build_loss(ours.model.config.loss)
    gradient = ours.model.backend.gradient(x, ours.model.params, lambda p: loss.evaluate(p, target))[1].dense()
    of_outputs, of_network, of_grid = TOLERANCES[ours.model.precision]
    tolerances = {
        "encoding": ENCODING_TOLERANCE,
        "output": of_outputs,
        "network_gradient": of_network,
        "grid_gradient": of_grid,
    }
    worst = dict.fromkeys(tolerances, 0.0)
    for layout in LAYOUTS:
        model = peer.model(layout)
        TorchTraining(model, ADAM, BATCH).backward(x, target)
        theirs = model.flat_gradient()
        model.zero_grad()
        found = {
            "encoding": largest_difference(in_chunks(model.encode, x, BATCH), features),
            "output": largest_difference(in_chunks(model, x, BATCH), y),
            "network_gradient": relative_norm(theirs[:n_matrix], gradient[:n_matrix]),
            "grid_gradient": relative_norm(theirs[n_matrix:], gradient[n_matrix:]),
        }
        worst = {name: max(value, found[name]) for name, value in worst.items()}
    shown = (f"{name.replace('_', ' ')} {worst[name]:.0e} (<= {limit:g})" for name, limit in tolerances.items())
    print(f"  torch differs from ours by: {', '.join(shown)}", flush=True)
    if not all(worst[name] <= limit for name, limit in tolerances.items()):
        raise SystemExit("the torch model differs from ours, so they cannot be compared")
    return worst


def largest_difference(a: Tensor, b: Tensor) -> float:
    """max |a - b| / max |b|."""
    return float((a - b).abs().max() / b.abs().max())


def relative_norm(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b| in the L2 norm."""
    return float((a - b).norm() / b.norm())


# Throughput


def measure_throughput(
    ours: Ours, peer: Torch, native: Ours | None, sizes: tuple[int, ...], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measure queries per second for every operation and size, and print a table."""
    peers = ["torch best", "torch plain", *(["tinycudann"] if native else [])]
    print(f"  {'M queries/s':<12}{'queries':>8}{'ours':>9}" + "".join(f"{name:>13}{'ratio':>8}" for name in peers))
    rows = []
    for operation in OPERATIONS:
        rates: dict[str, float] = {}
        for log2_size in sizes:
            size = 2**log2_size
            x, target = batch(size, ours.model.device)
            tasks = {"ours": ours.task(operation, x, target)}
            # Leave out peers that already took too long at a smaller size
            quick = [name for name in peers if name not in rates or size / rates[name] <= arguments.limit]
            for name in quick:
                source = native.task if native and name == "tinycudann" else None
                tasks[name] = source(operation, x, target) if source else peer.task(name, operation, x, target)
            seconds = time_in_turn(tasks, ours.model.device, arguments.rounds)
            measured = {name: size / value for name, value in seconds.items()}
            rates.update(measured)
            columns = "".join(
                f"{measured[name] / 1e6:>13.2f}{measured['ours'] / measured[name]:>7.1f}x" if name in measured
                else f"{'-':>13}{'':>8}"
                for name in peers
            )  # fmt: skip
            print(f"  {operation:<12}{f'2^{log2_size}':>8}{measured['ours'] / 1e6:>9.2f}{columns}", flush=True)
            rows.append(
                {
                    "operation": operation,
                    "queries": size,
                    "queries_per_second": measured,
                    "speed_ratio": {name: measured["ours"] / measured[name] for name in peers if name in measured},
                }
            )
    if any(len(row["queries_per_second"]) <= len(peers) for row in rows):
        print(f"  -: left out, since one call would take more than {arguments.limit:g} s")
    return rows


# Shares of a training step


def measure_shares(ours: Ours, rounds: int) -> dict[str, float]:
    """Measure the parts of a training step by timers around them [s, medians], and print a table."""
    trainer, backend, device = ours.trainer, ours.model.backend, ours.model.device
    parts = {
        "encoding": (backend, "encode"),
        "MLP forward": (backend.network, "forward"),
        "loss": (trainer._loss, "evaluate"),
        "MLP backward": (backend.network, "backward"),
        "grid scatter": (backend.structure.encoding, "backward_params"),
        "optimizer": (trainer.optimizer, "step"),
        "step": (trainer, "step"),
    }
    taken: dict[str, list[float]] = {name: [] for name in parts}

    def timed(name: str, function: Callable) -> Callable:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            synchronize(device)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            synchronize(device)
            taken[name].append(time.perf_counter() - start)
            return result

        return wrapper

    for name, (owner, method) in parts.items():
        setattr(owner, method, timed(name, getattr(owner, method)))
    x, target = batch(BATCH, device)
    try:
        warm_up = 3
        for _ in range(warm_up + rounds):
            trainer.step(x, target)
    finally:
        for owner, method in parts.values():
            delattr(owner, method)  # restores the method of the class
    seconds = {name: statistics.median(values[warm_up:]) for name, values in taken.items()}
    step = seconds.pop("step")
    seconds["rest"] = max(0.0, step - sum(seconds.values()))
    print(f"  a training step of {BATCH:,} queries, {step * 1e3:.2f} ms with timers inside:")
    for name, value in seconds.items():
        print(f"    {name:<14}{value * 1e3:>8.2f} ms{value / step:>7.0%}")
    return {**seconds, "step": step}


# Ceilings


def measure_ceilings(device: torch.device, threads: int, ours: Ours, rounds: int) -> dict[str, float]:
    """Measure the peak rates of the machine."""
    launcher, mlp = ours.model.backend.launcher, ours.model.structure.mlp
    ceilings = {"copy_bytes_per_second": copy_bandwidth(device, threads, rounds)}
    for log2_entries in TABLE_SIZES:
        ceilings[f"gathers_per_second_2^{log2_entries}"] = gather_rate(launcher, log2_entries, rounds)
    dtype = ours.model.backend.precision
    ceilings["matrix_flops"] = matrix_rate(launcher, mlp.shapes, dtype, rounds)
    return ceilings


def compare_with_ceilings(
    ceilings: dict[str, float], ours: Ours, log2_entries: int, throughput: list[dict], shares: dict[str, float]
) -> dict[str, float]:
    """Compare our rates with the peak rates, and print a table."""
    encoding, mlp = ours.model.structure.encoding, ours.model.structure.mlp
    flops = sum(2 * a * b for a, b in mlp.shapes)
    points = max(row["queries_per_second"]["ours"] for row in throughput if row["operation"] == "encode")
    gathers = points * 2**N_INPUT * len(encoding.levels)
    reached = {
        "encode_stream_bytes_per_second": points * 4 * (N_INPUT + encoding.n_output_dims),
        "encode_gathers_per_second": gathers,
        "mlp_forward_flops": BATCH * flops / shares["MLP forward"],
        "mlp_backward_flops": BATCH * 2 * flops / shares["MLP backward"],
    }
    random, copy, matrix = (
        ceilings[name] for name in (f"gathers_per_second_2^{log2_entries}", "copy_bytes_per_second", "matrix_flops")
    )
    lines = [
        ("gathers of 8 bytes, encoding", gathers, random, "G/s"),
        ("points read and features written", reached["encode_stream_bytes_per_second"], copy, "GB/s"),
        (f"matrix products ({ours.model.precision}), forward", reached["mlp_forward_flops"], matrix, "GFLOP/s"),
        (f"matrix products ({ours.model.precision}), backward", reached["mlp_backward_flops"], matrix, "GFLOP/s"),
    ]
    counts = getattr(ours.trainer.optimizer, "counts", None)
    if counts is not None:
        # Each moved parameter reads its gradient, weight, moments and count, and writes the last three
        moved = int((counts > 0).sum())
        reached["optimizer_params_moved"] = moved
        reached["optimizer_bytes_per_second"] = moved * 36 / shares["optimizer"]
        lines.append((f"optimizer, up to {moved:,} parameters", reached["optimizer_bytes_per_second"], copy, "GB/s"))
    print(f"  {'ceilings':<42}{'ours':>9}{'ceiling':>10}")
    for name, value, ceiling, unit in lines:
        print(f"    {name:<40}{value / 1e9:>9.2f}{ceiling / 1e9:>10.2f} {unit:<8}{value / ceiling:>6.0%}")
    return reached


def measure_model(log2_entries: int, device: torch.device, arguments: argparse.Namespace, notes: dict) -> dict:
    """Measure everything for one model, and print it."""
    ours = Ours(log2_entries, device, arguments.threads)
    print(f"\nTables of 2^{log2_entries}: {ours.model!r}", flush=True)
    peer = Torch(ours, arguments.threads)
    differences = check_agreement(ours, peer)
    print(f"  torch's fastest settings, its network in {str(peer.dtype).removeprefix('torch.')}:", flush=True)
    trials = peer.try_settings(TRIAL_SIZES[: 1 if arguments.quick else None], 3)
    native = build_native(log2_entries, device, arguments.threads)
    throughput = measure_throughput(ours, peer, native, QUICK_SIZES if arguments.quick else SIZES, arguments)
    # A new model, to count the entries that these steps move
    ours = Ours(log2_entries, device, arguments.threads)
    shares = measure_shares(ours, 10 if arguments.quick else 30)
    if not notes.get("ceilings"):
        notes["ceilings"] = measure_ceilings(device, arguments.threads, ours, arguments.rounds)
    return {
        "log2_entries": log2_entries,
        "precision": ours.model.precision,
        "torch_precision": str(peer.dtype).removeprefix("torch."),
        "differences": differences,
        "torch_trials": trials,
        "throughput": throughput,
        "step_seconds": shares,
        "reached": compare_with_ceilings(notes["ceilings"], ours, log2_entries, throughput, shares),
    }


def build_native(log2_entries: int, device: torch.device, threads: int) -> Ours | None:
    """tiny-cuda-nn behind this package's interface, or None if it cannot run."""
    if device.type != "cuda":
        return None
    try:
        return Ours(log2_entries, device, threads, backend="tinycudann")
    except NrcError as error:
        print(f"  tinycudann is left out: {error}")
        return None


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", help="cpu or cuda:0; a GPU if there is one unless given")
    parser.add_argument("--threads", type=int, default=default_threads(), help="threads on the CPU")
    parser.add_argument(
        "--quick", action="store_true", help=f"at most 2^{QUICK_SIZES[-1]} queries, only tables of 2^15"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=1.0, help="longest time of one call of a peer [s]")
    parser.add_argument(
        "--json",
        nargs="?",
        type=Path,
        const=Path(),
        help="write results to this file, or without a name to benchmarks/results",
    )
    arguments = parser.parse_args()

    start = time.time()
    device = nn.Model(N_INPUT, 1, configuration(12), device=arguments.device, threads=1).device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    machine = describe_machine(("nrc-tracer", "warp-lang", "torch"))
    machine |= {"device": gpu or "cpu", "threads": arguments.threads}
    print(", ".join(f"{k} {v}" for k, v in machine.items()))
    notes: dict[str, Any] = {}
    results = [measure_model(t, device, arguments, notes) for t in TABLE_SIZES[: 1 if arguments.quick else None]]
    print(f"\n{time.time() - start:.0f} s in total")
    if arguments.json is not None:
        file = (
            RESULTS / f"nn-{device_slug(gpu, arguments.threads)}.json" if arguments.json == Path() else arguments.json
        )
        file.write_text(json.dumps({"machine": machine, **notes, "results": results}, indent=1) + "\n")
        print(f"written to {file}")


if __name__ == "__main__":
    main()
