"""Options that several commands have: the same name means the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.command import Decorator, gathered, option, together, under
from nrc_tracer.cli.first_use import checks_gpus
from nrc_tracer.cli.values import COUNT, FINITE, PIXELS, SECONDS, pairs, pixel

if TYPE_CHECKING:
    from nrc_tracer.imaging.tonemap import Tone
    from nrc_tracer.scene.model import Scene

PATH = click.Path(path_type=Path)

OUTPUT, QUALITY, CAMERA, CACHE, SCENE, DEVICE = "Output", "Quality", "Camera", "Cache", "Scene", "Device"
CHECKPOINTS, TRAINING, SNAPSHOT, DATA, MESH = "Checkpoints", "Training", "Snapshot", "Data", "Mesh"
"""Headings of help pages."""

scene_argument = click.argument("scene", metavar="SCENE", type=PATH)
IMAGE_FORMATS = ".exr, .hdr or .npy (linear), .png (tone-mapped)"
SCENE_FORMATS = "glTF .gltf or .glb, Mitsuba 3 .xml, this package's .json, or a mesh: .obj, .ply, .stl"


# General


@dataclass(frozen=True)
class Messages:
    """What a command prints.

    Attributes:
        quiet: Nothing but warnings and errors.
        as_json: A summary as one JSON object on stdout.
    """

    quiet: bool
    as_json: bool


def _debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Set the program's own --debug, which may stand before or after the command."""
    if value:
        ctx.find_root().params["debug"] = True


quiet_option = option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
debug_option = option(
    "--debug", is_flag=True, expose_value=False, callback=_debug, help="Show a traceback with an error."
)


def json_option(what: str = "Print a summary as one JSON object on stdout.") -> Decorator:
    """The option `--json`, with what it prints."""
    return option("--json", "as_json", is_flag=True, help=what)


def message_options(json_help: str = "Print a summary as one JSON object on stdout.") -> Decorator:
    """Options for what a command prints, as the argument `messages`: `Messages`."""
    return together(gathered("messages", Messages, quiet_option, json_option(json_help)), debug_option)


# Scenes


@dataclass(frozen=True)
class SceneOptions:
    """How a scene file is read.

    Attributes:
        parameters: Values of a Mitsuba file's `$name`s.
        strict: Whether warnings are errors.
        environment: What surrounds the scene, as in `load_scene`; None for the scene's own environment.
        rotate_environment: Rotation of the environment map about the vertical [degrees].
    """

    parameters: dict[str, str]
    strict: bool
    environment: str | None
    rotate_environment: float

    def load(self, path: Path) -> Scene:
        """Read a scene file. Raises `SceneError`."""
        from nrc_tracer.scene.load import load_scene

        return load_scene(
            path,
            strict=self.strict,
            parameters=self.parameters,
            environment=self.environment,
            rotate_environment=self.rotate_environment,
        )


scene_options = gathered(
    "loading",
    SceneOptions,
    under(
        SCENE,
        option(
            "-D",
            "parameters",
            multiple=True,
            metavar="NAME=VALUE",
            callback=pairs,
            help="Set the $NAME of a Mitsuba file. May be repeated.",
        ),
        option("--strict", is_flag=True, help="Treat warnings about the scene as errors."),
        option(
            "--environment",
            metavar="FILE|white|sky[:STRENGTH]",
            help="What surrounds the scene in place of its own environment: an image in latitude-longitude form, white light, or "
            "the soft sky. Default: the scene's own.",
        ),
        option(
            "--rotate-environment",
            type=FINITE,
            default=0.0,
            metavar="DEGREES",
            help="Rotation of the environment about the vertical, counter-clockwise seen from above.",
        ),
    ),
)
"""Options for reading a scene file, as the argument `loading`: `SceneOptions`."""


# Devices


@dataclass(frozen=True)
class ComputeOptions:
    """Where a network runs.

    Attributes:
        device: `cpu`, or `cuda:0` and so on; None for the default.
        threads: Threads on the CPU; None for all cores.
    """

    device: str | None
    threads: int | None


@dataclass(frozen=True)
class TracerOptions(ComputeOptions):
    """Where and how rays are traced.

    Attributes:
        accel: `embree` or `warp`; None for the fastest that is installed.
    """

    accel: str | None


_device_and_threads = together(
    option("--device", metavar="NAME", help="cpu, or cuda:0 and so on. Default: CUDA if there is a GPU, else cpu."),
    option("--threads", type=click.IntRange(1, 4096), help="Threads on the CPU. Default: all cores."),
)
compute_options = together(
    checks_gpus(traces_rays=False), gathered("compute", ComputeOptions, under(DEVICE, _device_and_threads))
)
"""Options for where a network runs, as the argument `compute`: `ComputeOptions`."""
tracer_options = together(
    checks_gpus(traces_rays=True),
    gathered(
        "tracing",
        TracerOptions,
        under(
            DEVICE,
            _device_and_threads,
            option(
                "--accel",
                type=click.Choice(["embree", "warp"]),
                help="What intersects rays with triangles. Default: the fastest that is installed.",
            ),
        ),
    ),
)
"""Options for where and how rays are traced, as the argument `tracing`: `TracerOptions`."""


