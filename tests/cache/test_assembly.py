"""Training targets and image samples assembled from path segments, compared with a recursive definition in Python."""

import itertools
import math

import numpy as np
import pytest
import torch
import warp as wp

from nrc_tracer.cache.assembly import add_samples, draw_records, gather_ends, propagate_targets
from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.marked import Marked
from nrc_tracer.cache.records import BROKEN, COMPLETE, IN_CACHE
from nrc_tracer.device.torch_launcher import TorchLauncher

CPU = torch.device("cpu")


def _filled(rng, paths, capacity):
    """Random segments, with random numbers of cuts up to the capacity and all kinds of path ends."""
    buffers = RecordBuffers.allocate(paths, capacity, CPU)
    buffers.features.copy_(torch.from_numpy(rng.random((paths, capacity, FEATURES), np.float32)))
    buffers.throughput.copy_(torch.from_numpy(rng.uniform(0.0, 2.0, (paths, capacity, 3)).astype(np.float32)))
    buffers.gathered.copy_(torch.from_numpy(rng.exponential(1.0, (paths, capacity + 1, 3)).astype(np.float32)))
    count = rng.integers(0, capacity + 1, paths)
    status = rng.choice([int(COMPLETE), int(IN_CACHE), int(BROKEN)], paths, p=[0.45, 0.45, 0.1])
    status[(count == 0) & (status == int(IN_CACHE))] = int(COMPLETE)  # a path without a cut cannot end in the cache
    buffers.count.copy_(torch.from_numpy(count))
    buffers.status.copy_(torch.from_numpy(status))
    return buffers


def _target(buffers, ends, path, slot):
    """T_j = gathered[j + 1] + throughput[j + 1] T_(j + 1) in float64, by the definition in nrc_tracer/cache/records.py."""
    count = int(buffers.count[path])
    if slot == count - 1 and int(buffers.status[path]) == int(IN_CACHE):
        return ends[path].double().numpy()
    value = buffers.gathered[path, slot + 1].double().numpy()
    if slot + 1 < count:
        value = value + buffers.throughput[path, slot + 1].double().numpy() * _target(buffers, ends, path, slot + 1)
    return value


def _listed(marks):
    return Marked.of(marks, TorchLauncher("cpu", threads=2))


def _propagated(buffers, ends, blocks=1):
    """Targets and record flags. Of `ends`, [paths, 3], the kernel gets the rows of paths that ended in the cache, in order."""
    rows = buffers.paths * buffers.capacity
    targets = torch.full((rows, 3), -7.0)
    is_record = torch.full((rows,), 9, dtype=torch.int32)
    arrays = (wp.from_torch(targets, dtype=wp.vec3), wp.from_torch(is_record))
    listed = _listed(buffers.status == int(IN_CACHE))
    given = torch.cat((ends[listed.items[: int(listed.count)].long()], torch.full((1, 3), -9.0)))
    before = [buffers.record, wp.from_torch(listed.upto), wp.from_torch(given, dtype=wp.vec3)]
    edges = np.linspace(0, buffers.paths, blocks + 1).astype(int)
    for base, end in itertools.pairwise(edges.tolist()):
        wp.launch(propagate_targets, dim=end - base, inputs=[*before, base, *arrays], device="cpu")
    shape = (buffers.paths, buffers.capacity)
    return targets.view(*shape, 3).numpy(), is_record.view(shape).numpy()


