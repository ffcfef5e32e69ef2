"""The first use of a GPU: it is checked once, a GPU that fails is replaced by the CPU, and one named by the user is obeyed."""

import json

import pytest
import warp as wp
from click.testing import CliRunner

import nrc_tracer.tracer
from nrc_tracer.cli import main
from nrc_tracer.device.launch import initialize
from nrc_tracer.device.screening import screening
from nrc_tracer.device.selection import find_device
from nrc_tracer.doctor import examination
from nrc_tracer.doctor.check import Check, Finding, Status
from nrc_tracer.doctor.checks import CHECKS
from nrc_tracer.doctor.examination import Examination
from nrc_tracer.doctor.first_use import FirstUse, key_of, store_path, store_results, stored_results
from tests.cli.stand_in import SCENE, FakeRenderer, run
from tests.doctor import faulty

PLAIN = Check("products", "", peer="", advice="", first_use=True)
RAYS = Check("rays", "", peer="", advice="", first_use=True, traces_rays=True)
LATER = Check("tasks", "", peer="", advice="")


class FakeExamination:
    """Examines a device without running anything; the names of the checks that ran are in `ran`."""

    checks = (PLAIN, RAYS, LATER)

    def __init__(self, **statuses):
        self.statuses = {"products": Status.PASSED, "rays": Status.PASSED, **statuses}
        self.ran = []

    def __call__(self, device):
        self.device = device
        return self

    def run(self, checks):
        for check in checks:
            self.ran.append(check.name)
            status = self.statuses[check.name]
            yield Finding(check.name, "", status, detail="" if status is Status.PASSED else "error 3 (limit 1)")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The file with the results, in an empty folder."""
    initialize()
    monkeypatch.setattr(wp.config, "kernel_cache_dir", str(tmp_path))
    return store_path()


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs that Warp seems to find."""
    monkeypatch.setattr(wp, "get_cuda_device_count", lambda: 2)


def first_use(examined, **options):
    """A screen, and the list of its warnings."""
    warnings = []
    return FirstUse(warnings.append, examination=examined, **options), warnings


def test_a_gpu_that_passes_is_used_and_is_not_checked_again(store, gpus):
    examined = FakeExamination()
    for _ in range(2):  # two commands
        screen, warnings = first_use(examined)
        with screening(screen):
            assert find_device() == "cuda:0"
            assert find_device("cuda:0") == "cuda:0"
        assert warnings == []
    assert examined.ran == ["products", "rays"]
    assert examined.device == "cuda:0"


def test_a_gpu_that_fails_is_replaced_by_the_cpu(store, gpus):
    """With one line, in every command, without another examination."""
    examined = FakeExamination(rays=Status.DIFFERS)
    for _ in range(2):
        screen, warnings = first_use(examined)
        with screening(screen):
            assert find_device() == find_device() == "cpu"
        assert len(warnings) == 1
        assert "cuda:0 (unknown GPU) failed" in warnings[0]
        assert "rays: differs from what it should be, error 3 (limit 1)" in warnings[0]
        assert "the CPU is used (nrc-tracer doctor --device cuda:0" in warnings[0]
        assert "\n" not in warnings[0]
    assert examined.ran == ["products", "rays"]


def test_a_gpu_asked_for_by_name_is_obeyed_with_a_warning(store, gpus):
    screen, warnings = first_use(FakeExamination(products=Status.RAISED))
    with screening(screen):
        assert find_device("cuda:1") == find_device("cuda:1") == "cuda:1"
    assert len(warnings) == 1
    assert warnings[0].startswith("cuda:1 (unknown GPU) failed")
    assert "it is used because you asked for it" in warnings[0]


def test_without_a_screen_and_on_the_cpu_nothing_is_checked(store, gpus):
    examined = FakeExamination(products=Status.RAISED)
    assert find_device() == "cuda:0"
    with screening(first_use(examined)[0]):
        assert find_device("cpu") == "cpu"
    assert find_device() == "cuda:0"
    assert examined.ran == []


def test_commands_that_trace_no_rays_leave_that_out(store, gpus):
    """A later command that traces rays checks only what is missing."""
    examined = FakeExamination(rays=Status.CRASHED)
    screen, warnings = first_use(examined, traces_rays=False)
    assert screen("cuda:0", False) == "cuda:0"
    assert (examined.ran, warnings) == (["products"], [])
    screen, warnings = first_use(examined)
    assert screen("cuda:0", False) == "cpu"
    assert examined.ran == ["products", "rays"]


@pytest.mark.parametrize("status", [Status.OUT_OF_MEMORY, Status.TIMED_OUT])
def test_what_may_pass_is_checked_again(store, gpus, status):
    """Another program may hold the memory, or the first compilation has taken long."""
    examined = FakeExamination(rays=status)
    screen, warnings = first_use(examined)
    assert screen("cuda:0", False) == "cpu"
    assert len(warnings) == 1
    examined.statuses["rays"] = Status.PASSED
    assert first_use(examined)[0]("cuda:0", False) == "cuda:0"
    assert examined.ran == ["products", "rays", "rays"]


def test_the_first_failure_is_enough(store, gpus):
    """Checks after it do not run, neither then nor in later commands."""
    examined = FakeExamination(products=Status.RAISED)
    for _ in range(2):
        assert first_use(examined)[0]("cuda:0", False) == "cpu"
    assert examined.ran == ["products"]


