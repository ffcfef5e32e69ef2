"""`nrc-tracer compare`."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.cache_options import CacheComparison, cache_comparison_options
from nrc_tracer.cli.cluster import ClusterOptions, cluster_options
from nrc_tracer.cli.command import command, option, under
from nrc_tracer.cli.compare_reference import ReferenceOptions, check_reference, make_reference, reference_options
from nrc_tracer.cli.options import (
    OUTPUT,
    PATH,
    QUALITY,
    SCENE_FORMATS,
    FilmOptions,
    LookOptions,
    Messages,
    SceneOptions,
    TracerOptions,
    film_options,
    look_options,
    max_depth_option,
    message_options,
    sampler_option,
    scene_argument,
    scene_options,
    tracer_options,
)
from nrc_tracer.cli.outputs import Warnings, leaving
from nrc_tracer.cli.progress import COMPILING, Bar, announced
from nrc_tracer.cli.values import COUNT, SECONDS, Several, distinct

if TYPE_CHECKING:
    from rich.table import Table

    from nrc_tracer.report.settings import Budget, Setting
    from nrc_tracer.scene.model import Scene
    from nrc_tracer.tracer import Renderer

DEFAULT_SAMPLES = (16,)
"""Samples per pixel that are compared by default."""
DEFAULT_SECONDS = (10.0,)
"""Times in seconds that are compared by default."""


@dataclass(frozen=True)
class CompareOptions:
    """All options of `nrc-tracer compare`."""

    scene: Path
    output: Path | None
    look: LookOptions
    spp: tuple[int, ...]
    seconds: tuple[float, ...]
    seeds: int
    seed: int
    max_depth: int
    sampler: str | None
    denoise: bool
    film: FilmOptions
    cache: CacheComparison
    reference: ReferenceOptions
    loading: SceneOptions
    tracing: TracerOptions
    cluster: ClusterOptions
    messages: Messages

    @property
    def folder(self) -> Path:
        """The folder of the report."""
        return self.output or Path(f"{self.scene.stem}-comparison")

    @property
    def budgets(self) -> list[Budget]:
        """What each image may cost."""
        from nrc_tracer.report.settings import Budget

        spp, seconds = self.spp, self.seconds
        if not spp and not seconds:
            spp, seconds = DEFAULT_SAMPLES, DEFAULT_SECONDS
        return [
            *(Budget("samples", float(n)) for n in sorted(spp)),
            *(Budget("time", s) for s in sorted(seconds)),
        ]


@command(
    short_help="Measure what the radiance cache gains and what bias it has.",
    help=f"""Render SCENE ({SCENE_FORMATS}) with and without the radiance cache, and measure the errors against a reference.

    The comparison is made at equal samples and at equal time. It shows how much of each error is bias and how much is noise, what
    each image costs, and when rendering without the cache overtakes. With --cluster, nodes render the reference; the images that
    are compared are rendered on this machine, so that their times are comparable.
    Needs the extra `report`: pip install "nrc-tracer[report]".
    """,
    examples=(
        "nrc-tracer compare scenes/window-room.json -o compared --width 192 --time 5 --seeds 2 --reference-time 20",
        "nrc-tracer compare model.glb --spp 4,16,64 --cache on --cache-encoding hash,triangle-wave",
        "nrc-tracer compare scenes/door-ajar.json --cache-option steps=4 --json",
        "nrc-tracer compare scenes/door-ajar.json --reference-error 0.005 --cluster auto",
    ),
)
@scene_argument
@under(
    OUTPUT,
    option(
        "-o",
        "--output",
        metavar="DIR",
        type=PATH,
        help="Folder for report.html, metrics.json, figures and images. Default: the scene's name with -comparison.",
    ),
    look_options("all pictures of the report"),
)
@under(
    QUALITY,
    option(
        "--spp",
        type=Several(COUNT),
        multiple=True,
        callback=distinct,
        metavar="N[,N..]",
        help="Compare at equal samples per pixel. Default: 16.",
    ),
    option(
        "--time",
        "seconds",
        type=Several(SECONDS),
        multiple=True,
        callback=distinct,
        metavar="S[,S..]",
        help="Compare at equal time, in seconds. Default: 10. If only one of --spp and --time is given, only that comparison is "
        "made.",
    ),
    option(
        "--seeds",
        type=click.IntRange(2, 1000),
        default=4,
        show_default=True,
        help="Images per setting and budget, each with its own seed.",
    ),
    option(
        "--seed",
        type=click.IntRange(0, 2**39),
        default=0,
        show_default=True,
        help="Seed of the random numbers of the first image; those of the others follow.",
    ),
    max_depth_option(default=-1, show_default=True),
    sampler_option,
    option(
        "--denoise",
        is_flag=True,
        help="Also compare images of the modes off, on and raw after Open Image Denoise, rendered in the time that it leaves. "
        "Needs the extra `denoise`; without it a warning says that they are left out.",
    ),
)
@film_options
@cache_comparison_options
@reference_options
@scene_options
@tracer_options
@cluster_options("Render the reference")
@message_options("Print metrics.json on stdout instead of tables.")
def compare(**options: Any) -> None:
    asked = CompareOptions(**options)
    # What libraries print must not end up between the tables
    with contextlib.redirect_stdout(sys.stderr):
        data, tables = _compare(asked)
    if asked.messages.as_json:
        import json

        click.echo(json.dumps(data))
    elif not asked.messages.quiet:
        _print_tables(tables, data, asked.folder / "report.html")


def _compare(options: CompareOptions) -> tuple[dict[str, Any], list[Table]]:
    """Compare and write; return what metrics.json holds, and the tables."""
    from nrc_tracer.imaging import check_metrics
    from nrc_tracer.report.figures import check_figures

    # What can fail quickly comes first
    check_metrics()
    check_figures()

    from nrc_tracer.report.compare import Circumstances, prepare_folder, write_report
    from nrc_tracer.report.measure import Look, check_control, measure
    from nrc_tracer.report.settings import make_settings
    from nrc_tracer.report.study import shoot
    from nrc_tracer.report.table import terminal_tables

    check_reference(options.reference, options.cluster)
    options.cache.check()
    scene = options.loading.load(options.scene)
    folder = options.folder
    prepare_folder(folder)
    warn, quiet = Warnings(), options.messages.quiet
    warn.of_scene(scene)
    denoised = options.denoise and _can_denoise(warn)
    settings = make_settings(options.cache.encodings, modes=options.cache.modes, denoised=denoised)
    make_renderer = renderer_maker(scene, options)
    plain = _check_renderers(settings, make_renderer, options.seed)
    if plain.notice:
        warn(plain.notice)
    with announced(COMPILING, quiet=quiet):
        plain.compile()
    with Bar(after=("{task.fields[words]}",), quiet=quiet, words="") as bar:

        def say(words: str, share: float) -> None:
            bar.show(share, words=words)

        reference = make_reference(
            scene,
            plain,
            lambda seed: make_renderer(settings[0], seed),
            options.reference,
            folder=folder.parent / "nrc-references",
            camera=options.film.camera,
            max_depth=options.max_depth,
            cluster=None if options.cluster.cluster is None else options.cluster.chosen(options.tracing),
            say=say,
            warn=warn,
        )
        rendered = not options.reference.references
        if rendered and reference.error is not None and reference.error > options.reference.reference_error:
            warn(f"the reference has an error of {100 * reference.error:.2g} %, because --reference-time was over")
        with leaving(f"the reference is in {reference.source[0]}" if rendered else ""):
            shots = shoot(
                settings, options.budgets, make_renderer, seeds=options.seeds, seed=options.seed, say=say, warn=warn
            )
            for setting in shots.settings:
                dropped = sum(shot.dropped for budget in shots.budgets for shot in shots.images[setting, budget])
                if dropped:
                    warn(f"{setting.name}: {dropped} samples were not finite and were left out")
            look = Look(options.look.tone, options.look.exposure)
            measured = measure(shots, reference, look, say=say)
            doubt = check_control(measured)
            if doubt:
                warn(doubt)
            about = Circumstances(
                scene=str(options.scene),
                device=f"{plain.device} ({plain.accel})",
                sampler=options.sampler or scene.description.sampler.type,
                max_depth=options.max_depth,
                seeds=options.seeds,
                options=options.cache.settings,
                warnings=tuple(warn.given),
            )
            with leaving(f"the report in {folder} is incomplete"):
                data = write_report(folder, shots, measured, reference, look, about, say=say)
    return data, terminal_tables(measured, shots.settings, shots.budgets)


def _can_denoise(warn: Warnings) -> bool:
    """Return whether Open Image Denoise is installed; warn if it is not."""
    from nrc_tracer.errors import DeviceError
    from nrc_tracer.imaging import check_denoiser

    try:
        check_denoiser()
    except DeviceError as error:
        warn(f"denoised images are left out: {error}")
        return False
    return True


def renderer_maker(scene: Scene, options: CompareOptions) -> Callable[[Setting, int], Renderer]:
    """Return a function that makes the renderer of a setting and a seed, with a new cache if the setting has one."""
    from nrc_tracer.tracer import Renderer

    def make(setting: Setting, seed: int) -> Renderer:
        cached: dict[str, Any] = {}
        if setting.mode != "off":
            cache, mode = options.cache.make(setting.mode, setting.encoding)
            cached = {"cache": cache, "cache_mode": mode}
        return Renderer(
            scene,
            seed=seed,
            max_depth=options.max_depth,
            sampler=options.sampler,
            **dataclasses.asdict(options.film),
            **dataclasses.asdict(options.tracing),
            **cached,
        )

    return make


def _check_renderers(
    settings: tuple[Setting, ...], make_renderer: Callable[[Setting, int], Renderer], seed: int
) -> Renderer:
    """Make a renderer of every encoding, so that errors in a cache's settings come before any work; return the uncached one."""
    encodings = set()
    for setting in settings[1:]:
        if setting.encoding not in encodings:
            encodings.add(setting.encoding)
            make_renderer(setting, seed)
    return make_renderer(settings[0], seed)


def _print_tables(tables: list[Table], data: dict[str, Any], report: Path) -> None:
    """Print on stdout the tables, their summary, and where the report is."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    for table in tables:
        console.print(table)
        console.print()
    for sentence in data["summary"]:
        console.print(sentence, markup=False, soft_wrap=True)
    console.print(f"report: {report}", markup=False, soft_wrap=True)
