"""The renderer around the path kernel: accumulation, refused arguments, and unusual scenes."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nrc_tracer.cache import RadianceCache
from nrc_tracer.errors import DeviceError, NrcError, SceneError
from nrc_tracer.interruption import InterruptedWarning
from nrc_tracer.scene.model import (
    Bitmap,
    Conductor,
    ConstantLight,
    Cube,
    Dielectric,
    Diffuse,
    EnvironmentMap,
    LookAt,
    Mesh,
    Orthographic,
    Perspective,
    Plastic,
    PointLight,
    Rectangle,
    Scale,
    Sphere,
    Translate,
    TriangleMesh,
)
from nrc_tracer.tracer import Renderer, render, run
from tests.tracer.tiny_scenes import ACCELS, assert_mean, image_mean, rendered, scene, triangles

SCENES = Path(__file__).resolve().parents[2] / "scenes"
SKY = ConstantLight(radiance=(1.0, 2.0, 3.0))


def half_lit():
    """A one-pixel image of an edge: samples are 1 or 0, each with probability 1/2."""
    camera = Orthographic(to_world=(LookAt(origin=(0, 0, 5), target=(0, 0, 0)),))
    half = triangles([[0, -9, 0], [9, -9, 0], [9, 9, 0], [0, 9, 0]], [[0, 1, 2], [0, 2, 3]], emission=2.0)
    return scene(half, camera=camera, film=(1, 1), max_depth=1)


def test_moments_are_mean_and_unbiased_variance():
    """For n samples that are 0 or 2, with frequency f of 2, the mean is 2 f and the variance 4 f (1 - f) n / (n - 1)."""
    renderer = rendered(half_lit(), 50)
    mean, variance = renderer.moments()
    share = mean[0, 0, 0] / 2.0
    assert share * 50 == pytest.approx(round(share * 50))
    assert abs(share - 0.5) < 4 * np.sqrt(0.25 / 50)
    np.testing.assert_allclose(variance[0, 0], 4.0 * share * (1.0 - share) * 50 / 49, rtol=1e-12)


def test_the_error_shrinks_with_the_square_root_of_the_samples():
    """Over 200 seeds the variance of the mean is that of a sample over their number, so the samples are independent."""
    means, variances = [], []
    for seed in range(200):
        mean, variance = rendered(half_lit(), 64, seed=seed).moments()
        means.append(mean[0, 0, 0])
        variances.append(variance[0, 0, 0])
    # 1.0 / 64 expected; the variance of 200 values is known to sqrt(2 / 199) = 10 %
    assert np.var(means, ddof=1) == pytest.approx(np.mean(variances) / 64, rel=0.4)


@pytest.mark.parametrize("samples", [0, -1])
def test_a_step_of_no_samples_is_refused(samples):
    """At least one sample must be requested."""
    with pytest.raises(NrcError, match="at least 1"):
        Renderer(half_lit(), device="cpu").step(samples)


def test_run_takes_the_requested_number_of_samples():
    """`run` takes exactly the requested number of samples, in passes that it reports; a second call continues."""
    renderer = Renderer(half_lit(), device="cpu")
    renderer.compile()
    seen = []
    assert run(renderer, spp=37, progress=lambda r: seen.append(r.samples))
    assert renderer.samples == 37
    assert seen == sorted(set(seen))
    assert seen[-1] == 37
    assert run(renderer, spp=50)
    np.testing.assert_array_equal(renderer.image().rgb, rendered(half_lit(), 50).image().rgb)


def test_run_ends_after_the_given_time():
    """With only a time given, at least one sample is taken and rendering ends."""
    renderer = Renderer(half_lit(), device="cpu")
    renderer.compile()
    assert run(renderer, time=0.05)
    assert renderer.samples >= 1


def test_ctrl_c_in_the_only_pass_gives_a_warning():
    """All samples exist, but the caller must still learn about the interrupt, for example between many small images."""
    renderer, before = Renderer(half_lit(), device="cpu"), signal.getsignal(signal.SIGINT)
    assert not run(renderer, spp=1, progress=lambda renderer: signal.raise_signal(signal.SIGINT))
    assert renderer.samples == 1
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.warns(InterruptedWarning, match="interrupted: the image has 1 of 1 samples per pixel"):
        image = render(half_lit(), device="cpu", spp=1, progress=lambda renderer: signal.raise_signal(signal.SIGINT))
    assert image.samples == 1


def test_ctrl_c_returns_the_image_so_far():
    """The warning states the number of samples."""
    with pytest.warns(InterruptedWarning, match="the image has 1 of 999 samples per pixel") as caught:
        image = render(half_lit(), device="cpu", spp=999, progress=lambda renderer: signal.raise_signal(signal.SIGINT))
    np.testing.assert_array_equal(image.rgb, rendered(half_lit(), 1).image().rgb)
    assert image.samples == 1
    assert caught[0].filename == __file__


def test_ctrl_c_before_the_first_sample_is_raised():
    """This is the case during the warm-up of a cache, when there is no image yet."""
    described = scene(Sphere(), lights=[SKY])
    cache = RadianceCache(records=64, train_frames=50)
    with pytest.raises(KeyboardInterrupt):
        render(
            described, device="cpu", spp=4, cache=cache, progress=lambda renderer: signal.raise_signal(signal.SIGINT)
        )
    assert cache.state.warm_up_frames == 1


def test_numpy_integers_are_accepted():
    """Sizes and seeds often come from NumPy arrays."""
    described = scene(Sphere(), lights=[SKY])
    number = np.arange(20)
    image = render(
        described, device="cpu", spp=number[2], seed=number[3], width=number[6], threads=number[1], max_depth=number[5]
    )
    expected = render(described, device="cpu", spp=2, seed=3, width=6, threads=1, max_depth=5)
    np.testing.assert_array_equal(image.rgb, expected.rgb)
    assert (image.rgb.shape, image.samples) == ((6, 6, 3), 2)
    renderer = Renderer(described, device="cpu", block_size=np.int16(7))
    renderer.step(number[2])
    renderer.reset(seed=number[4])
    assert run(renderer, spp=number[3])
    assert renderer.samples == 3
    other = rendered(described, 3, seed=4)
    np.testing.assert_array_equal(renderer.image().rgb, other.image().rgb)


@pytest.mark.parametrize(
    "options", [{"seed": 1.5}, {"threads": 0}, {"threads": True}, {"width": "9"}, {"block_size": 0}, {"max_depth": 2.0}]
)
def test_arguments_that_are_not_whole_numbers_are_refused_by_name(options):
    with pytest.raises(NrcError, match=f"{next(iter(options))}: expected a whole number"):
        Renderer(half_lit(), device="cpu", **options)


@pytest.mark.parametrize("spp", [0, -1])
def test_no_samples_are_refused(spp):
    """An image without samples would be black, with nothing said."""
    with pytest.raises(NrcError, match=rf"spp: expected a whole number of at least 1, got {spp}"):
        render(half_lit(), width=4, height=4, spp=spp)


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="sampels"):
        render(half_lit(), device="cpu", sampels=3)


def test_options_override_the_scene():
    """Size, depth, sampler and filter given to the renderer replace those of the scene."""
    lamp = Rectangle(emission=1.0, to_world=(Scale(0.5),))
    described = scene(lamp, Sphere(center=(0, 0, -2.0)), max_depth=3, lights=[SKY])
    image = render(described, device="cpu", spp=1, width=6, height=3)
    assert image.rgb.shape == (3, 6, 3)
    assert image.samples == 1
    assert not render(described, device="cpu", spp=1, max_depth=0).rgb.any()
    independent, sobol = (render(described, device="cpu", spp=1, sampler=s).rgb for s in ("independent", "sobol"))
    assert np.any(independent != sobol)
    np.testing.assert_array_equal(independent, render(described, device="cpu", spp=1).rgb)
    assert np.any(render(described, device="cpu", spp=1, filter="gaussian").rgb != independent)


def test_path_tracing_without_a_cache_loads_no_torch():
    """Importing torch takes seconds."""
    code = f"""if True:
        import sys
        import nrc_tracer as nrc
        scene = nrc.load_scene({str(SCENES / "cornell-box.json")!r})
        assert nrc.render(scene, device="cpu", spp=2, width=8).samples == 2
        print("torch" in sys.modules)
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "False"


