"""Choosing camera positions for views of this package's scenes: around objects, or inside a room.

Candidates come from a low-discrepancy sequence (the R sequence of M. Roberts, 2018), so that the first n of them are well spread
for any n. Candidates that see nothing, or little but a wall, are dropped. The result depends only on the scene and the seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.scene.geometry import world_mesh, world_sphere
from nrc_tracer.scene.instances import placed_shapes
from nrc_tracer.scene.model import Camera as SceneCamera
from nrc_tracer.scene.model import Mesh, NeuralSdf, Perspective, Scene, Sphere
from nrc_tracer.scene.neural_sdf import box_corners
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.scene_camera import looking_at, scene_camera

if TYPE_CHECKING:
    from nrc_tracer.tracer import Renderer

Kind = Literal["orbit", "inside"]

PROBE_SIZE = 16
"""Side in pixels of the small views by which candidates are judged."""
PROBE_SAMPLES = 4
"""Samples per pixel of these views."""
BACKDROP = 2.5
"""Ratio of sizes above which a flat shape, or a sphere around everything, is ground or sky and not what is photographed."""
FLAT = 0.01
"""Ratio of the shortest to the longest side of a box up to which a shape is flat."""
CLOSED = 0.65
"""Fraction of all directions in which a closed room hides its outside."""
CLEARANCE = 0.05
"""Smallest distance of a camera from everything, in diagonals of the box."""
FREE = 0.25
"""Smallest median distance of what a camera inside sees, in median sides of the box."""
STEEPEST = 0.5
"""Sine of the steepest angle at which a camera inside looks up or down."""
MOST_TRIES = 60
"""Candidates per camera."""
ORBIT_FOV = 40.0
"""Field of view of cameras around objects across the shorter side, in degrees."""


@dataclass(frozen=True, eq=False)
class Box:
    """A box in the world: its lower and upper corners, float64 [3] each."""

    low: np.ndarray
    high: np.ndarray

    @property
    def center(self) -> np.ndarray:
        """Its middle."""
        return 0.5 * (self.low + self.high)

    @property
    def diagonal(self) -> float:
        """Length from corner to corner."""
        return float(np.linalg.norm(self.high - self.low))

    def holds(self, points: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Which points, [N, 3], lie inside the box or within a margin of it."""
        return np.all((points >= self.low - margin) & (points <= self.high + margin), axis=-1)


@dataclass(frozen=True)
class Shooting:
    """Which views to take.

    Attributes:
        kind: Around the box or inside it; None to decide from the scene.
        width, height: Size of the images in pixels.
        fov: Field of view across the shorter side in degrees; None for 40 around objects, and the scene's own inside.
        elevation: Lowest and highest elevation of cameras around objects, in degrees.
        seed: Seed of the positions.
    """

    kind: Kind | None
    width: int
    height: int
    fov: float | None = None
    elevation: tuple[float, float] = (5.0, 80.0)
    seed: int = 0


def subject_box(scene: Scene) -> Box:
    """The box around the subject of a scene: all shapes except ground and sky.

    Raises:
        DataError: The scene has no shapes.
    """
    boxes, flat, round_ = [], [], []
    for placed in placed_shapes(scene.description):
        shape = placed.shape
        sphere = world_sphere(shape) if isinstance(shape, Sphere) else None
        if sphere is not None:
            boxes.append((sphere[0] - sphere[1], sphere[0] + sphere[1]))
            flat.append(False)
            round_.append(True)
            continue
        if isinstance(shape, NeuralSdf):
            to_world = matrix(shape.to_world)
            points = box_corners(scene.snapshots[shape.file]) @ to_world[:3, :3].T + to_world[:3, 3]
        else:
            file = shape.file if isinstance(shape, Mesh) else None
            points = world_mesh(shape, None if file is None else scene.meshes.get(file)).positions
        if len(points):
            low, high = points.min(axis=0), points.max(axis=0)
            boxes.append((low, high))
            flat.append(bool((high - low).min() <= FLAT * (high - low).max()))
            round_.append(False)
    if not boxes:
        raise DataError("the scene has no shapes to photograph")
    corners = np.array(boxes, np.float64)
    sizes = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    order = np.argsort(-sizes, kind="stable")
    kept = np.ones(len(boxes), bool)
    for index in order[:-1]:
        rest = kept.copy()
        rest[index] = False
        low, high = corners[rest, 0].min(axis=0), corners[rest, 1].max(axis=0)
        is_sky = round_[index] and np.all(corners[index, 0] < low) and np.all(corners[index, 1] > high)
        if not (flat[index] or is_sky) or sizes[index] <= BACKDROP * np.linalg.norm(high - low):
            break
        kept = rest
    return Box(corners[kept, 0].min(axis=0), corners[kept, 1].max(axis=0))


