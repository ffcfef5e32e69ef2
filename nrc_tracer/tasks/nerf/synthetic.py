"""Data sets of views of our own scenes, rendered with the path tracer, in the form of NeRF's Blender data sets."""

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
from nrc_tracer.tasks.nerf.camera import Camera
from nrc_tracer.tasks.nerf.scene_camera import scene_camera
from nrc_tracer.tasks.nerf.shooting import Box
from nrc_tracer.tasks.nerf.space import MAX_EXTENT

if TYPE_CHECKING:
    from nrc_tracer.tracer import Renderer

SPLITS = ("train", "val", "test")
SETTINGS_FILE = "dataset.json"
"""What the images were made with, written before the first of them: a run that goes on compares it."""
MARGIN = 1.05
"""The box of what is photographed, so much larger, is the model's unit cube."""
OUTSIDE = 0.01
"""Of what the pixels see, so much may lie outside of the cube of side aabb_scale."""


@dataclass(frozen=True)
class Picture:
    """How views become images.

    Attributes:
        spp: Samples per pixel.
        seed: Of the samples; each view has its own.
        exposure: Stops by which radiance is multiplied by 2^stops, the same for all views; then it is clipped at 1 and encoded
            as sRGB.
        denoise: Whether noise is removed.
        transparent: Whether pixels without a surface are transparent, what is seen of the environment left out of colours.
    """

    spp: int
    seed: int = 0
    exposure: float = 0.0
    denoise: bool = False
    transparent: bool = False


def unit_cube(box: Box) -> tuple[float, list[float]]:
    """The scale and offset that bring a box, a little larger, into the middle of the unit cube."""
    scale = 1.0 / (MARGIN * float((box.high - box.low).max()))
    return scale, (0.5 - box.center * scale).tolist()


def aabb_scale_for(renderer: Renderer, cameras: Sequence[Camera], box: Box) -> int:
    """The side of the cube around the unit cube that holds 99 % of the surface points that the cameras see."""
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


class DatasetWriter:
    """Renders views into a folder: images in train, val and test, and a transforms_*.json for each at the end.

    Args:
        folder: Made if there is none.
        cameras: By split.
        picture: How views become images.
        renderer: With a film of the cameras' size.
        background: The scene without its shapes, for transparent images; None otherwise.
        identity: What else decides the images: JSON data.

    Raises:
        DataError: The folder has another data set, or cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        cameras: dict[str, list[Camera]],
        picture: Picture,
        renderer: Renderer,
        background: Renderer | None,
        identity: dict[str, Any],
    ) -> None:
        self.folder, self.cameras, self.picture = folder, cameras, picture
        self._renderer, self._background = renderer, background
        poses = {split: [camera.to_world.tolist() for camera in views] for split, views in cameras.items()}
        self._settings = {
            **identity,
            **vars(picture),
            "width": renderer.width,
            "height": renderer.height,
            "cameras": hashlib.sha256(json.dumps(poses).encode()).hexdigest()[:16],
        }
        self._begin()

    def _begin(self) -> None:
        """Make the folders, or see that those there are of the same data set."""
        file = self.folder / SETTINGS_FILE
        try:
            for split in SPLITS:
                (self.folder / split).mkdir(parents=True, exist_ok=True)
            found = file.read_text(encoding="utf-8") if file.exists() else None
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be written: {error.strerror or error}") from error
        text = json.dumps(self._settings, indent=1) + "\n"
        if found is None:
            strangers = [path for split in SPLITS for path in (self.folder / split).glob("*.png")]
            if strangers:
                raise DataError(
                    f"{self.folder}: has images of another kind ({strangers[0].name}); choose an empty folder"
                )
            _write_text(file, text)
        elif found != text:
            raise DataError(f"{self.folder}: has a data set made with {self._difference(found)}; choose another folder")

    def _difference(self, found: str) -> str:
        try:
            there = json.loads(found)
            names = [name for name in {**self._settings, **there} if self._settings.get(name) != there.get(name)]
        except (ValueError, TypeError):
            names = []
        return "another " + " and ".join(names[:3]) if names else "other settings"

    def missing(self) -> list[tuple[str, int]]:
        """The views, by split and number, of which there is no whole image yet."""
        return [
            (split, number)
            for split, views in self.cameras.items()
            for number in range(len(views))
            if not self._is_whole(self._file(split, number))
        ]

    def _file(self, split: str, number: int) -> Path:
        return self.folder / split / f"r_{number:03d}.png"

    def _is_whole(self, file: Path) -> bool:
        channels = 4 if self.picture.transparent else 3
        try:
            return file.is_file() and read_image(file).shape == (self._renderer.height, self._renderer.width, channels)
        except SceneError:
            return False

    def render(self, split: str, number: int, run: Callable[[Renderer, int], bool]) -> bool:
        """Render and write a view.

        Args:
            split: Of the view.
            number: In its split.
            run: Takes so many samples with a renderer; False if it was broken off.

        Returns:
            Whether it was written.
        """
        camera = scene_camera(self.cameras[split][number])
        seed = self.picture.seed * 1_000_003 + SPLITS.index(split) * 100_003 + number
        renderers = [self._renderer] if self._background is None else [self._renderer, self._background]
        for renderer in renderers:
            renderer.reset(seed=seed, camera=camera)
            if not run(renderer, self.picture.spp):
                return False
        write_pixels(self._file(split, number), self._pixels())
        return True

    def _pixels(self) -> np.ndarray:
        """What the renderers have, as uint8 [height, width, 3 or 4]."""
        rgb = self._renderer.image().rgb
        if self.picture.denoise:
            rgb = denoise(rgb, **self._renderer.layers(("albedo", "normal")))
        if self._background is None:
            return eight_bits(tone_map(rgb, exposure=self.picture.exposure))
        # A pixel's mean is that of its surface and its background; colours are straight, the surface's alone
        alpha = self._renderer.coverage()[:, :, None]
        surface = np.maximum(rgb - (1.0 - alpha) * self._background.image().rgb, 0.0) / np.maximum(alpha, 1e-6)
        surface = np.where(alpha > 0.0, surface, 0.0)
        return eight_bits(np.concatenate((tone_map(surface, exposure=self.picture.exposure), alpha), axis=2))

    def finish(self, box: Box, aabb_scale: int, notes: dict[str, Any]) -> None:
        """Write the transforms_*.json: the data set is whole. Raises `OutputError`."""
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
    """What is around a scene: its lights that are no shapes."""
    description = msgspec.structs.replace(scene.description, shapes=(), groups={})
    return Scene(description, {}, scene.images, scene.source)


def _write_text(file: Path, text: str) -> None:
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
