"""Make pictures/tasks.png: a detail of a fitted image, a fitted shape, a fitted room, and the shape in a path-traced scene.

    python scenes/make_tasks_picture.py [FOLDER]

Snapshots and renders are kept in FOLDER (default: `benchmark-data`), and reused by the next run.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from nrc_tracer.cli import main as nrc_tracer

HERE = Path(__file__).parent.resolve()
SIZE = 240
"""Width and height of a panel [pixels]."""
PLACE = (186.0, 159.0, 170.0)
"""Position of the shape, on the short block of the Cornell box [mm]."""


def run(*words: object) -> None:
    """Run a command of the program as from the command line; exit with its exit code if it fails."""
    print("nrc-tracer", *words)
    if code := nrc_tracer([str(word) for word in words], standalone_mode=False):
        sys.exit(code)


def scene_with(shape: Path) -> Path:
    """Write the Cornell box with a learnt shape of brass on its short block, and return the file."""
    scene = json.loads((HERE / "cornell-box.json").read_text())
    scene["materials"]["brass"] = {"type": "conductor", "eta": [0.44, 0.53, 1.08], "k": [3.7, 2.8, 1.9], "alpha": 0.15}
    place = [{"type": "rotate", "axis": [0, 1, 0], "angle": 30}, {"type": "scale", "value": 230}]
    place.append({"type": "translate", "value": PLACE})
    scene["shapes"].append({"type": "neural-sdf", "file": shape.name, "material": "brass", "to_world": place})
    path = shape.with_name("cornell-box-with-knot.json")
    path.write_text(json.dumps(scene))
    return path


def main() -> None:
    """Train, render the panels and write the picture."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "benchmark-data").resolve()
    folder.mkdir(exist_ok=True)
    image, shape, room = (folder / f"{name}.safetensors" for name in ("picture", "knot", "room"))
    if not image.exists():
        run("fit", "image", HERE / "pictures" / "window-room.png", "--steps", 1000, "--snapshot", image)
    if not shape.exists():
        run("fit", "sdf", HERE / "meshes" / "knot.ply", "--steps", 600, "--snapshot", shape)
    if not (folder / "room" / "transforms_train.json").exists():
        run("dataset", HERE / "window-room.json", "-o", folder / "room", "--spp", 64, "--denoise")
    if not room.exists():
        run("fit", "nerf", folder / "room", "--steps", 1200, "--snapshot", room)
    panels = [folder / f"panel-{index}.png" for index in range(4)]
    run("decode", "image", image, "-o", panels[0], "--crop", "55,270,80,80", "--scale", SIZE / 80)
    run("decode", "sdf", shape, "-o", panels[1], "--width", SIZE, "--azimuth", 20)
    run("decode", "nerf", room, "-o", panels[2], "--view", "1", "--scale", SIZE / 200)
    size = ("--width", SIZE, "--max-depth", -1, "--time", 30, "--denoise")
    run("render", scene_with(shape), "-o", panels[3], "--cache", "on", *size)
    gap = np.full((SIZE, 4, 3), 255, np.uint8)
    row = [part for panel in panels for part in (np.asarray(Image.open(panel).convert("RGB")), gap)]
    Image.fromarray(np.concatenate(row[:-1], axis=1)).save(HERE / "pictures" / "tasks.png")


if __name__ == "__main__":
    main()
