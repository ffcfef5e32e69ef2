"""Scattering lobes on a device: the records that materials are flattened to, and a lobe at one point of a surface.

A material has a lobe for each side. Directions are local: +z is the shading normal of the visible side, `wo` points to the
viewer and `wi` to the light, both away from the surface. `evaluate` functions return (f cos, pdf) in one `vec4`; `sample`
functions return a direction with its weight f cos / pdf.
"""

import warp as wp

from nrc_tracer.tracer.bsdf.leaf import NodeRecord
from nrc_tracer.tracer.bsdf.microfacet import Microfacets
from nrc_tracer.tracer.textures import Param
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
ROUGH_DIFFUSE = wp.constant(int(LobeKind.ROUGH_DIFFUSE))


@wp.struct
class LobeRecord:
    """A lobe before its textures are looked up. Unused parameters are zero."""

    kind: int  # a `LobeKind`
    distribution: int  # a `Distribution`
    color: Param  # diffuse reflectance, or specular reflectance where there is no diffuse part
    second: Param  # specular transmittance; plastic: specular reflectance
    eta: Param  # conductor: index of refraction, real part
    k: Param  # conductor: imaginary part
    alpha_u: Param
    alpha_v: Param
    ior: float  # dielectrics: index behind the surface over index in front; principled: 0 to derive it from `specular`
    inner_reflectance: float  # plastic: reflectance of the coat for diffuse light from inside
    nonlinear: (
        int  # plastic: 1 for colour shifts by internal reflections; rough diffuse: 1 if qualitative; principled: flags
    )
    table: int  # rough plastic: first entry of its transmittance table; principled: first parameter in `Materials.more`


@wp.struct
class Materials:
    """All materials of a scene."""

    lobes: wp.array[LobeRecord]
    more: wp.array[Param]  # parameters of principled lobes
    sides: wp.array[wp.vec2i]  # codes of front and back: a lobe, or a code of `leaf`
    nodes: wp.array[NodeRecord]
    coat_tables: wp.array[float]  # the table of `bsdf.split_sum`, then a table for each rough coat


@wp.struct
class Lobe:
    """A lobe at one point of a surface. `principled_lobe` packs the parameters of principled lobes into the same fields."""

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
    """A sampled direction; `pdf` 0: the path is absorbed. `eta` is the index ratio across a refraction, 1 otherwise."""

    wi: wp.vec3
    weight: wp.vec3
    pdf: float
    delta: int
    eta: float


@wp.func
def has_smooth_part(kind: int) -> bool:
    """Whether the lobe is more than delta functions, so that light sampling can contribute."""
    return kind != NONE and kind != CONDUCTOR and kind != DIELECTRIC and kind != THIN_DIELECTRIC


@wp.func
def is_transmissive(kind: int) -> bool:
    """Whether the lobe distinguishes front and back itself."""
    return kind == DIELECTRIC or kind == ROUGH_DIELECTRIC or kind == THIN_DIELECTRIC or kind == PRINCIPLED_TRANSMISSIVE


@wp.func
def with_pdf(f: wp.vec3, pdf: float) -> wp.vec4:
    """Pack f cos and a density into one vector, as `evaluate` functions return them."""
    return wp.vec4(f[0], f[1], f[2], pdf)
