"""Volume rendering compared with its formula in float64, and its gradient with autograd's."""

import numpy as np
import pytest
import torch

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tasks.nerf.compositing import MIN_TRANSMITTANCE, Compositor
from nrc_tracer.tasks.nerf.marching import Samples


def random_samples(counts, seed=0, thick=1.0):
    """Samples of rays with given counts, and raw outputs."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.cumsum(torch.tensor(counts), 0, dtype=torch.int32)
    total = int(ends[-1])
    steps = 0.01 + 0.05 * torch.rand(total, generator=generator)
    t = torch.cumsum(steps, 0)
    samples = Samples(torch.arange(len(counts), dtype=torch.int32), ends, torch.zeros(total, 6), t, steps)
    raw = torch.randn(total, 4, generator=generator)
    raw[:, 3] += np.log(thick)
    return samples, raw


def formula(samples, raw):
    """Colour, distance and transmittance by the formula, ray by ray, in the precision of `raw`."""
    colors, distances, left = [], [], []
    begin = 0
    for end in samples.ends.tolist():
        rows = slice(begin, end)
        optical = raw[rows, 3].exp() * samples.steps[rows].to(raw.dtype)
        reached = torch.exp(optical - torch.cumsum(optical, 0)).detach() >= MIN_TRANSMITTANCE
        optical = optical * reached
        transmittance = torch.exp(optical - torch.cumsum(optical, 0))
        weights = transmittance * (1.0 - torch.exp(-optical))
        colors.append((weights[:, None] * torch.sigmoid(raw[rows, :3])).sum(0))
        distances.append((weights * samples.t[rows].to(raw.dtype)).sum())
        left.append(torch.exp(-optical.sum()))
        begin = end
    return torch.stack(colors), torch.stack(distances), torch.stack(left)


@pytest.mark.parametrize("thick", [0.1, 3.0])
def test_agrees_with_the_formula(thick):
    """Rays of different lengths, including one without samples."""
    samples, raw = random_samples([17, 0, 1, 64], thick=thick)
    color, distance, transmittance = Compositor(TorchLauncher("cpu", threads=2)).composite(samples, raw, 4)
    expected = formula(samples, raw.double())
    for ours, theirs in zip((color, distance, transmittance), expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-5, atol=2e-6)
    assert color[1].tolist() == [0.0, 0.0, 0.0]
    assert transmittance[1] == 1.0


def test_raw_outputs_in_float64():
    """Raw outputs in float64 give what the same in float32 give; the gradient has their type."""
    samples, raw = random_samples([17, 0, 1, 64])
    compositor = Compositor(TorchLauncher("cpu", threads=2))
    d_color, d_left = torch.ones(4, 3), torch.ones(4)
    results = []
    for values in (raw, raw.double()):
        color, distance, left = compositor.composite(samples, values, 4)
        gradient = compositor.backward(samples, values, color, left, d_color, d_left)
        assert gradient.dtype == values.dtype
        assert compositor.reached(samples, values[:, 3].contiguous()).ends[-1] == samples.ends[-1]
        results.append((color, distance, left, gradient.float()))
    for single, double in zip(*results, strict=True):
        assert torch.equal(single, double)


@pytest.mark.parametrize("thick", [0.1, 3.0])
def test_gradient_is_that_of_the_formula(thick):
    """The gradient of a loss of colour and transmittance with respect to all four raw outputs."""
    samples, raw = random_samples([17, 0, 1, 64], seed=1, thick=thick)
    generator = torch.Generator().manual_seed(2)
    d_color, d_left = torch.randn(4, 3, generator=generator), torch.randn(4, generator=generator)
    compositor = Compositor(TorchLauncher("cpu", threads=2))
    color, _, transmittance = compositor.composite(samples, raw, 4)
    gradient = compositor.backward(samples, raw, color, transmittance, d_color, d_left)
    exact = raw.double().requires_grad_()
    colors, _, left = formula(samples, exact)
    ((colors * d_color).sum() + (left * d_left).sum()).backward()
    # Terms of size 1 are subtracted in float32
    torch.testing.assert_close(gradient.double(), exact.grad, rtol=1e-4, atol=2e-6)
    assert exact.grad.abs().max() > 1e-3


def test_samples_behind_an_opaque_one_have_no_effect():
    """Samples behind the end of a ray contribute no colour and get no gradient."""
    samples, raw = random_samples([40], seed=3)
    raw[10:, 3] = 9.0  # exp(9) * 0.01 = 81: opaque at once
    compositor = Compositor(TorchLauncher("cpu", threads=1))
    color, _, transmittance = compositor.composite(samples, raw, 1)
    changed = raw.clone()
    changed[11:] = torch.randn(29, 4)
    assert torch.equal(compositor.composite(samples, changed, 1)[0], color)
    gradient = compositor.backward(samples, raw, color, transmittance, torch.ones(1, 3), torch.zeros(1))
    assert torch.equal(gradient[11:], torch.zeros(29, 4))
    assert gradient[:11, :3].abs().min() > 0.0


@pytest.mark.parametrize("threads", [1, 3])
def test_only_samples_that_are_reached_count(threads):
    """The rows are those that the formula reaches, and picture and gradient do not change."""
    samples, raw = random_samples([300, 0, 40, 1, 500, 64], seed=6)
    raw[320:340, 3] = 9.0
    raw[341:841, 3] += 1.5
    raw[-64:, 3] = -9.0
    samples.x[:] = torch.rand(len(samples), 6)
    compositor = Compositor(TorchLauncher("cpu", threads=threads))
    reached = compositor.reached(samples, raw[:, 3].contiguous())

    rows, begin = [], 0
    for end in samples.ends.tolist():
        optical = (raw[begin:end, 3].double().exp() * samples.steps[begin:end]).numpy()
        before = np.exp(-np.concatenate(([0.0], np.cumsum(optical)))[:-1])
        rows += [begin + k for k in range(end - begin) if before[k] >= MIN_TRANSMITTANCE]
        begin = end
    assert 64 < len(rows) < 0.7 * len(samples)
    for name in ("x", "t", "steps"):
        assert torch.equal(getattr(reached, name), getattr(samples, name)[rows])

    d_color, d_left = torch.randn(6, 3), torch.randn(6)
    results = []
    for some, of_them in ((samples, raw), (reached, raw[rows])):
        picture = compositor.composite(some, of_them, 6)
        results.append((*picture, compositor.backward(some, of_them, picture[0], picture[2], d_color, d_left)))
    whole, part = results
    assert all(torch.equal(a, b) for a, b in zip(whole[:3], part[:3], strict=True))
    assert torch.equal(whole[3][rows], part[3])
    others = torch.ones(len(samples), dtype=torch.bool).index_fill(0, torch.tensor(rows), False)
    assert not whole[3][others].any()


def test_parts_of_a_ray_add_up():
    """Accumulating a ray's samples in two parts gives the same bits as all at once."""
    samples, raw = random_samples([12], seed=4)
    compositor = Compositor(TorchLauncher("cpu", threads=1))
    whole = compositor.composite(samples, raw, 1)
    state = torch.zeros(1, 3), torch.zeros(1), torch.ones(1)
    for rows in (slice(0, 5), slice(5, 12)):
        part = Samples(
            samples.rays,
            torch.tensor([rows.stop - rows.start], dtype=torch.int32),
            samples.x[rows],
            samples.t[rows],
            samples.steps[rows],
        )
        compositor.accumulate(part, raw[rows].contiguous(), *state)
    for ours, theirs in zip(state, whole, strict=True):
        assert torch.equal(ours, theirs)


def test_threads_do_not_change_bits():
    """The number of threads does not change the bits."""
    counts = np.random.default_rng(0).integers(0, 30, 3000).tolist()
    samples, raw = random_samples(counts, seed=5)
    results = []
    for threads in (1, 3):
        compositor = Compositor(TorchLauncher("cpu", threads=threads))
        color, distance, left = compositor.composite(samples, raw, len(counts))
        gradient = compositor.backward(samples, raw, color, left, torch.ones_like(color), left)
        results.append((color, distance, left, gradient))
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


def test_a_density_that_is_not_finite_is_passed_on():
    """A NaN density is passed on: the trainer must see it and skip the step."""
    samples, raw = random_samples([5], seed=6)
    raw[2, 3] = torch.nan
    color, _, transmittance = Compositor(TorchLauncher("cpu", threads=1)).composite(samples, raw, 1)
    assert torch.isnan(color).all()
    assert torch.isnan(transmittance).all()
