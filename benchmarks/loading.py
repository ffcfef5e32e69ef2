"""Loading of scenes, compared with Mitsuba's: the time from a file to what can be rendered.

    python -m benchmarks.loading [--rounds 5] [--width 256] [--json FILE]

Ours is `load_scene` and `Renderer`, Mitsuba's is `load_file` of its `llvm_ad_rgb` variant, both in this process and in turn. The
first load of each is left out. The scenes are the published interiors of the data, and an OBJ file of a million triangles.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import nrc_tracer as nrc
from benchmarks.data import data_folder
from benchmarks.machine import describe_machine
from benchmarks.scenes import PUBLISHED
from tests.agreement import mitsuba_oracle

ROWS = 708
"""Rows and columns of vertices of the mesh, which has two triangles between each four."""


def write_mesh(path: Path) -> None:
    """Write a ball of a million triangles, with normals and texture coordinates, as OBJ."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, ROWS), np.linspace(0, 2 * np.pi, ROWS), indexing="ij")
    normals = np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], -1).reshape(-1, 3)
    uvs = np.stack([theta / np.pi, phi / (2 * np.pi)], -1).reshape(-1, 2)
    a = (np.arange(ROWS - 1)[:, None] * ROWS + np.arange(ROWS - 1)).ravel() + 1
    faces = np.concatenate([np.stack([a, a + 1, a + ROWS], 1), np.stack([a + 1, a + ROWS + 1, a + ROWS], 1)])
    with path.open("w") as file:
        np.savetxt(file, 1.05 * normals, "v %.6f %.6f %.6f")
        np.savetxt(file, uvs, "vt %.6f %.6f")
        np.savetxt(file, normals, "vn %.4f %.4f %.4f")
        np.savetxt(file, np.repeat(faces, 3, axis=1), "f %d/%d/%d %d/%d/%d %d/%d/%d")


def load_ours(path: Path, width: int) -> None:
    """Load a scene up to a renderer with compiled kernels."""
    nrc.Renderer(nrc.load_scene(path), device="cpu", width=width).compile()


def measure(path: Path, rounds: int, width: int) -> dict[str, float]:
    """The median time of each, in seconds."""
    mi = mitsuba_oracle.load("llvm_ad_rgb")

    def load_theirs() -> None:
        if path.suffix == ".obj":
            mi.load_dict({"type": "scene", "shape": {"type": "obj", "filename": str(path)}})
        else:
            mi.load_file(str(path))

    seconds: dict[str, list[float]] = {"ours": [], "mitsuba": []}
    for _ in range(rounds + 1):
        for name, load in (("ours", lambda: load_ours(path, width)), ("mitsuba", load_theirs)):
            gc.collect()
            start = time.perf_counter()
            load()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", nrc.SceneWarning)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        mesh = Path(folder) / "million.obj"
        write_mesh(mesh)
        paths = {name: data_folder() / "scenes/mitsuba" / name / "scene.xml" for name in PUBLISHED}
        for name, path in {**paths, "million triangles (OBJ)": mesh}.items():
            if not path.is_file():
                print(f"{name} is left out: there is no {path}")
                continue
            found = measure(path, arguments.rounds, arguments.width)
            found["ratio"] = found["ours"] / found["mitsuba"]
            results[name] = found
            print(f"{name:<24}{found['ours']:>8.3f} s{found['mitsuba']:>8.3f} s{found['ratio']:>7.2f}", flush=True)
    if arguments.json:
        machine = describe_machine(("nrc-tracer", "warp-lang", "mitsuba"))
        arguments.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
