"""Published scenes with their real meshes, textures and materials, held against Mitsuba 3 at reduced size."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest

import nrc_tracer as nrc
from tests.agreement import mitsuba_oracle
from tests.agreement.statistics import Estimate, compare

pytest.importorskip("mitsuba")


@dataclass(frozen=True)
class Published:
    """How a scene is rendered: film size and samples; and how well its mean must then be known.

    In veach-mis most of the light comes from a few pixels on the edges of tiny lamps' mirror images.
    """

    width: int
    height: int
    spp: int
    known_mean: float = 0.0015


SCENES = {
    "cornell-box": Published(64, 64, 3072),
    "veach-mis": Published(96, 64, 1536, known_mean=0.01),
    "modern-hall": Published(48, 48, 8192),
}


def prepare(folder, name, target):
    """Write a scene with a box filter and without the medium in modern-hall's glass."""
    xml = (folder / "scenes" / "mitsuba" / name / "scene.xml").read_text()
    xml = xml.replace('<rfilter type="tent"', '<rfilter type="box"')
    xml = re.sub(r'<medium type="homogeneous" name="interior">.*?</medium>', "", xml, flags=re.S)
    path = target / f"{name}.xml"
    path.write_text(
        re.sub(r'value="((?:models|textures)/[^"]+)"', rf'value="{folder / "scenes" / "mitsuba" / name}/\1"', xml)
    )
    return path


def estimates(path, film, *, seed=5):
    """Both renderers' estimates of a scene."""
    size = {"resx": str(film.width), "resy": str(film.height)}
    scene = nrc.load_scene(path, parameters=size)
    assert scene.warnings == ()
    renderer = nrc.Renderer(scene, sampler="independent", seed=seed)
    renderer.step(film.spp)
    assert renderer.dropped == 0
    return Estimate(*renderer.moments(), film.spp), mitsuba_oracle.render(path, spp=film.spp, seed=seed, **size)


@pytest.mark.parametrize("name", SCENES)
def test_published_scene_agrees(name, data_folder, tmp_path):
    """The image equals Mitsuba's but for the noise that both variances explain."""
    film, path = SCENES[name], prepare(data_folder, name, tmp_path)
    ours, theirs = estimates(path, film)
    lamps = nrc.Renderer(nrc.load_scene(path), width=film.width, height=film.height, filter="box", max_depth=1)
    lamps.step(256)
    agreement = compare(ours, theirs, mean_over=lamps.image().rgb.max(axis=2) == 0.0)
    assert not agreement.failures(known_mean=film.known_mean), agreement


def test_veach_ajar_mean(data_folder, tmp_path):
    """The scene lit through a door gap, too noisy for a test of pixels: the mean of each channel is within 2 % of Mitsuba's."""
    ours, theirs = estimates(prepare(data_folder, "veach-ajar", tmp_path), Published(96, 54, 1024))
    np.testing.assert_allclose(ours.mean.mean(axis=(0, 1)), theirs.mean.mean(axis=(0, 1)), rtol=0.02)
