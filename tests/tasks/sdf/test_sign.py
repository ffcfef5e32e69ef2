"""The choice of the sign's method on real and broken meshes, and what is reported about it."""

import numpy as np
import pytest
import torch

from nrc_tracer.errors import ConfigError, DataError
from nrc_tracer.tasks.sdf.distance import SignMethod
from nrc_tracer.tasks.sdf.mesh import load_unit_mesh, unit_mesh
from nrc_tracer.tasks.sdf.sign import BAND, SAMPLES, choose_sign

from .shapes import box, flipped, joined, sphere, torus


def without(mesh, triangles):
    positions, indices = mesh
    return positions, np.delete(indices, triangles, axis=0)


@pytest.mark.parametrize(
    ("shape", "method", "words"),
    [
        (torus(), SignMethod.NORMAL, "watertight and consistently oriented"),
        (flipped(sphere(3)), SignMethod.NORMAL, "has been turned over"),
        (flipped(sphere(3), slice(0, 300)), SignMethod.PARITY, "face different ways"),
        (joined(sphere(3), flipped(sphere(2, 0.7, (2.0, 0.0, 0.0)))), SignMethod.PARITY, "inside out"),
        (without(sphere(3), [5, 6, 7]), SignMethod.WINDING, "has holes"),
        (joined(sphere(3), sphere(3, center=(0.9, 0.1, 0.0))), SignMethod.WINDING, "cross or enclose"),
        # A hollow ball is sound: its inner surface faces the hollow
        (joined(sphere(3), flipped(sphere(3, 0.5))), SignMethod.NORMAL, "watertight"),
    ],
    ids=["sound", "inside out", "some flipped", "a part inside out", "holes", "overlapping", "hollow"],
)
def test_choice_of_the_method(launcher, shape, method, words):
    _, _, choice = choose_sign(unit_mesh(*shape), launcher)
    assert choice.method == method
    assert words in choice.words()
    assert "normal/parity" in choice.words()
    assert choice.document()["method"] == method.name.lower()


def test_all_ways_to_break_a_sphere_give_the_same_inside(launcher):
    points = torch.from_numpy(np.random.default_rng(1).random((5000, 3), np.float32))
    radius = np.linalg.norm((points.numpy() - 0.5) / 0.45, axis=1)
    clear = np.abs(radius - 1.0) > 0.02
    for shape in (flipped(sphere(3)), flipped(sphere(3), slice(0, 400)), without(sphere(3), [5, 6, 7])):
        field, _, choice = choose_sign(unit_mesh(*shape), launcher)
        found = field.signed(points, choice.method).numpy()
        np.testing.assert_array_equal((found < 0.0)[clear], (radius < 1.0)[clear])


def test_disagreement_is_measured(launcher):
    """Parity and winding number disagree where two balls overlap, at as many points as lie in both in a sample of the test's own.

    Half of the points are uniform in the box, and half are on the two surfaces, moved by up to `BAND` along each axis.
    """
    other = np.array([0.9, 0.0, 0.0])
    mesh = unit_mesh(*joined(sphere(5), sphere(5, center=other)))
    rng, count = np.random.default_rng(0), 2**17
    in_box = rng.uniform((-1.0, -1.0, -1.0), (1.9, 1.0, 1.0), (count, 3))
    beside = rng.normal(size=(count, 3))
    beside /= np.linalg.norm(beside, axis=1, keepdims=True)
    beside += other * rng.integers(0, 2, (count, 1)) + rng.uniform(-BAND, BAND, (count, 3)) / mesh.scale
    points = np.concatenate([in_box, beside])
    share = np.mean((np.linalg.norm(points, axis=1) < 1.0) & (np.linalg.norm(points - other, axis=1) < 1.0))
    found = choose_sign(mesh, launcher)[2].disagreement["parity/winding"]
    assert found == pytest.approx(share, abs=4.0 * np.sqrt(share * (1.0 - share) * (1.0 / SAMPLES + 0.5 / count)))
    assert choose_sign(unit_mesh(*sphere(3)), launcher)[2].disagreement["parity/winding"] < 0.1 * share


def test_a_requested_method_is_used(launcher):
    _, _, choice = choose_sign(unit_mesh(*box()), launcher, requested="winding")
    assert choice.method == SignMethod.WINDING
    assert choice.reason == "as requested"


def test_an_unknown_method_is_refused(launcher):
    """An unknown method is refused before the mesh, which is None here, is used."""
    with pytest.raises(ConfigError, match="parity"):
        choose_sign(None, launcher, requested="partiy")


def test_a_sheet_without_volume_is_refused(launcher):
    positions = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], float)
    with pytest.raises(DataError, match="encloses no volume"):
        choose_sign(unit_mesh(positions, np.array([(0, 1, 2), (0, 2, 3)]), "sheet.obj"), launcher)


@pytest.mark.parametrize(
    ("name", "method", "holes"),
    [("spot", SignMethod.NORMAL, False), ("stanford-bunny", SignMethod.WINDING, True)],
)
def test_published_meshes(launcher, data_folder, name, method, holes):
    _, _, choice = choose_sign(load_unit_mesh(data_folder / "sdf" / f"{name}.obj"), launcher)
    assert choice.method == method
    assert choice.soundness.closed is not holes
    assert max(choice.disagreement.values()) < 0.01
