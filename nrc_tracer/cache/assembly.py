"""Putting the segments of cut paths together: training targets, and the samples of pixels."""

import warp as wp

from nrc_tracer.cache.records import BROKEN, IN_CACHE, Records


@wp.func
def all_finite(v: wp.vec3) -> bool:
    """Whether no component is infinite or not a number."""
    return wp.isfinite(v[0]) and wp.isfinite(v[1]) and wp.isfinite(v[2])


@wp.kernel(enable_backward=False)
def propagate_targets(
    records: Records, ends: wp.array[wp.vec3], base: int, targets: wp.array[wp.vec3], is_record: wp.array[wp.uint8]
):
    """Go back along the training path `base + tid`: the target of each cut from that of the next.

    `ends` is what the cache says at the last cut of each path, used where the path ended there; that cut is no record then.
    Targets that are not finite are no records, and neither are those before them.
    """
    path = base + wp.tid()
    first = path * records.capacity
    for slot in range(records.capacity):
        is_record[first + slot] = wp.uint8(0)
    if records.status[path] == BROKEN:
        return
    last = records.count[path] - 1
    target = wp.vec3(0.0)
    if records.status[path] == IN_CACHE:
        target = ends[path]
        last -= 1
    slot = int(last)
    while slot >= 0:
        row = first + slot
        throughput = wp.vec3(0.0)
        if slot + 1 < records.count[path]:
            throughput = records.throughput[row + 1]
        target = records.gathered[row + path + 1] + wp.cw_mul(throughput, target)
        targets[row] = target
        is_record[row] = wp.where(all_finite(target), wp.uint8(1), wp.uint8(0))
        slot -= 1


@wp.kernel(enable_backward=False)
def add_samples(
    records: Records,
    predictions: wp.array[wp.vec3],
    continue_probability: float,
    base: int,
    sums: wp.array[wp.vec3d],
    squares: wp.array[wp.vec3d],
    dropped: wp.array[int],
):
    """Add the sample that path `base + tid` stands for to the pixel of that number.

    Where the path ended in the cache, that is gathered[0] + T C. Where it went on beyond its cut, drawn with probability q,
    the cache is corrected by what was found there: gathered[0] + T (C + (L - C) / q).
    """
    path = base + wp.tid()
    first = path * (records.capacity + 1)
    value = records.gathered[first]
    if records.count[path] > 0:
        scattered = predictions[path]
        if records.status[path] != IN_CACHE:
            scattered += (records.gathered[first + 1] - scattered) / continue_probability
        value += wp.cw_mul(records.throughput[path * records.capacity], scattered)
    if records.status[path] == BROKEN or not all_finite(value):
        dropped[path] = dropped[path] + 1
        return
    sample = wp.vec3d(wp.float64(value[0]), wp.float64(value[1]), wp.float64(value[2]))
    sums[path] = sums[path] + sample
    squares[path] = squares[path] + wp.cw_mul(sample, sample)
