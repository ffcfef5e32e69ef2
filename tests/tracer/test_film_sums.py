"""The sums of a film: the order of additions, and blocks that were summed elsewhere."""

import numpy as np
import pytest

from nrc_tracer.device.launch import Launcher, initialize
from nrc_tracer.tracer.film_sums import BLOCK, BlockSums, FilmSums
from tests.tracer.test_determinism import accumulated, room
from tests.tracer.tiny_scenes import rendered

HEIGHT, WIDTH = 3, 5


def film() -> FilmSums:
    initialize()
    return FilmSums(WIDTH, HEIGHT, Launcher("cpu", threads=2))


def samples(count: int) -> np.ndarray:
    """Samples of very different sizes, so that another order of additions gives other bits, shape [count, 3, 5, 3]."""
    random = np.random.default_rng(4)
    return 10.0 ** random.uniform(-6, 6, (count, HEIGHT, WIDTH, 3))


def in_blocks(values: np.ndarray) -> np.ndarray:
    """The sum as it is defined, one addition after the other."""
    total = np.zeros_like(values[0])
    for first in range(0, len(values), BLOCK):
        block = np.zeros_like(total)
        for value in values[first : first + BLOCK]:
            block = block + value
        total = total + block
    return total


def add(sums: FilmSums, values: np.ndarray, count: int, longest: int) -> None:
    """Add the next `count` of the values, as a kernel does."""
    for first, span in sums.spans(count, longest):
        for value in values[first : first + span]:
            sums.arrays[0].numpy()[:] += value.reshape(-1, 3)
            sums.arrays[1].numpy()[:] += value.reshape(-1, 3) ** 2


@pytest.mark.parametrize("steps", [(200,), (64, 64, 64, 8), (1, 62, 2, 135), (63, 1, 136)])
@pytest.mark.parametrize("longest", [200, 16, 7])
def test_samples_are_added_in_blocks(steps, longest):
    """However samples are spread over steps and launches, the sums are those of the definition, bit for bit."""
    values = samples(200)
    sums = film()
    for step in steps:
        add(sums, values, step, longest)
    assert sums.samples == 200
    contents = sums.contents()
    np.testing.assert_array_equal(contents["sums"] + contents["block_sums"], in_blocks(values))
    np.testing.assert_array_equal(contents["squares"] + contents["block_squares"], in_blocks(values**2))
    assert np.any(in_blocks(values) != np.cumsum(values, axis=0)[-1])  # the order shows


def test_blocks_summed_elsewhere_are_those_summed_here():
    values = samples(150)
    here, there = film(), film()
    add(here, values, 150, 150)
    for first in range(0, 150, BLOCK):
        part = film()
        count = min(BLOCK, 150 - first)
        add(part, values[first:], count, 20)
        # A finished block has been added to 0, which changes no bit
        contents = part.contents()
        block = BlockSums(
            contents["sums"] + contents["block_sums"],
            contents["squares"] + contents["block_squares"],
            np.full((HEIGHT, WIDTH), first, np.int32),
        )
        there.add_block(block, count)
    ours, theirs = here.contents(), there.contents()
    for name in ("sums", "squares", "block_sums", "block_squares"):
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert there.samples == 150
    assert np.all(there.dropped() == 0 + 64 + 128)


def test_a_block_does_not_follow_half_a_block():
    sums = film()
    add(sums, samples(3), 3, 3)
    block = BlockSums(np.zeros((HEIGHT, WIDTH, 3)), np.zeros((HEIGHT, WIDTH, 3)), np.zeros((HEIGHT, WIDTH), np.int32))
    with pytest.raises(ValueError, match="64 samples cannot follow 3"):
        sums.add_block(block, 64)
    with pytest.raises(ValueError, match="a block of 65"):
        film().add_block(block, 65)


def test_steps_do_not_matter_beyond_a_block():
    """150 samples at once, or in steps that end before, at and after the ends of blocks, give the same bits."""
    reference = accumulated(rendered(room(), 150, threads=1))
    for split in ((1, 149), (63, 2, 85), (64, 64, 22)):
        renderer = rendered(room(), split[0], threads=2, block_size=7)
        for step in split[1:]:
            renderer.step(step)
        np.testing.assert_array_equal(accumulated(renderer), reference, err_msg=str(split))
