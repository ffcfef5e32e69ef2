"""Reflectance of a lobe towards a viewer: the factors by which the radiance cache divides radiance.

Reflectance is the integral of f cos over all directions of light, without delta functions. The radiance cache multiplies its
network's output by it, so an error here is not an error of the image: the network learns the difference. Sources of error:
Schlick's Fresnel term and the table (`split_sum`), some per cent of the sum of both parts; one number for anisotropic roughness;
and the small number of microfacets over which refraction is summed. Refraction scales radiance by 1 / eta^2, as in the lobes, so
the sum may exceed 1 inside glass.
"""

import warp as wp

from nrc_tracer.tracer.bsdf.fresnel import fresnel_conductor, fresnel_dielectric, reflect, refract
from nrc_tracer.tracer.bsdf.lobe import (
    DIFFUSE,
    PLASTIC,
    PRINCIPLED,
    PRINCIPLED_TRANSMISSIVE,
    ROUGH_CONDUCTOR,
    ROUGH_DIELECTRIC,
    ROUGH_DIFFUSE,
    ROUGH_PLASTIC,
    Lobe,
)
from nrc_tracer.tracer.bsdf.microfacet import BECKMANN, Microfacets, masking, sample_visible_normal
from nrc_tracer.tracer.bsdf.plastic import base_reflectance, coat_transmittance
from nrc_tracer.tracer.bsdf.principled import (
    COAT_F0,
    COAT_MASKING_ALPHA,
    boundary_weight,
    root,
    schlick_weight,
    straight_facets,
    tint,
)
from nrc_tracer.tracer.bsdf.principled_lobe import PrincipledLobe, unpack_principled
from nrc_tracer.tracer.bsdf.rough_diffuse import rough_diffuse_albedo
from nrc_tracer.tracer.bsdf.split_sum import SIZE

SPLIT_SUM_SIZE = wp.constant(SIZE)
NEARLY_ONE = wp.constant(0.9999)  # cosine near 1, where the reflectance of equal indices is not 0 / 0
FACETS = wp.constant(16)  # microfacets over which refraction is summed
INV_GOLDEN_RATIO = wp.constant(0.6180339887498949)


@wp.struct
class Reflectance:
    """Diffuse and specular reflectance towards a viewer; perceptual roughness of the specular part in [0, 1], 1 without one."""

    diffuse: wp.vec3
    specular: wp.vec3
    roughness: float


@wp.struct
class FacetAlbedo:
    """Directional albedo of microfacets. That of white metal is `scale` + `offset`."""

    scale: float  # A, the factor of F0: the mean of 1 - w, where w is Schlick's weight
    offset: float  # B: the mean of w
    reflected: float  # reflection of a dielectric
    transmitted: float  # transmission of a dielectric, as radiance


@wp.func
def effective_alpha(facets: Microfacets, wo: wp.vec3) -> float:
    """The isotropic roughness that replaces an anisotropic one in the table.

    Its square is midway between the mean square slope along the view, which determines masking, and that of the whole surface.
    """
    u2 = facets.alpha_u * facets.alpha_u
    v2 = facets.alpha_v * facets.alpha_v
    x2 = wo[0] * wo[0]
    y2 = wo[1] * wo[1]
    whole = 0.5 * (u2 + v2)
    along = (u2 * x2 + v2 * y2 + whole * 1.0e-6) / (x2 + y2 + 1.0e-6)
    return wp.min(wp.sqrt(0.5 * (whole + along)), 1.0)


@wp.func
def split_sum(tables: wp.array[float], facets: Microfacets, wo: wp.vec3) -> wp.vec2:
    """Scale and offset of F0 in the reflectance of a rough mirror, interpolated in the table at the front of `tables`."""
    x = wp.sqrt(effective_alpha(facets, wo)) * float(SPLIT_SUM_SIZE - 1)
    y = wp.clamp(wo[2], 0.0, 1.0) * float(SPLIT_SUM_SIZE - 1)
    i = wp.min(int(x), SPLIT_SUM_SIZE - 2)
    j = wp.min(int(y), SPLIT_SUM_SIZE - 2)
    x -= float(i)
    y -= float(j)
    near = 2 * ((facets.distribution * SPLIT_SUM_SIZE + i) * SPLIT_SUM_SIZE + j)
    far = near + 2 * SPLIT_SUM_SIZE
    a = wp.lerp(wp.lerp(tables[near], tables[near + 2], y), wp.lerp(tables[far], tables[far + 2], y), x)
    b = wp.lerp(wp.lerp(tables[near + 1], tables[near + 3], y), wp.lerp(tables[far + 1], tables[far + 3], y), x)
    return wp.vec2(a, b)


@wp.func
def schlick_albedo(tables: wp.array[float], facets: Microfacets, eta: float, wo: wp.vec3) -> FacetAlbedo:
    """Albedo from the table, without transmission. `eta`: index behind the facets over index in front, above 1."""
    ab = split_sum(tables, facets, wo)
    r = (eta - 1.0) / (eta + 1.0)
    s = FacetAlbedo()
    s.scale = ab[0]
    s.offset = ab[1]
    s.reflected = r * r * ab[0] + ab[1]
    return s


