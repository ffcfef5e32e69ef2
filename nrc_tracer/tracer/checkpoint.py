"""Unfinished renders in files: all that is needed to go on to the same bits, and what tells one render from another.

A checkpoint is a safetensors file (https://github.com/huggingface/safetensors):

* `sums`, `squares`: float64 [height, width, 3], over the samples so far, and `dropped`: int32 [height, width];
* metadata: `nrc_tracer`, JSON of all the rest, and `digest`, of that JSON, which in turn has the tensors' digest.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from nrc_tracer.errors import CheckpointError, SceneError, one_line
from nrc_tracer.files.atomic import replacing
from nrc_tracer.files.tensor_file import TensorSource, opened_tensors, write_tensors
from nrc_tracer.scene.model import Scene, TriangleMesh

FORMAT = "nrc_tracer.tracer"
VERSION = 3
MAX_HEADER_BYTES = 64 * 2**20

_KEY, _DIGEST = "nrc_tracer", "digest"
_FILM = {"sums": ("F64", (3,)), "squares": ("F64", (3,)), "dropped": ("I32", ())}
"""Tensors of a film's size, with their types and further dimensions."""
_DTYPES = {**{name: dtype for name, (dtype, _) in _FILM.items()}, "cache": "U8"}
MAX_CACHE_BYTES = 2**34
_SETTINGS = ("camera", "cameras", "film", "sampler", "integrator")
"""Parts of a description that are among the settings, as a renderer may have others than the scene's."""
_NAMED = ("cache",)
"""Settings with settings of their own, which are named where they differ."""
_SHOWN = 3


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides every bit of an image but the number of its samples, in parts that can be named.

    Attributes:
        settings: Of the renderer, by name.
        scene: Digests of the scene's parts, by kind and name: `{"materials": {"red": "0a1b..."}}`.
    """

    settings: dict[str, Any]
    scene: dict[str, dict[str, str]]

    def differences(self, there: Identity) -> list[str]:
        """Say what another render has that is not the same: `max_depth is 8 there and 6 here`."""
        found = []
        here = msgspec.json.decode(msgspec.json.encode(self.settings))  # with lists for tuples, as in a file
        for name in {**here, **there.settings}:
            ours, theirs = here.get(name), there.settings.get(name)
            if ours == theirs:
                continue
            if name in _NAMED and isinstance(ours, dict) and isinstance(theirs, dict):
                keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
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
        samples: Samples taken in every pixel.
        seconds: Time that took.
        sums: Sums of the samples, shape [height, width, 3], float64.
        squares: Sums of their squares, likewise.
        dropped: Samples left out in each pixel, shape [height, width], int32.
        cache: The file of the radiance cache, uint8 [bytes]; empty without one.
    """

    samples: int
    seconds: float
    sums: np.ndarray
    squares: np.ndarray
    dropped: np.ndarray
    cache: np.ndarray


def scene_parts(scene: Scene) -> dict[str, dict[str, str]]:
    """Digests of everything in a scene that decides its image, by kind and name."""
    description = scene.description
    parts: dict[str, dict[str, str]] = {}
    for kind in description.__struct_fields__:
        if kind in _SETTINGS:
            continue
        content = getattr(description, kind)
        items = content.items() if isinstance(content, dict) else enumerate(content)
        parts[kind] = {_label(name, item): _digest(msgspec.json.encode(item)) for name, item in items}
    parts["mesh files"] = {name: _mesh_digest(mesh) for name, mesh in scene.meshes.items()}
    if scene.snapshots:
        parts["snapshots"] = {name: _file_digest(snapshot.path) for name, snapshot in scene.snapshots.items()}
    parts["image files"] = {name: _array_digest(image) for name, image in scene.images.items()}
    return parts


