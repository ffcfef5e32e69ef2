"""Models with fused networks: encodings inside and outside of the kernel, training, and agreement with the reference on a GPU."""

import pytest
import torch

import nrc_tracer.nn as nn
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.backends import warp as warp_backend
from tests.nn.fused.samples import quickly_compiled
from tests.nn.samples import GRID, SMALL, make_model, relative, same_bits, spread_params, uniform
from tests.nn.test_radiance_field import model as field_model

OUTPUT, WEIGHTS, TABLE = 2e-2, 3e-2, 0.06
"""Largest errors: of outputs relative to the largest one, and of gradients in relative L2 norm."""

BESIDE = {"otype": "OneBlob", "n_bins": 4, "n_dims_to_encode": 2}
ENCODINGS = {
    "2d-8f": (GRID | {"n_features_per_level": 8, "n_levels": 3, "interpolation": "Smoothstep"}, 2),
    "3d-2f": (GRID, 3),
    "3d-1f-odd": (GRID | {"n_features_per_level": 1, "n_levels": 7}, 3),
    "4d-4f": (GRID | {"n_features_per_level": 4, "n_levels": 3, "interpolation": "Nearest"}, 4),
    "tiled": (GRID | {"otype": "TiledGrid", "base_resolution": 5}, 3),
    "first": ({"otype": "Composite", "nested": [GRID | {"n_dims_to_encode": 3}, BESIDE]}, 5),
    "last": ({"otype": "Composite", "nested": [BESIDE, GRID | {"n_dims_to_encode": 3}]}, 5),
    "odd-beside": (
        {
            "otype": "Composite",
            "nested": [
                {"otype": "Identity", "n_dims_to_encode": 3},
                GRID | {"n_dims_to_encode": 3, "n_features_per_level": 1},
                BESIDE,
            ],
        },
        8,
    ),
    "two-grids": (
        {
            "otype": "Composite",
            "nested": [GRID | {"n_dims_to_encode": 2, "n_levels": 3}, GRID | {"n_dims_to_encode": 3}],
        },
        5,
    ),
    "product": ({"otype": "Composite", "reduction": "Product", "nested": [BESIDE, BESIDE]}, 4),
    "no-grid": ({"otype": "Frequency", "n_frequencies": 2}, 3),
}


def squares(target):
    def evaluate(y):
        difference = y - target.to(y)
        return (difference**2).mean(), 2.0 * difference / difference.numel()

    return evaluate


def pair(encoding, n_input_dims, **options):
    """A fused model and the reference in float64 with the same parameters."""
    fused = make_model(encoding, SMALL, n_input_dims, fused=True, precision="float16", threads=1, **options)
    fused.params.copy_(spread_params(fused))
    exact = make_model(encoding, SMALL, n_input_dims, backend="reference", precision="float64")
    exact.params.copy_(fused.params)
    return fused, exact


def compiled(model):
    return quickly_compiled(model.backend.fused, model.backend.network)


@pytest.mark.parametrize("name", ENCODINGS)
def test_models_agree_with_the_reference(name):
    """Outputs, and gradients of network and grids with a scaled loss, agree, also for positions outside of the cube."""
    encoding, n_dims = ENCODINGS[name]
    fused, exact = pair(encoding, n_dims)
    x, target = uniform(150, n_dims, low=-0.1, high=1.1), uniform(150, 3, low=1.0, high=2.0, seed=3)
    split = fused.structure.n_matrix_params
    with compiled(fused):
        y, expected = fused(x), exact(x)
        assert y.shape == (150, 3)
        assert (y - expected).abs().max() < OUTPUT * expected.abs().max()
        loss, gradient = fused.backend.gradient(x, fused.params, squares(target), loss_scale=128.0)
        _, wanted = exact.backend.gradient(x, exact.params, squares(target))
        assert loss > 0
        assert relative(gradient.flat[:split], wanted.flat[:split]) < WEIGHTS
        if fused.n_params > split:
            assert relative(gradient.flat[split:], wanted.flat[split:]) < TABLE
            assert torch.equal(gradient.flat[split:] == 0, wanted.flat[split:] == 0)


