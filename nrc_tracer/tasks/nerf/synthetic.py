"""Data sets of views of this package's scenes, rendered by the path tracer, in the format of NeRF's Blender data sets."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from nrc_tracer.errors import DataError, SceneError
from nrc_tracer.files.atomic import replacing
from nrc_tracer.imaging import denoise, eight_bits, read_image, tone_map, write_pixels
from nrc_tracer.scene.model import Scene
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.scene_camera import scene_camera
from nrc_tracer.tasks.nerf.shooting import Box
from nrc_tracer.tasks.nerf.space import MAX_EXTENT

if TYPE_CHECKING:
    from nrc_tracer.tracer import Renderer

SPLITS = ("train", "val", "test")
SETTINGS_FILE = "dataset.json"
"""File with the settings of the images, written before the first image; a resumed run compares its settings with it."""
MARGIN = 1.05
"""Side of the model's unit cube, in longest sides of the box of what is photographed."""
OUTSIDE = 0.01
"""Fraction of the visible surface points that may lie outside the cube of side aabb_scale."""


@dataclass(frozen=True)
class ImageSettings:
    """How views are rendered into images.

    Attributes:
        spp: Samples per pixel.
        seed: Seed of the samples; each view gets its own from it.
        exposure: Exposure in stops, the same for all views: radiance is multiplied by 2^exposure, clipped at 1 and encoded as
            sRGB.
        denoise: Whether to denoise.
        transparent: Whether pixels without a surface are transparent, with the environment removed from colours.
    """

    spp: int
    seed: int = 0
    exposure: float = 0.0
    denoise: bool = False
    transparent: bool = False


@dataclass(frozen=True)
class View:
    """A view of a data set.

    Attributes:
        split: `train`, `test` or `val`.
        number: Its number in the split.
        camera: Where it is taken from.
        seed: Seed of its samples.
    """

    split: str
    number: int
    camera: PhotoCamera
    seed: int


def unit_cube(box: Box) -> tuple[float, list[float]]:
    """The scale and offset that map a box, with a margin, to the centre of the unit cube."""
    scale = 1.0 / (MARGIN * float((box.high - box.low).max()))
    return scale, (0.5 - box.center * scale).tolist()


def aabb_scale_for(renderer: Renderer, cameras: Sequence[PhotoCamera], box: Box) -> int:
    """Side of the cube, a power of two, that holds 99 % of the surface points that the cameras see; in unit cubes."""
    scale, offset = unit_cube(box)
    reach = []
    for camera in cameras:
        renderer.reset(camera=scene_camera(camera))
        layers = renderer.layers(("depth", "position"))
        points = layers["position"][np.isfinite(layers["depth"])].astype(np.float64) * scale + offset
        reach.append(2.0 * np.abs(points - 0.5).max(axis=1, initial=0.0))
    everything = np.concatenate(reach)
    side = float(np.quantile(everything, 1.0 - OUTSIDE)) if len(everything) else 1.0
    return min(2 ** max(0, math.ceil(math.log2(max(side, 1e-9)))), MAX_EXTENT)


class ViewRenderer:
    """Renders views of a scene into pixels.

    Args:
        settings: How views are rendered.
        make_renderer: Makes a renderer of a scene with a film of the views' size.
        scene: The scene.

    Attributes:
        settings: As given.
        renderer: The renderer of the scene.
    """

    def __init__(self, settings: ImageSettings, make_renderer: Callable[[Scene], Renderer], scene: Scene) -> None:
        self.settings, self.renderer = settings, make_renderer(scene)
        # Transparent images need the scene's surroundings apart
        self._background = make_renderer(without_shapes(scene)) if settings.transparent else None

    def render(self, view: View, run: Callable[[Renderer, int], bool]) -> np.ndarray | None:
        """Render a view.

        Args:
            view: The view.
            run: Takes a number of samples with a renderer; returns False if it was interrupted.

        Returns:
            uint8 [height, width, 3 or 4]; None if `run` was interrupted.
        """
        renderers = [self.renderer] if self._background is None else [self.renderer, self._background]
        for renderer in renderers:
            renderer.reset(seed=view.seed, camera=scene_camera(view.camera))
            if not run(renderer, self.settings.spp):
                return None
        return self._pixels()

    def _pixels(self) -> np.ndarray:
        """The renderers' image as uint8 [height, width, 3 or 4]."""
        rgb = self.renderer.image().rgb
        if self.settings.denoise:
            rgb = denoise(rgb, **self.renderer.layers(("albedo", "normal")))
        if self._background is None:
            return eight_bits(tone_map(rgb, exposure=self.settings.exposure))
        # A pixel's mean mixes its surface and its background; straight colours are those of the surface alone
        alpha = self.renderer.coverage()[:, :, None]
        surface = np.maximum(rgb - (1.0 - alpha) * self._background.image().rgb, 0.0) / np.maximum(alpha, 1e-6)
        surface = np.where(alpha > 0.0, surface, 0.0)
        return eight_bits(np.concatenate((tone_map(surface, exposure=self.settings.exposure), alpha), axis=2))


