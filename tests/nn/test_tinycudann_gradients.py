"""Gradients of the drop-in as optimizers of torch see them: their memory is used again, and nobody may notice."""

import copy
import threading

import pytest
import torch

from nrc_tracer.nn import gradient_memory
from nrc_tracer.nn import tinycudann as tcnn
from nrc_tracer.nn.backends.reference import ReferenceBackend
from nrc_tracer.nn.fused_cpu import model as fused_model

LARGE = {
    "otype": "HashGrid",
    "n_levels": 4,
    "n_features_per_level": 2,
    "log2_hashmap_size": 16,
    "base_resolution": 64,
    "per_level_scale": 1.45,
}
"""A grid whose gradient is large enough for its memory to be used again."""
NETWORK = {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 2, "activation": "ReLU"}


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """Modules of dtype float32 on the CPU, whatever the machine."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def points(n, *, seed=0):
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(seed))


def large(kind):
    """A module with a large table, and the function from a batch of points to its loss."""
    module = tcnn.Encoding(3, LARGE) if kind == "encoding" else tcnn.NetworkWithInputEncoding(3, 3, LARGE, NETWORK)
    with torch.no_grad():
        module.params *= 1e3 if kind == "encoding" else 10.0
    assert module.params.numel() > gradient_memory.SMALLEST
    return module, lambda seed: (module(points(300, seed=seed)) ** 2).sum()


def fresh_gradient(module, *seeds):
    """The gradient of a sum of losses, from a copy of the module that has no memory yet."""
    other = copy.deepcopy(module)
    other.params.grad = None
    for seed in seeds:
        (other(points(300, seed=seed)) ** 2).sum().backward()
    return other.params.grad


@pytest.mark.parametrize("kind", ["encoding", "network"])
def test_gradients_add_up_until_they_are_set_to_none(kind):
    module, loss = large(kind)
    for turn in range(3):
        for seed in (1, 2, 3):
            loss(seed).backward()
        assert torch.equal(module.params.grad, fresh_gradient(module, 1, 2, 3)), turn
        if turn == 0:
            module.params.grad = None
        else:
            module.params.grad.zero_()


@pytest.mark.parametrize("kind", ["encoding", "network"])
def test_gradients_that_are_kept_do_not_change(kind):
    """As `grad`, as a view of it, and as results of `torch.autograd.grad`, over many later passes."""
    module, loss = large(kind)
    loss(1).backward()
    kept = [module.params.grad, module.params.grad[100:].detach()]
    module.params.grad = None
    kept += [torch.autograd.grad(loss(1), module.params)[0] for _ in range(3)]
    for seed in (2, 3, 4):
        loss(seed).backward()
        module.params.grad = None
    expected = fresh_gradient(module, 1)
    assert all(torch.equal(gradient, expected[-len(gradient) :]) for gradient in kept)


@pytest.mark.parametrize("kind", ["encoding", "network"])
def test_what_is_written_to_a_gradient_does_not_come_back(kind):
    """Weight decay by hand, through `data`, which autograd does not see."""
    module, loss = large(kind)
    loss(1).backward()
    module.params.grad.data.add_(1.0)
    module.params.grad = None
    loss(2).backward()
    assert torch.equal(module.params.grad, fresh_gradient(module, 2))


@pytest.mark.parametrize("kind", ["encoding", "network"])
def test_two_graphs_may_be_alive(kind):
    """Backward passes of two graphs, one of them twice, and a hook that sees each gradient."""
    module, loss = large(kind)
    seen = []
    module.params.register_hook(lambda gradient: seen.append(gradient))
    first, second = loss(1), loss(2)
    second.backward(retain_graph=True)
    first.backward()
    second.backward()
    assert torch.equal(module.params.grad, fresh_gradient(module, 2, 1, 2))
    assert torch.equal(seen[1], fresh_gradient(module, 1))
    assert torch.equal(seen[2], fresh_gradient(module, 2))


def test_threads_may_differentiate_one_module_at_a_time():
    """As a tracker and a mapper that share a map; gradients are bit for bit those of one thread."""
    module, loss = large("network")
    expected = {seed: fresh_gradient(module, seed) for seed in (1, 2)}
    wrong = []

    def work(seed):
        for _ in range(8):
            (found,) = torch.autograd.grad(loss(seed), module.params)
            if not torch.equal(found, expected[seed]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_optimizer_of_torch_takes_the_steps_it_takes_with_fresh_gradients():
    module, _ = large("network")
    other = copy.deepcopy(module)
    optimizers = [torch.optim.Adam(m.parameters(), lr=1e-2, eps=1e-15, fused=True) for m in (module, other)]
    for seed in range(4):
        for m, optimizer in zip((module, other), optimizers, strict=True):
            optimizer.zero_grad()
            (m(points(300, seed=seed)) ** 2).sum().backward()
            if m is other:
                m.params.grad = m.params.grad.clone()
            optimizer.step()
    assert torch.equal(module.params, other.params)


@pytest.mark.parametrize(("width", "hidden", "inputs", "outputs"), [(16, 2, 63, 1), (32, 1, 32, 2), (64, 3, 32, 2)])
@pytest.mark.parametrize("rows", [1, 255, 5000])
def test_small_and_large_batches_have_the_gradients_of_the_reference(width, hidden, inputs, outputs, rows):
    config = NETWORK | {"n_neurons": width, "n_hidden_layers": hidden, "activation": "Softplus"}
    module = tcnn.Network(inputs, outputs, config)
    x = torch.rand(rows, inputs, generator=torch.Generator().manual_seed(1)).requires_grad_()
    backend = ReferenceBackend(module.native_tcnn_module.structure, torch.device("cpu"), torch.float64)
    x_64, params_64 = (tensor.detach().double().requires_grad_() for tensor in (x, module.params))
    expected = backend.differentiable(x_64, params_64)
    y = module(x)
    assert (y - expected).abs().max() < 1e-5 * expected.abs().max()
    y.square().sum().backward()
    expected.square().sum().backward()
    for found, exact in ((x.grad, x_64.grad), (module.params.grad, params_64.grad)):
        assert (found - exact).norm() < 1e-4 * exact.norm()


@pytest.mark.parametrize("activation", ["ReLU", "SiLU"])
def test_results_kept_by_the_forward_pass_give_the_gradients_of_a_repeated_one(activation, monkeypatch):
    config = {"otype": "FullyFusedMLP", "n_neurons": 32, "n_hidden_layers": 2, "activation": activation}
    module = tcnn.Network(7, 5, config | {"output_activation": "Sigmoid"})
    gradients = []
    for most in (fused_model.MOST_KEPT, 0):
        monkeypatch.setattr(fused_model, "MOST_KEPT", most)
        x = torch.rand(500, 7, generator=torch.Generator().manual_seed(1)).requires_grad_()
        y = module(x)
        module(torch.ones(900, 7)).sum().backward()  # another call before the backward pass
        module.params.grad = None
        (y**2).sum().backward()
        gradients.append((x.grad, module.params.grad))
        module.params.grad = None
    for kept, repeated in zip(*gradients, strict=True):
        assert torch.count_nonzero(kept) > 0
        assert torch.equal(kept, repeated)
