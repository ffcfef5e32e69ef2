"""Render the pictures of README.md: `python scenes/make_pictures.py [NAME ...]`, some minutes each on two cores.

A picture is what `python -m nrc_tracer render scenes/NAME.json --spp N` gives, with the N below, in fewer colours so that it
stays small: in steps of three, or where noise makes that too large, from a palette.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import nrc_tracer as nrc
from nrc_tracer.imaging import tone_map

FOLDER = Path(__file__).resolve().parent
SAMPLES = {"cornell-box": 512, "door-ajar": 768, "many-lights": 192, "material-spheres": 768, "window-room": 160}
"""Samples per pixel of each picture."""
MAX_BYTES = 240_000


def write_picture(rgb: np.ndarray, path: Path) -> None:
    """Write linear radiance, shape [height, width, 3], as a PNG of less than `MAX_BYTES`."""
    import PIL.Image

    pixels = tone_map(rgb) * 255.0
    PIL.Image.fromarray((np.round(pixels / 3.0) * 3.0).astype(np.uint8)).save(path, format="PNG", optimize=True)
    if path.stat().st_size > MAX_BYTES:
        # Noise hides the bands; of Pillow's methods, median cut would lose rare colours
        image = PIL.Image.fromarray((pixels + 0.5).astype(np.uint8))
        palette = image.quantize(256, method=PIL.Image.Quantize.MAXCOVERAGE, kmeans=2, dither=PIL.Image.Dither.NONE)
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
