"""Intel Embree for kernels on the CPU: ctypes opens its library, and the addresses of its functions are passed to kernels.

The library is the one inside the `embreex` wheel; embreex's own interface is not used. Where the library is missing or its layout
is unknown, `load()` raises an error with the reason, and Warp's BVH is used instead.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nrc_tracer.errors import DeviceError

_TRIANGLE_GEOMETRY, _INDEX_BUFFER, _VERTEX_BUFFER, _FLOAT3, _UINT3 = 0, 0, 1, 0x9003, 0x5003
_SCENE_FLAG_ROBUST, _BUILD_QUALITY_HIGH = 1 << 2, 2
_PROPERTY_VERSION, _PROPERTY_VERSION_MAJOR = 0, 1
_PROPERTY_NATIVE_RAYS = {4: 32, 8: 33, 16: 34}
"""Properties that say whether rays are traced in packets of this size: they follow from the instruction set."""

_POINTER, _UINT, _SIZE = ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t
_SIGNATURES = {
    "rtcNewDevice": (_POINTER, [ctypes.c_char_p]),
    "rtcGetDeviceError": (ctypes.c_int, [_POINTER]),
    "rtcGetDeviceProperty": (ctypes.c_ssize_t, [_POINTER, ctypes.c_int]),
    "rtcNewScene": (_POINTER, [_POINTER]),
    "rtcSetSceneFlags": (None, [_POINTER, ctypes.c_int]),
    "rtcSetSceneBuildQuality": (None, [_POINTER, ctypes.c_int]),
    "rtcReleaseScene": (None, [_POINTER]),
    "rtcCommitScene": (None, [_POINTER]),
    "rtcNewGeometry": (_POINTER, [_POINTER, ctypes.c_int]),
    "rtcSetNewGeometryBuffer": (
        _POINTER,
        [_POINTER, ctypes.c_int, _UINT, ctypes.c_int, _SIZE, _SIZE],
    ),
    "rtcSetGeometryBuildQuality": (None, [_POINTER, ctypes.c_int]),
    "rtcCommitGeometry": (None, [_POINTER]),
    "rtcAttachGeometry": (_UINT, [_POINTER, _POINTER]),
    "rtcReleaseGeometry": (None, [_POINTER]),
}


@dataclass(frozen=True)
class EmbreeLibrary:
    """The open library.

    Attributes:
        functions: The ctypes library.
        device: The Embree device.
        intersect: Address of `rtcIntersect1`.
        occluded: Address of `rtcOccluded1`.
    """

    functions: ctypes.CDLL
    device: int
    intersect: int
    occluded: int


def _find_libraries() -> tuple[list[Path], Path]:
    """The libraries to open first, and Embree's own, inside the installed embreex package."""
    spec = importlib.util.find_spec("embreex")
    if spec is None or not spec.submodule_search_locations:
        raise DeviceError("the package embreex is not installed")
    package = Path(next(iter(spec.submodule_search_locations)))
    folders = [package.parent / "embreex.libs", package, package / ".dylibs"]
    files = [f for folder in folders if folder.is_dir() for f in sorted(folder.iterdir())]
    embree = [f for f in files if "embree4" in f.name and f.suffix not in (".py", ".pyd")]
    tbb = [f for f in files if "tbb" in f.name]
    if not embree:
        raise DeviceError("the installed embreex contains no Embree 4 library")
    return tbb, embree[0]


def _address(function: Any) -> int:
    """The address of a function of a ctypes library."""
    return ctypes.cast(function, _POINTER).value or 0


@lru_cache(maxsize=1)
def load() -> EmbreeLibrary:
    """Open Embree, once per process.

    Raises:
        DeviceError: There is no Embree 4 that kernels can call; the message states the reason.
    """
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        raise DeviceError("Embree needs a 64-bit Python")
    dependencies, path = _find_libraries()
    try:
        for dependency in dependencies:
            ctypes.CDLL(str(dependency), mode=ctypes.RTLD_GLOBAL if sys.platform != "win32" else ctypes.DEFAULT_MODE)
        functions = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(functions, name)
            function.restype, function.argtypes = result, arguments
        intersect = _address(functions.rtcIntersect1)
        occluded = _address(functions.rtcOccluded1)
    except (OSError, AttributeError) as e:
        raise DeviceError(f"Embree could not be opened: {e}") from None
    device = functions.rtcNewDevice(b"")
    if not device:
        raise DeviceError("Embree found no device")
    major = functions.rtcGetDeviceProperty(device, _PROPERTY_VERSION_MAJOR)
    if major != 4:
        raise DeviceError(f"Embree {major} is installed, version 4 is needed")
    return EmbreeLibrary(functions, device, intersect, occluded)


def describe() -> str:
    """Embree's version, and the sizes of the packets of rays that its code for this processor has: `40400, packets 4 8`."""
    library = load()

    def value(number: int) -> int:
        return library.functions.rtcGetDeviceProperty(library.device, number)

    packets = [str(size) for size, number in _PROPERTY_NATIVE_RAYS.items() if value(number)]
    return f"{value(_PROPERTY_VERSION)}, packets {' '.join(packets) or 'none'}"


class EmbreeScene:
    """Triangles in an Embree BVH, which lives as long as this object.

    Args:
        positions: Vertex positions, shape [vertex_count, 3], float32.
        indices: Vertex indices, shape [triangle_count, 3], at least one triangle.
        robust: Let no ray pass between two triangles that share an edge. `benchmarks/robust.py` measures cost and effect.

    Raises:
        DeviceError: Embree is missing or out of memory.
    """

    def __init__(self, positions: np.ndarray, indices: np.ndarray, *, robust: bool = True) -> None:
        self._library = load()
        rtc, device = self._library.functions, self._library.device
        rtc.rtcGetDeviceError(device)  # clear
        self.address = rtc.rtcNewScene(device)
        rtc.rtcSetSceneFlags(self.address, _SCENE_FLAG_ROBUST if robust else 0)
        rtc.rtcSetSceneBuildQuality(self.address, _BUILD_QUALITY_HIGH)
        geometry = rtc.rtcNewGeometry(device, _TRIANGLE_GEOMETRY)
        for kind, layout, data in (
            (_VERTEX_BUFFER, _FLOAT3, np.ascontiguousarray(positions, np.float32)),
            (_INDEX_BUFFER, _UINT3, np.ascontiguousarray(indices, np.uint32)),
        ):
            buffer = rtc.rtcSetNewGeometryBuffer(geometry, kind, 0, layout, 12, len(data))
            if not buffer:
                raise DeviceError(f"Embree has no memory for {len(indices):,} triangles")
            ctypes.memmove(buffer, data.ctypes.data, data.nbytes)
        rtc.rtcSetGeometryBuildQuality(geometry, _BUILD_QUALITY_HIGH)
        rtc.rtcCommitGeometry(geometry)
        rtc.rtcAttachGeometry(self.address, geometry)
        rtc.rtcReleaseGeometry(geometry)
        rtc.rtcCommitScene(self.address)
        error = rtc.rtcGetDeviceError(device)
        if error:
            raise DeviceError(f"Embree could not build its tree over {len(indices):,} triangles (error {error})")

    @property
    def intersect(self) -> int:
        """Address of `rtcIntersect1`."""
        return self._library.intersect

    @property
    def occluded(self) -> int:
        """Address of `rtcOccluded1`."""
        return self._library.occluded

    def __del__(self) -> None:
        if getattr(self, "address", None):
            self._library.functions.rtcReleaseScene(self.address)
            self.address = None
