"""Whole images compared with closed forms."""

import numpy as np
import pytest

from nrc_tracer.scene.geometry import tessellate
from nrc_tracer.scene.model import (
    Conductor,
    ConstantLight,
    Cube,
    Cylinder,
    Dielectric,
    Diffuse,
    DirectionalLight,
    Disk,
    EnvironmentMap,
    LookAt,
    Mesh,
    Orthographic,
    Perspective,
    Plastic,
    PointLight,
    Rectangle,
    Rotate,
    Scale,
    Sides,
    Sphere,
    SpotLight,
    ThinDielectric,
    Translate,
)
from tests.tracer.tiny_scenes import ACCELS, assert_mean, image_mean, probe, rendered, scene

ALBEDO = (0.9, 0.5, 0.1)
GREY = {"grey": Diffuse(reflectance=ALBEDO)}
SKY = ConstantLight(radiance=(1.0, 2.0, 3.0))
LIT = np.array(ALBEDO) * [1.0, 2.0, 3.0]
FLOOR = Rectangle(to_world=(Scale(50.0),), material="grey")
SLANTED = probe(origin=(3.0, 1.0, 4.0), size=1e-4)


# --- Constant fields


@pytest.mark.parametrize("sampler", ["independent", "sobol"])
@pytest.mark.parametrize("shape", [Sphere, Cube], ids=["sphere", "cube"])
def test_a_convex_diffuse_object_under_a_sky(shape, sampler):
    """It reflects exactly the albedo times the sky's radiance, whatever its shape and the direction of view."""
    turned = (Rotate(axis=(1, 2, 3), angle=40.0),)
    camera = Perspective(to_world=(LookAt(origin=(0, 0, 4), target=(0, 0, 0)),), fov=10.0)
    described = scene(
        shape(to_world=turned, material="grey"), lights=[SKY], materials=GREY, camera=camera, sampler=sampler
    )
    assert_mean(rendered(described, 256), LIT)


def test_a_diffuse_object_in_an_environment_map():
    """On a floor under a map whose upper half has radiance L, E = pi L; sampling by luminance keeps every channel right."""
    pixels = np.zeros((64, 8, 3), np.float32)
    pixels[:32] = (1.0, 2.0, 3.0)
    sky = EnvironmentMap(file="sky", to_world=(Rotate(axis=(1, 0, 0), angle=90.0),))  # local +y is up: world +z
    renderer = rendered(scene(FLOOR, lights=[sky], materials=GREY, camera=SLANTED, images={"sky": pixels}), 1024)
    # The edge is blurred over a texel of pi / 64; the part above the horizon that is lost is int cos (1/2 + theta 64/pi)
    width = np.pi / 128
    lost = 2.0 * (width**2 / 2.0 * 0.5 - width**3 / 3.0 / (2.0 * width))
    assert_mean(renderer, LIT * (1.0 - lost), rounding=1e-4)


@ACCELS
@pytest.mark.parametrize("max_depth", [0, 1, 2, 3, 6, None])
@pytest.mark.parametrize("shape", [Sphere, Cube], ids=["sphere", "cube"])
def test_a_closed_furnace(shape, max_depth, accel):
    """Inside a glowing grey shell the radiance is L = Le (1 + a + a^2 + ...) with max_depth terms, one per segment."""
    camera = Perspective(to_world=(LookAt(origin=(0.3, 0.2, 0.4), target=(-0.5, 0.1, 0.0)),), fov=90.0)
    walls = shape(emission=(1.0, 2.0, 3.0), flip_normals=True, material="grey")
    renderer = rendered(
        scene(walls, materials={"grey": Diffuse(reflectance=(0.8, 0.5, 0.1))}, camera=camera, max_depth=max_depth),
        400,
        accel=accel,
    )
    a = np.array([0.8, 0.5, 0.1])
    series = 1.0 / (1.0 - a) if max_depth is None else sum((a**k for k in range(max_depth)), np.zeros(3))
    assert_mean(renderer, series * [1.0, 2.0, 3.0], rounding=1e-5)