@pytest.mark.parametrize("capacity", [1, 2, 5])
@pytest.mark.parametrize("blocks", [1, 3])
def test_targets(rng, capacity, blocks):
    """Every cut becomes a record with the recursive target, except where the cache ends a path; broken paths have no records."""
    buffers = _filled(rng, 300, capacity)
    ends = torch.from_numpy(rng.exponential(1.0, (300, 3)).astype(np.float32))
    targets, is_record = _propagated(buffers, ends, blocks)
    records = 0
    for path in range(buffers.paths):
        count, status = int(buffers.count[path]), int(buffers.status[path])
        expected = 0 if status == int(BROKEN) else count - (status == int(IN_CACHE))
        np.testing.assert_array_equal(is_record[path], [1] * expected + [0] * (capacity - expected), err_msg=str(path))
        for slot in range(expected):
            np.testing.assert_allclose(targets[path, slot], _target(buffers, ends, path, slot), rtol=1e-5)
        records += expected
    assert records > 50


def test_the_end_is_used_only_where_a_path_ended_in_the_cache(rng):
    """Other ends leave the targets of complete paths unchanged, and change the others in proportion to the throughput."""
    buffers = _filled(rng, 200, 4)
    ends = torch.ones((200, 3))
    before, is_record = _propagated(buffers, ends)
    after, _ = _propagated(buffers, 2.0 * ends)
    in_cache = buffers.status.numpy() == int(IN_CACHE)
    np.testing.assert_array_equal(after[~in_cache], before[~in_cache])
    changed = in_cache & (buffers.count.numpy() > 1)
    assert changed.sum() > 20
    for path in np.flatnonzero(changed):
        last = int(buffers.count[path]) - 1
        by_hand = np.cumprod(buffers.throughput[path, 1 : last + 1].double().numpy()[::-1], axis=0)[::-1]
        np.testing.assert_allclose(after[path, :last] - before[path, :last], by_hand, rtol=1e-4, atol=1e-5)
    assert is_record.sum() > 100


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_light_that_is_not_finite_only_affects_earlier_cuts(bad):
    """The light after cut 2 of 5 is not finite: cuts 0 to 2 become no records, cuts 3 and 4 do."""
    buffers = RecordBuffers.allocate(1, 5, CPU)
    buffers.gathered.fill_(1.0)
    buffers.throughput.fill_(0.5)
    buffers.throughput[0, 1, 1] = 0.0  # must not hide the bad value: 0 x infinity is not a number either
    buffers.gathered[0, 3, 1] = bad
    buffers.count.fill_(5)
    targets, is_record = _propagated(buffers, torch.zeros((1, 3)))
    np.testing.assert_array_equal(is_record[0], [0, 0, 0, 1, 1])
    np.testing.assert_allclose(targets[0, 3:], [[1.5] * 3, [1.0] * 3])


def test_an_end_that_is_not_finite_leaves_no_record():
    """If the cache predicts NaN, no record that would be trained with it remains."""
    buffers = RecordBuffers.allocate(2, 3, CPU)
    buffers.gathered.fill_(1.0)
    buffers.throughput.fill_(0.5)
    buffers.count.fill_(3)
    buffers.status.fill_(int(IN_CACHE))
    ends = torch.tensor([[math.nan] * 3, [2.0] * 3])
    _, is_record = _propagated(buffers, ends)
    np.testing.assert_array_equal(is_record, [[0, 0, 0], [1, 1, 0]])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_become_no_record(bad):
    """Records of the neighbouring paths stay."""
    buffers = RecordBuffers.allocate(3, 2, CPU)
    buffers.gathered.fill_(1.0)
    buffers.count.fill_(2)
    buffers.features[1, 0, 13] = bad
    _, is_record = _propagated(buffers, torch.zeros((3, 3)))
    np.testing.assert_array_equal(is_record, [[1, 1], [0, 1], [1, 1]])


@pytest.mark.parametrize("marks", [[0], [1], [0, 1, 1, 0, 0, 1], [1] * 70, [0] * 70])
@pytest.mark.parametrize("dtype", [torch.bool, torch.int32])
def test_marked_items_are_listed_in_order(marks, dtype):
    listed = _listed(torch.tensor(marks, dtype=dtype))
    expected = np.flatnonzero(marks)
    assert int(listed.count) == len(expected)
    np.testing.assert_array_equal(listed.items[: len(expected)], expected)
    np.testing.assert_array_equal(listed.upto, np.cumsum(marks))


