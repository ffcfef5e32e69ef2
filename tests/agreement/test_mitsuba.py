"""Every feature of the Mitsuba reader and of the path tracer, held against Mitsuba 3 pixel by pixel."""

from __future__ import annotations

import pytest

import nrc_tracer as nrc
from tests.agreement import mitsuba_oracle, modifier_scenes, reader_scenes, scenes
from tests.agreement.statistics import Estimate, compare

SCENES = scenes.all_scenes() | modifier_scenes.all_scenes() | reader_scenes.all_scenes()
# Enough for the test to have teeth: `Agreement.failures` says if it has not
DEFAULT_SPP = 1024
SPP = dict.fromkeys(
    [
        "material-roughdielectric-ggx",
        "material-roughdielectric-anisotropic",
        "material-roughdielectric-beckmann",
        "material-plastic-nonlinear",
        "material-principled-thin",
        "light-all",
        "light-area-sphere",
        "light-area-textured",
        "light-spot",
        "shape-cube",
        "texture-bitmap-alpha",
        "depth-direct",
    ],
    2048,
)
# Holes and blends choose at random once more
SPP |= dict.fromkeys(modifier_scenes.all_scenes(), 1536)
SPP |= {"modifier-mask-bitmap": 3072, "light-area-disk": 3072, "light-envmap": 4096, "reader-focal-length": 4096}

pytest.importorskip("mitsuba")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The scene files, with what they name."""
    path = tmp_path_factory.mktemp("agreement")
    scenes.write_files(path)
    modifier_scenes.write_files(path)
    reader_scenes.write_files(path)
    for name, xml in SCENES.items():
        (path / f"{name}.xml").write_text(xml)
    return path


@pytest.mark.parametrize("name", SCENES)
def test_agrees_with_mitsuba(name, folder):
    """Both renderers' images are equal but for the noise that their own variance explains."""
    path, spp = folder / f"{name}.xml", SPP.get(name, DEFAULT_SPP)
    scene = nrc.load_scene(path)
    assert scene.warnings == ()
    renderer = nrc.Renderer(scene, sampler="independent", seed=3)
    renderer.step(spp)
    assert renderer.dropped == 0
    agreement = compare(Estimate(*renderer.moments(), spp), mitsuba_oracle.render(path, spp=spp))
    assert not agreement.failures(), agreement