@pytest.mark.parametrize("rr_depth", [1, 2, 5, 1000])
def test_roulette_does_not_change_the_mean(rr_depth):
    """The furnace has the same radiance whether paths are randomly ended from the first vertex on, or never before depth 1000."""
    camera = Perspective(to_world=(LookAt(origin=(0.3, 0.2, 0.4), target=(-0.5, 0.1, 0.0)),), fov=90.0)
    walls = Sphere(emission=1.0, flip_normals=True, material="grey")
    described = scene(
        walls, materials={"grey": Diffuse(reflectance=(0.7, 0.4, 0.1))}, camera=camera, rr_depth=rr_depth, max_depth=60
    )
    # the limit cuts off 0.7^60 < 1e-9
    assert_mean(rendered(described, 400), 1.0 / (1.0 - np.array([0.7, 0.4, 0.1])), rounding=1e-5)


@pytest.mark.parametrize(
    "material",
    [
        Dielectric(),
        Dielectric(int_ior=1.0, ext_ior=1.5),
        ThinDielectric(),
        Dielectric(int_ior=1.5, ext_ior=1.5, alpha=0.3),
        Conductor(),
    ],
    ids=["glass", "bubble", "thin", "equal media", "mirror"],
)
@pytest.mark.parametrize("shape", [Sphere, Cube], ids=["sphere", "slab"])
def test_lossless_objects_are_invisible_in_a_constant_field(material, shape):
    """Smooth glass, panes and mirrors show exactly the sky's radiance in every sample."""
    slab = (Scale((1.0, 1.0, 0.2)), Rotate(axis=(1, 1, 0), angle=20.0))
    described = scene(
        shape(to_world=() if shape is Sphere else slab, material="m"),
        lights=[SKY],
        materials={"m": material},
        rr_depth=10_000,
        max_depth=10_000,
    )
    mean, variance = rendered(described, 64).moments()
    # A few roundings at each of a few dozen boundaries, except on paths trapped by total reflection
    np.testing.assert_allclose(mean, np.broadcast_to([1.0, 2.0, 3.0], mean.shape), rtol=3e-5)
    assert variance.max() < 1e-7


@pytest.mark.parametrize(
    "material",
    [
        Dielectric(alpha=0.3),
        Dielectric(alpha=0.3, distribution="beckmann"),
        Conductor(alpha=(0.2, 0.5)),
        Plastic(diffuse_reflectance=1.0, nonlinear=True, alpha=0.2),
        Plastic(diffuse_reflectance=1.0, nonlinear=True),
    ],
    ids=["ggx glass", "beckmann glass", "metal", "rough plastic", "plastic"],
)
def test_nothing_shines_brighter_than_its_surroundings(material):
    """White materials in a constant field never exceed its radiance; smooth plastic with a white base has exactly that."""
    camera = Perspective(to_world=(LookAt(origin=(0, 0, 4), target=(0, 0, 0)),), fov=20.0)
    described = scene(
        Sphere(material="m"), lights=[ConstantLight()], materials={"m": material}, rr_depth=50, camera=camera
    )
    mean, error = image_mean(rendered(described, 400))
    assert np.all(mean < 1.0 + 4.0 * error + 1e-5)
    if material == Plastic(diffuse_reflectance=1.0, nonlinear=True):
        assert np.all(np.abs(mean - 1.0) < 4.0 * error + 1e-4)


# --- Light sources over a floor


def outgoing(form_factor, radiance=(4.0, 2.0, 1.0)):
    """Radiance reflected by a grey floor under lights of this form factor: albedo / pi * pi L F."""
    return np.array(ALBEDO) * radiance * form_factor