# Cameras


@dataclass(frozen=True)
class FilmOptions:
    """The camera and the size of the image; None for the scene's own.

    Attributes:
        camera: Name or number of one of the scene's cameras.
        width: Width in pixels.
        height: Height in pixels.
    """

    camera: str | None
    width: int | None
    height: int | None


film_options = gathered(
    "film",
    FilmOptions,
    under(
        CAMERA,
        option(
            "--camera",
            metavar="NAME|INDEX",
            help="One of the scene's cameras, as `info` lists them. Default: the scene's default camera.",
        ),
        option("--width", type=PIXELS, help="Width in pixels; without --height, the aspect ratio is kept."),
        option("--height", type=PIXELS, help="Height in pixels; without --width, the aspect ratio is kept."),
    ),
)
"""Options for the camera and the size of a scene's image, as the argument `film`: `FilmOptions`."""

sampler_option = option(
    "--sampler", type=click.Choice(["sobol", "independent"]), help="Random numbers. Default: the scene's sampler."
)


def max_depth_option(**attributes: Any) -> Decorator:
    """The option `--max-depth`."""
    return option(
        "--max-depth",
        type=click.IntRange(-1, 2**31 - 1),
        help="Segments of the longest path: 1 shows only lights, 2 adds direct light, -1 is without limit.",
        **attributes,
    )


# Pictures


@dataclass(frozen=True)
class LookOptions:
    """How radiance becomes colours of a display.

    Attributes:
        tone: Tone mapping.
        exposure: Exposure in stops.
    """

    tone: Tone
    exposure: float


def outputs_option(files: str, default: str | None = None) -> Decorator:
    """The option `-o` for the files to write, as the argument `outputs`; it is required if there is no default.

    Args:
        files: A sentence about the files that the command writes.
        default: What the command writes without the option, for the help page.
    """
    return option(
        "-o",
        "--output",
        "outputs",
        multiple=True,
        required=default is None,
        metavar="FILE",
        type=PATH,
        help=f"{files} May be repeated." + (f" Default: {default}." if default else ""),
    )


def exposure_option(where: str) -> Decorator:
    """The option `--exposure`, with the images that it changes."""
    return option(
        "--exposure", type=FINITE, default=0.0, show_default=True, metavar="STOPS", help=f"Exposure of {where}."
    )


def look_options(where: str) -> Decorator:
    """Options for tone mapping, as the argument `look`: `LookOptions`; `where` says which images they change."""
    return gathered(
        "look",
        LookOptions,
        under(
            OUTPUT,
            option(
                "--tone",
                type=click.Choice(["srgb", "aces", "agx"]),
                default="srgb",
                show_default=True,
                help=f"Tone mapping of {where}.",
            ),
            exposure_option(where),
        ),
    )


denoise_option = option(
    "--denoise",
    is_flag=True,
    help="Remove noise with Open Image Denoise, guided by albedo and normals. Needs the extra `denoise`.",
)


# Samples and time


def spp_option(default: str) -> Decorator:
    """The option `--spp`, with words for its default."""
    return option("--spp", type=COUNT, help=f"Samples per pixel. Default: {default}.")


def every_option(name: str, what: str, default: float | None = None) -> Decorator:
    """An option such as `--save-every`: seconds between two writes of something."""
    shown = {} if default is None else {"default": default, "show_default": True}
    return option(name, type=SECONDS, metavar="SECONDS", help=f"Seconds between {what}.", **shown)


# Resuming


def resume_options(what: str) -> Decorator:
    """The options `--resume` and `--auto-resume`; `what` is the file that they resume from."""
    return together(
        option(
            "--resume", is_flag=True, help=f"Continue from the {what}, with the same result as without an interruption."
        ),
        option(
            "--auto-resume",
            is_flag=True,
            help=f"Like --resume, but start over if there is no {what}: for job scripts.",
        ),
    )


# Tasks


def mesh_resolution_option(what: str, **attributes: Any) -> Decorator:
    """The option `--mesh-resolution`, with what is divided into cells."""
    return option(
        "--mesh-resolution",
        type=click.IntRange(8, 4096),
        default=256,
        show_default=True,
        help=f"Cells along the longest side of {what}.",
        **attributes,
    )


def zoom_at_option(what: str) -> Decorator:
    """The option `--zoom-at`, with what is done at the pixel."""
    return option("--zoom-at", metavar="X,Y", callback=pixel, help=what)
