"""What `nrc-tracer decode` makes of a radiance field: views, depth maps, a video, a mesh."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.outputs import leaving, write_each
from nrc_tracer.cli.parameters import finite, together
from nrc_tracer.errors import DataError, OutputError

if TYPE_CHECKING:
    from nrc_tracer.tasks.nerf.camera import PhotoCamera
    from nrc_tracer.tasks.nerf.neural_scene import NeuralScene, RenderedView

PICTURES = (".png", ".exr")
BACKGROUNDS = {"black": 0.0, "white": 1.0, "transparent": None}


options = together(
    click.option(
        "--view",
        metavar="N|NAME|test|train",
        help="NeRF: which photograph's view to render: a number or name of a held-out view, train:N for one that "
        "was learned from, test or train for all, into a folder. Default: 0.",
    ),
    click.option(
        "--camera-path",
        type=click.Path(path_type=Path),
        metavar="JSON",
        help="NeRF: a path of the camera for a video: transforms.json, nerfstudio's camera_path or instant-ngp's.",
    ),
    click.option(
        "--path",
        "path_kind",
        type=click.Choice(["spline", "orbit", "spiral"]),
        help="NeRF: a path made of the photographs' cameras. Default for a video: orbit.",
    ),
    click.option("--frames", type=click.IntRange(1, 100_000), default=120, show_default=True, help="NeRF: of a video."),
    click.option(
        "--fps",
        type=click.FloatRange(0.1, 240),
        callback=finite,
        default=30.0,
        show_default=True,
        help="NeRF: frames a second of a video.",
    ),
    click.option(
        "--view-scale",
        type=click.FloatRange(0.01, 16),
        callback=finite,
        default=1.0,
        show_default=True,
        help="NeRF: pixels of a view or video for one of the photographs along each side.",
    ),
    click.option(
        "--background",
        type=click.Choice(list(BACKGROUNDS)),
        default="black",
        show_default=True,
        help="NeRF: of views.",
    ),
    click.option(
        "--depth",
        is_flag=True,
        help="NeRF: write distances along the rays beside each view: .depth.exr in the data's units, .depth.png "
        "(16 bits) as shares of the largest.",
    ),
    click.option(
        "--mesh-resolution",
        type=click.IntRange(8, 4096),
        default=256,
        show_default=True,
        help="NeRF: cells along each side of the box of a mesh.",
    ),
    click.option(
        "--mesh-density",
        type=click.FloatRange(0, min_open=True),
        callback=finite,
        default=20.0,
        show_default=True,
        help="NeRF: density on a mesh's surface, per unit cube.",
    ),
    click.option(
        "--mesh-box",
        type=click.FloatRange(0, 128, min_open=True),
        callback=finite,
        default=1.0,
        show_default=True,
        help="NeRF: side of the box around the middle of the scene that is meshed, in unit cubes.",
    ),
)
"""The options for radiance fields."""


def decode(
    path: Path,
    outputs: tuple[Path, ...],
    *,
    device: str | None,
    threads: int | None,
    quiet: bool,
    view: str | None,
    camera_path: Path | None,
    path_kind: str | None,
    frames: int,
    fps: float,
    view_scale: float,
    background: str,
    depth: bool,
    mesh_resolution: int,
    mesh_density: float,
    mesh_box: float,
) -> dict[str, Any]:
    """Write views, videos and meshes of a radiance field; what was written, as JSON data.

    Raises:
        SnapshotError: The snapshot cannot be read.
        DataError: A view, path or mesh that it has not.
        OutputError: An output has an unknown ending or cannot be written.
    """
    from nrc_tracer.surfaces.surface_mesh import FORMATS
    from nrc_tracer.tasks.nerf.neural_scene import load_neural_scene
    from nrc_tracer.tasks.nerf.video import CONTAINERS

    moving = camera_path is not None or path_kind is not None
    for output in outputs:
        _check_output(output, (*FORMATS,), (*CONTAINERS,), moving, background)
    kinds = {output.suffix.lower() for output in outputs}
    field = load_neural_scene(path, device=device, threads=threads)
    # What can fail does so before anything is written
    if moving or kinds & set(CONTAINERS):
        cameras = _path(field, camera_path, path_kind or "orbit", frames, view_scale)
    if not moving and kinds - {*FORMATS, *CONTAINERS}:
        views = _cameras(field, view)
        for output in outputs:
            if output.suffix.lower() in PICTURES and len(views) > 1:
                raise OutputError(f"{output}: one file for {len(views)} views; give a folder")

    def write(output: Path) -> tuple[dict[str, Any], str]:
        kind = output.suffix.lower()
        if kind in FORMATS:
            facts = _write_mesh(field, output, mesh_density, mesh_resolution, mesh_box)
            return facts, f"{facts['triangles']:,} triangles"
        if kind in CONTAINERS or moving:
            facts = _write_video(field, output, cameras, fps, BACKGROUNDS[background], quiet)
            return facts, f"{facts['frames']} frames of {facts['width']} x {facts['height']} pixels"
        facts = _write_views(field, output, views, view_scale, BACKGROUNDS[background], depth)
        return facts, f"{facts['views'][0]}" if kind else f"{len(facts['views'])} views"

    return {"outputs": write_each(outputs, write, quiet=quiet), "background": background}


def _check_output(
    output: Path, meshes: tuple[str, ...], videos: tuple[str, ...], moving: bool, background: str
) -> None:
    """Raise `OutputError` for a file, or folder, that cannot be written or does not go with the options."""
    from nrc_tracer.files.atomic import check_place

    kind = output.suffix.lower()
    if kind not in (*meshes, *PICTURES, *videos, ""):
        known = ", ".join((*PICTURES, *videos, *meshes))
        raise OutputError(
            f'{output}: a radiance field is not written as "{output.suffix}" (known: {known}, or a folder)'
        )
    if moving and kind in PICTURES:
        raise OutputError(f"{output}: a path of the camera makes a video (.mp4), or images in a folder")
    if background == "transparent" and (kind in videos or (moving and not kind)):
        raise OutputError(f"{output}: frames are not transparent; choose another --background")
    if kind:
        check_place(output)
    elif output.exists() and not output.is_dir():
        raise OutputError(f"{output}: cannot be written: it is a file, not a folder; remove it or add an ending")


def _cameras(field: NeuralScene, view: str | None) -> list[tuple[str, PhotoCamera]]:
    """The cameras that `--view` names."""
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


def _path(field: NeuralScene, file: Path | None, kind: str, frames: int, scale: float) -> list[PhotoCamera]:
    from nrc_tracer.tasks.nerf.camera_path import camera_path, read_camera_path

    cameras = [camera.scaled(scale) for camera in field.cameras["train"]]
    if file is not None:
        return read_camera_path(file, cameras[0], field.scale, field.offset)
    return camera_path(kind, cameras, frames)


def _write_views(
    field: NeuralScene,
    output: Path,
    views: list[tuple[str, PhotoCamera]],
    scale: float,
    background: float | None,
    depth: bool,
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
        camera = camera.scaled(scale)
        file = output if output.suffix else output / f"{number:05d}-{Path(name).stem}.png"
        with leaving(f"{number} of {len(views)} views in {output}" if number else ""):
            picture = field.view(camera)
            if file.suffix.lower() == ".exr":
                write_pixels(file, _linear(picture, background))
            else:
                write_pixels(file, picture.pixels(background))
            if depth:
                largest.append(_write_depth(picture, file))
    facts = {"views": [name for name, _ in views], "width": camera.width, "height": camera.height}
    return facts | ({"largest_distance": largest} if depth else {})


def _linear(picture: RenderedView, background: float | None) -> Any:
    """Linear light, float32 [height, width, 3 or 4]; with alpha, multiplied by it as EXR wants."""
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
    """Write the distances beside a view; the largest of them."""
    import numpy as np

    from nrc_tracer.imaging.pixels import write_pixels

    distance = picture.distance[:, :, None]
    largest = float(distance.max())
    write_pixels(file.with_suffix(".depth.exr"), distance.astype(np.float32))
    shares = distance / largest if largest > 0.0 else distance
    write_pixels(file.with_suffix(".depth.png"), (shares * 65535.0 + 0.5).astype(np.uint16))
    return largest


def _write_video(
    field: NeuralScene, output: Path, cameras: list[PhotoCamera], fps: float, background: float, quiet: bool
) -> dict[str, Any]:
    from nrc_tracer.tasks.nerf.video import VideoWriter

    width, height = cameras[0].width, cameras[0].height
    with VideoWriter(output, width, height, fps) as video:
        for number, camera in enumerate(cameras):
            kept = number and not output.suffix  # of a video nothing is left
            with leaving(f"{number} of {len(cameras)} frames in {output}" if kept else ""):
                video.add(field.view(camera).pixels(background))
            if not quiet and (number + 1) % 10 == 0:
                click.echo(f"  {number + 1} of {len(cameras)} frames", err=True)
    return {"frames": len(cameras), "width": width, "height": height, "fps": fps}


def _write_mesh(field: NeuralScene, output: Path, density: float, resolution: int, side: float) -> dict[str, Any]:
    from nrc_tracer.surfaces.surface_mesh import write_surface

    surface = field.surface(resolution, density=density, side=side)
    write_surface(surface, output)
    return {
        "vertices": len(surface.positions),
        "triangles": len(surface.indices),
        "resolution": resolution,
        "density": density,
    }
