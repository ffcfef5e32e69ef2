"""Encodings and networks compared with blocks of matrix products, with torch and with Dr.Jit, and their distance to the ceiling.

    python -m benchmarks.nn [--device cpu] [--threads 2] [--quick] [--cases 0 2] [--operations training] [--sizes 10 14]
                            [--json [FILE]]

Parts that are measured one after the other, by cases, operations or sizes, share a file of results.

The models are a hash grid (16 levels of 2 features, base resolution 16, growth 1.5, 3-D) with tables of 2^15 and of 2^19 entries
and an MLP of two hidden layers of 64 with ReLU, three outputs, RelativeL2 and Adam; the radiance cache's model; and the radiance
field of the NeRF task. Steps of training are single calls of `Trainer.step`.

`blocked` is this package's other form on the CPU: encoding by blocks, matrix products through torch in bfloat16 where that is
faster. The other peers, of the first two models, have the same work to do:

* `torch best`, `torch plain`: `benchmarks.torch_grid`. The benchmark first checks that it gives the same outputs and gradients.
  A trial in the same run chooses the fastest of several ways; `torch plain` reads tables by `table[index]`, one corner at a time,
  as most torch code does, on one thread or on all, whichever is faster.
* `compiled`: all levels at once, as in nerfstudio, under `torch.compile`; if there is a C++ compiler.
* `drjit`: Dr.Jit's `HashGridEncoding` and network on LLVM; if Dr.Jit and LLVM are installed.
* `tinycudann`: on CUDA, if it is installed.

All are timed in turn. The tables show milliseconds per call, medians, and ratios of times, theirs to ours. Compilation is
excluded. The ceiling is what products at the rate of multiply-adds in registers, reads of table entries at the rate of random
reads and, in training, the optimizer at the rate of copies would take one after the other.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.drjit_grid import DrJitModel, has_drjit
from benchmarks.machine import describe_machine, device_slug
from benchmarks.nn_cases import ADAM, CASES, Case, Ours, batch
from benchmarks.nn_ceilings import Ceilings
from benchmarks.nn_peers import OPERATIONS, CompiledTorch, Torch, check_agreement
from benchmarks.timing import time_in_turn
from nrc_tracer.device.launch import default_threads
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import NrcError

RESULTS = Path(__file__).parent / "results"

SIZES = (10, 11, 12, 14, 16, 18)
QUICK_SIZES = (10, 12, 14)
TRIAL_SIZES = (14, 16)
"""Binary logarithms of the number of queries: those measured, with `--quick`, and those for which torch's settings are chosen. A
setting is used for sizes up to that of its trial, the last one also for larger sizes."""

CACHE_STEP = 1536
"""Queries of a step of the radiance cache's training, measured besides the others."""

Task = Callable[..., Callable[[], object]]
"""Makes the function to time, for an operation, inputs and targets."""


def build_peers(ours: Ours, case: Case, device: torch.device, arguments: argparse.Namespace) -> tuple[dict, dict]:
    """The peers of a model, each with the function that makes its tasks, and notes about them for the results."""
    peers: dict[str, Task] = {}
    notes: dict[str, Any] = {}
    if device.type == "cpu":
        peers["blocked"] = Ours(case, device, arguments.threads, backend="blocked").task
    if not case.is_plain:
        return peers, notes
    plain = Torch(ours, arguments.threads)
    notes["differences"] = check_agreement(ours, plain)
    print(f"  torch's fastest settings, its network in {str(plain.dtype).removeprefix('torch.')}:", flush=True)
    notes["torch_precision"] = str(plain.dtype).removeprefix("torch.")
    notes["torch_trials"] = plain.try_settings(TRIAL_SIZES[: 1 if arguments.quick else None], 3)
    peers["torch best"], peers["torch plain"] = plain.family("torch best"), plain.family("torch plain")
    if CompiledTorch.is_available(device):
        peers["compiled"] = CompiledTorch(ours.model, arguments.threads).task
    else:
        print("  compiled is left out: there is no C++ compiler")
    if device.type == "cpu" and has_drjit():
        peers["drjit"] = DrJitModel(ours.model, ADAM, arguments.threads).task
    elif device.type == "cpu":
        print("  drjit is left out: Dr.Jit or LLVM is not installed")
    else:
        try:
            peers["tinycudann"] = Ours(case, device, arguments.threads, backend="tinycudann").task
        except NrcError as error:
            print(f"  tinycudann is left out: {error}")
    return peers, notes


