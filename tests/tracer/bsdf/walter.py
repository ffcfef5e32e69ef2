"""The microfacet models of Walter et al. (2007) in plain float64 NumPy, written from the paper: the oracle for the lobes.

Functions take the directions as vectors, shape [..., 3], and use Smith's separable shadowing with the exact Beckmann integral.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf

GGX, BECKMANN = 0, 1


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar product along the last axis."""
    return (a * b).sum(axis=-1)


def unit(v: np.ndarray) -> np.ndarray:
    """`v` divided by its length."""
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def density(kind: int, ax: float, ay: float, m: np.ndarray) -> np.ndarray:
    """D(m)."""
    cos = np.maximum(m[..., 2], 1e-300)
    tan2 = (m[..., 0] / (ax * cos)) ** 2 + (m[..., 1] / (ay * cos)) ** 2
    shape = np.exp(-tan2) if kind == BECKMANN else (1.0 + tan2) ** -2
    return np.where(m[..., 2] > 0.0, shape / (np.pi * ax * ay * cos**4), 0.0)


def shadowing(kind: int, ax: float, ay: float, w: np.ndarray, m: np.ndarray) -> np.ndarray:
    """G1(w, m) = chi / (1 + Lambda(w))."""
    nu = np.abs(w[..., 2]) / np.maximum(np.hypot(ax * w[..., 0], ay * w[..., 1]), 1e-300)
    if kind == BECKMANN:
        lam = 0.5 * (erf(nu) - 1.0) + np.exp(-np.minimum(nu * nu, 700.0)) / (2.0 * nu * np.sqrt(np.pi))
    else:
        lam = 0.5 * (np.sqrt(1.0 + 1.0 / nu**2) - 1.0)
    return np.where(dot(w, m) * w[..., 2] > 0.0, 1.0 / (1.0 + lam), 0.0)


def fresnel(cos: np.ndarray, eta: float) -> np.ndarray:
    """Unpolarized reflectance from the amplitudes; `cos` > 0, `eta` is the index of the far side over that of the near side."""
    t = np.sqrt(np.asarray(1.0 - (1.0 - cos**2) / eta**2, dtype=np.complex128))
    s, p = (cos - eta * t) / (cos + eta * t), (eta * cos - t) / (eta * cos + t)
    return 0.5 * (np.abs(s) ** 2 + np.abs(p) ** 2)


def fresnel_complex(cos: np.ndarray, eta: float, k: float) -> np.ndarray:
    """Unpolarized reflectance of a conductor from the amplitudes, with the complex index eta + i k."""
    n2 = complex(eta, k) ** 2
    t = np.sqrt(n2 - (1.0 - np.asarray(cos, np.complex128) ** 2))
    s, p = (cos - t) / (cos + t), (n2 * cos - t) / (n2 * cos + t)
    return 0.5 * (np.abs(s) ** 2 + np.abs(p) ** 2)


def conductor(kind: int, ax: float, ay: float, wo: np.ndarray, wi: np.ndarray, f=lambda cos: 1.0) -> np.ndarray:
    """f cos of a rough mirror whose facets reflect the fraction `f(cos)`."""
    m = unit(wo + wi)
    g = shadowing(kind, ax, ay, wo, m) * shadowing(kind, ax, ay, wi, m)
    value = density(kind, ax, ay, m) * g * f(dot(wo, m)) / (4.0 * wo[..., 2])
    return np.where((wo[..., 2] > 0.0) & (wi[..., 2] > 0.0), value, 0.0)


def dielectric(kind: int, ax: float, ay: float, ior: float, wo: np.ndarray, wi: np.ndarray) -> np.ndarray:
    """f cos of rough glass for radiance (eqs. 20, 21); `ior` is the index below the surface over that above."""
    wo, wi = np.broadcast_arrays(wo, wi)
    sign = np.sign(wo[..., 2])[..., None]
    o, i = wo * sign, wi * sign  # the viewer above the surface
    eta = np.where(sign[..., 0] > 0.0, ior, 1.0 / ior)  # index on the side of transmission over the viewer's
    reflected = i[..., 2] > 0.0
    h = np.where(reflected[..., None], o + i, -(o + eta[..., None] * i))
    m = unit(np.where(h[..., 2:] < 0.0, -h, h))
    o_m, i_m = dot(o, m), dot(i, m)
    f = fresnel(np.maximum(o_m, 1e-12), eta)
    g = shadowing(kind, ax, ay, o, m) * shadowing(kind, ax, ay, i, m)
    d = density(kind, ax, ay, m)
    reflection = f * d * g / (4.0 * o[..., 2])
    # Light from wi is radiance, so the factor is eta_o^2 = 1 in units of the viewer's side, over (eta i.m + o.m)^2
    transmission = (1.0 - f) * d * g * np.abs(o_m * i_m) / (o[..., 2] * np.maximum((eta * i_m + o_m) ** 2, 1e-30))
    return np.where(reflected, reflection, transmission)


def sphere_quadrature(
    nodes_cos: int, nodes_phi: int, low: float = 0.0, high: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Directions with cosines in [low, high] and weights [sr]: Gauss-Legendre in the cosine, equal steps in azimuth."""
    x, w = np.polynomial.legendre.leggauss(nodes_cos)
    z, w = low + 0.5 * (high - low) * (x + 1.0), 0.5 * (high - low) * w
    phi = (np.arange(nodes_phi) + 0.5) / nodes_phi * 2.0 * np.pi
    z, phi = np.meshgrid(z, phi, indexing="ij")
    r = np.sqrt(1.0 - z * z)
    weights = np.repeat(w[:, None], nodes_phi, axis=1) * 2.0 * np.pi / nodes_phi
    return np.stack([r * np.cos(phi), r * np.sin(phi), z], axis=-1).reshape(-1, 3), weights.ravel()
