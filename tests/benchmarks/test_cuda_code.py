"""Resources that kernels need on a GPU, read from their machine code."""

import pytest

from benchmarks.cuda_code import Code, find_tool, read_code
from nrc_tracer.device.launch import initialize
from nrc_tracer.nn.fused.descent import take_step


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "arch", "warps"),
    [
        (256, 32, 0, 80, 64),  # the maximum
        (256, 33, 0, 80, 48),  # registers come in units, here 40 per thread: six blocks of eight warps
        (256, 255, 0, 90, 8),
        (128, 128, 0, 90, 16),
        (32, 16, 0, 90, 32),  # at most 32 blocks
        (128, 64, 100 * 1024, 80, 4),  # shared memory holds one block
        (128, 64, 100 * 1024, 90, 8),
    ],
)
def test_number_of_resident_warps(threads, registers, shared, arch, warps):
    """The numbers agree with the tables of NVIDIA's occupancy calculator."""
    assert Code("any", arch, threads, registers, 0, shared, 0).warps == warps


def test_reads_machine_code():
    """Two small kernels have neither local arrays nor matrix products."""
    if None in map(find_tool, ("cuobjdump", "nvdisasm")):
        pytest.skip("needs cuobjdump and nvdisasm: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")
    initialize()
    found = {code.kernel: code for code in read_code(take_step.module, 90)}
    assert set(found) == {"judge", "take_step"}
    for code in found.values():
        assert 16 <= code.registers <= 64
        assert (code.stack, code.products, code.threads) == (0, 0, 256)
