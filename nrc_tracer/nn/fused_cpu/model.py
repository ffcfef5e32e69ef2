"""A model that the fused kernels run: outputs, gradients, derivatives and steps of an optimizer."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn.backends.backend import Evaluate
from nrc_tracer.nn.encodings.identity import IdentityEncoding
from nrc_tracer.nn.fused_cpu.adam_chain import AdamChain
from nrc_tracer.nn.fused_cpu.descent import LONGEST_RUN, Batch, FusedTraining
from nrc_tracer.nn.fused_cpu.inference import FusedInference
from nrc_tracer.nn.fused_cpu.program import Program, plan
from nrc_tracer.nn.gradients import GradientSink
from nrc_tracer.nn.losses import TargetLoss
from nrc_tracer.nn.optimizers.optimizer import Optimizer
from nrc_tracer.nn.structure import Structure

MOST_KEPT = 1 << 22
"""Largest size of the results of layers that are kept for the derivatives [floats], so that large batches do not take more memory
than their inputs and outputs."""


def _read_averages_by(training: FusedTraining, chain: AdamChain) -> None:
    """Let the average in a chain be read by the fused kernel as long as the chain is in use."""
    known = weakref.ref(chain)  # the average is part of the chain: a cycle would keep memory until a garbage collection

    def read(params: Tensor, out: Tensor) -> bool:
        current = known()
        if current is None:
            return False
        training.read_averages(params, out, current)
        return True

    if chain.ema is not None:
        chain.ema.reader = read


class FusedModel:
    """Runs a model in one kernel from inputs to outputs, and trains it in two kernels.

    Inputs are float32 [N, n_input_dims] and parameters float32 [n_params], both contiguous and without a graph for autograd.
    They are not checked here.

    Args:
        structure: Encoding and network.
        launcher: The CPU launcher.

    Raises:
        NotFused: The fused kernels cannot run the model.
    """

    def __init__(self, structure: Structure, launcher: TorchLauncher) -> None:
        self._structure = structure
        self._launcher = launcher
        self._program = plan(structure)
        encoding = structure.encoding
        self._n_grid_params, self._n_weights = encoding.n_params, structure.n_matrix_params
        # Whether the first matrix has the inputs as they are: the gradient of its input is theirs
        self._takes_inputs = isinstance(encoding, IdentityEncoding) and encoding.scale == 1.0
        self._d_width = structure.n_input_dims if self._takes_inputs else structure.width
        self._chain: tuple[Optimizer, AdamChain | None] | None = None  # the last optimizer, with its chain

    def infer(self, x: Tensor, params: Tensor) -> Tensor:
        """The output, float32 [N, n_output_dims]."""
        return self._inference(x, params)

    def infer_for_derivatives(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor | None]:
        """The output, and the results of the layers for `derivatives`, or None if they would be large or depend on grids."""
        program, n = self._training_program, x.shape[0]
        blocks = -(-n // program.block)
        if program.grids or blocks * program.kept_size > MOST_KEPT:
            return self._inference(x, params), None
        kept = x.new_empty(blocks, program.kept_size)
        return self._keeping_inference(x, params, kept), kept

    def density(self, x: Tensor, params: Tensor) -> Tensor:
        """The density of a radiance field before its activation, float32 [N], at positions, float32 [N, dims]."""
        return self._density_inference(x, params)[:, 0]

    def gradient(
        self, x: Tensor, params: Tensor, evaluate: Evaluate, loss_scale: float, d_weights: Tensor
    ) -> tuple[Tensor, list[Tensor] | None]:
        """The mean loss, and its gradients with respect to the networks' weights and the features of grids.

        Args:
            x: Inputs, at least one row.
            params: Parameters.
            evaluate: The loss and its gradient.
            loss_scale: Factor of the loss in the backward pass, against underflow; it is removed from the results.
            d_weights: Receives the gradient of the networks' weights, float32 [n_matrix_params].

        Returns:
            The loss, 0-d, and the gradient of each grid's features for `add_up_grids`; None in place of these gradients if the
            loss or a gradient is not finite.
        """
        if isinstance(evaluate, TargetLoss) and loss_scale == 1.0:
            return self._training.gradient(x, params, evaluate, None, d_weights)
        loss, d_out = evaluate(self.infer(x, params))
        if not torch.isfinite(loss):
            return loss, None
        d_out = (d_out * loss_scale).contiguous()
        _, d_features = self._training.gradient(x, params, None, d_out, d_weights)
        if d_features is not None and loss_scale != 1.0:
            for gradient in (d_weights, *d_features):
                gradient /= loss_scale
        return loss, d_features

    def add_up_grids(self, x: Tensor, params: Tensor, d_features: list[Tensor], sink: GradientSink) -> None:
        """Add the gradients of the grids' entries to a sink of all parameters, given the gradients of the grids' features."""
        for part, d_values in zip(self._training.grids, d_features, strict=True):
            encoding, own = part.encoding, slice(part.first_param, part.first_param + part.encoding.n_params)
            inputs = x[:, part.input : part.input + encoding.n_input_dims]
            encoding.backward_params(self._launcher, inputs, params[own], d_values, sink.part(own))

    def steps(
        self, batches: Sequence[tuple[Tensor, Evaluate]], params: Tensor, optimizer: Optimizer
    ) -> list[tuple[Tensor, bool]] | None:
        """Take steps of an optimizer as `Backend.steps` does, with at least one row of inputs each.

        Returns:
            For each step the loss and whether it was taken; None if the fused kernels cannot take the steps of this optimizer.
        """
        if self._chain is None or self._chain[0] is not optimizer:
            self._chain = optimizer, AdamChain.of(optimizer)
            if self._chain[1] is not None:
                _read_averages_by(self._training, self._chain[1])
        chain = self._chain[1]
        if chain is None:
            return None
        results: list[tuple[Tensor, bool]] = []
        while len(results) < len(batches):
            run: list[Batch] = []
            for x, evaluate in batches[len(results) : len(results) + LONGEST_RUN]:
                if not isinstance(evaluate, TargetLoss):
                    break
                run.append(Batch(x, evaluate))
            if run:
                results += self._training.steps(run, params, chain)
                continue
            x, evaluate = batches[len(results)]
            loss, d_out = evaluate(self.infer(x, params))
            if torch.isfinite(loss):
                batch = Batch(x, None, d_out.contiguous())
                results.append((loss, self._training.steps([batch], params, chain)[0][1]))
            else:
                results.append((loss, False))
        return results

    def derivatives(
        self,
        x: Tensor,
        params: Tensor,
        d_out: Tensor,
        *,
        need_input: bool,
        d_params: Tensor | None,
        kept: Tensor | None = None,
    ) -> Tensor | None:
        """The gradients of inputs and parameters.

        Args:
            x: Inputs.
            params: Parameters.
            d_out: The gradient of the outputs, float32 [N, n_output_dims].
            need_input: Whether the gradient of the inputs is needed.
            d_params: Receives the gradient of the parameters, float32 [n_params]; None if not needed. The encoding's part must be
                zero before.
            kept: The results of `infer_for_derivatives` for the same inputs and parameters, if any.

        Returns:
            The gradient of the inputs, float32 [N, n_input_dims], or None.
        """
        if not x.shape[0]:
            if d_params is not None:
                d_params.zero_()
            return torch.zeros_like(x) if need_input else None
        if d_params is None:
            d_weights = x.new_empty(self._n_weights)
        else:
            d_weights = d_params[: self._n_weights] if self._n_grid_params else d_params
        d_inputs = x.new_empty(x.shape[0], self._d_width) if need_input else None
        _, d_features = self._training.gradient(
            x, params, None, d_out.contiguous(), d_weights, d_inputs, judge=False, kept=kept
        )
        if d_params is not None and d_features:
            self.add_up_grids(x, params, d_features, GradientSink(d_params))
        if d_inputs is None or self._takes_inputs:
            return d_inputs
        structure = self._structure
        d_x = torch.zeros_like(x)
        structure.encoding.backward_input(self._launcher, x, structure.split(params)[1], d_inputs, d_x)
        return d_x

    # The hosts of the kernels are made on first use, since loading a kernel may compile it

    @cached_property
    def _inference(self) -> FusedInference:
        return FusedInference(self._program, self._structure.n_input_dims, self._launcher)

    @cached_property
    def _keeping_inference(self) -> FusedInference:
        return FusedInference(self._training_program, self._structure.n_input_dims, self._launcher)

    @cached_property
    def _training_program(self) -> Program:
        return plan(self._structure, keep=True)

    @cached_property
    def _density_inference(self) -> FusedInference:
        program = plan(self._structure, density_only=True).with_grids(self._program.grids)
        position = self._structure.radiance_field.position_encoding
        return FusedInference(program, position.n_input_dims, self._launcher)

    @cached_property
    def _training(self) -> FusedTraining:
        structure = self._structure
        sizes = structure.n_input_dims, structure.n_matrix_params
        return FusedTraining(self._training_program, *sizes, self._launcher)
