"""Training by the fused kernels: the gradient of a loss, or a whole step of an optimizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.pages import prefer_large_pages
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn.encodings.grid import GridEncoding
from nrc_tracer.nn.fused_cpu.adam_chain import AdamChain
from nrc_tracer.nn.fused_cpu.arguments import Counters, Recorded, Slabs, Structs, items_for, program_data, rows_of
from nrc_tracer.nn.fused_cpu.kernels import training_kernels
from nrc_tracer.nn.fused_cpu.loss_snippets import GIVEN
from nrc_tracer.nn.fused_cpu.loss_snippets import NUMBERS as LOSSES
from nrc_tracer.nn.fused_cpu.program import GROUPS, SHORT_STRETCH, STRETCH, Program
from nrc_tracer.nn.fused_cpu.structs import Call, GridData, Step, Update
from nrc_tracer.nn.losses import Huber, LossFunction, RoundedMape, TargetLoss
from nrc_tracer.nn.regions import Regions

WEIGHTS_PER_PIECE = 2048
"""Number of network weights per piece of work of the kernels that sum their gradients or step them."""

PARAMS_PER_PIECE = 16384
"""Number of parameters per piece of work of the kernel that reads averages."""

PASSES = 3
"""Work of a forward and a backward pass, in forward passes."""

WORTH_SHARING = 1 << 23
"""Smallest work that is shared among threads [multiplications]. It is larger than in inference, since threads also wait for one
another between the passes and the sums."""

MARKED = 128
"""Number of gradients whose marks are read at a time."""

LONGEST_RUN = 16
"""Largest number of steps in one launch."""


@dataclass(frozen=True)
class Batch:
    """The batch of a step.

    Attributes:
        x: Inputs, float32 [N, n_input_dims], contiguous, N at least 1.
        evaluate: The loss; None if `d_out` is given.
        d_out: The gradient of the outputs, float32 [N, outputs], contiguous; None if `evaluate` is given. The loss is then 0.
    """

    x: Tensor
    evaluate: TargetLoss | None
    d_out: Tensor | None = None


class FusedTraining:
    """Trains a model. Results do not depend on the number of threads.

    Args:
        program: The model's program with places for gradients: `program.plan` with `keep`.
        n_input_dims: Number of input columns of the model.
        n_weights: Number of weights of its networks.
        launcher: The CPU launcher.

    Attributes:
        grids: The parts of the encoding that are grids.
    """

    def __init__(self, program: Program, n_input_dims: int, n_weights: int, launcher: TorchLauncher) -> None:
        self._launcher = launcher
        self._n_outputs = len(program.outputs)
        self._n_weights = n_weights
        self._calls, self._steps, self._updates = (Structs(struct, LONGEST_RUN) for struct in (Call, Step, Update))
        for step in self._steps.fields:
            step.n_weights, step.slice, step.late = n_weights, WEIGHTS_PER_PIECE, program.late
            step.n_direct = sum(buffer is program.layers[-1].target for buffer, _ in program.outputs)
        self._slabs, self._stretch = Slabs(program.slab), program.stretch
        self._row_work = PASSES * program.row_work
        self._sums = np.zeros((LONGEST_RUN, GROUPS, 2))
        for index, step in enumerate(self._steps.fields):
            step.sums = self._sums.ctypes.data + self._sums.strides[0] * index
        self._divided: tuple[object, ...] = ()  # the run whose work is divided now: see `_divide`
        self._items = 0
        self._no_loss = torch.zeros(())
        self._counters = Counters(self._calls.fields)
        self._d_features = self._d_weights = self._points = torch.empty(0)

        grids, self.grids, self._regions, largest = [], [], [], 0
        for index, (part, _) in enumerate(program.parts):
            if isinstance(part.encoding, GridEncoding):
                grids.append(index)
                self.grids.append(part)
                layout = part.encoding.layout
                self._regions.append(Regions(layout, launcher.device, launcher.threads, listed=False))
                largest = max(largest, int(self._regions[-1].sizes.max()) * layout.n_features)
        self._n_grid_columns = sum(part.encoding.n_output_dims for part in self.grids)
        self._n_grid_inputs = sum(part.encoding.n_input_dims for part in self.grids)
        rows = rows_of(GridData, len(grids))
        self._n_regions = 0
        for row, index, regions in zip(rows, grids, self._regions, strict=True):
            row["part"], row["first_piece"], row["n_regions"] = index, self._n_regions, regions.count
            row["regions"] = regions.rows.ptr
            self._n_regions += regions.count
        self._place = -(-largest // MARKED) * MARKED
        self._gradients: Tensor | None = None
        self._marks = torch.empty(0)
        array = wp.array(rows, dtype=GridData, device="cpu")

        kernels = training_kernels(program.grids)
        data = program_data(program, n_input_dims, launcher)
        self._n_slices = slices = -(-n_weights // WEIGHTS_PER_PIECE)
        calls, steps, updates = (structs.array for structs in (self._calls, self._steps, self._updates))
        arguments = [data, calls, steps, array, updates, self._n_regions, slices]
        self._descend = Recorded(kernels.descend, arguments)
        n_params = n_weights + sum(part.encoding.n_params for part in self.grids)
        self._n_params, self._n_stretches = n_params, -(-n_params // PARAMS_PER_PIECE)
        arguments = [calls, updates, n_weights, PARAMS_PER_PIECE, self._n_stretches]
        self._read_averages = Recorded(kernels.read_averages, arguments)

    def gradient(
        self,
        x: Tensor,
        params: Tensor,
        evaluate: TargetLoss | None,
        d_out: Tensor | None,
        d_weights: Tensor,
        d_inputs: Tensor | None = None,
        *,
        judge: bool = True,
        kept: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor] | None]:
        """The mean loss, and its gradients with respect to the networks' weights and the features of grids.

        Args:
            x: Inputs, float32 [N, n_input_dims], contiguous, N at least 1.
            params: Parameters, float32 [n_params], contiguous.
            evaluate: The loss; None if `d_out` is given.
            d_out: The gradient of the outputs, float32 [N, outputs]; the returned loss is then 0. None if `evaluate` is given.
            d_weights: Receives the gradient of the weights, float32 [n_weights].
            d_inputs: Receives the gradient of all features, float32 [N, width], if given. With fewer columns, it receives the
                first of them.
            judge: Whether to return no gradients if the loss or a gradient is not finite, in which case the contents of
                `d_weights` are undefined. If not, the returned loss is 0.
            kept: The results of the layers that inference has kept for these inputs and parameters, if any.

        Returns:
            The loss, 0-d, and, for each of `grids`, the gradient of its features, float32 [N, features], in memory that the next
            call reuses. None in place of the gradients if `judge` is set and a number is not finite.
        """
        step = self._steps.fields[0]
        step.by_level = step.optimizes = 0
        if d_inputs is not None:
            step.d_inputs, step.width = d_inputs.data_ptr(), d_inputs.shape[1]
        step.gradient = d_weights.data_ptr()
        self._prepare(0, params, x, evaluate, d_out)
        self._calls.fields[0].kept = 0 if kept is None else kept.data_ptr()
        self._run(1)
        step.d_inputs = self._calls.fields[0].kept = 0
        loss, magnitude = self._totals(0) if judge else (self._no_loss, 0.0)
        if not math.isfinite(magnitude):
            return loss, None
        n, found, begin = x.shape[0], [], 0
        for part in self.grids:
            columns = part.encoding.n_output_dims
            found.append(self._d_features[begin : begin + n * columns].view(n, columns))
            begin += n * columns
        return loss, found

    def steps(self, batches: Sequence[Batch], params: Tensor, chain: AdamChain) -> list[tuple[Tensor, bool]]:
        """Take steps of the optimizer `chain`, one for each batch, LONGEST_RUN at most. A step whose loss or gradients are not
        finite is skipped, and ends the run.

        Args:
            batches: The batches, each with at least one row.
            params: Parameters, float32 [n_params], contiguous.
            chain: The optimizer.

        Returns:
            For each step up to the last one taken or skipped, the loss, 0-d, and whether it was taken.
        """
        memory = self._memory_of_regions()
        before = []
        chain.reserve(len(batches))
        for index, batch in enumerate(batches):
            step = self._steps.fields[index]
            step.by_level, step.optimizes, step.gradient, step.place = 1, 1, memory, self._place
            step.marks = self._marks.data_ptr()
            before.append(chain.begin_step(self._updates.fields[index]))
            self._prepare(index, params, batch.x, batch.evaluate, batch.d_out)
        self._run(len(batches))
        results: list[tuple[Tensor, bool]] = []
        for index in range(len(batches)):
            taken = self._counters.has_second_phase(index)
            results.append((self._totals(index)[0], taken))
            if not taken:
                chain.go_back(before[index])
                break
        return results

    def read_averages(self, params: Tensor, out: Tensor, chain: AdamChain) -> None:
        """Copy the averages of all parameters, brought up to the last step, to `out`, float32 [n_params]."""
        call = self._calls.fields[0]
        call.n, call.params, call.out = self._n_params, params.data_ptr(), out.data_ptr()
        chain.before_reading(self._updates.fields[0])
        self._counters.start(1)
        self._divided = ()
        self._read_averages.run(self._launcher, min(self._n_stretches, self._launcher.threads))

    def _memory_of_regions(self) -> int:
        """The address of memory for the gradients of a region, a place for each thread; small, so that it stays in the cache."""
        if self._gradients is None:
            size = self._launcher.threads * self._place
            self._gradients = prefer_large_pages(torch.zeros(size + 16))
            self._marks = torch.zeros(size // 16, dtype=torch.uint8)
        return -(-self._gradients.data_ptr() // 64) * 64

    def _prepare(
        self, index: int, params: Tensor, x: Tensor, evaluate: TargetLoss | None, d_out: Tensor | None
    ) -> None:
        """Write the arguments of one step of a run. For the batch, see `Batch`."""
        call, step = self._calls.fields[index], self._steps.fields[index]
        call.x, call.params, call.n = x.data_ptr(), params.data_ptr(), x.shape[0]
        step.factor = step.pdf = 0
        if d_out is not None:
            step.loss, step.d_out, step.target = GIVEN, d_out.data_ptr(), 0
        elif evaluate is not None:
            step.loss, step.d_out, step.target = LOSSES[type(evaluate.loss)], 0, evaluate.target.data_ptr()
            step.delta = _scale(evaluate.loss)
            if evaluate.factor is not None:
                step.factor, (step.factor_row, step.factor_step) = _view(evaluate.factor)
            if evaluate.pdf is not None:
                step.pdf, (step.pdf_row, step.pdf_step) = _view(evaluate.pdf)

    def _run(self, count: int) -> None:
        """Run the first `count` steps, whose arguments are prepared. They share their memory."""
        calls = self._calls.fields
        run = (self._steps.fields[0].optimizes, *[call.n for call in calls[:count]])
        if run != self._divided:
            self._divide(count)
            self._divided = run
        self._counters.start(count)
        self._descend.run(self._launcher, self._items)

    def _divide(self, count: int) -> None:
        """Divide the work of the first `count` steps, given their numbers of rows, and allocate the memory that they share."""
        calls, steps, threads = self._calls.fields[:count], self._steps.fields[:count], self._launcher.threads
        unit = STRETCH if self.grids or steps[0].optimizes else 2 * SHORT_STRETCH
        for call, step in zip(calls, steps, strict=True):
            rows = unit * -(-call.n // (unit * GROUPS))
            groups = -(-call.n // rows)
            # Long stretches read less of the tables, but every thread gets several pieces of work
            shared = groups if threads == 1 else groups // (2 * threads)
            step.groups, step.rows, step.span = groups, rows, max(1, min(self._stretch // rows, shared))
            step.weight = 1.0 / (call.n * self._n_outputs)
        n, groups = max(call.n for call in calls), max(step.groups for step in steps)
        shares = max(groups, self._n_regions + self._n_slices) if steps[0].optimizes else groups
        self._items = items_for(shares, threads, sum(call.n for call in calls) * self._row_work, WORTH_SHARING)
        if self._d_features.shape[0] < n * self._n_grid_columns:
            self._d_features = torch.empty(n * self._n_grid_columns)
        if self._points.shape[0] < n * self._n_grid_inputs:
            self._points = torch.empty(n * self._n_grid_inputs)
        if self._d_weights.shape[0] < groups * self._n_weights:
            self._d_weights = torch.empty(groups * self._n_weights)
        slabs, points = self._slabs.address(self._items), self._points.data_ptr()
        d_features, d_weights = self._d_features.data_ptr(), self._d_weights.data_ptr()
        for call, step in zip(calls, steps, strict=True):
            call.slabs, step.points, step.d_features, step.d_weights = slabs, points, d_features, d_weights
        steps[0].n_steps = count

    def _totals(self, index: int) -> tuple[Tensor, float]:
        """The mean loss of a step, 0-d, and the sum of the magnitudes of loss and gradients, in float32."""
        totals = self._sums[index, : self._steps.fields[index].groups].sum(axis=0).astype(np.float32)
        return torch.from_numpy(totals[:1])[0], float(totals[1])


def _scale(loss: LossFunction) -> float:
    """The error at which a loss changes its form, 0 for losses that have none."""
    if isinstance(loss, Huber):
        return loss.delta
    return loss.rounding if isinstance(loss, RoundedMape) else 0.0


def _view(values: Tensor) -> tuple[int, tuple[int, int]]:
    """The address of values [N], [N, 1] or [N, C], and their strides from row to row and from column to column [floats]."""
    if values.ndim == 1 or values.shape[1] == 1:
        return values.data_ptr(), (values.stride(0), 0)
    return values.data_ptr(), (values.stride(0), values.stride(1))
