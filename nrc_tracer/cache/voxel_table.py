"""A hash table of voxels with running means of radiance, in kernels for the CPU and CUDA.

A voxel is a cube of space, of an edge that is a power of two and grows with the distance from the camera, together with one of
six directions that surface normals are rounded to. Keys hold all of that exactly, so two voxels never share an entry.

Results do not depend on threads: records are sorted by voxel, each voxel is summed in their order, and on the CPU one
thread inserts voxels in the order of their keys. On CUDA the place of a voxel in the table may vary, its contents do not.
"""

import warp as wp

from nrc_tracer.device.random_bits import mix_bits

FINEST = wp.constant(16)
"""Voxels have edges of at least 2^-16 of the cache's cube."""
LEVELS = wp.constant(4)
"""Voxels that a record belongs to: the finest one at its place, and those with 2, 4 and 8 times its edge."""
PROBES = wp.constant(32)
"""Entries that are searched for a voxel."""
EMPTY = wp.constant(wp.int64(0))
"""Key of a free entry."""
AXIS_BITS = wp.constant(wp.int64(17))
"""Bits of a coordinate in a key."""

PI = wp.constant(3.14159265)


@wp.struct
class VoxelTable:
    """The entries of a table, whose number is a power of two, and how positions are divided into voxels."""

    keys: wp.array[wp.int64]
    means: wp.array[wp.vec3]
    counts: wp.array[float]
    eye: wp.vec3  # the camera, in the cache's cube
    angle: float  # edge of a voxel over its distance from the camera, before it is rounded down to a power of two


@wp.func
def unit_vector(features: wp.array2d[float], row: int) -> wp.vec3:
    """The shading normal in a row of features."""
    polar = features[row, 5] * PI
    azimuth = (features[row, 6] - 0.5) * 2.0 * PI
    flat = wp.sin(polar)
    return wp.vec3(flat * wp.cos(azimuth), flat * wp.sin(azimuth), wp.cos(polar))


@wp.func
def rounded_direction(n: wp.vec3) -> int:
    """The number, 0 to 5, of the axis and the sign that are nearest to a normal."""
    axis = int(0)
    for i in range(1, 3):
        if wp.abs(n[i]) > wp.abs(n[axis]):
            axis = i
    return 2 * axis + wp.where(n[axis] < 0.0, 1, 0)


@wp.func
def finest_level(table: VoxelTable, p: wp.vec3) -> int:
    """Level of the finest voxels at a place: those of level l have an edge of 2^(l - FINEST)."""
    edge = wp.max(table.angle * wp.length(p - table.eye), 1.0e-30)
    return wp.clamp(int(wp.floor(wp.log2(edge))) + FINEST, 0, FINEST)


@wp.func
def voxel_key(p: wp.vec3, direction: int, level: int) -> wp.int64:
    """Key of the voxel of a level that holds a point of the cache's cube; never `EMPTY`."""
    scale = float(1 << (FINEST - level))
    key = wp.int64(level + 1)
    for i in range(3):
        key = (key << AXIS_BITS) | wp.int64(int(wp.floor(wp.clamp(p[i], 0.0, 1.0) * scale)))
    return (key << wp.int64(3)) | wp.int64(direction)


@wp.func
def first_slot(key: wp.int64, size: int) -> int:
    """Entry at which the search for a voxel begins."""
    return int(mix_bits(wp.uint64(key)) & wp.uint64(size - 1))


@wp.func
def find(table: VoxelTable, key: wp.int64) -> int:
    """Entry of a voxel; -1 if there is none."""
    size = table.keys.shape[0]
    slot = first_slot(key, size)
    for probe in range(PROBES):
        at = (slot + probe) & (size - 1)
        there = table.keys[at]
        if there == key:
            return at
        if there == EMPTY:
            return -1
    return -1


@wp.func
def insert(table: VoxelTable, key: wp.int64) -> int:
    """Entry of a voxel, a new one if there is none; -1 if the table has no room for it."""
    size = table.keys.shape[0]
    slot = first_slot(key, size)
    for probe in range(PROBES):
        at = (slot + probe) & (size - 1)
        there = wp.atomic_cas(table.keys, at, EMPTY, key)
        if there == EMPTY or there == key:
            return at
    return -1


