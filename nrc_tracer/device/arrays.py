"""Torch tensors as Warp arrays over the same memory, and arrays of any kind as torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.errors import NrcError


class ArrayError(NrcError):
    """An array has the wrong kind, shape, type or device."""


def as_warp(tensor: Tensor, dtype: Any = None) -> Any:
    """A kernel argument over a tensor's memory, strides included; the tensor must outlive the launch.

    Args:
        tensor: Any tensor; its own gradient tracking is ignored.
        dtype: Warp type of an element; a vector type takes the last dimension. The tensor's type unless given.
    """
    argument = wp.from_torch(tensor.detach(), dtype=dtype, requires_grad=False, return_ctype=True)
    argument.element = wp.dtype_from_torch(tensor.dtype) if dtype is None else dtype  # see `check_types`
    return argument


_UNSIGNED = {wp.int8: wp.uint8, wp.int16: wp.uint16, wp.int32: wp.uint32, wp.int64: wp.uint64, wp.bool: wp.uint8}


def check_types(kernel: wp.Kernel, arguments: Sequence[Any]) -> None:
    """Check that arguments made by `as_warp` have the types that a kernel declares; Warp itself does not check them.

    Signed and unsigned integers of one size are interchangeable.

    Raises:
        ArrayError: One has another type: the kernel would misread its memory.
    """
    for argument, declared in zip(arguments, kernel.adj.args, strict=False):
        given = getattr(argument, "element", None)
        if given is None or given is declared.type.dtype:
            continue
        if _UNSIGNED.get(given, given) is not _UNSIGNED.get(declared.type.dtype, declared.type.dtype):
            raise ArrayError(
                f"{declared.label} of {kernel.key}: expected {declared.type.dtype.__name__}, got {given.__name__}"
            )


def structs_as_warp(rows: Sequence[tuple[Any, ...]], struct: Any, device: wp.Device) -> wp.array:
    """An array of structs [N] on a device, each made of a tuple with the values of its fields in order."""
    return wp.array(np.array(rows, dtype=struct.numpy_dtype()), dtype=struct, device=device, copy=device.is_cuda)


def as_rows(value: Any, columns: int, device: torch.device, name: str) -> Tensor:
    """A caller's array as a contiguous tensor [N, columns], over the same memory where possible.

    Args:
        value: float32 torch tensor, Warp array or NumPy array.
        columns: Number of columns that it must have.
        device: Device that it must be on; NumPy arrays are copied there.
        name: Its name in messages.

    Raises:
        ArrayError: It has another kind, type, shape or device.
    """
    if isinstance(value, wp.array):
        if value.dtype in (wp.vec2, wp.vec3, wp.vec4) and value.ndim == 1:
            value = value.view(wp.float32)
        try:
            value = wp.to_torch(value, requires_grad=False)
        except (RuntimeError, TypeError) as error:  # an array of structs
            raise ArrayError(f"{name}: expected float32, got a Warp array of another type: {error}") from error
    elif isinstance(value, np.ndarray):
        if value.dtype != np.float32:
            raise ArrayError(f"{name}: expected float32, got {value.dtype}; convert it with .astype('float32')")
        # Torch has no read-only tensors
        value = torch.from_numpy(np.require(value, requirements=["C", "W"])).to(device)
    elif not isinstance(value, Tensor):
        raise ArrayError(f"{name}: expected a torch tensor, Warp array or NumPy array, got {type(value).__name__}")
    if value.layout != torch.strided:
        raise ArrayError(f"{name}: expected a dense tensor, got one of layout {value.layout}; use .to_dense()")
    if value.dtype != torch.float32:
        raise ArrayError(
            f"{name}: expected float32, got {str(value.dtype).removeprefix('torch.')}; convert it with .float()"
        )
    if value.ndim != 2 or value.shape[1] != columns:
        raise ArrayError(f"{name}: expected shape [N, {columns}], got {list(value.shape)}")
    if value.device != device:
        raise ArrayError(f"{name}: is on {value.device}, the model on {device}; move one of them with .to()")
    return value.contiguous()
