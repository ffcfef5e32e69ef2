"""Rendering for a camera that moves: another camera, size or seed costs no more than a film."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from nrc_tracer.cache.mode import CacheMode
from nrc_tracer.device.launch import Launcher
from nrc_tracer.scene.model import Camera, Scene
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.choices import known_kind
from nrc_tracer.tracer.film_sums import FilmSums
from nrc_tracer.tracer.interaction import Surfaces
from nrc_tracer.tracer.layers import HitArrays, launch_first_hits
from nrc_tracer.tracer.path_inputs import CameraChoice
from nrc_tracer.tracer.renderer import Renderer

if TYPE_CHECKING:
    from nrc_tracer.cache import RadianceCache


class InteractiveRenderer(Renderer):
    """A renderer whose camera, size and seed change often. Its siblings render the same scene in the same memory."""

    def look(
        self,
        camera: CameraChoice = None,
        *,
        width: SupportsIndex | None = None,
        height: SupportsIndex | None = None,
        seed: SupportsIndex | None = None,
        keeps_measurements: bool = False,
    ) -> None:
        """Begin a new image with another camera, size or seed; each stays as it is unless given.

        Nothing is built or compiled. The image equals that of a new renderer of the same scene with these settings, bit for bit
        without a cache; a cache is kept.

        Args:
            camera: The camera.
            width, height: Size of the image [pixels]; if only one is given, the aspect ratio is kept.
            seed: Seed of all random numbers.
            keeps_measurements: Whether what a cache measured for the earlier camera also decides this image. It saves time while
                a camera moves.

        Raises:
            SceneError: The size is out of range, or the film has a crop window.
        """
        if width is not None or height is not None:
            self._inputs.set_size(width, height)
        size = self._inputs.size
        if size != (self.width, self.height):
            self.width, self.height = size
            self._sums = FilmSums(*size, self._launcher)
            if self.frames is not None:
                from nrc_tracer.tracer.cut_tracer import CutTracer

                source = self.frames.source
                if isinstance(source, CutTracer):
                    self.frames = self.frames.resized(source.resized())
        if camera is not None and keeps_measurements:
            self._inputs.set_camera(camera)
            camera = None
        self.reset(seed=seed, camera=camera)

    def sibling(self, *, cache: RadianceCache | None = None, cache_mode: str = "on") -> InteractiveRenderer:
        """A renderer of the same scene with the same settings, but with a film and a camera of its own.

        The two share the scene's memory on the device and the threads. A change of the scene of one is not seen by the other.

        Args:
            cache: A radiance cache that paths end in, which may be this renderer's.
            cache_mode: What it is used for.
        """
        mode = known_kind("mode of a cache", cache_mode, CacheMode)
        other = copy.copy(self)
        other.cache_mode = mode.value
        other._inputs = self._inputs.copy()
        other._sums = FilmSums(self.width, self.height, self._launcher)
        other._compiled = False
        other.frames = None
        if cache is not None:
            other.frames = other._begin_cache(cache, mode, self._launcher.block_size)
        other.reset()
        return other

    def follow(self, other: InteractiveRenderer) -> None:
        """Begin a new image of the scene that another renderer, a sibling, has now; the camera and the cache stay."""
        self._inputs.share_scene(other._inputs)
        if self.frames is not None:
            self.frames.forget_view()
        self.reset()

    @property
    def camera(self) -> Camera:
        """The camera."""
        return self._inputs.camera

    @property
    def scene(self) -> Scene:
        """The scene, with triangles in place of neural shapes."""
        return self._inputs.scene

    @property
    def surfaces(self) -> Surfaces:
        """The geometry as kernels read it."""
        return self._inputs.records[0].surfaces

    @property
    def origin(self) -> np.ndarray:
        """The point of world space that is the origin of all positions on the device, float64 [3]."""
        return self._inputs.origin

    @property
    def launcher(self) -> Launcher:
        """Launches kernels on the renderer's device."""
        return self._launcher

    @property
    def film_records(self) -> tuple[CameraRecord, FilmRecord]:
        """Camera and film as kernels read them."""
        return self._inputs.records[1], self._inputs.records[2]

    def first_hits(self) -> HitArrays:
        """What the camera rays of the image's first sample hit first, on the device; see `FirstHits`."""
        return launch_first_hits(self._launcher, *self._inputs.records, pixels=self.width * self.height, samples=1)
