"""Disney's principled BSDF in Mitsuba 3's form: a diffuse base with sheen, microfacets that reflect and refract, a clear coat.

Sources: Burley, *Physically Based Shading at Disney* (2012) and *Extending the Disney BRDF to a BSDF with Integrated
Subsurface Scattering* (2015). A thin surface is Mitsuba's `principledthin`, the same from both sides: light that is not
reflected goes straight on, blurred by microfacets whose roughness is scaled by the index of refraction. The Lambertian base is
glTF's (2.0, appendix B): it is lit by the light that the microfacets transmit, and the microfacets of a thin surface then reflect
everywhere, not only with the weight `spec_trans`.
"""

import warp as wp

from nrc_tracer.device.constants import INV_PI
from nrc_tracer.tracer.bsdf.fresnel import DielectricFresnel, connecting_normal, fresnel_dielectric, reflect, refract
from nrc_tracer.tracer.bsdf.lobe import Lobe, LobeSample, with_pdf
from nrc_tracer.tracer.bsdf.microfacet import (
    Microfacets,
    masking,
    normal_density,
    sample_visible_normal,
    visible_normal_pdf,
)
from nrc_tracer.tracer.bsdf.principled_lobe import MIN_PRINCIPLED_ALPHA, PrincipledLobe, unpack_principled
from nrc_tracer.tracer.sampling import cosine_hemisphere
from nrc_tracer.tracer.textures import LUMINANCE

COAT_MASKING_ALPHA = wp.constant(0.25)
COAT_F0 = wp.constant(0.04)
# Smallest weight of microfacets in the choice of a part: they may reflect even where they do not in the mirror direction
LEAST_SHARE = wp.constant(0.02)


@wp.struct
class Shares:
    """Probabilities of sampling each part."""

    diffuse: float
    diffuse_through: float
    coat: float
    facets: float
    straight: float  # straight through the microfacets of a thin surface


@wp.func
def average(c: wp.vec3) -> float:
    """Mean of the three channels."""
    return (c[0] + c[1] + c[2]) * 0.3333333333


@wp.func
def root(c: wp.vec3) -> wp.vec3:
    """Square root of a colour, since light is refracted twice on its way through a body."""
    return wp.vec3(wp.sqrt(wp.max(c[0], 0.0)), wp.sqrt(wp.max(c[1], 0.0)), wp.sqrt(wp.max(c[2], 0.0)))


@wp.func
def schlick_weight(cosine: float) -> float:
    """(1 - cos)^5."""
    m = wp.clamp(1.0 - cosine, 0.0, 1.0)
    return m * m * m * m * m


@wp.func
def boundary_weight(f: DielectricFresnel, cos_i: float) -> float:
    """Schlick's weight at a boundary, by the angle on the side with the lower index."""
    return schlick_weight(wp.where(f.eta_t > 1.0, wp.abs(cos_i), wp.abs(f.cos_t)))


@wp.func
def tint(p: PrincipledLobe) -> wp.vec3:
    """The base colour's hue, with luminance 1."""
    luminance = wp.dot(p.base, LUMINANCE)
    if luminance > 0.0:
        return p.base / luminance
    return wp.vec3(1.0)


@wp.func
def facet_reflectance(p: PrincipledLobe, f: DielectricFresnel, cos_i: float) -> wp.vec3:
    """Reflectance of a microfacet seen from the front: Schlick's for metal and tinted dielectrics, else exact."""
    w = boundary_weight(f, cos_i)
    r = (p.eta - 1.0) / (p.eta + 1.0)
    metal = p.base * (1.0 - w) + wp.vec3(w)
    dielectric = wp.vec3(f.reflectance)
    if p.spec_tint > 0.0:
        tinted = tint(p) * (r * r * (1.0 - w)) + wp.vec3(w)
        dielectric = dielectric * (1.0 - p.spec_tint) + tinted * p.spec_tint
    reflectance = metal * p.metallic + dielectric * (1.0 - p.metallic)
    if p.thin != 0 and p.lambert == 0:
        return reflectance * p.spec_trans
    return reflectance


