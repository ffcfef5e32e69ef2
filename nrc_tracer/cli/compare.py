"""`nrc-tracer compare`."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.outputs import leaving
from nrc_tracer.cli.parameters import (
    SECONDS,
    debug_option,
    device_options,
    finite,
    pairs,
    parameters_option,
    size_options,
)
from nrc_tracer.cli.progress import announced

if TYPE_CHECKING:
    from nrc_tracer.report.settings import Budget, Setting
    from nrc_tracer.scene.model import Scene
    from nrc_tracer.tracer import Renderer

DEFAULT_SAMPLES = (16.0,)
DEFAULT_SECONDS = (10.0,)


def _numbers(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[float, ...]:
    """Read lists such as `16,64`; each number may stand but once."""
    numbers: dict[float, None] = {}
    for word in ",".join(values).split(",") if values else ():
        try:
            number = float(word)
        except ValueError:
            raise click.BadParameter(f'"{word}" is not a number; write for example 4,16.') from None
        if not (math.isfinite(number) and number > 0):
            raise click.BadParameter(f"{word} is not above 0.")
        if parameter.name == "spp" and (number != int(number) or number >= 2**31):
            raise click.BadParameter(f"{word} is not a whole number of samples.")
        numbers[number] = None
    return tuple(sorted(numbers))


def _values(ctx: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> dict[str, Any]:
    """Read `name=value` pairs whose values are JSON, or else words as they are."""
    import json

    values: dict[str, Any] = {}
    for name, word in pairs(ctx, parameter, words).items():
        try:
            values[name] = json.loads(word)
        except ValueError:
            values[name] = word
    return values


@click.command(short_help="Measure what the radiance cache gains, and what it costs in bias.")
@click.argument("scene", metavar="SCENE", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for report.html, metrics.json, figures and images. Default: the scene's name with -comparison.",
)
@click.option(
    "--spp",
    multiple=True,
    callback=_numbers,
    metavar="N[,N..]",
    help="Compare at equal samples per pixel. Default: 16.",
)
@click.option(
    "--time",
    "seconds",
    multiple=True,
    callback=_numbers,
    metavar="S[,S..]",
    help="Compare at equal time, in seconds. Default: 10. If only one of --spp and --time is given, only that is done.",
)
@click.option(
    "--seeds", type=click.IntRange(2, 1000), default=4, show_default=True, help="Images of each setting and budget."
)
@click.option(
    "--encoding",
    "encodings",
    multiple=True,
    type=click.Choice(["hash", "triangle-wave"]),
    help="Of the cache; repeated, encodings are compared. Default: hash.",
)
@click.option("--view", is_flag=True, help="Also compare the cache's own values, seen directly.")
@click.option(
    "--spread", type=click.FloatRange(0, min_open=True), callback=finite, help="c: larger, and paths go on for longer."
)
@click.option(
    "--cache-option",
    "cache_options",
    multiple=True,
    callback=_values,
    metavar="NAME=VALUE",
    help="Any other setting of the cache, as nrc_tracer.RadianceCache has them: steps=4, config=FILE.",
)
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A reference image; given twice, two independent ones, whose noise cancels. Default: rendered and stored.",
)
@click.option(
    "--reference-error",
    type=click.FloatRange(0, min_open=True),
    callback=finite,
    default=0.02,
    show_default=True,
    metavar="REL",
    help="Relative error that a rendered reference has to reach.",
)
@click.option("--reference-time", type=SECONDS, callback=finite, help="Longest time for a reference, in seconds.")
@click.option(
    "--reference-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where references are stored and found again. Default: nrc-references, beside the output.",
)
@click.option(
    "--max-depth", type=click.IntRange(-1, 2**31 - 1), default=-1, show_default=True, help="-1: without limit."
)
@size_options
@click.option("--camera", metavar="NAME|INDEX", help="One of the scene's cameras, as `info` lists them.")
@click.option("--seed", type=click.IntRange(0, 2**39), default=0, show_default=True, help="Where seeds start.")
@click.option("--sampler", type=click.Choice(["sobol", "independent"]), help="Default: what the scene says.")
@device_options
@click.option(
    "--tone", type=click.Choice(["srgb", "aces", "agx"]), default="srgb", show_default=True, help="The pictures' look."
)
@click.option(
    "--exposure", type=float, callback=finite, default=0.0, show_default=True, help="Of all pictures, in stops."
)
@parameters_option
@click.option("--strict", is_flag=True, help="Treat warnings about the scene as errors.")
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@debug_option
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json on stdout instead of tables.")
def compare(*, as_json: bool, quiet: bool, **options: Any) -> None:
    """Render SCENE uncached, cached and unbiased, at equal samples and at equal time, and hold all against a reference.

    Says how far each is off and why (bias or noise), what it costs, and when uncached rendering overtakes. Needs the extra
    `report`: pip install "nrc-tracer[report]".
    """
    # Whatever a library prints must not end up between the tables
    with contextlib.redirect_stdout(sys.stderr):
        data, tables, folder = _compare(quiet=quiet, **options)
    if as_json:
        import json

        click.echo(json.dumps(data))
    elif not quiet:
        from rich.console import Console

        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 200
        for table in tables:
            console.print(table)
            console.print()
        for crossing in data["crossings"]:
            console.print(
                f"uncached overtakes {crossing['setting']}: {crossing['words']}", markup=False, soft_wrap=True
            )
        console.print(f"report: {folder / 'report.html'}", markup=False, soft_wrap=True)


def _compare(
    *,
    scene: Path,
    output: Path | None,
    spp: tuple[float, ...],
    seconds: tuple[float, ...],
    seeds: int,
    encodings: tuple[str, ...],
    view: bool,
    spread: float | None,
    cache_options: dict[str, Any],
    references: tuple[Path, ...],
    reference_error: float,
    reference_time: float | None,
    reference_dir: Path | None,
    max_depth: int,
    seed: int,
    tone: str,
    exposure: float,
    parameters: dict[str, str],
    strict: bool,
    quiet: bool,
    **options: Any,
) -> tuple[dict[str, Any], list[Any], Path]:
    """Compare and write; return what metrics.json holds, the tables and the folder."""
    from nrc_tracer.imaging import check_metrics
    from nrc_tracer.report.figures import check_figures

    # Whatever can fail quickly comes first
    check_metrics()
    check_figures()

    from nrc_tracer.report.compare import Circumstances, prepare_folder, write_report
    from nrc_tracer.report.measure import Look, check_control, measure
    from nrc_tracer.report.settings import make_settings
    from nrc_tracer.report.study import shoot
    from nrc_tracer.report.table import terminal_tables
    from nrc_tracer.scene.load import load_scene

    if len(references) > 2:
        raise click.UsageError("--reference may be given twice at most")
    loaded = load_scene(scene, strict=strict, parameters=parameters)
    folder = output or Path(f"{scene.stem}-comparison")
    prepare_folder(folder)
    settings = make_settings(encodings or ("hash",), view=view)
    warnings: list[str] = []

    def warn(warning: str) -> None:
        warnings.append(warning)
        click.echo(f"warning: {warning}", err=True)

    for warning in loaded.warnings:
        warn(warning)
    if spread is not None:
        cache_options = {**cache_options, "spread": spread}
    make_renderer = _maker(loaded, cache_options, max_depth, options)
    for setting in settings:  # whatever is wrong with a cache's settings, before anything is rendered
        if setting.mode == "on":
            make_renderer(setting, seed)
    plain = make_renderer(settings[0], seed)
    if plain.notice:
        warn(plain.notice)
    with announced("compiling kernels (first run only) ...", after=1.0, quiet=quiet):
        plain.compile()
    with _status(quiet) as say:
        reference = _reference(
            references,
            reference_dir or folder.parent / "nrc-references",
            loaded,
            plain,
            lambda number: make_renderer(settings[0], number),
            camera=options["camera"],
            max_depth=max_depth,
            error=reference_error,
            most_seconds=reference_time,
            say=lambda words: say(words, 0.0),
        )
        if reference.error is not None and reference.error > reference_error and not references:
            warn(f"the reference has an error of {100 * reference.error:.2g} %, as --reference-time was over")
        with leaving("" if references else f"the reference is in {reference.source[0]}"):
            shots = shoot(settings, _budgets(spp, seconds), make_renderer, seeds=seeds, seed=seed, say=say)
            for setting in settings:
                dropped = sum(shot.dropped for budget in shots.budgets for shot in shots.images[setting, budget])
                if dropped:
                    warn(f"{setting.name}: {dropped} samples were not finite and were left out")
            look = Look(tone, exposure)
            measured = measure(shots, reference, look, say=say)
            control = check_control(measured)
            if control:
                warn(control)
            about = Circumstances(
                scene=str(scene),
                device=f"{plain.device} ({plain.accel})",
                sampler=options["sampler"] or loaded.description.sampler.type,
                max_depth=max_depth,
                seeds=seeds,
                options=cache_options,
                warnings=tuple(warnings),
            )
            with leaving(f"the report in {folder} is not whole"):
                data = write_report(folder, shots, measured, reference, look, about, say=say)
    return data, terminal_tables(measured, settings, shots.budgets), folder


def _maker(
    scene: Scene, cache_options: dict[str, Any], max_depth: int, options: dict[str, Any]
) -> Callable[[Setting, int], Renderer]:
    """Return what makes renderers, each with a cache of its own."""
    from nrc_tracer.tracer import Renderer

    def make(setting: Setting, seed: int) -> Renderer:
        cached: dict[str, Any] = {}
        if setting.mode != "off":
            from nrc_tracer.cache import RadianceCache

            cache = RadianceCache(**{"encoding": setting.encoding, **cache_options})
            cached = {"cache": cache, "cache_mode": setting.mode}
        return Renderer(scene, seed=seed, max_depth=max_depth, **options, **cached)

    return make


def _reference(
    files: tuple[Path, ...],
    folder: Path,
    scene: Scene,
    plain: Renderer,
    make_renderer: Callable[[int], Renderer],
    *,
    camera: str | None,
    max_depth: int,
    error: float,
    most_seconds: float | None,
    say: Callable[[str], None],
) -> Any:
    from nrc_tracer.errors import OutputError
    from nrc_tracer.report.references import find_reference, read_reference, reference_key

    if files:
        return read_reference(files, width=plain.width, height=plain.height)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise OutputError(f"{folder}: cannot be made: {reason}; choose another with --reference-dir") from problem
    key = reference_key(scene, camera=camera, width=plain.width, height=plain.height, max_depth=max_depth)
    name = scene.source.stem if scene.source else "scene"
    return find_reference(folder / f"{name}-{key}.npz", make_renderer, error=error, most_seconds=most_seconds, say=say)


def _budgets(spp: tuple[float, ...], seconds: tuple[float, ...]) -> list[Budget]:
    from nrc_tracer.report.settings import Budget

    if not spp and not seconds:
        spp, seconds = DEFAULT_SAMPLES, DEFAULT_SECONDS
    return [*(Budget("samples", n) for n in spp), *(Budget("time", s) for s in seconds)]


@contextlib.contextmanager
def _status(quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """What is being done, in a line that a terminal shows and nothing else does."""
    if quiet or not sys.stderr.isatty():
        yield lambda words, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda words, share: bar.update(task, description=words, completed=share)
