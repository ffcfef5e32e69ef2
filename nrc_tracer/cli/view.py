"""`nrc-tracer view`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nrc_tracer.cli.addresses import PAGE, address_options
from nrc_tracer.cli.cache_options import CacheChoice, live_cache_options
from nrc_tracer.cli.command import command, gathered, option, under
from nrc_tracer.cli.options import (
    PATH,
    QUALITY,
    SCENE_FORMATS,
    FilmOptions,
    SceneOptions,
    TracerOptions,
    debug_option,
    film_options,
    max_depth_option,
    quiet_option,
    sampler_option,
    scene_options,
    spp_option,
    tracer_options,
)
from nrc_tracer.cli.outputs import Warnings
from nrc_tracer.cli.progress import COMPILING, announced
from nrc_tracer.cli.termination import noted_termination
from nrc_tracer.cli.values import POSITIVE

if TYPE_CHECKING:
    from nrc_tracer.live.web.viewer import Viewer
    from nrc_tracer.live.world import World


@dataclasses.dataclass(frozen=True)
class PageOptions:
    """Where the page is served, and how fast.

    Attributes:
        host: Name or address to listen at.
        port: Port; 0 for any free one.
        fps: Number of frames per second to aim at while a camera moves.
    """

    host: str
    port: int
    fps: float


@command(
    short_help="Show a scene, a fitted model, an image or photographs in the browser.",
    help=f"""Show PATH in the browser.

    PATH is a scene ({SCENE_FORMATS}), which is shown while it renders; a model that `nrc-tracer fit` has saved, or instant-ngp's
    model of an image or a shape; an image of any size; or photographs with their cameras: a transforms.json, or a folder with
    one or with a COLMAP model.

    The command prints a link. The page of a scene moves the camera, changes lights and materials, compares the radiance cache
    with path tracing, and saves pictures and the scene. The options of the camera, the cache, the scene and the tracer are for
    scenes. Ctrl-C ends it. Needs the extra `viewer`.
    """,
    examples=(
        "nrc-tracer view scenes/door-ajar.json",
        "nrc-tracer view model.glb --environment sky --cache off",
        "nrc-tracer view scenes/door-ajar.json --port 0 --spp 1024",
        "nrc-tracer view fox.safetensors",
    ),
)
@click.argument("path", metavar="PATH", type=PATH)
@gathered(
    "page",
    PageOptions,
    under(
        PAGE,
        *address_options,
        option(
            "--fps",
            type=POSITIVE,
            default=20.0,
            show_default=True,
            metavar="N",
            help="Frames per second to aim at while the camera moves.",
        ),
    ),
)
@under(
    QUALITY,
    spp_option("no end"),
    max_depth_option(),
    sampler_option,
)
@film_options
@live_cache_options
@scene_options
@tracer_options
@quiet_option
@debug_option
def view(
    *,
    path: Path,
    page: PageOptions,
    spp: int | None,
    max_depth: int | None,
    sampler: str | None,
    film: FilmOptions,
    cache: CacheChoice,
    loading: SceneOptions,
    tracing: TracerOptions,
    quiet: bool,
) -> None:
    from nrc_tracer.live.path_kinds import SCENE, kind_of
    from nrc_tracer.live.viewing import check_viewer, show_scene, view

    check_viewer()
    if kind_of(path) != SCENE:
        with announced(COMPILING, quiet=quiet):
            viewer = view(
                path,
                host=page.host,
                port=page.port,
                frames_per_second=page.fps,
                samples=spp,
                device=tracing.device,
                threads=tracing.threads,
            )
        serve(viewer, quiet=quiet)
        return
    from nrc_tracer.live.web.binding import bound_socket
    from nrc_tracer.live.web.tokens import secret_file, token_of

    with contextlib.ExitStack() as undo:
        # A port in use is reported at once, not after a large scene has been loaded
        listener = undo.enter_context(contextlib.closing(bound_socket(page.host, page.port)))
        warn = Warnings()
        loaded = loading.load(path)
        warn.of_scene(loaded)
        for note in () if quiet else loaded.notes:
            click.echo(f"note: {note}", err=True)
        radiance_cache = cache.make()
        if radiance_cache is not None and max_depth is None:
            max_depth = -1  # paths that end in the cache have no largest depth
        with announced(COMPILING, quiet=quiet):
            viewer = show_scene(
                loaded,
                listener,
                cache=radiance_cache,
                cache_mode=cache.renderer_mode,
                host=page.host,
                frames_per_second=page.fps,
                samples=spp,
                # The pages of a viewer that is started again at its port find it again
                token=token_of(page.host, page.port, secret_file()) if page.port else None,
                max_depth=max_depth,
                sampler=sampler,
                **dataclasses.asdict(film),
                **dataclasses.asdict(tracing),
            )
        undo.pop_all()  # the viewer closes the socket from now on
    serve(viewer, quiet=quiet)
    if cache.save is not None:
        save_cache(viewer.world, cache.save)


def save_cache(world: World, path: Path) -> None:
    """Save the radiance cache that a scene is shown with now, which a page may have begun anew; nothing without a cache."""
    from nrc_tracer.live.scene_world import SceneWorld

    if isinstance(world, SceneWorld) and world.renderer.cache is not None:
        world.renderer.cache.save(path)


def serve(viewer: Viewer, *, quiet: bool) -> None:
    """Print the address of a viewer, wait for Ctrl-C or SIGTERM, and close it, which ends its thread."""
    with viewer, noted_termination() as terminated:
        for line in address_lines(viewer, dict(os.environ)):
            click.echo(line)
        try:
            viewer.wait(terminated)
        except KeyboardInterrupt:
            if not quiet:
                click.echo("the viewer has ended", err=True)


def address_lines(viewer: Viewer, environment: dict[str, str]) -> list[str]:
    """The lines that are printed about a viewer's address.

    The first is the link. A warning follows if other machines can reach it, and the command that opens a tunnel if the user is
    logged in by ssh.
    """
    lines = [viewer.url]
    if not viewer.is_local:
        lines.append(
            f"every machine that can reach {viewer.host or 'this one'} can open this link; the connection is not encrypted"
        )
    words = environment.get("SSH_CONNECTION", "").split()
    if len(words) == 4 and viewer.is_local:
        user = environment.get("USER") or environment.get("LOGNAME")
        server, port = words[2:]
        target = shlex.quote(f"{user}@{server}" if user else server)
        other_port = [] if port == "22" else ["-p", shlex.quote(port)]
        tunnel = " ".join(["ssh", "-N", "-L", f"{viewer.port}:127.0.0.1:{viewer.port}", *other_port, target])
        lines.append(f"to open it on your own machine, first run there: {tunnel}")
    return lines
