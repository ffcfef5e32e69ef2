"""Add samples pass by pass, check the noise along the way, and change the camera while the cache keeps what it has learnt.

python scenes/examples/step_by_step.py [OUTPUT_FOLDER]
"""

import sys
from pathlib import Path

import nrc_tracer as nrc

SCENES = Path(__file__).resolve().parent.parent


def main(folder: Path, *, width: int = 240, passes: int = 4, samples: int = 4) -> nrc.Renderer:
    """Render the window room in passes; return the renderer."""
    scene = nrc.load_scene(SCENES / "window-room.json")
    cache = nrc.RadianceCache()
    renderer = nrc.Renderer(scene, width=width, cache=cache, max_depth=-1)
    for _ in range(passes):
        renderer.step(samples)  # the first call trains the cache before it takes samples
        mean, variance = renderer.moments()  # of one sample, [height, width, 3] each
        print(
            f"{renderer.samples} samples per pixel, {renderer.seconds:.1f} s, "
            f"mean radiance {mean.mean():.3f}, variance of a sample {variance.mean():.3f}"
        )
    renderer.image().save(folder / "window-room.png")
    print(f"relative bias of the cache, as measured on held-out paths: {renderer.cache_report()['bias']:+.3f}")

    renderer.reset(seed=1)  # a new image of the same scene: the cache is warm, so samples start at once
    renderer.step(samples)
    renderer.image().save(folder / "window-room-again.png")
    return renderer


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
