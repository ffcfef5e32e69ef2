"""Make the scene that is too long to write by hand: `python scenes/make_scenes.py`.

`many-lights.json` is an arcade at night: strings of coloured bulbs between the arches, lanterns on the piers, and candles and
glowing balls on a polished floor. Its random numbers have a fixed seed and are written with three digits.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent
ARCHES, SPACING = 6, 2.4
"""Number of arches, and the distance between them [m]."""
COLORS = ((1.0, 0.62, 0.28), (1.0, 0.3, 0.12), (0.25, 0.55, 1.0), (0.3, 1.0, 0.45), (1.0, 0.25, 0.6), (1.0, 0.85, 0.6))


def many_lights() -> dict[str, Any]:
    """Describe the arcade. It has about three hundred lights, whose powers differ by a factor of thousands."""
    random = np.random.Generator(np.random.PCG64(7))
    shapes: list[dict[str, Any]] = [
        {
            "type": "rectangle",
            "name": "floor",
            "material": "floor",
            "to_world": [{"type": "rotate", "axis": [1, 0, 0], "angle": -90}, {"type": "scale", "value": 30}],
        },
        *_objects(),
        *_strings(random),
        *_lanterns(random),
        *_candles(random),
        *_balls(random),
    ]
    return {
        "camera": {
            "type": "perspective",
            "to_world": [{"type": "look_at", "origin": [0.55, 1.25, 4.6], "target": [-0.1, 1.35, -4]}],
            "fov": 58,
        },
        "film": {"width": 640, "height": 400},
        "sampler": {"spp": 64},
        "integrator": {"max_depth": 10},
        "materials": {
            "floor": {"type": "plastic", "diffuse_reflectance": [0.1, 0.09, 0.085], "alpha": 0.06},
            "stone": {"type": "diffuse", "reflectance": [0.62, 0.58, 0.52]},
            "bronze": {"type": "conductor", "eta": [0.2, 0.92, 1.1], "k": [3.91, 2.45, 2.14], "alpha": 0.12},
            "silver": {"type": "conductor", "eta": [0.16, 0.14, 0.14], "k": [4.0, 3.1, 2.3], "alpha": 0.05},
            "black": {"type": "diffuse", "reflectance": 0.03},
        },
        "shapes": shapes,
        "lights": [{"type": "constant", "radiance": [0.004, 0.006, 0.012]}],
    }


def _objects() -> list[dict[str, Any]]:
    arches = [_mesh("arch", "stone", [0, 0, -SPACING * i]) for i in range(ARCHES)]
    vases = [_mesh("vase", "bronze", [x, 0, -SPACING * i - 0.45], 2.2) for i in (0, 2, 4) for x in (-2.1, 2.1)]
    knot = _mesh("knot", "silver", [0, 0.25, -SPACING * ARCHES + 0.6], 1.6)
    return [*arches, *vases, knot, _mesh("teapot", "silver", [-0.62, 0, 0.75], 1.8)]


def _strings(random: np.random.Generator) -> list[dict[str, Any]]:
    """Return bulbs on sagging strings from arch to arch, on both sides and in the middle."""
    bulbs = []
    for gap in range(ARCHES - 1):
        for x, count in ((-1.75, 12), (1.75, 12), (0.0, 7)):
            for t in (np.arange(count) + 0.5) / count:
                sag = 0.5 * 4.0 * t * (1.0 - t)
                center = [x + random.normal(0, 0.02), 3.25 - sag if x else 2.95 - 0.3 * sag, -SPACING * (gap + t)]
                bulbs.append(_ball(random, center, 0.04, 24.0, 0.5))
    return bulbs


def _lanterns(random: np.random.Generator) -> list[dict[str, Any]]:
    """Return small emitting squares on both piers of every arch, facing the camera and the middle of the arcade."""
    squares = []
    for arch in range(ARCHES):
        for side in (-1, 1):
            for height in (1.35, 1.75):
                place = [side * 1.3, height, round(-SPACING * arch + 0.205, 3)]
                squares.append(_square(random, place, [{"type": "scale", "value": 0.07}]))
            turn = {"type": "rotate", "axis": [0, 1, 0], "angle": -90 * side}
            place = [side * 1.095, 1.55, -SPACING * arch]
            squares.append(_square(random, place, [{"type": "scale", "value": 0.09}, turn]))
    return squares


def _candles(random: np.random.Generator) -> list[dict[str, Any]]:
    """Return small warm lights on the floor beside the arcade, most of them faint."""
    candles = []
    for _ in range(90):
        x = random.choice((-1, 1)) * random.uniform(1.65, 4.5)
        radius = random.uniform(0.015, 0.04)
        candles.append(_ball(random, [x, radius, random.uniform(-13, 1.5)], radius, 18.0, 1.6, COLORS[0]))
    return candles


def _balls(random: np.random.Generator) -> list[dict[str, Any]]:
    """Return larger, dimly glowing balls on the floor inside and outside the arcade."""
    balls = []
    for i in range(14):
        radius = random.uniform(0.07, 0.16)
        x = random.choice((-1, 1)) * (random.uniform(0.35, 0.85) if i % 2 else random.uniform(1.8, 3.2))
        balls.append(_ball(random, [x, radius, 1.4 - i * 0.95], radius, 1.0, 0.5))
    return balls


def _mesh(name: str, material: str, place: list[float], scale: float = 1.0) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"type": "scale", "value": scale}] if scale != 1.0 else []
    steps.append({"type": "translate", "value": place})
    return {"type": "mesh", "file": f"meshes/{name}.ply", "material": material, "to_world": steps}


def _ball(random, center, radius, radiance, spread, color=None) -> dict[str, Any]:
    emission = _emission(random, radiance, spread, color)
    return {"type": "sphere", "center": center, "radius": radius, "material": "black", "emission": emission}


def _square(random, place, steps) -> dict[str, Any]:
    steps = [*steps, {"type": "translate", "value": place}]
    return {"type": "rectangle", "material": "black", "emission": _emission(random, 5.0, 0.7), "to_world": steps}


def _emission(random, radiance, spread, color=None) -> list[float]:
    """Return a coloured emission whose radiance is distributed log-normally around `radiance`."""
    color = COLORS[random.integers(len(COLORS))] if color is None else color
    return list(np.array(color) * radiance * np.exp(spread * random.normal()))


def compact(scene: dict[str, Any]) -> str:
    """Encode a scene as JSON with three digits per number and one shape per line."""

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: short(item) for key, item in value.items()}
        if isinstance(value, list):
            return [short(item) for item in value]
        if isinstance(value, float):
            number = float(f"{value:.3g}")
            return int(number) if number.is_integer() else number
        return value

    def line(value: Any) -> str:
        return json.dumps(short(value), separators=(",", ":"))

    parts = []
    for key, value in scene.items():
        if key == "materials":
            parts.append(
                '"materials":{\n' + ",\n".join(f'"{name}":{line(item)}' for name, item in value.items()) + "\n}"
            )
        elif key == "shapes":
            parts.append('"shapes":[\n' + ",\n".join(line(item) for item in value) + "\n]")
        else:
            parts.append(f'"{key}":{line(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def write_all(folder: Path) -> list[Path]:
    """Write the scene to `folder` and return the files."""
    path = folder / "many-lights.json"
    path.write_text(compact(many_lights()), encoding="utf-8", newline="\n")
    return [path]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the scene that is too long to write by hand.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=FOLDER, help="where to write (default: the folder of this script)"
    )
    for written in write_all(parser.parse_args().folder):
        print(f"{written}: {written.stat().st_size:,} bytes")
