"""Checkpoints: files of unfinished renders, with all that is needed to continue to the same bits.

A checkpoint is a safetensors file (https://github.com/huggingface/safetensors):

* `sums`, `squares`: float64 [height, width, 3], sums over the samples of finished blocks (64 samples each), in their order;
* `block_sums`, `block_squares`: the same over the samples after them; and `dropped`: int32 [height, width], of all samples;
* `cache`: uint8 [bytes], the state of the radiance cache and of its image; empty without one;
* metadata: `nrc_tracer`, JSON with the rest, the digest of the tensors and the identity of the render; and `digest`, the digest
  of that JSON.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from nrc_tracer.errors import CheckpointError, one_line
from nrc_tracer.files.atomic import replacing
from nrc_tracer.files.tensor_file import TensorSource, opened_tensors, write_tensors
from nrc_tracer.tracer.scene_digests import digest

FORMAT = "nrc_tracer.tracer"
VERSION = 4
"""Version of the format; files of other versions are refused."""

MAX_HEADER_BYTES = 64 * 2**20
"""Largest size of the JSON in a file."""

MAX_CACHE_BYTES = 2**34
"""Largest size of the state of a radiance cache."""

_KEY, _DIGEST = "nrc_tracer", "digest"
_FILM = {
    **dict.fromkeys(("sums", "squares", "block_sums", "block_squares"), ("F64", (3,))),
    "dropped": ("I32", ()),
}
"""Types of the film's tensors, and their dimensions after height and width."""
_DTYPES = {**{name: dtype for name, (dtype, _) in _FILM.items()}, "cache": "U8"}
_FOLLOWING = frozenset({"precision", "form", "kernels"})
"""Settings of a cache that follow from its others and the machine; a message names them only if no other setting differs."""
_SHOWN = 3
"""Largest number of parts of a scene that a message names."""


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides the bits of every sample of an image, in parts that messages can name.

    Attributes:
        settings: Settings of the renderer by name; those of the radiance cache are a dictionary under `cache`.
        scene: Digests of the scene's parts, by kind and name: `{"materials": {"red": "0a1b..."}}`.
    """

    settings: dict[str, Any]
    scene: dict[str, dict[str, str]]

    def differences(self, there: Identity) -> list[str]:
        """What differs in another render, in words: `max_depth is 8 there and 6 here`."""
        found = []
        here = msgspec.json.decode(msgspec.json.encode(self.settings))  # with lists for tuples, as in a file
        for name in {**here, **there.settings}:
            ours, theirs = here.get(name), there.settings.get(name)
            if ours == theirs:
                continue
            if name == "cache" and isinstance(ours, dict) and isinstance(theirs, dict):
                keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
                keys = [key for key in keys if key not in _FOLLOWING] or keys
                found += [_difference(f"{name} {key}", theirs.get(key), ours.get(key)) for key in keys]
            else:
                found.append(_difference(name, theirs, ours))
        for kind in {**self.scene, **there.scene}:
            ours, theirs = self.scene.get(kind, {}), there.scene.get(kind, {})
            names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
            if names:
                shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
                some = f"1 of the {kind} differs" if len(names) == 1 else f"{len(names)} of the {kind} differ"
                found.append(f"{some} ({shown})")
        return found


class _Header(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    format: str
    version: Annotated[int, msgspec.Meta(ge=1)]
    samples: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    seconds: Annotated[float, msgspec.Meta(ge=0)]
    data: str
    identity: Identity


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A render so far.

    Attributes:
        samples: Samples per pixel.
        seconds: Time spent on them [s].
        sums: Sums of the samples of finished blocks, shape [height, width, 3], float64.
        squares: Sums of their squares, shape [height, width, 3], float64.
        block_sums, block_squares: The same of the samples after the last finished block.
        dropped: Dropped samples of each pixel, shape [height, width], int32.
        cache: State of the radiance cache and of its image, uint8 [bytes]; empty without one.
    """

    samples: int
    seconds: float
    sums: np.ndarray
    squares: np.ndarray
    block_sums: np.ndarray
    block_squares: np.ndarray
    dropped: np.ndarray
    cache: np.ndarray

    def film(self) -> dict[str, np.ndarray]:
        """The film's tensors by name."""
        return {name: getattr(self, name) for name in _FILM}