@ACCELS
@pytest.mark.parametrize(("half", "height"), [(1.0, 1.0), (0.05, 2.0), (10.0, 0.3)])
def test_square_light(half, height, accel):
    """Irradiance directly below a square is the closed form of its form factor: small and far, large and near."""
    lamp = Rectangle(to_world=(Scale(half), Translate((0, 0, height))), emission=(4.0, 2.0, 1.0), flip_normals=True)
    # The camera looks in below the lamp
    camera = probe(origin=(0.5 * height, 0.2 * height, 0.4 * height), size=1e-4 * height)
    x = half / height
    s = np.sqrt(1.0 + x * x)
    form_factor = 4.0 / np.pi * x / s * np.arctan(x / s)
    renderer = rendered(scene(FLOOR, lamp, materials=GREY, camera=camera, max_depth=2), 1500, accel=accel)
    assert_mean(renderer, outgoing(form_factor), rounding=1e-4)


@pytest.mark.parametrize(("radius", "height"), [(1.0, 1.0), (0.05, 2.0), (10.0, 0.3)])
def test_disk_light(radius, height):
    """Irradiance directly below a disk is pi L r^2 / (r^2 + h^2)."""
    lamp = Disk(to_world=(Scale(radius), Translate((0, 0, height))), emission=(4.0, 2.0, 1.0), flip_normals=True)
    camera = probe(origin=(0.5 * height, 0.2 * height, 0.4 * height), size=1e-4 * height)
    renderer = rendered(scene(FLOOR, lamp, materials=GREY, camera=camera, max_depth=2), 1500)
    # The disk is a polygon of 256 corners and the same area; its rim is off by at most 1e-4
    assert_mean(renderer, outgoing(radius**2 / (radius**2 + height**2)), rounding=1e-4)


@pytest.mark.parametrize(
    ("radius", "center"), [(1.0, (0, 0, 2.0)), (0.01, (1.0, 2.0, 2.0)), (1.0, (2.0, 0, 1.05)), (0.999, (0, 0, 1.0))]
)
def test_sphere_light(radius, center):
    """A sphere above the horizon gives the irradiance pi L (r / d)^2 cos: far away, at a slant, and almost touching the floor."""
    center = np.array(center)
    d2 = center @ center
    touching = radius == 0.999  # then the camera has to look in below the sphere
    away = np.array([-0.5, -0.3, 0.01] if touching else [-center[0] - 1.0, -center[1] - 1.5, 0.5])
    camera = probe(origin=tuple(away), size=1e-6 if touching else 1e-4)
    lamp = Sphere(center=tuple(center), radius=radius, emission=(4.0, 2.0, 1.0))
    renderer = rendered(scene(FLOOR, lamp, materials=GREY, camera=camera, max_depth=2), 2500)
    assert_mean(renderer, outgoing(radius**2 / d2 * center[2] / np.sqrt(d2)), rounding=1e-4)


def test_contributions_of_several_lights_add_up():
    """Several lights add up: a square, a sphere, a point, and a sky of which the square hides a part."""
    square = Rectangle(to_world=(Translate((0, 0, 1.0)),), emission=(4.0, 2.0, 1.0), flip_normals=True)
    ball = Sphere(center=(0, -9.0, 12.0), radius=0.5, emission=(8.0, 8.0, 8.0))
    lights = [ConstantLight(radiance=0.5), PointLight(position=(0.0, 0.5, 0.5), intensity=2.0)]
    x = 1.0 / np.sqrt(2.0)
    covered = 4.0 / np.pi * x * np.arctan(x)
    # The ball stands in front of the sky and hides the part behind it
    ball_factor = 0.25 / 225.0 * 0.8
    expected = outgoing(covered) + outgoing(ball_factor, (8.0,) * 3) + outgoing(1.0 - covered - ball_factor, (0.5,) * 3)
    expected += np.array(ALBEDO) / np.pi * 2.0 / 0.5 * np.sqrt(0.5)
    camera = probe(origin=(0.5, 0.2, 0.4), size=1e-4)
    assert_mean(
        rendered(scene(FLOOR, square, ball, lights=lights, materials=GREY, camera=camera, max_depth=2), 4000),
        expected,
        rounding=1e-4,
    )


