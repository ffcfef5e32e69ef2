"""The peer of `benchmarks.nn` and `benchmarks.tasks`: the same hash grid and network in plain torch, made as fast as possible.

The loop is over levels. Hashes are int32 products that wrap around, indices into tables of a power of two are masked, and a
position is one fused multiply-add (`torch.add` with `alpha`). The fastest way to read a table differs between machines, so there
are several, and the benchmarks time them all and use the fastest:

* `index`: rows [entries, F] by `table[index]`, one corner at a time: the plain way. Its gradient is several times faster than
  those of `index_select` and `torch.nn.functional.embedding`, which are left out.
* `embedding_bag`: all corners at once, gathered and weighted by one kernel; a fast forward and a slow backward pass.
* `planes`: one vector per feature, by `index_select`.
* `complex`: two features as one complex number, so that a vertex is one element. Needs F = 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional
from torch import Tensor

from nrc_tracer.nn import Model
from nrc_tracer.nn.encodings.grid_layout import GridLevel
from nrc_tracer.nn.views import EncodingView, NetworkView

LOSS_SCALE = 128.0
"""Factor of the loss in float16. Gradients stay scaled: it does not change Adam's steps, since its epsilon is 1e-15."""

RELATIVE_EPSILON = 0.01
"""Added to the denominator of the relative loss."""


@dataclass(frozen=True)
class Setting:
    """How to run the torch model.

    Attributes:
        layout: Name of a layout of the tables.
        threads: Number of torch's threads; not used on CUDA.
    """

    layout: str
    threads: int

    def __str__(self) -> str:
        return f"{self.layout}; {self.threads} thread{'s' * (self.threads != 1)}"


