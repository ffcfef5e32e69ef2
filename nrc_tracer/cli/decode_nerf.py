"""What `nrc-tracer decode` makes of a radiance field: views, depth maps, a video, a mesh."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.parameters import finite
from nrc_tracer.errors import DataError, OutputError

if TYPE_CHECKING:
    from nrc_tracer.tasks.nerf.camera import Camera
    from nrc_tracer.tasks.nerf.field import Field, Picture

MESHES = (".ply", ".obj", ".glb", ".stl")
PICTURES = (".png", ".exr")
VIDEOS = (".mp4", ".mov", ".mkv")
BACKGROUNDS = {"black": 0.0, "white": 1.0, "transparent": None}


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options for radiance fields."""
    for option in reversed(
        (
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
            click.option(
                "--frames", type=click.IntRange(1, 100_000), default=120, show_default=True, help="NeRF: of a video."
            ),
            click.option(
                "--fps",
                type=click.FloatRange(0.1, 240),
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
    ):
        command = option(command)
    return command


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
    for output in outputs:
        if output.suffix.lower() not in (*MESHES, *PICTURES, *VIDEOS, ""):
            known = ", ".join((*PICTURES, *VIDEOS, *MESHES))
            raise OutputError(
                f'{output}: a radiance field is not written as "{output.suffix}" (known: {known}, or a folder)'
            )
        if output.suffix and not output.resolve().parent.is_dir():
            raise OutputError(f"{output}: cannot be written: there is no folder {output.parent}")
        if output.suffix.lower() in VIDEOS and background == "transparent":
            raise OutputError(f"{output}: a video is not transparent; choose another --background")

    from nrc_tracer.tasks.nerf.field import load_field

    field = load_field(path, device=device, threads=threads)
    written = []
    for output in outputs:
        start = clock.perf_counter()
        kind = output.suffix.lower()
        if kind in MESHES:
            facts = _write_mesh(field, output, mesh_density, mesh_resolution, mesh_box)
            words = f"{facts['triangles']:,} triangles"
        elif kind in VIDEOS or camera_path is not None or path_kind is not None:
            if kind in PICTURES:
                raise OutputError(f"{output}: a path of the camera makes a video (.mp4), or images in a folder")
            cameras = _path(field, camera_path, path_kind or "orbit", frames, view_scale)
            facts = _write_video(field, output, cameras, fps, BACKGROUNDS[background], quiet)
            words = f"{facts['frames']} frames of {facts['width']} x {facts['height']} pixels"
        else:
            facts = _write_views(field, output, view, view_scale, BACKGROUNDS[background], depth)
            words = f"{len(facts['views'])} views" if not kind else f"{facts['views'][0]}"
        written.append({"file": str(output), **facts})
        if not quiet:
            click.echo(f"{output}: {words}, {clock.perf_counter() - start:.1f} s", err=True)
    return {"outputs": written, "background": background}


def _cameras(field: Field, view: str | None) -> list[tuple[str, Camera]]:
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
    if not which.isdigit() or int(which) >= len(pairs):
        raise DataError(f'view: there is no {split} view "{which}" (they are numbered 0 to {len(pairs) - 1})')
    return [pairs[int(which)]]


def _path(field: Field, file: Path | None, kind: str, frames: int, scale: float) -> list[Camera]:
    from nrc_tracer.tasks.nerf.camera_path import camera_path, read_camera_path

    cameras = [camera.scaled(scale) for camera in field.cameras["train"]]
    if file is not None:
        return read_camera_path(file, cameras[0], field.scale, field.offset)
    return camera_path(kind, cameras, frames)


def _write_views(
    field: Field, output: Path, view: str | None, scale: float, background: float | None, depth: bool
) -> dict[str, Any]:
    """Write views to a file, or to a folder."""
    from nrc_tracer.imaging.pixels import write_pixels

    chosen = _cameras(field, view)
    if output.suffix and len(chosen) > 1:
        raise OutputError(f"{output}: one file for {len(chosen)} views; give a folder")
    if not output.suffix:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{output}: cannot be written: {error.strerror or error}") from error
    largest = []
    for number, (name, camera) in enumerate(chosen):
        camera = camera.scaled(scale)
        picture = field.view(camera)
        file = output if output.suffix else output / f"{number:05d}-{Path(name).stem}.png"
        if file.suffix.lower() == ".exr":
            write_pixels(file.with_suffix(".exr"), _linear(picture, background))
        else:
            write_pixels(file.with_suffix(".png"), picture.pixels(background))
        if depth:
            largest.append(_write_depth(picture, file))
    facts = {"views": [name for name, _ in chosen], "width": camera.width, "height": camera.height}
    return facts | ({"largest_distance": largest} if depth else {})


def _linear(picture: Picture, background: float | None) -> Any:
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


def _write_depth(picture: Picture, file: Path) -> float:
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
    field: Field, output: Path, cameras: list[Camera], fps: float, background: float | None, quiet: bool
) -> dict[str, Any]:
    from nrc_tracer.tasks.nerf.video import VideoWriter

    if background is None:
        raise OutputError(f"{output}: frames are not transparent; choose another --background")
    width, height = cameras[0].width, cameras[0].height
    with VideoWriter(output, width, height, fps) as video:
        for number, camera in enumerate(cameras):
            video.add(field.view(camera).pixels(background))
            if not quiet and (number + 1) % 10 == 0:
                click.echo(f"  {number + 1} of {len(cameras)} frames", err=True)
    return {"frames": len(cameras), "width": width, "height": height, "fps": fps}


def _write_mesh(field: Field, output: Path, density: float, resolution: int, side: float) -> dict[str, Any]:
    from nrc_tracer.surface_mesh import write_surface
    from nrc_tracer.tasks.nerf.mesh import extract_mesh

    surface = extract_mesh(field, density=density, resolution=resolution, side=side)
    write_surface(surface, output)
    return {
        "vertices": len(surface.positions),
        "triangles": len(surface.indices),
        "resolution": resolution,
        "density": density,
    }