@wp.func
def reflection_probability(p: PrincipledLobe, f: DielectricFresnel, cos_i: float) -> float:
    """Probability with which a microfacet reflects a sample instead of refracting it."""
    if p.thin != 0 or p.bsdf <= 0.0:
        return 1.0
    r = p.bsdf * f.reflectance
    if cos_i > 0.0:
        r = average(facet_reflectance(p, f, cos_i))
    t = p.bsdf * (1.0 - f.reflectance) * average(root(p.base))
    return wp.where(r + t > 0.0, r / (r + t), 1.0)


@wp.func
def sampling_shares(p: PrincipledLobe, cos_o: float) -> Shares:
    """Sampling probabilities roughly proportional to what each part scatters towards a viewer at `cos_o`."""
    s = Shares()
    if cos_o < 0.0:
        s.facets = wp.where(p.bsdf > 0.0, 1.0, 0.0)
        return s
    f = fresnel_dielectric(cos_o, p.eta)
    strength = average(p.base)
    s.diffuse = p.brdf * strength * (1.0 - p.diff_trans) + 0.25 * p.sheen * (1.0 - p.metallic)
    s.diffuse_through = p.brdf * strength * p.diff_trans
    s.coat = p.clearcoat * (COAT_F0 + (1.0 - COAT_F0) * boundary_weight(f, cos_o))
    s.facets = average(facet_reflectance(p, f, cos_o)) + LEAST_SHARE
    if p.thin != 0:
        s.straight = p.bsdf * wp.max(1.0 - f.reflectance, 0.1) * strength
    else:
        s.facets += p.bsdf * (1.0 - f.reflectance) * average(root(p.base))
    scale = 1.0 / (s.diffuse + s.diffuse_through + s.coat + s.facets + s.straight)
    s.diffuse *= scale
    s.diffuse_through *= scale
    s.coat *= scale
    s.facets *= scale
    s.straight *= scale
    return s


@wp.func
def straight_facets(facets: Microfacets, eta: float) -> Microfacets:
    """The microfacets that blur light which goes straight through a thin surface (Burley 2015, figure 15)."""
    scale = (0.65 * eta - 0.35) * (0.65 * eta - 0.35)
    result = Microfacets()
    result.distribution = facets.distribution
    result.alpha_u = wp.max(MIN_PRINCIPLED_ALPHA, facets.alpha_u * scale)
    result.alpha_v = wp.max(MIN_PRINCIPLED_ALPHA, facets.alpha_v * scale)
    return result


@wp.func
def coat_density(alpha: float, m: wp.vec3) -> float:
    """Burley's GTR1 distribution of normals (2012, appendix B.2), in terms of the sine to be exact around the peak."""
    a2 = alpha * alpha
    return (a2 - 1.0) * INV_PI / (wp.log(a2) * (m[0] * m[0] + m[1] * m[1] + a2 * m[2] * m[2]))


@wp.func
def sample_coat_normal(alpha: float, u: wp.vec2) -> wp.vec3:
    """A normal with density `coat_density` times its cosine."""
    a2 = alpha * alpha
    sin2 = wp.clamp((wp.pow(a2, 1.0 - u[1]) - a2) / (1.0 - a2), 0.0, 1.0)
    sine = wp.sqrt(sin2)
    phi = wp.TAU * u[0]
    return wp.vec3(sine * wp.cos(phi), sine * wp.sin(phi), wp.sqrt(1.0 - sin2))


@wp.func
def coat_reflection(p: PrincipledLobe, f: DielectricFresnel, wo: wp.vec3, wi: wp.vec3, m: wp.vec3) -> float:
    """f cos of the clear coat. The factor of a quarter is Burley's."""
    facets = Microfacets()
    facets.alpha_u = COAT_MASKING_ALPHA
    facets.alpha_v = COAT_MASKING_ALPHA
    fresnel = COAT_F0 + (1.0 - COAT_F0) * boundary_weight(f, wp.dot(wo, m))
    shadowing = masking(facets, wo, m) * masking(facets, wi, m)
    return 0.25 * p.clearcoat * fresnel * coat_density(p.coat_alpha, m) * shadowing * wi[2]