@pytest.mark.parametrize("position", [(0.0, 0.0, 2.0), (3.0, 0.0, 4.0), (0.0, -10.0, 1.0)])
def test_point_light(position):
    """The radiance follows the inverse square law and the cosine: albedo / pi I cos / d^2."""
    p = np.array(position)
    lamp = PointLight(position=position, intensity=(5.0, 3.0, 1.0))
    d2 = p @ p
    expected = np.array(ALBEDO) / np.pi * [5.0, 3.0, 1.0] * p[2] / d2**1.5
    assert_mean(rendered(scene(FLOOR, lights=[lamp], materials=GREY, camera=SLANTED), 16), expected, rounding=1e-5)


def test_directional_light():
    """The radiance is albedo / pi E cos, with E on a surface that faces the light; no light arrives from below."""
    for z, expected in ((-0.8, np.array(ALBEDO) / np.pi * 2.0 * 0.8), (0.8, np.zeros(3))):
        lamp = DirectionalLight(direction=(0.6, 0.0, z), irradiance=2.0)
        assert_mean(rendered(scene(FLOOR, lights=[lamp], materials=GREY, camera=SLANTED), 16), expected, rounding=1e-5)


@pytest.mark.parametrize(("angle", "share"), [(0.0, 1.0), (14.0, 1.0), (20.0, 0.5), (24.0, 0.1), (26.0, 0.0)])
def test_spot_light(angle, share):
    """A spot at height 2, aimed beside the point by an angle between beam (15) and cutoff (25), has the linear falloff."""
    target = (2.0 * np.tan(np.radians(angle)), 0.0, 0.0)
    lamp = SpotLight(
        to_world=(LookAt(origin=(0, 0, 2), target=target, up=(0, 1, 0)),),
        intensity=8.0,
        cutoff_angle=25.0,
        beam_width=15.0,
    )
    expected = np.array(ALBEDO) / np.pi * 8.0 * share / 4.0
    assert_mean(rendered(scene(FLOOR, lights=[lamp], materials=GREY, camera=SLANTED), 16), expected, rounding=1e-4)


# --- Sides


def test_lights_emit_on_the_side_of_their_normals():
    """A square that emits to one side is bright from its front and dark from its back; `flip_normals` exchanges the sides."""
    for z, flip, bright in ((4.0, False, True), (-4.0, False, False), (4.0, True, False), (-4.0, True, True)):
        camera = probe(origin=(0.0, 0.0, z), size=0.1)
        renderer = rendered(scene(Rectangle(emission=3.0, flip_normals=flip), camera=camera, max_depth=1), 4)
        np.testing.assert_array_equal(renderer.image().rgb, 3.0 if bright else 0.0)


def test_sides_of_materials():
    """One-sided materials are black from behind, two-sided ones are not, and `sides` shows a separate material on each side."""
    materials = {
        "one": Diffuse(reflectance=0.5, two_sided=False),
        "two": Diffuse(reflectance=0.5),
        "red": Diffuse(reflectance=(1.0, 0.0, 0.0)),
        "both": Sides(front="two", back="red"),
    }
    for name, front, back in (("one", 0.5, 0.0), ("two", 0.5, 0.5), ("both", 0.5, (1.0, 0.0, 0.0))):
        for z, expected in ((4.0, front), (-4.0, back)):
            camera = probe(origin=(0.5, 0.0, z), size=0.1)
            described = scene(Rectangle(material=name), lights=[ConstantLight()], materials=materials, camera=camera)
            assert_mean(rendered(described, 16), expected, rounding=1e-5)


# --- Where things are in the image


