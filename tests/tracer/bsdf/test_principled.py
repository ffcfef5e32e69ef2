"""The principled lobe, part by part and mixed, compared with both plugins of Mitsuba."""

import numpy as np
import pytest

from tests.tracer import kernels
from tests.tracer.bsdf import lobe_checks as checks
from tests.tracer.bsdf import walter
from tests.tracer.bsdf.lobes import direction, principled

WHITE = (1.0, 1.0, 1.0)

OPAQUE = {
    "plain": {},
    "metal": {"metallic": 1.0, "roughness": 0.4},
    "half-metal": {"metallic": 0.4, "spec_tint": 0.7, "roughness": 0.6},
    "anisotropic": {"metallic": 0.8, "anisotropic": 0.9, "roughness": 0.5},
    "sheen": {"sheen": 1.0, "sheen_tint": 0.6, "roughness": 0.8, "flatness": 0.5},
    "clearcoat": {"clearcoat": 1.0, "roughness": 0.7},
    "thinner-inside": {"clearcoat": 1.0, "eta": 0.7, "roughness": 0.7, "spec_tint": 0.5},
}
THROUGH = {
    "glass": {"spec_trans": 1.0, "roughness": 0.5},
    "mixed": {"spec_trans": 0.6, "metallic": 0.2, "clearcoat": 0.5, "sheen": 0.5, "spec_tint": 0.5, "eta": 1.3},
    "bubble": {"spec_trans": 0.7, "eta": 0.8, "spec_tint": 0.3, "metallic": 0.3},
    "thin": {"spec_trans": 0.7, "thin": True},
    "leaf": {"diff_trans": 0.4, "thin": True, "sheen": 0.7, "sheen_tint": 0.3, "flatness": 0.4},
    "thin-mixed": {
        "spec_trans": 0.3,
        "thin": True,
        "diff_trans": 0.2,
        "anisotropic": 0.5,
        "spec_tint": 0.5,
        "eta": 1.4,
    },
}
LAMBERT = {
    "lambert": {"lambert": True},
    "lambert-thin": {"lambert": True, "thin": True, "spec_trans": 0.5, "metallic": 0.3, "clearcoat": 0.5},
}
ALL = OPAQUE | THROUGH | LAMBERT


def sides(name: str) -> list[float]:
    """View angles to test, including angles from behind for lobes that scatter there."""
    return [25.0, 75.0, 130.0] if name in THROUGH or name == "lambert-thin" else [25.0, 75.0]


VIEWS = pytest.mark.parametrize(("name", "theta"), [(name, theta) for name in ALL for theta in sides(name)])


def random_pairs(rng, count):
    """Pairs of directions, many of which are near reflection or straight transmission."""
    wo, wi = rng.normal(size=(2, count, 3))
    third = count // 3
    wi[:third] = wo[:third] * (-1.0, -1.0, 1.0) + 0.2 * rng.normal(size=(third, 3))
    wi[third : 2 * third] = -wo[third : 2 * third] + 0.4 * rng.normal(size=(third, 3))
    return ((w / np.linalg.norm(w, axis=1, keepdims=True)).astype(np.float32) for w in (wo, wi))


@pytest.mark.parametrize("name", [*OPAQUE, *THROUGH])
def test_evaluation_agrees_with_mitsuba(name, rng):
    """f cos equals that of Mitsuba's `principled` or `principledthin` for random directions, from both sides."""
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    given = dict(ALL[name])
    plugin = "principledthin" if given.pop("thin", False) else "principled"
    color = {"type": "rgb", "value": [0.8, 0.3, 0.1]}
    parameters = {"eta": 1.5, **given}
    if "diff_trans" in given:
        parameters["diff_trans"] = 2.0 * given["diff_trans"]
    bsdf = mi.load_dict({"type": plugin, "base_color": color, **parameters})
    context, interaction = mi.BSDFContext(), mi.SurfaceInteraction3f()
    wo, wi = random_pairs(rng, 600)
    if name in OPAQUE:  # the path tracer turns the frame of an opaque lobe towards the visible side
        wo[:, 2] = np.abs(wo[:, 2])
    expected = np.empty((len(wo), 3))
    for i, (o, w) in enumerate(zip(wo.tolist(), wi.tolist(), strict=True)):
        interaction.wi = o
        expected[i] = bsdf.eval(context, interaction, w)
    value = kernels.evaluate_lobe_many(principled(**ALL[name]), wo, wi)[:, :3]
    assert np.mean(expected.max(axis=1) > 1e-3) > 0.3
    # Mitsuba's clear coat, with roughness 0.1, computes 1 - cos^2 in float32: 6e-8 / 0.01 of its peak
    np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-6)


@VIEWS
def test_sampling_follows_the_density(name, theta, rng):
    """Directions of all parts together follow their density, from outside and from inside."""
    checks.assert_sampling_follows_density(
        principled(**ALL[name]), direction(theta, 25.0), rng, bins=(40, 24), nodes=16
    )


