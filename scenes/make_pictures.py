"""Render the pictures of README.md: `python scenes/make_pictures.py [NAME ...]`, some minutes each on two cores.

A picture is the image of `python -m nrc_tracer render scenes/NAME.json --spp N` with the N below. It has a reduced number of
colours to stay small: values in steps of three, or a palette if noise makes the file too large.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import nrc_tracer as nrc
from nrc_tracer.imaging import tone_map

FOLDER = Path(__file__).resolve().parent
SAMPLES = {
    "cornell-box": 512,
    "door-ajar": 768,
    "many-lights": 192,
    "material-spheres": 768,
    "street": 384,
    "window-room": 160,
}
"""Samples per pixel of each picture."""
MAX_BYTES = 240_000
"""Size of a file above which a palette is used [bytes]."""


def write_picture(rgb: np.ndarray, path: Path) -> None:
    """Write linear radiance, shape [height, width, 3], as a small PNG."""
    import PIL.Image

    pixels = tone_map(rgb) * 255.0
    PIL.Image.fromarray((np.round(pixels / 3.0) * 3.0).astype(np.uint8)).save(path, format="PNG", optimize=True)
    if path.stat().st_size > MAX_BYTES:
        # Noise hides the bands of a palette. Maximum coverage keeps rare colours, which median cut would lose
        image = PIL.Image.fromarray((pixels + 0.5).astype(np.uint8))
        palette = image.quantize(256, method=PIL.Image.Quantize.MAXCOVERAGE, kmeans=2, dither=PIL.Image.Dither.NONE)
        palette.save(path, format="PNG", optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Render the pictures of README.md.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"the scenes to render (default: all of {', '.join(SAMPLES)})"
    )
    chosen = parser.parse_args().names or list(SAMPLES)
    unknown = sorted(set(chosen) - set(SAMPLES))
    if unknown:
        parser.error(f"there is no scene called {', '.join(unknown)} (known: {', '.join(SAMPLES)})")
    for name in chosen:
        target = FOLDER / "pictures" / f"{name}.png"
        image = nrc.render(nrc.load_scene(FOLDER / f"{name}.json"), spp=SAMPLES[name])
        write_picture(image.rgb, target)
        print(f"{target}: {target.stat().st_size:,} bytes")
