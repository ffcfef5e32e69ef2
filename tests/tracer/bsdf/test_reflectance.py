"""The reflectances that the cache factors out of radiance, compared with the lobes themselves."""

import numpy as np
import pytest
import warp as wp

from nrc_tracer.scene.model import Plastic
from nrc_tracer.tracer.bsdf.bsdf import delta_probability
from nrc_tracer.tracer.bsdf.coat import TABLE_SIZE, rough_coat
from nrc_tracer.tracer.bsdf.lobe import Lobe
from nrc_tracer.tracer.bsdf.microfacet import Microfacets
from nrc_tracer.tracer.bsdf.reflectance import lobe_reflectance, split_sum
from nrc_tracer.tracer.bsdf.split_sum import ENTRIES, split_sum_table
from nrc_tracer.tracer.vocabulary import Distribution, LobeKind
from tests.tracer import kernels
from tests.tracer.bsdf import walter
from tests.tracer.bsdf.lobes import BECKMANN, GGX, NAMES, direction, facets, lobe, plastic, principled
from tests.tracer.bsdf.test_principled import ALL as PRINCIPLED
from tests.tracer.tiny_scenes import on_device, scene

COUNT = 30_000
KINDS = pytest.mark.parametrize("kind", [GGX, BECKMANN], ids=NAMES.get)


def schlick_weight(cos: np.ndarray) -> np.ndarray:
    """(1 - cos)^5."""
    return (1.0 - cos) ** 5


@wp.kernel(enable_backward=False)
def reflectance_kernel(
    tables: wp.array[float],
    lobe: Lobe,
    wo: wp.array[wp.vec3],
    diffuse: wp.array[wp.vec3],
    specular: wp.array[wp.vec3],
    rest: wp.array[wp.vec2],
):
    i = wp.tid()
    r = lobe_reflectance(tables, lobe, wo[i])
    diffuse[i] = r.diffuse
    specular[i] = r.specular
    rest[i] = wp.vec2(r.roughness, delta_probability(lobe, wo[i]))


@wp.kernel(enable_backward=False)
def split_sum_kernel(tables: wp.array[float], f: Microfacets, wo: wp.array[wp.vec3], out: wp.array[wp.vec2]):
    i = wp.tid()
    out[i] = split_sum(tables, f, wo[i])


def tables(coat: np.ndarray | None = None) -> np.ndarray:
    """Tables as in a scene: that of the split sum, followed by that of a coat."""
    return np.concatenate([split_sum_table(), kernels.NO_TABLE if coat is None else coat])


def reflectance(of: Lobe, wo: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, ...]:
    """Diffuse and specular reflectance, shape [n, 3], roughness and the probability of a delta function, shape [n]."""
    wo = np.atleast_2d(wo)
    diffuse, specular = kernels.zeros(len(wo), wp.vec3), kernels.zeros(len(wo), wp.vec3)
    rest = kernels.zeros(len(wo), wp.vec2)
    inputs = [kernels.array(table, float), of, kernels.array(wo.astype(np.float32), wp.vec3), diffuse, specular, rest]
    kernels.launch(reflectance_kernel, len(wo), inputs)
    return diffuse.numpy(), specular.numpy(), *rest.numpy().T


