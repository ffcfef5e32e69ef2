"""Memory for gradients: reused once nobody holds it, never before, and always zero."""

import threading

import pytest
import torch

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn.gradient_memory import MOST, SMALLEST, GradientMemory


@pytest.fixture
def memory():
    return GradientMemory(SMALLEST, TorchLauncher("cpu", threads=2))


def test_memory_that_nobody_holds_is_used_again(memory):
    tensor = memory.zeros()
    place = tensor.data_ptr()
    del tensor
    assert memory.zeros().data_ptr() == place


@pytest.mark.parametrize(
    "alias",
    [
        lambda tensor: tensor,
        lambda tensor: tensor.detach(),
        lambda tensor: tensor[5:7].view(2, 1),
        lambda tensor: tensor.numpy(),
        lambda tensor: memoryview(tensor.numpy()[3:4]),
        lambda tensor: tensor.untyped_storage(),
        lambda tensor: torch.nn.Parameter(tensor),
    ],
    ids=["itself", "detached", "view", "numpy", "buffer", "storage", "parameter"],
)
def test_memory_that_anything_shares_is_not(memory, alias):
    tensor = memory.zeros()
    place, kept = tensor.data_ptr(), alias(tensor)
    del tensor
    assert memory.zeros().data_ptr() != place
    del kept
    assert memory.zeros().data_ptr() == place


def test_tensors_are_zero_whatever_was_written_to_earlier_ones(memory):
    for _ in range(3):
        tensor = memory.zeros()
        assert not tensor.any()
        tensor.data.fill_(torch.nan)
        del tensor


def test_any_number_of_tensors_may_be_in_use(memory):
    tensors = [memory.zeros() for _ in range(MOST + 2)]
    assert len({tensor.data_ptr() for tensor in tensors}) == MOST + 2
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
    assert [tensor.unique().tolist() for tensor in tensors] == [[number] for number in range(MOST + 2)]


def test_threads_never_share_memory(memory):
    failures = []

    def work(number):
        for _ in range(30):
            tensor = memory.zeros()
            tensor.fill_(number)
            if not bool((tensor == number).all()):
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
