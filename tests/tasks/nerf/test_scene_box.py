"""The placement of data without one of their own, from the cameras and from the user, the same for both readers."""

import json

import numpy as np
import pytest

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.colmap import colmap_model
from nrc_tracer.tasks.nerf.colmap_format import write_model
from nrc_tracer.tasks.nerf.reading import read_views
from nrc_tracer.tasks.nerf.scene_box import CAMERA_DISTANCE
from nrc_tracer.tasks.nerf.scene_camera import looking_at
from nrc_tracer.tasks.nerf.views import View
from tests.tasks.nerf.photo_sets import UP, pixels, save

SEEN = np.array([22.0, 0.0, -3.0])
"""The point that all cameras look at."""
DISTANCE = 5.0


@pytest.fixture(params=["transforms", "colmap"])
def folder(tmp_path, request):
    """Photographs from around a point, in arbitrary units."""
    views = []
    for i in range(6):
        away = np.array([3.0 * np.cos(i), 3.0 * np.sin(i), 4.0])
        camera = PhotoCamera(12, 8, 10.0, 11.0, 6.0, 4.0, to_world=looking_at(SEEN + away, SEEN, UP))
        views.append(View(f"{i}.png", camera, pixels(i)))
        save(tmp_path / f"images/{i}.png", pixels(i))
    if request.param == "colmap":
        write_model(colmap_model(views), tmp_path / "sparse/0")
        return tmp_path
    frames = [
        {"file_path": f"images/{view.name}", "transform_matrix": [*view.camera.to_world.tolist(), [0, 0, 0, 1]]}
        for view in views
    ]
    (tmp_path / "transforms.json").write_text(json.dumps({"fl_x": 10.0, "fl_y": 11.0, "frames": frames}))
    return tmp_path


def test_the_cameras_determine_a_missing_placement(folder):
    views = read_views(folder)
    assert views.scale == pytest.approx(CAMERA_DISTANCE / DISTANCE)
    np.testing.assert_allclose(SEEN * views.scale + views.offset, 0.5, atol=1e-9)
    assert views.aabb_scale == 16
    assert views.notes == (
        "scale 0.264 and offset (-5.31, 0.5, 1.29), chosen from the cameras: what the cameras look at is in the middle, "
        "and they are at a mean distance of 1.32 from it",
        "aabb_scale is 16, because the size of the scene is not given",
    )


def test_the_centre_of_attention_stays_in_the_middle_for_a_given_scale(folder):
    views = read_views(folder, scale=0.1)
    assert views.scale == 0.1
    np.testing.assert_allclose(SEEN * 0.1 + views.offset, 0.5, atol=1e-9)
    assert (
        views.notes[0] == "offset (-1.7, 0.5, 0.8), chosen from the cameras: what the cameras look at is in the middle"
    )


def test_the_scale_is_chosen_for_a_given_offset(folder):
    views = read_views(folder, offset=(0, 0, 0), aabb_scale=3)
    assert views.offset == (0.0, 0.0, 0.0)
    assert views.scale == pytest.approx(CAMERA_DISTANCE / DISTANCE)
    assert views.aabb_scale == 4
    assert views.notes == (
        "scale 0.264, chosen from the cameras: they are at a mean distance of 1.32 from what the cameras look at",
        "aabb_scale 3 becomes 4, the next power of two",
    )


def test_a_complete_placement_is_not_changed(folder):
    views = read_views(folder, scale=2.0, offset=(1, 2, 3), aabb_scale=8)
    assert (views.scale, views.offset, views.aabb_scale, views.notes) == (2.0, (1.0, 2.0, 3.0), 8, ())


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"scale": 0.0}, "scale must be a positive number, not 0"),
        ({"scale": -1.0, "offset": (0, 0, 0)}, "scale must be a positive number, not -1"),
        ({"scale": float("inf")}, "scale must be a positive number, not inf"),
        ({"offset": (0, 0)}, "offset must be three finite numbers"),
        ({"offset": (0, 0, float("nan"))}, "offset must be three finite numbers"),
        ({"aabb_scale": 0}, "aabb_scale must be above 0 and at most 128, not 0"),
        ({"aabb_scale": float("nan")}, "aabb_scale must be above 0 and at most 128, not nan"),
        ({"aabb_scale": 129}, "aabb_scale must be above 0 and at most 128, not 129"),
    ],
)
def test_invalid_placements_are_refused(folder, wanted, words):
    with pytest.raises(DataError, match=words) as caught:
        read_views(folder, **wanted)
    assert str(folder) in str(caught.value)