def sampled(of: Lobe, wo: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Reflectance of the smooth part, found by sampling the lobe, and its standard error."""
    s = kernels.sample_lobe_many(of, wo, COUNT, rng, table)
    smooth = (s.pdf > 0.0) & ~s.delta
    weight = np.where(smooth[:, None], s.weight, 0.0).astype(np.float64)
    return weight.mean(axis=0), weight.std(axis=0) / np.sqrt(COUNT)


def assert_reflectance(of: Lobe, angles, rng, relative: float, table: np.ndarray | None = None) -> list[float]:
    """The sum of both parts agrees with sampling to four standard errors and `relative` of the mean over the channels.

    Returns the relative error at each angle.
    """
    table = tables() if table is None else table
    errors = []
    for theta in angles:
        wo = direction(theta, 25.0)
        expected, error = sampled(of, wo, table, rng)
        diffuse, specular, *_ = reflectance(of, wo, table)
        assert min(diffuse.min(), specular.min()) >= 0.0
        total = (diffuse + specular)[0].mean()
        tolerance = 4.0 * error.mean() + relative * expected.mean() + 1e-5
        assert abs(total - expected.mean()) < tolerance, (theta, diffuse, specular, expected, tolerance)
        errors.append(abs(total / expected.mean() - 1.0))
    return errors


def coated(**given) -> tuple[Lobe, np.ndarray]:
    """A plastic lobe with tables as in a scene."""
    result, coat = plastic(**given)
    if given.get("alpha"):
        result.table = ENTRIES
    return result, tables(coat)


@KINDS
@pytest.mark.parametrize("alpha", [0.15, 0.37, 0.8])
def test_split_sum_agrees_with_quadrature(kind, alpha):
    """A + B is the albedo of white metal, and B that with Schlick's weight: Gauss quadrature of the lobe over the sphere.

    The table is linear between entries 1/31 apart: B, nearly (1 - cos)^5, has an error of at most 20 / 8 / 31^2 = 0.003, and
    A + B has one by its own curvature, which is less than that of B. The fit of Beckmann's masking has an error of 0.0035.
    """
    angles = [3.0, 33.0, 58.0, 77.0, 84.0]
    wo = np.stack([direction(theta) for theta in angles])
    out = kernels.zeros(len(wo), wp.vec2)
    inputs = [kernels.array(tables(), float), facets(kind, alpha), kernels.array(wo, wp.vec3), out]
    kernels.launch(split_sum_kernel, len(wo), inputs)
    w, weights = walter.sphere_quadrature(400, 200)
    for (a, b), o in zip(out.numpy().tolist(), wo.astype(np.float64), strict=True):
        white, schlick = (
            (walter.conductor(kind, alpha, alpha, o, w, f) * weights).sum() for f in (np.ones_like, schlick_weight)
        )
        assert abs(a + b - white) < 0.003 + 0.0035 * white, (o, a + b, white)
        assert abs(b - schlick) < 0.003 + 0.0035 * schlick, (o, b, schlick)


def test_diffuse_is_its_color(rng):
    """A diffuse lobe reflects its colour when seen from above."""
    of = lobe(LobeKind.DIFFUSE, color=(0.7, 0.3, 0.1))
    diffuse, specular, roughness, delta = reflectance(of, np.stack([direction(80.0), direction(100.0)]), tables())
    np.testing.assert_array_equal(diffuse, np.float32([[0.7, 0.3, 0.1], [0.0, 0.0, 0.0]]))
    assert not specular.any()
    assert not delta.any()
    np.testing.assert_array_equal(roughness, 1.0)
    assert_reflectance(of, [80.0], rng, 0.0)


@pytest.mark.parametrize(("qualitative", "relative"), [(0, 0.012), (1, 0.0)])
@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.5])
def test_rough_diffuse(alpha, qualitative, relative, rng):
    """The qualitative model is exact, the full one within a fit's 0.012."""
    of = lobe(LobeKind.ROUGH_DIFFUSE, color=(0.9, 0.4, 0.1), rough=facets(GGX, alpha))
    of.nonlinear = qualitative
    assert_reflectance(of, [1.0, 30.0, 60.0, 85.0], rng, relative)
    assert reflectance(of, direction(30.0), tables())[2] == 1.0


@pytest.mark.parametrize("nonlinear", [False, True])
@pytest.mark.parametrize("ior", [1.2, 1.5, 2.0])
def test_smooth_plastic_is_its_base(nonlinear, ior, rng):
    """The reflectance of the base is exact; the coat's reflections count as zero in sampling."""
    of, table = coated(color=(0.9, 0.4, 0.1), ior=ior, nonlinear=nonlinear)
    assert_reflectance(of, [5.0, 45.0, 80.0], rng, 0.0, table)
    assert not reflectance(of, direction(30.0), table)[1].any()


@KINDS
@pytest.mark.parametrize("alpha", [0.05, 0.3, 1.0])
def test_rough_plastic(kind, alpha, rng):
    """Base and coat together are within 5 %, mostly due to Schlick's term, whose error is 0.012 at index 1.5."""
    of, table = coated(color=(0.9, 0.4, 0.1), alpha=alpha, kind=kind, nonlinear=True)
    assert_reflectance(of, [5.0, 45.0, 80.0], rng, 0.05, table)
    # The coat alone, without a base
    of, table = coated(color=(0.0, 0.0, 0.0), alpha=alpha, kind=kind)
    expected, error = sampled(of, direction(45.0), table, rng)
    diffuse, specular, *_ = reflectance(of, direction(45.0), table)
    assert not diffuse.any()
    assert np.all(np.abs(specular[0] - expected) < 4.0 * error + 0.012)


@KINDS
@pytest.mark.parametrize("alpha", [0.05, 0.3, 1.0])
@pytest.mark.parametrize(("eta", "k"), [(0.2, 3.9), (1.4, 7.0), (2.0, 0.5), (0.0, 1.0)])
def test_rough_conductor(kind, alpha, eta, k, rng):
    """The error is at most that of Schlick's term at its worst angle, plus 1 % of the table's."""
    cos = np.linspace(0.02, 1.0, 200)
    exact = walter.fresnel_complex(cos, eta, k)
    normal = exact[-1]
    schlick = np.abs((normal + (1.0 - normal) * schlick_weight(cos)) / exact - 1.0).max()
    of = lobe(LobeKind.ROUGH_CONDUCTOR, color=(0.9, 0.6, 0.3), eta=eta, k=k, rough=facets(kind, alpha))
    assert_reflectance(of, [5.0, 45.0, 70.0, 85.0], rng, schlick + 0.01)


@KINDS
def test_anisotropic_conductor(kind, rng):
    """Roughness that differs by a factor of five costs up to 15 %, for a mirror without the error of Schlick's term."""
    of = lobe(LobeKind.ROUGH_CONDUCTOR, eta=0.0, k=1.0, rough=facets(kind, 0.1, 0.5))
    assert_reflectance(of, [5.0, 45.0, 70.0, 85.0], rng, 0.15)


@KINDS
@pytest.mark.parametrize("roughness", [(0.05,), (0.3,), (0.8,), (0.1, 0.4)], ids=str)
@pytest.mark.parametrize("ior", [1.1, 1.5, 2.4, 0.7])
def test_rough_dielectric(kind, roughness, ior, rng):
    """From both sides, sixteen facets are within 20 % where few facets matter, and within 3 % in the median."""
    of = lobe(
        LobeKind.ROUGH_DIELECTRIC,
        color=(0.9, 0.6, 0.3),
        second=(0.5, 0.8, 0.9),
        rough=facets(kind, *roughness),
        ior=ior,
    )
    errors = assert_reflectance(of, [5.0, 45.0, 70.0, 85.0, 100.0, 115.0, 140.0, 175.0], rng, 0.2)
    assert np.median(errors) < 0.03 + 4.0 / np.sqrt(COUNT)


@pytest.mark.parametrize("name", PRINCIPLED)
@pytest.mark.parametrize("roughness", [0.2, 0.5, 0.9])
def test_principled(name, roughness, rng):
    """All parts together are within 17 % from all sides that scatter, and within 25 % where total reflection begins."""
    of = principled(**{**PRINCIPLED[name], "roughness": roughness})
    both_sides = of.kind == LobeKind.PRINCIPLED_TRANSMISSIVE
    angles = [5.0, 45.0, 70.0, 85.0] + [110.0, 150.0, 175.0] * both_sides
    assert_reflectance(of, angles, rng, 0.25 if name == "thinner-inside" else 0.17)
    assert reflectance(of, direction(45.0), tables())[2] == pytest.approx(roughness, rel=1e-5)


def test_principled_is_mostly_close(rng):
    """At half roughness and 30 degrees the median error over all kinds of surfaces is below 2 %."""
    errors = [
        assert_reflectance(principled(**{"roughness": 0.5, **PRINCIPLED[name]}), [30.0], rng, 0.17)
        for name in PRINCIPLED
    ]
    assert np.median(errors) < 0.02


def test_principled_parts_are_separated():
    """Metal has no diffuse reflectance, and a matt base has little specular one."""
    metal, base = principled(metallic=1.0), principled(base=(0.5, 0.5, 0.5))
    diffuse, specular, *_ = reflectance(metal, direction(30.0), tables())
    assert not diffuse.any()
    assert specular[0, 0] > 0.5
    diffuse, specular, *_ = reflectance(base, direction(30.0), tables())
    assert diffuse.min() > 0.4
    assert 0.0 < specular.max() < 0.1


def test_delta_functions_reflect_nothing():
    """Mirrors and glass have no smooth part."""
    for kind in (LobeKind.NONE, LobeKind.CONDUCTOR, LobeKind.DIELECTRIC, LobeKind.THIN_DIELECTRIC):
        diffuse, specular, *_ = reflectance(lobe(kind), np.stack([direction(20.0), direction(120.0)]), tables())
        assert not diffuse.any()
        assert not specular.any()


def any_lobe(rng: np.random.Generator) -> Lobe:
    """A lobe with parameters at the ends of their ranges or between."""
    kind = LobeKind(int(rng.integers(0, len(LobeKind))))
    end = lambda *values: float(rng.choice([*values, rng.random()]))  # noqa: E731
    if kind in (LobeKind.PRINCIPLED, LobeKind.PRINCIPLED_TRANSMISSIVE):
        names = ["metallic", "roughness", "anisotropic", "spec_tint", "spec_trans", "flatness", "sheen", "sheen_tint"]
        given = {name: end(0.0, 1.0) for name in [*names, "clearcoat", "clearcoat_gloss", "diff_trans"]}
        given |= {
            "eta": end(0.6, 1.001, 3.0) + 1e-3,
            "thin": bool(rng.random() < 0.4),
            "lambert": bool(rng.random() < 0.4),
        }
        return principled(base=tuple(rng.choice([0.0, 1.0, 0.3], 3)), **given)
    if kind in (LobeKind.PLASTIC, LobeKind.ROUGH_PLASTIC):
        alpha = None if kind == LobeKind.PLASTIC else end(1e-4, 1.0)
        return coated(color=(1.0, 0.0, 0.4), alpha=alpha, nonlinear=True, ior=end(1.001, 3.0) + 1.0)[0]
    rough = facets(int(rng.integers(0, 2)), end(1e-4, 1.0, 3.0) + 1e-4, end(1e-4, 1.0, 3.0) + 1e-4)
    return lobe(
        kind, color=(1.0, 0.0, 0.5), eta=end(0.0, 3.0), k=end(0.0, 8.0), rough=rough, ior=end(0.5, 1.001, 3.0) + 1e-3
    )


def test_any_parameters_give_finite_reflectance(rng):
    """Reflectances are never negative, infinite or NaN, even at grazing angles and for extreme parameters, from all sides."""
    cos = np.array([1.0, 0.5, 1e-2, 1e-4, 1e-7, 0.0, -1e-7, -1e-4, -0.5, -1.0])
    wo = np.stack([np.sqrt(1.0 - cos**2) * 0.6, np.sqrt(1.0 - cos**2) * 0.8, cos], axis=1)
    shone = 0
    table = tables(np.linspace(0.0, 1.0, 64, dtype=np.float32))
    for _ in range(400):
        of = any_lobe(rng)
        diffuse, specular, roughness, delta = reflectance(of, wo, table)
        for value in (diffuse, specular):
            assert np.all(np.isfinite(value) & (value >= 0.0)), (of.kind, value)
        assert np.all((roughness >= 0.0) & (roughness <= 1.0))
        assert np.all((delta >= 0.0) & (delta <= 1.0))
        shone += np.any(diffuse + specular > 0.0)
    assert shone > 200


@pytest.mark.parametrize("kind", list(LobeKind), ids=lambda k: k.name)
def test_delta_probability_decides_what_is_sampled(kind, rng):
    """A sample comes from a delta function exactly if its random number is below the probability."""
    count = 4000
    table = tables()
    of = lobe(kind, color=(0.6, 0.4, 0.3), eta=0.2, k=3.9, rough=facets(GGX, 0.3))
    if kind in (LobeKind.PLASTIC, LobeKind.ROUGH_PLASTIC):
        of, table = coated(color=(0.6, 0.4, 0.3), alpha=None if kind == LobeKind.PLASTIC else 0.3)
    elif kind in (LobeKind.PRINCIPLED, LobeKind.PRINCIPLED_TRANSMISSIVE):
        of = principled(clearcoat=1.0, spec_trans=0.5 * (kind == LobeKind.PRINCIPLED_TRANSMISSIVE))
    cos = rng.uniform(0.01, 1.0, count)
    wo = np.stack([np.sqrt(1.0 - cos**2), np.zeros(count), cos], axis=1).astype(np.float32)
    u_lobe, u = kernels.uniform(rng, count), kernels.uniform(rng, count, 2)
    *_, p = reflectance(of, wo, table)
    # Random numbers closer to the threshold than chance would give, but not closer than rounding
    u_lobe[::2] = np.clip(p[::2] + np.where(rng.random(count // 2) < 0.5, -1e-6, 1e-6), 0.0, 1.0 - 2.0**-24)
    wi, weight, rest = (kernels.zeros(count, wp.vec3) for _ in range(3))
    inputs = [kernels.array(a, t) for a, t in ((table, float), (wo, wp.vec3), (u_lobe, float), (u, wp.vec2))]
    kernels.launch(kernels.sample_lobe_kernel, count, [inputs[0], of, *inputs[1:], wi, weight, rest])
    np.testing.assert_array_equal(rest.numpy()[:, 1] > 0.0, u_lobe < p)
    if kind == LobeKind.PLASTIC:
        assert 0.0 < p.min() < p.max() < 1.0


def test_scenes_begin_with_the_split_sum_table():
    """With and without rough plastics, the table comes first; the tables of coats follow it, where their lobes expect them."""
    without = on_device(scene()).record.materials.coat_tables.numpy()
    np.testing.assert_array_equal(without, split_sum_table())
    materials = {"a": Plastic(alpha=0.1), "b": Plastic(alpha=0.4, int_ior=1.3)}
    record = on_device(scene(materials=materials)).record.materials
    held, lobes = record.coat_tables.numpy(), record.lobes.numpy()
    np.testing.assert_array_equal(held[:ENTRIES], split_sum_table())
    rough = lobes[lobes["kind"] == LobeKind.ROUGH_PLASTIC]
    assert len(rough) == 2
    for row, (alpha, ior) in zip(rough, ((0.1, None), (0.4, 1.3)), strict=True):
        expected = rough_coat(
            alpha, float(row["ior"]) if ior is None else ior / materials["b"].ext_ior, Distribution.GGX
        )
        # Its index of refraction has been rounded to float32
        np.testing.assert_allclose(held[row["table"] : row["table"] + TABLE_SIZE], expected[0], rtol=1e-6)