@wp.func
def boundary_albedo(facets: Microfacets, eta: float, wo: wp.vec3) -> FacetAlbedo:
    """Albedo from exact Fresnel terms, averaged over a Fibonacci lattice of visible normals, for any `eta`.

    For an isotropic surface the lattice covers the normals on one side of the plane of incidence; the others mirror them.
    """
    o = wp.normalize(wp.vec3(wo[0], wo[1], wp.max(wo[2], 1.0e-3)))
    span = float(1.0)
    if facets.alpha_u == facets.alpha_v:
        o = wp.vec3(wp.sqrt(wp.max(1.0 - o[2] * o[2], 0.0)), 0.0, o[2])
        span = float(0.5)
    s = FacetAlbedo()
    # A loop that is not unrolled: one copy of the sampling
    i = int(0)
    while i < FACETS:
        across = span * wp.frac(0.5 + float(i) * INV_GOLDEN_RATIO)
        along = (float(i) + 0.5) / float(FACETS)
        u = wp.vec2(across, along)
        if facets.distribution == BECKMANN:
            u = wp.vec2(along, across)
        m = sample_visible_normal(facets, o, u)
        o_m = wp.max(wp.dot(o, m), 0.0)
        f = fresnel_dielectric(o_m, eta)
        r = reflect(o, m)
        if r[2] > 0.0:
            g = masking(facets, r, m) / float(FACETS)
            w = boundary_weight(f, o_m)
            s.scale += (1.0 - w) * g
            s.offset += w * g
            s.reflected += f.reflectance * g
        t = refract(o, m, f.cos_t, f.eta_t)
        if f.reflectance < 1.0 and t[2] < 0.0:
            s.transmitted += (1.0 - f.reflectance) * masking(facets, t, m) / (float(FACETS) * eta * eta)
        i += 1
    return s


@wp.func
def rough_base_transmittance(tables: wp.array[float], table: int) -> float:
    """Transmittance of a rough coat for diffuse light: the integral of 2 cos T by three Gauss-Jacobi nodes."""
    t = 0.13965396 * coat_transmittance(tables, table, 0.21234054)
    t += 0.45848221 * coat_transmittance(tables, table, 0.59053314)
    return t + 0.40186383 * coat_transmittance(tables, table, 0.91141204)


@wp.func
def principled_diffuse(p: PrincipledLobe, cosine: float) -> wp.vec3:
    """Reflectance of the diffuse base with sheen; of a thin surface also its diffuse transmittance.

    The integrals of `base_reflection`, with cos_d^2 = (1 + wo.wi) / 2 replaced by its mean, under the cosine and at grazing wi.
    """
    f_o = schlick_weight(cosine)
    cos2_d = 0.5 + cosine / 3.0
    r = 2.0 * p.roughness * cos2_d
    r_grazing = p.roughness * (1.0 + 0.25 * cosine)
    mean_f_i = 1.0 / 21.0
    diffuse = (1.0 - 0.5 * mean_f_i) * (1.0 - 0.5 * f_o)
    diffuse += r * f_o + r_grazing * mean_f_i * (1.0 + f_o * (r_grazing - 1.0))
    if p.lambert != 0:
        diffuse = 1.0 - fresnel_dielectric(wp.sqrt(cos2_d), p.eta).reflectance
    if p.flatness > 0.0:
        # The mean of 1 / (cos_o + cos_i) under the cosine
        inverse = 2.0 * (1.0 - cosine * wp.log(1.0 + 1.0 / wp.max(cosine, 1.0e-6)))
        flat = (1.0 + (0.5 * r - 1.0) * f_o) * (1.0 + (0.5 * r_grazing - 1.0) * mean_f_i)
        flat = 1.25 * (flat * (inverse - 0.5) + 0.5)
        diffuse = wp.lerp(diffuse, flat, p.flatness)
    value = p.base * (p.brdf * (1.0 - p.diff_trans) * diffuse)
    if p.thin != 0:
        value += p.base * (p.brdf * p.diff_trans)
    if p.sheen > 0.0 and p.brdf > 0.0:
        weight = 1.0 - p.metallic
        if p.thin != 0:
            weight = p.brdf * (1.0 - p.diff_trans)
        # The mean of Schlick's weight of cos_d under the cosine, fitted: off by at most 5e-4
        grazing = wp.max(1.0 - cosine, 0.0)
        mean_f_d = 0.02727 * wp.pow(grazing, 2.672) + 0.00051
        value += (wp.vec3(1.0 - p.sheen_tint) + tint(p) * p.sheen_tint) * (p.sheen * weight * wp.PI * mean_f_d)
    return value


