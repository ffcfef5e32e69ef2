"""Snapshots of instant-ngp: its models from `.ingp` and `.msgpack` files, and models of images and distances to such files.

A file is MessagePack, bare or compressed by gzip or zlib: the configuration that the model was made of, and under the key
`snapshot` its parameters as tiny-cuda-nn writes them (`n_params`, `params_type`, `params_binary`: those for inference) with
the rest of the program's state. Mueller, Evans, Schied, Keller, *Instant Neural Graphics Primitives with a Multiresolution Hash
Encoding* (SIGGRAPH 2022), section 5.4, has the two networks of a radiance field.

**Not verified**: no file written by instant-ngp was at hand. What is read was tested with files made by its published description
alone: the names `mode`, `aabb_scale` and `n_extra_learnable_dims` and their places, the order of the axes in the density grid,
that a colour network takes the density outputs before the direction, and whether instant-ngp itself loads what `write_ingp`
writes, are to be checked with the first real one. A wrong size is always an error, so a file of an unknown shape is refused
rather than misread.
"""

from __future__ import annotations

import gzip
import os
import stat
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
import torch
from torch import Tensor

from nrc_tracer.errors import ConfigError, SnapshotError
from nrc_tracer.files.atomic import replacing
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.mlp import ALIGNMENT
from nrc_tracer.nn.model import Model
from nrc_tracer.nn.structure import Structure

MAX_BYTES = 4 * 2**30
"""More than this, compressed or not, is refused."""
MAX_RATIO = 64
"""How many times smaller than its contents a compressed file of more than `SMALL_BYTES` may be; parameters compress badly."""
SMALL_BYTES = 64 * 2**20
MAX_DOCUMENT_BYTES = 4 * 2**20
"""What is kept of the configuration and the program's state, as encoded; larger members are left out."""

MAX_CASCADES = 8
MAX_GRID_SIDE = 512
MAX_EXTRA_DIMS = 2**16

DENSITY_OUTPUTS = 16
DIMS = {"image": (2, 3), "sdf": (3, 1)}
"""Input and output columns by kind of model."""

