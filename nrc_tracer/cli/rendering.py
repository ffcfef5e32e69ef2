"""The steps of `nrc-tracer render`: checks, loading, rendering, writing, and the summary."""

from __future__ import annotations

import dataclasses
import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.cache_options import CacheChoice
from nrc_tracer.cli.cluster import ClusterOptions, run_with_cluster
from nrc_tracer.cli.options import FilmOptions, LookOptions, Messages, SceneOptions, TracerOptions
from nrc_tracer.cli.outputs import Warnings
from nrc_tracer.cli.progress import COMPILING, RenderBar, announced
from nrc_tracer.cli.saving import CheckpointOptions, Saves, check_checkpoint
from nrc_tracer.cli.summary import cache_line, cache_warning, dropped_warning, result_line, scene_line, summarize
from nrc_tracer.cli.termination import INTERRUPTED, TERMINATED, noted_termination

if TYPE_CHECKING:
    import numpy as np

    from nrc_tracer.imaging import Image
    from nrc_tracer.scene.model import Scene
    from nrc_tracer.tracer import Renderer


@dataclass(frozen=True)
class Limits:
    """When a render ends: at the first of the limits that are given.

    Attributes:
        spp: Samples per pixel.
        seconds: Time of rendering.
        noise: Estimated relative error.
    """

    spp: int | None
    seconds: float | None
    noise: float | None

    def or_samples(self, spp: int) -> Limits:
        """These limits, or this many samples per pixel if none is given."""
        given = any(limit is not None for limit in (self.spp, self.seconds, self.noise))
        return self if given else dataclasses.replace(self, spp=spp)


@dataclass(frozen=True)
class Sampling:
    """How a renderer samples; None for the scene's own setting.

    Attributes:
        max_depth: Segments of the longest path, -1 without limit.
        sampler: `sobol` or `independent`.
        filter: Reconstruction filter: `box`, `tent` or `gaussian`.
        seed: Seed of the random numbers.
    """

    max_depth: int | None
    sampler: str | None
    filter: str | None
    seed: int


@dataclass(frozen=True)
class RenderOptions:
    """All options of `nrc-tracer render`."""

    scene: Path
    outputs: tuple[Path, ...]
    layers: tuple[str, ...] | None
    denoise: bool
    look: LookOptions
    limits: Limits
    sampling: Sampling
    film: FilmOptions
    cache: CacheChoice
    checkpoints: CheckpointOptions
    loading: SceneOptions
    tracing: TracerOptions
    cluster: ClusterOptions
    messages: Messages

    @property
    def with_layers(self) -> bool:
        """Whether any layers are written; None stands for all of them."""
        return self.layers is None or bool(self.layers)


def run_render(options: RenderOptions) -> tuple[dict[str, Any], int]:
    """Render and write; return the summary and the exit code."""
    _check_before_work(options)
    warn, quiet = Warnings(), options.messages.quiet

    start = clock.perf_counter()
    scene = load_scene(options, warn)
    renderer = make_renderer(scene, options)
    load_seconds = clock.perf_counter() - start
    _warn_of_choices(renderer, warn)
    if not quiet:
        click.echo(scene_line(scene, renderer), err=True)
    with announced(COMPILING, quiet=quiet):
        compile_seconds = renderer.compile()

    limits = options.limits.or_samples(scene.description.sampler.spp)
    bar = RenderBar(spp=limits.spp, seconds=limits.seconds, noise=limits.noise, quiet=quiet)
    saves = Saves(
        options.checkpoints,
        save_image=lambda renderer: _save(renderer.image(), options),
        warn=lambda warning: warn(warning, bar.say),
    )
    _resume(renderer, saves, limits, options, warn)
    resumed_from = renderer.samples
    bar.resume(resumed_from)

    with noted_termination() as terminated:
        finished, seconds = _run(renderer, limits, saves, bar, terminated, options)
        image = _finish(renderer, saves, options, finished)
    dropped = dropped_warning(renderer)
    if dropped:
        warn(dropped)
    summary = {
        "scene": str(options.scene),
        **summarize(renderer, image, seconds=seconds, resumed_from=resumed_from),
        "compile_seconds": compile_seconds,
        "load_seconds": load_seconds,
        "outputs": [str(output) for output in options.outputs],
        "interrupted": not finished,
    }
    if renderer.cache is not None:
        if options.cache.save is not None:
            renderer.cache.save(options.cache.save)
        doubt = cache_warning(summary["cache"])
        if doubt:
            warn(doubt)
    summary["warnings"] = warn.given
    _print_result(summary, options)
    return summary, 0 if finished else TERMINATED if terminated() else INTERRUPTED


def _check_before_work(options: RenderOptions) -> None:
    """Check everything that can be checked quickly, before the scene is loaded and rendered."""
    from nrc_tracer.errors import CacheError, OutputError
    from nrc_tracer.files.atomic import replacing
    from nrc_tracer.imaging import LAYER_EXTENSIONS, check_denoiser, check_writable

    options.cluster.check()
    for output in options.outputs:
        check_writable(output)
    if options.cache.save:
        with replacing(options.cache.save, keep=False, error=CacheError) as temporary:
            temporary.touch()
    if options.denoise:
        check_denoiser()
    if options.with_layers and not any(output.suffix.lower() in LAYER_EXTENSIONS for output in options.outputs):
        raise OutputError(f"--layers needs an output of {', '.join(LAYER_EXTENSIONS)}")
    check_checkpoint(options.checkpoints, options.outputs)


