"""Damaged files give a scene or a `SceneError`, quickly and within bounded memory."""

import random

import pytest

from nrc_tracer.errors import SceneError
from tests.fuzz import runner
from tests.fuzz.corpus import samples
from tests.fuzz.mutations import damaged


@pytest.mark.parametrize("name", samples())
def test_samples_are_valid(name, tmp_path):
    """The undamaged files are valid."""
    sample = samples()[name]
    for data in sample.files:
        path = tmp_path / f"whole{sample.suffix}"
        path.write_bytes(data)
        assert sample.read(path) is not None


def test_damage_depends_on_the_seed_and_changes_the_file():
    """The same seed gives the same bytes, and these rarely equal the undamaged file."""
    data = samples()["obj"].files[0]
    inputs = [damaged(data, random.Random(seed), text=True) for seed in range(200)]
    assert inputs == [damaged(data, random.Random(seed), text=True) for seed in range(200)]
    assert sum(found != data for found in inputs) > 190


def test_unexpected_exceptions_are_failures(tmp_path):
    """An exception other than SceneError is recorded as a failure."""
    sample = samples()["obj"]

    def reads(path):
        raise KeyError("x")

    broken = type(sample)(sample.format, sample.suffix, sample.files, reads, sample.text)
    with pytest.raises(KeyError):
        runner.attempt(broken, b"v 0 0 0", tmp_path)

    def refuses(path):
        raise SceneError("no")

    assert runner.attempt(type(sample)("obj", ".obj", sample.files, refuses, True), b"", tmp_path)


def report(inputs, seed):
    found = runner.run(inputs, seed=seed)
    print(f"{sum(found.tried.values())} damaged files: {dict(found.tried)}")
    assert sum(found.tried.values()) == inputs
    assert set(found.tried) == set(samples())
    assert not found.failures, "\n".join(f"{f.format} {f.seed}: {f.problem}" for f in found.failures[:5])


def test_damaged_files(capsys):
    """A few thousand inputs are tried with all readers; their number is printed."""
    with capsys.disabled():
        report(3000, seed=1_000_000)


@pytest.mark.slow
def test_a_hundred_thousand_damaged_files(capsys):
    """The same holds for 100,000 inputs."""
    with capsys.disabled():
        report(100_000, seed=0)
