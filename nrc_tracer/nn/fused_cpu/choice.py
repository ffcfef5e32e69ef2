"""The choice of a model's form: fused kernels, or blocks of matrix products through torch, whichever is faster.

Short timed trials with a small and a large batch decide, once per machine and shape of network. A model has one form for all
batches, so that its outputs do not depend on how a caller divides the rows: the fused one if it is worth while in both trials.
The results are kept in Warp's kernel cache, so that near ties do not change bits from run to run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import statistics
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import warp as wp

from nrc_tracer.device.torch_launcher import TorchLauncher, single_threaded_torch
from nrc_tracer.errors import ConfigError, OutputError, nearest
from nrc_tracer.files.atomic import replacing
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.blocked_mlp import BlockedMlp
from nrc_tracer.nn.forms import FORMS
from nrc_tracer.nn.fused_cpu.inference import FusedInference
from nrc_tracer.nn.fused_cpu.program import NotFused, Program, plan
from nrc_tracer.nn.mlp import Mlp
from nrc_tracer.nn.radiance_field import RadianceField
from nrc_tracer.nn.structure import Structure
from nrc_tracer.version import __version__

VARIABLE = "NRC_TRACER_CPU_FORM"
"""Name of the environment variable that sets the form of all models made with the form `auto`."""

WORTHWHILE = 1.3
"""Smallest speed of the fused form, relative to the blocked form, for which the fused form is chosen."""

ROWS = (2**11, 2**14)
"""Numbers of input rows in the trials: of a step of training or a small query, and of a large query."""

ROUNDS = 7
"""Number of timings of each form in a trial."""

FILE = "nrc_tracer_network_forms.json"
"""Name of the file with the results of trials, in the folder of Warp's kernel cache."""


@dataclass(frozen=True)
class Choice:
    """A form and why it was chosen.

    Attributes:
        form: `fused` or `blocked`.
        precision: Type of the operands of matrix products.
        reason: The reason as text, for `Model.backend_report`.
    """

    form: str
    precision: torch.dtype
    reason: str


def choose_form(structure: Structure, form: str, *, wanted: str, precision: torch.dtype) -> Choice:
    """Choose the form of a model on the CPU.

    Args:
        structure: The model.
        form: The requested form, one of `FORMS`.
        wanted: Name of the requested precision; the fused form computes in float32 only.
        precision: Precision of the blocked form.

    Raises:
        ConfigError: The form in the environment does not exist, or the requested form cannot run the model.
    """
    asked = form if form != "auto" else os.environ.get(VARIABLE, "auto")
    if asked not in FORMS:
        raise ConfigError(f'{VARIABLE}: unknown "{asked}"{nearest(asked, FORMS)}')
    if asked == "blocked":
        return Choice("blocked", precision, "as requested")
    if wanted not in ("auto", "float32"):
        if form == "fused":
            raise ConfigError(f'form: fused kernels on the CPU use float32, not {wanted}; use precision="float32"')
        return Choice("blocked", precision, f"fused kernels on the CPU use float32, not {wanted}")
    try:
        program = plan(structure)
    except NotFused as error:
        if form == "fused":
            raise ConfigError(f'form: {error}; use form="auto"') from error
        return Choice("blocked", precision, str(error))
    if asked == "fused":
        return Choice("fused", torch.float32, "as requested")
    ratios = [_stored_speedup(structure, program, precision, rows) for rows in ROWS]
    name = str(precision).removeprefix("torch.")
    found = " and ".join(f"{ratio:.2f} x" for ratio in ratios)
    sizes = " and ".join(f"{rows:,}" for rows in ROWS)
    reason = f"{found} the speed of blocked {name} products for {sizes} rows in trials on this machine"
    if min(ratios) >= WORTHWHILE:
        return Choice("fused", torch.float32, reason)
    return Choice("blocked", precision, f"because fused kernels had only {reason}, less than {WORTHWHILE} x")


def choices_file() -> Path:
    """The path of the file with the results of trials. Warp must have been initialized."""
    return Path(wp.config.kernel_cache_dir) / FILE


def _networks(structure: Structure) -> list[Mlp]:
    mlp = structure.mlp
    if isinstance(mlp, RadianceField):
        return [mlp.density, mlp.rgb]
    return [] if mlp is None else [mlp]


def _stored_speedup(structure: Structure, program: Program, precision: torch.dtype, rows: int) -> float:
    """The speed of the fused form relative to the blocked form for `rows` rows: from the file if stored, else from a trial."""
    shapes = [
        [*network.shapes, network.config.activation, network.config.output_activation]
        for network in _networks(structure)
    ]
    key = json.dumps([shapes, str(precision), rows])
    path = choices_file()
    known = _read(path)
    machine = _machine()
    found = known.get(machine, {}).get(key)
    if not isinstance(found, float):
        found = round(measure_speedup(structure, program, precision, rows), 3)
        known = _read(path)
        known.setdefault(machine, {})[key] = found
        with (
            contextlib.suppress(OutputError),
            replacing(path) as temporary,
        ):  # if writing fails, the next process repeats the trial
            temporary.write_text(json.dumps(known, indent=1))
    return found


def _read(path: Path) -> dict:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


@cache
def _machine() -> str:
    """A key for everything except the model that a trial depends on: processor, instruction sets, and versions."""
    name, flags = platform.processor() or platform.machine(), ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = hashlib.sha256(value.encode()).hexdigest()[:8]
    return f"{name} {flags}, nrc_tracer {__version__}, warp {wp.__version__}, torch {torch.__version__}"


def measure_speedup(structure: Structure, program: Program, precision: torch.dtype, rows: int) -> float:
    """Measure the speed of the fused form relative to the blocked form for `rows` rows, on one thread and without the encoding.

    The two forms take turns, and the result is the ratio of their median times. These are CPU times of the thread, so that other
    work on the machine does not count.
    """
    launcher = TorchLauncher("cpu", threads=1)
    tasks = []
    with single_threaded_torch(launcher), torch.inference_mode():
        for network in _networks(structure):
            alone = Structure(network.n_input_dims, network.n_output_dims, configuration.Identity(), network.config)
            fused = FusedInference(plan(alone).with_grids(program.grids), network.n_input_dims, launcher)
            blocked = BlockedMlp(network, launcher, precision)
            params = alone.initial_params(1)
            x = torch.rand(rows, network.n_input_dims, generator=torch.Generator().manual_seed(1))
            tasks.append((fused, blocked, x, params))
        seconds: dict[str, list[float]] = {"fused": [], "blocked": []}
        for turn in range(ROUNDS + 1):
            for name, run in (("fused", lambda t: t[0](t[2], t[3])), ("blocked", lambda t: t[1].infer(t[2], t[3]))):
                start = time.thread_time()
                for task in tasks:
                    run(task)
                if turn:  # the first round is a warm-up
                    seconds[name].append(time.thread_time() - start)
    return statistics.median(seconds["blocked"]) / statistics.median(seconds["fused"])
