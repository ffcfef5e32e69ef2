"""What a scene is: frozen data, the same for every file format.

The classes are the Python API, the JSON format (`nrc-tracer schema` prints its schema) and the target of every reader, all in
one. Lengths are in scene units, angles in degrees, colours in linear Rec. 709. Cameras look along their local +z with +y up and
+x to the *left* (Mitsuba's convention), so that `look_at` and Mitsuba's matrices mean the same.
"""

from nrc_tracer.scene.model.base import Color, Model, NonNegative, Positive, Row, Scalar, Vec2, Vec3
from nrc_tracer.scene.model.cameras import Camera, FovAxis, Orthographic, Perspective
from nrc_tracer.scene.model.description import Film, Filter, Integrator, Sampler, SceneDescription
from nrc_tracer.scene.model.lights import ConstantLight, DirectionalLight, EnvironmentMap, Light, PointLight, SpotLight
from nrc_tracer.scene.model.loaded import Scene, SdfSnapshot, TriangleMesh
from nrc_tracer.scene.model.materials import (
    Blend,
    Bump,
    Conductor,
    Dielectric,
    Diffuse,
    Distribution,
    Mask,
    Material,
    NormalMap,
    Plastic,
    Principled,
    Sides,
    ThinDielectric,
)
from nrc_tracer.scene.model.shapes import (
    Cube,
    Cylinder,
    Disk,
    GroupShape,
    Instance,
    Mesh,
    NeuralSdf,
    Rectangle,
    Shape,
    ShapeModel,
    Sphere,
)
from nrc_tracer.scene.model.textures import Bitmap, Channel, Checkerboard, Texture, VertexColor, Wrap
from nrc_tracer.scene.model.transforms import LookAt, Matrix, Rotate, Scale, Step, Transform, Translate

__all__ = [
    "Bitmap",
    "Blend",
    "Bump",
    "Camera",
    "Channel",
    "Checkerboard",
    "Color",
    "Conductor",
    "ConstantLight",
    "Cube",
    "Cylinder",
    "Dielectric",
    "Diffuse",
    "DirectionalLight",
    "Disk",
    "Distribution",
    "EnvironmentMap",
    "Film",
    "Filter",
    "FovAxis",
    "GroupShape",
    "Instance",
    "Integrator",
    "Light",
    "LookAt",
    "Mask",
    "Material",
    "Matrix",
    "Mesh",
    "Model",
    "NeuralSdf",
    "NonNegative",
    "NormalMap",
    "Orthographic",
    "Perspective",
    "Plastic",
    "PointLight",
    "Positive",
    "Principled",
    "Rectangle",
    "Rotate",
    "Row",
    "Sampler",
    "Scalar",
    "Scale",
    "Scene",
    "SceneDescription",
    "SdfSnapshot",
    "Shape",
    "ShapeModel",
    "Sides",
    "Sphere",
    "SpotLight",
    "Step",
    "Texture",
    "ThinDielectric",
    "Transform",
    "Translate",
    "TriangleMesh",
    "Vec2",
    "Vec3",
    "VertexColor",
    "Wrap",
]
