"""Rendering until there are enough samples, the time is over or the noise is low enough."""

from __future__ import annotations

import time as clock
from collections.abc import Callable

from nrc_tracer.errors import NrcError
from nrc_tracer.imaging.image import Image
from nrc_tracer.interruption import deferred_interrupt
from nrc_tracer.scene.model import Scene
from nrc_tracer.tracer.noise import is_check, next_check
from nrc_tracer.tracer.renderer import USUAL_WARM_UP, Renderer


def run(
    renderer: Renderer,
    *,
    spp: int | None = None,
    time: float | None = None,
    noise: float | None = None,
    progress: Callable[[Renderer], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> bool:
    """Add samples until a number per pixel, a time or a low enough noise is reached, whichever is given and comes first.

    With `noise` alone the number of samples depends on the image alone, not on threads, passes or time.

    Args:
        renderer: The renderer, with its kernels loaded.
        spp: Samples per pixel to end with.
        time: Seconds.
        noise: What `Renderer.noise` shall be at most, 0.05 for 5 %; it is asked for at 32 samples and then about every eighth
            more.
        progress: Called after each pass, and after each frame of a cache's warm-up.
        stop: Asked after each pass that is not the last: True ends it early.

    Returns:
        False if `stop` ended it early, or Ctrl-C was pressed, be it in the last pass; the samples of finished passes are kept.

    Raises:
        NrcError: `noise` is asked for with a cache in which paths end: its bias is no noise.
    """
    if noise is not None and renderer.cache is not None and renderer.cache_mode != "unbiased":
        raise NrcError(
            "noise: the error of a cached image is not noise alone; stop by samples or time, or use cache unbiased"
        )
    start = clock.perf_counter()
    with deferred_interrupt() as interrupted:

        def breaks_off() -> bool:
            if progress is not None:
                progress(renderer)
            return interrupted() or (stop is not None and stop())

        # A quarter of the budget goes into a cache's warm-up at most
        most = None if time is not None else max(USUAL_WARM_UP, (spp or 0) // 4)
        if not renderer.warm_up(frames=most, seconds=None if time is None else time / 4, stop=breaks_off):
            return False
        while spp is None or renderer.samples < spp:
            if interrupted():
                return False
            if noise is not None and is_check(renderer.samples) and renderer.noise() <= noise:
                break
            samples = renderer.suggested_pass()
            if noise is not None:
                samples = min(samples, next_check(renderer.samples) - renderer.samples)
            if spp is not None:
                samples = min(samples, spp - renderer.samples)
            if time is not None and renderer.samples > 0:
                left = time - (clock.perf_counter() - start)
                if left <= 0.0:
                    break
                samples = max(1, min(samples, int(left / renderer.seconds_per_sample)))
            renderer.step(samples)
            if progress is not None:
                progress(renderer)
            if stop is not None and stop() and (spp is None or renderer.samples < spp):
                return False
        return not interrupted()


def render(
    scene: Scene,
    *,
    spp: int | None = None,
    time: float | None = None,
    noise: float | None = None,
    progress: Callable[[Renderer], None] | None = None,
    **options,
) -> Image:
    """Render a scene.

    Args:
        scene: What to render.
        spp: Samples per pixel; the scene's unless this, `time` or `noise` is given.
        time: Seconds to spend.
        noise: Relative error to end with, as `run` has it.
        progress: Called with the renderer after each pass.
        **options: As for `Renderer`: device, threads, accel, seed, width, height, max_depth, sampler, filter.

    Returns:
        The image; `image.rgb` has the shape [height, width, 3], float32, linear Rec. 709.

    Raises:
        SceneError: The scene asks for something impossible.
        DeviceError: The device or the acceleration structure cannot be had.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    renderer = Renderer(scene, **options)
    renderer.compile()
    if spp is None and time is None and noise is None:
        spp = scene.description.sampler.spp
    if not run(renderer, spp=spp, time=time, noise=noise, progress=progress):
        raise KeyboardInterrupt
    return renderer.image()
