"""Values below 0 are raised to 0 at the cost of the values near them."""

import numpy as np
import pytest

from nrc_tracer.cache.nonnegative import without_negatives


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 5), (16, 16), (33, 20)])
def test_no_value_is_negative_and_the_sum_is_kept(size):
    """Whatever the size, the sum of each channel stays the same."""
    image = np.random.default_rng(1).standard_normal((*size, 3)) + 0.8
    image += np.maximum(0.1 - image.mean((0, 1)), 0.0)
    found = without_negatives(image)
    assert found.min() >= 0.0
    np.testing.assert_allclose(found.sum((0, 1)), image.sum((0, 1)), rtol=1e-12)


def test_only_the_nearest_pixels_pay():
    """A slightly negative pixel takes from the other three of its block of 2 x 2, in proportion to their values."""
    image = np.ones((8, 8, 3))
    image[2, 4] = -0.3
    expected = np.ones((8, 8, 3))
    expected[2:4, 4:6] = 0.9
    expected[2, 4] = 0.0
    np.testing.assert_allclose(without_negatives(image), expected, rtol=1e-12)


def test_a_block_that_has_too_little_takes_from_the_next_larger_one():
    """Where a block of 2 x 2 has a negative sum, the block of 4 x 4 around it keeps its sum."""
    image = np.ones((8, 8, 3))
    image[0, 0] = -7.0
    found = without_negatives(image)
    np.testing.assert_allclose(found[:2, :2], 0.0)
    np.testing.assert_allclose(found[:4, :4].sum((0, 1)), image[:4, :4].sum((0, 1)), rtol=1e-12)
    np.testing.assert_array_equal(found[4:], image[4:])


def test_a_channel_without_light_becomes_black():
    """A channel whose sum is negative has nothing to take from."""
    image = np.ones((3, 3, 3))
    image[1, 1, 0] = -20.0
    found = without_negatives(image)
    assert np.all(found[..., 0] == 0.0)
    np.testing.assert_array_equal(found[..., 1:], image[..., 1:])


def test_an_image_without_negatives_is_returned_as_it_is():
    """Nothing is computed for images that need no change."""
    image = np.zeros((4, 4, 3))
    assert without_negatives(image) is image
