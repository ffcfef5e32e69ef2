"""An image of 469 million pixels, in processes whose memory is measured."""

import json
import subprocess
import sys

import pytest

from nrc_tracer.imaging import read_image
from nrc_tracer.tasks.image.memory import resident_memory
from tests.tasks.image.big_map import floor_psnr, tile, write_map

WIDTH, HEIGHT = 20000, 23466
GIB = 2**30


@pytest.fixture(scope="module")
def big_map(tmp_path_factory):
    """The map: 1.3 GiB of uncompressed tiles, computed tile by tile."""
    pytest.importorskip("tifffile")
    if not resident_memory():
        pytest.skip("the operating system does not report the memory of a process")
    return write_map(tmp_path_factory.mktemp("big") / "map.tif", WIDTH, HEIGHT)


def _run(folder, *arguments):
    """The JSON summary of a command."""
    words = [sys.executable, "-m", "nrc_tracer", *map(str, arguments), "--json"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("memory", "log2_table", "steps"), [("4GiB", 24, 200), ("1GiB", 21, 2000)])
def test_a_gigapixel_image_stays_within_its_memory(big_map, tmp_path, memory, log2_table, steps):
    """Training, PSNR over all pixels and decoding stay within the memory budget, including pages of the mapped file.

    A few steps are far from the floor, but better than a single colour; with moving tiles they suffice for all tiles to be used.
    """
    allowed = int(memory[0]) * GIB
    summary = _run(tmp_path, "fit", "image", big_map, "--steps", steps, "--memory", memory, "--device", "cpu")
    assert summary["memory"]["allowed"] == allowed
    assert summary["memory"]["peak"] < allowed
    assert summary["log2_hashmap_size"] == log2_table
    assert summary["sampling"].startswith("moving set" if memory == "1GiB" else "stratified")
    scores = summary["scores"]
    assert scores["pixels"] == WIDTH * HEIGHT
    assert 15 < scores["psnr"] < floor_psnr(big_map)
    decoded = _run(
        tmp_path, "decode", "map.safetensors", "-o", "strip.png", "--crop", f"0,11000,{WIDTH},512", "--device", "cpu"
    )
    assert decoded["memory"]["peak"] < allowed
    strip = read_image(tmp_path / "strip.png")
    assert strip.shape == (512, WIDTH, 3)
    difference = strip[:, 4000:5000].astype(float) - tile(4000, 11000, 1000, 512)
    assert abs(difference.mean()) < 8
