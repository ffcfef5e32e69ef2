"""Scattering lobes on a device: the records materials are flattened to, and what one is at a point of a surface.

A material is a pair of lobes, one for each side. Directions are local: +z is the shading normal of the side that is seen,
`wo` points to the viewer and `wi` to the light, both away from the surface. `evaluate` functions return (f cos, pdf) in one
`vec4`; `sample` functions return the direction with its weight f cos / pdf.
"""

import warp as wp

from nrc_tracer.tracer.bsdf.leaf import NodeRecord
from nrc_tracer.tracer.bsdf.microfacet import Microfacets
from nrc_tracer.tracer.textures import Param, TexturePoint, Textures, evaluate, evaluate_scalar
from nrc_tracer.tracer.vocabulary import LobeKind

NONE = wp.constant(int(LobeKind.NONE))
DIFFUSE = wp.constant(int(LobeKind.DIFFUSE))
CONDUCTOR = wp.constant(int(LobeKind.CONDUCTOR))
ROUGH_CONDUCTOR = wp.constant(int(LobeKind.ROUGH_CONDUCTOR))
DIELECTRIC = wp.constant(int(LobeKind.DIELECTRIC))
ROUGH_DIELECTRIC = wp.constant(int(LobeKind.ROUGH_DIELECTRIC))
THIN_DIELECTRIC = wp.constant(int(LobeKind.THIN_DIELECTRIC))
PLASTIC = wp.constant(int(LobeKind.PLASTIC))
ROUGH_PLASTIC = wp.constant(int(LobeKind.ROUGH_PLASTIC))
PRINCIPLED = wp.constant(int(LobeKind.PRINCIPLED))
PRINCIPLED_TRANSMISSIVE = wp.constant(int(LobeKind.PRINCIPLED_TRANSMISSIVE))

MIN_ALPHA = wp.constant(1.0e-4)
MIN_PRINCIPLED_ALPHA = wp.constant(1.0e-3)

# Flags of a principled lobe
THIN = wp.constant(1)
LAMBERT = wp.constant(2)

PRINCIPLED_PARAMETERS = (
    "metallic",
    "spec_trans",
    "spec_tint",
    "roughness",
    "clearcoat",
    "clearcoat_gloss",
    "flatness",
    "sheen",
    "sheen_tint",
    "diff_trans",
    "anisotropic",
    "specular",
)
"""What a principled lobe has beside its base colour, in the order in which `Materials.more` holds it."""
PRINCIPLED_COUNT = wp.constant(len(PRINCIPLED_PARAMETERS))
PrincipledValues = wp.types.vector(length=len(PRINCIPLED_PARAMETERS), dtype=float)


@wp.struct
class LobeRecord:
    """A lobe with its textures not yet looked up. Unused parameters are zero."""

    kind: int
    distribution: int
    color: Param  # diffuse reflectance, or specular reflectance where there is no diffuse part
    second: Param  # specular transmittance; plastic: specular reflectance
    eta: Param  # conductor: index of refraction, real part
    k: Param  # conductor: imaginary part
    alpha_u: Param
    alpha_v: Param
    ior: float  # dielectrics: index behind the normal over index in front of it; principled: 0 where `specular` says it
    inner_reflectance: float  # plastic: share of the light from inside that the coat reflects back
    nonlinear: int  # plastic; principled: flags
    table: int  # rough plastic: first entry of its transmittance table; principled: first of its parameters in `Materials.more`


@wp.struct
class Materials:
    """All materials of a scene."""

    lobes: wp.array[LobeRecord]
    more: wp.array[Param]  # parameters of principled lobes
    sides: wp.array[wp.vec2i]  # what is seen from the front and from the back: a lobe, or as `leaf` says
    nodes: wp.array[NodeRecord]
    coat_tables: wp.array[float]  # of `bsdf.split_sum`, then one of each rough coat


@wp.struct
class Lobe:
    """A lobe at one point of a surface. How a principled one is packed is in `resolve_principled`."""

    kind: int
    color: wp.vec3
    second: wp.vec3
    eta: wp.vec3
    k: wp.vec3
    facets: Microfacets
    ior: float
    inner_reflectance: float
    nonlinear: int
    table: int


@wp.struct
class LobeSample:
    """A sampled direction. `pdf` 0: none. `eta` is the index ratio across a refraction, 1 otherwise."""

    wi: wp.vec3
    weight: wp.vec3
    pdf: float
    delta: int
    eta: float


