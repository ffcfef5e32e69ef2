"""Render a scene and save it as a linear EXR and as a tone-mapped PNG.

python scenes/examples/render_and_save.py [OUTPUT_FOLDER]
"""

import sys
from pathlib import Path

import nrc_tracer as nrc

SCENES = Path(__file__).resolve().parent.parent


def main(folder: Path, *, width: int = 256, spp: int = 64) -> nrc.Image:
    """Render the Cornell box; return the image."""
    scene = nrc.load_scene(SCENES / "cornell-box.json")
    image = nrc.render(scene, width=width, spp=spp)
    image.save(folder / "cornell-box.exr")
    image.save(folder / "cornell-box.png", tone="agx", exposure=0.5)
    red, green, blue = image.mean
    print(f"{image.width} x {image.height} pixels, {image.samples} samples, mean {red:.3f} {green:.3f} {blue:.3f}")
    return image


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
