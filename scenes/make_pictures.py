"""Render the pictures of README.md: `python scenes/make_pictures.py [NAME ...]`, some minutes each on two cores.

A picture is what `python -m nrc_tracer render scenes/NAME.json --spp N` gives, with the N below, reduced to a palette of 256
colours so that it stays small.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import nrc_tracer as nrc
from nrc_tracer.imaging import tone_map

FOLDER = Path(__file__).resolve().parent
SAMPLES = {"cornell-box": 512, "door-ajar": 256, "many-lights": 192, "material-spheres": 768, "window-room": 160}
"""Samples per pixel of each picture."""


def write_picture(rgb: np.ndarray, path: Path) -> None:
    """Write linear radiance, shape [height, width, 3], as a PNG with a palette."""
    import PIL.Image

    pixels = (tone_map(rgb) * 255.0 + 0.5).astype(np.uint8)
    method, dither = PIL.Image.Quantize.MAXCOVERAGE, PIL.Image.Dither.NONE  # median cut would lose rare colours
    palette = PIL.Image.fromarray(pixels).quantize(256, method=method, kmeans=2, dither=dither)
    palette.save(path, format="PNG", optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Render the pictures of README.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which scenes (default: all of {', '.join(SAMPLES)})")
    chosen = parser.parse_args().names or list(SAMPLES)
    unknown = sorted(set(chosen) - set(SAMPLES))
    if unknown:
        parser.error(f"there is no scene called {', '.join(unknown)} (known: {', '.join(SAMPLES)})")
    for name in chosen:
        target = FOLDER / "pictures" / f"{name}.png"
        image = nrc.render(nrc.load_scene(FOLDER / f"{name}.json"), spp=SAMPLES[name])
        write_picture(image.rgb, target)
        print(f"{target}: {target.stat().st_size:,} bytes")
