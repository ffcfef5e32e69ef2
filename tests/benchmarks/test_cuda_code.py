"""What kernels need of a GPU, read from machine code."""

import pytest

from benchmarks.cuda_code import Code, find_tool, read_code
from nrc_tracer.device.launch import initialize
from nrc_tracer.nn.fused.descent import take_step


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "arch", "warps"),
    [
        (256, 32, 0, 80, 64),  # all that there can be
        (256, 33, 0, 80, 48),  # 40 registers a thread, as they come in units: six blocks of eight warps
        (256, 255, 0, 90, 8),
        (128, 128, 0, 90, 16),
        (32, 16, 0, 90, 32),  # no more than 32 blocks
        (128, 64, 100 * 1024, 80, 4),  # one block's shared memory
        (128, 64, 100 * 1024, 90, 8),
    ],
)
def test_how_many_warps_there_are_at_a_time(threads, registers, shared, arch, warps):
    """As the tables of NVIDIA's occupancy calculator have it."""
    assert Code("any", arch, threads, registers, 0, shared, 0).warps == warps


def test_reads_machine_code():
    """Of two small kernels without arrays of their own or products of matrices."""
    if None in map(find_tool, ("cuobjdump", "nvdisasm")):
        pytest.skip("needs cuobjdump and nvdisasm: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")
    initialize()
    found = {code.kernel: code for code in read_code(take_step.module, 90)}
    assert set(found) == {"judge", "take_step"}
    for code in found.values():
        assert 16 <= code.registers <= 64
        assert (code.stack, code.products, code.threads) == (0, 0, 256)
