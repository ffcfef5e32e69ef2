"""A scene as a world: each client has a camera and a film of its own, and all share the scene and its radiance cache."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, SupportsIndex

from msgspec.structs import asdict, replace

from nrc_tracer.errors import NrcError
from nrc_tracer.live.edits import SceneEdit, SetCache
from nrc_tracer.live.frames import Frames
from nrc_tracer.live.picture import Picture
from nrc_tracer.live.view import PictureMode, View
from nrc_tracer.live.world import Budget, Edit
from nrc_tracer.scene.model import Camera, Perspective, Scene
from nrc_tracer.tracer.interactive import InteractiveRenderer
from nrc_tracer.tracer.layers import CACHE_LAYERS, LAYERS
from nrc_tracer.tracer.path_inputs import CameraChoice

if TYPE_CHECKING:
    from nrc_tracer.cache import RadianceCache

WARM_UP_FRAMES = 16
"""Frames of the cache's warm-up, before which pictures are path traced. Training makes up for the rest of it later."""


@dataclass
class _Film:
    """The frames of one client, and the mode that they are drawn in."""

    mode: PictureMode
    frames: Frames


class SceneWorld:
    """A scene with its renderer and, if there is one, its radiance cache.

    Until the cache has warmed up, pictures of the modes that need it are path traced.

    Args:
        scene: The scene.
        cache: A radiance cache, which learns while frames are drawn.
        cache_mode: The mode of the first view, if there is a cache.
        device, threads, accel, seed, camera, width, height, max_depth, sampler, filter: As for `Renderer`.

    Raises:
        NrcError: As `Renderer` raises it.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        cache: RadianceCache | None = None,
        cache_mode: str = "on",
        device: str | None = None,
        threads: SupportsIndex | None = None,
        accel: str | None = None,
        seed: int = 0,
        camera: CameraChoice = None,
        width: SupportsIndex | None = None,
        height: SupportsIndex | None = None,
        max_depth: SupportsIndex | None = None,
        sampler: str | None = None,
        filter: str | None = None,
    ) -> None:
        # A crop window belongs to one size of the film
        description = replace(scene.description, film=replace(scene.description.film, crop=None))
        self._scene, self._seed = dataclasses.replace(scene, description=description), seed
        self.renderer = InteractiveRenderer(
            self._scene,
            device=device,
            threads=threads,
            accel=accel,
            seed=seed,
            camera=camera,
            width=width,
            height=height,
            max_depth=max_depth,
            sampler=sampler,
            filter=filter,
            cache=cache,
        )
        self._films: dict[str, _Film] = {}
        self._learns_from: View | None = None
        mode = PictureMode.OFF if cache is None else PictureMode(cache_mode)
        self._generation = 0
        self._start = View(self.renderer.camera, self.renderer.width, self.renderer.height, mode)

    # What sessions use

    @property
    def start(self) -> View:
        """The scene's camera and size; with the cache if there is one, in the mode that was asked for."""
        return self._start

    @property
    def modes(self) -> Sequence[PictureMode]:
        """All modes with a cache, else path tracing."""
        return tuple(PictureMode) if self.renderer.cache is not None else (PictureMode.OFF,)

    @property
    def layers(self) -> Sequence[str]:
        """The layers of the renderer; those of the cache are shown in modes that use it."""
        return LAYERS if self.renderer.cache is None else LAYERS + CACHE_LAYERS

    @property
    def is_training(self) -> bool:
        """Whether the cache warms up for a client."""
        return self._learns_from is not None and not self._is_warm

    @property
    def _is_warm(self) -> bool:
        return self.renderer.frames is not None and self.renderer.frames.is_warm

    def draw(self, client: str, view: View, budget: Budget) -> Picture | None:
        """Draw a frame for a client; None if it was interrupted.

        Raises:
            NrcError: The mode or the layer needs a cache, and there is none.
        """
        mode = view.mode
        if mode not in self.modes:
            raise NrcError(f'mode "{mode}" needs a radiance cache, and this scene is shown without one')
        if mode is not PictureMode.OFF and not self._is_warm:
            self._learns_from, mode = view, PictureMode.OFF
        film = self._films.get(client)
        if film is None or film.mode is not mode:
            film = self._films[client] = _Film(mode, self._frames(mode))
        return film.frames.draw(view, budget)

    def advance(self, seconds: float) -> None:
        """Warm the cache up for about this long [s], with paths from the camera of a client."""
        view = self._learns_from
        if view is None:
            return
        end = time.perf_counter() + seconds
        self.renderer.look(view.camera, width=view.width, height=view.height, keeps_measurements=True)
        self.renderer.warm_up(frames=WARM_UP_FRAMES, stop=lambda: time.perf_counter() >= end)
        if self._is_warm:
            self._learns_from = None

    def edit(self, edit: Edit) -> None:
        """Change the scene.

        Raises:
            NrcError: It is neither a `SceneEdit` nor a `SetCache`, or its result would not be valid; nothing has changed.
        """
        if isinstance(edit, SetCache):
            self._set_cache(edit)
            return
        if not isinstance(edit, SceneEdit):
            raise NrcError(f"a scene cannot be changed by {type(edit).__name__}")
        scene = dataclasses.replace(self._scene, description=edit.apply(self._scene.description))
        self.renderer.update(scene)
        self._scene = scene
        for film in self._films.values():
            for renderer in {film.frames.renderer, film.frames.mover}:
                renderer.follow(self.renderer)
            film.frames.forget()

    def _set_cache(self, edit: SetCache) -> None:
        """Change the options of the cache, or begin with a new one; frames are drawn anew."""
        from nrc_tracer.cache import RadianceCache
        from nrc_tracer.cache.options import CacheOptions

        old = self.renderer.cache
        if old is None:
            raise NrcError("this scene is shown without a radiance cache")
        # Built from all values, so that their ranges are checked
        changes = {"encoding": edit.encoding, "spread": edit.spread, "freeze": edit.is_frozen}
        if edit.encoding != old.options.encoding:
            changes["config"] = None  # it has an encoding of its own
        options = CacheOptions(**{**asdict(old.options), **changes})
        is_new = edit.encoding != old.options.encoding or edit.generation != self._generation
        if options.freeze and (is_new or not self._is_warm):
            raise NrcError("the cache has learnt too little to be frozen; wait for the end of its warm-up")
        if not is_new:
            old.options = options
        self.renderer = self.renderer.sibling(cache=RadianceCache(options) if is_new else old)
        self._generation = edit.generation
        self._films.clear()

    def forget(self, client: str) -> None:
        """Release the film of a client."""
        self._films.pop(client, None)

    def _frames(self, mode: PictureMode) -> Frames:
        if mode is PictureMode.OFF:
            return Frames(self.renderer.sibling(), seed=self._seed)

        def renderer(mode: PictureMode) -> InteractiveRenderer:
            return self.renderer.sibling(cache=self.renderer.cache, cache_mode=mode.value)

        mover = renderer(PictureMode.RAW) if mode is PictureMode.ON else None
        return Frames(renderer(mode), mover=mover, seed=self._seed)

    # What pages show and save

    @property
    def scene(self) -> Scene:
        """The scene with all edits so far."""
        return self._scene

    @property
    def cache_settings(self) -> SetCache | None:
        """The edit that would give the cache the settings that it has; None without a cache."""
        if self.renderer.cache is None:
            return None
        options = self.renderer.cache.options
        return SetCache(options.encoding, options.spread, options.freeze, self._generation)

    def point_at(self, view: View, x: float, y: float) -> tuple[float, float, float] | None:
        """The surface point that a view shows at a place of its picture, in world space; see `Pickable`."""
        eye = self.renderer.sibling()
        eye.look(_pinhole(view.camera), width=view.width, height=view.height)
        hits = eye.first_hits()
        column, row = (min(max(int(share * side), 0), side - 1) for share, side in ((x, view.width), (y, view.height)))
        pixel = row * view.width + column
        if not hits.hits.numpy()[pixel]:
            return None
        px, py, pz = (float(value) for value in hits.position.numpy()[pixel] + eye.origin)
        return px, py, pz

    def frames(self, client: str) -> Frames | None:
        """The frames of a client, whose renderer has its image and layers; None before its first frame."""
        film = self._films.get(client)
        return None if film is None else film.frames


def _pinhole(camera: Camera) -> Camera:
    """A camera without blur, so that its pixels show one point each."""
    return replace(camera, aperture_radius=0.0) if isinstance(camera, Perspective) else camera
