"""Rays generated on the device, compared with the cameras' rays in float64, and the drawing of pixels."""

import numpy as np
import pytest
import torch

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf import rays
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.rays import RayTable, rays_of
from nrc_tracer.tasks.nerf.reading import read_views
from nrc_tracer.tasks.nerf.views import View
from tests.tasks.nerf.photo_sets import FOX, camera, pixels, pose

SCALE, OFFSET = 0.3, (0.5, 0.4, 0.6)
SETS = [
    ("pinhole", (0.0,) * 6, 12, 8),
    ("opencv", FOX, 9, 7),
    ("fisheye", (0.05, -0.02, 0.003, 0.0, 0.0, 0.0), 10, 10),
]


@pytest.fixture(scope="module")
def views():
    found = []
    for i, (model, distortion, width, height) in enumerate(SETS):
        eye = PhotoCamera(width, height, 9.0, 9.5, 0.45 * width, 0.55 * height, distortion, model, pose(i))
        channels = 4 if i == 1 else 3
        found.append(View(f"v{i}", eye, pixels(i, width, height, channels), has_alpha=channels == 4))
    return found


@pytest.fixture(scope="module")
def table(views):
    return RayTable(views, SCALE, OFFSET, "cpu", threads=2)


def test_rays_agree_with_the_cameras(views, table):
    """Directions to float32 precision, origins by scale and offset, the images' colours, and alpha 1 for images without alpha."""
    sizes = [view.camera.width * view.camera.height for view in views]
    assert table.count == sum(sizes)
    assert table.bytes == 4 * sum(sizes)
    found = table.at(torch.arange(sum(sizes), dtype=torch.int32))
    first = 0
    for number, (view, size) in enumerate(zip(views, sizes, strict=True)):
        part = slice(first, first + size)
        first += size
        rows, columns = np.divmod(np.arange(size), view.camera.width)
        expected = view.camera.directions(np.column_stack((columns, rows)) + 0.5)
        np.testing.assert_allclose(found.directions[part].numpy(), expected, atol=5e-7)
        origin = view.camera.position * SCALE + OFFSET
        np.testing.assert_allclose(found.origins[part].numpy(), np.tile(origin, (size, 1)), atol=1e-6)
        colors = view.pixels.reshape(size, -1) / 255.0
        np.testing.assert_allclose(found.colors[part, : colors.shape[1]].numpy(), colors, atol=1e-7)
        if colors.shape[1] == 3:
            assert (found.colors[part, 3] == 1.0).all()
        assert (found.view[part] == number).all()


def test_a_real_lens_at_its_real_resolution():
    """With the distortion of a real telephone, a ray passes through its pixel to a thousandth of a pixel."""
    eye = PhotoCamera(1080, 1920, 1375.52, 1374.49, 554.558, 965.268, FOX, "opencv", pose(0.3))
    found = rays_of(eye, 1.0, (0, 0, 0), TorchLauncher("cpu"), step=37)
    rows, columns = np.meshgrid(np.arange(0, 1920, 37), np.arange(0, 1080, 37), indexing="ij")
    seen, _ = eye.project(eye.position + found.directions.double().numpy())
    np.testing.assert_allclose(seen, np.column_stack((columns.ravel(), rows.ravel())) + 0.5, atol=1e-3)


def test_beyond_the_fold_the_kernel_agrees_with_the_camera():
    """r - r^3 / 2 has its maximum, 0.544, at r = 0.816: no direction maps beyond, and such pixels get one that comes close.

    Newton's method does not converge there, so rounding decides the direction of some rays: most are the same, and none is
    farther from its pixel than the camera's by more than a hundredth of the focal length.
    """
    eye = camera("opencv", (-0.5, 0.0, 0.0, 0.0, 0.0, 0.0), width=240, height=160)
    found = rays_of(eye, 1.0, (0, 0, 0), TorchLauncher("cpu")).directions.double().numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    rows, columns = np.divmod(np.arange(240 * 160), 240)
    pixels = np.column_stack((columns, rows)) + 0.5
    expected = eye.directions(pixels)
    target = (pixels - (eye.cx, eye.cy)) / (eye.fx, eye.fy)
    within = np.linalg.norm(target, axis=1) < 0.54
    assert 1000 < within.sum() < 0.1 * len(within)
    np.testing.assert_allclose(found[within], expected[within], atol=1e-6)
    same = np.abs(found - expected).max(axis=1) < 1e-5
    assert same[~within].mean() > 0.75

    def off(directions):
        right, up, back = (directions @ eye.to_world[:, :3]).T
        return np.linalg.norm(eye.distort(np.column_stack((right, -up)) / -back[:, None]) - target, axis=1)

    assert (off(found) - off(expected)).max() < 0.01


def test_rays_of_part_of_a_view(table):
    eye = camera("opencv", FOX)
    every = table.rays_of(eye).directions.view(40, 60, 3)
    assert torch.equal(table.rays_of(eye, 3, 5, 4).directions, every[3::4, ::4][:5].reshape(-1, 3))
    assert torch.equal(table.rays_of(eye, 38, 9).directions, every[38:].reshape(-1, 3))
    assert len(table.rays_of(eye, 40)) == 0


