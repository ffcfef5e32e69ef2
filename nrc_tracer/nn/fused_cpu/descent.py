"""Training by the fused kernels: the gradient of a loss, or a whole step of an optimizer."""

from __future__ import annotations

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.pages import prefer_large_pages
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn.encodings.grid import GridEncoding
from nrc_tracer.nn.fused_cpu.adam_chain import AdamChain
from nrc_tracer.nn.fused_cpu.arguments import Recorded, Slabs, fields, items_for, program_data, rows_of
from nrc_tracer.nn.fused_cpu.kernels import training_kernels
from nrc_tracer.nn.fused_cpu.loss_snippets import GIVEN
from nrc_tracer.nn.fused_cpu.loss_snippets import NUMBERS as LOSSES
from nrc_tracer.nn.fused_cpu.program import GROUPS, STRETCH, Program
from nrc_tracer.nn.fused_cpu.structs import Call, GridData, Step, Update
from nrc_tracer.nn.losses import Huber, TargetLoss
from nrc_tracer.nn.regions import Regions

WEIGHTS_PER_ITEM = 2048
"""Number of network weights per item of the kernels that sum their gradients or step them."""

PASSES = 3
"""Work of a forward and a backward pass, in forward passes."""


class FusedTraining:
    """Trains a model. Results do not depend on the number of threads.

    Args:
        program: The model's program with places for gradients: `program.plan` with `keep`.
        n_input_dims: Number of input columns of the model.
        n_params: Number of parameters of the model.
        n_weights: Number of weights of its networks.
        launcher: The CPU launcher.

    Attributes:
        grids: The parts of the encoding that are grids.
    """

    def __init__(
        self, program: Program, n_input_dims: int, n_params: int, n_weights: int, launcher: TorchLauncher
    ) -> None:
        self._launcher = launcher
        self._n_params, self._n_outputs, self._n_weights = n_params, len(program.outputs), n_weights
        call, step, update = Call(), Step(), Update()
        self._call, self._step, self._update = fields(call), fields(step), fields(update)
        self._step.n_weights, self._step.slice, self._step.late = n_weights, WEIGHTS_PER_ITEM, program.late
        self._step.n_direct = sum(buffer is program.layers[-1].target for buffer, _ in program.outputs)
        self._slabs = Slabs(program.slab)
        self._row_work = PASSES * program.row_work
        self._sums = np.zeros((GROUPS, 2))
        self._d_features = self._d_weights = torch.empty(0)
        self._dense: Tensor | None = None

        grids, self.grids, self._regions = [], [], []
        for index, (part, _) in enumerate(program.parts):
            if isinstance(part.encoding, GridEncoding):
                grids.append(index)
                self.grids.append(part)
                layout = part.encoding.layout
                self._regions.append(Regions(layout, launcher.device, launcher.threads, listed=False))
        self._n_grid_columns = sum(part.encoding.n_output_dims for part in self.grids)
        rows = rows_of(GridData, len(grids))
        self._marks: list[tuple[Tensor, Tensor]] = []
        self._n_regions = 0
        for row, index, regions in zip(rows, grids, self._regions, strict=True):
            words = -(-regions.sizes // 64)
            ends = np.cumsum(words)
            marks = torch.zeros(int(ends[-1]), dtype=torch.int64), torch.from_numpy((ends - words).astype(np.int32))
            self._marks.append(marks)
            row["part"], row["first_item"], row["n_regions"] = index, self._n_regions, regions.count
            row["regions"] = regions.rows.ptr
            row["marks"], row["first_marks"] = (tensor.data_ptr() for tensor in marks)
            self._n_regions += regions.count
        array = wp.array(rows, dtype=GridData, device="cpu")

        kernels = training_kernels(program.grids)
        data = program_data(program, n_input_dims, launcher)
        self._descend = Recorded(kernels.descend, [data, call, step])
        self._sum_weights = Recorded(kernels.sum_weights, [step])
        self._advance = Recorded(kernels.advance, [data, call, step, array, update, self._n_regions])

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
    ) -> tuple[float, list[Tensor] | None]:
        """The mean loss, and its gradients with respect to the networks' weights and the features of grids.

        Args:
            x: Inputs, float32 [N, n_input_dims], contiguous, N at least 1.
            params: Parameters, float32 [n_params], contiguous.
            evaluate: The loss; None if `d_out` is given.
            d_out: The gradient of the outputs, float32 [N, outputs]; the returned loss is then 0. None if `evaluate` is given.
            d_weights: Receives the gradient of the weights, float32 [n_weights].
            d_inputs: Receives the gradient of all features, float32 [N, width], if given. With fewer columns, it receives the
                first of them.
            judge: Whether to return no gradients if the loss or a gradient is not finite. If not, the returned loss is 0.

        Returns:
            The loss and, for each of `grids`, the gradient of its features, float32 [N, features], in memory that the next call
            reuses. None in place of the gradients if `judge` is set and a number is not finite.
        """
        self._step.by_level = 0
        if d_inputs is not None:
            self._step.d_inputs, self._step.width = d_inputs.data_ptr(), d_inputs.shape[1]
        loss, is_finite = self._both_passes(x, params, evaluate, d_out, judge=judge)
        self._step.d_inputs = 0
        if not is_finite:
            return loss, None
        self._step.gradient = d_weights.data_ptr()
        self._sum_weights.run(self._launcher, -(-self._n_weights // WEIGHTS_PER_ITEM))
        found, begin = [], 0
        for part in self.grids:
            columns = part.encoding.n_output_dims
            found.append(self._d_features[begin : begin + len(x) * columns].view(len(x), columns))
            begin += len(x) * columns
        return loss, found

    def step(
        self, x: Tensor, params: Tensor, evaluate: TargetLoss | None, d_out: Tensor | None, chain: AdamChain
    ) -> tuple[float, bool]:
        """Take one step of the optimizer `chain`. The other arguments are those of `gradient`.

        Returns:
            The loss, and whether the step was taken: it is skipped if the loss or a gradient is not finite.
        """
        self._step.by_level = 1
        loss, is_finite = self._both_passes(x, params, evaluate, d_out)
        if not is_finite:
            return loss, False
        if self._dense is None:
            self._dense = prefer_large_pages(torch.zeros(self._n_params))
        self._step.gradient = self._dense.data_ptr()
        chain.begin_step(self._update)
        self._advance.run(self._launcher, self._n_regions + -(-self._step.n_weights // WEIGHTS_PER_ITEM))
        return loss, True

    def _both_passes(
        self, x: Tensor, params: Tensor, evaluate: TargetLoss | None, d_out: Tensor | None, *, judge: bool = True
    ) -> tuple[float, bool]:
        """Run the forward and the backward pass. Returns the mean loss, and whether it and all gradients are finite.

        Without `judge`, it returns 0 and True.
        """
        n, call, step = len(x), self._call, self._step
        rows = STRETCH * -(-n // (STRETCH * GROUPS))
        groups = -(-n // rows)
        items = items_for(groups, self._launcher.threads, n * self._row_work)
        if len(self._d_features) < n * self._n_grid_columns:
            self._d_features = torch.empty(n * self._n_grid_columns)
        if len(self._d_weights) < groups * step.n_weights:
            self._d_weights = torch.empty(groups * step.n_weights)
        call.x, call.params, call.n, call.items = x.data_ptr(), params.data_ptr(), n, items
        call.slabs = self._slabs.address(items)
        step.groups, step.rows, step.sums = groups, rows, self._sums.ctypes.data
        step.d_features, step.d_weights = self._d_features.data_ptr(), self._d_weights.data_ptr()
        step.loss, step.weight = GIVEN, 1.0 / (n * self._n_outputs)
        step.d_out = step.target = step.factor = step.pdf = 0
        if d_out is not None:
            step.d_out = d_out.data_ptr()
        if evaluate is not None:
            step.loss, step.target = LOSSES[type(evaluate.loss)], evaluate.target.data_ptr()
            step.delta = evaluate.loss.delta if isinstance(evaluate.loss, Huber) else 0.0
            if evaluate.factor is not None:
                step.factor, (step.factor_row, step.factor_step) = _view(evaluate.factor)
            if evaluate.pdf is not None:
                step.pdf, (step.pdf_row, step.pdf_step) = _view(evaluate.pdf)
        self._descend.run(self._launcher, items)
        if not judge:
            return 0.0, True
        loss, magnitude = self._sums[:groups].sum(axis=0).astype(np.float32)
        return float(loss), bool(np.isfinite(magnitude))


def _view(values: Tensor) -> tuple[int, tuple[int, int]]:
    """The address of values [N], [N, 1] or [N, C], and their strides from row to row and from column to column [floats]."""
    if values.ndim == 1 or values.shape[1] == 1:
        return values.data_ptr(), (values.stride(0), 0)
    return values.data_ptr(), (values.stride(0), values.stride(1))