class Probe:
    """Looks at a scene in small views.

    Args:
        renderer: Renderer with a film of PROBE_SIZE x PROBE_SIZE pixels.
        box: Box around the subject.
    """

    def __init__(self, renderer: Renderer, box: Box) -> None:
        self._renderer, self.box = renderer, box

    def look(self, pose: np.ndarray, fov: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances (infinite where nothing is seen), whether what is seen is in the box, and its positions [N, 3], by pixel."""
        camera = square_camera(pose, fov)
        self._renderer.reset(camera=scene_camera(camera))
        layers = self._renderer.layers(("depth", "position"))
        position = layers["position"].reshape(-1, 3).astype(np.float64)
        distance = np.linalg.norm(position - camera.position, axis=1)
        seen = np.isfinite(layers["depth"].ravel())
        inside = seen & self.box.holds(position, 0.01 * self.box.diagonal)
        return np.where(seen, distance, np.inf), inside, position

    def is_lit(self, pose: np.ndarray, fov: float) -> bool:
        """Whether any light arrives there: none arrives inside solid objects."""
        self._renderer.reset(camera=scene_camera(square_camera(pose, fov)))
        self._renderer.step(PROBE_SAMPLES)
        return bool(np.any(self._renderer.image().rgb > 0.0))

    def look_around(self, place: np.ndarray) -> tuple[float, float]:
        """Distance to the nearest thing, and the fraction of directions in which something in the box is seen."""
        nearest, share = math.inf, 0.0
        for axis in range(3):
            for sign in (-1.0, 1.0):
                target = place.copy()
                target[axis] += sign
                distance, inside, _ = self.look(looking_at(place, target, np.roll((1.0, 0.0, 0.0), axis + 1)), 90.0)
                nearest = min(nearest, float(distance.min()))
                share += float(inside.mean()) / 6.0
        return nearest, share


def square_camera(pose: np.ndarray, fov: float) -> PhotoCamera:
    """A camera for a probe, with a field of view in degrees."""
    focal = 0.5 * PROBE_SIZE / math.tan(math.radians(fov) / 2.0)
    return PhotoCamera(PROBE_SIZE, PROBE_SIZE, focal, focal, 0.5 * PROBE_SIZE, 0.5 * PROBE_SIZE, to_world=pose)


def place_cameras(probe: Probe, camera: SceneCamera, shooting: Shooting, count: int) -> tuple[Kind, list[PhotoCamera]]:
    """Choose camera positions.

    Args:
        probe: Probe of the scene.
        camera: The scene's own camera, for the upward direction, and for the field of view inside.
        shooting: Which views to take.
        count: Number of cameras; a larger number begins with the same ones.

    Returns:
        Whether they are around the scene or inside it, and the cameras.

    Raises:
        DataError: The scene can be seen from too few positions.
    """
    place = matrix(camera.to_world)
    up = np.zeros(3)
    largest = int(np.argmax(np.abs(place[:3, 1])))
    up[largest] = math.copysign(1.0, place[largest, 1])
    kind = shooting.kind or _find_kind(probe, place[:3, 3], up)
    if kind == "orbit":
        return kind, _orbit(probe, shooting, count, up)
    return kind, _inside(probe, shooting, count, up, camera)


def _find_kind(probe: Probe, own: np.ndarray, up: np.ndarray) -> Kind:
    """Inside if the scene's own camera is, or if most free points in the middle of the box are enclosed; otherwise orbit."""
    size, clearance = probe.box.high - probe.box.low, CLEARANCE * probe.box.diagonal
    middle = probe.box.low + (0.25 + 0.5 * r_sequence(8, 3, 0)) * size
    shares = []
    for place in (own, *middle):
        if not probe.box.holds(place):
            continue
        nearest, share = probe.look_around(place)
        if nearest > clearance and probe.is_lit(looking_at(place, place + np.roll(up, 1), up), 90.0):
            if place is own:
                return "inside"
            shares.append(share)
    return "inside" if shares and np.median(shares) >= CLOSED else "orbit"


def _camera(pose: np.ndarray, fov: float, shooting: Shooting) -> PhotoCamera:
    focal = 0.5 * min(shooting.width, shooting.height) / math.tan(math.radians(fov) / 2.0)
    cx, cy = 0.5 * shooting.width, 0.5 * shooting.height
    return PhotoCamera(shooting.width, shooting.height, focal, focal, cx, cy, to_world=pose)


def _orbit(probe: Probe, shooting: Shooting, count: int, up: np.ndarray) -> list[PhotoCamera]:
    fov = shooting.fov or ORBIT_FOV
    center, radius = probe.box.center, 0.5 * probe.box.diagonal
    distance = radius / math.sin(math.radians(fov) / 2.0)
    east = np.roll(up, 1)
    north = np.cross(up, east)
    low, high = (math.sin(math.radians(angle)) for angle in shooting.elevation)
    cameras: list[PhotoCamera] = []
    for u, v in r_sequence(MOST_TRIES * count, 2, shooting.seed):
        height = low + (high - low) * v
        flat, turn = math.sqrt(max(0.0, 1.0 - height * height)), 2.0 * math.pi * u
        direction = up * height + flat * (east * math.cos(turn) + north * math.sin(turn))
        pose = looking_at(center + distance * direction, center, up)
        distances, inside, _ = probe.look(pose, fov)
        blocked = distances < 0.9 * (distance - radius)
        if blocked.mean() <= 0.05 and inside.mean() > 0.01 and probe.is_lit(pose, fov):
            cameras.append(_camera(pose, fov, shooting))
        if len(cameras) == count:
            return cameras
    raise DataError(
        f"only {len(cameras)} of {count} positions around the scene see it; give --cameras inside, another --elevation or a --box"
    )


def _inside(probe: Probe, shooting: Shooting, count: int, up: np.ndarray, own: SceneCamera) -> list[PhotoCamera]:
    fov = shooting.fov or (min(own.fov, 90.0) if isinstance(own, Perspective) else 60.0)
    box, size = probe.box, probe.box.high - probe.box.low
    clearance, free = CLEARANCE * box.diagonal, FREE * float(np.median(size))
    cameras: list[PhotoCamera] = []
    shares: list[float] = []
    for number, point in enumerate(r_sequence(MOST_TRIES * count, 6, shooting.seed)):
        place = box.low + (0.05 + 0.9 * point[:3]) * size
        target = box.low + (0.15 + 0.7 * point[3:]) * size
        toward = (target - place) / max(float(np.linalg.norm(target - place)), 1e-30)
        if np.linalg.norm(target - place) < free or abs(toward @ up) > STEEPEST:
            continue
        nearest, share = probe.look_around(place)
        if nearest < clearance:
            continue
        # Drop nooks behind walls, which see less of the room than most positions do
        shares.append(share)
        if share < 0.6 * float(np.median(shares)):
            continue
        pose = looking_at(place, target, up)
        distances, inside, _ = probe.look(pose, fov)
        if np.median(distances) >= free and inside.mean() > 0.3 and probe.is_lit(pose, fov):
            cameras.append(_camera(pose, fov, shooting))
        if len(cameras) == count:
            return cameras
        if number >= 20 * MOST_TRIES and not cameras:
            break
    raise DataError(
        f"only {len(cameras)} of {count} positions inside the scene are free and see it; give --cameras orbit or a --box"
    )


def r_sequence(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Points of the R sequence in the unit cube, [count, dimensions], shifted by a seed: any first n are evenly spread."""
    root = 2.0
    for _ in range(64):  # the root of x^(d + 1) = x + 1
        root = (1.0 + root) ** (1.0 / (dimensions + 1))
    steps = root ** -np.arange(1.0, dimensions + 1.0)
    shift = np.random.default_rng(seed).random(dimensions)
    return (shift + np.arange(1, count + 1)[:, None] * steps) % 1.0