@wp.func
def base_reflection(p: PrincipledLobe, f: DielectricFresnel, wo: wp.vec3, wi: wp.vec3, cos_d: float) -> wp.vec3:
    """f cos of the base: diffuse, retro-reflection, the flattened form of subsurface scattering, and sheen."""
    value = wp.vec3(0.0)
    if p.brdf <= 0.0:
        return value
    diffuse = float(1.0)
    f_o = schlick_weight(wo[2])
    f_i = schlick_weight(wi[2])
    r = 2.0 * p.roughness * cos_d * cos_d
    if p.lambert != 0:
        diffuse = 1.0 - f.reflectance
    else:
        diffuse = (1.0 - 0.5 * f_i) * (1.0 - 0.5 * f_o) + r * (f_o + f_i + f_o * f_i * (r - 1.0))
    if p.flatness > 0.0:
        flat = (1.0 + (0.5 * r - 1.0) * f_o) * (1.0 + (0.5 * r - 1.0) * f_i)
        flat = 1.25 * (flat * (1.0 / (wo[2] + wi[2]) - 0.5) + 0.5)
        diffuse = diffuse * (1.0 - p.flatness) + flat * p.flatness
    value = p.base * (p.brdf * (1.0 - p.diff_trans) * diffuse * wi[2] * INV_PI)
    if p.sheen > 0.0:
        weight = 1.0 - p.metallic
        if p.thin != 0:
            weight = p.brdf * (1.0 - p.diff_trans)
        color = wp.vec3(1.0 - p.sheen_tint) + tint(p) * p.sheen_tint
        value += color * (p.sheen * weight * schlick_weight(cos_d) * wi[2])
    return value


@wp.func
def evaluate_reflection(p: PrincipledLobe, facets: Microfacets, shares: Shares, wo: wp.vec3, wi: wp.vec3) -> wp.vec4:
    """(f cos, pdf) of two directions on the same side."""
    m = connecting_normal(wo, wi, 1.0)
    o_m = wp.dot(wo, m)
    if o_m * wo[2] <= 0.0:  # also by rounding, if both directions graze the surface
        return wp.vec4(0.0)
    f = fresnel_dielectric(o_m, p.eta)
    density = normal_density(facets, m) * masking(facets, wo, m) / (4.0 * wp.abs(wo[2]))
    g_i = masking(facets, wi, m)
    pdf = shares.facets * reflection_probability(p, f, o_m) * density
    if wo[2] < 0.0:
        return with_pdf(wp.vec3(p.bsdf * f.reflectance * density * g_i), pdf)
    value = facet_reflectance(p, f, o_m) * (density * g_i)
    if p.clearcoat > 0.0:
        value += wp.vec3(coat_reflection(p, f, wo, wi, m))
        pdf += shares.coat * coat_density(p.coat_alpha, m) * m[2] / (4.0 * o_m)
    value += base_reflection(p, f, wo, wi, o_m)
    pdf += shares.diffuse * wi[2] * INV_PI
    return with_pdf(value, pdf)


@wp.func
def evaluate_refraction(p: PrincipledLobe, facets: Microfacets, shares: Shares, wo: wp.vec3, wi: wp.vec3) -> wp.vec4:
    """(f cos, pdf) of two directions on different sides of a solid (Walter et al., 2007, eq. 21)."""
    eta_t = wp.where(wo[2] > 0.0, p.eta, 1.0 / p.eta)
    if p.bsdf <= 0.0:
        return wp.vec4(0.0)
    m = connecting_normal(wo, wi, eta_t)
    o_m = wp.dot(wo, m)
    i_m = wp.dot(wi, m)
    if o_m * wo[2] <= 0.0 or i_m * wi[2] <= 0.0:
        return wp.vec4(0.0)
    f = fresnel_dielectric(o_m, p.eta)
    upper = wp.where(wo[2] > 0.0, wo, -wo)
    compression = o_m + eta_t * i_m
    density = visible_normal_pdf(facets, upper, m) * wp.abs(i_m) / (compression * compression)
    value = root(p.base) * (p.bsdf * (1.0 - f.reflectance) * density * masking(facets, wi, m))
    return with_pdf(value, shares.facets * (1.0 - reflection_probability(p, f, o_m)) * density * eta_t * eta_t)


