"""Render a room that is lit through a gap, once by path tracing alone and once with the radiance cache, in the same time.

python scenes/examples/compare_cached.py [OUTPUT_FOLDER]
"""

import sys
from pathlib import Path

import nrc_tracer as nrc

SCENES = Path(__file__).resolve().parent.parent


def main(
    folder: Path, *, width: int = 240, seconds: float = 10.0, reference_seconds: float = 60.0
) -> tuple[float, float]:
    """Return the relative mean squared error of the uncached and of the cached image."""
    scene = nrc.load_scene(SCENES / "door-ajar.json")
    reference = nrc.render(scene, width=width, max_depth=-1, time=reference_seconds, seed=1)
    uncached = nrc.render(scene, width=width, max_depth=-1, time=seconds)
    cached = nrc.render(scene, width=width, max_depth=-1, time=seconds, cache=nrc.RadianceCache())
    errors = nrc.rel_mse(uncached.rgb, reference.rgb), nrc.rel_mse(cached.rgb, reference.rgb)
    for name, image, error in zip(("uncached", "cached"), (uncached, cached), errors, strict=True):
        image.save(folder / f"door-{name}.png", exposure=0.5)
        print(f"{name}: {image.samples} samples per pixel, relMSE {error:.3f}")
    return errors


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