class DatasetWriter:
    """Writes views into a folder: images in train, val and test, and at the end a transforms_*.json for each.

    Args:
        folder: The folder, which is created if needed.
        cameras: Cameras by split.
        settings: How views are rendered.
        size: Width and height of the views [pixels].
        identity: Everything else that the images depend on, as JSON data.

    Raises:
        DataError: The folder holds another data set, or cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        cameras: dict[str, list[PhotoCamera]],
        settings: ImageSettings,
        size: tuple[int, int],
        identity: dict[str, Any],
    ) -> None:
        self.folder, self.cameras, self.settings = folder, cameras, settings
        self._width, self._height = size
        poses = {split: [camera.to_world.tolist() for camera in views] for split, views in cameras.items()}
        self._document = {
            **identity,
            **vars(settings),
            "width": self._width,
            "height": self._height,
            "cameras": hashlib.sha256(json.dumps(poses).encode()).hexdigest()[:16],
        }
        self._begin()

    def _begin(self) -> None:
        """Create the folders, or check that the existing ones hold the same data set."""
        file = self.folder / SETTINGS_FILE
        try:
            for split in SPLITS:
                (self.folder / split).mkdir(parents=True, exist_ok=True)
            found = file.read_text(encoding="utf-8") if file.exists() else None
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be written: {error.strerror or error}") from error
        text = json.dumps(self._document, indent=1) + "\n"
        if found is None:
            strangers = [path for split in SPLITS for path in (self.folder / split).glob("*.png")]
            if strangers:
                raise DataError(
                    f"{self.folder}: already has images of its own ({strangers[0].name}); choose an empty folder"
                )
            _write_text(file, text)
        elif found != text:
            raise DataError(f"{self.folder}: has a data set made with {self._difference(found)}; choose another folder")

    def _difference(self, found: str) -> str:
        try:
            there = json.loads(found)
            names = [name for name in {**self._document, **there} if self._document.get(name) != there.get(name)]
        except (ValueError, TypeError):
            names = []
        return "another " + " and ".join(names[:3]) if names else "other settings"

    def missing(self) -> list[View]:
        """The views that have no complete image yet."""
        return [
            View(split, number, camera, self.settings.seed * 1_000_003 + SPLITS.index(split) * 100_003 + number)
            for split, cameras in self.cameras.items()
            for number, camera in enumerate(cameras)
            if not self._is_whole(self._file(split, number))
        ]

    def _file(self, split: str, number: int) -> Path:
        return self.folder / split / f"r_{number:03d}.png"

    def _is_whole(self, file: Path) -> bool:
        channels = 4 if self.settings.transparent else 3
        try:
            return file.is_file() and read_image(file).shape == (self._height, self._width, channels)
        except SceneError:
            return False

    def write(self, view: View, pixels: np.ndarray) -> None:
        """Write the image of a view, uint8 [height, width, 3 or 4]. Raises `OutputError`."""
        write_pixels(self._file(view.split, view.number), pixels)

    def finish(self, box: Box, aabb_scale: int, notes: dict[str, Any]) -> None:
        """Write the transforms_*.json, which completes the data set. Raises `OutputError`."""
        scale, offset = unit_cube(box)
        for split, views in self.cameras.items():
            if not views:
                continue
            camera = views[0]
            document = {
                "camera_angle_x": 2.0 * math.atan(0.5 * camera.width / camera.fx),
                "w": camera.width,
                "h": camera.height,
                "aabb_scale": aabb_scale,
                "scale": scale,
                "offset": offset,
                "nrc_tracer": notes,
                "frames": [
                    {
                        "file_path": f"./{split}/{self._file(split, number).stem}",
                        "transform_matrix": [*view.to_world.tolist(), [0.0, 0.0, 0.0, 1.0]],
                    }
                    for number, view in enumerate(views)
                ],
            }
            _write_text(self.folder / f"transforms_{split}.json", json.dumps(document, indent=1) + "\n")


def without_shapes(scene: Scene) -> Scene:
    """A scene's surroundings: its lights that are not shapes."""
    description = msgspec.structs.replace(scene.description, shapes=(), groups={})
    return Scene(description, {}, scene.images, scene.source)


def _write_text(file: Path, text: str) -> None:
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