@wp.func
def evaluate_straight(p: PrincipledLobe, facets: Microfacets, shares: Shares, wo: wp.vec3, wi: wp.vec3) -> wp.vec4:
    """(f cos, pdf) through a thin surface seen from above: mirrored reflection, and diffuse transmission."""
    value = p.base * (p.brdf * p.diff_trans * -wi[2] * INV_PI)
    pdf = shares.diffuse_through * -wi[2] * INV_PI
    mirrored = wp.vec3(wi[0], wi[1], -wi[2])
    # As in Mitsuba, a facet only transmits light that leaves behind it
    m = wp.normalize(wo + mirrored)
    if p.bsdf > 0.0 and wp.dot(wi, m) < 0.0:
        scaled = straight_facets(facets, p.eta)
        density = normal_density(scaled, m) * masking(scaled, wo, m) / (4.0 * wo[2])
        transmittance = 1.0 - fresnel_dielectric(wp.dot(wo, m), p.eta).reflectance
        value += p.base * (p.bsdf * transmittance * density * masking(scaled, mirrored, m))
        pdf += shares.straight * density
    return with_pdf(value, pdf)


@wp.func
def evaluate_principled(lobe: Lobe, viewer: wp.vec3, light: wp.vec3) -> wp.vec4:
    """(f cos, pdf) of all parts together."""
    p = unpack_principled(lobe)
    if viewer[2] == 0.0 or light[2] == 0.0:
        return wp.vec4(0.0)
    turned = p.thin != 0 and viewer[2] < 0.0
    wo = wp.where(turned, -viewer, viewer)
    wi = wp.where(turned, -light, light)
    shares = sampling_shares(p, wo[2])
    if wo[2] * wi[2] > 0.0:
        return evaluate_reflection(p, lobe.facets, shares, wo, wi)
    if p.thin != 0:
        return evaluate_straight(p, lobe.facets, shares, wo, wi)
    return evaluate_refraction(p, lobe.facets, shares, wo, wi)


@wp.func
def sample_principled(lobe: Lobe, viewer: wp.vec3, u_lobe: float, u: wp.vec2) -> LobeSample:
    """Choose a part and sample it; the weight is that of all parts together."""
    s = LobeSample()
    s.eta = 1.0
    if viewer[2] == 0.0:
        return s
    p = unpack_principled(lobe)
    turned = p.thin != 0 and viewer[2] < 0.0
    wo = wp.where(turned, -viewer, viewer)
    shares = sampling_shares(p, wo[2])
    if shares.facets <= 0.0:
        return s
    side = wp.where(wo[2] > 0.0, 1.0, -1.0)  # side of the surface on which the sample must be; 0: none
    wi = wp.vec3(0.0)
    rest = u_lobe
    if rest < shares.diffuse:
        wi = cosine_hemisphere(u)
    elif rest < shares.diffuse + shares.diffuse_through:
        wi = -cosine_hemisphere(u)
        side = -1.0
    elif rest < shares.diffuse + shares.diffuse_through + shares.coat:
        wi = reflect(wo, sample_coat_normal(p.coat_alpha, u))
    elif rest < shares.diffuse + shares.diffuse_through + shares.coat + shares.straight:
        n = sample_visible_normal(straight_facets(lobe.facets, p.eta), wo, u)
        wi = reflect(wo, n)
        wi = wp.vec3(wi[0], wi[1], -wi[2])
        side = wp.where(wp.dot(wi, n) < 0.0, -1.0, 0.0)
    else:
        rest -= 1.0 - shares.facets
        m = sample_visible_normal(lobe.facets, wo * side, u)
        o_m = wp.dot(wo, m)
        f = fresnel_dielectric(o_m, p.eta)
        if rest < shares.facets * reflection_probability(p, f, o_m):
            wi = reflect(wo, m)
        else:
            wi = refract(wo, m, f.cos_t, f.eta_t)
            side = -side
            s.eta = f.eta_t
    if wi[2] * side <= 0.0:
        return s
    s.wi = wp.where(turned, -wi, wi)
    value = evaluate_principled(lobe, viewer, s.wi)
    s.pdf = value[3]
    if s.pdf > 0.0:
        s.weight = wp.vec3(value[0], value[1], value[2]) / s.pdf
    return s