@pytest.mark.parametrize("capacity", [1, 3])
def test_features_of_ends(rng, capacity):
    """The features are those of the last cut of each listed path, and rows without a path stay unchanged."""
    buffers = _filled(rng, 50, capacity)
    listed = _listed(buffers.status == int(IN_CACHE))
    features = torch.full((40, FEATURES), -1.0)
    arguments = [buffers.record, wp.from_torch(listed.items), wp.from_torch(listed.count.contiguous()), 0]
    wp.launch(gather_ends, dim=40, inputs=[*arguments, wp.from_torch(features)], device="cpu")
    paths = np.flatnonzero(buffers.status.numpy() == int(IN_CACHE))
    assert 10 < len(paths) < 40
    for place, path in enumerate(paths):
        np.testing.assert_array_equal(features[place], buffers.features[path, int(buffers.count[path]) - 1])
    assert torch.all(features[len(paths) :] == -1.0)


def _drawn(buffers, targets, rows, wanted, *, seed=5, frame=0):
    features, drawn = torch.full((wanted, FEATURES), -1.0), torch.full((wanted, 3), -1.0)
    count = torch.tensor([len(rows)], dtype=torch.int32)
    listed = torch.tensor([*rows, 0], dtype=torch.int32)
    before = [buffers.record, wp.from_torch(targets, dtype=wp.vec3), wp.from_torch(listed), wp.from_torch(count)]
    before += [wp.uint64(seed), wp.from_torch(torch.tensor([frame], dtype=torch.int32)), 0]
    after = [wp.from_torch(features), wp.from_torch(drawn, dtype=wp.vec3)]
    wp.launch(draw_records, dim=wanted, inputs=[*before, *after], device="cpu")
    return features.numpy(), drawn.numpy()


@pytest.mark.parametrize(("n", "wanted"), [(1, 1), (37, 37), (100, 60), (20, 45), (1, 7)])
def test_records_are_drawn_without_repetition(rng, n, wanted):
    """If more records are wanted than exist, some are drawn once more; features and targets stay together."""
    buffers = _filled(rng, 60, 4)
    targets = torch.from_numpy(rng.exponential(1.0, (240, 3)).astype(np.float32))
    rows = np.sort(rng.choice(240, n, replace=False))
    features, drawn = _drawn(buffers, targets, rows, wanted)
    places = [int(np.flatnonzero((targets.numpy() == target).all(axis=1))[0]) for target in drawn]
    np.testing.assert_array_equal(features, buffers.features.view(-1, FEATURES).numpy()[places])
    times = np.array([places.count(row) for row in rows])
    assert times.sum() == wanted
    assert times.max() - times.min() <= 1
    if n > 10:
        assert places[:n] != sorted(places[:n])
        others = [_drawn(buffers, targets, rows, wanted, **change)[1] for change in ({"frame": 1}, {"seed": 6})]
        assert not any(np.array_equal(drawn, other) for other in others)


def test_targets_are_not_numbers_without_records():
    """Without records, the drawn targets are not numbers, so that the training step is skipped."""
    buffers = RecordBuffers.allocate(2, 2, CPU)
    _, drawn = _drawn(buffers, torch.zeros((4, 3)), [], 5)
    assert np.isnan(drawn).all()


def _added(buffers, predictions, probability, times=1):
    sums, squares = (wp.zeros(buffers.paths, dtype=wp.vec3d, device="cpu") for _ in range(2))
    dropped = wp.zeros(buffers.paths, dtype=int, device="cpu")
    listed = _listed(buffers.count > 0)
    given = torch.cat((predictions[listed.items[: int(listed.count)].long()], torch.full((1, 3), -9.0)))
    arguments = [buffers.record, wp.from_torch(listed.upto), wp.from_torch(given, dtype=wp.vec3), probability, 0]
    arguments += [sums, squares, dropped]
    for _ in range(times):
        wp.launch(add_samples, dim=buffers.paths, inputs=arguments, device="cpu")
    return sums.numpy(), squares.numpy(), dropped.numpy()


