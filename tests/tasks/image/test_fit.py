"""Fitting images: what is learnt, how it is scored, and that resuming gives the same bits."""

import numpy as np
import pytest
import skimage.metrics
import torch

from nrc_tracer.errors import DataError, SnapshotError
from nrc_tracer.nn.snapshot import read_snapshot
from nrc_tracer.tasks.image import fit, model, prediction, quality, source
from nrc_tracer.tasks.image.fit import ImageTask
from nrc_tracer.tasks.image.memory import format_size, parse_bytes, resident_memory
from nrc_tracer.tasks.image.opening import open_source
from nrc_tracer.tasks.image.pixels import to_space
from nrc_tracer.tasks.image.sampling import MovingTiles, WholeImage
from nrc_tracer.tasks.image.source import whole
from nrc_tracer.tasks.training import train
from tests.tasks.image.big_map import floor_psnr, tile, write_map

BATCH = 2**11
MIB = 2**20


def _map(width=96, height=64):
    return whole("map", tile(3000, 3000, width, height), linear=False)


def _prediction(task):
    """The whole image as the model reproduces it, [height, width, channels]."""
    found = task.source
    x = prediction.positions(found.width, found.height, (0, 0), found.width, found.height)
    return prediction.predict(task.trainer.model, x).reshape(found.height, found.width, found.channels)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_learned(channels):
    """A small map is learnt to 35 dB, by scikit-image's PSNR over all pixels, with which `evaluate` agrees."""
    pixels = tile(3000, 3000, 96, 64)[:, :, :channels]
    task = ImageTask(whole("map", np.ascontiguousarray(pixels), linear=False), batch=BATCH, device="cpu", seed=3)
    train(task, steps=200)
    scores = quality.evaluate(task.trainer.model, task.source, task.space)
    clipped = np.clip(_prediction(task), 0, 1)
    expected = skimage.metrics.peak_signal_noise_ratio(pixels / 255.0, clipped.astype(np.float64), data_range=1.0)
    assert scores["psnr"] == pytest.approx(expected, abs=1e-3)
    assert scores["psnr"] > 35
    assert task.score()["psnr"] == pytest.approx(scores["psnr"], abs=0.3)
    assert scores["compression"]["float32"] == pytest.approx(pixels.nbytes / (4 * task.trainer.model.n_params))


def test_psnr_can_be_computed_in_bands(monkeypatch):
    """Bands of a few rows, and pieces of them, give the same PSNR."""
    task = ImageTask(_map(), batch=BATCH, device="cpu")
    train(task, steps=5)
    first = quality.evaluate(task.trainer.model, task.source, task.space)
    monkeypatch.setattr(source, "BAND_PIXELS", 96 * 7)
    monkeypatch.setattr(quality, "PIECE", 96 * 2)
    second = quality.evaluate(task.trainer.model, task.source, task.space)
    assert second["psnr"] == pytest.approx(first["psnr"], abs=1e-6)


def test_the_psnr_of_pixels_that_are_not_black_is_reported():
    """If much of the image is black, the PSNR of the other pixels is reported too, and agrees with scikit-image's."""
    pixels = tile(3000, 3000, 96, 64)
    pixels[:, :50] = 3
    task = ImageTask(whole("map", pixels, linear=False), batch=BATCH, device="cpu")
    train(task, steps=20)
    scores = quality.evaluate(task.trainer.model, task.source, task.space)
    rest = pixels.max(axis=2) > 4
    clipped = np.clip(_prediction(task), 0, 1)
    expected = skimage.metrics.peak_signal_noise_ratio(
        pixels[rest] / 255.0, clipped[rest].astype(float), data_range=1.0
    )
    assert scores["psnr_not_black"] == pytest.approx(expected, abs=1e-3)
    assert scores["black"] == pytest.approx(1 - rest.mean())
    assert "not black" in quality.describe(scores)


def test_an_all_black_image_works():
    """An all-black image has no second PSNR, and its PSNR is finite or infinite, not an error."""
    task = ImageTask(whole("black", np.zeros((40, 50, 3), np.uint8), linear=False), batch=256, device="cpu")
    train(task, steps=60)
    scores = quality.evaluate(task.trainer.model, task.source, task.space)
    assert scores["psnr"] > 40
    assert scores["black"] == 1.0
    assert "psnr_not_black" not in scores


def test_one_pixel_works():
    """An image of one pixel is not a special case."""
    task = ImageTask(whole("dot", np.full((1, 1, 3), 77, np.uint8), linear=False), batch=64, device="cpu")
    train(task, steps=200)
    assert quality.evaluate(task.trainer.model, task.source, task.space)["psnr"] > 30


