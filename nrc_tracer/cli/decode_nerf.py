"""`nrc-tracer decode nerf`: views, distances, a video or a mesh of a radiance field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.command import command, gathered, option, under
from nrc_tracer.cli.decoding import MESH_FILES, Decoding, decoding_options, run_decode
from nrc_tracer.cli.options import CAMERA, MESH, OUTPUT, mesh_resolution_option
from nrc_tracer.cli.outputs import leaving
from nrc_tracer.cli.values import POSITIVE, FiniteRange
from nrc_tracer.errors import DataError, OutputError

if TYPE_CHECKING:
    import numpy as np

    from nrc_tracer.tasks.nerf.camera import PhotoCamera
    from nrc_tracer.tasks.nerf.neural_scene import NeuralScene, RenderedView

PICTURES = (".png", ".exr")
BACKGROUNDS = {"black": 0.0, "white": 1.0, "transparent": None}
PATHS = ("spline", "orbit", "spiral")
"""Camera paths that are made from the cameras of the photographs."""
DEFAULT_PATH = "orbit"


@dataclass(frozen=True)
class ViewOptions:
    """Which views are written, and how.

    Attributes:
        view: What `--view` names; None for the first held-out view.
        camera_path: One of `PATHS` or a file; None for no moving camera, unless an output is a video.
        frames: Frames of a path that is made from the photographs' cameras.
        fps: Frames per second of a video.
        scale: Pixels that are written for one pixel of the photographs, along each side.
        background: One of `BACKGROUNDS`.
        depth: Whether distances are written beside each view.
    """

    view: str | None
    camera_path: str | None
    frames: int
    fps: float
    scale: float
    background: str
    depth: bool

    @property
    def moving(self) -> bool:
        """Whether the options name a camera path."""
        return self.camera_path is not None

    @property
    def background_color(self) -> float | None:
        """Grey value behind the scene; None for transparency."""
        return BACKGROUNDS[self.background]


@dataclass(frozen=True)
class MeshOptions:
    """How a mesh is extracted; see the options of the command."""

    mesh_resolution: int
    mesh_density: float
    mesh_box: float


def _check_path(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and value not in PATHS and not Path(value).suffix and not Path(value).exists():
        raise click.BadParameter(f'"{value}" is neither one of {", ".join(PATHS)} nor a file.')
    return value


@command(
    short_help="Write views, a video or a mesh of a fitted radiance field.",
    examples=(
        "nrc-tracer decode nerf room.safetensors -o view.png --view 1 --scale 2",
        "nrc-tracer decode nerf room.safetensors -o flight.mp4 --camera-path spline --frames 60",
        "nrc-tracer decode nerf room.safetensors -o views --view test --depth",
        "nrc-tracer decode nerf room.safetensors -o room.glb --mesh-resolution 512",
    ),
)
@decoding_options(
    f"a view (.png, .exr), a video (.mp4), a coloured mesh ({MESH_FILES}), or no ending for a folder of views or frames",
    gathered(
        "view",
        ViewOptions,
        under(
            OUTPUT,
            option(
                "--scale",
                type=FiniteRange(0.01, 16),
                default=1.0,
                show_default=True,
                old={"--view-scale": "{}"},
                help="Pixels that are written for one pixel of the photographs, along each side.",
            ),
            option(
                "--background",
                type=click.Choice(list(BACKGROUNDS)),
                default="black",
                show_default=True,
                help="What lies behind the scene.",
            ),
            option(
                "--depth",
                is_flag=True,
                help="Also write the distances along the rays of each view: .depth.exr in units of the data, .depth.png "
                "(16 bits) as fractions of the largest distance.",
            ),
        ),
        under(
            CAMERA,
            option(
                "--view",
                metavar="N|NAME|test|train",
                help="Photograph whose camera is used: number or name of a held-out one, train:N for one that was learned from; "
                "test or train for all of them, into a folder. Default: 0.",
            ),
            option(
                "--camera-path",
                metavar=f"{'|'.join(PATHS)}|FILE",
                callback=_check_path,
                old={"--path": "{}"},
                help="Move the camera: along a path that is made from the photographs' cameras, or along that of a file: a "
                "transforms.json, nerfstudio's camera_path or instant-ngp's. Default for a video: orbit.",
            ),
            option(
                "--frames",
                type=click.IntRange(1, 100_000),
                default=120,
                show_default=True,
                help="Number of frames of a path that is made from the photographs' cameras.",
            ),
            option(
                "--fps",
                type=FiniteRange(0.1, 240),
                default=30.0,
                show_default=True,
                help="Frames per second of a video.",
            ),
        ),
    ),
    gathered(
        "mesh",
        MeshOptions,
        under(
            MESH,
            mesh_resolution_option("the box that is meshed"),
            option(
                "--mesh-density",
                type=POSITIVE,
                default=20.0,
                show_default=True,
                help="Density on the surface of the mesh, per unit cube.",
            ),
            option(
                "--mesh-box",
                type=FiniteRange(0, 128, min_open=True),
                default=1.0,
                show_default=True,
                help="Side of the box around the middle of the scene that is meshed, in unit cubes.",
            ),
        ),
    ),
)
def nerf(decoding: Decoding, view: ViewOptions, mesh: MeshOptions) -> None:
    """Write the radiance field that the SNAPSHOT of `nrc-tracer fit nerf` holds: views, a video or a coloured mesh.

    The photographs are not needed.
    """
    run_decode("nerf", decoding, lambda: _decode(decoding, view, mesh))


def _decode(decoding: Decoding, options: ViewOptions, mesh: MeshOptions) -> dict[str, Any]:
    """Write the outputs; return facts about them as JSON data.

    Raises:
        SnapshotError: The snapshot cannot be read.
        DataError: There is no such view, path or surface.
        OutputError: An output has an unknown ending or cannot be written.
    """
    from nrc_tracer.surfaces.surface_mesh import FORMATS
    from nrc_tracer.tasks.nerf.neural_scene import load_neural_scene
    from nrc_tracer.tasks.nerf.video import CONTAINERS

    for output in decoding.outputs:
        _check_output(output, (*FORMATS,), (*CONTAINERS,), options)
    kinds = {output.suffix.lower() for output in decoding.outputs}
    field = load_neural_scene(decoding.snapshot, device=decoding.compute.device, threads=decoding.compute.threads)
    # What can fail does so before anything is written
    if options.moving or kinds & set(CONTAINERS):
        cameras = _path(field, options)
    if not options.moving and kinds - {*FORMATS, *CONTAINERS}:
        views = _cameras(field, options.view)
        for output in decoding.outputs:
            if output.suffix.lower() in PICTURES and len(views) > 1:
                raise OutputError(f"{output}: one file for {len(views)} views; give a folder")

    def write(output: Path) -> tuple[dict[str, Any], str]:
        kind = output.suffix.lower()
        if kind in FORMATS:
            facts = _write_mesh(field, output, mesh)
            return facts, f"{facts['triangles']:,} triangles"
        if kind in CONTAINERS or options.moving:
            facts = _write_video(field, output, cameras, options, quiet=decoding.messages.quiet)
            return facts, f"{facts['frames']} frames of {facts['width']} x {facts['height']} pixels"
        facts = _write_views(field, output, views, options)
        return facts, f"{facts['views'][0]}" if kind else f"{len(facts['views'])} views"

    return {"outputs": decoding.write_each(write), "background": options.background}


def _check_output(output: Path, meshes: tuple[str, ...], videos: tuple[str, ...], options: ViewOptions) -> None:
    """Raise `OutputError` for a file, or folder, that cannot be written or does not go with the options."""
    from nrc_tracer.files.atomic import check_place

    kind = output.suffix.lower()
    if kind not in (*meshes, *PICTURES, *videos, ""):
        known = ", ".join((*PICTURES, *videos, *meshes))
        raise OutputError(
            f'{output}: a radiance field is not written as "{output.suffix}" (known: {known}, or a folder)'
        )
    if options.moving and kind in PICTURES:
        raise OutputError(f"{output}: a path of the camera makes a video (.mp4), or images in a folder")
    if options.background_color is None and (kind in videos or (options.moving and not kind)):
        raise OutputError(f"{output}: frames are not transparent; choose another --background")
    if kind:
        check_place(output)
    elif output.exists() and not output.is_dir():
        raise OutputError(f"{output}: cannot be written: it is a file, not a folder; remove it or add an ending")


def _cameras(field: NeuralScene, view: str | None) -> list[tuple[str, PhotoCamera]]:
    """The names and cameras that `--view` names."""
    view = "0" if view is None else view
    split, _, which = view.partition(":") if view.partition(":")[0] in ("train", "test") else ("", "", view)
    if not split:
        split = "test" if field.cameras["test"] else "train"
    pairs = list(zip(field.names[split], field.cameras[split], strict=True))
    if not pairs:
        raise DataError(f"view: the snapshot has no {split} views")
    if not which:
        return pairs
    named = [pair for pair in pairs if pair[0] == which]
    if named:
        return named[:1]
    if not which.isdecimal() or int(which) >= len(pairs):
        raise DataError(f'view: there is no {split} view "{which}" (they are numbered 0 to {len(pairs) - 1})')
    return [pairs[int(which)]]


def _path(field: NeuralScene, options: ViewOptions) -> list[PhotoCamera]:
    """The cameras of a path."""
    from nrc_tracer.tasks.nerf.camera_path import camera_path, read_camera_path

    cameras = [camera.scaled(options.scale) for camera in field.cameras["train"]]
    path = DEFAULT_PATH if options.camera_path is None else options.camera_path
    if path in PATHS:
        return camera_path(path, cameras, options.frames)
    return read_camera_path(Path(path), cameras[0], field.scale, field.offset)


def _write_views(
    field: NeuralScene, output: Path, views: list[tuple[str, PhotoCamera]], options: ViewOptions
) -> dict[str, Any]:
    """Write views to a file, or to a folder."""
    from nrc_tracer.imaging.pixels import write_pixels

    if not output.suffix:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{output}: cannot be written: {error.strerror or error}") from error
    largest = []
    for number, (name, camera) in enumerate(views):
        camera = camera.scaled(options.scale)
        file = output if output.suffix else output / f"{number:05d}-{Path(name).stem}.png"
        with leaving(f"{number} of {len(views)} views in {output}" if number else ""):
            picture = field.view(camera)
            if file.suffix.lower() == ".exr":
                write_pixels(file, _linear(picture, options.background_color))
            else:
                write_pixels(file, picture.pixels(options.background_color))
            if options.depth:
                largest.append(_write_depth(picture, file))
    facts = {"views": [name for name, _ in views], "width": camera.width, "height": camera.height}
    return facts | ({"largest_distance": largest} if options.depth else {})


def _linear(picture: RenderedView, background: float | None) -> np.ndarray:
    """Linear colour, float32 [height, width, 3 or 4]; the colour is multiplied by alpha, as EXR files require."""
    import numpy as np

    from nrc_tracer.imaging.tonemap import decode_srgb

    if background is not None:
        return decode_srgb(np.clip(picture.color + (1.0 - picture.alpha)[:, :, None] * background, 0.0, 1.0)).astype(
            np.float32
        )
    alpha = picture.alpha[:, :, None]
    straight = decode_srgb(np.clip(picture.color / np.maximum(alpha, 1e-6), 0.0, 1.0))
    return np.concatenate([straight * alpha, alpha], axis=2).astype(np.float32)


def _write_depth(picture: RenderedView, file: Path) -> float:
    """Write the distances beside a view; return the largest of them."""
    import numpy as np

    from nrc_tracer.imaging.pixels import write_pixels

    distance = picture.distance[:, :, None]
    largest = float(distance.max())
    write_pixels(file.with_suffix(".depth.exr"), distance.astype(np.float32))
    fractions = distance / largest if largest > 0.0 else distance
    write_pixels(file.with_suffix(".depth.png"), (fractions * 65535.0 + 0.5).astype(np.uint16))
    return largest


def _write_video(
    field: NeuralScene, output: Path, cameras: list[PhotoCamera], options: ViewOptions, *, quiet: bool
) -> dict[str, Any]:
    """Write a video, or its frames to a folder."""
    from nrc_tracer.tasks.nerf.video import VideoWriter

    width, height = cameras[0].width, cameras[0].height
    with VideoWriter(output, width, height, options.fps) as video:
        for number, camera in enumerate(cameras):
            kept = number and not output.suffix  # an interrupted video is removed
            with leaving(f"{number} of {len(cameras)} frames in {output}" if kept else ""):
                video.add(field.view(camera).pixels(options.background_color))
            if not quiet and (number + 1) % 10 == 0:
                click.echo(f"  {number + 1} of {len(cameras)} frames", err=True)
    return {"frames": len(cameras), "width": width, "height": height, "fps": options.fps}


def _write_mesh(field: NeuralScene, output: Path, options: MeshOptions) -> dict[str, Any]:
    """Write a mesh; return facts about it as JSON data."""
    from nrc_tracer.surfaces.surface_mesh import write_surface

    resolution, density = options.mesh_resolution, options.mesh_density
    surface = field.surface(resolution, density=density, side=options.mesh_box)
    write_surface(surface, output)
    return {
        "vertices": len(surface.positions),
        "triangles": len(surface.indices),
        "resolution": resolution,
        "density": density,
    }