@pytest.mark.parametrize("name", ["3d-2f", "first"])
@pytest.mark.parametrize("count", [0, 1, 64, 100, 150, 400])
def test_inference_in_pieces_up_to_a_count(monkeypatch, name, count):
    """Rows before the count equal those of a full inference; each piece gets the count of its own rows."""
    encoding, n_dims = ENCODINGS[name]
    fused, _ = pair(encoding, n_dims)
    x, told, infer = uniform(150, n_dims), [], fused.backend.fused.infer

    def spy(*given, count):
        told.append(None if count is None else int(count))
        return infer(*given, count=count)

    with compiled(fused):
        whole = fused(x)
        monkeypatch.setattr(warp_backend, "FUSED_CHUNK", 64)
        monkeypatch.setattr(fused.backend.fused, "infer", spy)
        assert same_bits(fused(x), whole)
        found = fused(x, count=torch.tensor([count], dtype=torch.int32))
    assert found.shape == whole.shape
    assert same_bits(found[:count], whole[:count])
    assert told == [None, None, None, count, count - 64, count - 128]


@pytest.mark.parametrize("name", ["3d-2f", "first"])
def test_grids_inside_the_kernel_agree_with_grids_outside(name):
    """The kernel's own encoding agrees with the grid's kernels, which `deterministic` selects, to the precision of float32."""
    encoding, n_dims = ENCODINGS[name]
    inside, _ = pair(encoding, n_dims)
    outside, _ = pair(encoding, n_dims, deterministic=True)
    x, target = uniform(150, n_dims), uniform(150, 3, low=1.0, high=2.0, seed=3)
    with compiled(inside):
        features = inside.backend.encode(x, inside.params)
        weights = inside.structure.split(inside.params)[0]
        y = inside.backend.network.infer(features, weights)
        assert (inside(x) - y).abs().max() < 1e-3 * y.abs().max()
        gradients = [
            model.backend.gradient(x, model.params, squares(target))[1].flat.clone() for model in (inside, outside)
        ]
        split = inside.structure.n_matrix_params
        assert same_bits(gradients[0][:split], gradients[1][:split])
        assert relative(gradients[0][split:], gradients[1][split:]) < 1e-5


def test_training_proceeds_as_without_fusing():
    """In ten steps of Adam the loss falls as with blocked products of halfs."""
    x = uniform(256, 3)
    target = 1.5 + torch.sin(5.0 * x)

    def losses(**options):
        optimizer = {"otype": "Adam", "learning_rate": 1e-2, "epsilon": 1e-10}
        model = make_model(GRID, SMALL, precision="float16", loss={"otype": "L2"}, optimizer=optimizer, **options)
        trainer = nn.Trainer(model)
        if not model.backend.fused:
            return [float(trainer.step(x, target)) for _ in range(10)]
        with compiled(model):
            return [float(trainer.step(x, target)) for _ in range(10)]

    fused, blocked = losses(fused=True), losses()
    assert fused[-1] < 0.9 * fused[0]
    for a, b in zip(fused, blocked, strict=True):
        assert a == pytest.approx(b, rel=0.01)


def test_a_radiance_field_agrees_with_the_reference():
    """Outputs, density alone, gradients of both networks and of the grid agree; training proceeds as without fusing, too."""
    fused = field_model(precision="float16", fused=True, threads=1)
    blocked = field_model(precision="float16", threads=1)
    exact = field_model(precision="float64", backend="reference")
    x, target = uniform(150, 6), uniform(150, 4, low=1.0, high=2.0, seed=3)
    split = fused.structure.n_matrix_params
    networks = fused.backend.network
    with quickly_compiled(networks.density, networks.rgb):
        expected = exact(x)
        assert (fused(x) - expected).abs().max() < OUTPUT * expected.abs().max()
        density = fused.density(x[:, :3].contiguous())
        assert (density - expected[:, 3]).abs().max() < OUTPUT * expected[:, 3].abs().max()
        _, gradient = fused.backend.gradient(x, fused.params, squares(target), loss_scale=128.0)
        found, wanted = gradient.dense(), exact.backend.gradient(x, exact.params, squares(target))[1].dense()
        assert relative(found[:split], wanted[:split]) < WEIGHTS
        assert relative(found[split:], wanted[split:]) < TABLE
        losses = [[float(trainer.step(x, target)) for _ in range(10)] for trainer in map(nn.Trainer, (fused, blocked))]
    assert losses[0][-1] < 0.9 * losses[0][0]
    for a, b in zip(*losses, strict=True):
        assert a == pytest.approx(b, rel=0.01)


def test_autograd_agrees_with_the_reference():
    """Gradients with respect to inputs and parameters agree, and so does the gradient of such a gradient."""
    fused, exact = pair(GRID, 3)
    x = uniform(60, 3)
    with compiled(fused):
        found = []
        for model in (fused, exact):
            inputs = x.clone().requires_grad_()
            params = model.params.clone().requires_grad_()
            y = model.apply(inputs, params)
            (slope,) = torch.autograd.grad(y.sum(), inputs, create_graph=True)
            found.append((y.detach(), slope.detach(), *torch.autograd.grad((slope**2).sum() + (y**2).sum(), params)))
        (y, slope, second), expected = found
        assert (y - expected[0]).abs().max() < OUTPUT * expected[0].abs().max()
        assert relative(slope, expected[1]) < TABLE
        assert relative(second, expected[2]) < 0.1


