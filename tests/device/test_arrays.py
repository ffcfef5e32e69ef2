"""Arrays of every kind as inputs: memory is shared where possible, and unusable arrays are refused by name."""

import warnings

import numpy as np
import pytest
import torch
import warp as wp

from nrc_tracer.device.arrays import ArrayError, as_rows, as_warp
from nrc_tracer.device.launch import initialize
from nrc_tracer.device.torch_launcher import TorchLauncher
from tests.nn.samples import make_model, uniform

initialize()
CPU = torch.device("cpu")


def rows(value, columns=3):
    return as_rows(value, columns, CPU, "x")


@wp.struct
class Pair:
    first: wp.float32
    second: wp.float32


def warp_zeros(shape, dtype=float):
    return wp.zeros(shape, dtype=dtype, device="cpu")


def test_contiguous_arrays_are_not_copied():
    """Contiguous tensors, Warp arrays (also of vectors) and NumPy arrays share their memory with the result."""
    tensor, numpy = torch.zeros(5, 3), np.zeros((5, 3), np.float32)
    flat, vectors = warp_zeros((5, 3)), warp_zeros(5, wp.vec3)
    assert rows(tensor).data_ptr() == tensor.data_ptr()
    assert rows(numpy).data_ptr() == numpy.ctypes.data
    assert rows(flat).data_ptr() == flat.ptr
    assert rows(vectors).data_ptr() == vectors.ptr
    for value in (tensor, numpy, flat, vectors):
        rows(value)[2, 1] = 7.0
    for value in (tensor.numpy(), numpy, flat.numpy(), vectors.numpy()):
        assert np.asarray(value)[2, 1] == 7.0


@pytest.mark.parametrize("n", [2, 3, 4])
def test_vectors_of_every_length(n):
    """A Warp array of vectors becomes rows with one column per component."""
    dtype = {2: wp.vec2, 3: wp.vec3, 4: wp.vec4}[n]
    values = uniform(6, n)
    assert torch.equal(rows(wp.array(values.numpy(), dtype=dtype, device="cpu"), n), values)
    with pytest.raises(ArrayError, match=rf"expected shape \[N, {n + 1}\], got \[6, {n}\]"):
        rows(wp.array(values.numpy(), dtype=dtype, device="cpu"), n + 1)


def test_layouts_that_are_not_contiguous_are_copied():
    """Transposed, strided, reversed, broadcast and read-only arrays become rows with the same values."""
    values = uniform(12, 6)
    cases = [
        (values[:, :3].T.contiguous().T, values[:, :3]),
        (values[::2, ::2], values[::2, ::2]),
        (values[:1, :3].expand(4, 3), values[:1, :3].repeat(4, 1)),
        (values.numpy()[::-1, 5:2:-1], values.flip(0, 1)[:, :3]),
        (np.asfortranarray(values.numpy()[:, :3]), values[:, :3]),
        (np.broadcast_to(values.numpy()[0, :3], (4, 3)), values[:1, :3].repeat(4, 1)),
        (wp.from_torch(values)[::2, ::2], values[::2, ::2]),
        (wp.array(values[:, :3].contiguous().numpy(), dtype=wp.vec3, device="cpu")[::3], values[::3, :3]),
    ]
    read_only = values[:, :3].clone().numpy()
    read_only.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given, expected in [*cases, (read_only, values[:, :3])]:
            found = rows(given)
            assert found.is_contiguous()
            assert torch.equal(found, expected)


def test_empty_arrays():
    """An array without rows is valid."""
    for value in (torch.zeros(0, 3), np.zeros((0, 3), np.float32), warp_zeros((0, 3)), warp_zeros(0, wp.vec3)):
        assert rows(value).shape == (0, 3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "expected a torch tensor, Warp array or NumPy array, got NoneType"),
        ([[0.0, 0.0, 0.0]], "got list"),
        (torch.zeros(4, 3, dtype=torch.float64), r"expected float32, got float64; convert it with .float\(\)"),
        (torch.zeros(4, 3, dtype=torch.int32), "got int32"),
        (torch.zeros(4, 3, dtype=torch.float16), "got float16"),
        (torch.zeros(3), r"expected shape \[N, 3\], got \[3\]"),
        (torch.zeros(4, 2), r"got \[4, 2\]"),
        (torch.zeros(2, 2, 3), r"got \[2, 2, 3\]"),
        (torch.zeros(4, 3, device="meta"), "is on meta, the model on cpu"),
        (torch.zeros(4, 3).to_sparse(), "expected a dense tensor"),
        (np.zeros((4, 3)), r"got float64; convert it with .astype\('float32'\)"),
        (np.zeros((4, 3), ">f4"), "got >f4"),
        (np.array([None]), "got object"),
        (warp_zeros((4, 3), int), "got int32"),
        (warp_zeros((4, 3), wp.float16), "got float16"),
        (warp_zeros(4, wp.mat33), r"got \[4, 3, 3\]"),
        (warp_zeros((2, 2), wp.vec3), r"got \[2, 2, 3\]"),
        (warp_zeros(4, Pair), "a Warp array of another type"),
    ],
    ids=str,
)
def test_other_values_are_refused(value, message):
    """The error names the argument, its type, and how to convert it."""
    with pytest.raises(ArrayError, match=f"^x: .*{message}"):
        rows(value)


def test_models_accept_all_kinds_of_arrays():
    """The outputs are equal; the result is a Warp array for a Warp array, and a tensor otherwise."""
    model = make_model()
    x = uniform(20, 3)
    expected = model(x)
    assert isinstance(expected, torch.Tensor)
    assert torch.equal(model(x.numpy()), expected)
    assert torch.equal(model(torch.cat([x, x], 1)[:, :3]), expected)
    for value in (wp.from_torch(x), wp.from_numpy(x.numpy(), dtype=wp.vec3, device="cpu")):
        y = model(value)
        assert isinstance(y, wp.array)
        assert y.shape == (20, 3)
        np.testing.assert_array_equal(y.numpy(), expected.numpy())
    assert model(warp_zeros((0, 3))).shape == (0, 3)


def test_kernel_arguments_share_memory_and_strides():
    """A slice of columns is passed without a copy."""
    tensor = uniform(6, 5)
    argument = as_warp(tensor[:, 1:3])
    assert argument.data == tensor.data_ptr() + 4
    assert tuple(argument.strides[:2]) == (20, 4)
    assert tuple(argument.shape[:2]) == (6, 2)
    assert as_warp(tensor.clone().requires_grad_()).grad == 0


@wp.kernel
def add_one(base: int, values: wp.array[wp.float32], marks: wp.array[wp.uint32]):
    """Add 1 to each value, and mark it."""
    item = base + wp.tid()
    values[item] += 1.0
    marks[item] = wp.uint32(7)


def test_a_launch_refuses_tensors_of_another_type():
    """A kernel would read float64 as float32, so the launch is refused; signed integers serve as unsigned ones."""
    launcher = TorchLauncher("cpu", threads=2)
    marks = torch.zeros(5, dtype=torch.int32)

    def run(values):
        launcher.run(add_one, 5, lambda base: [base, as_warp(values), as_warp(marks)])

    for values in (torch.zeros(5, dtype=torch.float64), marks, torch.zeros(5, dtype=torch.float16)):
        with pytest.raises(ArrayError, match=r"values of .*add_one: expected float32, got (float64|int32|float16)"):
            run(values)
    assert not marks.any()
    values = torch.zeros(5)
    run(values)
    assert values.tolist() == [1.0] * 5
    assert marks.tolist() == [7] * 5
