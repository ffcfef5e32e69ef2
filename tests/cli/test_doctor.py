"""`nrc-tracer doctor`: the report on a terminal's width, in JSON, with faults, and its exit code."""

import json

import pytest
import warp as wp
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.doctor import examination
from nrc_tracer.doctor.check import ADVICE, Comparison, Finding, Status
from nrc_tracer.doctor.checks import CHECKS
from nrc_tracer.doctor.examination import Examination
from nrc_tracer.doctor.inventory import take_inventory
from nrc_tracer.version import __version__
from tests.doctor import faulty

FAULTS = {
    "path tracer": Finding(
        "path tracer",
        "another BVH; a furnace",
        Status.DIFFERS,
        1.25,
        "standard errors between image means 31 (limit 4)",
        "Render with --device cpu.",
        (Comparison("standard errors between image means", 31.0, 4.0), Comparison("samples not finite", 0.0, 0.0)),
    ),
    "training": Finding(
        "training", "training in float64", Status.TIMED_OUT, 300.0, "no result after 300 s", ADVICE[Status.TIMED_OUT]
    ),
}


@pytest.fixture
def found(monkeypatch):
    """Findings that an examination gives without running anything; those in `found` replace passed ones."""
    found = {}

    def run(self, checks=None):
        for check in self.checks if checks is None else checks:
            passed = Finding(
                check.name, check.peer_of(self.device), Status.PASSED, 0.5, comparisons=(Comparison("e", 1.0, 4.0),)
            )
            yield found.get(check.name, passed)

    monkeypatch.setattr(Examination, "run", run)
    return found


def doctor(*options, **settings):
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, ["doctor", "--device", "cpu", *options], **settings)


def test_all_checks_pass(found):
    """Every check has its row, in its order, within 80 columns; versions are above."""
    result = doctor()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["nrc-tracer", f"{__version__},"]
    assert max(map(len, lines)) <= 80
    rows = lines[lines.index("checks of cpu") + 2 :]
    for check, row in zip(CHECKS, rows, strict=False):
        assert row.startswith(f"{check.name:<20} passed")
        assert "25 %    0.5 s" in row
    assert lines[-1].startswith(f"{len(CHECKS)} passed, 0 failed, 0 not run, in ")
    assert "advice" not in result.stdout


def test_faults_have_a_line_of_advice_and_an_exit_code(found):
    found.update(FAULTS)
    result = doctor()
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    (row,) = (line for line in lines if line.startswith("path tracer  "))
    assert row.split()[2:5] == ["differs", "7.8e+02", "%"]
    for name, finding in FAULTS.items():
        place = lines.index(f"{name}: {finding.status.value}: {finding.detail}")
        assert lines[place + 1] == f"  advice: {finding.advice}"
    assert lines[-1].startswith(f"{len(CHECKS) - 2} passed, 2 failed, 0 not run, in ")


def test_a_file_has_the_report_after_every_check(found, tmp_path, monkeypatch):
    """Ctrl-C in the third check leaves the first two in it."""
    file, run = tmp_path / "report.json", Examination.run

    def interrupted(self, checks=None):
        for number, finding in enumerate(run(self, checks)):
            if number == 2:
                raise KeyboardInterrupt
            yield finding

    monkeypatch.setattr(Examination, "run", interrupted)
    assert doctor("--json", str(file)).exit_code == 130
    report = json.loads(file.read_text())
    assert [row["check"] for row in report["checks"]] == [check.name for check in CHECKS[:2]]
    assert (report["complete"], report["device"]) == (False, "cpu")
    monkeypatch.setattr(Examination, "run", run)
    found.update(FAULTS)
    assert doctor("--json", str(file)).exit_code == 1
    report = json.loads(file.read_text())
    assert (report["complete"], report["failed"], len(report["checks"])) == (True, 2, len(CHECKS))
    assert report["inventory"]["versions"]["nrc-tracer"] == __version__


@pytest.mark.parametrize("options", [["--json"], ["--json", "-"]])
def test_standard_output_has_the_report_alone(found, options):
    """The table is on stderr."""
    result = doctor(*options)
    assert json.loads(result.stdout)["complete"] is True
    assert "checks of cpu" in result.stderr


def test_a_file_that_cannot_be_written_is_an_error_before_anything_runs(found, tmp_path):
    result = doctor("--json", str(tmp_path / "none" / "report.json"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot be written" in result.stderr


def test_a_device_that_is_not_there_is_an_error_after_the_versions():
    result = CliRunner().invoke(main, ["doctor", "--device", "cuda:7"])
    assert result.exit_code == 1
    assert result.stdout.startswith("nrc-tracer")
    assert 'error: there is no device "cuda:7" here' in result.stderr


def test_the_process_of_checks_reports_them(monkeypatch):
    """The whole way once, with checks that pass."""
    monkeypatch.setattr(examination, "REGISTRY", f"{faulty.__name__}:SOUND")
    result = doctor()
    assert result.exit_code == 0
    assert "2 passed, 0 failed, 0 not run" in result.stdout


def test_a_gpu_that_passes_is_not_checked_again_by_commands(found, tmp_path, monkeypatch):
    """What commands need is stored, and nothing else."""
    from nrc_tracer.doctor.first_use import key_of, store_path, stored_results

    take_inventory()  # starts Warp
    monkeypatch.setattr(wp.config, "kernel_cache_dir", str(tmp_path))
    monkeypatch.setattr(wp, "get_cuda_device_count", lambda: 1)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0
    assert "checks of cuda:0" in result.stdout
    stored = stored_results(key_of("cuda:0"), store_path())
    assert list(stored) == [check.name for check in CHECKS if check.first_use]


def test_the_inventory_has_what_a_bug_report_needs():
    inventory = take_inventory()
    json.dumps(inventory)
    assert inventory["versions"]["warp-lang"] == wp.__version__
    assert inventory["cpu"]["cores"] >= 1
    assert set(inventory["optional"]) >= {"denoise", "report", "tasks", "other"}
    assert "test" not in inventory["optional"]
    assert inventory["embree"]["available"] or inventory["embree"]["reason"]
    assert len(inventory["gpus"]) == len(wp.get_cuda_devices())