def write_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint, identity: Identity) -> Path:
    """Write a checkpoint; a file of that name is replaced only once the new one is complete.

    Raises:
        CheckpointError: The place cannot be written to.
    """
    path = Path(path)
    tensors = {name: np.ascontiguousarray(getattr(checkpoint, name)) for name in _DTYPES}
    header = _Header(
        format=FORMAT,
        version=VERSION,
        samples=checkpoint.samples,
        seconds=checkpoint.seconds,
        data=_digest(*tensors.values()),
        identity=identity,
    )
    text = msgspec.json.encode(header)
    metadata = {_KEY: text.decode(), _DIGEST: _digest(text)}
    entries = {name: _entry(name, tensor) for name, tensor in tensors.items()}
    with replacing(path, error=CheckpointError) as temporary, temporary.open("xb") as file:
        write_tensors(file, metadata, entries, max_header=MAX_HEADER_BYTES)
    return path


def read_checkpoint(path: str | os.PathLike[str], identity: Identity, *, width: int, height: int) -> Checkpoint:
    """Read a checkpoint of the render that `identity` stands for.

    Raises:
        CheckpointError: The file is missing, damaged, or of another render; the message says what differs.
    """
    path = Path(path)
    missing = "there is no such checkpoint to go on from"
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
    if _digest(*(np.ascontiguousarray(tensor) for tensor in tensors.values())) != header.data:
        raise _damaged(path, "its sums are not those that were written")
    return Checkpoint(samples=header.samples, seconds=header.seconds, **tensors)


def _entry(name: str, tensor: np.ndarray) -> TensorSource:
    return TensorSource(_DTYPES[name], tensor.shape, tensor.nbytes, lambda: memoryview(tensor).cast("B"))


def _read_header(path: Path, metadata: Mapping[str, str]) -> _Header:
    text = metadata.get(_KEY, "").encode()
    if _DIGEST not in metadata or not text:
        raise CheckpointError(f"{path}: a safetensors file, but not a checkpoint of a render")
    if _digest(text) != metadata[_DIGEST]:
        raise _damaged(path, "its metadata are not those that were written")
    version = msgspec.json.decode(text).get("version")
    if isinstance(version, int) and version > VERSION:
        raise CheckpointError(
            f"{path}: written by a newer release (format {version}, this one reads up to {VERSION}); upgrade nrc-tracer"
        )
    if isinstance(version, int) and version < VERSION:
        raise CheckpointError(f"{path}: written by an older release; begin anew")
    header = msgspec.json.decode(text, type=_Header)
    if header.format != FORMAT or not math.isfinite(header.seconds):
        raise _damaged(path, "its metadata are of another kind")
    return header


def _check_tensors(path: Path, file: Any, width: int, height: int) -> None:
    """Make sure that the tensors are those of a film of this size, before they are read."""
    if set(file.keys()) != set(_DTYPES):
        raise _damaged(path, "other tensors than those of a film")
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


def _digest(*parts: bytes | np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    try:
        return _digest(path.read_bytes())
    except OSError as error:
        raise SceneError(f"{path}: cannot be read: {error.strerror or error}") from error


def _array_digest(*arrays: np.ndarray | None) -> str:
    return _digest(*_with_shapes(arrays))


def _mesh_digest(mesh: TriangleMesh) -> str:
    return _array_digest(mesh.positions, mesh.indices, mesh.normals, mesh.uvs, mesh.colors)


def _with_shapes(arrays: Iterable[np.ndarray | None]) -> Iterable[bytes | np.ndarray]:
    for array in arrays:
        if array is None:
            yield b"none;"
        else:
            yield f"{array.dtype.str}{array.shape};".encode()
            if array.size:  # an array without items has no buffer
                yield np.ascontiguousarray(array)


def _label(name: object, item: Any) -> str:
    """What to call a part: its name, or its number and its own name if it has one."""
    own = getattr(item, "name", "") if isinstance(name, int) else ""
    return f"{name} ({own})" if own else str(name)


def _difference(name: str, theirs: Any, ours: Any) -> str:
    if any(isinstance(value, dict | list) for value in (ours, theirs)):
        return f"{name} differs"
    return f"{name} is {_word(theirs)} there and {_word(ours)} here"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