def test_a_gradient_that_is_not_finite_is_dropped():
    """A position, a target, a weight or a feature may be the one that is not a number."""
    fused, exact = pair(GRID, 3)
    x, target = uniform(40, 3), uniform(40, 3, seed=3)
    touched = int(exact.backend.gradient(x, exact.params, squares(target))[1].flat.nonzero()[-1])
    assert touched >= fused.structure.n_matrix_params
    with compiled(fused):
        for values, place in ((x, (3, 1)), (target, (5, 2)), (fused.params, 40), (fused.params, touched)):
            kept, values[place] = values[place].clone(), torch.nan
            assert fused.backend.gradient(x, fused.params, squares(target))[1] is None
            values[place] = kept
        assert fused.backend.gradient(x, fused.params, squares(target))[1] is not None


def test_models_that_cannot_be_fused_are_refused():
    """Other backends and precisions, and networks that are not a single MLP, are refused with a message."""
    with pytest.raises(ConfigError, match="fused: the reference backend"):
        make_model(fused=True, backend="reference", precision="float64")
    with pytest.raises(ConfigError, match="fused: needs a model with a network and precision float16"):
        make_model(fused=True, precision="float32")
    with pytest.raises(ConfigError, match="fused: needs a model with a network"):
        make_model(GRID, None, fused=True, precision="float16")
    assert make_model(fused=True, precision="auto").precision == "float16"


# On a GPU


@pytest.mark.cuda
@pytest.mark.parametrize("n", [1, 1000, 2**17 + 3])
@pytest.mark.parametrize("network", [(16, 2), (32, 3), (64, 2), (64, 5), (128, 2), (128, 4)])
@pytest.mark.parametrize("name", ["3d-2f", "2d-8f", "4d-4f", "first", "no-grid"])
def test_cuda_agrees_with_the_reference(name, network, n):
    """Every width agrees on a GPU with poisoned memory, and gradients of weights have the same bits every time."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    encoding, n_dims = ENCODINGS[name]
    width, layers = network
    config = {
        "encoding": encoding,
        "network": {"otype": "FullyFusedMLP", "n_neurons": width, "n_hidden_layers": layers},
    }
    fused = nn.Model(n_dims, 3, config, device="cuda", fused=True)
    exact = nn.Model(n_dims, 3, config, device="cuda", backend="reference")
    fused.params.copy_(spread_params(fused))
    exact.params.copy_(fused.params)
    x, target = uniform(n, n_dims).cuda(), uniform(n, 3, low=1.0, high=2.0, seed=3).cuda()
    poison = torch.full((2**26,), torch.nan, device="cuda")
    del poison  # the next allocation gets this memory
    y, expected = fused(x), exact(x)
    assert (y - expected).abs().max() < OUTPUT * expected.abs().max()
    gradients = [fused.backend.gradient(x, fused.params, squares(target))[1].flat.clone() for _ in range(3)]
    wanted = exact.backend.gradient(x, exact.params, squares(target))[1].flat
    split = fused.structure.n_matrix_params
    if n > 1:  # a single row depends on every ReLU decision
        assert relative(gradients[0][:split], wanted[:split]) < WEIGHTS
        assert fused.n_params == split or relative(gradients[0][split:], wanted[split:]) < TABLE
    for gradient in gradients[1:]:
        assert same_bits(gradient[:split], gradients[0][:split])
        assert fused.n_params == split or relative(gradient[split:], gradients[0][split:]) < 1e-5


@pytest.mark.cuda
@pytest.mark.parametrize("n", [1000, 2**17 + 3])
def test_a_radiance_field_on_a_gpu_agrees_with_the_reference(n):
    """Both networks run in kernels of their own, after the grid's kernel."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    fused = field_model(precision="float16", fused=True, device="cuda")
    exact = field_model(precision="float64", backend="reference", device="cuda")
    x, target = uniform(n, 6).cuda(), uniform(n, 4, low=1.0, high=2.0, seed=3).cuda()
    y, expected = fused(x), exact(x)
    assert (y - expected).abs().max() < OUTPUT * expected.abs().max()
    split = fused.structure.n_matrix_params
    found, wanted = (m.backend.gradient(x, m.params, squares(target))[1].dense() for m in (fused, exact))
    assert relative(found[:split], wanted[:split]) < WEIGHTS
    assert relative(found[split:], wanted[split:]) < TABLE