def test_reset_starts_a_new_image():
    """After a reset the same image is rendered; with another seed, the image is that of a new renderer."""
    described = scene(Sphere(), lights=[SKY])
    renderer = rendered(described, 5)
    first = renderer.image().rgb
    renderer.reset()
    assert renderer.samples == 0
    renderer.step(5)
    np.testing.assert_array_equal(renderer.image().rgb, first)
    renderer.reset(seed=3)
    renderer.step(5)
    np.testing.assert_array_equal(renderer.image().rgb, rendered(described, 5, seed=3).image().rgb)
    assert np.any(renderer.image().rgb != first)


def test_unlimited_depth_can_be_requested():
    """Depth -1 means no limit, whatever the scene says."""
    walls = Sphere(emission=1.0, flip_normals=True, material="m")
    camera = Perspective(to_world=(LookAt(origin=(0.3, 0.2, 0.4), target=(-0.5, 0.1, 0.0)),))
    described = scene(walls, materials={"m": Diffuse(reflectance=0.5)}, camera=camera, max_depth=1)
    assert_mean(rendered(described, 100, max_depth=-1), 2.0, rounding=1e-5)


def test_unknown_devices_are_refused():
    """The error for a missing device names one that exists."""
    with pytest.raises(DeviceError, match=r'"cpuu".*"cpu"'):
        Renderer(half_lit(), device="cpuu")


