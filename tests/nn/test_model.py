"""Models: their parts, their outputs, and what they refuse."""

import json
import threading

import numpy as np
import pytest
import torch
import warp as wp

import nrc_tracer.nn as nn
from nrc_tracer.device.arrays import ArrayError
from nrc_tracer.errors import ConfigError, DeviceError, NrcError
from nrc_tracer.nn.backends import warp as warp_backend
from nrc_tracer.nn.blocked_mlp import BLOCK
from nrc_tracer.nn.config import ConfigWarning
from tests.nn.samples import GRID, NETWORK, SMALL, SMOOTH, make_model, relative, same_bits, spread_params, uniform

CONFIG = {"encoding": GRID, "network": SMALL}


def model(*arguments, **options):
    return nn.Model(*(arguments or (3, 1, CONFIG)), **{"device": "cpu"} | options)


# Parts


def test_a_model_from_a_file_from_data_and_from_parts(tmp_path):
    """A file, its contents and parts in Python give the same model, to the last parameter."""
    (tmp_path / "config.json").write_text("// a comment\n" + json.dumps(CONFIG))
    made = [model(3, 1, source) for source in (tmp_path / "config.json", str(tmp_path / "config.json"), CONFIG)]
    made.append(model(3, 1, made[0].config))
    for other in made:
        assert other.config == made[0].config
        assert torch.equal(other.params, made[0].params)
    assert (made[0].n_input_dims, made[0].n_output_dims, made[0].seed) == (3, 1, 1337)
    assert made[0].n_params == len(made[0].params)
    assert "3 -> 1" in repr(made[0])


def test_defaults_are_those_of_tiny_cuda_nn():
    """Without a configuration, a model has OneBlob with 16 bins and 5 hidden layers of 128 neurons."""
    default = model(2, 3)
    assert default.n_params == 128 * 32 + 4 * 128 * 128 + 16 * 128
    assert default.structure.width == 32


def test_views_share_memory_with_the_parameters():
    """Layers and levels have their shapes and share the model's memory; written values take effect."""
    made = model(3, 1, CONFIG, precision="float32")
    assert [tuple(made.network.layer(i).shape) for i in range(made.network.n_layers)] == [(16, 16), (16, 16), (16, 16)]
    assert [len(made.encoding.level(i)) for i in range(5)] == [
        level.entries for level in made.structure.encoding.levels
    ]
    assert all(made.encoding.level(i).shape[1] == 2 for i in range(5))
    parts = [made.network.layer(i) for i in range(3)] + [made.encoding.level(i) for i in range(5)]
    torch.testing.assert_close(torch.cat([part.flatten() for part in parts]), made.params, rtol=0, atol=0)
    for part in parts:
        part.fill_(0.125)
    assert (made.params == 0.125).all()
    assert (made(uniform(5, 3)) > 0.0).all()
    made.network.layer(2).zero_()
    assert not made(uniform(5, 3)).any()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda made: made.encoding.level(5), "no level 5; they are numbered from 0 to 4"),
        (lambda made: made.encoding.level(-1), "no level -1"),
        (lambda made: made.network.layer(3), "no layer 3"),
        (lambda made: made.encoding.nested(0), "only a Composite nests"),
        (lambda made: model(3, 1, {"encoding": {"otype": "Identity"}}).encoding.level(0), "only a Grid has levels"),
    ],
)
def test_missing_parts_are_named(ask, message):
    """The error names the missing part."""
    with pytest.raises(NrcError, match=message):
        ask(model())


# Outputs


