"""What the kernels that trace paths read: a scene, a camera, a film and settings, on a device."""

from __future__ import annotations

import copy
from typing import Any, SupportsIndex

import msgspec
import numpy as np

from nrc_tracer.scene.cameras import choose_camera
from nrc_tracer.scene.film import resize_film
from nrc_tracer.scene.model import Camera, Film, Scene, SceneDescription
from nrc_tracer.scene.validate import validate_scene
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.camera_records import camera_record, film_record
from nrc_tracer.tracer.choices import known_kind, whole_number
from nrc_tracer.tracer.device_scene import DeviceScene
from nrc_tracer.tracer.neural_shapes import with_triangles
from nrc_tracer.tracer.scene_digests import scene_digests
from nrc_tracer.tracer.scene_record import SceneRecord
from nrc_tracer.tracer.scene_tables import same_geometry
from nrc_tracer.tracer.transport import PathSettings
from nrc_tracer.tracer.vocabulary import Accel, FilterKind, SamplerKind

UNLIMITED = 2**31 - 1
"""Maximum depth that stands for no limit."""

CameraChoice = str | SupportsIndex | Camera | None
"""A camera, the name or index of one of a scene's cameras, or None for the scene's own."""


class PathInputs:
    """Scene, camera, film and settings of paths on a device, and what they were made from.

    Args:
        scene: The scene.
        film: The film, in its final size and with its filter.
        device: Warp device.
        threads: Threads on the CPU; one per core for None.
        accel: What intersects triangles.
        camera: The camera instead of the scene's.
        seed: Seed of all random numbers.
        sampler: Kind of the random numbers.
        max_depth: Longest path in segments, None without limit.

    Attributes:
        scene: The scene, with triangles in place of neural shapes.
        camera: The camera.
        film: The film.
        settings: Settings of paths, for kernels.
        accel: What intersects triangles.

    Raises:
        SceneError: The scene asks for something impossible.
        DeviceError: The device has no room for it.
    """

    def __init__(
        self,
        scene: Scene,
        film: Film,
        *,
        device: str,
        threads: int | None,
        accel: Accel,
        camera: CameraChoice,
        seed: SupportsIndex,
        sampler: SamplerKind,
        max_depth: int | None,
    ) -> None:
        self._device, self._threads, self.accel = device, threads, accel
        self.film, self._film_record = film, film_record(film)
        self.settings = PathSettings()
        self.settings.sampler = int(sampler)
        self.settings.max_depth = UNLIMITED if max_depth is None else min(max_depth, UNLIMITED)
        self.settings.rr_depth = scene.description.integrator.rr_depth
        self.set_seed(seed)
        self._choice = camera
        self._take_scene(scene, None)

    def set_seed(self, seed: SupportsIndex) -> None:
        """Take another seed, any integer: its lower 64 bits."""
        self.settings.seed = whole_number("seed", seed) % 2**64

    def set_camera(self, camera: CameraChoice) -> None:
        """Take another camera."""
        model = choose_camera(self.scene.description, camera)
        self._choice, self.camera = camera, model
        self._camera_record = camera_record(model, self.film, self.origin)

    def set_size(self, width: SupportsIndex | None, height: SupportsIndex | None) -> None:
        """Take another size [pixels]; if only one side is given, the other keeps the aspect ratio. Raises `SceneError`."""
        width = None if width is None else whole_number("width", width)
        height = None if height is None else whole_number("height", height)
        self.film = resize_film(self.film, width, height)
        self._film_record = film_record(self.film)
        self._camera_record = camera_record(self.camera, self.film, self.origin)

    def copy(self) -> PathInputs:
        """The same, in the same memory, with camera, film and settings that can be changed independently."""
        other = copy.copy(self)
        other.settings = PathSettings()
        for name in ("sampler", "seed", "max_depth", "rr_depth"):
            setattr(other.settings, name, getattr(self.settings, name))
        return other

    def set_scene(self, scene: Scene) -> None:
        """Take another scene, and its camera unless another was chosen; after an error the scene is the one from before.

        Where only materials, textures, lights and emitted radiance differ, the geometry stays on the device as it is.
        """
        self._take_scene(scene, (self.scene, self._device_scene))

    def _take_scene(self, scene: Scene, before: tuple[Scene, DeviceScene] | None) -> None:
        validate_scene(scene)
        camera = choose_camera(scene.description, self._choice)
        scene = with_triangles(scene, self._device, self._threads)
        if before is not None and same_geometry(before[0], scene):
            self._device_scene = before[1].dressed(scene)
        else:
            self._device_scene = DeviceScene(scene, self._device, self.accel)
        self.scene, self.camera = scene, camera
        self._camera_record = camera_record(camera, self.film, self.origin)
        self._digests: dict[str, dict[str, str]] | None = None

    def share_scene(self, other: PathInputs) -> None:
        """Take the scene of another, in the same memory; the camera stays."""
        self.scene, self._device_scene, self._digests = other.scene, other._device_scene, other._digests
        self._choice = self.camera
        self._camera_record = camera_record(self.camera, self.film, self.origin)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image [pixels]."""
        return self.film.crop[2:] if self.film.crop else (self.film.width, self.film.height)

    def in_rows(self, first: int, rows: int) -> PathInputs:
        """The same for rows `first` .. `first + rows - 1` of the image alone; they share the scene's memory."""
        x, y, width, _ = self.film.crop or (0, 0, *self.size)
        part = copy.copy(self)
        part.film = msgspec.structs.replace(self.film, crop=(x, y + first, width, rows))
        part._film_record = film_record(part.film)
        return part

    @property
    def max_depth(self) -> int | None:
        """Longest path in segments, None without limit."""
        return int(self.settings.max_depth) if self.settings.max_depth < UNLIMITED else None

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the box around the scene in world space, float64 [3] each."""
        return self._device_scene.box

    @property
    def origin(self) -> np.ndarray:
        """The point of world space that is the origin of all positions on the device, float64 [3]."""
        return self._device_scene.origin

    @property
    def records(self) -> tuple[SceneRecord, CameraRecord, FilmRecord, PathSettings]:
        """The first arguments of the kernels that trace paths."""
        return self._device_scene.record, self._camera_record, self._film_record, self.settings

    def values(self) -> dict[str, Any]:
        """Camera, film and settings by name: with the scene they decide which paths are traced."""
        return {
            **msgspec.structs.asdict(self.film),
            "camera": msgspec.to_builtins(self.camera),
            "seed": int(self.settings.seed),
            "sampler": SamplerKind(self.settings.sampler).name.lower(),
            "max_depth": "without limit" if self.max_depth is None else self.max_depth,
            "rr_depth": self.settings.rr_depth,
        }

    def digests(self) -> dict[str, dict[str, str]]:
        """Digests of the scene's parts, by kind and name; see `scene_digests`."""
        if self._digests is None:
            self._digests = scene_digests(self.scene)
        return self._digests


def choose_film(
    description: SceneDescription, width: SupportsIndex | None, height: SupportsIndex | None, filter: str | None
) -> Film:
    """The scene's film, in another size [pixels] or with another filter where they are given.

    Raises:
        SceneError: The size is impossible.
        NrcError: There is no such filter.
    """
    width = None if width is None else whole_number("width", width)
    height = None if height is None else whole_number("height", height)
    film = resize_film(description.film, width, height)
    if filter is None:
        return film
    known_kind("filter", filter, FilterKind)
    return msgspec.structs.replace(film, filter=filter, filter_radius=None)


def choose_depth(description: SceneDescription, max_depth: SupportsIndex | None) -> int | None:
    """Longest path in segments: `max_depth`, or the scene's if that is None. Negative numbers mean no limit, returned as None."""
    depth = description.integrator.max_depth if max_depth is None else whole_number("max_depth", max_depth)
    return None if depth is None or depth < 0 else depth