def test_samples(rng):
    """The sample is gathered + T C in the cache, gathered + T (C + (L - C) / q) beyond it, and gathered without a cut."""
    q = 0.25
    buffers = _filled(rng, 400, 1)
    buffers.gathered[7, 0, 2] = math.nan
    buffers.status[7] = int(COMPLETE)
    predictions = torch.from_numpy(rng.exponential(1.0, (400, 3)).astype(np.float32))
    sums, squares, dropped = _added(buffers, predictions, q, times=2)
    seen = set()
    for path in range(400):
        g, t = buffers.gathered[path].double().numpy(), buffers.throughput[path, 0].double().numpy()
        c, status, count = predictions[path].double().numpy(), int(buffers.status[path]), int(buffers.count[path])
        seen.add((status, count))
        if path == 7 or status == int(BROKEN):
            assert dropped[path] == 2
            np.testing.assert_array_equal([sums[path], squares[path]], 0.0)
            continue
        assert dropped[path] == 0
        value = g[0]
        if count:
            value = g[0] + t * (c if status == int(IN_CACHE) else c + (g[1] - c) / q)
        np.testing.assert_allclose(sums[path], 2.0 * value, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(squares[path], 2.0 * value**2, rtol=1e-4, atol=1e-4)
    assert len(seen) == 5  # all possible combinations


def test_a_prediction_that_is_not_finite_drops_its_sample():
    buffers = RecordBuffers.allocate(2, 1, CPU)
    buffers.count.fill_(1)
    buffers.throughput.fill_(1.0)
    buffers.status.fill_(int(IN_CACHE))
    sums, _, dropped = _added(buffers, torch.tensor([[math.nan] * 3, [3.0] * 3]), 0.0)
    np.testing.assert_array_equal(dropped, [1, 0])
    np.testing.assert_array_equal(sums, [[0.0] * 3, [3.0] * 3])


def test_corrected_samples_have_the_mean_of_the_tails(rng):
    """Over many paths, of which a fraction q continues, the mean is that of gathered + T L for any prediction."""
    paths, q = 200_000, 0.3
    buffers = RecordBuffers.allocate(paths, 1, CPU)
    goes_on = rng.random(paths) < q
    tail = rng.exponential(2.0, (paths, 3))
    buffers.count.fill_(1)
    buffers.throughput.fill_(0.5)
    buffers.gathered[:, 0] = 1.0
    buffers.gathered[:, 1] = torch.from_numpy(np.where(goes_on[:, None], tail, 0.0).astype(np.float32))
    buffers.status.copy_(torch.from_numpy(np.where(goes_on, int(COMPLETE), int(IN_CACHE))))
    for c in (0.0, 1.0, 9.0):
        values = _added(buffers, torch.full((paths, 3), c), q)[0]
        error = values.std(axis=0) / math.sqrt(paths)
        assert np.all(np.abs(values.mean(axis=0) - 2.0) < 4.0 * error)


def test_records_share_memory_with_their_tensors():
    """Every tensor shares its memory with the array that kernels read, and has the documented shape."""
    buffers = RecordBuffers.allocate(3, 4, CPU)
    assert buffers.record.capacity == 4
    rows = {"features": 12, "throughput": 12, "gathered": 15, "count": 3, "status": 3, "length": 3, "depth": 3}
    for number, (name, size) in enumerate(rows.items(), 1):
        tensor, array = getattr(buffers, name), getattr(buffers.record, name)
        assert array.shape[0] == size
        tensor.fill_(number)
    for number, name in enumerate(rows, 1):
        assert np.all(getattr(buffers.record, name).numpy() == number), name
