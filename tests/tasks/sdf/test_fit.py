"""A small model learns a torus: scores, surface, normals, picture, and resuming to the same bits."""

import numpy as np
import pytest
import torch

from nrc_tracer.errors import ConfigError, DataError, SnapshotError
from nrc_tracer.surfaces.isosurface import extract
from nrc_tracer.tasks.sdf.fit import SdfTask
from nrc_tracer.tasks.sdf.mesh import unit_mesh
from nrc_tracer.tasks.sdf.rendering import Orbit, render
from nrc_tracer.tasks.sdf.shape import NeuralShape, load_neural_shape
from nrc_tracer.tasks.training import train

from .shapes import flipped, sphere, torus, torus_distance
from .small import SMALL

SHIFT = np.array([3.0, -2.0, 10.0])
STEPS = 250


def ring():
    positions, indices = torus()
    return unit_mesh(2.0 * positions + SHIFT, indices, "ring.obj")


def make(mesh=None, **options):
    return SdfTask(mesh or ring(), config=SMALL, batch=2048, device="cpu", **options)


@pytest.fixture(scope="module")
def trained():
    task = make()
    train(task, steps=STEPS)
    return task


@pytest.fixture(scope="module")
def snapshot(trained, tmp_path_factory):
    return trained.save(tmp_path_factory.mktemp("sdf") / "ring.safetensors")


def test_scores(trained):
    """The distance is learnt, and the scores agree with the closed form at independent points."""
    scores = trained.evaluate()
    assert scores["iou"] > 0.97
    assert scores["band_iou"] > 0.85
    assert scores["mae"] < 0.01
    assert trained.score() == pytest.approx({"iou": scores["iou"], "mae": scores["mae"]}, rel=0.1)
    low, high = trained.mesh.box
    points = low + (high - low) * np.random.default_rng(0).random((20_000, 3))
    exact = torus_distance(((points - 0.5) / trained.mesh.scale + trained.mesh.center - SHIFT) / 2.0)
    exact = exact * 2.0 * trained.mesh.scale
    found = trained.predict(torch.from_numpy(points.astype(np.float32))).numpy()
    assert np.abs(found - exact).mean() == pytest.approx(scores["mae"], rel=0.1)
    a, b = found < 0.0, exact < 0.0
    assert (a & b).sum() / (a | b).sum() == pytest.approx(scores["iou"], abs=0.01)


def test_metadata_convert_points_and_distances(snapshot):
    """As documented, u = (x - center) scale + 0.5, and the model's output divided by the scale is the distance."""
    shape = load_neural_shape(snapshot)
    x = np.random.default_rng(1).uniform(-1.0, 1.0, (5000, 3)) * [2.0, 0.6, 2.0] + SHIFT
    u = torch.from_numpy(((x - shape.center) * shape.scale + 0.5).astype(np.float32))
    found = shape.distance(u).numpy() / shape.scale
    assert np.abs(found - 2.0 * torus_distance((x - SHIFT) / 2.0)).mean() < 0.03
    np.testing.assert_allclose(shape.bounds, np.array([[-2.7, -0.7, -2.7], [2.7, 0.7, 2.7]]) + SHIFT, atol=2e-3)


def test_gradient_is_that_of_the_distance(snapshot):
    """The reference is central differences, whose step stays within a cell of the finest grid except for some points."""
    shape = load_neural_shape(snapshot)
    points = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    step = 1e-3
    differences = torch.stack(
        [shape.distance(points + step * axis) - shape.distance(points - step * axis) for axis in torch.eye(3)], dim=1
    ) / (2.0 * step)
    error = (shape.gradient(points) - differences).norm(dim=1)
    assert error.median() < 0.02


def test_normals(snapshot):
    shape = load_neural_shape(snapshot)
    positions, _ = torus(around=40, across=20)
    points = torch.from_numpy(((2.0 * positions + SHIFT - shape.center) * shape.scale + 0.5).astype(np.float32))
    around = np.stack([positions[:, 0], np.zeros(len(positions)), positions[:, 2]], axis=1)
    exact = positions - around / np.linalg.norm(around, axis=1, keepdims=True)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    cosine = (shape.normal(points).numpy() * exact).sum(axis=1)
    assert np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).mean() < 10.0


