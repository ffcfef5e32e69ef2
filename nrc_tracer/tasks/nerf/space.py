"""The space of radiance fields: a box, the steps of rays through it, and the cascades of its occupancy grid.

Everything is measured in *unit-cube space*. The box of a scene is the cube of side `extent` (a power of two, `aabb_scale`) around
(0.5, 0.5, 0.5), and the model's input is (u - 0.5) / extent + 0.5, in [0, 1]. Cascade k of the grid is the cube of side 2^k
around the same point, with RESOLUTION^3 cells; a point belongs to the smallest cascade that contains it. Cells are numbered in
Morton order, x lowest, so that a block of 2^3 or 4^3 cells has 8 or 64 consecutive numbers.

Rays sample the field on a lattice of distances t from their origin. Steps are MIN_STEP long; in boxes larger than the unit cube
they grow to t / 256 far away (Mueller et al. 2022, appendix E.1). The lattice numbers the steps: sample i of a ray with jitter j
in [0, 1) is at the distance `distance_of(i + j)`, whatever the grid holds. Skipping empty space omits samples and moves none.
"""

import math
from dataclasses import dataclass

import warp as wp

from nrc_tracer.errors import DataError

RESOLUTION = 128
"""Cells along an edge of each cascade."""
CELLS = RESOLUTION**3
"""Cells of each cascade."""
MIN_STEP = math.sqrt(3.0) / 1024.0
"""Shortest step of a ray, in unit cubes."""
CONE = 1.0 / 256.0
"""Growth of steps with distance in boxes larger than the unit cube."""
MAX_EXTENT = 128
"""Largest side of a box, in unit cubes: eight cascades."""
NEVER = wp.constant(1.0e30)
"""A lattice number that no ray reaches."""


@wp.struct
class SpaceRecord:
    """A space, for kernels.

    Attributes:
        extent: Side of the box, in unit cubes.
        cascades: Number of cascades of the grid.
        near: Distance at which rays start, in unit cubes.
        cone: Growth of steps with distance; 0 for steps of equal length.
        log_growth: log(1 + cone).
    """

    extent: float
    cascades: int
    near: float
    cone: float
    log_growth: float


@dataclass(frozen=True)
class Space:
    """The box of a scene and how rays pass through it.

    Args:
        extent: Side of the box in unit cubes, a power of two from 1 to MAX_EXTENT.
        near: Distance from a camera at which its rays start, in unit cubes; at least 0.

    Raises:
        DataError: A number is out of range.
    """

    extent: int
    near: float = 0.0

    def __post_init__(self) -> None:
        if self.extent not in [2**k for k in range(MAX_EXTENT.bit_length())]:
            raise DataError(f"aabb_scale: expected a power of two from 1 to {MAX_EXTENT}, got {self.extent}")
        if not 0.0 <= self.near < math.inf:
            raise DataError(f"near: expected a distance of at least 0, got {self.near}")

    @property
    def cascades(self) -> int:
        """Number of cascades of the grid."""
        return int(self.extent).bit_length()

    @property
    def cone(self) -> float:
        """Growth of steps with distance."""
        return CONE if self.extent > 1 else 0.0

    def record(self) -> SpaceRecord:
        """The space for kernels."""
        record = SpaceRecord()
        record.extent = float(self.extent)
        record.cascades = self.cascades
        record.near = self.near
        record.cone = self.cone
        record.log_growth = math.log1p(self.cone)
        return record


@wp.func
def distance_of(box: SpaceRecord, number: float) -> float:
    """The distance of a lattice number, which may lie between two samples."""
    if box.cone == 0.0:
        return number * wp.static(MIN_STEP)
    first = 1.0 / box.cone  # the number from which on steps grow
    if number <= first:
        return number * wp.static(MIN_STEP)
    return first * wp.static(MIN_STEP) * wp.exp((number - first) * box.log_growth)


@wp.func
def number_at(box: SpaceRecord, distance: float) -> float:
    """The lattice number of a distance, the inverse of `distance_of`."""
    number = distance / wp.static(MIN_STEP)
    if box.cone == 0.0:
        return number
    first = 1.0 / box.cone
    if number <= first:
        return number
    return first + wp.log(number / first) / box.log_growth


@wp.func
def step_at(box: SpaceRecord, distance: float) -> float:
    """Length of the step that starts at a distance."""
    return wp.max(wp.static(MIN_STEP), distance * box.cone)


@wp.func
def cascade_of(box: SpaceRecord, p: wp.vec3) -> int:
    """The smallest cascade that contains a point; the largest one for points outside."""
    reach = wp.max(wp.max(wp.abs(p[0] - 0.5), wp.abs(p[1] - 0.5)), wp.abs(p[2] - 0.5))
    half = float(0.5)
    cascade = int(0)
    while reach >= half and cascade < box.cascades - 1:
        half = 2.0 * half
        cascade += 1
    return cascade


@wp.func
def model_position(box: SpaceRecord, p: wp.vec3) -> wp.vec3:
    """The model's input for a point of the box."""
    q = (p - wp.vec3(0.5)) / box.extent + wp.vec3(0.5)
    return wp.vec3(wp.clamp(q[0], 0.0, 1.0), wp.clamp(q[1], 0.0, 1.0), wp.clamp(q[2], 0.0, 1.0))


@wp.func
def spread(v: int) -> int:
    """The low ten bits of a number, each followed by two zeros."""
    v = (v | (v << 16)) & 0x030000FF
    v = (v | (v << 8)) & 0x0300F00F
    v = (v | (v << 4)) & 0x030C30C3
    return (v | (v << 2)) & 0x09249249


@wp.func
def gathered(v: int) -> int:
    """The inverse of `spread`; other bits are ignored."""
    v = v & 0x09249249
    v = (v | (v >> 2)) & 0x030C30C3
    v = (v | (v >> 4)) & 0x0300F00F
    v = (v | (v >> 8)) & 0x030000FF
    return (v | (v >> 16)) & 0x0000007F


@wp.func
def cell_number(cascade: int, cell: wp.vec3i) -> int:
    """Number of a cell of the grid."""
    return cascade * CELLS + (spread(cell[0]) | (spread(cell[1]) << 1) | (spread(cell[2]) << 2))


@wp.func
def in_cells(p: wp.vec3, cascade: int) -> wp.vec3:
    """A point in units of a cascade's cells, from the cascade's corner."""
    per_unit = float(RESOLUTION) / float(1 << cascade)
    return (p - wp.vec3(0.5)) * per_unit + wp.vec3(0.5 * float(RESOLUTION))


@wp.func
def cell_at(p: wp.vec3, cascade: int) -> int:
    """Number of the cell that contains a point of a cascade; the nearest cell for points outside."""
    q = in_cells(p, cascade)
    cell = wp.vec3i(
        wp.clamp(int(wp.floor(q[0])), 0, RESOLUTION - 1),
        wp.clamp(int(wp.floor(q[1])), 0, RESOLUTION - 1),
        wp.clamp(int(wp.floor(q[2])), 0, RESOLUTION - 1),
    )
    return cell_number(cascade, cell)


@wp.func
def cell_of(number: int) -> wp.vec3i:
    """Position of a cell in its cascade."""
    return wp.vec3i(gathered(number), gathered(number >> 1), gathered(number >> 2))
