"""Images are the same bit for bit, however the work is divided."""

import numpy as np
import pytest

from nrc_tracer.scene.model import (
    Conductor,
    ConstantLight,
    Cube,
    Dielectric,
    Plastic,
    PointLight,
    Rotate,
    Scale,
    Sphere,
    Translate,
)
from tests.tracer.tiny_scenes import needs_embree, rendered, scene


def room(**options):
    """Glass, metal, plastic and grey objects under a sky and a lamp: every kind of vertex."""
    return scene(
        Sphere(center=(-0.6, 0.0, 0.3), radius=0.5, material="glass"),
        Cube(to_world=(Scale(0.4), Rotate(axis=(1, 1, 0), angle=30.0), Translate((0.6, 0.1, 0.0))), material="metal"),
        Cube(to_world=(Scale((3.0, 0.1, 3.0)), Translate((0.0, -0.7, 0.0))), material="plastic"),
        Sphere(center=(0.0, 1.2, 0.0), radius=0.2, emission=(5.0, 4.0, 3.0)),
        lights=[ConstantLight(radiance=0.3), PointLight(position=(1.0, 1.0, 2.0), intensity=2.0)],
        materials={
            "glass": Dielectric(),
            "metal": Conductor(eta=0.2, k=3.0, alpha=(0.1, 0.3)),
            "plastic": Plastic(alpha=0.1),
        },
        film=(20, 16),
        **options,
    )


def accumulated(renderer):
    """Everything that a film accumulates: means, variances, and the pixels with lost samples."""
    return np.concatenate([np.ravel(array) for array in (*renderer.moments(), renderer.dropped_pixels())])


@pytest.mark.parametrize("sampler", ["independent", "sobol"])
def test_threads_blocks_and_steps_change_no_bit(sampler):
    """One and two threads, blocks of 1 to all pixels, and 8 samples at once or as 1 + 7 or 5 + 3 give the same bits."""
    described = room(sampler=sampler)
    reference = accumulated(rendered(described, 8, threads=1))
    assert np.count_nonzero(reference) > 1000
    for options in (
        {"threads": 2},
        {"threads": 2, "block_size": 7},
        {"threads": 1, "block_size": 1},
        {"block_size": 10_000},
    ):
        np.testing.assert_array_equal(accumulated(rendered(described, 8, **options)), reference, err_msg=str(options))
    for split in ((1, 7), (5, 3), (1,) * 8):
        renderer = rendered(described, split[0], threads=2)
        for samples in split[1:]:
            renderer.step(samples)
        np.testing.assert_array_equal(accumulated(renderer), reference, err_msg=str(split))


def test_the_seed_changes_the_image_and_repeats_it():
    """Equal seeds give equal images, and different seeds, also huge and negative ones, give different images."""
    described = room()
    images = [rendered(described, 2, seed=seed).image().rgb for seed in (0, 0, 1, 2**63 + 5, -1)]
    np.testing.assert_array_equal(images[0], images[1])
    for i in range(1, 5):
        for j in range(i + 1, 5):
            assert np.mean(images[i] != images[j]) > 0.5


@needs_embree
def test_embree_and_warp_render_the_same():
    """Most pixels agree up to rounding, and the images' means within the error of the paths that differ."""
    described = room()
    a, b = (rendered(described, 16, accel=accel) for accel in ("embree", "warp"))
    image_a, image_b = a.image().rgb.astype(np.float64), b.image().rgb.astype(np.float64)
    # A path that rounds to the other side of a choice takes another way; such paths are few
    close = np.abs(image_a - image_b) <= 1e-3 * image_a + 1e-6
    assert close.mean() > 0.9
    (_, variance_a), (_, variance_b) = a.moments(), b.moments()
    error = np.sqrt((variance_a + variance_b).sum(axis=(0, 1)) / 16) / image_a[..., 0].size
    assert np.all(np.abs(image_a.mean(axis=(0, 1)) - image_b.mean(axis=(0, 1))) < 4.0 * error)


def test_a_crop_window_equals_its_part_of_the_full_image():
    """The pixels of a crop window are those of the full image, bit for bit."""
    for sampler in ("independent", "sobol"):
        whole = rendered(room(sampler=sampler), 4).image().rgb
        cut = rendered(room(sampler=sampler, crop=(5, 3, 9, 8)), 4).image().rgb
        assert cut.shape == (8, 9, 3)
        np.testing.assert_array_equal(cut, whole[3:11, 5:14])
