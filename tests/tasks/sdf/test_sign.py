"""How inside is told from outside on real and broken meshes, and that it says so."""

import numpy as np
import pytest
import torch

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.sdf.distance import SignMethod
from nrc_tracer.tasks.sdf.mesh import load_surface, surface_mesh
from nrc_tracer.tasks.sdf.sign import choose_sign

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
        # A hollow ball is sound: its inner side faces the hollow
        (joined(sphere(3), flipped(sphere(3, 0.5))), SignMethod.NORMAL, "watertight"),
    ],
    ids=["sound", "inside out", "some flipped", "a part inside out", "holes", "overlapping", "hollow"],
)
def test_choice(launcher, shape, method, words):
    _, _, choice = choose_sign(surface_mesh(*shape), launcher)
    assert choice.method == method
    assert words in choice.words()
    assert "normal/parity" in choice.words()
    assert choice.document()["method"] == method.name.lower()


def test_all_ways_to_break_a_sphere_give_the_same_inside(launcher):
    points = torch.from_numpy(np.random.default_rng(1).random((5000, 3), np.float32))
    radius = np.linalg.norm((points.numpy() - 0.5) / 0.45, axis=1)
    clear = np.abs(radius - 1.0) > 0.02
    for shape in (flipped(sphere(3)), flipped(sphere(3), slice(0, 400)), without(sphere(3), [5, 6, 7])):
        field, _, choice = choose_sign(surface_mesh(*shape), launcher)
        found = field.signed(points, choice.method).numpy()
        np.testing.assert_array_equal((found < 0.0)[clear], (radius < 1.0)[clear])


def test_disagreement_is_measured(launcher):
    """Where two spheres overlap, parity and winding number disagree: the share of the box that the overlap takes, about."""
    _, _, choice = choose_sign(surface_mesh(*joined(sphere(3), sphere(3, center=(0.9, 0.0, 0.0)))), launcher)
    overlap = np.pi * (4.0 + 0.9) * (2.0 - 0.9) ** 2 / 12.0 / (2.0 * 2.0 * 2.9)
    # Half of the points are beside the surface: there it is some share between none and half
    assert 0.4 * overlap < choice.disagreement["parity/winding"] < 0.5 * overlap + 0.5
    assert (
        choice.disagreement["parity/winding"]
        > 10.0 * choose_sign(surface_mesh(*sphere(3)), launcher)[2].disagreement["parity/winding"]
    )


def test_as_asked(launcher):
    _, _, choice = choose_sign(surface_mesh(*box()), launcher, wanted="winding")
    assert choice.method == SignMethod.WINDING
    assert choice.reason == "as asked"


def test_a_sheet_encloses_nothing(launcher):
    positions = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], float)
    with pytest.raises(DataError, match="encloses no volume"):
        choose_sign(surface_mesh(positions, np.array([(0, 1, 2), (0, 2, 3)]), "sheet.obj"), launcher)


@pytest.mark.parametrize(
    ("name", "method", "holes"),
    [("spot", SignMethod.NORMAL, False), ("stanford-bunny", SignMethod.WINDING, True)],
)
def test_published_meshes(launcher, data_folder, name, method, holes):
    _, _, choice = choose_sign(load_surface(data_folder / "sdf" / f"{name}.obj"), launcher)
    assert choice.method == method
    assert choice.soundness.closed is not holes
    assert max(choice.disagreement.values()) < 0.01
