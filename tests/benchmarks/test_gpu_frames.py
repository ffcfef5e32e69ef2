"""The GPU benchmark of frames, run with small frames on the CPU."""

import pytest

from benchmarks.gpu_frames import ENCODINGS, measure_frames


@pytest.mark.slow
def test_times_every_part_of_a_frame(capsys):
    """All scenes are timed with both encodings, and the printed numbers are those returned."""
    size = (32, 18)
    rows = measure_frames("cpu", size, 2)
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == len(lines) == 3 * len(ENCODINGS)
    for row, line in zip(rows, lines, strict=True):
        seconds = row["seconds"]
        assert set(seconds) == {"trace", "query", "training", "query_and_training"}
        assert all(0.0 < value < 60.0 for value in (*seconds.values(), row["uncached_seconds"], row["frame_seconds"]))
        assert seconds["query_and_training"] == pytest.approx(seconds["query"] + seconds["training"])
        assert 0.0 < row["queries_per_path"] <= 1.0
        # A path has at least one segment
        assert row["segments_per_second"] * row["frame_seconds"] >= size[0] * size[1]
        assert line.startswith(f"{row['scene']}, {row['encoding']} ")
        assert f"{1e3 * row['frame_seconds']:.2f}" in line
