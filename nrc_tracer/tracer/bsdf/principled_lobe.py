"""Parameters of principled lobes: looked up at a point, packed into the fields of a `Lobe`, and unpacked by name.

A principled lobe has ten parameters that others have not, and packs them into fields that it does not use otherwise. With fields
of their own, every lobe would be that much larger: the stack of the path kernel on sm_90 grew from 384 to 432 bytes.
"""

import warp as wp

from nrc_tracer.tracer.bsdf.lobe import PRINCIPLED_TRANSMISSIVE, Lobe, LobeRecord
from nrc_tracer.tracer.textures import Param, TexturePoint, Textures, evaluate, evaluate_scalar

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
"""Scalar parameters of a principled material, in their order in `Materials.more`."""
PRINCIPLED_COUNT = wp.constant(len(PRINCIPLED_PARAMETERS))
PrincipledValues = wp.types.vector(length=len(PRINCIPLED_PARAMETERS), dtype=float)

METALLIC = wp.constant(PRINCIPLED_PARAMETERS.index("metallic"))
SPEC_TRANS = wp.constant(PRINCIPLED_PARAMETERS.index("spec_trans"))
SPEC_TINT = wp.constant(PRINCIPLED_PARAMETERS.index("spec_tint"))
ROUGHNESS = wp.constant(PRINCIPLED_PARAMETERS.index("roughness"))
CLEARCOAT = wp.constant(PRINCIPLED_PARAMETERS.index("clearcoat"))
CLEARCOAT_GLOSS = wp.constant(PRINCIPLED_PARAMETERS.index("clearcoat_gloss"))
FLATNESS = wp.constant(PRINCIPLED_PARAMETERS.index("flatness"))
SHEEN = wp.constant(PRINCIPLED_PARAMETERS.index("sheen"))
SHEEN_TINT = wp.constant(PRINCIPLED_PARAMETERS.index("sheen_tint"))
DIFF_TRANS = wp.constant(PRINCIPLED_PARAMETERS.index("diff_trans"))
ANISOTROPIC = wp.constant(PRINCIPLED_PARAMETERS.index("anisotropic"))
SPECULAR = wp.constant(PRINCIPLED_PARAMETERS.index("specular"))


@wp.struct
class PrincipledLobe:
    """A principled lobe with its parameters by name."""

    base: wp.vec3
    metallic: float
    spec_trans: float
    spec_tint: float
    roughness: float
    clearcoat: float
    coat_alpha: float  # roughness of the clear coat
    flatness: float
    sheen: float
    sheen_tint: float
    diff_trans: float  # in [0, 1]
    eta: float  # index behind the surface over index in front
    thin: int
    lambert: int
    brdf: float  # weight of the diffuse base
    bsdf: float  # weight of the transmission


@wp.func
def resolve_principled(textures: Textures, record: LobeRecord, more: wp.array[Param], at: TexturePoint) -> Lobe:
    """Look up a principled lobe's parameters and pack them; `unpack_principled` has the same order."""
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
    roughness = values[ROUGHNESS]
    coat_alpha = 0.1 + (0.001 - 0.1) * values[CLEARCOAT_GLOSS]
    lobe.second = wp.vec3(values[METALLIC], values[SPEC_TRANS], values[SPEC_TINT])
    lobe.eta = wp.vec3(roughness, values[CLEARCOAT], coat_alpha)
    lobe.k = wp.vec3(values[FLATNESS], values[SHEEN], values[SHEEN_TINT])
    lobe.inner_reflectance = values[DIFF_TRANS]
    aspect = wp.sqrt(1.0 - 0.9 * values[ANISOTROPIC])
    lobe.facets.alpha_u = wp.max(MIN_PRINCIPLED_ALPHA, roughness * roughness / aspect)
    lobe.facets.alpha_v = wp.max(MIN_PRINCIPLED_ALPHA, roughness * roughness * aspect)
    lobe.ior = record.ior
    if record.ior <= 0.0:
        lobe.ior = 2.0 / (1.0 - wp.sqrt(0.08 * values[SPECULAR])) - 1.0
    # Between equal media a refraction has no microfacet
    if record.kind == PRINCIPLED_TRANSMISSIVE and wp.abs(lobe.ior - 1.0) < 1.0e-3:
        lobe.ior = 1.001
    return lobe


@wp.func
def unpack_principled(lobe: Lobe) -> PrincipledLobe:
    """The parameters that `resolve_principled` has packed into a lobe."""
    p = PrincipledLobe()
    p.base = lobe.color
    p.metallic = lobe.second[0]
    p.spec_trans = lobe.second[1]
    p.spec_tint = lobe.second[2]
    p.roughness = lobe.eta[0]
    p.clearcoat = lobe.eta[1]
    p.coat_alpha = lobe.eta[2]
    p.flatness = lobe.k[0]
    p.sheen = lobe.k[1]
    p.sheen_tint = lobe.k[2]
    p.diff_trans = lobe.inner_reflectance
    p.eta = lobe.ior
    p.thin = lobe.nonlinear & THIN
    p.lambert = lobe.nonlinear & LAMBERT
    p.brdf = (1.0 - p.metallic) * (1.0 - p.spec_trans)
    p.bsdf = (1.0 - p.metallic) * p.spec_trans
    return p
