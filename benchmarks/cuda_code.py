"""Resources that the kernels need on a GPU, read from their machine code. No GPU is needed.

    pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm
    python -m benchmarks.cuda_code [--arch 80 90] [--json [FILE]]

Printed are: registers per thread; bytes of stack per thread, in device memory, which holds arrays and spilled registers; bytes of
shared memory per block; matrix instructions; and the number of warps, out of 64, that fit on a multiprocessor at a time. The code
is compiled as it would be on a GPU.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import warp as wp

import nrc_tracer.cache.assembly
import nrc_tracer.tracer.cut_path
import nrc_tracer.tracer.path
from nrc_tracer.cache import CacheOptions
from nrc_tracer.cache.features import FEATURES
from nrc_tracer.device.launch import initialize
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.fused import descent
from nrc_tracer.nn.fused.backward import backward_kernel
from nrc_tracer.nn.fused.features import FusedGrid
from nrc_tracer.nn.fused.forward import forward_kernel
from nrc_tracer.nn.fused.plan import Shape, backward_variant, forward_variant
from nrc_tracer.nn.structure import Structure

RESULTS = Path(__file__).parent / "results"
USUAL_THREADS = 256
"""Threads per block of kernels that state no other number."""

# Limits of a multiprocessor
WARPS, BLOCKS, REGISTERS, REGISTER_UNIT = 64, 32, 65536, 256
SHARED_BYTES = {80: 164 * 1024, 90: 228 * 1024}


@dataclass(frozen=True)
class Code:
    """The resources of a kernel.

    Attributes:
        kernel: Its name.
        arch: The architecture, 80 for sm_80.
        threads: Threads per block.
        registers: Registers per thread.
        stack: Stack per thread [bytes].
        shared: Shared memory per block [bytes], including the part reserved by the system.
        products: Number of matrix instructions.
    """

    kernel: str
    arch: int
    threads: int
    registers: int
    stack: int
    shared: int
    products: int

    @property
    def warps(self) -> int:
        """Number of warps that fit on a multiprocessor at a time."""
        own = self.threads // 32
        registers = -(-32 * self.registers // REGISTER_UNIT) * REGISTER_UNIT * own
        by_shared = SHARED_BYTES[self.arch] // max(self.shared, 1)
        return own * min(BLOCKS, WARPS // own, REGISTERS // registers, by_shared)


def find_tool(name: str) -> str | None:
    """A CUDA program: on the path, or in the Python package of its name; None if there is none."""
    bundled = sorted(Path(sys.prefix).glob(f"lib/python*/site-packages/nvidia/cu*/bin/{name}"))
    return shutil.which(name) or (str(bundled[0]) if bundled else None)


def read_code(module: wp.Module, arch: int, *, threads: int = USUAL_THREADS, dynamic: int = 0) -> Iterator[Code]:
    """Compile a module, and read the resources of its kernels.

    Args:
        module: The module.
        arch: The architecture, 80 for sm_80.
        threads: Threads per block.
        dynamic: Shared memory that is requested at launch, per block [bytes].
    """
    with tempfile.TemporaryDirectory() as folder:
        wp.compile_aot_module(module, arch=[arch], module_dir=folder, use_ptx=False)
        (binary,) = Path(folder).glob("*.cubin")
        usage = run_tool("cuobjdump", "-res-usage", str(binary))
        code = run_tool("nvdisasm", "-c", str(binary))
    bodies = re.split(r"^\s*\.section\s+\.text\.", code, flags=re.MULTILINE)[1:]
    products = {body.split(",", 1)[0].strip('"'): body.count("HMMA.16816.F32") for body in bodies}
    for name, numbers in re.findall(r"Function (\w+):\s+(REG:.*)", usage):
        found = dict(re.findall(r"(\w+):(\d+)", numbers))
        kernel = re.sub(r"_[0-9a-f]{8}_cuda_kernel_forward$", "", name)
        yield Code(
            kernel,
            arch,
            threads,
            int(found["REG"]),
            int(found["STACK"]) + int(found["LOCAL"]),
            int(found["SHARED"]) + dynamic,
            products.get(name, 0),
        )


def run_tool(name: str, *arguments: str) -> str:
    """Run a CUDA program, and return its output."""
    program = find_tool(name)
    if program is None:
        raise SystemExit(f"benchmarks.cuda_code: {name} is missing; pip install nvidia-cuda-{name}")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout


def all_code(arch: int) -> Iterator[tuple[str, Code]]:
    """The kernels of a frame with the cache, each with a label."""
    for module in (nrc_tracer.tracer.path, nrc_tracer.tracer.cut_path, nrc_tracer.cache.assembly, descent):
        loaded = wp.get_module(module.__name__)
        for code in read_code(loaded, arch):
            yield code.kernel, code
    for encoding in ("hash", "triangle-wave"):
        config = configuration.read_model(CacheOptions(encoding=encoding).document(), n_input_dims=FEATURES)
        structure = Structure(FEATURES, 3, config.encoding, config.network)
        grid = FusedGrid.of(structure.encoding, structure.width)
        shape, columns = Shape.of(structure.mlp), grid.columns if grid else None
        passes = {
            "forward": (forward_variant(shape, columns), forward_kernel),
            "backward": (backward_variant(shape, columns), backward_kernel),
        }
        for name, (variant, build) in passes.items():
            kernel = build(variant)
            threads, shared = variant.tiling.threads, kernel.shared_bytes
            for code in read_code(kernel.kernel.module, arch, threads=threads, dynamic=shared):
                yield f"{name}, cache by {encoding}", code


def main() -> None:
    """Compile, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", type=int, nargs="+", default=sorted(SHARED_BYTES), choices=sorted(SHARED_BYTES))
    parser.add_argument("--json", nargs="?", type=Path, const=RESULTS / "cuda-code.json")
    arguments = parser.parse_args()
    initialize()
    columns = ("threads", "registers", "stack", "shared", "products", "warps of 64")
    print(f"{'':<36}{'sm':>4}" + "".join(f"{column:>{len(column) + 3}}" for column in columns))
    rows = []
    for arch in arguments.arch:
        for label, code in all_code(arch):
            cells = (code.threads, code.registers, code.stack, code.shared, code.products, code.warps)
            line = "".join(f"{cell:>{len(column) + 3},}" for cell, column in zip(cells, columns, strict=True))
            print(f"{label:<36}{arch:>4}{line}", flush=True)
            rows.append({"label": label, **asdict(code), "warps": code.warps})
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"warp-lang": wp.__version__, "kernels": rows}, indent=1) + "\n")
        print(f"written to {arguments.json}")


if __name__ == "__main__":
    main()
