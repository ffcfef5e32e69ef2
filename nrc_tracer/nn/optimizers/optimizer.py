"""The base of all optimizers: steps, a learning rate, parameters for inference, and a state to save."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.launch import Launcher
from nrc_tracer.errors import NrcError

if TYPE_CHECKING:
    from nrc_tracer.nn.gradients import Gradient, ListedGrid

PARAMS_PER_ITEM = 8192
"""Number of parameters per item of a dense kernel on the CPU."""

MAX_STEPS = 2**31 - 2
"""Largest number of steps: kernels count them in int32."""


class StateError(NrcError):
    """A saved state does not fit this optimizer."""


class Optimizer(ABC):
    """Changes parameters by their gradient.

    "Matrix" parameters are those of the network, which come first.

    Args:
        config: Its configuration.
        n_params: Number of parameters.
        n_matrix_params: Number of matrix parameters.
        launcher: Runs the kernels.

    Attributes:
        learning_rate: The learning rate of the next step; may be set.
    """

    learning_rate: float

    _numbers: ClassVar[dict[str, type]] = {}
    """The attributes that are part of the state, with their types; every int is a count."""

    def __init__(self, config: Any, n_params: int, n_matrix_params: int, launcher: Launcher) -> None:
        self.config = config
        self.n_params = n_params
        self.n_matrix_params = n_matrix_params
        self.launcher = launcher
        self._torch_device = torch.device(wp.device_to_torch(launcher.device))

    # Steps

    @property
    @abstractmethod
    def steps(self) -> int:
        """Calls of `step` so far."""

    @abstractmethod
    def step(self, params: Tensor, gradient: Gradient) -> None:
        """Change `params` in place.

        Args:
            params: float32 [n_params], contiguous.
            gradient: Their gradient, without loss scale.
        """

    @property
    @abstractmethod
    def rests_at_zero(self) -> bool:
        """Whether a step does not change any non-matrix parameter whose gradient is zero."""

    # Parameters for inference

    @property
    def has_inference_params(self) -> bool:
        """Whether inference uses other parameters than those in training."""
        return False

    def inference_params(self, params: Tensor) -> Tensor | None:
        """The parameters for inference, float32 [n_params], read-only and valid until the next step.

        Args:
            params: The parameters in training, as the last step left them.

        Returns:
            The parameters, or None if they are `params` themselves, as they are before the first step.
        """
        return None

    # State

    def state(self, *, copy: bool = True) -> dict[str, Any]:
        """The state that the next steps depend on: numbers, tensors, and states of nested optimizers as dicts.

        Args:
            copy: Copy the tensors; else they are those in use, which the next step changes.
        """
        numbers = {name: getattr(self, name) for name in self._numbers}
        tensors = {name: tensor.clone() if copy else tensor for name, tensor in self._tensors().items()}
        return {**numbers, **tensors, **{name: nested.state(copy=copy) for name, nested in self._nested().items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state: the same steps give bit-identical parameters.

        Raises:
            StateError: It is not the state of such an optimizer; nothing has changed then.
        """
        self._check_state(state, "state")
        self._load_state(state)

    def _tensors(self) -> dict[str, Tensor]:
        """The tensors that are part of the state."""
        return {}

    def _nested(self) -> dict[str, Optimizer]:
        """The optimizers inside this one."""
        return {}

    def _check_state(self, state: Any, place: str) -> None:
        if not isinstance(state, Mapping):
            raise StateError(f"{place}: expected a dict, got {type(state).__name__}")
        tensors, nested = self._tensors(), self._nested()
        name = type(self).__name__
        for key in (*self._numbers, *tensors, *nested):
            if key not in state:
                raise StateError(
                    f"{place}: {key!r} is missing, which {name} needs; was it saved from another configuration?"
                )
        for key in state:
            if key not in self._numbers and key not in tensors and key not in nested:
                raise StateError(f"{place}: {key!r} is not known to {name}; was it saved from another configuration?")
        for key, kind in self._numbers.items():
            value = state[key]
            fits = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
            if not fits or not math.isfinite(value) or (kind is int and not 0 <= value <= MAX_STEPS):
                what = f"an integer from 0 to {MAX_STEPS}" if kind is int else "a finite number"
                raise StateError(f"{place}.{key}: expected {what}, got {value!r:.40}")
        for key, tensor in tensors.items():
            value = state[key]
            if not isinstance(value, Tensor):
                raise StateError(f"{place}.{key}: expected a tensor, got {type(value).__name__}")
            if value.shape != tensor.shape or value.dtype != tensor.dtype:
                raise StateError(
                    f"{place}.{key}: expected {tensor.dtype} of shape {list(tensor.shape)}, "
                    f"got {value.dtype} of shape {list(value.shape)}; was it saved from another model?"
                )
            # Kernels use these to index tables
            whole = not tensor.is_floating_point() and tensor.numel() > 0
            if whole and not 0 <= int(value.min()) <= int(value.max()) <= MAX_STEPS:
                raise StateError(f"{place}.{key}: holds numbers outside of 0 to {MAX_STEPS}; the file may be damaged")
        for key, optimizer in nested.items():
            optimizer._check_state(state[key], f"{place}.{key}")

    def _load_state(self, state: Mapping[str, Any]) -> None:
        for key, kind in self._numbers.items():
            setattr(self, key, kind(state[key]))
        for key, tensor in self._tensors().items():
            tensor.copy_(state[key])
        for key, optimizer in self._nested().items():
            optimizer._load_state(state[key])

    # Launches

    def _run_dense(self, kernel: wp.Kernel, begin: int, end: int, arguments: list) -> None:
        """Run a kernel over the parameters begin .. end - 1."""
        stretch = 1 if self.launcher.device.is_cuda else PARAMS_PER_ITEM
        items = -(-(end - begin) // stretch)
        self.launcher.run(kernel, items, lambda base: [base, begin, end, stretch, *arguments])

    def _run_listed(self, kernel: wp.Kernel, listed: ListedGrid, arguments: list) -> None:
        """Run a kernel over the touched entries of a grid."""
        stretches = listed.regions.listed_stretches()
        every = [stretches, listed.regions.lists(), listed.begin, listed.layout.n_features, *arguments]
        self.launcher.run(kernel, len(stretches), lambda base: [base, *every])


class Wrapper(Optimizer):
    """An optimizer around another one. Learning rate, step count and parameters for inference are the nested one's by default.

    Args:
        config: Its configuration.
        nested: The optimizer inside.

    Attributes:
        nested: The optimizer inside.
    """

    def __init__(self, config: Any, nested: Optimizer) -> None:
        super().__init__(config, nested.n_params, nested.n_matrix_params, nested.launcher)
        self.nested = nested

    @property
    def learning_rate(self) -> float:
        return self.nested.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.nested.learning_rate = value

    @property
    def steps(self) -> int:
        return self.nested.steps

    @property
    def rests_at_zero(self) -> bool:
        return self.nested.rests_at_zero

    @property
    def has_inference_params(self) -> bool:
        return self.nested.has_inference_params

    def inference_params(self, params: Tensor) -> Tensor | None:
        return self.nested.inference_params(params)

    def _nested(self) -> dict[str, Optimizer]:
        return {"nested": self.nested}
