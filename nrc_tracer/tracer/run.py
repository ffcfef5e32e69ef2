"""Rendering until there are enough samples, the time is over or the noise is low enough."""

from __future__ import annotations

import time as clock
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, SupportsIndex

from nrc_tracer.cache.schedule import USUAL_WARM_UP
from nrc_tracer.errors import NrcError
from nrc_tracer.imaging.image import Image
from nrc_tracer.interruption import InterruptedWarning, deferred_interrupt
from nrc_tracer.scene.model import Scene
from nrc_tracer.tracer.choices import whole_number
from nrc_tracer.tracer.noise import is_check, next_check
from nrc_tracer.tracer.path_inputs import CameraChoice
from nrc_tracer.tracer.renderer import Renderer

if TYPE_CHECKING:
    from nrc_tracer.cache import RadianceCache

WARM_UP_SHARE = 4
"""Ratio of a run's time or number of samples to the largest time or number of frames of a cache's warm-up."""


CACHED_NOISE = "noise: the error of a cached image is not noise alone; stop by samples or time, or use cache unbiased"
"""Message about a noise level as the end of a render with a cache."""


def warm_up_limits(spp: int | None, time: float | None) -> tuple[int | None, float | None]:
    """Largest number of frames and longest time [s] of a cache's warm-up, of which one is None, for the limits of a run."""
    if time is not None:
        return None, time / WARM_UP_SHARE
    return max(USUAL_WARM_UP, (spp or 0) // WARM_UP_SHARE), None


def run(
    renderer: Renderer,
    *,
    spp: SupportsIndex | None = None,
    time: float | None = None,
    noise: float | None = None,
    progress: Callable[[Renderer], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> bool:
    """Add samples until a number per pixel, a time or a noise level is reached, whichever is given and comes first.

    With `noise` alone the number of samples depends on the image alone, not on threads, passes or time.

    Args:
        renderer: The renderer.
        spp: Samples per pixel at the end.
        time: Longest time [s].
        noise: Largest `Renderer.noise` at the end, 0.05 for 5 %. It is estimated at 32 samples per pixel, and again whenever
            their number has grown by about an eighth.
        progress: Called after each pass, and after each frame of a cache's warm-up.
        stop: Called after each pass but the last; True ends the run early.

    Returns:
        False if `stop` or Ctrl-C ended the run, even in its last pass; the samples of finished passes are kept.

    Raises:
        NrcError: `noise` is given for an image whose paths end in a cache: its error is not noise alone.
    """
    wanted = None if spp is None else whole_number("spp", spp, least=1)
    if noise is not None and renderer.cache is not None and renderer.cache_mode != "unbiased":
        raise NrcError(CACHED_NOISE)
    start = clock.perf_counter()
    with deferred_interrupt() as interrupted:

        def breaks_off() -> bool:
            if progress is not None:
                progress(renderer)
            return interrupted() or (stop is not None and stop())

        frames, seconds = warm_up_limits(wanted, time)
        if not renderer.warm_up(frames=frames, seconds=seconds, stop=breaks_off):
            return False
        while wanted is None or renderer.samples < wanted:
            if interrupted():
                return False
            if noise is not None and is_check(renderer.samples) and renderer.noise() <= noise:
                break
            samples = renderer.suggested_pass()
            if noise is not None:
                samples = min(samples, next_check(renderer.samples) - renderer.samples)
            if wanted is not None:
                samples = min(samples, wanted - renderer.samples)
            if time is not None and renderer.samples > 0:
                left = time - (clock.perf_counter() - start)
                if left <= 0.0:
                    break
                samples = max(1, min(samples, int(left / renderer.seconds_per_sample)))
            renderer.step(samples)
            if progress is not None:
                progress(renderer)
            if stop is not None and stop() and (wanted is None or renderer.samples < wanted):
                return False
        return not interrupted()


def render(
    scene: Scene,
    *,
    spp: SupportsIndex | None = None,
    time: float | None = None,
    noise: float | None = None,
    progress: Callable[[Renderer], None] | None = None,
    device: str | None = None,
    threads: SupportsIndex | None = None,
    accel: str | None = None,
    seed: SupportsIndex = 0,
    camera: CameraChoice = None,
    width: SupportsIndex | None = None,
    height: SupportsIndex | None = None,
    max_depth: SupportsIndex | None = None,
    sampler: str | None = None,
    filter: str | None = None,
    block_size: SupportsIndex = 1024,
    cache: RadianceCache | None = None,
    cache_mode: str = "on",
) -> Image:
    """Render a scene.

    Ctrl-C ends rendering after the current pass: the image so far is returned, with an `InterruptedWarning`. A second Ctrl-C
    raises `KeyboardInterrupt` at once.

    Args:
        scene: What to render.
        spp: Samples per pixel; the scene's unless this, `time` or `noise` is given.
        time: Longest time [s].
        noise: Largest relative error at the end, as in `run`.
        progress: Called with the renderer after each pass.
        device, threads, accel, seed, camera, width, height, max_depth, sampler, filter, block_size, cache, cache_mode: As in
            `Renderer`.

    Returns:
        The image; `image.rgb` has the shape [height, width, 3], float32, linear Rec. 709.

    Raises:
        SceneError: The scene asks for something impossible.
        DeviceError: The device or the acceleration structure is not available.
        NrcError: A choice is unknown or out of range.
        KeyboardInterrupt: Ctrl-C was pressed before there was a sample.
    """
    renderer = Renderer(
        scene,
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
        block_size=block_size,
        cache=cache,
        cache_mode=cache_mode,
    )
    renderer.compile()
    if spp is None and time is None and noise is None:
        spp = scene.description.sampler.spp
    if not run(renderer, spp=spp, time=time, noise=noise, progress=progress):
        if renderer.samples == 0:
            raise KeyboardInterrupt
        goal = "" if spp is None else f" of {whole_number('spp', spp)}"
        message = f"interrupted: the image has {renderer.samples}{goal} samples per pixel"
        warnings.warn(message, InterruptedWarning, stacklevel=2)
    return renderer.image()
