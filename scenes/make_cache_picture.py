"""Make pictures/cache-view.png: the cache's prediction at the first surface, with two encodings, next to path tracing.

python scenes/make_cache_picture.py
"""

from pathlib import Path

import numpy as np

import nrc_tracer as nrc

HERE = Path(__file__).parent
SIZE = {"width": 320, "height": 200, "max_depth": -1}
FRAMES = 192
"""Number of frames for which a cache is trained."""


def view(scene: nrc.Scene, encoding: str) -> np.ndarray:
    """Render the predictions of a cache with an encoding, linear, shape [height, width, 3]."""
    cache = nrc.RadianceCache(encoding=encoding, train_frames=FRAMES)
    return nrc.render(scene, spp=16, cache=cache, cache_mode="view", **SIZE).rgb


def main() -> None:
    """Render the panels and write the picture."""
    scene = nrc.load_scene(HERE / "window-room.json")
    panels = [view(scene, "triangle-wave"), view(scene, "hash"), nrc.render(scene, spp=1024, **SIZE).rgb]
    gap = np.ones((SIZE["height"], 4, 3), np.float32)
    row = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
    print(nrc.Image(row).save(HERE / "pictures" / "cache-view.png"))


if __name__ == "__main__":
    main()