def test_missing_material_is_refused():
    """A shape with a material that does not exist is an error that names the material."""
    with pytest.raises(SceneError, match="wood"):
        Renderer(scene(Sphere(material="wood")), device="cpu")


# --- Scenes with almost nothing in them


@ACCELS
def test_a_scene_with_only_a_sky(accel):
    """A scene without shapes shows its sky."""
    np.testing.assert_array_equal(
        rendered(scene(lights=[SKY]), 4, accel=accel).image().rgb, np.full((8, 8, 3), [1.0, 2.0, 3.0])
    )


@ACCELS
def test_a_scene_with_only_a_point_light(accel):
    """A point light itself is invisible."""
    assert not rendered(scene(lights=[PointLight()]), 4, accel=accel).image().rgb.any()


@ACCELS
def test_a_scene_without_lights(accel):
    """Shapes without any light are black."""
    renderer = rendered(scene(Sphere(), Cube(), Rectangle()), 4, accel=accel)
    assert not renderer.image().rgb.any()
    assert renderer.dropped == 0


@ACCELS
def test_meshes_without_triangles(accel):
    """An empty mesh, even an emissive one, does not change the rest of the scene."""
    empty = TriangleMesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32))
    with_empty = scene(
        Mesh(file="e"), Sphere(), Mesh(file="e", emission=3.0), Cube(emission=1.0), lights=[SKY], meshes={"e": empty}
    )
    a, b = (
        rendered(with_empty, 16, accel=accel),
        rendered(scene(Sphere(), Cube(emission=1.0), lights=[SKY]), 16, accel=accel),
    )
    (mean_a, error_a), (mean_b, error_b) = image_mean(a), image_mean(b)
    assert np.all(np.abs(mean_a - mean_b) < 4.0 * (error_a + error_b))
    assert a.dropped == 0


@ACCELS
def test_degenerate_triangles(accel):
    """Triangles without area, even emissive ones, change nothing: the grey square under the sky keeps its albedo."""
    square = [[-9, -9, 0], [9, -9, 0], [9, 9, 0], [-9, 9, 0]]
    bad = [[0, 1, 2], [0, 2, 3], [0, 0, 0], [0, 1, 1], [0, 2, 2]]
    line = triangles([[0, 0, 1], [1, 0, 1], [2, 0, 1]], [[0, 1, 2]], emission=100.0)
    described = scene(
        triangles(square, bad, material="m"), line, lights=[SKY], materials={"m": Diffuse(reflectance=0.5)}, max_depth=2
    )
    assert_mean(rendered(described, 64, accel=accel), [0.5, 1.0, 1.5], rounding=1e-5)


