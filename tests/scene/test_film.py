"""Changing the size of the film."""

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.film import check_film, resize_film
from nrc_tracer.scene.json_format import decode, encode
from nrc_tracer.scene.model import Cube, Film, Sampler, SceneDescription
from nrc_tracer.scene.validate import validate


def test_one_side_keeps_the_aspect_ratio():
    film = Film(width=1280, height=720)
    assert resize_film(film) is film
    assert (resize_film(film, width=320).width, resize_film(film, width=320).height) == (320, 180)
    assert (resize_film(film, height=36).width, resize_film(film, height=36).height) == (64, 36)
    assert (resize_film(film, 5, 7).width, resize_film(film, 5, 7).height) == (5, 7)
    assert resize_film(Film(width=1000, height=1), width=10).height == 1


def test_a_film_with_a_crop_window_cannot_be_resized():
    film = Film(width=64, height=64, crop=(0, 0, 8, 8))
    assert resize_film(film, 64, 64) == film
    with pytest.raises(SceneError, match="crop window"):
        resize_film(film, 32)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, -1), (70_000, 5), (60_000, 60_000)])
def test_impossible_sizes_are_refused(width, height):
    with pytest.raises(SceneError):
        resize_film(Film(), width, height)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64, np.uint8, np.uint16])
def test_numpy_integers_are_accepted(kind):
    film = resize_film(Film(width=1280, height=720), width=kind(160))
    assert (film.width, film.height) == (160, 90)
    assert {type(film.width), type(film.height)} == {int}


def test_numpy_integers_do_not_overflow():
    side = np.int32(60_000)
    for crop in (None, (np.int32(0), np.int32(0), side, side)):
        with pytest.raises(SceneError, match="60000 x 60000 pixels are more than"):
            check_film(Film(width=side, height=side, crop=crop))


def test_numpy_integers_in_a_description():
    description = SceneDescription(
        film=Film(width=np.int64(64), height=np.uint8(32)), sampler=Sampler(spp=np.int16(4)), shapes=(Cube(),)
    )
    validate(description)
    assert decode(encode(description)) == description