@wp.func
def has_smooth_part(kind: int) -> bool:
    """Whether light sampling can contribute, i.e. the lobe is not made of delta functions alone."""
    return kind != NONE and kind != CONDUCTOR and kind != DIELECTRIC and kind != THIN_DIELECTRIC


@wp.func
def is_transmissive(kind: int) -> bool:
    """Whether the lobe knows its two sides apart by itself."""
    return kind == DIELECTRIC or kind == ROUGH_DIELECTRIC or kind == THIN_DIELECTRIC or kind == PRINCIPLED_TRANSMISSIVE


@wp.func
def resolve_principled(textures: Textures, record: LobeRecord, more: wp.array[Param], at: TexturePoint) -> Lobe:
    """Look up a principled lobe's parameters, which share the room that other lobes have for theirs."""
    lobe = Lobe()
    lobe.kind = record.kind
    lobe.nonlinear = record.nonlinear
    lobe.color = evaluate(textures, record.color, at)
    # A loop that is not unrolled: one copy of the texture look-up
    values = PrincipledValues()
    total = float(0.0)
    i = int(0)
    while i < PRINCIPLED_COUNT:
        value = evaluate_scalar(textures, more[record.table + i], at)
        total += value
        values[i] = wp.clamp(value, 0.0, 1.0)
        i += 1
    if not wp.isfinite(total):
        lobe.color = wp.vec3(wp.NAN)
    lobe.second = wp.vec3(values[0], values[1], values[2])  # metallic, spec_trans, spec_tint
    roughness = values[3]
    lobe.eta = wp.vec3(roughness, values[4], 0.1 + (0.001 - 0.1) * values[5])  # roughness, clearcoat, its alpha
    lobe.k = wp.vec3(values[6], values[7], values[8])  # flatness, sheen, sheen_tint
    lobe.inner_reflectance = values[9]  # diff_trans
    aspect = wp.sqrt(1.0 - 0.9 * values[10])
    lobe.facets.alpha_u = wp.max(MIN_PRINCIPLED_ALPHA, roughness * roughness / aspect)
    lobe.facets.alpha_v = wp.max(MIN_PRINCIPLED_ALPHA, roughness * roughness * aspect)
    lobe.ior = record.ior
    if record.ior <= 0.0:
        lobe.ior = 2.0 / (1.0 - wp.sqrt(0.08 * values[11])) - 1.0
    # Between equal media a refraction has no microfacet
    if record.kind == PRINCIPLED_TRANSMISSIVE and wp.abs(lobe.ior - 1.0) < 1.0e-3:
        lobe.ior = 1.001
    return lobe


@wp.func
def resolve(textures: Textures, record: LobeRecord, more: wp.array[Param], at: TexturePoint) -> Lobe:
    """Look up a lobe's parameters at a point of a surface."""
    if record.kind == PRINCIPLED or record.kind == PRINCIPLED_TRANSMISSIVE:
        return resolve_principled(textures, record, more, at)
    lobe = Lobe()
    lobe.kind = record.kind
    lobe.color = evaluate(textures, record.color, at)
    if record.kind == DIFFUSE:
        return lobe
    lobe.second = evaluate(textures, record.second, at)
    lobe.ior = record.ior
    lobe.inner_reflectance = record.inner_reflectance
    lobe.nonlinear = record.nonlinear
    lobe.table = record.table
    if record.kind == CONDUCTOR or record.kind == ROUGH_CONDUCTOR:
        lobe.eta = evaluate(textures, record.eta, at)
        lobe.k = evaluate(textures, record.k, at)
    lobe.facets.distribution = record.distribution
    alpha_u = evaluate_scalar(textures, record.alpha_u, at)
    alpha_v = evaluate_scalar(textures, record.alpha_v, at)
    lobe.facets.alpha_u = wp.max(MIN_ALPHA, alpha_u)
    lobe.facets.alpha_v = wp.max(MIN_ALPHA, alpha_v)
    # What is not finite shows in the colour, where the path tracer sees it, instead of getting lost in a comparison
    rest = wp.dot(lobe.second + lobe.eta + lobe.k, wp.vec3(1.0)) + alpha_u + alpha_v
    if not wp.isfinite(rest):
        lobe.color = wp.vec3(wp.NAN)
    return lobe


@wp.func
def with_pdf(f: wp.vec3, pdf: float) -> wp.vec4:
    """Pack f cos and a density into what `evaluate` functions return."""
    return wp.vec4(f[0], f[1], f[2], pdf)
