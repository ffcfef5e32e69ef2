"""Kernels that put the segments of cut paths together: queries, training targets and batches, and samples of pixels."""

import warp as wp

from nrc_tracer.cache.records import BROKEN, IN_CACHE, Records
from nrc_tracer.cache.residuals import ResidualRecord, half_of
from nrc_tracer.device.finite import all_finite
from nrc_tracer.device.random_bits import GOLDEN, mix_bits, shuffled


@wp.func
def is_finite_row(values: wp.array2d[float], row: int) -> bool:
    """Whether all values of a row are finite."""
    bad = int(0)
    for column in range(values.shape[1]):
        if not wp.isfinite(values[row, column]):
            bad += 1
    return bad == 0


@wp.kernel(enable_backward=False)
def list_marked(base: int, upto: wp.array[int], items: wp.array[int]):
    """List item `base + tid` if it is marked; `upto` is the inclusive prefix sum of the marks: see `Marked`."""
    i = base + wp.tid()
    before = int(0)
    if i > 0:
        before = upto[i - 1]
    if upto[i] > before:
        items[before] = i


@wp.kernel(enable_backward=False)
def gather_ends(records: Records, paths: wp.array[int], count: wp.array[int], base: int, features: wp.array2d[float]):
    """Copy the features of the last cut of the path that is entry `base + tid` of a list of `count[0]` paths."""
    i = base + wp.tid()
    if i >= count[0]:
        return
    path = paths[i]
    row = path * records.capacity + records.count[path] - 1
    for column in range(features.shape[1]):
        features[i, column] = records.features[row, column]


@wp.kernel(enable_backward=False)
def propagate_targets(
    records: Records,
    upto: wp.array[int],
    ends: wp.array[wp.vec3],
    base: int,
    targets: wp.array[wp.vec3],
    is_record: wp.array[int],
):
    """Compute the targets of training path `base + tid`, from its last cut to its first: each from that of the next cut.

    `ends` has the cache's predictions at the last cuts of the paths that ended in it, and `upto` counts these paths, up to each
    path and including it. Those cuts are not training records, nor are cuts whose features or targets are not finite.
    """
    path = base + wp.tid()
    first = path * records.capacity
    for slot in range(records.capacity):
        is_record[first + slot] = 0
    if records.status[path] == BROKEN:
        return
    last = records.count[path] - 1
    target = wp.vec3(0.0)
    if records.status[path] == IN_CACHE:
        target = ends[upto[path] - 1]
        last -= 1
    slot = int(last)
    while slot >= 0:
        row = first + slot
        throughput = wp.vec3(0.0)
        if slot + 1 < records.count[path]:
            throughput = records.throughput[row + 1]
        target = records.gathered[row + path + 1] + wp.cw_mul(throughput, target)
        targets[row] = target
        is_record[row] = wp.where(all_finite(target) and is_finite_row(records.features, row), 1, 0)
        slot -= 1


@wp.kernel(enable_backward=False)
def draw_records(
    records: Records,
    targets: wp.array[wp.vec3],
    rows: wp.array[int],
    count: wp.array[int],
    seed: wp.uint64,
    frame: wp.array[int],
    base: int,
    features: wp.array2d[float],
    drawn: wp.array[wp.vec3],
):
    """Draw features and target of a training record from the list `rows`, in a random order without repetition.

    If there are fewer records than draws, the order is repeated; if there are none, the target is NaN.
    """
    i = base + wp.tid()
    n = count[0]
    if n == 0:
        drawn[i] = wp.vec3(wp.nan)
        return
    row = rows[shuffled(i % n, n, mix_bits(seed + GOLDEN * wp.uint64(frame[0] + 1)))]
    drawn[i] = targets[row]
    for column in range(features.shape[1]):
        features[i, column] = records.features[row, column]


@wp.func
def add_moments(value: wp.vec3, row: int, sums: wp.array[wp.vec3d], squares: wp.array[wp.vec3d]):
    """Add a value and its square to the sums of a row, in double precision."""
    x = wp.vec3d(wp.float64(value[0]), wp.float64(value[1]), wp.float64(value[2]))
    sums[row] = sums[row] + x
    squares[row] = squares[row] + wp.cw_mul(x, x)


@wp.kernel(enable_backward=False)
def add_samples(
    records: Records,
    upto: wp.array[int],
    predictions: wp.array[wp.vec3],
    continue_probability: float,
    base: int,
    sums: wp.array[wp.vec3d],
    squares: wp.array[wp.vec3d],
    dropped: wp.array[int],
):
    """Add the sample of path `base + tid` to the pixel of that index.

    `predictions` has the cache's predictions C at the cuts, and `upto` counts the paths with a cut, up to each path and including
    it. A path that ended in the cache gives the sample gathered[0] + T C. A path that continued beyond its cut, with probability
    q, corrects the prediction by the radiance L it found there: gathered[0] + T (C + (L - C) / q).
    """
    path = base + wp.tid()
    first = path * (records.capacity + 1)
    value = records.gathered[first]
    if records.count[path] > 0:
        scattered = predictions[upto[path] - 1]
        if records.status[path] != IN_CACHE:
            scattered += (records.gathered[first + 1] - scattered) / continue_probability
        value += wp.cw_mul(records.throughput[path * records.capacity], scattered)
    if records.status[path] == BROKEN or not all_finite(value):
        dropped[path] = dropped[path] + 1
        return
    add_moments(value, path, sums, squares)


@wp.kernel(enable_backward=False)
def add_samples_and_residuals(
    records: Records,
    upto: wp.array[int],
    predictions: wp.array[wp.vec3],
    continue_probability: float,
    base: int,
    sums: wp.array[wp.vec3d],
    squares: wp.array[wp.vec3d],
    dropped: wp.array[int],
    residuals: ResidualRecord,
    number: wp.array[int],
):
    """Add the cached sample of path `base + tid` to the pixel of that index, and what it lacks to the pixel's residuals.

    The arguments are those of `add_samples`. Every path with a cut gives the sample gathered[0] + T C. One that continued beyond
    its cut, with probability q, also gives the residual T (L - C) / q, to the half of sample `number[0]`.
    """
    path = base + wp.tid()
    first = path * (records.capacity + 1)
    value = records.gathered[first]
    residual = wp.vec3(0.0)
    if records.count[path] > 0:
        throughput = records.throughput[path * records.capacity]
        scattered = predictions[upto[path] - 1]
        value += wp.cw_mul(throughput, scattered)
        if records.status[path] != IN_CACHE:
            residual = wp.cw_mul(throughput, records.gathered[first + 1] - scattered) / continue_probability
    if records.status[path] == BROKEN or not all_finite(value) or not all_finite(residual):
        dropped[path] = dropped[path] + 1
        return
    add_moments(value, path, sums, squares)
    if records.count[path] > 0 and records.status[path] != IN_CACHE:
        half = half_of(number[0])
        add_moments(residual, path, residuals.sums[half], residuals.squares[half])
