"""The two networks of a radiance field in one model."""

from __future__ import annotations

import pytest
import torch

from nrc_tracer import nn
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn import config as configuration

POSITION = {
    "otype": "HashGrid",
    "n_levels": 8,
    "n_features_per_level": 4,
    "log2_hashmap_size": 12,
}
DIRECTION = {"otype": "SphericalHarmonics", "degree": 4}


def composite(*nested: dict) -> dict:
    return {"otype": "Composite", "nested": [{**one, "n_dims_to_encode": 3} for one in nested]}


CONFIG = {
    "encoding": composite(POSITION, DIRECTION),
    "network": {"otype": "RadianceField"},
    "optimizer": {"otype": "Adam", "learning_rate": 1e-2, "epsilon": 1e-15},
}


def model(**options) -> nn.Model:
    """A field whose grid is not as flat as initially."""
    made = nn.Model(6, 4, CONFIG, seed=3, **{"precision": "float32", "device": "cpu", **options})
    made.params[made.structure.n_matrix_params :] *= 1e4
    return made


def rows(count: int, columns: int = 6) -> torch.Tensor:
    return torch.rand(count, columns, generator=torch.Generator().manual_seed(1))


def squared(target: torch.Tensor):
    def evaluate(output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        difference = output - target.to(output.dtype)
        return difference.square().mean(), 2.0 * difference / difference.numel()

    return evaluate


def test_a_field_equals_two_plain_networks_in_sequence():
    """The result equals that of plain models: the density network, then its 16 outputs and the direction for the colour."""
    field = model()
    density_network, rgb_network = field.networks
    grid = nn.Model(3, 16, {"encoding": POSITION, "network": configuration.to_json(field.config.network)["density"]},
                    precision="float32", device="cpu")  # fmt: skip
    count = density_network.params.numel()
    own = field.params[field.structure.n_matrix_params :]
    grid.set_params(torch.cat([field.params[:count], own]))
    x = rows(500)
    hidden = grid(x[:, :3])
    harmonics = nn.Model(3, None, {"encoding": DIRECTION, "network": None}, device="cpu")(x[:, 3:])
    h = torch.cat([hidden, harmonics], dim=1)
    for index in range(rgb_network.n_layers - 1):
        h = (h @ rgb_network.layer(index).T).relu()
    color = (h @ rgb_network.layer(rgb_network.n_layers - 1).T)[:, :3]
    torch.testing.assert_close(field(x), torch.cat([color, hidden[:, :1]], dim=1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(field.density(x[:, :3]), hidden[:, 0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("precision", "forward", "backward"), [("float32", 1e-5, 1e-5), ("bfloat16", 2e-2, 0.15)])
def test_outputs_and_gradients_agree_with_the_reference_in_float64(precision, forward, backward):
    """Blocked networks agree with float64 and autograd over more than one block of rows, within the usual tolerances of nn."""
    fast, exact = model(precision=precision), model(precision="float64", backend="reference")
    x, target = rows(5000), rows(5000, 4)
    y, expected = fast(x), exact(x)
    assert (y - expected).abs().max() <= forward * expected.abs().max()
    assert (fast.density(x[:, :3]) - exact.density(x[:, :3])).abs().max() <= forward * expected[:, 3].abs().max()
    _, gradient = fast.backend.gradient(x, fast.params, squared(target))
    _, truth = exact.backend.gradient(x, exact.params, squared(target))
    ours, theirs = gradient.dense(), truth.dense()
    assert (ours - theirs).norm() <= backward * theirs.norm()


def test_gradients_of_inputs_agree_with_the_reference():
    """These gradients of positions and directions are used for refining poses."""
    found = []
    for made in (model(), model(precision="float64", backend="reference")):
        x = rows(300).requires_grad_()
        (gradient,) = torch.autograd.grad(made.apply(x, made.params).square().sum(), x)
        found.append(gradient)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5 * float(found[1].abs().max()))


def test_descend_with_the_same_loss_equals_step():
    """`descend` with the mean square changes the parameters like `step` with L2."""
    x, target = rows(600), rows(600, 4)
    ends = []
    for own in (True, False):
        trainer = nn.Trainer(model(), {**CONFIG, "loss": {"otype": "L2"}})
        for _ in range(5):
            loss = trainer.descend(x, squared(target)) if own else trainer.step(x, target)
        ends.append((float(loss), trainer.model.params))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-6)
    torch.testing.assert_close(ends[0][1], ends[1][1], rtol=1e-4, atol=1e-6)


def test_descend_skips_losses_that_are_not_finite_and_empty_batches():
    trainer = nn.Trainer(model())
    before = trainer.model.params.clone()
    trainer.descend(rows(64), lambda y: (y.sum() * torch.nan, y * torch.nan))
    assert (trainer.steps, trainer.skipped_steps) == (0, 1)
    assert float(trainer.descend(rows(0), squared(rows(0, 4)))) == 0.0
    assert (trainer.steps, trainer.skipped_steps) == (0, 1)
    assert torch.equal(trainer.model.params, before)


@pytest.mark.parametrize("threads", [1, 3])
def test_training_does_not_depend_on_the_number_of_threads(threads):
    ends = []
    for count in (2, threads):
        trainer = nn.Trainer(model(threads=count))
        for _ in range(3):
            trainer.step(rows(5000), rows(5000, 4))
        ends.append(trainer.model.params)
    assert torch.equal(*ends)


def test_a_snapshot_gives_the_same_field(tmp_path):
    trainer = nn.Trainer(model())
    trainer.step(rows(100), rows(100, 4))
    nn.save_training(trainer, tmp_path / "field.safetensors")
    loaded = nn.load(tmp_path / "field.safetensors", device="cpu")
    assert torch.equal(loaded(rows(50)), trainer.model(rows(50)))
    assert configuration.to_json(loaded.config) == configuration.to_json(trainer.model.config)


def test_order_of_parameters():
    """This is the order of instant-ngp's snapshots."""
    field = model()
    density, rgb = field.networks
    sizes = [32 * 64 + 64 * 16, 32 * 64 + 64 * 64 + 64 * 16]
    assert [density.params.numel(), rgb.params.numel()] == sizes
    assert density.params.data_ptr() == field.params.data_ptr()
    assert rgb.params.data_ptr() == field.params[sizes[0] :].data_ptr()
    assert field.structure.n_matrix_params == sum(sizes)
    assert field.network is None


@pytest.mark.parametrize(
    ("config", "dims", "words"),
    [
        (CONFIG, (6, 3), "n_output_dims: a RadianceField has 4"),
        ({**CONFIG, "encoding": POSITION}, (3, 4), "needs a Composite of two"),
        (
            {**CONFIG, "encoding": composite({**POSITION, "n_levels": 5}, DIRECTION)},
            (6, 4),
            "expected a multiple of 16 features for the density network, got 20",
        ),
        (
            {**CONFIG, "network": {"otype": "RadianceField", "density": 3}},
            (6, 4),
            "network.density: expected an object",
        ),
        (
            {**CONFIG, "network": {"otype": "RadianceField", "rgb": {"otype": "RadianceField"}}},
            (6, 4),
            "network.rgb: expected a network",
        ),
        ({**CONFIG, "network": {"otype": "RadianceFeild"}}, (6, 4), "RadianceField"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(config, dims, words):
    with pytest.raises(ConfigError) as caught:
        nn.Model(*dims, config, device="cpu")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_a_field_has_a_density():
    plain = nn.Model(3, 1, {"encoding": POSITION}, device="cpu")
    with pytest.raises(ConfigError, match="density: only a model whose network"):
        plain.density(rows(2, 3))
