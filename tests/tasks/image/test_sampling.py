"""Training samples: their colours compared with the NumPy conversion, their distribution with the uniform one."""

import numpy as np
import pytest
import scipy.stats
import torch

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import DataError
from nrc_tracer.tasks.image import sampling
from nrc_tracer.tasks.image.opening import open_source
from nrc_tracer.tasks.image.pixels import to_space
from nrc_tracer.tasks.image.sampling import MovingTiles, WholeImage, lattice
from nrc_tracer.tasks.image.source import whole

WIDTH, HEIGHT = 130, 97


def _source(dtype=np.uint8, channels=3, linear=None):
    rng = np.random.default_rng(5)
    if np.dtype(dtype).kind == "f":
        pixels = (2.0 * rng.random((HEIGHT, WIDTH, channels)) - 0.3).astype(dtype)
        pixels[3, 4] = np.nan
        pixels[50, 60] = np.inf
    else:
        pixels = rng.integers(0, np.iinfo(dtype).max, (HEIGHT, WIDTH, channels), dtype=dtype, endpoint=True)
    linear = np.dtype(dtype).kind == "f" if linear is None else linear
    return whole("test", pixels, linear=linear), pixels


def _launcher(threads=2):
    return TorchLauncher("cpu", threads=threads)


def _pixels_of(x):
    """Columns and rows of the pixels whose centres lie at the given positions."""
    columns, rows = x[:, 0].numpy() * WIDTH - 0.5, x[:, 1].numpy() * HEIGHT - 0.5
    np.testing.assert_allclose(columns, np.round(columns), atol=1e-4)
    np.testing.assert_allclose(rows, np.round(rows), atol=1e-4)
    return np.round(columns).astype(int), np.round(rows).astype(int)