@wp.func
def point_of(features: wp.array2d[float], row: int) -> wp.vec3:
    """The position in a row of features."""
    return wp.vec3(features[row, 0], features[row, 1], features[row, 2])


@wp.kernel(enable_backward=False)
def find_voxels(base: int, features: wp.array2d[float], table: VoxelTable, keys: wp.array2d[wp.int64]):
    """Write the keys of all voxels that record `base + tid` belongs to."""
    i = base + wp.tid()
    p = point_of(features, i)
    direction = rounded_direction(unit_vector(features, i))
    level = finest_level(table, p)
    for k in range(LEVELS):
        keys[i, k] = voxel_key(p, direction, wp.min(level + k, FINEST))


@wp.kernel(enable_backward=False)
def add_records(
    base: int,
    per_thread: int,
    voxels: wp.array[wp.int64],
    ends: wp.array[int],
    order: wp.array[int],
    radiance: wp.array[wp.vec3],
    most: float,
    table: VoxelTable,
    lost: wp.array[int],
):
    """Add the records of some voxels to their means: voxels `(base + tid) * per_thread` and the following ones.

    Args:
        base: Index of the first thread.
        per_thread: Voxels per thread.
        voxels: Keys of the voxels, each once.
        ends: End of each voxel's records in `order`.
        order: Record number times `LEVELS`, plus a number below that, sorted by voxel.
        radiance: Radiance of the records.
        most: Largest count of a mean. Beyond it, older records are forgotten exponentially.
        table: The table.
        lost: Number of voxels without room, added up, [threads].
    """
    thread = base + wp.tid()
    for i in range(thread * per_thread, wp.min((thread + 1) * per_thread, voxels.shape[0])):
        begin = int(0)
        if i > 0:
            begin = ends[i - 1]
        total = wp.vec3d(wp.float64(0.0))
        previous = int(-1)
        number = float(0.0)
        for j in range(begin, ends[i]):
            record = order[j] / LEVELS
            if record != previous:  # at the coarsest level several of a record's voxels are the same one
                x = radiance[record]
                total += wp.vec3d(wp.float64(x[0]), wp.float64(x[1]), wp.float64(x[2]))
                number += 1.0
            previous = record
        slot = insert(table, voxels[i])
        if slot < 0:
            lost[thread] = lost[thread] + 1
        else:
            mean = wp.vec3(float(total[0]), float(total[1]), float(total[2])) / number
            count = wp.min(table.counts[slot] + number, wp.max(most, number))
            table.means[slot] = table.means[slot] + (mean - table.means[slot]) * (number / count)
            table.counts[slot] = count


@wp.kernel(enable_backward=False)
def move_entries(
    base: int,
    per_thread: int,
    entries: wp.array[wp.int64],
    old: VoxelTable,
    table: VoxelTable,
    lost: wp.array[int],
):
    """Copy some entries of one table to another: entries `(base + tid) * per_thread` and the following ones of a list."""
    thread = base + wp.tid()
    for i in range(thread * per_thread, wp.min((thread + 1) * per_thread, entries.shape[0])):
        entry = entries[i]
        slot = insert(table, old.keys[entry])
        if slot < 0:
            lost[thread] = lost[thread] + 1
        else:
            table.means[slot] = old.means[entry]
            table.counts[slot] = old.counts[entry]


@wp.kernel(enable_backward=False)
def look_up(base: int, features: wp.array2d[float], least: float, table: VoxelTable, radiance: wp.array[wp.vec3]):
    """Write the mean of the finest voxel with at least `least` records at the point of row `base + tid`.

    Where none has as many, the coarsest one that has any counts; without one the radiance is 1, the mean of all.
    """
    i = base + wp.tid()
    p = point_of(features, i)
    direction = rounded_direction(unit_vector(features, i))
    level = finest_level(table, p)
    found = wp.vec3(1.0)
    for k in range(LEVELS):
        slot = find(table, voxel_key(p, direction, wp.min(level + k, FINEST)))
        if slot >= 0:
            found = table.means[slot]
            if table.counts[slot] >= least:
                break
    radiance[i] = found
