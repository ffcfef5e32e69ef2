"""Materials. Opaque ones scatter on both sides unless `two_sided` is false; then the back is black."""

from __future__ import annotations

from typing import Literal

from nrc_tracer.scene.model.base import Color, Model, NonNegative, Positive, Scalar

Distribution = Literal["ggx", "beckmann"]
"""Distributions of microfacet normals."""


class Diffuse(Model, tag="diffuse"):
    """Lambertian reflection, or that of Oren and Nayar's rough surface if there is an `alpha`.

    `alpha` is the roughness of the microfacet models: the slope angles of the facets have the standard deviation alpha / sqrt(2)
    in radians. `qualitative` selects the simpler of Oren and Nayar's formulas, without light that two facets reflect.
    """

    reflectance: Color = 0.5
    alpha: Scalar | None = None
    qualitative: bool = False
    two_sided: bool = True


class Conductor(Model, tag="conductor"):
    """A metal with the complex index of refraction eta + i k relative to the outside; eta = 0, k = 1 is a perfect mirror.

    Without `alpha` the metal is smooth. With it, it has microfacets of that roughness: a number, a texture, or one of these
    for each tangent direction. `alpha` is used as given, without a square or another remapping.
    """

    eta: Color = 0.0
    k: Color = 1.0
    specular_reflectance: Color = 1.0
    alpha: Scalar | tuple[Scalar, Scalar] | None = None
    distribution: Distribution = "ggx"
    two_sided: bool = True


class Dielectric(Model, tag="dielectric"):
    """The boundary of a transparent solid or liquid, such as glass or water.

    `ext_ior` is the index of refraction on the side that the normal points to, `int_ior` that on the other side. `alpha` as
    for `Conductor`.
    """

    int_ior: Positive = 1.5046
    ext_ior: Positive = 1.000277
    specular_reflectance: Color = 1.0
    specular_transmittance: Color = 1.0
    alpha: Scalar | tuple[Scalar, Scalar] | None = None
    distribution: Distribution = "ggx"


class ThinDielectric(Model, tag="thin_dielectric"):
    """A pane of glass modelled by a single surface: with the reflections between its two sides, and without refraction."""

    int_ior: Positive = 1.5046
    ext_ior: Positive = 1.000277
    specular_reflectance: Color = 1.0
    specular_transmittance: Color = 1.0


class Plastic(Model, tag="plastic"):
    """A diffuse base under a dielectric coat, including the light that is reflected to and fro between the two.

    `nonlinear` applies the colour of the base at every internal reflection. Without `alpha` the coat is smooth.
    """

    diffuse_reflectance: Color = 0.5
    specular_reflectance: Color = 1.0
    int_ior: Positive = 1.49
    ext_ior: Positive = 1.000277
    nonlinear: bool = False
    alpha: NonNegative | None = None
    distribution: Distribution = "ggx"
    two_sided: bool = True


class Principled(Model, tag="principled"):
    """Disney's principled BSDF (Burley 2012 and 2015) in the form of Mitsuba 3. It includes glTF's metallic-roughness model.

    Roughness, metallic and all weights lie in [0, 1]; the microfacets are GGX with alpha = roughness^2. `eta` is the index of
    refraction of the inside relative to the outside. Without it, the reflectance at normal incidence is 0.08 `specular`.
    `diffuse` selects Burley's diffuse lobe, or that of glTF: Lambert's lobe, which receives the light that the dielectric
    above it does not reflect.

    With `spec_trans` = 0 the material is opaque. Otherwise light passes through it: refracted, or straight on if it is `thin`.
    A thin surface is the same from both sides, and transmits the fraction `diff_trans` of its diffuse light. With Burley's
    lobe (as in Mitsuba's `principledthin`) only the fraction `spec_trans` of a thin surface reflects specularly, with
    Lambert's all of it.
    """

    base_color: Color = 0.5
    metallic: Scalar = 0.0
    roughness: Scalar = 0.5
    anisotropic: Scalar = 0.0
    specular: Scalar = 0.5
    eta: Positive | None = None
    spec_tint: Scalar = 0.0
    spec_trans: Scalar = 0.0
    flatness: Scalar = 0.0
    sheen: Scalar = 0.0
    sheen_tint: Scalar = 0.0
    clearcoat: Scalar = 0.0
    clearcoat_gloss: Scalar = 0.0
    diff_trans: Scalar = 0.0
    diffuse: Literal["burley", "lambert"] = "burley"
    thin: bool = False
    two_sided: bool = True


class Mask(Model, tag="mask"):
    """A material with holes: light meets it with probability `opacity`, and otherwise passes straight on."""

    material: str
    opacity: Scalar = 0.5


class Blend(Model, tag="blend"):
    """A mixture of two materials: the fraction `weight` is the second one, the rest the first."""

    materials: tuple[str, str]
    weight: Scalar = 0.5


class Bump(Model, tag="bump"):
    """A material on a surface that is displaced along its normal by `scale` times the luminance of a texture [scene units]."""

    material: str
    texture: str
    scale: float = 1.0


class NormalMap(Model, tag="normal_map"):
    """A material whose shading normal comes from a texture: 2 colour - 1 in the frame of tangent, bitangent and normal.

    `scale` multiplies its x and y before normalization. The tangent follows the mesh's u. A `right_handed` bitangent is
    normal x tangent even where texture coordinates are mirrored, as in Mitsuba 3.9. With `up`, as in glTF, x and y point to
    the right and to the top of the image as it lies on the surface, turned and mirrored by the mesh or by `to_uv`.
    """

    material: str
    texture: str
    scale: float = 1.0
    bitangent: Literal["right_handed", "up"] = "right_handed"


class Sides(Model, tag="sides"):
    """Two opaque materials by name: `front` on the side that the normal points to, `back` on the other."""

    front: str
    back: str


Material = (
    Diffuse | Conductor | Dielectric | ThinDielectric | Plastic | Principled | Mask | Blend | Bump | NormalMap | Sides
)
"""Materials may name others to any depth, but not in a circle."""