def write_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint, identity: Identity) -> Path:
    """Write a checkpoint; a file of that name is replaced only when the new one is complete.

    Raises:
        CheckpointError: The file cannot be written.
    """
    path = Path(path)
    tensors = {name: np.ascontiguousarray(getattr(checkpoint, name)) for name in _DTYPES}
    header = _Header(
        format=FORMAT,
        version=VERSION,
        samples=checkpoint.samples,
        seconds=checkpoint.seconds,
        data=_digest(tensors),
        identity=identity,
    )
    text = msgspec.json.encode(header)
    metadata = {_KEY: text.decode(), _DIGEST: digest(text)}
    sources = {name: _source(name, tensor) for name, tensor in tensors.items()}
    with replacing(path, error=CheckpointError) as temporary, temporary.open("xb") as file:
        write_tensors(file, metadata, sources, max_header=MAX_HEADER_BYTES)
    return path


def read_checkpoint(path: str | os.PathLike[str], identity: Identity, *, width: int, height: int) -> Checkpoint:
    """Read a checkpoint of the render with this identity and size [pixels].

    Raises:
        CheckpointError: The file is missing, damaged, or of another render; the message says what differs.
    """
    path = Path(path)
    missing = "there is no such checkpoint to continue from"
    opened = opened_tensors(
        path, "numpy", kind="checkpoint", error=CheckpointError, max_header=MAX_HEADER_BYTES, missing=missing
    )
    try:
        with opened as file:
            header = _read_header(path, file.metadata() or {})
            differences = identity.differences(header.identity)
            if differences:
                raise CheckpointError(f"{path}: of another render: {'; '.join(differences)}")
            _check_tensors(path, file, width, height)
            tensors = {name: file.get_tensor(name) for name in _DTYPES}
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError) as error:
        raise _damaged(path, one_line(error)) from error
    if _digest(tensors) != header.data:
        raise _damaged(path, "its tensors are not those that were written")
    return Checkpoint(samples=header.samples, seconds=header.seconds, **tensors)


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    return digest(*(np.ascontiguousarray(tensors[name]).data for name in _DTYPES))


def _source(name: str, tensor: np.ndarray) -> TensorSource:
    return TensorSource(_DTYPES[name], tensor.shape, tensor.nbytes, lambda: tensor.data.cast("B"))


def _read_header(path: Path, metadata: Mapping[str, str]) -> _Header:
    text = metadata.get(_KEY, "").encode()
    if _DIGEST not in metadata or not text:
        raise CheckpointError(f"{path}: a safetensors file, but not a checkpoint of a render")
    if digest(text) != metadata[_DIGEST]:
        raise _damaged(path, "its metadata is not what was written")
    version = msgspec.json.decode(text).get("version")
    if isinstance(version, int) and version > VERSION:
        raise CheckpointError(
            f"{path}: written by a newer release (format {version}, this one reads up to {VERSION}); upgrade nrc-tracer"
        )
    if isinstance(version, int) and version < VERSION:
        raise CheckpointError(
            f"{path}: written by an older release, whose sums of samples have other bits; render from the start"
        )
    header = msgspec.json.decode(text, type=_Header)
    if header.format != FORMAT or not math.isfinite(header.seconds):
        raise _damaged(path, "its metadata is of another kind")
    return header


def _check_tensors(path: Path, file: Any, width: int, height: int) -> None:
    """Check that the tensors are those of a film of this size, before they are read."""
    if set(file.keys()) != set(_DTYPES):
        raise _damaged(path, "its tensors are not those of a film")
    for name, dtype in _DTYPES.items():
        view = file.get_slice(name)
        shape = tuple(view.get_shape())
        if name == "cache":
            fits = len(shape) == 1 and shape[0] <= MAX_CACHE_BYTES
        else:
            fits = shape == (height, width, *_FILM[name][1])
        if view.get_dtype() != dtype or not fits:
            raise _damaged(path, f"{name} is {view.get_dtype()} of shape {list(shape)}")


def _damaged(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{path}: not a checkpoint, or damaged: {problem}")


def _difference(name: str, theirs: Any, ours: Any) -> str:
    if any(isinstance(value, dict | list) for value in (ours, theirs)):
        return f"{name} differs"
    return f"{name} is {_word(theirs)} there and {_word(ours)} here"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