def test_orthographic_image_of_a_square():
    """An emitting square covers exactly its pixels, with left, right, up and down as the scene format defines them."""
    # The camera at +z looks down on x, y with +y up, and x grows to the right
    camera = Orthographic(to_world=(Scale((4.0, 4.0, 1.0)), LookAt(origin=(0, 0, 5), target=(0, 0, 0))))
    # 16 x 8 pixels span [-4, 4] x [-2, 2]: the square [1, 2] x [0.5, 1.5] is columns 10, 11 and rows 1, 2
    square = Rectangle(to_world=(Scale(0.5), Translate((1.5, 1.0, 0.0))), emission=1.0)
    image = rendered(scene(square, camera=camera, film=(16, 8), max_depth=1), 8).image().rgb[..., 0]
    expected = np.zeros((8, 16))
    expected[1:3, 10:12] = 1.0
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(("axis", "reach"), [("x", 1.0), ("y", 2.0)])
def test_perspective_image_of_a_square(axis, reach):
    """With 90 degrees along an axis of a 16 x 8 film, the plane at distance 3 spans [-3, 3] along it, in proportion across."""
    camera = Perspective(to_world=(LookAt(origin=(0, 0, 3), target=(0, 0, 0)),), fov=90.0, fov_axis=axis)
    half_width = 3.0 * reach
    pixel = 2.0 * half_width / 16
    x0, y1 = -half_width + 10 * pixel, half_width / 2.0 - 1 * pixel  # columns 10 to 12, rows 1 to 2
    square = Rectangle(
        to_world=(Scale((1.5 * pixel, pixel, 1.0)), Translate((x0 + 1.5 * pixel, y1 - pixel, 0.0))), emission=1.0
    )
    image = rendered(scene(square, camera=camera, film=(16, 8), max_depth=1), 8).image().rgb[..., 0]
    expected = np.zeros((8, 16))
    expected[1:3, 10:13] = 1.0
    np.testing.assert_allclose(image, expected, atol=0.0)


def test_thin_lens_is_sharp_in_focus_and_blurred_elsewhere():
    """An edge at the focus distance is as sharp as with a pinhole; at twice that distance it is as wide as its blur circle."""
    sharp = {}
    for distance in (4.0, 8.0):
        camera = Perspective(
            to_world=(LookAt(origin=(0, 0, 0), target=(0, 0, -1)),), fov=90.0, aperture_radius=0.5, focus_distance=4.0
        )
        # Half of the image is bright: the edge runs through x = 0
        half = Rectangle(to_world=(Scale(100.0), Translate((100.0, 0.0, -distance))), emission=1.0)
        sharp[distance] = rendered(scene(half, camera=camera, film=(32, 2), max_depth=1), 400).image().rgb[0, :, 0]
    expected = (np.arange(32) >= 16).astype(float)
    np.testing.assert_array_equal(sharp[4.0], expected)
    # From the lens point x, the edge at distance 8 appears at x / 4 - x / 8 of the plane at distance 1, whose unit is 16
    # pixels: the circle of confusion has a radius of 16 * 0.5 / 8 = 1 pixel
    blurred = sharp[8.0]
    np.testing.assert_array_equal(blurred[:15], 0.0)
    np.testing.assert_array_equal(blurred[17:], 1.0)
    # Averaged over pixel 15, [-1, 0], the fraction of a unit disk's points beyond it is int_0^1 (area of the cap beyond s) / pi
    # ds
    s = (np.arange(2000) + 0.5) / 2000
    share = np.mean((np.arccos(s) - s * np.sqrt(1.0 - s * s)) / np.pi)
    error = np.sqrt(share * (1.0 - share) / 400)
    assert abs(blurred[15] - share) < 4.0 * error
    assert abs(blurred[16] - (1.0 - share)) < 4.0 * error