def test_lights_inside_each_other():
    """Concentric glowing spheres: the outer one is seen from outside, the inner one and the outer's dark back from between."""
    lamps = (Sphere(radius=1.0, emission=1.0), Sphere(radius=0.3, emission=5.0))
    outside = Perspective(to_world=(LookAt(origin=(0, 0, 4), target=(0, 0, 0)),), fov=5.0)
    np.testing.assert_array_equal(rendered(scene(*lamps, camera=outside, max_depth=1), 4).image().rgb, 1.0)
    between = Perspective(to_world=(LookAt(origin=(0, 0, 0.8), target=(0, 0, 0)),), fov=5.0)
    np.testing.assert_array_equal(rendered(scene(*lamps, camera=between, max_depth=1), 4).image().rgb, 5.0)
    # Between two shells that both emit Le into the gap and reflect a, L = Le / (1 - a) everywhere
    shells = (
        Sphere(radius=1.0, emission=1.0, flip_normals=True, material="m"),
        Sphere(radius=0.3, emission=1.0, material="m"),
    )
    described = scene(*shells, materials={"m": Diffuse(reflectance=0.6)}, camera=between)
    assert_mean(rendered(described, 200), 2.5, rounding=1e-5)


# --- Samples that are not finite


def nan_texture(value):
    """A 4 x 4 white image with one bad texel."""
    pixels = np.full((4, 4, 3), 0.5, np.float32)
    pixels[1, 2] = value
    return {"bad": Bitmap(file="bad", filter="nearest")}, {"bad": pixels}


@pytest.mark.parametrize("value", [np.nan, np.inf, (0.5, np.nan, 0.5), (np.nan, 0.5, 0.5), (0.5, 0.5, np.inf)], ids=str)
@pytest.mark.parametrize("light", ["sky", "point", "lamp", "point in a room"])
@pytest.mark.parametrize("max_depth", [2, None])
def test_samples_of_a_bad_texel_are_dropped_and_counted(value, light, max_depth):
    """Every sample that reads a texel which is not finite is left out and counted for its pixel; the others are right.

    This holds however the square is lit: by the sky that escaping paths reach, by a point that only light sampling can find, by
    a lamp that both find, or by a point in a closed room, where no path ever reaches an emitter.
    """
    textures, images = nan_texture(value)
    materials = {"m": Diffuse(reflectance="bad"), "wall": Diffuse(reflectance=0.0)}
    lights = {"sky": [SKY], "lamp": []}.get(light, [PointLight(position=(0, 0, 5.0), intensity=50.0)])
    # The lamp is so big that light sampling rarely misses it, but most paths sampled by the material do
    lamps = [Sphere(center=(0.0, 0.0, 8.0), radius=0.5, emission=100.0)] if light == "lamp" else []
    lamps += [Sphere(radius=20.0, material="wall")] if light == "point in a room" else []
    camera = Orthographic(to_world=(LookAt(origin=(0, 0, 5), target=(0, 0, 0)),))
    described = scene(
        Rectangle(material="m"),
        *lamps,
        lights=lights,
        materials=materials,
        textures=textures,
        images=images,
        camera=camera,
        film=(4, 4),
        max_depth=max_depth,
    )
    renderer = rendered(described, 8)
    # v = 0 is the image's top row, and the square's uv (0, 0) its lower left corner: texel row 1 is the second from below
    assert renderer.dropped_pixels() == [(2, 2)]
    assert renderer.dropped == 8
    rgb = renderer.image().rgb
    assert np.all(np.isfinite(rgb))
    assert np.all(np.delete(rgb.reshape(16, 3), 2 * 4 + 2, axis=0) > 0.0)
    assert renderer.image().dropped == 8


