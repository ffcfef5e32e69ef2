"""Sun and sky of Mitsuba scenes, compared with Mitsuba's emitter."""

from __future__ import annotations

import math

import numpy as np
import pytest

import nrc_tracer as nrc
from nrc_tracer.errors import SceneError
from nrc_tracer.scene.mitsuba import read_mitsuba, read_mitsuba_scene
from nrc_tracer.scene.mitsuba.sky import Moment, bake_sky, sun_direction
from nrc_tracer.scene.transforms import matrix

SENSOR = '<sensor type="perspective"/>'
HALF = math.radians(0.5358 / 2)


@pytest.fixture(scope="module")
def mi():
    module = pytest.importorskip("mitsuba")
    module.set_variant("scalar_rgb")
    return module


def radiance(mi, emitter, direction) -> np.ndarray:
    """The radiance of Mitsuba's emitter from a world direction."""
    interaction = mi.SurfaceInteraction3f()
    interaction.wi = (-np.asarray(direction)).tolist()
    return np.array(emitter.eval(interaction), np.float64).ravel()


def texel_directions(height: int) -> np.ndarray:
    """The direction of the centre of each texel in the frame of the map (see `EnvironmentMap`), shape [height, 2 height, 3]."""
    v, u = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(2 * height) + 0.5) / (2 * height), indexing="ij")
    sine = np.sin(np.pi * v)
    return np.stack((sine * np.sin(2 * np.pi * u), np.cos(np.pi * v), -sine * np.cos(2 * np.pi * u)), axis=-1)


def world_image(tmp_path, body: str, version: str = "3.0.0"):
    """The generated image of a scene, and the world direction of each texel."""
    (tmp_path / "scene.xml").write_text(f'<scene version="{version}">{SENSOR}{body}</scene>')
    scene = read_mitsuba_scene(tmp_path / "scene.xml")
    assert scene.warnings == ()
    (light,) = scene.description.lights
    (image,) = scene.images.values()
    assert light.file in scene.images
    return image, texel_directions(len(image)) @ matrix(light.to_world)[:3, :3].T


@pytest.mark.parametrize(
    "xml",
    [
        '<float name="sun_scale" value="0"/>',
        '<float name="sun_scale" value="0"/><float name="turbidity" value="6.5"/><rgb name="albedo" value="0.1 0.5 0.9"/>',
        '<float name="sun_scale" value="0"/><vector name="sun_direction" value="0.3, -0.5, 0.05"/>'
        '<float name="turbidity" value="1"/>',
        '<float name="sun_scale" value="0"/><float name="sky_scale" value="2.5"/><float name="hour" value="6"/>'
        '<integer name="month" value="12"/><float name="latitude" value="-40"/><float name="turbidity" value="10"/>'
        '<transform name="to_world"><rotate x="1" angle="-90"/><rotate y="1" angle="50"/></transform>',
    ],
)
def test_sky_agrees_with_mitsuba(mi, tmp_path, xml):
    """Every texel above the horizon has the radiance of Mitsuba's sky in its direction; texels below are black."""
    emitter = f'<emitter type="sunsky">{xml}</emitter>'
    theirs = mi.load_string(f'<scene version="3.0.0">{emitter}</scene>').environment()
    image, directions = world_image(tmp_path, emitter)
    rng = np.random.default_rng(3)
    for row, column in zip(rng.integers(0, len(image), 300), rng.integers(0, 2 * len(image), 300), strict=True):
        expected = radiance(mi, theirs, directions[row, column])
        # Mitsuba counts days in float32, so its sun is off by up to 5e-5, which matters most close to the sun
        np.testing.assert_allclose(image[row, column], expected, rtol=3e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("elevation", "azimuth", "turbidity"), [(40.0, 10.0, 3.0), (89.5, 0.0, 1.0), (7.0, 200.0, 5.5)]
)
def test_irradiance_of_the_sun_agrees_with_mitsuba(mi, elevation, azimuth, turbidity):
    """Texels of the sun add up to Mitsuba's irradiance for any size of the sun, and lie in its direction."""
    flat = math.cos(math.radians(elevation))
    sun = np.array(
        (
            flat * math.cos(math.radians(azimuth)),
            flat * math.sin(math.radians(azimuth)),
            math.sin(math.radians(elevation)),
        )
    )
    settings = {"type": "sunsky", "sun_direction": sun.tolist(), "turbidity": turbidity, "sky_scale": 0.0}
    # 1 - cos of the sun's radius, which Mitsuba computes in float32
    expected = radiance(mi, mi.load_dict(settings), sun) * 2 * np.pi * float(1 - np.cos(np.float32(HALF)))
    for aperture in (0.5358, 5.0):
        image = bake_sky(sun, turbidity=turbidity, sky_scale=0.0, sun_aperture=aperture).astype(np.float64)
        directions = texel_directions(len(image))
        edges = np.cos(np.pi * np.arange(len(image) + 1) / len(image))
        weights = ((edges[:-1] - edges[1:]) * np.pi / len(image))[:, None, None] * image
        np.testing.assert_allclose(weights.sum(axis=(0, 1)), expected, rtol=3e-3)
        middle = (weights[..., :1] * directions).sum(axis=(0, 1))
        middle /= np.linalg.norm(middle)
        np.testing.assert_allclose((middle[0], -middle[2], middle[1]), sun, atol=3e-4)


