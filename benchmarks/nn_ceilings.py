"""How close models come to what the machine could do: multiply-adds in registers, random reads of tables, copies of memory."""

from __future__ import annotations

import math
from typing import Any

import torch

from benchmarks.ceilings import copy_bandwidth, gather_rate, matrix_rate, multiply_add_rate
from benchmarks.nn_cases import Case, Ours, batch
from nrc_tracer.nn.radiance_field import RadianceField

PASSES = 3
"""Work of the products of a training step, in forward passes."""


class Ceilings:
    """The peak rates of a machine, each measured when it is first needed.

    Args:
        device: Torch device.
        threads: Threads on the CPU.
        rounds: Number of timings.

    Attributes:
        rates: The rates by name, per second.
    """

    def __init__(self, device: torch.device, threads: int, rounds: int) -> None:
        self._device, self._threads, self._rounds = device, threads, rounds
        self.rates: dict[str, float] = {}

    def _rate(self, name: str, measure: Any) -> float:
        if name not in self.rates:
            self.rates[name] = measure()
        return self.rates[name]

    def seconds(self, ours: Ours, case: Case, operation: str, size: int) -> float:
        """The shortest time that an operation could take for `size` queries, at these rates.

        The products' multiply-adds, the reads of the grids' entries and, in training, the optimizer's reads and writes of the
        parameters that a step moves follow each other.
        """
        launcher, structure = ours.model.backend.launcher, ours.model.structure
        mlp = structure.mlp
        networks = [mlp.density, mlp.rgb] if isinstance(mlp, RadianceField) else [mlp]
        flops = sum(2 * a * b for network in networks for a, b in network.shapes)
        if self._device.type == "cpu":
            rate = self._rate("multiply_adds", lambda: multiply_add_rate(launcher, self._rounds))
        else:
            shapes = networks[0].shapes
            rate = self._rate(
                "matrix_flops", lambda: matrix_rate(launcher, shapes, ours.model.backend.precision, self._rounds)
            )
        reads = 0.0
        for grid in ours.grids:
            log2_entries = math.ceil(math.log2(max(level.entries for level in grid.levels)))
            gathers = self._rate(
                f"gathers_2^{log2_entries}",
                lambda log2_entries=log2_entries: gather_rate(launcher, log2_entries, self._rounds),
            )
            reads += len(grid.levels) * 2**grid.n_input_dims / gathers
        products = 0.0 if operation == "encode" else flops / rate
        if operation != "training":
            return size * (products + reads)
        copied = self._rate("copied_bytes", lambda: copy_bandwidth(self._device, self._threads, self._rounds))
        return size * (PASSES * products + 2 * reads) + self._moved_bytes(ours, case, size) / copied

    def _moved_bytes(self, ours: Ours, case: Case, size: int) -> int:
        """Bytes that the optimizer reads and writes in one step: weight, moments and count, and the average with its step."""
        fresh = Ours(case, self._device, self._threads)
        fresh.trainer.step(*batch(size, self._device, case))
        optimizer, has_average = fresh.trainer.optimizer, False
        while not hasattr(optimizer, "counts"):
            has_average = has_average or hasattr(optimizer, "averages")
            optimizer = optimizer.nested
        return int((optimizer.counts > 0).sum()) * 2 * (24 if has_average else 16)
