"""A peer of `benchmarks.nn`: a hash grid and a network of Dr.Jit's own, `drjit.nn`, compiled by LLVM for all cores or one.

Shapes, loss and optimizer are those of our model. Dr.Jit places grid points and hashes in its own way, so that only speeds can be
compared. Dr.Jit comes with Mitsuba, and needs LLVM (Debian: `libllvm19`, found by the variable `DRJIT_LIBLLVM_PATH`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from benchmarks.torch_grid import RELATIVE_EPSILON
from nrc_tracer.nn import Model


class DrJitModel:
    """A hash grid with linear interpolation and an MLP with ReLU, without biases.

    Args:
        model: The model whose shape is copied: its encoding is a single grid.
        adam: Configuration of Adam in tiny-cuda-nn's JSON.
        threads: Number of threads, the calling one included.
    """

    def __init__(self, model: Model, adam: dict[str, Any], threads: int) -> None:
        import drjit
        import drjit.nn as nn
        from drjit.llvm.ad import Float, TensorXf
        from drjit.opt import Adam

        drjit.set_thread_count(threads)
        encoding, mlp = model.structure.encoding, model.structure.mlp
        levels = encoding.levels
        self._grid = nn.HashGridEncoding(
            Float,
            encoding.n_input_dims,
            n_levels=len(levels),
            n_features_per_level=encoding.n_features,
            hashmap_size=max(level.entries for level in levels),
            base_resolution=encoding.config.base_resolution,
            per_level_scale=encoding.config.per_level_scale,
        )
        layers = []
        for n_out, _ in mlp.shapes[:-1]:
            layers += [nn.Linear(-1, n_out, bias=False), nn.ReLU()]
        layers.append(nn.Linear(-1, model.n_output_dims, bias=False))
        network = nn.Sequential(*layers).alloc(TensorXf, encoding.n_output_dims)
        self._inference_network = nn.pack(network, layout="inference")
        self._network = nn.pack(network, layout="training")
        self._optimizer = Adam(
            lr=adam["learning_rate"], beta_1=adam["beta1"], beta_2=adam["beta2"], epsilon=adam["epsilon"]
        )
        self._optimizer.update(self._network)
        self._optimizer["table"] = self._grid.data

    def task(self, operation: str, x: Tensor, target: Tensor) -> Callable[[], object]:
        """The function to time for an operation: `encode`, `inference` or `training`."""
        import drjit
        import drjit.nn as nn

        points, expected = _columns(x), _columns(target)

        def encode() -> None:
            drjit.eval(self._grid(points))
            drjit.sync_thread()

        def infer() -> None:
            drjit.eval(list(self._inference_network(nn.CoopVec(self._grid(points)))))
            drjit.sync_thread()

        def train() -> None:
            for name in self._network:
                self._network[name] = self._optimizer[name]
            self._grid.data[:] = self._optimizer["table"]
            loss = 0.0
            for prediction, value in zip(self._network(nn.CoopVec(self._grid(points))), expected, strict=True):
                below = drjit.square(drjit.detach(prediction)) + RELATIVE_EPSILON
                loss += drjit.mean(drjit.square(prediction - value) / below) / len(expected)
            drjit.backward(loss)
            self._optimizer.step()
            drjit.eval(self._optimizer)
            drjit.sync_thread()

        return {"encode": encode, "inference": infer, "training": train}[operation]


def _columns(values: Tensor) -> list:
    """The columns of a tensor as Dr.Jit's arrays."""
    from drjit.llvm.ad import Float

    return [Float(column.contiguous().numpy()) for column in values.T]


def has_drjit() -> bool:
    """Whether Dr.Jit and LLVM are installed."""
    try:
        from drjit.llvm.ad import Float

        return len(Float(1.0) + Float(1.0)) == 1
    except Exception:  # Dr.Jit raises several kinds of errors where LLVM cannot be loaded
        return False