@pytest.mark.parametrize(
    "material",
    [
        pytest.param(Conductor(specular_reflectance="bad"), id="mirror"),
        pytest.param(Conductor(alpha="bad"), id="roughness"),
        pytest.param(Conductor(eta="bad", alpha=0.3), id="index"),
        pytest.param(Dielectric(specular_transmittance="bad", specular_reflectance="bad"), id="glass"),
        pytest.param(Plastic(diffuse_reflectance="bad"), id="plastic"),
        pytest.param(Plastic(diffuse_reflectance="bad", alpha=0.2), id="rough plastic"),
    ],
)
def test_bad_texels_of_every_material_are_dropped_and_counted(material):
    """Whatever parameter is NaN, the pixel that shows it loses all its samples, and the image stays finite."""
    textures, images = nan_texture(np.nan)
    camera = Orthographic(to_world=(LookAt(origin=(0, 0, 5), target=(0, 0, 0)),))
    described = scene(
        Rectangle(material="m"),
        lights=[SKY],
        materials={"m": material},
        textures=textures,
        images=images,
        camera=camera,
        film=(4, 4),
    )
    renderer = rendered(described, 16)
    assert np.all(np.isfinite(renderer.image().rgb))
    assert np.all(np.isfinite(renderer.moments()[1]))
    assert renderer.dropped_pixels() == [(2, 2)]
    assert renderer.dropped == 16


def test_a_bad_emission_is_dropped_and_counted():
    """An emissive square with a NaN texel loses only the samples of that texel's pixel."""
    textures, images = nan_texture(np.nan)
    camera = Orthographic(to_world=(LookAt(origin=(0, 0, 5), target=(0, 0, 0)),))
    renderer = rendered(
        scene(Rectangle(emission="bad"), textures=textures, images=images, camera=camera, film=(4, 4), max_depth=1), 8
    )
    assert renderer.dropped_pixels() == [(2, 2)]
    np.testing.assert_array_equal(np.delete(renderer.image().rgb.reshape(16, 3), 10, axis=0), 0.5)


def dark_but_for(value, size):
    """A grey image whose texel (1, 2) has this value, and the same image with that texel black."""
    pixels = np.random.default_rng(3).uniform(0.2, 1.0, (*size, 3)).astype(np.float32)
    bad, black = pixels.copy(), pixels.copy()
    bad[1, 2], black[1, 2] = value, 0.0
    return bad, black


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("light", ["environment", "square", "sphere"])
def test_a_bad_texel_of_a_light_costs_only_the_samples_that_see_it(value, light):
    """Light sampling continues: samples that are not dropped are equal, one by one, to those with a black texel in its place.

    With one sample per pixel each pixel is one path, with the same random numbers in both scenes.
    """
    shapes, lights = {
        "environment": ([], [EnvironmentMap(file="bad")]),
        "square": ([Rectangle(emission="bad", flip_normals=True, to_world=(Translate((0.0, 0.0, 3.0)),))], []),
        "sphere": ([Sphere(center=(2.0, 0.0, 2.0), emission="bad")], []),
    }[light]
    camera = Perspective(to_world=(LookAt(origin=(3.0, 1.0, 4.0), target=(0.0, 0.0, 0.0)),), fov=40.0)

    def shown(pixels):
        return rendered(
            scene(
                Sphere(material="m"),
                *shapes,
                lights=lights,
                materials={"m": Diffuse(reflectance=0.7)},
                textures={"bad": Bitmap(file="bad", filter="nearest")},
                images={"bad": pixels},
                camera=camera,
                film=(64, 64),
                max_depth=4,
            ),
            1,
        )

    with_bad, with_black = map(shown, dark_but_for(value, (8, 16)))
    assert with_black.dropped == 0
    x, y = np.transpose(with_bad.dropped_pixels() or np.zeros((0, 2), int))
    kept = np.ones((64, 64), bool)
    kept[y, x] = False
    assert np.any(with_black.image().rgb[kept] > 0.0)
    np.testing.assert_allclose(with_bad.image().rgb[kept], with_black.image().rgb[kept], rtol=1e-5)
    # A path looks at the light a few times, and each time reads at most four of the 128 texels for the interpolation
    assert 0 < with_bad.dropped < 64 * 64 * 7 * 4 / 128


# --- Memory


def test_memory_does_not_grow_with_the_samples():
    """Eight million samples take no more memory than the film; even one byte kept per sample would be detected."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")
    renderer = rendered(scene(lights=[SKY], film=(64, 64), max_depth=1), 1)
    before = int(statm.read_text().split()[1]) * 4096
    renderer.step(2000)
    assert int(statm.read_text().split()[1]) * 4096 - before < 4e6
    np.testing.assert_array_equal(renderer.image().rgb, np.broadcast_to(np.float32([1, 2, 3]), (64, 64, 3)))