@pytest.mark.parametrize(
    ("name", "theta"),
    [
        pytest.param(name, theta, marks=pytest.mark.slow) if theta == 75.0 else (name, theta)
        for name in ALL
        for theta in sides(name)
    ],
)
def test_samples_reach_everything_that_scatters(name, theta, rng):
    """The mean weight equals the integral of f cos over the sphere, so no direction that scatters is left without samples."""
    lobe, wo = principled(**ALL[name]), direction(theta, 25.0)
    albedo, error, _ = checks.mean_weight(lobe, wo, rng)
    total = np.zeros(3)
    for low, high in ((-1.0, 0.0), (0.0, 1.0)):
        w, weights = walter.sphere_quadrature(400, 400, low, high)
        total += (kernels.evaluate_lobe_many(lobe, wo, w.astype(np.float32))[:, :3] * weights[:, None]).sum(axis=0)
    # Shading has an edge where a refraction reaches the critical angle: an error of one node's weight
    assert np.all(np.abs(albedo - total) < 4.5 * error + 2e-4), (albedo, total, error)


@pytest.mark.parametrize("name", [*OPAQUE, "lambert"])
def test_reciprocity(name, rng):
    """Opaque surfaces scatter equally in both directions."""
    roughness = ALL[name].get("roughness", 0.5)
    checks.assert_reciprocal(principled(**ALL[name]), rng, alpha=roughness**2 / 4.0)


@pytest.mark.parametrize(
    ("given", "least"),
    [
        ({"metallic": 1.0, "roughness": 0.3}, 0.95),
        ({"metallic": 1.0, "roughness": 0.6, "anisotropic": 0.8}, 0.6),
        ({"spec_trans": 1.0, "roughness": 0.3}, 0.9),
        ({"spec_trans": 1.0, "roughness": 0.5, "eta": 0.7}, 0.8),
        ({"spec_trans": 1.0, "roughness": 0.4, "thin": True}, 0.8),
        ({"spec_trans": 1.0, "roughness": 0.4, "thin": True, "lambert": True}, 0.8),
        ({"thin": True, "diff_trans": 0.5, "roughness": 0.0}, 0.8),
        ({"metallic": 0.5, "spec_trans": 0.5, "lambert": True, "roughness": 0.4, "thin": True}, 0.8),
    ],
    ids=str,
)
@pytest.mark.parametrize("theta", [10.0, 60.0, 120.0, 160.0])
def test_white_conserves_energy(given, least, theta, rng):
    """A white surface scatters at most the incident energy, and loses only what single scattering omits at its roughness."""
    lobe = principled(base=WHITE, **given)
    wo = direction(theta, 25.0)
    if not (given.get("spec_trans") or given.get("thin")):
        wo = np.abs(wo)  # opaque: the path tracer turns its frame
    s = kernels.sample_lobe_many(lobe, wo, checks.COUNT, rng)
    energy = np.where(s.pdf > 0.0, s.weight[:, 0].astype(np.float64) * s.eta.astype(np.float64) ** 2, 0.0)
    error = energy.std() / np.sqrt(len(energy))
    assert least < energy.mean() <= 1.0 + 4.0 * error + 1e-5


def test_lambert_gets_what_the_dielectric_leaves(rng):
    """The base is color / pi times the transmittance of the microfacet between the two directions (glTF 2.0, appendix B.2)."""
    wo, wi = random_pairs(rng, 500)
    wo[:, 2], wi[:, 2] = np.abs(wo[:, 2]), np.abs(wi[:, 2])
    with_base, without = (
        kernels.evaluate_lobe_many(principled(base=base, lambert=True), wo, wi)[:, :3].astype(np.float64)
        for base in (WHITE, (0.0, 0.0, 0.0))
    )
    o_m = walter.dot(wo, walter.unit((wo + wi).astype(np.float64)))
    expected = (1.0 - walter.fresnel(o_m, 1.5)) * wi[:, 2] / np.pi
    # A difference: its rounding error is relative to the microfacet part
    np.testing.assert_allclose((with_base - without)[:, 0], expected, rtol=1e-5, atol=8 * checks.EPS * without.max())


def test_any_parameters_give_finite_samples(rng):
    """With any extreme parameters, weights are finite, not negative, and agree with evaluation."""
    names = ["metallic", "roughness", "anisotropic", "spec_tint", "spec_trans", "flatness"]
    names += ["sheen", "sheen_tint", "clearcoat", "clearcoat_gloss"]
    shone = 0
    for _ in range(150):
        given = {name: float(rng.choice([0.0, 1.0, rng.random()])) for name in names}
        given |= {"diff_trans": float(rng.random()), "eta": float(rng.choice([0.6, 1.001, 1.5, 3.0]))}
        given |= {"thin": bool(rng.random() < 0.4), "lambert": bool(rng.random() < 0.4)}
        lobe = principled(base=tuple(rng.choice([0.0, 1.0, 0.3], 3)), **given)
        wo = rng.normal(size=(500, 3)) * (1.0, 1.0, rng.choice([1.0, 1e-3]))
        wo = (wo / np.linalg.norm(wo, axis=1, keepdims=True)).astype(np.float32)
        if not (given["spec_trans"] or given["thin"]):
            wo[:, 2] = np.abs(wo[:, 2])
        s = kernels.sample_lobe_many(lobe, wo, len(wo), rng)
        assert np.all(np.isfinite(s.weight) & (s.weight >= 0.0)), given
        assert np.all(np.isfinite(s.pdf) & (s.pdf >= 0.0)), given
        scattered = s.pdf > 0.0
        shone += scattered.sum()
        np.testing.assert_allclose(np.linalg.norm(s.wi[scattered], axis=1), 1.0, atol=1e-4)
    assert shone > 150 * 500 / 2
