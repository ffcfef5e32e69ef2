"""Changing the size of the film."""

import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.film import resize_film
from nrc_tracer.scene.model import Film


def test_one_side_keeps_the_aspect_ratio():
    film = Film(width=1280, height=720)
    assert resize_film(film) is film
    assert (resize_film(film, width=320).width, resize_film(film, width=320).height) == (320, 180)
    assert (resize_film(film, height=36).width, resize_film(film, height=36).height) == (64, 36)
    assert (resize_film(film, 5, 7).width, resize_film(film, 5, 7).height) == (5, 7)
    assert resize_film(Film(width=1000, height=1), width=10).height == 1


def test_a_crop_window_forbids_other_sizes():
    film = Film(width=64, height=64, crop=(0, 0, 8, 8))
    assert resize_film(film, 64, 64) == film
    with pytest.raises(SceneError, match="crop window"):
        resize_film(film, 32)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, -1), (70_000, 5), (60_000, 60_000)])
def test_impossible_sizes(width, height):
    with pytest.raises(SceneError):
        resize_film(Film(), width, height)