@pytest.mark.parametrize("network", [SMALL, NETWORK, None])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_backends_agree(precision, network):
    """One seed gives one set of parameters; outputs agree within the specified limits of the precision."""
    made = make_model(SMOOTH, network, precision=precision, seed=7)
    judge = make_model(SMOOTH, network, backend="reference", precision="float64", seed=7)
    single = make_model(SMOOTH, network, backend="reference", precision="float32", seed=7)
    assert same_bits(made.params, judge.params)
    assert same_bits(made.params, single.params)
    for other in (made, judge, single):
        other.set_params(spread_params(made))
    x = uniform(1000, 3, low=-0.2, high=1.2)
    expected = judge(x)
    assert expected.dtype == torch.float64
    limit = 1e-5 if precision == "float32" or network is None else 2e-2
    assert (made(x) - expected).abs().max() < limit * expected.abs().max()
    assert (single(x) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert made(x).dtype == single(x).dtype == torch.float32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("n", [1, 1000, 2 * BLOCK + 3])
def test_threads_and_chunks_do_not_change_a_bit(monkeypatch, n, precision):
    """Inference gives the same bits with 1, 2 and 3 threads, and with queries encoded block by block."""
    x, results = uniform(n, 3), []
    for threads in (1, 2, 3):
        made = make_model(SMOOTH, NETWORK, precision=precision, threads=threads)
        made.set_params(spread_params(made))
        results.append(made(x))
    monkeypatch.setattr(warp_backend, "CHUNK", BLOCK)
    results.append(made(x))
    for value in results[1:]:
        assert same_bits(value, results[0])


def test_the_number_of_torch_threads_is_restored():
    """This also holds after an exception, and for threads that start later."""
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        made = make_model(threads=3)
        made(uniform(3 * BLOCK, 3))
        made.apply(uniform(3 * BLOCK, 3).requires_grad_(), made.params).sum().backward()
        assert torch.get_num_threads() == before + 1

        def fail(item):
            raise NrcError("stop")

        with pytest.raises(NrcError, match="stop"):
            made.backend.launcher.each(fail, range(5))
        assert torch.get_num_threads() == before + 1
        seen = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [before + 1]
    finally:
        torch.set_num_threads(before)


def test_inference_builds_no_graph():
    """This holds whatever the inputs and parameters track."""
    made = make_model()
    made.params.requires_grad_()
    y = made(uniform(4, 3).requires_grad_())
    assert not y.requires_grad
    assert made.apply(uniform(4, 3), made.params).requires_grad


def test_an_empty_batch():
    """An empty batch gives an empty output, on every backend and for an encoding alone."""
    for options in ({}, {"precision": "bfloat16"}, {"backend": "reference"}, {"network": None}):
        made = make_model(**options)
        assert made(torch.zeros(0, 3)).shape == (0, made.n_output_dims)
        assert made(wp.zeros((0, 3), dtype=float, device="cpu")).shape == (0, made.n_output_dims)


def test_an_encoding_without_outputs():
    """Empty alone has no outputs; before a network it provides no input, and the output is zero."""
    assert model(3, None, {"encoding": {"otype": "Empty"}, "network": None})(uniform(4, 3)).shape == (4, 0)
    assert not model(3, 2, {"encoding": {"otype": "Empty"}, "network": SMALL})(uniform(4, 3)).any()


def test_parameters_may_be_set_and_changed_in_place():
    """Parameters may have any float type, and the next output uses them."""
    made = make_model()
    x, before = uniform(10, 3), made(uniform(10, 3))
    pointer = made.params.data_ptr()
    made.set_params(2.0 * made.params.double())
    assert made.params.data_ptr() == pointer
    # Two ReLU layers and an output layer with doubled weights, on doubled features
    assert relative(made(x), 16.0 * before) < 1e-5
    made.params.zero_()
    assert not made(x).any()
    for wrong in (made.params[1:], made.params[None], made.params.int()):
        with pytest.raises(ArrayError, match=f"expected {made.n_params} floats"):
            made.set_params(wrong)


# Errors and warnings


def test_an_unknown_key_gives_a_warning():
    """The warning names its place and the most similar known key; the model is built."""
    with pytest.warns(ConfigWarning, match=r"encoding.*n_level\b.*n_levels"):
        model(3, 1, {"encoding": GRID | {"n_level": 3}, "network": SMALL})


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((3, None, CONFIG), {}, ConfigError, "n_output_dims: needed for a model with a network"),
        ((3, 0, CONFIG), {}, ConfigError, "n_output_dims: expected an integer of at least 1, got 0"),
        ((3, 1.0, CONFIG), {}, ConfigError, "n_output_dims: expected an integer"),
        ((3, True, CONFIG), {}, ConfigError, "n_output_dims: expected an integer"),
        ((3, 5, CONFIG | {"network": None}), {}, ConfigError, "an encoding alone has 10 outputs, got 5"),
        ((0, 1, CONFIG), {}, ConfigError, "n_input_dims: expected an integer"),
        ((None, 1, CONFIG), {}, ConfigError, "grid takes 2, 3 or 4 input dimensions"),
        ((5, 1, CONFIG), {}, ConfigError, "grid takes 2, 3 or 4 input dimensions, not 5"),
        ((2, 1, {"encoding": {"otype": "SphericalHarmonics"}}), {}, ConfigError, "takes 3 input dimensions"),
        ((3, 1, "nowhere.json"), {}, ConfigError, "nowhere.json"),
        ((3, 1, CONFIG), {"backend": "wrap"}, ConfigError, r'backend: unknown "wrap" \(did you mean "warp"'),
        ((3, 1, CONFIG), {"backend": None}, ConfigError, "backend: unknown"),
        ((3, 1, CONFIG), {"precision": "half"}, ConfigError, "precision: unknown"),
        ((3, 1, CONFIG), {"precision": "float64"}, ConfigError, 'needs backend="reference"'),
        ((3, 1, CONFIG), {"device": "gpu"}, DeviceError, 'device: "gpu" is not a device'),
        ((3, 1, CONFIG), {"device": "mps"}, DeviceError, '"mps" is not a device'),
        ((3, 1, CONFIG), {"device": "cuda:99"}, DeviceError, "cuda:99"),
        ((3, 1, CONFIG), {"device": 3.5}, DeviceError, "is not a device"),
        ((3, 1, CONFIG), {"threads": 0}, ConfigError, "threads: expected an integer of at least 1, got 0"),
        ((3, 1, CONFIG), {"threads": -1}, ConfigError, "threads"),
        ((3, 1, CONFIG), {"threads": 1.5}, ConfigError, "threads"),
        ((3, 1, CONFIG), {"threads": "4"}, ConfigError, "threads: .*got '4'"),
        ((3, 1, CONFIG), {"threads": True}, ConfigError, "threads"),
        ((3, 1, CONFIG), {"seed": None}, ConfigError, "seed: expected an integer, got None"),
        ((3, 1, CONFIG), {"seed": 1.5}, ConfigError, "seed"),
        ((3, 1, CONFIG), {"seed": np.int64(1)}, ConfigError, "seed"),
    ],
)
def test_wrong_arguments_are_refused(arguments, options, error, message):
    """Errors belong to this package and name the argument."""
    with pytest.raises(error, match=message):
        model(*arguments, **options)


@pytest.mark.parametrize("backend", ["warp", "reference"])
def test_wrong_inputs_are_refused(backend):
    """Inputs of `__call__` and `apply`, and parameters of `apply`, are checked."""
    made = make_model(backend=backend, precision="float32")
    for x in (torch.zeros(4, 2), torch.zeros(4, 3).double(), torch.zeros(3), np.zeros((4, 3)), None):
        with pytest.raises(ArrayError, match=r"^x: expected"):
            made(x)
        with pytest.raises(ArrayError, match=r"^x: expected"):
            made.apply(x, made.params)
    x = torch.zeros(4, 3)
    for params in (made.params[1:], made.params[None], made.params.int(), made.params.double(), made.params.numpy()):
        with pytest.raises(ArrayError, match=r"^params: expected"):
            made.apply(x, params)
    wide = torch.stack([made.params, made.params], dim=1)[:, 0]
    assert torch.equal(made.apply(x, wide), made.apply(x, made.params))
