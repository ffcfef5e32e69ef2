"""Try many damaged files: `python -m tests.fuzz --inputs 100000 [--seed 0] [--only glb]`."""

from __future__ import annotations

import argparse
import resource
import sys
import time

from tests.fuzz.runner import run


def main() -> int:
    """Run, print a table, and return 1 if there were failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="formats whose name contains this")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    start = time.monotonic()
    report = run(arguments.inputs, seed=arguments.seed, only=arguments.only, processes=arguments.processes)
    print(f"{'format':<16}{'inputs':>9}{'refused':>9}{'slowest':>10}")
    for name in sorted(report.tried):
        print(f"{name:<16}{report.tried[name]:>9}{report.refused[name]:>9}{report.slowest.get(name, 0.0):>8.2f} s")
    for failure in report.failures[:20]:
        print(f"\n{failure.format}, seed {failure.seed}: {failure.problem}")
    total = sum(report.tried.values())
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    print(
        f"\n{total} inputs in {time.monotonic() - start:.0f} s, {len(report.failures)} failures, "
        f"at most {memory:.0f} MiB resident in a process"
    )
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
