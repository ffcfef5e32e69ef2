"""Enumerations that host and device code share. Kernels take their values as integer constants."""

import enum

REC709_LUMINANCE = (0.212671, 0.715160, 0.072169)
"""Weights of red, green and blue in luminance."""


class TextureKind(enum.IntEnum):
    """How a texture's colours are stored."""

    PACKED = 0  # RGBA8 words
    FLOAT = 1  # linear float RGB
    CHECKERBOARD = 2
    VERTEX_COLOR = 3


class WrapMode(enum.IntEnum):
    """How a texture continues outside [0, 1]."""

    REPEAT = 0
    MIRROR = 1
    CLAMP = 2


class LobeKind(enum.IntEnum):
    """The scattering models of a material's leaves."""

    NONE = 0  # black
    DIFFUSE = 1
    CONDUCTOR = 2
    ROUGH_CONDUCTOR = 3
    DIELECTRIC = 4
    ROUGH_DIELECTRIC = 5
    THIN_DIELECTRIC = 6
    PLASTIC = 7
    ROUGH_PLASTIC = 8
    PRINCIPLED = 9
    PRINCIPLED_TRANSMISSIVE = 10
    ROUGH_DIFFUSE = 11


class NodeKind(enum.IntEnum):
    """The steps from a material to one of its leaves."""

    MIX = 0
    BUMP = 1
    NORMAL_MAP = 2
    TURN = 3  # what follows is the material of a front, seen from the back


class Distribution(enum.IntEnum):
    """Microfacet distributions of rough surfaces."""

    GGX = 0
    BECKMANN = 1


class LightKind(enum.IntEnum):
    """Kinds of lights."""

    TRIANGLE = 0
    SPHERE = 1
    POINT = 2
    SPOT = 3
    DIRECTIONAL = 4
    CONSTANT = 5
    ENVIRONMENT = 6


class CameraKind(enum.IntEnum):
    """Projections of cameras."""

    PERSPECTIVE = 0
    ORTHOGRAPHIC = 1


class FilterKind(enum.IntEnum):
    """Reconstruction filters, all importance-sampled."""

    BOX = 0
    TENT = 1
    GAUSSIAN = 2


class SamplerKind(enum.IntEnum):
    """Generators of a sample's random numbers."""

    INDEPENDENT = 0
    SOBOL = 1


class Accel(str, enum.Enum):
    """What intersects rays with triangles."""

    EMBREE = "embree"
    WARP = "warp"

    def __str__(self) -> str:
        return self.value