def load_scene(options: RenderOptions, warn: Warnings) -> Scene:
    """Read the scene, and print its warnings and notes."""
    scene = options.loading.load(options.scene)
    warn.of_scene(scene)
    for note in () if options.messages.quiet else scene.notes:
        click.echo(f"note: {note}", err=True)
    return scene


def make_renderer(scene: Scene, options: RenderOptions) -> Renderer:
    """Make the renderer that the options describe."""
    from nrc_tracer.tracer import Renderer

    quiet = options.messages.quiet or not scene.snapshots
    with announced("extracting the triangles of learned shapes ...", quiet=quiet):
        return Renderer(
            scene,
            **dataclasses.asdict(options.tracing),
            **dataclasses.asdict(options.film),
            **dataclasses.asdict(options.sampling),
            cache=options.cache.make(),
            cache_mode=options.cache.renderer_mode,
        )


def _warn_of_choices(renderer: Renderer, warn: Warnings) -> None:
    """Warn if Embree is not used although nothing else was chosen, or if options do not fit together."""
    if renderer.notice:
        warn(renderer.notice)
    if renderer.cache is not None and renderer.cache_mode == "raw" and renderer.max_depth is not None:
        warn(
            f"max_depth {renderer.max_depth} limits the paths but not the light that the cache adds at their ends, so the image "
            "is that of neither limit; --max-depth -1 removes it"
        )


def _resume(renderer: Renderer, saves: Saves, limits: Limits, options: RenderOptions, warn: Warnings) -> None:
    """Resume from the checkpoint if it exists and the options request it."""
    from nrc_tracer.errors import CheckpointError

    checkpoint = options.checkpoints.file
    if not checkpoint.exists():
        return
    if not (options.checkpoints.resume or options.checkpoints.auto_resume):
        warn(f"{checkpoint} is of an earlier render and will be replaced; --resume continues it")
        return
    saves.resume(renderer)
    if limits.spp is not None and renderer.samples > limits.spp:
        raise CheckpointError(
            f"{checkpoint}: has {renderer.samples} samples per pixel, more than the {limits.spp} asked for; give a larger "
            "--spp, or leave out --resume to start over"
        )
    if not options.messages.quiet:
        click.echo(f"resuming from {checkpoint}: {renderer.samples} samples per pixel", err=True)


def _run(
    renderer: Renderer,
    limits: Limits,
    saves: Saves,
    bar: RenderBar,
    terminated: Callable[[], bool],
    options: RenderOptions,
) -> tuple[bool, float]:
    """Render up to the limits; return whether that was reached, and the seconds it took.

    Raises:
        KeyboardInterrupt: The render was interrupted before its first sample.
    """
    from nrc_tracer.tracer import run

    def after_pass(renderer: Renderer) -> None:
        bar(renderer)
        if renderer.samples:
            saves(renderer)

    start = clock.perf_counter()
    saves.start()
    with bar:
        if options.cluster.cluster is not None:
            finished = run_with_cluster(
                renderer,
                options.cluster,
                options.tracing,
                spp=limits.spp,
                seconds=limits.seconds,
                noise=limits.noise,
                bar=bar,
                after=saves,
                stop=terminated,
            )
        else:
            finished = run(
                renderer,
                spp=limits.spp,
                time=limits.seconds,
                noise=limits.noise,
                progress=after_pass,
                stop=terminated,
            )
    if renderer.samples == 0:
        raise KeyboardInterrupt
    return finished, clock.perf_counter() - start


def _finish(renderer: Renderer, saves: Saves, options: RenderOptions, finished: bool) -> Image:
    """Write the images, and the checkpoint if it is needed; return the image."""
    from nrc_tracer.errors import OutputError
    from nrc_tracer.imaging import denoise

    image = renderer.image()
    if options.denoise:
        image = dataclasses.replace(image, rgb=denoise(image.rgb, **renderer.layers(("albedo", "normal"))))
    try:
        _save(image, options, renderer.layers(options.layers) if options.with_layers else None)
    except OutputError as error:
        raise saves.rescue(renderer, error) from error
    (saves.succeed if finished else saves.stop)(renderer)
    return image


def _save(image: Image, options: RenderOptions, layers: dict[str, np.ndarray] | None = None) -> None:
    """Write every output that can be written; if any cannot, raise the error of the first at the end."""
    from nrc_tracer.errors import OutputError
    from nrc_tracer.imaging import LAYER_EXTENSIONS, write_layers

    errors = []
    for output in options.outputs:
        suffix = output.suffix.lower()
        try:
            if not layers or suffix != ".exr":
                image.save(output, tone=options.look.tone, exposure=options.look.exposure)
            if layers and suffix in LAYER_EXTENSIONS:
                write_layers(output, image.rgb, layers)
        except OutputError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _print_result(summary: dict[str, Any], options: RenderOptions) -> None:
    """Print the result of the render on stderr."""
    if summary["interrupted"]:
        click.echo(
            f"interrupted: the image has {summary['samples']} samples per pixel; the same command with --resume continues from "
            f"{options.checkpoints.file}",
            err=True,
        )
    if not options.messages.quiet:
        if "cache" in summary:
            click.echo(cache_line(summary), err=True)
        click.echo(result_line(summary), err=True)