@pytest.mark.parametrize(
    ("name", "radius"),
    [("box", None), ("tent", None), ("gaussian", None), ("box", 1.5), ("tent", 2.0), ("gaussian", 1.0)],
)
def test_filters_blur_an_edge_by_their_integral(name, radius):
    """Across the edge of an emitting half plane pixels follow the filter's cumulative integral; far from it they are exact."""
    from scipy.stats import norm

    camera = Orthographic(to_world=(Scale((8.0, 8.0, 1.0)), LookAt(origin=(0, 0, 5), target=(0, 0, 0))))
    edge = 8.3  # in pixels of a film that is 16 pixels wide and spans [-8, 8]
    half = Rectangle(to_world=(Scale(100.0), Translate((100.0 + edge - 8.0, 0.0, 0.0))), emission=1.0)
    described = scene(half, camera=camera, film=(16, 16), max_depth=1, filter=name, filter_radius=radius)
    image = rendered(described, 256).image().rgb[..., 0].astype(np.float64).mean(axis=0)
    r = radius or {"box": 0.5, "tent": 1.0, "gaussian": 2.0}[name]
    x = np.clip((np.arange(16) + 0.5 - edge) / r, -1.0, 1.0)  # the fraction of the filter beyond the edge, by distance
    if name == "box":
        expected = 0.5 * (1.0 + x)
    elif name == "tent":
        expected = np.where(x < 0.0, 0.5 * (1.0 + x) ** 2, 1.0 - 0.5 * (1.0 - x) ** 2)
    else:
        expected = (norm.cdf(4.0 * x) - norm.cdf(-4.0)) / (norm.cdf(4.0) - norm.cdf(-4.0))
    error = np.sqrt(expected * (1.0 - expected) / (256 * 16))
    assert np.all(np.abs(image - expected) <= 4.0 * error + 1e-6)


@pytest.mark.parametrize("name", ["box", "tent", "gaussian"])
def test_filters_keep_a_constant_image(name):
    """A constant sky stays constant to the last bit."""
    renderer = rendered(scene(lights=[SKY], filter=name), 16)
    np.testing.assert_array_equal(renderer.image().rgb, np.broadcast_to(np.float32([1, 2, 3]), (8, 8, 3)))


# --- Rays that leave surfaces: no shadow of a surface on itself, no light through closed walls


@ACCELS
@pytest.mark.parametrize(
    ("offset", "size"), [(0.0, 1.0), (1e3, 1.0), (1e4, 1.0), (1e4, 30.0), (1e3, 0.05), (0.0, 1e-4), (0.0, 1e6)], ids=str
)
@pytest.mark.parametrize("shape", ["sphere", "cube", "cylinder", "mesh"])
def test_no_surface_shadows_itself(shape, offset, size, accel):
    """Convex objects far away, tiny and huge, reflect all of the sky's light: the surface that a ray leaves does not stop it."""
    place = (Rotate(axis=(1, 2, 3), angle=40.0), Scale(size), Translate((offset, -0.7 * offset, 0.4 * offset)))
    thing = {
        "sphere": Sphere(to_world=place, material="grey"),
        "cube": Cube(to_world=place, material="grey"),
        "cylinder": Cylinder(p0=(0, 0, -3), p1=(0, 0, 3), to_world=place, material="grey"),
        # An ellipsoid becomes a mesh of 65,000 triangles
        "mesh": Sphere(to_world=(Scale((1.0, 0.99, 1.0)), *place), material="grey"),
    }[shape]
    c = np.array([offset, -0.7 * offset, 0.4 * offset])
    camera = Perspective(
        to_world=(LookAt(origin=tuple(c + size * np.array([0.0, 0.5, 6.0])), target=tuple(c)),), fov=8.0
    )
    renderer = rendered(scene(thing, lights=[SKY], materials=GREY, camera=camera, max_depth=2), 64, accel=accel)
    mean, error = image_mean(renderer)
    # Smooth normals over flat facets tilt the hemisphere, and its part below a facet is dark. With 256 facets around, a tilt of
    # up to 1.4 degrees, on average half of that, cuts off (1 - cos) / 2 < 1e-4
    slack = 2e-4 if shape in ("mesh", "cylinder") else 2e-6
    assert np.all(np.abs(mean / LIT - 1.0) < 4.0 * error / LIT + slack)