def test_surface(trained, snapshot):
    """The extracted mesh is as watertight as the original, and close to it."""
    pytest.importorskip("skimage")
    trimesh = pytest.importorskip("trimesh")
    shape = load_neural_shape(snapshot)
    surface = shape.surface(64)
    mesh = trimesh.Trimesh(surface.positions, surface.indices, process=False)
    assert mesh.is_watertight
    assert mesh.volume > 0.0
    inner = np.abs(torus_distance((surface.positions.astype(np.float64) - SHIFT) / 2.0)) * 2.0
    assert np.median(inner) < 0.02
    # Cells known to be far from the surface are not evaluated, which changes nothing
    whole = extract(
        lambda points: shape.distance(torch.from_numpy(points)).numpy(), *map(tuple, shape.box), 128, closed=True
    )
    in_cube = shape.surface(128, in_cube=True)
    np.testing.assert_array_equal(in_cube.positions, whole.positions)
    np.testing.assert_array_equal(in_cube.indices, whole.indices)
    assert in_cube.evaluations < 0.7 * whole.evaluations
    scores = trained.evaluate_surface(64)
    assert scores["chamfer"] < 0.004
    assert scores["normal_error"] < 15.0


def test_picture(snapshot):
    """From above, the ring and its hole are visible and lit; one and four rays per pixel agree."""
    shape = load_neural_shape(snapshot)
    orbit = Orbit(azimuth=0.0, elevation=90.0)
    image = render(shape, width=60, height=60, orbit=orbit, samples=1)
    assert image.shape == (60, 60, 3)
    empty = render(shape, width=60, height=60, orbit=Orbit(zoom=0.01), samples=1)
    y, x = np.meshgrid(np.arange(60) - 29.5, np.arange(60) - 29.5, indexing="ij")
    radius = np.hypot(x, y)
    seen = np.abs(image - empty).max(axis=2) > 0.02
    assert not seen[radius < 8.0].any()
    assert seen[(radius > 17.0) & (radius < 19.0)].mean() > 0.95
    fine = render(shape, width=60, height=60, orbit=orbit, samples=2)
    assert np.abs(fine - image).mean() < 0.05


def test_resuming_gives_the_same_bits(tmp_path):
    whole = make(seed=5)
    train(whole, steps=40)
    first = make(seed=5)
    train(first, steps=23)
    first.save(tmp_path / "first.safetensors")
    second = make(seed=5, threads=1)
    second.resume(tmp_path / "first.safetensors")
    assert second.number == 23
    train(second, steps=40)
    assert torch.equal(whole.trainer.model.params, second.trainer.model.params)
    paths = [task.save(tmp_path / name) for task, name in ((whole, "a.safetensors"), (second, "b.safetensors"))]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_resuming_with_another_mesh_is_refused(snapshot):
    with pytest.raises(SnapshotError, match=r"of another mesh \(ring.obj\)"):
        make(unit_mesh(*sphere(2), "ball.obj")).resume(snapshot)
    with pytest.raises(SnapshotError, match="sign normal, not winding"):
        make(sign="winding").resume(snapshot)
    with pytest.raises(SnapshotError, match="batch 2048, not 1024"):
        SdfTask(ring(), config=SMALL, batch=1024, device="cpu").resume(snapshot)


def test_inside_out_meshes_are_learnt_with_negative_distances_inside():
    task = make(unit_mesh(*flipped(sphere(3))))
    assert task.choice.turned_over
    train(task, steps=100)
    values = task.predict(torch.tensor([[0.5, 0.5, 0.5], [0.02, 0.02, 0.02]]))
    assert values[0] < 0.0 < values[1]


def test_invalid_batches_and_metadata_are_refused(snapshot):
    with pytest.raises(ConfigError, match="batch"):
        SdfTask(ring(), config=SMALL, batch=8, device="cpu")
    model = load_neural_shape(snapshot).model
    for metadata in ({}, {"center": [0, 0, 0], "scale": 0.0, "bounds": [[0, 0, 0], [1, 1, 1]]}):
        with pytest.raises(SnapshotError, match="the snapshot of a shape"):
            NeuralShape(model, metadata)


def test_an_untrained_model_may_have_no_surface():
    pytest.importorskip("skimage")
    task = make()
    task.trainer.model.params.zero_()
    with pytest.raises(DataError, match="no surface"):
        task.evaluate_surface(16)
