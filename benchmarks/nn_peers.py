"""The peers of `benchmarks.nn` in plain torch: the fastest way to write the model, the usual one, and a compiled one."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

import nrc_tracer.nn as nn
from benchmarks.nn_cases import ADAM, Ours, batch
from benchmarks.timing import time_in_turn
from benchmarks.torch_grid import (
    LAYOUTS,
    PLAIN,
    AllLevelsModel,
    Setting,
    TorchModel,
    TorchTraining,
    in_chunks,
    torch_threads,
)
from nrc_tracer.nn.losses import build_loss
from nrc_tracer.nn.precision import DTYPES

OPERATIONS = ("encode", "inference", "training")

CHUNKS = {1: 2**14, 2: 2**17}
"""Queries that torch processes at a time: on one thread few enough for the cache, on several enough for all threads."""

CUDA_CHUNK = 2**19
"""Queries that torch processes at a time on CUDA, where memory is the limit."""

BATCH = 2**14
"""Queries of the batch for the check of agreement and the choice of torch's precision."""

TOLERANCES = {  # outputs; gradients of network and grid in relative L2 norm
    "float32": (1e-4, 1e-4, 1e-3),
    "bfloat16": (2e-2, 3e-2, 0.15),
    "float16": (2e-2, 3e-2, 0.06),
}
ENCODING_TOLERANCE = 2e-3
"""Tolerance of encoded features: without fused multiply-add in torch, positions at the finest level differ by 5e-4 of a cell."""


class Torch:
    """The model in plain torch, in every layout.

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
        half = DTYPES[model.precision] if self._device.type == "cuda" else torch.bfloat16
        candidates = {dtype: TorchModel.of(model, PLAIN, dtype) for dtype in {torch.float32, half}}
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

    def family(self, name: str) -> Callable[[str, Tensor, Tensor], Callable[[], object]]:
        """The function that makes tasks of a family, `torch best` or `torch plain`."""
        return lambda operation, x, target: self.task(name, operation, x, target)

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


class CompiledTorch:
    """The model in plain torch with all levels at once, as nerfstudio has it, compiled by `torch.compile`.

    Args:
        model: The model to copy.
        threads: Number of threads.
    """

    def __init__(self, model: nn.Model, threads: int) -> None:
        self._model = AllLevelsModel.of(model)
        self._threads = threads
        # Code for a fixed number of queries at first, for any number from the second one on
        self._encode, self._infer = torch.compile(self._model.encode), torch.compile(self._model)

    @staticmethod
    def is_available(device: torch.device) -> bool:
        """Whether there is a compiler for the device."""
        return device.type == "cuda" or any(shutil.which(name) for name in ("c++", "g++", "clang++"))

    def task(self, operation: str, x: Tensor, target: Tensor) -> Callable[[], object]:
        """The function to time for an operation. It compiles when it is first called."""
        encode, infer = self._encode, self._infer
        training = TorchTraining(self._model, ADAM, len(x), forward=infer)

        def run() -> None:
            with torch_threads(self._threads):
                if operation == "training":
                    training.step(x, target)
                else:
                    with torch.no_grad():
                        (encode if operation == "encode" else infer)(x)

        return run


# Agreement


def check_agreement(ours: Ours, peer: Torch) -> dict[str, float]:
    """Check that the peer is the same model, by outputs and gradients of one batch.

    Raises:
        SystemExit: It is a different model.
    """
    x, target = batch(BATCH, ours.model.device)
    n_matrix = ours.model.structure.n_matrix_params
    assert ours.encoder is not None
    features, y = ours.encoder(x), ours.model(x)
    loss = build_loss(ours.model.config.loss)
    gradient = ours.model.backend.gradient(x, ours.model.params, lambda p: loss.evaluate(p, target))[1].dense()
    of_outputs, of_network, of_grid = TOLERANCES[
        "bfloat16" if torch.bfloat16 in (peer.dtype, ours.model.backend.precision) else ours.model.precision
    ]
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