class TorchModel(torch.nn.Module):
    """A hash grid with linear interpolation and an MLP with ReLU, without biases.

    Args:
        grid: The grid whose shape and parameters are copied.
        network: The network whose shape and parameters are copied; None for the encoding alone.
        n_output_dims: Output columns of the network, without padding.
        layout: One of `LAYOUTS`.
        dtype: Type of the operands of the network.
    """

    def __init__(
        self, grid: EncodingView, network: NetworkView | None, n_output_dims: int, layout: str, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self._layout = LAYOUTS[layout]
        self._dtype = dtype
        self.loss_scale = LOSS_SCALE if dtype == torch.float16 else 1.0
        self._n_output_dims = n_output_dims
        self._levels: Sequence[GridLevel] = grid.structure.levels
        tables = (grid.level(index) for index in range(len(self._levels)))
        self.tables = torch.nn.ParameterList(self._layout.stored(table.clone()) for table in tables)
        self.layers = copied_layers(network)
        self.register_buffer("_half", torch.tensor(0.5, device=grid.params.device))

    @staticmethod
    def of(model: Model, layout: str, dtype: torch.dtype) -> TorchModel:
        """The copy of a model whose encoding is a grid."""
        return TorchModel(model.encoding, model.network, model.n_output_dims, layout, dtype)

    def encode(self, x: Tensor) -> Tensor:
        """Features [N, L F] of points [N, D]."""
        points = x.T.contiguous()
        return torch.cat([self._level(*pair, points) for pair in zip(self._levels, self.tables, strict=True)]).T

    def _level(self, level: GridLevel, table: Tensor, points: Tensor) -> Tensor:
        """Features [F, N] of points [D, N] at one level."""
        position = torch.add(self._half, points, alpha=level.scale)
        cell = position.int()
        high = position.frac()
        index: list[Tensor] = []
        weight: list[Tensor] = []
        for d, multiplier in enumerate(_signed(m) for m in level.multipliers(len(points))):
            low = cell[d] * multiplier
            terms, weights = (low, low + multiplier), (1 - high[d], high[d])
            join = torch.bitwise_xor if level.hashed else torch.add
            index = [join(i, term) for i in index for term in terms] if index else list(terms)
            weight = [w * factor for w in weight for factor in weights] if weight else list(weights)
        if level.hashed:
            index = [i.bitwise_and_(level.entries - 1) for i in index]
        else:
            index = [i.remainder_(level.entries) for i in index]
        return self._layout.interpolate(table, index, weight)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [N, n_output_dims]."""
        return self.network(self.encode(x))

    def network(self, features: Tensor) -> Tensor:
        """Outputs [N, n_output_dims] for features [N, L F]."""
        return run_layers(features, self.layers, self._dtype)[:, : self._n_output_dims]

    def flat_gradient(self) -> Tensor:
        """The gradient in the order of our model's parameters: the network's, then the grid's."""
        layers = [layer.grad.flatten() for layer in self.layers]
        tables = [self._layout.rows(table.grad).flatten() for table in self.tables]
        return torch.cat(layers + tables) / self.loss_scale


class AllLevelsModel(torch.nn.Module):
    """The same model with all levels at once and one table for all of them, which is how most plain encodings for compilers are.

    Every level is hashed, coarse ones too, as in nerfstudio's `HashEncoding`: outputs differ from ours, the work does not.

    Args:
        grid: The grid whose shape is copied.
        network: The network whose shape and parameters are copied.
        n_output_dims: Output columns of the network, without padding.
    """

    PRIMES = (1, 2654435761, 805459861)

    def __init__(self, grid: EncodingView, network: NetworkView, n_output_dims: int) -> None:
        super().__init__()
        levels = grid.structure.levels
        entries = max(level.entries for level in levels)
        self.loss_scale = 1.0
        self._entries, self._n_output_dims = entries, n_output_dims
        self.table = torch.nn.Parameter(2 * torch.rand(len(levels) * entries, grid.structure.n_features) - 1)
        self.layers = copied_layers(network)
        self.register_buffer("_scales", torch.tensor([level.scale for level in levels]))
        self.register_buffer("_offsets", entries * torch.arange(len(levels)))
        self.register_buffer("_primes", torch.tensor(self.PRIMES[: grid.structure.n_input_dims]))

    @staticmethod
    def of(model: Model) -> AllLevelsModel:
        """A model with the shape of another, on the same device."""
        network = model.network
        assert network is not None
        return AllLevelsModel(model.encoding, network, model.n_output_dims).to(model.device)

    def encode(self, x: Tensor) -> Tensor:
        """Features [N, L F] of points [N, D]."""
        position = x[:, None, :] * self._scales[:, None] + 0.5
        floor = torch.floor(position)
        high = position - floor
        cell = floor.long()
        low_terms, high_terms = cell * self._primes, (cell + 1) * self._primes
        features = None
        for corner in range(2 ** x.shape[1]):
            index, weight = None, None
            for d in range(x.shape[1]):
                is_high = corner >> d & 1
                term = (high_terms if is_high else low_terms)[..., d]
                factor = high[..., d] if is_high else 1 - high[..., d]
                index = term if index is None else torch.bitwise_xor(index, term)
                weight = factor if weight is None else weight * factor
            index = index % self._entries + self._offsets
            value = self.table[index] * weight[..., None]
            features = value if features is None else features + value
        return features.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [N, n_output_dims]."""
        return run_layers(self.encode(x), self.layers, torch.float32)[:, : self._n_output_dims]


class TorchTraining:
    """Trains a `TorchModel` with RelativeL2 and Adam, as `nrc_tracer.nn.Trainer` does, except that Adam moves every entry.

    Args:
        model: The model.
        adam: Configuration of Adam in tiny-cuda-nn's JSON.
        chunk: Number of queries at a time.
        forward: A compiled function to call in place of the model.
    """

    def __init__(
        self,
        model: TorchModel | AllLevelsModel,
        adam: dict,
        chunk: int,
        forward: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._model = model
        self._forward = model if forward is None else forward
        self._chunk = chunk
        # The optimizer treats complex numbers as pairs; its fused implementation is the fastest on CPU and CUDA
        self._optimizer = torch.optim.Adam(
            model.parameters(),
            lr=adam["learning_rate"],
            betas=(adam["beta1"], adam["beta2"]),
            eps=adam["epsilon"],
            fused=True,
        )

    def backward(self, x: Tensor, target: Tensor) -> None:
        """Put the gradient of the mean loss into the parameters."""
        self._optimizer.zero_grad()
        for part, expected in zip(x.split(self._chunk), target.split(self._chunk), strict=True):
            prediction = self._forward(part)
            error = (prediction - expected).square() / (prediction.detach().square() + RELATIVE_EPSILON)
            (error.sum() * (self._model.loss_scale / target.numel())).backward()

    def step(self, x: Tensor, target: Tensor) -> None:
        """Take one step."""
        self.backward(x, target)
        self._optimizer.step()


def copied_layers(network: NetworkView | None) -> torch.nn.ParameterList:
    """Copies of a network's matrices as parameters."""
    layers = (network.layer(index) for index in range(network.n_layers)) if network else ()
    return torch.nn.ParameterList(layer.clone() for layer in layers)


def run_layers(x: Tensor, layers: Iterable[Tensor], dtype: torch.dtype) -> Tensor:
    """The output, float32, of matrices with ReLU between them, with operands in `dtype`."""
    h = x.to(dtype)
    *hidden, last = (layer.to(dtype) for layer in layers)
    for matrix in hidden:
        h = torch.relu(h @ matrix.T)
    return (h @ last.T).float()


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, chunk: int) -> Tensor:
    """The values of a function without a graph, `chunk` rows at a time."""
    with torch.inference_mode():
        if len(x) <= chunk:
            return function(x).contiguous()
        return torch.cat([function(part) for part in x.split(chunk)])


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Limit torch to `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _signed(value: int) -> int:
    """The int32 with the same bits."""
    return (value + 2**31) % 2**32 - 2**31


# Layouts


@dataclass(frozen=True)
class Layout:
    """How a level's table is stored, and how it is read.

    Attributes:
        stored: Converts rows [entries, F] to the parameter.
        rows: Converts the parameter to rows.
        interpolate: Returns the features [F, N] for the parameter and the index and weight [N] of each corner.
    """

    stored: Callable[[Tensor], Tensor]
    rows: Callable[[Tensor], Tensor]
    interpolate: Callable[[Tensor, list[Tensor], list[Tensor]], Tensor]


def _same(table: Tensor) -> Tensor:
    return table


def _transposed(table: Tensor) -> Tensor:
    return table.T.contiguous()


def _index(table: Tensor, index: list[Tensor], weight: list[Tensor]) -> Tensor:
    result = table[index[0]] * weight[0][:, None]
    for i, w in zip(index[1:], weight[1:], strict=True):
        result = result + table[i] * w[:, None]
    return result.T


def _embedding_bag(table: Tensor, index: list[Tensor], weight: list[Tensor]) -> Tensor:
    bags, weights = torch.stack(index, 1), torch.stack(weight, 1)
    return torch.nn.functional.embedding_bag(bags, table, mode="sum", per_sample_weights=weights).T


def _planes(table: Tensor, index: list[Tensor], weight: list[Tensor]) -> Tensor:
    features = []
    for plane in table.unbind():
        result = plane.index_select(0, index[0]) * weight[0]
        for i, w in zip(index[1:], weight[1:], strict=True):
            result = torch.addcmul(result, plane.index_select(0, i), w)
        features.append(result)
    return torch.stack(features)


def _complex(table: Tensor, index: list[Tensor], weight: list[Tensor]) -> Tensor:
    numbers = torch.view_as_complex(table)
    result = numbers.index_select(0, index[0]) * weight[0]
    for i, w in zip(index[1:], weight[1:], strict=True):
        result = result + numbers.index_select(0, i) * w
    return torch.view_as_real(result).T


PLAIN = "index"
"""The layout that most code uses."""

LAYOUTS = {
    PLAIN: Layout(_same, _same, _index),
    "embedding_bag": Layout(_same, _same, _embedding_bag),
    "planes": Layout(_transposed, _transposed, _planes),
    "complex": Layout(_same, _same, _complex),
}