def test_position_of_the_sun_agrees_with_mitsuba(mi):
    """The direction to the sun at a place and time agrees with Mitsuba up to the rounding of its float32."""
    for moment in (
        Moment(),
        Moment(latitude=-20, longitude=-60, timezone=-4, year=2003, month=1, day=3, hour=8.5, minute=20, second=30),
        Moment(latitude=60, longitude=20, timezone=2, month=6, day=21, hour=3),
    ):
        emitter = mi.load_dict(
            {"type": "sunsky", **{name: getattr(moment, name) for name in moment.__dataclass_fields__}}
        )
        np.testing.assert_allclose(
            sun_direction(moment), np.array(mi.traverse(emitter)["sun_direction"]).ravel(), atol=1e-4
        )


def test_old_format_has_y_up(tmp_path):
    """In format 0.6 the sky's pole is +y, `sky` has no sun, and the sun's size is a factor."""
    body = '<emitter type="{}"><vector name="sunDirection" x="1" y="1" z="0"/>{}</emitter>'
    image, directions = world_image(tmp_path, body.format("sky", ""), "0.6.0")
    assert image[directions[..., 1] < 0.0].max() == 0.0
    assert image[directions[..., 1] > 0.0].min() > 0.0
    image, directions = world_image(
        tmp_path, body.format("sunsky", '<float name="sunRadiusScale" value="5"/>'), "0.6.0"
    )
    shining = directions[image[..., 0] > 0.5 * image.max()]
    assert np.degrees(np.arccos(shining @ np.array((1, 1, 0)) / 2**0.5)).max() == pytest.approx(2.5 * 0.5358, abs=0.2)


def test_a_scene_with_a_sky_renders(tmp_path):
    """The generated image is part of the loaded scene, and a camera that looks up sees its texels."""
    sensor = (
        '<sensor type="perspective"><transform name="to_world"><lookat origin="0 0 0" target="0 1 3" up="0 0 1"/></transform>'
        '<float name="fov" value="1"/><film type="hdrfilm"><integer name="width" value="4"/><integer name="height" value="4"/>'
        '<rfilter type="box"/></film></sensor>'
    )
    body = (
        '<emitter type="sunsky"><vector name="sun_direction" value="0, -1, 1"/></emitter><shape type="sphere"><point '
    )
    body += 'name="center" x="0" y="0" z="-5"/></shape>'
    (tmp_path / "scene.xml").write_text(f'<scene version="3.0.0">{sensor}{body}</scene>')
    scene = nrc.load_scene(tmp_path / "scene.xml")
    assert scene.warnings == ()
    seen = nrc.render(scene, spp=4).rgb.mean(axis=(0, 1))
    (image,) = scene.images.values()
    direction = np.array((0, 1, 3)) / 10**0.5  # z is up; image rows count from the zenith, and column 0 is y
    row = int(math.acos(direction[2]) / math.pi * len(image))
    np.testing.assert_allclose(seen, image[row - 2 : row + 3, :3].mean(axis=(0, 1)), rtol=0.02)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ('<float name="turbidity" value="11"/>', "turbidity must be in [1, 10], it is 11"),
        ('<float name="sun_scale" value="-1"/>', "sun_scale must be at least 0"),
        ('<vector name="sun_direction" value="0 0 0"/>', "sun_direction is zero"),
        ('<vector name="sun_direction" value="0 0 1"/><float name="hour" value="3"/>', "both sun_direction and hour"),
        ('<integer name="month" value="13"/>', "there is no date 2010-13-10"),
    ],
)
def test_impossible_skies_are_refused(tmp_path, xml, message):
    """Impossible parameters are refused with their line."""
    (tmp_path / "scene.xml").write_text(
        f'<scene version="3.0.0">{SENSOR}\n<emitter type="sunsky">{xml}</emitter></scene>'
    )
    with pytest.raises(SceneError) as caught:
        read_mitsuba(tmp_path / "scene.xml")
    assert message in str(caught.value)
    assert "scene.xml:2" in str(caught.value)


def test_the_sky_is_black_at_night(tmp_path):
    """With the sun below the horizon the sky is black, with a warning."""
    body = f'{SENSOR}<emitter type="sunsky"><vector name="sun_direction" value="0 1 -0.1"/></emitter>'
    (tmp_path / "scene.xml").write_text(f'<scene version="3.0.0">{body}</scene>')
    scene = read_mitsuba_scene(tmp_path / "scene.xml")
    assert "below the horizon" in scene.warnings[0]
    assert all(image.max() == 0.0 for image in scene.images.values())
