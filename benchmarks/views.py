"""Drawing a view of a radiance field: seconds, processor time and samples per ray.

    python -m benchmarks.views fox.safetensors [--size 693 924] [--rounds 3] [--json [FILE]]

The snapshot is that of `nrc-tracer fit nerf`; the view is that of its first held-out camera. Processor time of all threads is
printed beside the time by the clock, since other work on the machine changes it less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from torch import Tensor

from benchmarks.machine import core_count, describe_machine, device_slug
from nrc_tracer.tasks.nerf.neural_scene import load_neural_scene

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshot", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(693, 924), metavar=("WIDTH", "HEIGHT"), help="pixels")
    parser.add_argument("--rounds", type=int, default=3, help="number of times that the view is drawn")
    parser.add_argument("--json", nargs="?", const="", metavar="FILE", help="write the results")
    options = parser.parse_args()
    scene = load_neural_scene(options.snapshot, device="cpu")
    width, height = options.size
    camera = scene.cameras["test"][0].resized(width, height)
    scene.view(camera.resized(64, 64))  # loads kernels

    model, samples = scene.volume.model, 0

    def counted(x: Tensor) -> Tensor:
        nonlocal samples
        samples += len(x)
        return model(x)

    scene.volume.model = counted  # type: ignore[assignment]  # the volume only calls it
    seconds, processor = [], []
    for _ in range(options.rounds):
        start, used = time.perf_counter(), time.process_time()
        scene.view(camera)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    result = {
        "machine": describe_machine(("torch", "warp-lang")),
        "view": [width, height],
        "seconds": round(statistics.median(seconds), 2),
        "processor seconds": round(statistics.median(processor), 2),
        "samples per ray": round(samples / (options.rounds * width * height), 1),
    }
    print(
        f"{width} x {height}: {result['seconds']} s, {result['processor seconds']} s of processor time, "
        f"{result['samples per ray']} samples per ray"
    )
    if options.json is not None:
        path = Path(options.json or RESULTS / f"views-{device_slug(None, core_count())}.json")
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
