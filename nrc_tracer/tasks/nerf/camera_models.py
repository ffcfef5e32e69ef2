"""Camera models by the names that COLMAP and nerfstudio give them, and what becomes of their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nrc_tracer.errors import DataError, nearest
from nrc_tracer.tasks.nerf.camera import Distortion, LensModel

DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
"""Names of the distortion coefficients of `PhotoCamera`, in its order."""
UNDISTORT = "undistort the images first (colmap image_undistorter), and give the result"


@dataclass(frozen=True)
class CameraModel:
    """A camera model of COLMAP.

    Attributes:
        number: Its number in binary files.
        parameters: Names of its parameters, in COLMAP's order. `f` stands for both focal lengths.
        lens: The lens that it is if all parameters outside of f, fx, fy, cx, cy and DISTORTION are zero; None for a model that is
            not supported.
    """

    number: int
    parameters: tuple[str, ...]
    lens: LensModel | None


def _model(number: int, parameters: str, lens: LensModel | None) -> CameraModel:
    return CameraModel(number, tuple(parameters.split()), lens)


MODELS = {
    "SIMPLE_PINHOLE": _model(0, "f cx cy", "opencv"),
    "PINHOLE": _model(1, "fx fy cx cy", "opencv"),
    "SIMPLE_RADIAL": _model(2, "f cx cy k1", "opencv"),
    "RADIAL": _model(3, "f cx cy k1 k2", "opencv"),
    "OPENCV": _model(4, "fx fy cx cy k1 k2 p1 p2", "opencv"),
    "OPENCV_FISHEYE": _model(5, "fx fy cx cy k1 k2 k3 k4", "fisheye"),
    # k4, k5 and k6 of FULL_OPENCV are those of a denominator
    "FULL_OPENCV": _model(6, "fx fy cx cy k1 k2 p1 p2 k3 d1 d2 d3", "opencv"),
    "FOV": _model(7, "fx fy cx cy omega", None),
    "SIMPLE_RADIAL_FISHEYE": _model(8, "f cx cy k1", "fisheye"),
    "RADIAL_FISHEYE": _model(9, "f cx cy k1 k2", "fisheye"),
    "THIN_PRISM_FISHEYE": _model(10, "fx fy cx cy k1 k2 t1 t2 k3 k4 sx1 sy1", "fisheye"),
    "RAD_TAN_THIN_PRISM_FISHEYE": _model(11, "fx fy cx cy k1 k2 k3 k4 k5 k6 t1 t2 s1 s2 s3 s4", "fisheye"),
    "SIMPLE_DIVISION": _model(12, "f cx cy k", None),
    "DIVISION": _model(13, "fx fy cx cy k", None),
    "SIMPLE_FISHEYE": _model(14, "f cx cy", "fisheye"),
    "FISHEYE": _model(15, "fx fy cx cy", "fisheye"),
    "EUCM": _model(16, "fx fy cx cy alpha beta", None),
    "EQUIRECTANGULAR": _model(17, "w h", None),
}
"""COLMAP's camera models by name (COLMAP 4)."""
NAMES = {model.number: name for name, model in MODELS.items()}
OTHER_NAMES: dict[str, LensModel] = {"PERSPECTIVE": "opencv"}
"""Names of lenses in transforms.json that are not COLMAP's."""


def lens_of(name: str, values: Mapping[str, float], place: str) -> tuple[LensModel, Distortion]:
    """The lens of a camera model and its distortion.

    Args:
        name: Name of the model, in capitals.
        values: Its parameters by name; absent ones are 0.
        place: Start of messages.

    Raises:
        DataError: The model is not supported, or one of its parameters is not; the message says what to do.
    """
    lens = OTHER_NAMES.get(name) or (MODELS[name].lens if name in MODELS else None)
    if lens is None:
        if name in MODELS:
            raise DataError(f"{place}: camera model {name} is not supported; {UNDISTORT}")
        raise DataError(f'{place}: camera_model "{name}" is not supported{nearest(name, [*MODELS, *OTHER_NAMES])}')
    known = {"f", "fx", "fy", "cx", "cy", *DISTORTION}
    beyond = [key for key in MODELS[name].parameters if key not in known] if name in MODELS else []
    if bent := [values[key] for key in beyond if values.get(key, 0.0) != 0.0]:
        raise DataError(
            f"{place}: camera model {name} has {len(bent)} parameters of distortion that are not supported; {UNDISTORT}"
        )
    k1, k2, k3, k4, p1, p2 = distortion = tuple(values.get(key, 0.0) for key in DISTORTION)
    if lens == "opencv" and not any(distortion):
        lens = "pinhole"
    return lens, (k1, k2, k3, k4, p1, p2)
