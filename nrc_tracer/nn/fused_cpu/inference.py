"""Inference by the fused kernel, from inputs to outputs."""

from __future__ import annotations

import threading

from torch import Tensor

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn.fused_cpu.arguments import Counters, Recorded, Slabs, Structs, items_for, program_data
from nrc_tracer.nn.fused_cpu.kernels import infer_kernel
from nrc_tracer.nn.fused_cpu.program import SHORT_STRETCH, STRETCH, Program
from nrc_tracer.nn.fused_cpu.structs import Call

WORTH_SHARING = 1 << 20
"""Smallest work that is shared among threads [multiplications]. Less takes about as long as starting it on another thread."""

PIECES_PER_THREAD = 2
"""Number of pieces of work per thread, where there are several threads and enough points, so that one slow thread does not delay
the others."""


class FusedInference:
    """Runs a program. Results do not depend on the number of threads.

    Args:
        program: The model's program; see `program.plan`.
        n_input_dims: Number of input columns of the model.
        launcher: The CPU launcher.
    """

    def __init__(self, program: Program, n_input_dims: int, launcher: TorchLauncher) -> None:
        self._launcher = launcher
        self._n_outputs = len(program.outputs)
        self._lock = threading.Lock()  # calls share the arguments and the slabs, so they run one at a time
        self._items = 0
        self._slabs, self._stretch = Slabs(program.slab), program.stretch
        self._row_work = program.row_work
        calls = Structs(Call, 1)
        self._call = calls.fields[0]
        arguments = [program_data(program, n_input_dims, launcher), calls.array]
        self._run = Recorded(infer_kernel(program.grids), arguments)
        self._counters = Counters(calls.fields)

    def __call__(self, x: Tensor, params: Tensor, kept: Tensor | None = None) -> Tensor:
        """The output, float32 [N, outputs].

        Args:
            x: Inputs, float32 [N, n_input_dims], contiguous.
            params: All parameters of the model, float32, contiguous.
            kept: Receives the results of the layers, float32 [blocks, kept_size], if given; see `Program.kept`.
        """
        n = x.shape[0]
        out = x.new_empty(n, self._n_outputs)
        if not n:
            return out
        with self._lock:
            call = self._call
            if call.n != n:
                self._divide(n)
            call.x, call.params, call.out = x.data_ptr(), params.data_ptr(), out.data_ptr()
            call.kept = 0 if kept is None else kept.data_ptr()
            self._counters.start(1)
            self._run.run(self._launcher, self._items)
        return out

    def _divide(self, n: int) -> None:
        """Prepare the arguments for calls with n rows."""
        # Long stretches read less of the tables. Several threads get several each, but not shorter ones than necessary
        threads = items_for(-(-n // STRETCH), self._launcher.threads, n * self._row_work, WORTH_SHARING)
        shortest = max(STRETCH, -(-n // (threads if threads == 1 else PIECES_PER_THREAD * threads)))
        stretch = min(-(-shortest // SHORT_STRETCH) * SHORT_STRETCH, self._stretch)
        self._items = min(-(-n // stretch), threads)
        self._call.n, self._call.stretch, self._call.slabs = n, stretch, self._slabs.address(self._items)
