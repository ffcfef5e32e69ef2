"""The record by which kernels read a scene on a device."""

import warp as wp

from nrc_tracer.tracer.accel.intersect import AccelHandles
from nrc_tracer.tracer.bsdf.lobe import Materials
from nrc_tracer.tracer.interaction import Surfaces
from nrc_tracer.tracer.lights.light import Lights
from nrc_tracer.tracer.textures import Textures


@wp.struct
class SceneRecord:
    """A scene as kernels read it."""

    accel: AccelHandles
    surfaces: Surfaces
    materials: Materials
    textures: Textures
    lights: Lights