@pytest.mark.parametrize("space", ["srgb", "linear"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.float16, np.float32, ">f4"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_samples_have_the_colours_of_pixels(dtype, space, channels):
    """Each sample has a pixel's centre and its colour in the colour space of training, for any type and byte order."""
    source, pixels = _source(np.dtype(dtype).newbyteorder("="), channels)
    source.dtype = np.dtype(dtype)
    source.buffer = pixels.astype(dtype).reshape(-1).view(np.uint8)
    x, target = WholeImage(source, space, 2**12, _launcher()).draw(0, 77)
    columns, rows = _pixels_of(x)
    expected = to_space(pixels[..., : source.channels], linear=source.linear, space=space)
    # Powers in float32: four ulps
    np.testing.assert_allclose(target.numpy(), expected[rows, columns], rtol=5e-7, atol=1e-7)


def test_bilinear_samples_interpolate_between_pixels():
    """In an image that is linear in x and y, samples between pixels have its value, and beyond border pixels theirs."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    source = whole("ramp", np.stack((x, y, x + y), axis=2), linear=True)
    place, target = WholeImage(source, "linear", 2**12, _launcher(), bilinear=True).draw(0, 5)
    u = np.clip(place[:, 0].numpy() * WIDTH - 0.5, 0, WIDTH - 1)
    v = np.clip(place[:, 1].numpy() * HEIGHT - 0.5, 0, HEIGHT - 1)
    assert np.abs(u - np.round(u)).max() > 0.4
    np.testing.assert_allclose(target.numpy(), np.stack((u, v, u + v), axis=1), rtol=1e-4, atol=1e-3)


def test_samples_are_stratified():
    """One sample in each cell of the lattice, whose cells are nearly square."""
    assert lattice(WIDTH, HEIGHT, 2**12) == (64, 64)
    assert lattice(1000, 250, 2**12) == (128, 32)
    assert lattice(1, 10**6, 2**6) == (1, 64)
    x, _ = WholeImage(_source()[0], "srgb", 2**10, _launcher(), bilinear=True).draw(0, 3)
    cells = (x[:, 0] * 32).long() + 32 * (x[:, 1] * 32).long()
    assert torch.equal(cells, torch.arange(2**10))
    with pytest.raises(DataError, match="power of two"):
        lattice(10, 10, 1000)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_batch_only_depends_on_its_key(threads):
    """The number of threads does not change the bits; another key does."""
    source = _source()[0]
    first = [tensor.clone() for tensor in WholeImage(source, "srgb", 2**13, _launcher(1)).draw(0, 9)]
    sampler = WholeImage(source, "srgb", 2**13, _launcher(threads))
    sampler.draw(5, 10)
    second = sampler.draw(0, 9)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], sampler.draw(0, 10)[0])


def _coverage(sampler, steps):
    counts = np.zeros((HEIGHT, WIDTH))
    rng = np.random.default_rng(0)
    for step in range(steps):
        columns, rows = _pixels_of(sampler.draw(step, int(rng.integers(2**62)))[0])
        np.add.at(counts, (rows, columns), 1)
    return counts


def test_whole_image_is_covered_evenly():
    """All pixels are equally likely: their counts deviate no more than those of independent samples (strata deviate less)."""
    counts = _coverage(WholeImage(_source()[0], "srgb", 2**12, _launcher()), 40)
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert statistic < scipy.stats.chi2.ppf(0.999, counts.size - 1)


def _moving(tmp_path, monkeypatch, *, seed=1, memory=9 * 16 * 16 * 3, batch=2**9):
    """A set of nine of the 63 tiles of an image, at most two of which are replaced at a step."""
    tifffile = pytest.importorskip("tifffile")
    if not (tmp_path / "a.tif").exists():
        tifffile.imwrite(tmp_path / "a.tif", _source()[1], photometric="rgb", tile=(16, 16))
    source = open_source(tmp_path / "a.tif", 2**30)
    return MovingTiles(source, "srgb", batch, _launcher(), seed=seed, memory=memory)


def test_moving_tiles_have_the_images_colours(tmp_path, monkeypatch):
    """Samples of a moving set of tiles are pixels of the image."""
    sampler = _moving(tmp_path, monkeypatch)
    assert (sampler.slots, sampler.replaced, len(sampler.rectangles)) == (9, 2, 63)
    pixels = to_space(_source()[1], linear=False, space="srgb")
    for step in (0, 1, 31, 400):
        x, target = sampler.draw(step, step)
        columns, rows = _pixels_of(x)
        np.testing.assert_array_equal(target.numpy(), pixels[rows, columns])


def test_moving_tiles_cover_the_image_as_evenly_as_uniform_samples(tmp_path, monkeypatch):
    """A moving set of equal tiles has no bias that a chi-square test over all pixels finds.

    Whole passes over the tiles are counted, because within one some tiles have had fewer steps.
    """
    monkeypatch.setattr("tests.tasks.image.test_sampling.WIDTH", 128)
    monkeypatch.setattr("tests.tasks.image.test_sampling.HEIGHT", 96)
    sampler = _moving(tmp_path, monkeypatch)
    assert len(sampler.rectangles) == 48
    steps = 48 * 12 // sampler.replaced
    counts = _coverage(sampler, steps)
    assert counts.sum() == steps * 2**9
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    # A few tiles have some of their steps before the first or after the last pass, so the statistic is not far below the limit
    assert statistic < scipy.stats.chi2.ppf(0.999, counts.size - 1)


def test_unequal_tiles_are_drawn_by_their_area(tmp_path, monkeypatch):
    """With smaller tiles at the border, all pixels of a set are equally likely, and tiles are drawn as their sets' areas predict.

    This is the remaining bias: a pixel is slightly more likely in a set with smaller tiles.
    """
    sampler = _moving(tmp_path, monkeypatch)
    steps = 63 * 12 // sampler.replaced
    expected = np.zeros((HEIGHT, WIDTH))
    for step in range(steps):
        sampler.move_to(step)
        held = sampler.rectangles[sampler.held].astype(int)
        area = (held[:, 2] * held[:, 3]).sum()
        for x, y, width, height in held:
            expected[y : y + height, x : x + width] += 2**9 / area
    counts = _coverage(sampler, steps)
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < scipy.stats.chi2.ppf(0.999, counts.size - 1)
    assert expected.std() / expected.mean() < 0.1


def test_moving_tiles_do_not_depend_on_earlier_steps(tmp_path, monkeypatch):
    """The batch of a step depends only on the seed and the step, not on earlier steps."""
    walked, jumped = _moving(tmp_path, monkeypatch), _moving(tmp_path, monkeypatch)
    for step in range(50):
        x, target = (tensor.clone() for tensor in walked.draw(step, 1000 + step))
    again = jumped.draw(49, 1049)
    assert torch.equal(x, again[0])
    assert torch.equal(target, again[1])
    walked.close()
    assert torch.equal(walked.draw(49, 1049)[1], target)
    other = _moving(tmp_path, monkeypatch, seed=2).draw(49, 1049)
    assert not torch.equal(x, other[0])


def test_a_step_only_reads_the_tiles_that_it_replaces(tmp_path, monkeypatch):
    """This holds for any number of tiles in the set."""
    sampler = _moving(tmp_path, monkeypatch)
    rectangles = []
    kind = type(sampler.source)
    read = kind.read
    monkeypatch.setattr(
        kind, "read", lambda source, *rectangle: rectangles.append(rectangle) or read(source, *rectangle)
    )
    for step in range(4):
        sampler.move_to(step)
    # Nine tiles for the first step and two for every other step, of a sequence that does not repeat a tile within that time
    assert len(set(rectangles)) == len(rectangles) == 9 + 3 * 2
    sampler.move_to(3)
    assert len(rectangles) == 15


def test_tiles_follow_the_storage_of_the_image(tmp_path, monkeypatch):
    """An image stored in rows is cut into bands; the tiles cover it exactly once."""
    source = _source()[0]
    monkeypatch.setattr(sampling, "POOL_TILE_PIXELS", 130 * 10)
    found = sampling.tiles(source)
    assert found[0].tolist() == [0, 0, 130, 10]
    covered = np.zeros((HEIGHT, WIDTH), int)
    for x, y, width, height in found:
        covered[y : y + height, x : x + width] += 1
    assert (covered == 1).all()