@pytest.mark.parametrize(
    ("dtype", "space", "default", "loss"),
    [
        (np.uint8, None, "srgb", "L2"),
        (np.uint8, "linear", "srgb", "L2"),
        (np.float32, None, "linear", "RelativeL2"),
        (np.float32, "srgb", "linear", "L2"),
    ],
)
def test_the_colour_space_of_training(dtype, space, default, loss):
    """Floats are learnt in linear light by a relative loss, integers in sRGB, unless requested otherwise."""
    pixels = tile(3000, 3000, 32, 32)
    pixels = pixels if dtype == np.uint8 else (pixels / 64.0).astype(dtype)
    task = ImageTask(whole("map", pixels, linear=dtype != np.uint8), space=space, batch=256, device="cpu")
    assert task.space == (space or default)
    assert task.trainer.config.loss.otype == loss
    _, target = task.sampler.draw(0, 1)
    values = to_space(pixels, linear=dtype != np.uint8, space=task.space)
    assert target.max() <= values.max() * 1.0001
    assert target.mean() == pytest.approx(values.mean(), rel=0.1)


def test_the_table_size_follows_the_number_of_pixels():
    """One table entry per eight pixels, from 2^12 to 2^24; half the larger side at the finest level; less if memory is short."""
    for width, height, expected in (
        (10, 10, 12),
        (1024, 1024, 17),
        (1536, 1024, 17),
        (20000, 23466, 24),
        (10**6, 10**6, 24),
    ):
        encoding = model.image_config(width, height, space="srgb", floating=False)["encoding"]
        assert encoding["log2_hashmap_size"] == expected
        finest = 16 * encoding["per_level_scale"] ** 15
        assert finest == pytest.approx(max(16, width / 2, height / 2))
    short = model.image_config(20000, 23466, space="srgb", floating=False, memory=2**30)
    assert model.state_bytes(short) <= model.state_room(2**30)
    larger = {
        **short,
        "encoding": {**short["encoding"], "log2_hashmap_size": short["encoding"]["log2_hashmap_size"] + 1},
    }
    assert model.state_bytes(larger) > model.state_room(2**30)


def _moving_task(tmp_path, monkeypatch, seed=1):
    """A task whose image does not fit into the memory that is left."""
    pytest.importorskip("tifffile")
    path = tmp_path / "map.tif"
    if not path.exists():
        write_map(path, 200, 150, side=32)
    monkeypatch.setattr(fit, "LEAST_POOL", 1)
    found = open_source(path, 2**30)
    config = model.image_config(200, 150, space="srgb", floating=False)
    memory = int(model.RESERVED_BYTES + model.state_bytes(config) + 60_000)
    return ImageTask(found, config=config, memory=memory, batch=512, device="cpu", seed=seed)


def _task(kind, tmp_path, monkeypatch, **options):
    if kind == "moving":
        return _moving_task(tmp_path, monkeypatch, **options)
    return ImageTask(_map(), batch=512, device="cpu", **{"seed": 1, **options})


def test_memory_decides_whether_a_moving_set_is_used(tmp_path, monkeypatch):
    """An image that does not fit beside the model is sampled by a moving set of tiles; if not even that fits, it is an error."""
    pytest.importorskip("tifffile")
    write_map(tmp_path / "map.tif", 300, 200, side=64)
    found = open_source(tmp_path / "map.tif", 2**30)
    config = model.image_config(300, 200, space="srgb", floating=False)
    fixed = int(model.RESERVED_BYTES + model.state_bytes(config))
    assert isinstance(ImageTask(found, config=config, memory=fixed + 400_000, device="cpu").sampler, WholeImage)
    monkeypatch.setattr(fit, "LEAST_POOL", 1)
    tiles = ImageTask(found, config=config, memory=fixed + 100_000, device="cpu")
    assert isinstance(tiles.sampler, MovingTiles)
    assert tiles.sampler.slots * tiles.sampler.slot_bytes <= 100_000
    assert "moving set" in tiles.sampling
    with pytest.raises(DataError, match="bilinear"):
        ImageTask(found, config=config, memory=fixed + 100_000, device="cpu", bilinear=True)
    with pytest.raises(DataError, match="--memory"):
        ImageTask(found, config=config, memory=fixed + 1000, device="cpu")
    with pytest.raises(DataError, match="--memory"):
        ImageTask(found, config=config, memory=fixed - 1000, device="cpu")


@pytest.mark.parametrize("kind", ["whole", "moving"])
def test_resuming_gives_the_same_bits(kind, tmp_path, monkeypatch):
    """Steps without a stop, and steps with a snapshot between them, give the same bytes."""
    first = _task(kind, tmp_path, monkeypatch)
    assert isinstance(first.sampler, MovingTiles if kind == "moving" else WholeImage)
    train(first, steps=10)
    first.save(tmp_path / "a.safetensors")
    train(first, steps=25)
    first.save(tmp_path / "b.safetensors")
    second = _task(kind, tmp_path, monkeypatch)
    second.resume(tmp_path / "a.safetensors")
    train(second, steps=25)
    second.save(tmp_path / "c.safetensors")
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "c.safetensors").read_bytes()


