"""Spectra and metals of Mitsuba scenes have the same colours as in Mitsuba."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.mitsuba import spectra
from nrc_tracer.scene.mitsuba.metals import METALS, find_metal

SENSOR = '<sensor type="perspective"/>'


@pytest.fixture(scope="module")
def mi():
    module = pytest.importorskip("mitsuba")
    module.set_variant("scalar_rgb")
    return module


def test_every_metal_agrees_with_mitsuba(mi):
    """All materials of Mitsuba are known, with the same eta and k, and no other names are."""
    names = {
        path.name.removesuffix(".eta.spd") for path in (Path(mi.__file__).parent / "data" / "ior").glob("*.eta.spd")
    }
    assert len(names) > 60
    assert set(METALS) <= names
    for name in names:
        theirs = mi.traverse(mi.load_dict({"type": "conductor", "material": name}))
        for part, ours in zip(("eta", "k"), find_metal(name), strict=True):
            # the table has five digits; a k near zero is a small difference of large numbers
            np.testing.assert_allclose(ours, np.ravel(theirs[f"{part}.value"]), rtol=6e-5, atol=2e-6, err_msg=name)


def test_metals_of_a_scene(read):
    """A name gives eta and k; an unknown name is refused with the most similar one, and so is eta together with a name."""
    body = '<shape type="sphere"><bsdf type="roughconductor"><string name="material" value="{}"/>{}</bsdf></shape>'
    description, warnings = read(SENSOR + body.format("Cu", ""))
    assert warnings == ()
    (copper,) = description.materials.values()
    assert (copper.eta, copper.k) == METALS["Cu"]
    with pytest.raises(SceneError, match=r'no index of refraction is known for "Aux" \(did you mean "Au"'):
        read(SENSOR + body.format("Aux", ""))
    with pytest.raises(SceneError, match="both material and eta"):
        read(SENSOR + body.format("Au", '<rgb name="eta" value="1"/>'))


@pytest.mark.parametrize("count", [2, 3, 40])
def test_integration_agrees_with_mitsuba(mi, count):
    """Random spectra are integrated as an emission, and as a reflectance under daylight."""
    rng = np.random.default_rng(count)
    wavelengths, values = np.sort(rng.uniform(350, 850, count)), rng.uniform(0.1, 2, count)
    for d65, ours in ((False, spectra.emission_to_rgb), (True, spectra.daylight_to_rgb)):
        theirs = np.ravel(mi.spectrum_list_to_srgb(wavelengths.tolist(), values.tolist(), False, d65))
        np.testing.assert_allclose(ours(wavelengths, values), theirs, rtol=1e-5)


def test_a_white_reflectance_is_grey():
    """A perfectly reflecting surface is grey under daylight, nearly white, and clamped on request."""
    np.testing.assert_allclose(spectra.daylight_to_rgb(np.array((300, 900)), np.ones(2)), 0.9989, atol=1.5e-4)
    assert max(spectra.daylight_to_rgb(np.array((300, 900)), np.full(2, 3.0), 1.0)) == 1.0


def emitted(read, xml: str):
    """The radiance of a constant light."""
    description, warnings = read(f'{SENSOR}<emitter type="constant">{xml}</emitter>')
    assert warnings == ()
    return description.lights[0].radiance


def test_blackbody_agrees_with_mitsuba(mi, read):
    """The colour from Planck's law is the integral of Mitsuba's spectral values."""
    mi.set_variant("scalar_spectral")
    plugin = mi.load_dict({"type": "blackbody", "temperature": 3200.0})
    wavelengths = np.linspace(360, 830, 471)
    values = []
    for wavelength in wavelengths:
        interaction = mi.SurfaceInteraction3f()
        interaction.wavelengths = [float(wavelength)] * 4
        values.append(float(plugin.eval(interaction)[0]))
    mi.set_variant("scalar_rgb")
    expected = np.ravel(mi.spectrum_list_to_srgb(wavelengths.tolist(), values, False, False))
    ours = emitted(
        read, '<spectrum type="blackbody" name="radiance"><float name="temperature" value="3200"/></spectrum>'
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ('<spectrum type="d65" name="radiance"><float name="scale" value="3"/></spectrum>', 3.0),
        (
            '<spectrum type="d65" name="radiance"><rgb name="color" value="1 2 3"/><float name="scale" value="2"/></spectrum>',
            (2, 4, 6),
        ),
        ('<spectrum type="uniform" name="radiance"><float name="value" value="0.5"/></spectrum>', 0.5),
        ('<texture type="rawconstant" name="radiance"><vector name="value" value="1 2 3"/></texture>', (1, 2, 3)),
        (
            '<spectrum type="irregular" name="radiance"><string name="wavelengths" value="400, 500, 700"/>'
            '<string name="values" value="1, 3, 2"/></spectrum>',
            spectra.emission_to_rgb(np.array((400, 500, 700)), np.array((1, 3, 2))),
        ),
        (
            '<spectrum type="regular" name="radiance"><string name="values" value="1 3 2"/>'
            '<float name="wavelength_min" value="400"/><float name="wavelength_max" value="700"/></spectrum>',
            spectra.emission_to_rgb(np.array((400, 550, 700)), np.array((1, 3, 2))),
        ),
    ],
)
def test_spectrum_plugins(read, xml, expected):
    """The plugins for a constant colour can be used wherever a colour is expected."""
    assert emitted(read, xml) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (
            '<spectrum type="blackbody" name="radiance"><float name="temperature" value="-1"/></spectrum>',
            "temperature > 0 and",
        ),
        (
            '<spectrum type="irregular" name="radiance"><string name="wavelengths" value="400 500"/>'
            '<string name="values" value="1"/></spectrum>',
            "as many values as wavelengths",
        ),
        (
            '<spectrum type="irregular" name="radiance"><string name="wavelengths" value="400 x"/>'
            '<string name="values" value="1 2"/></spectrum>',
            'must be a number, not "x"',
        ),
    ],
)
def test_impossible_spectra_are_refused(read, xml, message):
    """A malformed spectrum is refused with its line."""
    with pytest.raises(SceneError, match=rf"scene\.xml:2: .*{message}"):
        read(f'{SENSOR}<emitter type="constant">{xml}</emitter>')
