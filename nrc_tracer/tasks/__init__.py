"""The other tasks of Instant-NGP on the shared encoding module: images, signed distances and radiance fields.

    import nrc_tracer as nrc

    fit = nrc.tasks.fit_sdf("scenes/meshes/knot.ply", seconds=20)
    print(fit.steps, fit.scores)
    fit.save("knot.safetensors")

    shape = nrc.tasks.load("knot.safetensors")
    shape.signed_distance([[0.0, 0.0, 0.0]])

Each task turns data into a model of `nrc_tracer.nn` and a result, and knows nothing about encodings and networks beyond their
configuration (Mueller, Evans, Schied, Keller, *Instant Neural Graphics Primitives with a Multiresolution Hash Encoding*, SIGGRAPH
2022). The names below are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nrc_tracer.tasks.fitting import Fit, fit_image, fit_nerf, fit_sdf
    from nrc_tracer.tasks.image.neural_image import NeuralImage
    from nrc_tracer.tasks.loading import load
    from nrc_tracer.tasks.nerf.camera import PhotoCamera
    from nrc_tracer.tasks.nerf.neural_scene import NeuralScene, RenderedView
    from nrc_tracer.tasks.sdf.rendering import Orbit
    from nrc_tracer.tasks.sdf.shape import NeuralShape
    from nrc_tracer.tasks.training import TrainingProgress

__all__ = [
    "Fit",
    "NeuralImage",
    "NeuralScene",
    "NeuralShape",
    "Orbit",
    "PhotoCamera",
    "RenderedView",
    "TrainingProgress",
    "fit_image",
    "fit_nerf",
    "fit_sdf",
    "load",
]

_HOMES = {
    "Fit": "fitting",
    "NeuralImage": "image.neural_image",
    "NeuralScene": "nerf.neural_scene",
    "NeuralShape": "sdf.shape",
    "Orbit": "sdf.rendering",
    "PhotoCamera": "nerf.camera",
    "RenderedView": "nerf.neural_scene",
    "TrainingProgress": "training",
    "fit_image": "fitting",
    "fit_nerf": "fitting",
    "fit_sdf": "fitting",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module "{__name__}" has no attribute "{name}"')
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
