"""Every feature of the Mitsuba reader and of the path tracer, compared with Mitsuba 3 pixel by pixel."""

from __future__ import annotations

import pytest

import nrc_tracer as nrc
from tests.agreement import mitsuba_oracle, modifier_scenes, reader_scenes, scenes
from tests.agreement.statistics import Estimate, assert_agreement, compare

SCENES = scenes.all_scenes() | modifier_scenes.all_scenes() | reader_scenes.all_scenes()
# Samples per pixel for the default accepted errors of `Agreement.failures`
DEFAULT_SPP = 1024
SPP = dict.fromkeys(
    [
        "depth-direct",
        "light-area-sphere",
        "material-plastic-nonlinear",
        "material-principled-thin",
        "material-roughdielectric-anisotropic",
        "material-roughdielectric-beckmann",
        "material-roughdielectric-ggx",
        "modifier-blend-glass",
        "modifier-bump-of-twosided",
        "modifier-bump-turned",
        "modifier-mask-bitmap",
        "modifier-mask-bump-blend",
        "modifier-mask-constant",
        "modifier-mask-depth",
        "modifier-mask-metal",
        "modifier-mask-sides",
        "modifier-normalmap-anisotropic",
        "modifier-normalmap-glass",
        "texture-bitmap-alpha",
    ],
    1536,
)
SPP |= {"light-area-textured": 2048, "light-envmap": 2048, "light-spot": 2048, "light-area-disk": 3072}

pytest.importorskip("mitsuba")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of scene files, with the meshes and images that they use."""
    path = tmp_path_factory.mktemp("agreement")
    scenes.write_files(path)
    modifier_scenes.write_files(path)
    reader_scenes.write_files(path)
    for name, xml in SCENES.items():
        (path / f"{name}.xml").write_text(xml)
    return path


def assert_agrees(name, folder, looks):
    """Compare both renderers' images of a scene; `looks` are multiples of the scene's `SPP`."""
    path, spp = folder / f"{name}.xml", SPP.get(name, DEFAULT_SPP)
    scene = nrc.load_scene(path)
    assert scene.warnings == ()

    def look(share, number):
        renderer = nrc.Renderer(scene, sampler="independent", seed=3 + number)
        renderer.step(int(share * spp))
        assert renderer.dropped == 0
        other = mitsuba_oracle.render(path, spp=int(share * spp), seed=number * mitsuba_oracle.BATCHES)
        return compare(Estimate(*renderer.moments(), int(share * spp)), other)

    assert_agreement(look, looks)


@pytest.mark.parametrize("name", SCENES)
def test_agrees_with_mitsuba(name, folder):
    """The images of both renderers are equal except for the noise that their variance explains."""
    assert_agrees(name, folder, (0.25, 1.0, 4.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_agrees_closely_with_mitsuba(name, folder):
    """The images agree with half the standard errors, too: the mean is known to 0.15 %, the median pixel to 3 %."""
    assert_agrees(name, folder, (1.0, 4.0))
