"""Programs in the form that kernels read, and launches whose arguments are packed only once."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import warp as wp

from nrc_tracer.device.crew import Native
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn.encodings.grid import GridEncoding
from nrc_tracer.nn.encodings.grid_cells import Level
from nrc_tracer.nn.encodings.identity import IdentityEncoding
from nrc_tracer.nn.fused_cpu.encoding_snippets import harmonic_coefficients
from nrc_tracer.nn.fused_cpu.program import Program
from nrc_tracer.nn.fused_cpu.structs import COUNTERS, LayerData, OutputData, PartData, ProgramData


class Recorded:
    """Launches of a kernel whose arguments are packed only once, one launch and one item per thread.

    Args:
        kernel: The kernel; its first argument is the index of the item. The first item alone does all the work if no other comes.
        arguments: Its other arguments. Numbers in arrays among them may change between runs; see `Structs`.
    """

    def __init__(self, kernel: wp.Kernel, arguments: list) -> None:
        kernel.module.load("cpu", 1)
        self._kernel, self._arguments = kernel, arguments
        self._launches: list[wp.Launch] = []
        self._native: Native | None = None

    def run(self, launcher: TorchLauncher, items: int) -> None:
        """Run items 0 .. items - 1, at most one per thread, and wait for them."""
        native = self._native
        if native is None or len(self._launches) < items:
            for item in range(len(self._launches), items):
                inputs = [item, *self._arguments]
                self._launches.append(wp.launch(self._kernel, dim=1, inputs=inputs, device="cpu", record_cmd=True))
            native = self._native = Native(self._launches)
        if items == 1:
            native.run(0)
        elif launcher.crew is not None:
            launcher.crew.run(native, items)
        else:
            launcher.each(native.run, range(items))


def fields(struct: Any) -> Any:
    """The fields of a struct in memory. Setting them here takes a tenth of the time."""
    return struct.__ctype__()


class Counters:
    """The counters by which the items of a kernel share its work; see `vector_snippets`.

    Args:
        calls: The fields of the `Call`s, which get counters of their own.
    """

    def __init__(self, calls: Sequence[Any]) -> None:
        self._memory = (ctypes.c_int32 * (COUNTERS * len(calls)))()
        self._address = ctypes.addressof(self._memory)
        for index, call in enumerate(calls):
            call.counters = self._address + 4 * COUNTERS * index
            call.sleep = sleep_address()

    def start(self, count: int) -> None:
        """Set the counters of the first `count` calls to zero."""
        ctypes.memset(self._address, 0, 4 * COUNTERS * count)

    def has_second_phase(self, index: int) -> bool:
        """Whether a call has come to its second phase."""
        return self._memory[COUNTERS * index + 2] > 0


@cache
def sleep_address() -> int:
    """The address of a C function that gives up the processor for a number of microseconds; 0 if the system has none."""
    if os.name != "posix":
        return 0
    try:
        return ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p).value or 0
    except (AttributeError, OSError):  # a C library without it
        return 0


class Structs:
    """Structs in memory that kernels read, as an array.

    Args:
        struct: The type of the structs.
        count: Their number.

    Attributes:
        fields: The fields of each struct.
        array: The array for kernels.
    """

    def __init__(self, struct: Any, count: int) -> None:
        self.fields = (struct.ctype * count)()
        self.array = wp.array(ptr=ctypes.addressof(self.fields), dtype=struct, shape=(count,), device="cpu")


class Slabs:
    """The working memory of items, one slab for each.

    Args:
        size: Size of a slab [floats].
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._items, self._address = 0, 0
        self._memory = torch.empty(0)

    def address(self, items: int) -> int:
        """The address of the slabs of `items` items, aligned to a cache line. Earlier contents may be lost."""
        if self._items < items:
            self._memory = torch.zeros(items * self._size + 16)
            self._items, self._address = items, -(-self._memory.data_ptr() // 64) * 64
        return self._address


def items_for(shares: int, threads: int, work: int, smallest: int) -> int:
    """The number of items that share `shares` equal pieces of work, at most one per thread.

    Args:
        shares: Number of pieces.
        threads: Number of threads.
        work: Size of all pieces together [multiplications].
        smallest: Smallest work that is shared.
    """
    return min(shares, threads if work >= smallest else 1)


def rows_of(struct: Any, count: int) -> np.ndarray:
    """A NumPy array of `count` structs with all fields zero, to be filled by field name and passed to `wp.array`."""
    return np.zeros(count, dtype=struct.numpy_dtype())


def program_data(program: Program, n_inputs: int, launcher: TorchLauncher) -> ProgramData:
    """A program in the form that kernels read."""
    parts = rows_of(PartData, len(program.parts))
    levels = [rows_of(Level, 0)]
    d_first = plane = 0
    for row, (part, buffer) in zip(parts, program.parts, strict=True):
        encoding = part.encoding
        row["kind"], row["size"] = part.kind, part.size
        row["input"], row["n_dims"] = part.input, encoding.n_input_dims
        row["buffer"], row["row"], row["column"] = buffer.at, buffer.row, part.column
        row["padding_begin"], row["padding_end"] = part.padding
        row["padding"] = encoding.padding_value
        row["first_param"] = part.first_param
        if isinstance(encoding, GridEncoding):
            row["n_features"], row["interpolation"] = encoding.n_features, int(encoding.interpolation)
            row["level"], row["d_first"], row["plane"] = sum(map(len, levels)), d_first, plane
            levels.append(encoding.levels_on(launcher).numpy())
            d_first += encoding.n_output_dims
            plane += encoding.n_input_dims
        elif isinstance(encoding, IdentityEncoding):
            row["scale"], row["shift"] = encoding.scale, encoding.offset
    layers = rows_of(LayerData, len(program.layers))
    for row, layer in zip(layers, program.layers, strict=True):
        for name in ("n_in", "n_out", "weights", "packed", "activation"):
            row[name] = getattr(layer, name)
        for name in ("source", "target"):
            buffer = getattr(layer, name)
            row[name], row[f"{name}_row"], row[f"{name}_moves"] = buffer.at, buffer.row, buffer.moves
        row["applied"], row["late_output"] = layer.applied, layer.late_output >= 0
        row["first_feature"], row["feature_column"] = layer.first_feature, layer.feature_column
        row["d_begin"], row["d_end"] = layer.d_columns
        if layer.d_target is not None:
            row["d_target"], row["d_target_row"] = layer.d_target.at, layer.d_target.row
        if layer.d_source is not None:
            row["d_source"] = layer.d_source.at
    outputs = rows_of(OutputData, len(program.outputs))
    for row, (buffer, column) in zip(outputs, program.outputs, strict=True):
        row["at"], row["row"], row["moves"] = buffer.at + column, buffer.row, buffer.moves

    data = ProgramData()
    data.parts = wp.array(parts, dtype=PartData, device="cpu")
    data.levels = wp.array(np.concatenate(levels), dtype=Level, device="cpu")
    data.layers = wp.array(layers, dtype=LayerData, device="cpu")
    data.outputs = wp.array(outputs, dtype=OutputData, device="cpu")
    data.harmonics = wp.array(harmonic_coefficients().reshape(-1), dtype=float, device="cpu")
    data.n_inputs, data.stretch, data.planes = n_inputs, program.stretch, program.planes
    data.block, data.slab = program.block, program.slab
    data.kept_begin, data.kept_size = program.kept[0], program.kept_size
    return data
