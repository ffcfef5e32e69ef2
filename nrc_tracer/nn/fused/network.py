"""Networks in one kernel per pass, with or without the encoding before them.

The same kernels run on the CPU, where the instructions of a GPU are emulated, slowly, to test their arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import TorchLauncher, warp_stream
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.fused.backward import backward_kernel
from nrc_tracer.nn.fused.features import FusedGrid, Inputs
from nrc_tracer.nn.fused.forward import forward_kernel
from nrc_tracer.nn.fused.passes import add_parts, pack_weights
from nrc_tracer.nn.fused.plan import Shape, Variant, backward_variant, forward_variant
from nrc_tracer.nn.mlp import Mlp

FORWARD_BLOCKS, BACKWARD_BLOCKS = 4, 2
"""Most blocks of threads per multiprocessor of a GPU, as many as its registers hold. Each block takes several tiles in turn."""

EMULATED_BLOCKS = 3
"""Most blocks on the CPU: more than one, so that tests cover the distribution of tiles among blocks."""


@dataclass(frozen=True)
class Kept:
    """The data that `forward` keeps for `backward`.

    Attributes:
        inputs: The inputs.
        halfs: The encoded inputs as halfs, in the order of the kernels.
        weights: The weights as halfs in blocks.
    """

    inputs: Inputs
    halfs: Tensor
    weights: Tensor


class FusedMlp:
    """Runs an `Mlp` in one kernel per pass, with half operands and float32 sums on the tensor cores; see `NetworkRunner`.

    **It has never run on a GPU**: it is tested on the CPU, by emulation of the instructions, and it compiles for CUDA. It accepts
    a tensor of features in place of `Inputs`.

    Args:
        mlp: The network.
        launcher: The launcher of the device that it runs on.
        grid: A grid to encode inside the kernels.

    Attributes:
        ends: The index past the last weight of each matrix, int32.
        columns: Number of columns of each matrix, int32.
        magnitude: The sum of absolute values of the input's gradient, after `backward` with a gradient of the input or the grid.

    Raises:
        ConfigError: The network cannot be fused.
    """

    def __init__(self, mlp: Mlp, launcher: TorchLauncher, grid: FusedGrid | None = None) -> None:
        shape = Shape.of(mlp)
        columns = grid.columns if grid else None
        backward = backward_variant(shape, columns) if shape else None
        if shape is None or backward is None:
            raise ConfigError(
                "fused: needs a network of 16, 32, 64 or 128 neurons with at least one hidden layer, small enough for shared "
                f"memory, with any activation but SiLU and Sine; got {mlp.config}; leave fused=True out"
            )
        self.mlp = mlp
        self.launcher = launcher
        self.grid = grid
        self.precision = torch.float16
        self.forward_variant: Variant = forward_variant(shape, columns)
        self.backward_variant: Variant = backward
        self.magnitude = torch.zeros((), device=launcher.torch_device)
        device = launcher.torch_device
        ends = [begin + rows * n_in for rows, n_in, begin in shape.matrices]
        self.ends = torch.tensor(ends, dtype=torch.int32, device=device)
        self.columns = torch.tensor([n_in for _, n_in, _ in shape.matrices], dtype=torch.int32, device=device)
        self._empty = torch.zeros(0, device=device)

    def infer(self, x: Inputs | Tensor, params: Tensor, *, count: Tensor | None = None) -> Tensor:
        """The output, float32 [N, n_output_dims].

        Args:
            x: The inputs.
            params: The network's weights, float32 [n_params], or the halfs that `pack` returned.
            count: Number of leading rows to compute, int32 [1] on the device, if not all; other rows are undefined.
        """
        return self._forward(_inputs(x), params, keep=False, count=count)[0]

    def forward(self, x: Inputs | Tensor, params: Tensor) -> tuple[Tensor, Kept]:
        """`infer`, and the data that `backward` needs."""
        return self._forward(_inputs(x), params, keep=True)

    def _forward(self, x: Inputs, params: Tensor, *, keep: bool, count: Tensor | None = None) -> tuple[Tensor, Kept]:
        n, variant = len(x), self.forward_variant
        # Tiles of the two passes may differ in size: a common multiple holds whole tiles of both
        rows = -(-n // 128) * 128 if keep else 0
        halfs = torch.empty(rows * self.mlp.n_input_dims // 2, dtype=torch.int32, device=params.device)
        out = torch.empty(n, self.mlp.n_output_dims, device=params.device)
        weights = params if params.dtype == torch.float16 else self.pack(params)
        arguments = [
            n,
            None if count is None else as_warp(count),
            as_warp(weights),
            *self._arrays(x, x.features, x.table),
            as_warp(out),
            as_warp(halfs),
            int(keep),
        ]
        blocks = self._blocks(variant, n, FORWARD_BLOCKS)
        self._launch(forward_kernel(variant).kernel, variant, blocks, arguments)
        return out, Kept(x, halfs, weights)

    def backward(
        self,
        d_out: Tensor,
        kept: Kept,
        params: Tensor,
        d_params: Tensor,
        *,
        need_input: bool = True,
        d_table: Tensor | None = None,
        unscale: float = 1.0,
    ) -> Tensor | None:
        """Gradients of weights, input and grid.

        Args:
            d_out: Gradient of the output, float32 [N, n_output_dims].
            kept: The data that `forward` kept.
            params: Not used; the weights of the forward pass are.
            d_params: Receives the gradient of the weights times `unscale`, float32 [n_params].
            need_input: Whether the gradient of the network's input is needed in memory.
            d_table: The gradient of the grid's parameters times `unscale` is added to this.
            unscale: Factor that removes the scale of the loss from gradients.

        Returns:
            The gradient of the network's input, not unscaled, float32 [N, n_input_dims], or None.
        """
        variant, x, n = self.backward_variant, kept.inputs, len(d_out)
        blocks = self._blocks(variant, n, BACKWARD_BLOCKS)
        d_x = torch.empty(n if need_input else 0, self.mlp.n_input_dims if need_input else 0, device=d_out.device)
        parts = torch.empty(blocks, variant.shape.n_params, device=d_out.device)
        if not variant.sums_stay:
            parts.zero_()
        magnitude = torch.zeros(blocks * variant.tiling.threads, device=d_out.device)
        levels, interpolation = self._levels()
        arguments = [
            n,
            as_warp(kept.weights),
            as_warp(kept.halfs),
            as_warp(d_out.contiguous()),
            self._points(x),
            levels,
            interpolation,
            unscale,
            int(d_table is not None),
            as_warp(self._empty if d_table is None else d_table),
            as_warp(d_x),
            as_warp(parts.view(-1)),
            as_warp(magnitude),
        ]
        self._launch(backward_kernel(variant).kernel, variant, blocks, arguments)
        self._run(add_parts, len(d_params), [as_warp(parts), unscale, as_warp(d_params)])
        self.magnitude = magnitude.sum()
        return d_x if need_input else None

    def pack(self, params: Tensor) -> Tensor:
        """Weights, float32 [n_params], as halfs in blocks, which other methods accept in their place."""
        packed = torch.empty(self.mlp.n_params, dtype=torch.float16, device=params.device)
        arrays = [as_warp(params.detach()), as_warp(self.ends), as_warp(self.columns), as_warp(packed)]
        self._run(pack_weights, self.mlp.n_params, arrays)
        return packed

    def _arrays(self, x: Inputs, features: Tensor | None, table: Tensor | None) -> list:
        """Points, features, levels, interpolation and table as kernels take them."""
        table = self._empty if table is None else _aligned(table)
        features = self._empty.view(0, 0) if features is None else _aligned(features.contiguous())
        return [self._points(x), as_warp(features), *self._levels(), as_warp(table)]

    def _points(self, x: Inputs) -> object:
        return as_warp(self._empty.view(0, 0) if x.x is None else x.x)

    def _levels(self) -> tuple[object, int]:
        if self.grid is None:
            return None, 0
        return self.grid.grid.levels_on(self.launcher), int(self.grid.grid.interpolation)

    def _blocks(self, variant: Variant, n: int, most: int) -> int:
        """Number of blocks of threads for n rows; at most `most` per multiprocessor."""
        device = self.launcher.device
        most = device.sm_count * most if device.is_cuda else EMULATED_BLOCKS
        return min(-(-n // variant.tiling.rows), most)

    def _launch(self, kernel: wp.Kernel, variant: Variant, blocks: int, arguments: list) -> None:
        """Launch whole blocks of threads; on the CPU an item is a block, and they run one after the other."""
        if not blocks:
            return
        inputs = [0, blocks, *arguments]
        if not self.launcher.device.is_cuda:
            # All threads of the process have the same shared memory there
            wp.launch(kernel, dim=blocks, inputs=inputs, device=self.launcher.device)
            return
        stream = warp_stream(torch.cuda.current_stream(self.launcher.torch_device))
        threads = variant.tiling.threads
        dim = blocks * threads
        wp.launch(kernel, dim=dim, inputs=inputs, device=self.launcher.device, stream=stream, block_dim=threads)

    def _run(self, kernel: wp.Kernel, count: int, arguments: list) -> None:
        self.launcher.run(kernel, count, lambda base: [base, *arguments])


def _aligned(values: Tensor) -> Tensor:
    """The same values, aligned so that pairs of them can be read at once."""
    return values if values.data_ptr() % 8 == 0 else values.clone()


def _inputs(x: Inputs | Tensor) -> Inputs:
    return x if isinstance(x, Inputs) else Inputs(x)