@wp.func
def principled_specular(tables: wp.array[float], lobe: Lobe, p: PrincipledLobe, wo: wp.vec3) -> wp.vec3:
    """Reflectance of microfacets and clear coat, with refraction. `wo` below the surface is inside the solid."""
    upper = wp.where(wo[2] < 0.0, -wo, wo)
    cosine = upper[2]
    solid = p.bsdf > 0.0 and p.thin == 0
    s = FacetAlbedo()
    if solid or p.eta < 1.0:
        s = boundary_albedo(lobe.facets, wp.where(wo[2] < 0.0, 1.0 / p.eta, p.eta), upper)
    else:
        s = schlick_albedo(tables, lobe.facets, p.eta, upper)
    through = wp.vec3(0.0)
    if solid:
        through = root(p.base) * (p.bsdf * s.transmitted)
    if wo[2] < 0.0:
        return wp.vec3(p.bsdf * s.reflected) + through

    # Add the reflection of the facets: metal, and tinted or plain dielectric
    r = (p.eta - 1.0) / (p.eta + 1.0)
    metal = p.base * s.scale + wp.vec3(s.offset)
    dielectric = wp.vec3(s.reflected)
    if p.spec_tint > 0.0:
        tinted = tint(p) * (r * r * s.scale) + wp.vec3(s.offset)
        dielectric = wp.lerp(dielectric, tinted, p.spec_tint)
    value = metal * p.metallic + dielectric * (1.0 - p.metallic)
    if p.thin != 0:
        if p.lambert == 0:
            value = value * p.spec_trans
        # Add what they transmit, which goes straight on, blurred by other facets
        ab = split_sum(tables, straight_facets(lobe.facets, p.eta), upper)
        left = 1.0 - s.reflected / wp.max(s.scale + s.offset, 1.0e-6)
        through = p.base * (p.bsdf * (ab[0] + ab[1]) * wp.max(left, 0.0))
    value += through

    # Add the clear coat. Its normals are narrow: f cos is F D G cos_i / 4, and dwi = 4 cos_o dm
    if p.clearcoat > 0.0:
        weight = schlick_weight(cosine)
        if p.eta < 1.0:  # Schlick's weight changes too fast towards the critical angle
            weight = s.offset / wp.max(s.scale + s.offset, 1.0e-6)
        tan2 = COAT_MASKING_ALPHA * COAT_MASKING_ALPHA * (1.0 / wp.max(cosine * cosine, 1.0e-6) - 1.0)
        g = 2.0 / (1.0 + wp.sqrt(1.0 + wp.max(tan2, 0.0)))
        fresnel = COAT_F0 + (1.0 - COAT_F0) * weight
        value += wp.vec3(p.clearcoat * fresnel * (g * g * cosine * cosine))
    return value


@wp.func
def lobe_reflectance(tables: wp.array[float], lobe: Lobe, wo: wp.vec3) -> Reflectance:
    """Reflectance of the lobe's smooth part towards `wo`. `tables`: `Materials.coat_tables`.

    That of smooth plastic is its base's, not divided by the probability of choosing the base. It is 0 for delta functions alone.
    """
    s = Reflectance()
    s.roughness = wp.min(wp.sqrt(wp.sqrt(lobe.facets.alpha_u * lobe.facets.alpha_v)), 1.0)
    cosine = wo[2]
    if lobe.kind == PRINCIPLED or lobe.kind == PRINCIPLED_TRANSMISSIVE:
        p = unpack_principled(lobe)
        seen = wo
        if p.thin != 0:  # the same from both sides
            cosine = wp.abs(cosine)
            seen = wp.where(wo[2] < 0.0, -wo, wo)
        s.specular = principled_specular(tables, lobe, p, seen)
        if cosine > 0.0:
            s.diffuse = principled_diffuse(p, cosine)
    elif lobe.kind == ROUGH_DIELECTRIC:
        eta_t = wp.where(cosine > 0.0, lobe.ior, 1.0 / lobe.ior)
        facets = boundary_albedo(lobe.facets, eta_t, wp.where(cosine > 0.0, wo, -wo))
        s.specular = lobe.color * facets.reflected + lobe.second * facets.transmitted
    elif cosine > 0.0:
        if lobe.kind == ROUGH_CONDUCTOR:
            ab = split_sum(tables, lobe.facets, wo)
            f0 = fresnel_conductor(NEARLY_ONE, lobe.eta, lobe.k)
            s.specular = wp.cw_mul(lobe.color, f0 * ab[0] + wp.vec3(ab[1]))
        elif lobe.kind == ROUGH_PLASTIC:
            coat = schlick_albedo(tables, lobe.facets, lobe.ior, wo)
            s.specular = lobe.second * coat.reflected
            t_o = coat_transmittance(tables, lobe.table, cosine)
            s.diffuse = base_reflectance(lobe) * (t_o * rough_base_transmittance(tables, lobe.table))
        elif lobe.kind == PLASTIC:
            t_o = 1.0 - fresnel_dielectric(cosine, lobe.ior).reflectance
            let_in = lobe.ior * lobe.ior * (1.0 - lobe.inner_reflectance)
            s.diffuse = base_reflectance(lobe) * (t_o * let_in)
        elif lobe.kind == DIFFUSE:
            s.diffuse = lobe.color
        elif lobe.kind == ROUGH_DIFFUSE:
            s.diffuse = rough_diffuse_albedo(lobe, cosine)
    if lobe.kind == DIFFUSE or lobe.kind == ROUGH_DIFFUSE or lobe.kind == PLASTIC:
        s.roughness = 1.0
    return s
