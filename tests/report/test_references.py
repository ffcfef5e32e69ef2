"""References reach the requested error, are found again, and are extended when a smaller error is requested."""

import numpy as np
import pytest

from nrc_tracer.errors import OutputError, SceneError
from nrc_tracer.imaging import rel_mse, write_image
from nrc_tracer.report.references import Reference, find_reference, read_reference, reference_key
from nrc_tracer.scene.load import load_scene
from tests.conftest import REPOSITORY
from tests.report.stand_in import SIZE, TRUTH, StandIn

HEIGHT, WIDTH = SIZE
SCENES = REPOSITORY / "scenes"


def _maker(made):
    def make(seed):
        made.append(StandIn("off", seed))
        return made[-1]

    return make


def test_the_stated_error_is_the_true_one(reference):
    """The truth of the fake renderer is known; the estimate uses 2304 values, so it is good to about 3 %."""
    assert reference.error <= 0.01
    assert reference.error == pytest.approx(np.sqrt(rel_mse(reference.mean, TRUTH)), rel=0.12)
    # Each of two halves with n samples has a relative variance of 1 / (2 n)
    assert reference.error == pytest.approx(np.sqrt(0.5 / reference.samples[0]), rel=0.12)


def test_a_stored_reference_is_found_and_extended_for_a_smaller_error(tmp_path):
    path, made = tmp_path / "truth.npz", []
    first = find_reference(path, _maker(made), error=0.05)
    assert not first.reused
    assert len({renderer.seed for renderer in made}) == 2
    again = find_reference(path, _maker(made), error=0.05)
    assert again.reused
    assert len(made) == 2
    assert np.array_equal(again.first, first.first)
    finer = find_reference(path, _maker(made), error=0.02)
    assert finer.error <= 0.02 < first.error
    assert len({renderer.seed for renderer in made}) == 4  # no random number is used twice
    assert finer.samples[0] == first.samples[0] + made[2].samples
    assert np.sqrt(rel_mse(finer.mean, TRUTH)) == pytest.approx(finer.error, rel=0.15)
    assert [p.name for p in tmp_path.iterdir()] == ["truth.npz"]


def test_a_reference_ends_with_its_time(tmp_path):
    reference = find_reference(tmp_path / "truth.npz", _maker([]), error=1e-4, most_seconds=2.0)
    assert 1e-4 < reference.error < 0.2
    assert sum(reference.samples) * 0.01 < 4.0  # simulated seconds


def test_the_key_depends_on_everything_that_changes_the_image():
    scene = load_scene(SCENES / "cornell-box.json")
    keys = {
        reference_key(scene, width=24, height=24, max_depth=-1),
        reference_key(scene, width=24, height=24, max_depth=-1),
        reference_key(scene, width=24, height=24, max_depth=3),
        reference_key(scene, width=24, height=32, max_depth=-1),
        reference_key(load_scene(SCENES / "window-room.json"), width=24, height=24, max_depth=-1),
    }
    assert len(keys) == 4


def test_images_may_be_given_as_references(tmp_path):
    write_image(tmp_path / "a.exr", TRUTH)
    write_image(tmp_path / "b.exr", TRUTH * 1.02)
    one = read_reference((tmp_path / "a.exr",), width=WIDTH, height=HEIGHT)
    assert one.error is None
    assert np.allclose(one.mean, TRUTH)
    two = read_reference((tmp_path / "a.exr", tmp_path / "b.exr"), width=WIDTH, height=HEIGHT)
    assert np.allclose(two.mean, 1.01 * TRUTH)
    assert two.error == pytest.approx(0.01, rel=0.02)
    with pytest.raises(
        SceneError, match=r"a\.exr: a reference of 32 x 24 pixels cannot be compared with 8 x 6; give --width"
    ):
        read_reference((tmp_path / "a.exr",), width=8, height=6)


def test_damaged_files_and_unwritable_folders_are_refused(tmp_path):
    path = tmp_path / "truth.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(SceneError, match=r"truth\.npz: not a readable reference .* delete it"):
        find_reference(path, _maker([]), error=0.1)
    np.savez(path, first=TRUTH[:4], second=TRUTH, samples=[1, 1])
    with pytest.raises(SceneError, match="do not have the shapes of a reference"):
        find_reference(path, _maker([]), error=0.1)
    with pytest.raises(OutputError, match="there is no folder"):
        find_reference(tmp_path / "nowhere" / "truth.npz", _maker([]), error=0.1)


def test_a_single_image_has_no_error_estimate():
    assert Reference(TRUTH, None).error is None