def measure_case(case: Case, device: torch.device, arguments: argparse.Namespace, ceilings: Ceilings) -> dict[str, Any]:
    """Measure every operation and size of a model, and print a table."""
    ours = Ours(case, device, arguments.threads)
    print(f"\n{case.name}: {ours.model!r}\n  {ours.model.backend_report()}", flush=True)
    peers, notes = build_peers(ours, case, device, arguments)
    head = "".join(f"{name:>13}{'x ours':>8}" for name in peers)
    print(f"  {'ms':<12}{'queries':>8}{'ours':>9}{'of ceiling':>12}{head}")
    rows = []
    sizes = [2**s for s in arguments.sizes or (QUICK_SIZES if arguments.quick else SIZES)]
    for operation in OPERATIONS if case.is_plain else OPERATIONS[1:]:
        if operation not in arguments.operations:
            continue
        extra = [CACHE_STEP] if operation == "training" and not arguments.sizes else []
        taken: dict[str, tuple[float, int]] = {}
        for size in sorted(sizes + extra):
            x, target = batch(size, device, case)
            tasks = {"ours": ours.task(operation, x, target)}
            for name, make in peers.items():
                # Leave out peers that already took too long at a smaller size
                seconds, at = taken.get(name, (0.0, size))
                if seconds * size / at <= arguments.limit:
                    tasks[name] = make(operation, x, target)
            measured = time_in_turn(tasks, device, arguments.rounds)
            taken |= {name: (seconds, size) for name, seconds in measured.items()}
            share = ceilings.seconds(ours, case, operation, size) / measured["ours"]
            columns = "".join(
                f"{1e3 * measured[name]:>13.2f}{measured[name] / measured['ours']:>7.1f}x" if name in measured
                else f"{'-':>13}{'':>8}"
                for name in peers
            )  # fmt: skip
            shown = f"2^{size.bit_length() - 1}" if size & (size - 1) == 0 else f"{size:,}"
            print(f"  {operation:<12}{shown:>8}{1e3 * measured['ours']:>9.2f}{share:>12.0%}{columns}", flush=True)
            rows.append(
                {
                    "operation": operation,
                    "queries": size,
                    "seconds": measured,
                    "time_ratio": {name: measured[name] / measured["ours"] for name in peers if name in measured},
                    "share_of_ceiling": share,
                }
            )
    if any(len(row["seconds"]) <= len(peers) for row in rows):
        print(f"  -: left out, since one call would take more than {arguments.limit:g} s")
    return {"case": case.name, "report": ours.model.backend_report(), **notes, "rows": rows}


def merged(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Earlier results with later ones of the same machine added, in place of those of the same case, operation and size.

    Earlier results of another machine, or of other versions, are left out.
    """
    if earlier["machine"] != later["machine"]:
        return later
    cases = {case["case"]: case for case in earlier["results"]}
    for case in later["results"]:
        known = cases.get(case["case"], case)
        rows = {(row["operation"], row["queries"]): row for row in (*known["rows"], *case["rows"])}
        order = sorted(rows, key=lambda key: (OPERATIONS.index(key[0]), key[1]))
        cases[case["case"]] = known | case | {"rows": [rows[key] for key in order]}
    return {**later, "ceilings": earlier["ceilings"] | later["ceilings"], "results": list(cases.values())}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", help="cpu or cuda:0; a GPU if there is one unless given")
    parser.add_argument("--threads", type=int, default=default_threads(), help="threads on the CPU")
    parser.add_argument("--quick", action="store_true", help=f"at most 2^{QUICK_SIZES[-1]} queries, one hash grid")
    parser.add_argument(
        "--cases", type=int, nargs="+", choices=range(len(CASES)), metavar="N",
        help="numbers of the models: " + ", ".join(f"{index} {case.name}" for index, case in enumerate(CASES)),
    )  # fmt: skip
    parser.add_argument("--operations", nargs="+", choices=OPERATIONS, default=OPERATIONS)
    parser.add_argument(
        "--sizes", type=int, nargs="+", metavar="LOG2", help="binary logarithms of the number of queries"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=1.0, help="longest time of one call of a peer [s]")
    parser.add_argument("--json", nargs="?", type=Path, const=Path(), help="write results to this file, or to results/")
    arguments = parser.parse_args()

    start = time.time()
    device = TorchLauncher(arguments.device or ("cuda:0" if torch.cuda.is_available() else "cpu")).torch_device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    machine = describe_machine(("nrc-tracer", "warp-lang", "torch"))
    machine |= {"device": gpu or "cpu", "threads": arguments.threads}
    print(", ".join(f"{k} {v}" for k, v in machine.items()))
    ceilings = Ceilings(device, arguments.threads, arguments.rounds)
    cases = [CASES[index] for index in arguments.cases or ((0, 2, 3) if arguments.quick else range(len(CASES)))]
    results = [measure_case(case, device, arguments, ceilings) for case in cases]
    print("\nceilings: " + ", ".join(f"{name} {rate / 1e9:.2f} G/s" for name, rate in ceilings.rates.items()))
    print(f"{time.time() - start:.0f} s in total")
    if arguments.json is not None:
        named = RESULTS / f"nn-{device_slug(gpu, arguments.threads)}.json"
        file = named if arguments.json == Path() else arguments.json
        document = {"machine": machine, "ceilings": ceilings.rates, "results": results}
        if file.exists():
            document = merged(json.loads(file.read_text()), document)
        file.write_text(json.dumps(document, indent=1) + "\n")
        print(f"written to {file}")


if __name__ == "__main__":
    main()
