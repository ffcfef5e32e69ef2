"""Lobes for the tests, in the form that kernels take."""

from __future__ import annotations

import numpy as np

from nrc_tracer.tracer.bsdf.coat import diffuse_fresnel_reflectance, rough_coat
from nrc_tracer.tracer.bsdf.lobe import Lobe
from nrc_tracer.tracer.bsdf.microfacet import Microfacets
from nrc_tracer.tracer.bsdf.principled_lobe import LAMBERT, THIN
from nrc_tracer.tracer.vocabulary import Distribution, LobeKind
from tests.tracer.kernels import wp

GGX, BECKMANN = int(Distribution.GGX), int(Distribution.BECKMANN)
NAMES = {GGX: "ggx", BECKMANN: "beckmann"}


def direction(theta: float, phi: float = 0.0) -> np.ndarray:
    """The unit vector at polar angle `theta` and azimuth `phi` [degrees]."""
    t, p = np.radians(theta), np.radians(phi)
    return np.array([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], np.float32)


def facets(kind: int, ax: float, ay: float | None = None) -> Microfacets:
    """A rough surface."""
    f = Microfacets()
    f.distribution, f.alpha_u, f.alpha_v = kind, ax, ax if ay is None else ay
    return f


def lobe(
    kind: LobeKind,
    *,
    color: tuple = (1.0, 1.0, 1.0),
    second: tuple = (1.0, 1.0, 1.0),
    eta: float = 0.0,
    k: float = 1.0,
    rough: Microfacets | None = None,
    ior: float = 1.5,
) -> Lobe:
    """A lobe whose rough parameters are 0 unless given."""
    result = Lobe()
    result.kind = int(kind)
    result.color, result.second = wp.vec3(*color), wp.vec3(*second)
    result.eta, result.k = wp.vec3(eta), wp.vec3(k)
    result.facets = rough or facets(GGX, 0.0)
    result.ior = ior
    return result


def plastic(
    *,
    color: tuple = (0.5, 0.4, 0.3),
    ior: float = 1.5,
    nonlinear: bool = False,
    alpha: float | None = None,
    kind: int = GGX,
) -> tuple[Lobe, np.ndarray]:
    """A plastic lobe and the table of its coat."""
    result = lobe(LobeKind.PLASTIC, color=color, ior=ior)
    result.nonlinear = int(nonlinear)
    table = np.zeros(1, np.float32)
    if alpha is None:
        result.inner_reflectance = diffuse_fresnel_reflectance(1.0 / ior)
    else:
        result.kind = int(LobeKind.ROUGH_PLASTIC)
        result.facets = facets(kind, alpha)
        table, result.inner_reflectance = rough_coat(alpha, ior, Distribution(kind))
    return result, table


def principled(
    *,
    base: tuple = (0.8, 0.3, 0.1),
    metallic: float = 0.0,
    roughness: float = 0.5,
    anisotropic: float = 0.0,
    spec_tint: float = 0.0,
    spec_trans: float = 0.0,
    flatness: float = 0.0,
    sheen: float = 0.0,
    sheen_tint: float = 0.0,
    clearcoat: float = 0.0,
    clearcoat_gloss: float = 0.0,
    diff_trans: float = 0.0,
    eta: float = 1.5,
    thin: bool = False,
    lambert: bool = False,
) -> Lobe:
    """A principled lobe, packed as `resolve_principled` does."""
    result = Lobe()
    result.kind = int(LobeKind.PRINCIPLED_TRANSMISSIVE if thin or spec_trans else LobeKind.PRINCIPLED)
    result.color = wp.vec3(*base)
    result.second = wp.vec3(metallic, spec_trans, spec_tint)
    result.eta = wp.vec3(roughness, clearcoat, 0.1 - 0.099 * clearcoat_gloss)
    result.k = wp.vec3(flatness, sheen, sheen_tint)
    result.inner_reflectance, result.ior = diff_trans, eta
    aspect = np.sqrt(1.0 - 0.9 * anisotropic)
    result.facets = facets(GGX, max(1e-3, roughness**2 / aspect), max(1e-3, roughness**2 * aspect))
    result.nonlinear = int(THIN) * thin | int(LAMBERT) * lambert
    return result