def test_pixels_are_drawn_uniformly(table):
    """All pixels are equally likely, by a chi-square test of 200,000 draws, to five standard deviations."""
    n = 200_000
    drawn = table.sample(n, torch.Generator().manual_seed(3))
    counts = torch.bincount(drawn.pixels, minlength=table.count).double()
    expected = n / table.count
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    freedom = table.count - 1
    assert abs(chi2 - freedom) < 5.0 * (2.0 * freedom) ** 0.5


def test_sampling_only_depends_on_the_generator(views, table):
    other = RayTable(views, SCALE, OFFSET, "cpu", threads=1)
    one = table.sample(5000, torch.Generator().manual_seed(7), jitter=True)
    two = other.sample(5000, torch.Generator().manual_seed(7), jitter=True)
    for name in ("origins", "directions", "colors", "view", "pixels", "places"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_a_jittered_ray_stays_in_its_pixel(views, table):
    drawn = table.sample(2000, torch.Generator().manual_seed(1), jitter=True)
    mine = (drawn.view == 1).numpy()
    eye = views[1].camera
    seen, _ = eye.project(eye.position + drawn.directions.double().numpy()[mine])
    number = drawn.pixels.numpy()[mine] - views[0].camera.width * views[0].camera.height
    corner = np.column_stack((number % eye.width, number // eye.width))
    np.testing.assert_allclose(seen - corner, drawn.places.numpy()[mine], atol=1e-4)
    assert drawn.places.std() == pytest.approx(12**-0.5, abs=0.01)


def test_masked_pixels_are_never_drawn():
    mask = np.zeros((8, 12), bool)
    mask[2:4, 5:9] = True
    both = [View("a", camera(width=12, height=8), pixels(0), mask), View("b", camera(width=12, height=8), pixels(1))]
    table = RayTable(both, SCALE, OFFSET)
    assert table.count == 8 + 96
    drawn = table.sample(20_000, torch.Generator().manual_seed(0))
    allowed = np.concatenate((np.flatnonzero(mask), np.arange(96, 192)))
    assert sorted(set(drawn.pixels.tolist())) == allowed.tolist()
    with pytest.raises(DataError, match="no pixel to learn from"):
        RayTable([View("a", camera(width=12, height=8), pixels(0), np.zeros((8, 12), bool))], SCALE, OFFSET)


def test_poses_are_corrected_as_documented(views, table):
    """Rays are rotated in place by the matrix exponential of w and moved by t, view by view."""
    poses = torch.from_numpy(np.random.default_rng(0).normal(0.0, 0.1, (len(views), 6)).astype(np.float32))
    poses[2] = 0.0
    plain = table.sample(500, torch.Generator().manual_seed(0))
    moved = table.at(plain.pixels, plain.places, poses=poses)
    w = poses[plain.view.long(), :3].double()
    cross = torch.zeros(500, 3, 3, dtype=torch.float64)
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -w[:, 2], w[:, 1], -w[:, 0]
    turn = torch.linalg.matrix_exp(cross - cross.transpose(1, 2))
    expected = (turn @ plain.directions.double()[:, :, None])[:, :, 0]
    np.testing.assert_allclose(moved.directions.numpy(), expected.numpy(), atol=1e-6)
    shift = poses[plain.view.long(), 3:]
    np.testing.assert_allclose(moved.origins.numpy(), (plain.origins + shift).numpy(), atol=1e-6)
    assert torch.equal(moved.colors, plain.colors)
    with pytest.raises(ValueError, match="poses"):
        table.at(plain.pixels, poses=poses[:2])


def test_too_many_photographs_are_refused_before_any_is_read(monkeypatch, views):
    monkeypatch.setattr(rays, "available_memory", lambda: 1000)
    with pytest.raises(DataError, match=r"3 photographs need .* GB of memory, .*fewer photographs"):
        RayTable(views, SCALE, OFFSET)
    wide = View("w", camera(width=65536, height=65536), pixels(0))
    with pytest.raises(DataError, match="4,294,967,296 pixels, but at most"):
        RayTable([wide], SCALE, OFFSET)


def test_an_empty_set_of_photographs_is_refused():
    with pytest.raises(DataError, match="no photographs"):
        RayTable([], SCALE, OFFSET)


def test_fox(data_folder):
    """Rays through three thousand pixels of real photographs have the pixels' colours and pass through them."""
    found = read_views(data_folder / "nerf/fox")
    some = found.train[:3]
    table = RayTable(some, found.scale, found.offset)
    assert table.bytes == 3 * 1080 * 1920 * 3
    drawn = table.sample(3000, torch.Generator().manual_seed(2))
    for number, view in enumerate(some):
        mine = (drawn.view == number).numpy()
        rows, columns = np.divmod(drawn.pixels.numpy()[mine] - number * 1080 * 1920, 1080)
        np.testing.assert_array_equal(
            (drawn.colors[mine, :3] * 255).round().numpy().astype(np.uint8), view.pixels[rows, columns]
        )
        seen, _ = view.camera.project(view.camera.position + drawn.directions.double().numpy()[mine])
        np.testing.assert_allclose(seen, np.column_stack((columns, rows)) + 0.5, atol=1e-3)