def test_resuming_with_another_image_or_batch_is_refused(tmp_path):
    """A snapshot of other pixels, or with other batches, is refused in one line."""
    task = ImageTask(_map(), batch=512, device="cpu")
    train(task, steps=2)
    task.save(tmp_path / "a.safetensors")
    changed = tile(3000, 3000, 96, 64)
    changed[::2] += 1
    other = ImageTask(whole("map", changed, linear=False), batch=512, device="cpu")
    with pytest.raises(SnapshotError, match="other pixels"):
        other.resume(tmp_path / "a.safetensors")
    with pytest.raises(SnapshotError, match="batch 512"):
        ImageTask(_map(), batch=1024, device="cpu").resume(tmp_path / "a.safetensors")


def test_snapshots_do_not_contain_folders(tmp_path):
    """Metadata contains the file's name, but not its folder."""
    np.save(tmp_path / "a.npy", tile(0, 0, 20, 20))
    task = ImageTask(open_source(tmp_path / "a.npy", 2**30), batch=64, device="cpu")
    task.save(tmp_path / "a.safetensors")
    metadata = read_snapshot(tmp_path / "a.safetensors").metadata["image"]
    assert metadata["name"] == "a.npy"
    assert str(tmp_path) not in str(metadata)


def test_a_map_is_learnt_better_than_means_of_four_pixels(tmp_path):
    """After a few seconds of training on a BigTIFF made tile by tile, the model is better than the means of 2 x 2 pixels.

    The PSNR varies by a decibel or two while the learning rate is high, so the best of several scores counts.
    """
    tifffile = pytest.importorskip("tifffile")
    path = write_map(tmp_path / "map.tif", 256, 192, side=128)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
    np.testing.assert_array_equal(tifffile.imread(path)[17:40, 110:250], tile(110, 17, 140, 23))
    pixels = tifffile.imread(path).astype(np.float64) / 255
    means = pixels.reshape(96, 2, 128, 2, 3).mean(axis=(1, 3)).repeat(2, 0).repeat(2, 1)
    floor = floor_psnr(path)
    assert floor == pytest.approx(skimage.metrics.peak_signal_noise_ratio(pixels, means, data_range=1.0), abs=1e-3)
    task = ImageTask(open_source(path, 2**30), batch=2**12, device="cpu")
    scores = []
    for steps in (150, 200, 250):
        train(task, steps=steps)
        scores.append(quality.evaluate(task.trainer.model, task.source, task.space)["psnr"])
    assert max(scores) > floor


def test_memory_sizes_are_parsed():
    """Memory sizes are parsed in the usual notations; anything else is a one-line error."""
    assert parse_bytes("1GiB") == parse_bytes("1 G") == 2**30
    assert parse_bytes("800MB") == 800_000_000
    assert parse_bytes("1.5g") == 3 * 2**29
    assert parse_bytes(str(2**30)) == 2**30
    for wrong in ("", "a lot", "12 QB", "-1GiB", "10MB", "0"):
        with pytest.raises(DataError):
            parse_bytes(wrong)
    assert format_size(1.3 * 2**30) == "1.3 GiB"


def test_resident_memory_distinguishes_file_backed_pages(tmp_path):
    """Pages of a mapped file count as file-backed until they are released."""
    if not resident_memory():
        pytest.skip("the operating system does not report resident memory")
    np.save(tmp_path / "a.npy", np.ones((4096, 4096, 3), np.uint8))
    found = open_source(tmp_path / "a.npy", 2**30)
    before = resident_memory()
    for _ in found.bands():
        pass
    read = resident_memory()
    found.release()
    after = resident_memory()
    assert read["file_backed"] - before["file_backed"] > 40 * MIB
    assert after["file_backed"] - before["file_backed"] < 8 * MIB
    assert read["anonymous"] - before["anonymous"] < 40 * MIB


def test_on_cuda_the_table_fits_the_memory_of_the_gpu(monkeypatch):
    """With much host memory and a small GPU, the model fits the GPU."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 2**30, 80 * 2**30))
    free = fit.state_memory(500 * 2**30, torch.device("cuda"))
    config = model.image_config(30_000, 30_000, space="srgb", floating=False, memory=free, device="cuda")
    assert model.state_bytes(config, "cuda") < 2 * 2**30
    assert fit.state_memory(2**30, torch.device("cpu")) == 2**30
    assert fit.state_memory(None, torch.device("cpu")) is None
