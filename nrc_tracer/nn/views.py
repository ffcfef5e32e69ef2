"""Named views of parts of a model's flat parameters."""

from __future__ import annotations

from torch import Tensor

from nrc_tracer.errors import NrcError
from nrc_tracer.nn.encodings.composite import CompositeEncoding
from nrc_tracer.nn.encodings.encoding import Encoding
from nrc_tracer.nn.encodings.grid import GridEncoding
from nrc_tracer.nn.mlp import Mlp


class EncodingView:
    """An encoding and its parameters.

    Attributes:
        structure: The encoding.
        params: Its parameters, a view [n_params].
    """

    def __init__(self, structure: Encoding, params: Tensor) -> None:
        self.structure = structure
        self.params = params

    @property
    def n_levels(self) -> int:
        """Number of levels of a grid; 0 for other encodings."""
        return len(self.structure.levels) if isinstance(self.structure, GridEncoding) else 0

    def level(self, index: int) -> Tensor:
        """The table of a grid's level, a view [entries, n_features].

        Raises:
            NrcError: This is not a grid, or it has no such level.
        """
        if not isinstance(self.structure, GridEncoding):
            raise NrcError(f"only a Grid has levels, and this encoding is {type(self.structure.config).__name__}")
        _check(index, self.n_levels, "level")
        return self.params[self.structure.layout.level_slice(index)].view(-1, self.structure.n_features)

    def nested(self, index: int) -> EncodingView:
        """An encoding nested in a composite.

        Raises:
            NrcError: This is not a composite, or it has no such encoding.
        """
        if not isinstance(self.structure, CompositeEncoding):
            raise NrcError(f"only a Composite nests encodings, and this is {type(self.structure.config).__name__}")
        nested = self.structure.nested
        _check(index, len(nested), "nested encoding")
        begin = sum(encoding.n_params for encoding in nested[:index])
        return EncodingView(nested[index], self.params[begin : begin + nested[index].n_params])


class NetworkView:
    """A network and its weights.

    Attributes:
        structure: The network.
        params: Its weights, a view [n_params].
    """

    def __init__(self, structure: Mlp, params: Tensor) -> None:
        self.structure = structure
        self.params = params

    @property
    def n_layers(self) -> int:
        """Number of weight matrices, that of the output included."""
        return len(self.structure.shapes)

    def layer(self, index: int) -> Tensor:
        """The weight matrix of a layer, a view [out, in] with padded sizes.

        Raises:
            NrcError: There is no such layer.
        """
        _check(index, self.n_layers, "layer")
        return self.structure.matrices(self.params)[index]


def _check(index: int, count: int, name: str) -> None:
    if not 0 <= index < count:
        raise NrcError(f"there is no {name} {index}; they are numbered from 0 to {count - 1}")
