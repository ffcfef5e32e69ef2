"""Small scenes for the tests."""

from __future__ import annotations

import numpy as np
import pytest

from nrc_tracer.errors import DeviceError
from nrc_tracer.scene.model import (
    Film,
    Integrator,
    LookAt,
    Mesh,
    Orthographic,
    Perspective,
    Sampler,
    Scale,
    Scene,
    SceneDescription,
)
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.accel import embree
from nrc_tracer.tracer.device_scene import DeviceScene
from nrc_tracer.tracer.path_inputs import PathInputs, choose_depth
from nrc_tracer.tracer.vocabulary import Accel, SamplerKind


def embree_available() -> bool:
    """Whether Embree can be loaded: embreex has no wheel for some machines, such as those with an Arm processor."""
    try:
        embree.load()
    except DeviceError:
        return False
    return True


needs_embree = pytest.mark.skipif(not embree_available(), reason="embreex has no Embree for this machine")
ACCELS = pytest.mark.parametrize("accel", [pytest.param("embree", marks=needs_embree), "warp"])
"""Runs a test with `accel` for each available acceleration structure."""

FACING_X = (LookAt(origin=(0.0, 0.0, 4.0), target=(0.0, 0.0, 0.0)),)


def scene(
    *shapes,
    lights=(),
    materials=None,
    textures=None,
    images=None,
    meshes=None,
    camera=None,
    film=(8, 8),
    sampler="independent",
    max_depth=None,
    rr_depth=5,
    **film_options,
) -> Scene:
    """A scene; by default the camera looks from z = 4 at the origin."""
    description = SceneDescription(
        camera=camera or Perspective(to_world=FACING_X, fov=30.0),
        film=Film(width=film[0], height=film[1], **film_options),
        sampler=Sampler(type=sampler),
        integrator=Integrator(max_depth=max_depth, rr_depth=rr_depth),
        textures=textures or {},
        materials=materials or {},
        shapes=tuple(shapes),
        lights=tuple(lights),
    )
    return Scene(description, meshes=meshes or {}, images=images or {})


def probe(origin=(0.0, 0.0, 4.0), target=(0.0, 0.0, 0.0), up=(0.0, 1.0, 0.0), size: float = 1e-3) -> Orthographic:
    """A camera that sees a spot around `target`, a few `size` wide, at one angle."""
    return Orthographic(to_world=(Scale((size, size, 1.0)), LookAt(origin=origin, target=target, up=up)))


def on_device(described: Scene, accel: str = "warp") -> DeviceScene:
    """The scene in the form that kernels read."""
    return DeviceScene(described, "cpu", Accel(accel))


def path_inputs(described: Scene, *, seed: int = 0) -> PathInputs:
    """The input of kernels that trace paths of the scene, as `Renderer` makes it."""
    description = described.description
    return PathInputs(
        described,
        description.film,
        device="cpu",
        threads=None,
        accel=Accel.EMBREE if embree_available() else Accel.WARP,
        camera=None,
        seed=seed,
        sampler=SamplerKind[description.sampler.type.upper()],
        max_depth=choose_depth(description, None),
    )


def rendered(described: Scene, spp: int, **options) -> Renderer:
    """A renderer that has taken `spp` samples with the given options of `Renderer`."""
    renderer = Renderer(described, device="cpu", **options)
    renderer.compile()
    renderer.step(spp)
    return renderer


def image_mean(renderer: Renderer) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour of the whole image and its standard error (for independent samples), each of shape [3]."""
    mean, variance = renderer.moments()
    pixels = mean.shape[0] * mean.shape[1]
    error = np.sqrt(variance.sum(axis=(0, 1)) / renderer.samples) / pixels
    return mean.mean(axis=(0, 1)), error


def assert_mean(renderer: Renderer, expected, *, rounding: float = 2e-6, sigmas: float = 4.0) -> None:
    """Assert that the image's mean colour is as expected, within four standard errors and the rounding of float32 over a path."""
    mean, error = image_mean(renderer)
    expected = np.broadcast_to(np.asarray(expected, np.float64), 3)
    assert renderer.dropped == 0
    tolerance = sigmas * error + rounding * np.abs(expected)
    assert np.all(np.abs(mean - expected) <= tolerance), f"{mean} is not {expected} within {tolerance}"


def triangles(positions: np.ndarray, indices: np.ndarray, **options) -> Mesh:
    """A flat mesh given by its arrays."""
    return Mesh(
        positions=tuple(map(tuple, np.asarray(positions, float).tolist())),
        indices=tuple(map(tuple, np.asarray(indices).tolist())),
        **{"face_normals": True, **options},
    )