_PIECE = 2**16
"""Bytes that are decompressed at once, to a thousand times as many at most."""
_DTYPES = {"float": np.dtype("<f4"), "__half": np.dtype("<f2")}
_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class IngpSnapshot:
    """What a file of instant-ngp holds of a model.

    Attributes:
        path: The file.
        document: The configuration and the program's state as plain data, without binaries and without what is too large.
        mode: `image`, `sdf`, `nerf` or `volume`; None where the file does not say.
        params: Parameters for inference, float32 [n_params], on the CPU: network, then encoding; of a radiance field density
            network, colour network, encoding of positions, encoding of directions.
        params_type: What they are in the file, `__half` or `float`.
        aabb_scale: Size of the scene's box in unit cubes.
        n_extra_dims: Trained input columns for each picture that follow the direction.
        density_grid: float32 [cascades, side, side, side], on the CPU, indexed by x, y and z in instant-ngp's coordinates; None
            where there is none. Negative values mark cells that no camera sees.
    """

    path: Path
    document: dict[str, Any]
    mode: str | None
    params: Tensor
    params_type: str
    aabb_scale: float
    n_extra_dims: int
    density_grid: Tensor | None = field(repr=False)

    def image_model(self, *, image_resolution: Sequence[int] | None = None, **options: Any) -> Model:
        """The model of a picture: [N, 2] in [0, 1] to [N, 3].

        Args:
            image_resolution: Width and height [pixels]. They decide the finest level where the configuration does not say how
                levels grow, and are not in the file.
            options: `device`, `backend`, `precision` and `threads` of `Model`.

        Raises:
            SnapshotError: The file holds another kind of model, or not as many parameters as its configuration needs.
            ConfigError: Its configuration has what this package has not.
        """
        return self._single("image", image_resolution, options)

    def sdf_model(self, **options: Any) -> Model:
        """The model of a distance: [N, 3] in [0, 1] to [N, 1]. Options and errors as in `image_model`."""
        return self._single("sdf", None, options)

    def nerf_models(self, **options: Any) -> tuple[Model, Model]:
        """The two models of a radiance field. Options and errors as in `image_model`.

        Returns:
            Density: [N, 3], position in the scene's box scaled to [0, 1], to [N, 16], of which the first is the logarithm of
            the density. Colour: [N, 19], those 16 and then (v + 1) / 2 of the direction v, then `n_extra_dims` more, to [N, 3],
            before a sigmoid, or in scenes of high dynamic range before exp.
        """
        self._expect("nerf", "nerf_models")
        document, file = self.document, self.path
        if "dir_encoding" not in document:
            raise SnapshotError(f'{file}: no "dir_encoding" in its configuration, which a radiance field has')
        n_directions = 3 + self.n_extra_dims
        position = self._encoding("encoding", 3, None)
        direction = self._encoding("dir_encoding", n_directions, None)
        density_network = configuration.read_network(document.get("network", {}), dialect="instant-ngp", file=file)
        colour_network = configuration.read_network(
            document.get("rgb_network", {}), dialect="instant-ngp", place="rgb_network", file=file
        )

        # The colour network is given the padding of the density network as well
        n_density = -(-self._density_outputs() // ALIGNMENT) * ALIGNMENT
        colour_encoding = configuration.Composite(
            nested=(
                configuration.Nested(encoding=configuration.Identity(), n_dims_to_encode=n_density),
                configuration.Nested(encoding=direction, n_dims_to_encode=n_directions),
            )
        )
        training = self._training()
        density_config = configuration.ModelConfig(encoding=position, network=density_network, **training)
        colour_config = configuration.ModelConfig(encoding=colour_encoding, network=colour_network, **training)
        self._check_depth(density_network, "network")
        self._check_depth(colour_network, "rgb_network")
        density = Structure(3, n_density, position, density_network)
        colour = Structure(n_density + n_directions, 3, colour_encoding, colour_network)
        self._check_count(density.n_params + colour.n_params)

        # Density network, colour network, encoding of positions, encoding of directions
        sizes = [density.n_matrix_params, colour.n_matrix_params, density.encoding.n_params, colour.encoding.n_params]
        density_weights, colour_weights, position_params, direction_params = self.params.split(sizes)
        density_params = torch.cat((density_weights, position_params))
        colour_params = torch.cat((colour_weights, direction_params))
        return (
            Model(density.n_input_dims, n_density, density_config, params=density_params, **options),
            Model(colour.n_input_dims, 3, colour_config, params=colour_params, **options),
        )

    def _single(self, mode: str, image_resolution: Sequence[int] | None, options: Mapping[str, Any]) -> Model:
        self._expect(mode, f"{mode}_model")
        n_input_dims, n_output_dims = DIMS[mode]
        encoding = self._encoding("encoding", n_input_dims, image_resolution)
        network = configuration.read_network(self.document.get("network", {}), dialect="instant-ngp", file=self.path)
        self._check_depth(network, "network")
        hint = ""
        if mode == "image" and image_resolution is None:
            hint = "; if its levels grow with the picture, give image_resolution"
        self._check_count(Structure(n_input_dims, n_output_dims, encoding, network).n_params, hint)
        config = configuration.ModelConfig(encoding=encoding, network=network, **self._training())
        return Model(n_input_dims, n_output_dims, config, params=self.params, **options)

    def _expect(self, mode: str, method: str) -> None:
        if self.mode not in (mode, None):
            right = {"image": "image_model", "sdf": "sdf_model", "nerf": "nerf_models"}.get(self.mode)
            hint = f"use {right}" if right else "which is not supported"
            raise SnapshotError(f"{self.path}: {method}: holds a model of mode {self.mode[:40]!r}, {hint}")

    def _encoding(self, key: str, n_input_dims: int, image_resolution: Sequence[int] | None) -> configuration.Encoding:
        return configuration.read_encoding(
            self.document.get(key, {}),
            dialect="instant-ngp",
            n_input_dims=n_input_dims,
            aabb_scale=self.aabb_scale,
            image_resolution=image_resolution,
            place=key,
            file=self.path,
        )

    def _training(self) -> dict[str, Any]:
        """Loss and optimizer, which a model can do without: what this package has not is left out with a warning."""
        parts: dict[str, Any] = {}
        for key, read in (("loss", configuration.read_loss), ("optimizer", configuration.read_optimizer)):
            try:
                parts[key] = read(self.document.get(key, {}), dialect="instant-ngp", file=self.path)
            except ConfigError as error:
                warnings.warn(f"{error}; the default is put in its place", configuration.ConfigWarning, stacklevel=4)
        return parts

    def _density_outputs(self) -> int:
        network = self.document.get("network")
        value = network.get("n_output_dims", DENSITY_OUTPUTS) if isinstance(network, dict) else DENSITY_OUTPUTS
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**16:
            raise SnapshotError(f"{self.path}: network.n_output_dims: expected an integer from 1 to {2**16}")
        return value

    def _check_depth(self, network: configuration.Network, place: str) -> None:
        # Before a list is made of the layers, of which each has parameters
        if network.n_hidden_layers > len(self.params):
            raise SnapshotError(
                f"{self.path}: {place}: {network.n_hidden_layers} layers are more than there are parameters"
            )

    def _check_count(self, expected: int, hint: str = "") -> None:
        if expected != len(self.params):
            raise SnapshotError(
                f"{self.path}: holds {len(self.params)} parameters, but a model of its configuration has {expected}{hint}"
            )


# Reading


def read_ingp(path: str | os.PathLike[str]) -> IngpSnapshot:
    """Read a snapshot of instant-ngp, compressed or not, told apart by content.

    Raises:
        SnapshotError: The file cannot be read, is damaged, of another kind, or would be implausibly large.
    """
    path = Path(path)
    data = _read_bytes(path)
    try:
        return _decode(path, _decompress(data))
    except _Damaged as error:
        raise SnapshotError(f"{path}: not a snapshot of instant-ngp, or damaged: {error}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError, zlib.error) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise SnapshotError(f"{path}: not a snapshot of instant-ngp, or damaged: {what}") from error
    except MemoryError as error:
        raise SnapshotError(f"{path}: not enough memory to read this snapshot") from error


class _Damaged(Exception):
    """What is wrong with a file, without its name."""


def _read_bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SnapshotError(f"{path}: cannot be read: it is not a file")
        if status.st_size > MAX_BYTES:
            raise SnapshotError(f"{path}: not a snapshot of instant-ngp: larger than {MAX_BYTES / 2**30:g} GiB")
        return path.read_bytes()
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a null character in the name
        raise SnapshotError(f"{str(path)!r}: not a file name: {error}") from error


def _decompress(data: bytes) -> bytes | bytearray:
    """The contents of gzip or zlib data; other data as it is."""
    is_gzip = data[:2] == b"\x1f\x8b"
    # A header of zlib is no beginning of a MessagePack map
    is_zlib = len(data) >= 2 and data[0] & 0x0F == 8 and data[0] < 0x80 and (data[0] << 8 | data[1]) % 31 == 0
    if not is_gzip and not is_zlib:
        return data
    limit = min(MAX_BYTES, max(SMALL_BYTES, MAX_RATIO * len(data)))
    out = bytearray()
    position = 0
    while position < len(data):  # a file of gzip may have several members
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | (16 if is_gzip else 0))
        while not stream.eof:
            piece = data[position : position + _PIECE]
            if not piece:
                raise _Damaged("the compressed data end too early")
            out += stream.decompress(piece)
            position += len(piece) - len(stream.unused_data)
            if len(out) > limit:
                raise _Damaged(f"{len(data)} bytes would unpack to more than {limit}")
        if position < len(data) and not (is_gzip and data[position : position + 2] == b"\x1f\x8b"):
            raise _Damaged(f"{len(data) - position} bytes after its end")
    return out


class _Dataset(msgspec.Struct):
    aabb_scale: float | None = None
    n_extra_learnable_dims: int | None = None


class _Nerf(msgspec.Struct):
    aabb_scale: float | None = None
    dataset: _Dataset | None = None


def _decode(path: Path, data: bytes | bytearray) -> IngpSnapshot:
    # Only what is looked at becomes Python objects: a byte of MessagePack may become a hundred
    top = msgspec.msgpack.decode(data, type=dict[str, msgspec.Raw])
    if "snapshot" not in top:
        raise _Damaged('no key "snapshot"; is it a configuration alone?')
    members = msgspec.msgpack.decode(top.pop("snapshot"), type=dict[str, msgspec.Raw])
    params, params_type = _params(members)
    nerf = _member(members, "nerf", _Nerf | None) or _Nerf()
    dataset = nerf.dataset or _Dataset()
    n_extra_dims = dataset.n_extra_learnable_dims or 0
    if not 0 <= n_extra_dims <= MAX_EXTRA_DIMS:
        raise _Damaged(f"snapshot.nerf.dataset.n_extra_learnable_dims: {n_extra_dims}")
    density_grid = _density_grid(members)
    mode = _member(members, "mode", str | None)
    if mode is None and ("nerf" in members or density_grid is not None):
        mode = "nerf"
    return IngpSnapshot(
        path=path,
        document=_document(top, members),
        mode=mode and mode.lower(),
        params=params,
        params_type=params_type,
        aabb_scale=nerf.aabb_scale or dataset.aabb_scale or 1.0,
        n_extra_dims=n_extra_dims,
        density_grid=density_grid,
    )


def _member(members: Mapping[str, msgspec.Raw], name: str, kind: Any) -> Any:
    """A member of the snapshot, None if it is missing."""
    if name not in members:
        return None
    try:
        return msgspec.msgpack.decode(members[name], type=kind)
    except msgspec.MsgspecError as error:
        raise _Damaged(f"snapshot.{name}: {error}") from error


def _params(members: Mapping[str, msgspec.Raw]) -> tuple[Tensor, str]:
    binary = _member(members, "params_binary", memoryview)
    if binary is None:
        raise _Damaged('no "params_binary" in its snapshot')
    n_params = _member(members, "n_params", int | None)
    params_type = _member(members, "params_type", str | None)
    if params_type is None:  # tiny-cuda-nn then takes its own, which is half on most GPUs
        params_type = "float" if n_params is not None and len(binary) == 4 * n_params else "__half"
    if params_type not in _DTYPES:
        raise _Damaged(f"snapshot.params_type: expected __half or float, got {params_type[:40]!r}")
    dtype = _DTYPES[params_type]
    if n_params is None:
        n_params = len(binary) // dtype.itemsize
    if len(binary) != n_params * dtype.itemsize:
        raise _Damaged(f"snapshot.params_binary: {len(binary)} bytes are not {n_params} values of type {params_type}")
    params = torch.from_numpy(np.frombuffer(binary, dtype=dtype).astype(np.float32))
    if not torch.isfinite(params).all():
        raise _Damaged("snapshot.params_binary: has values that are not finite")
    return params, params_type


def _density_grid(members: Mapping[str, msgspec.Raw]) -> Tensor | None:
    binary = _member(members, "density_grid_binary", memoryview | None)
    if binary is None:
        return None
    side = _member(members, "density_grid_size", int | None)
    if side is None or not 1 <= side <= MAX_GRID_SIDE or side & (side - 1):
        raise _Damaged(f"snapshot.density_grid_size: expected a power of two up to {MAX_GRID_SIDE}, got {side}")
    cascades, rest = divmod(len(binary), 2 * side**3)
    if rest or not 1 <= cascades <= MAX_CASCADES:
        raise _Damaged(
            f"snapshot.density_grid_binary: {len(binary)} bytes are not 1 to {MAX_CASCADES} grids of {side}^3 half values"
        )
    cells = np.frombuffer(binary, dtype="<f2").astype(np.float32)
    return torch.from_numpy(from_morton(cells.reshape(cascades, side**3)))


def _document(top: Mapping[str, msgspec.Raw], members: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    """Configuration and state as plain data, smallest members first until there are too many bytes."""
    document: dict[str, Any] = {}
    snapshot: dict[str, Any] = {}
    entries = [(raw, name, document) for name, raw in top.items()]
    entries += [(raw, name, snapshot) for name, raw in members.items() if name != "optimizer"]
    left = MAX_DOCUMENT_BYTES
    for raw, name, target in sorted(entries, key=lambda entry: memoryview(entry[0]).nbytes):
        left -= memoryview(raw).nbytes
        if left < 0:
            break
        value = _plain(msgspec.msgpack.decode(raw))
        if value is not _BINARY:
            target[name] = value
    document.pop("parent", None)  # merged already, and not to be looked for here
    return {**document, "snapshot": snapshot}


_BINARY = object()


def _plain(value: Any) -> Any:
    """A copy without binaries and other things that JSON has not."""
    if isinstance(value, dict):
        members = {key: _plain(member) for key, member in value.items() if isinstance(key, str)}
        return {key: member for key, member in members.items() if member is not _BINARY}
    if isinstance(value, list):
        return [member for member in map(_plain, value) if member is not _BINARY]
    return value if value is None or isinstance(value, str | int | float) else _BINARY


# Writing


def write_ingp(
    path: str | os.PathLike[str],
    model: Model,
    *,
    mode: Literal["image", "sdf"] | None = None,
    params_type: Literal["__half", "float"] = "__half",
) -> Path:
    """Write a model of a picture or a distance as a snapshot of the same shape that `read_ingp` reads.

    The parameters are those that the model answers by. Whether instant-ngp loads such a file has not been tried.

    Args:
        path: `.msgpack` for bare MessagePack, anything else, usually `.ingp`, for gzip.
        model: The model, with 2 inputs and 3 outputs, or 3 inputs and 1 output.
        mode: `image` or `sdf`; told by the number of columns unless given.
        params_type: `__half`, to which parameters are rounded to nearest even, or `float`.

    Returns:
        The path.

    Raises:
        SnapshotError: Such a model, or a parameter, has no place in such a file, or the file cannot be written.
    """
    path = Path(path)
    dims = (model.n_input_dims, model.n_output_dims)
    mode = mode or next((name for name, known in DIMS.items() if known == dims), None)
    if mode not in DIMS or DIMS[mode] != dims or model.network is None:
        raise SnapshotError(
            f"{path}: not written, as it can hold a network of 2 inputs and 3 outputs (image) or of 3 inputs and 1 output "
            f"(sdf), not {dims[0]} -> {dims[1]}{'' if model.network else ' without a network'} as {mode}"
        )
    if params_type not in _DTYPES:
        raise SnapshotError(f"{path}: not written, as params_type must be __half or float, not {params_type!r}")
    params = model.inference_params.detach().cpu().numpy()
    with np.errstate(over="ignore"):
        stored = params.astype(_DTYPES[params_type])
    if not np.isfinite(stored).all():
        hint = '; use params_type="float"' if np.isfinite(params).all() else ""
        raise SnapshotError(f"{path}: not written, as parameters are not finite in {params_type}{hint}")
    document = configuration.to_json(model.config)
    document["snapshot"] = {
        "version": 1,
        "mode": mode,
        "n_params": len(stored),
        "params_type": params_type,
        "params_binary": stored.tobytes(),
    }
    data = msgspec.msgpack.encode(document)
    if path.suffix.lower() != ".msgpack":
        data = gzip.compress(data, compresslevel=1, mtime=0)
    with replacing(path, error=SnapshotError) as temporary:
        temporary.write_bytes(data)
    return path


# Morton order


def from_morton(cells: np.ndarray) -> np.ndarray:
    """Cells in Morton order [..., side^3] as a grid [..., side, side, side] indexed by x, y and z; `side` a power of two.

    A cell's number has the bits of its coordinates interleaved, x lowest. Written in base 2 an index is an array index of as many
    axes, so that the change of order is a transposition.
    """
    lead, bits = cells.shape[:-1], _bits(cells.shape[-1])
    axes = cells.reshape(*lead, *[2] * (3 * bits))
    order = [len(lead) + 3 * bit + axis for axis in (2, 1, 0) for bit in range(bits)]
    return np.ascontiguousarray(axes.transpose(*range(len(lead)), *order)).reshape(*lead, *[1 << bits] * 3)


def to_morton(grid: np.ndarray) -> np.ndarray:
    """The inverse of `from_morton`: a grid [..., side, side, side] as cells [..., side^3] in Morton order."""
    lead, side = grid.shape[:-3], grid.shape[-1]
    bits = _bits(side**3)
    axes = grid.reshape(*lead, *[2] * (3 * bits))
    order = [len(lead) + axis * bits + bit for bit in range(bits) for axis in (2, 1, 0)]
    return np.ascontiguousarray(axes.transpose(*range(len(lead)), *order)).reshape(*lead, side**3)


def _bits(n_cells: int) -> int:
    """Binary logarithm of a grid's side."""
    bits = (n_cells.bit_length() - 1) // 3
    if n_cells != 1 << 3 * bits:
        raise ValueError(f"{n_cells} cells are not a cube whose side is a power of two")
    return bits