@ACCELS
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e4])
@pytest.mark.parametrize("shape", ["cube", "sphere", "mesh"])
def test_no_light_leaks_through_closed_walls(shape, offset, accel):
    """A floor beside a closed box with a lamp inside stays black to the last bit, far from the origin too.

    The mesh has 65,000 flat triangles. With vertex normals a few paths in a million do leak, here as in Mitsuba and PBRT: a
    direction above the shading normal's horizon but below the triangle's leads through the wall. More paths leak far from the
    origin, where rounding tilts the triangles.
    """
    c = np.array([offset, -0.7 * offset, 0.4 * offset])
    at = (Translate(tuple(c)),)
    walls = {
        "cube": Cube(to_world=(Rotate(axis=(0, 0, 1), angle=30.0), *at), material="grey"),
        "sphere": Sphere(to_world=at, material="grey"),
        "mesh": Mesh(file="ball", to_world=(Scale((1.0, 0.9, 1.0)), *at), material="grey", face_normals=True),
    }[shape]
    lamp = Sphere(center=tuple(c), radius=0.3, emission=100.0)
    floor = Rectangle(to_world=(Scale(8.0), Translate((0, 0, -1.2)), *at), material="grey")
    camera = Perspective(to_world=(LookAt(origin=tuple(c + np.array([0.0, -6.0, 6.0])), target=tuple(c)),), fov=60.0)
    ball = {"ball": tessellate(Sphere())}
    described = scene(walls, lamp, floor, materials=GREY, meshes=ball, camera=camera, film=(24, 24), max_depth=6)
    np.testing.assert_array_equal(rendered(described, 256, accel=accel).image().rgb, 0.0)


@ACCELS
@pytest.mark.parametrize("offset", [1e3, 1e4])
@pytest.mark.parametrize("shape", [Sphere, Cube], ids=["sphere", "cube"])
def test_a_closed_furnace_far_away(shape, offset, accel):
    """A shell of 10 units far from the origin loses no light: its inside has the radiance Le / (1 - a)."""
    c = np.array([offset, -0.7 * offset, 0.4 * offset])
    camera = Perspective(
        to_world=(LookAt(origin=tuple(c + np.array([3.0, 2.0, 4.0])), target=tuple(c - [5.0, 1.0, 0.0])),), fov=90.0
    )
    walls = shape(to_world=(Scale(10.0), Translate(tuple(c))), emission=1.0, flip_normals=True, material="grey")
    described = scene(walls, materials={"grey": Diffuse(reflectance=0.7)}, camera=camera)
    assert_mean(rendered(described, 300, accel=accel), 1.0 / 0.3, rounding=1e-4)


@ACCELS
def test_tiny_triangles_on_a_huge_one(accel):
    """The sky fully lights the top of a pebble of 10^-2 units on a floor of 10^4, and the floor half a unit away."""
    floor = Rectangle(to_world=(Scale(1e4),), material="grey")
    pebble = Sphere(to_world=(Scale((0.01, 0.01, 0.0101)), Translate((0.0, 0.0, 0.01))), material="grey")
    for target, size in (((0.0, 0.0, 0.0201), 1e-4), ((0.5, 0.0, 0.0), 1e-3)):
        camera = probe(origin=(target[0], -0.5, 2.0), target=target, size=size)
        renderer = rendered(
            scene(floor, pebble, lights=[SKY], materials=GREY, camera=camera, max_depth=2), 256, accel=accel
        )
        mean, error = image_mean(renderer)
        # At a distance of 0.5 the pebble hides a few 1e-4 of the sky's cosine-weighted solid angle
        assert np.all(np.abs(mean / LIT - 1.0) < 4.0 * error / LIT + 5e-4)