def test_what_cannot_run_does_not_keep_a_gpu_from_being_used(store, gpus):
    """As networks where torch has no CUDA: then only Warp uses the GPU."""
    examined = FakeExamination(products=Status.NOT_RUN)
    for _ in range(2):
        assert first_use(examined)[0]("cuda:0", False) == "cuda:0"
    assert examined.ran == ["products", "rays"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"text"', "null", '{"KEY": 3}', '{"KEY": {"products": null, "rays": {"status": "odd"}}}']
)
def test_a_damaged_store_is_written_anew(store, gpus, text):
    store.write_text(text.replace("KEY", key_of("cuda:0")))
    examined = FakeExamination()
    assert first_use(examined)[0]("cuda:0", False) == "cuda:0"
    assert examined.ran == ["products", "rays"]
    assert set(stored_results(key_of("cuda:0"), store)) == {"products", "rays"}


def test_a_store_that_cannot_be_written_costs_another_check(tmp_path, monkeypatch, gpus):
    """And nothing else."""
    initialize()
    monkeypatch.setattr(wp.config, "kernel_cache_dir", str(tmp_path / "missing"))
    examined = FakeExamination(rays=Status.DIFFERS)
    for _ in range(2):
        assert first_use(examined)[0]("cuda:0", False) == "cpu"
    assert examined.ran == 2 * ["products", "rays"]


def test_results_belong_to_a_version_a_driver_and_a_device(store, gpus, monkeypatch):
    """Others are kept beside them."""
    examined = FakeExamination(rays=Status.DIFFERS)
    assert first_use(examined)[0]("cuda:0", False) == "cpu"
    before = key_of("cuda:0")
    monkeypatch.setattr(wp, "get_cuda_driver_version", lambda: (13, 1))
    assert key_of("cuda:0") != before
    examined.statuses["rays"] = Status.PASSED
    assert first_use(examined)[0]("cuda:0", False) == "cuda:0"
    assert set(json.loads(store.read_text())) == {before, key_of("cuda:0")}


def test_doctor_replaces_what_a_command_has_found(store, gpus):
    assert first_use(FakeExamination(rays=Status.DIFFERS))[0]("cuda:0", False) == "cpu"
    store_results([Finding("rays", "", Status.PASSED)], key_of("cuda:0"), store)
    examined = FakeExamination()
    assert first_use(examined)[0]("cuda:0", False) == "cuda:0"
    assert examined.ran == []


def test_the_user_is_told_what_takes_long(store, gpus):
    """Once, while the checks run."""
    told = []

    class Announced:
        def __init__(self, message):
            told.append(message)

        def __enter__(self):
            told.append("begin")

        def __exit__(self, *exception):
            told.append("end")

    for _ in range(2):
        first_use(FakeExamination(), announce=Announced)[0]("cuda:0", False)
    assert told == ["checking cuda:0 before its first use (this compiles kernels) ...", "begin", "end"]


def test_the_subset_is_of_every_kind():
    """Launches, networks, training and paths, and nothing that takes long."""
    first = [check.name for check in CHECKS if check.first_use]
    assert first == ["launches and copies", "network, float32", "network, halves", "training", "path tracer"]
    assert [check.name for check in CHECKS if check.first_use and check.traces_rays] == ["path tracer"]


# The program


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A scene file, and a renderer that chooses its device and stands in for the package's."""

    class Renderer(FakeRenderer):
        def __init__(self, scene, *, device, **options):
            super().__init__(scene, **options)
            self.device = find_device(device)

    monkeypatch.setattr(nrc_tracer.tracer, "Renderer", Renderer)
    monkeypatch.setattr(nrc_tracer.tracer, "run", run)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "box.json").write_text(json.dumps(SCENE))
    return tmp_path / "box.json"


def render(scene, *options):
    return CliRunner().invoke(main, ["render", str(scene), "--json", "--quiet", *options])


def test_render_goes_to_the_cpu_where_a_gpu_cannot_be_used(store, gpus, scene):
    """The GPU that Warp seems to find is none: the real checks fail in their own process, and the command does its work."""
    result = render(scene)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["device"] == "cpu"
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("warning:"))
    assert "cuda:0 (unknown GPU) failed a check before its first use: launches and copies: " in line
    assert stored_results(key_of("cuda:0"), store)["launches and copies"][0] is Status.RAISED


def test_render_takes_a_gpu_that_passes_or_is_named(store, gpus, scene, monkeypatch):
    monkeypatch.setattr(examination, "REGISTRY", f"{faulty.__name__}:SOUND")
    assert json.loads(render(scene).stdout)["device"] == "cuda:0"
    assert set(stored_results(key_of("cuda:0"), store)) == {"agree", "talk"}
    store_results([Finding("talk", "", Status.DIFFERS, detail="error 3")], key_of("cuda:0"), store)
    named = render(scene, "--device", "cuda:0")
    assert json.loads(named.stdout)["device"] == "cuda:0"
    assert named.stderr.count("warning: cuda:0 (unknown GPU) failed a check") == 1
    assert json.loads(render(scene).stdout)["device"] == "cpu"


def test_the_examination_of_a_first_use_is_the_real_one():
    assert Examination("cuda:0").checks is CHECKS
