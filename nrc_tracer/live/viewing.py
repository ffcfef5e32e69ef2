"""`nrc.view`: a scene, a fitted model or a task in training in the browser."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrc_tracer.errors import NrcError

if TYPE_CHECKING:
    import viser

    from nrc_tracer.live.session import Session
    from nrc_tracer.live.web.viewer import Viewer
    from nrc_tracer.scene.model import Scene


def view(
    scene: Any,
    *,
    cache: Any = None,
    cache_mode: str = "on",
    host: str = "127.0.0.1",
    port: int = 0,
    frames_per_second: float = 20.0,
    samples: int | None = None,
    **renderer_options: Any,
) -> Viewer:
    """Show a scene in the browser while it renders, or a model while it trains. In a notebook the result is the page itself.

    Args:
        scene: A scene; a fitted model or its `Fit`; a task of `nrc_tracer.tasks`, which trains until the viewer is closed; an
            image as `Image` or array; or a file or folder: a scene, a snapshot, an image, or photographs with their cameras.
        cache: A `RadianceCache`, which learns while the scene is shown; None for path tracing only.
        cache_mode: The mode in which the page starts, if there is a cache: `on`, `raw`, `unbiased` or `view`.
        host: Name or address to listen at. Everybody who can reach it, and has the link, can watch.
        port: Port; 0 for any free one.
        frames_per_second: Goal while a camera moves [1/s].
        samples: Samples per pixel after which a still picture is complete; None for ever.
        renderer_options: Options of `Renderer`, such as `device`, `threads`, `width` and `max_depth`; `device` and `threads` also
            for models that are loaded.

    Returns:
        The viewer, whose `url` is the link to open. `close` ends it.

    Raises:
        NrcError: The extra `viewer` is not installed, the port is in use, or what is to be shown cannot be loaded or rendered.
    """
    check_viewer()
    from nrc_tracer.live.task_viewing import view_world, world_of
    from nrc_tracer.live.web.binding import bound_socket
    from nrc_tracer.scene.load import load_scene

    listener = bound_socket(host, port)  # before the scene is loaded, which may take long
    try:
        device, threads = renderer_options.get("device"), renderer_options.get("threads")
        world = world_of(scene, device=device, threads=threads)
        if world is not None:
            name = Path(scene).resolve().stem if isinstance(scene, str | Path) else "model"
            return view_world(world, name, listener, host=host, frames_per_second=frames_per_second, samples=samples)
        loaded = load_scene(scene) if isinstance(scene, str | Path) else scene
        return show_scene(
            loaded,
            listener,
            cache=cache,
            cache_mode=cache_mode,
            host=host,
            frames_per_second=frames_per_second,
            samples=samples,
            **renderer_options,
        )
    except BaseException:
        listener.close()
        raise


def show_scene(
    scene: Scene,
    listener: socket.socket,
    *,
    cache: Any,
    cache_mode: str,
    host: str,
    frames_per_second: float,
    samples: int | None,
    token: str | None = None,
    **renderer_options: Any,
) -> Viewer:
    """Show a scene that is loaded, at a socket that is bound; see `view`. After an error the socket is the caller's to close.

    `token` is the secret that requests must carry; a random one if none is given.
    """
    from nrc_tracer.cache import CacheOptions, RadianceCache
    from nrc_tracer.live.saving import CACHE_SAVING, SCENE_SAVINGS
    from nrc_tracer.live.scene_world import SceneWorld
    from nrc_tracer.live.web.cache_panel import CachePanel
    from nrc_tracer.live.web.scene_panel import ScenePanel
    from nrc_tracer.live.web.viewer import Viewer
    from nrc_tracer.scene.summary import scene_bounds

    world = SceneWorld(scene, cache=cache, cache_mode=cache_mode, **renderer_options)
    world.renderer.compile()

    def add_panels(server: viser.ViserServer, group: viser.GuiTabGroupHandle, session: Session) -> None:
        ScenePanel(world.scene).add(server, group, session)
        if isinstance(cache, RadianceCache) and isinstance(cache.options, CacheOptions):
            CachePanel(cache.options).add(server, group, session)

    savings = SCENE_SAVINGS if cache is None else (*SCENE_SAVINGS, CACHE_SAVING)
    return Viewer(
        world,
        name=scene.source.stem if scene.source else "scene",
        host=host,
        port=listener.getsockname()[1],
        listener=listener,
        frames_per_second=frames_per_second,
        samples=samples,
        bounds=scene_bounds(scene),
        resolution="half" if world.renderer.device == "cpu" else "full",
        savings=savings,
        denoised=True,
        add_panel=add_panels,
        token=token,
    )


def check_viewer() -> None:
    """Raise `NrcError` if the extra `viewer` is not installed."""
    try:
        import viser  # noqa: F401
        import websockets  # noqa: F401
        import zstandard  # noqa: F401
    except ImportError as error:
        raise NrcError(f"the viewer needs the package {error.name}; run: pip install 'nrc-tracer[viewer]'") from error
