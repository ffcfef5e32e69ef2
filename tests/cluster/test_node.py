"""What nodes refuse, and errors on nodes: one clear line each."""

import numpy as np
import pytest

from nrc_tracer.cluster.ledger import Unit
from nrc_tracer.cluster.node import PathNode, Versions
from nrc_tracer.cluster.ray_nodes import check_size
from nrc_tracer.errors import ClusterError
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.strips import StripTracer
from tests.tracer.test_determinism import room

HERE = Versions.here()


def refusal(call, *arguments):
    """The message of the error that a call raises, which is one line."""
    with pytest.raises(ClusterError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load(*, fingerprint=None):
    """A node that has loaded the room."""
    tracer = Renderer(room(), device="cpu").strip_tracer()
    node = PathNode(HERE)
    node.load(tracer.job(), "cpu", tracer.inputs.accel.value, 1, fingerprint, False)
    return node


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (Versions("9.9.9", HERE.python), f"it has nrc-tracer {HERE.release}, and the driver 9.9.9"),
        (Versions(HERE.release, "3.99"), f"it has Python {HERE.python}, and the driver 3.99"),
    ],
)
def test_another_version_is_refused(driver, message):
    assert refusal(PathNode, driver) == f"{message}; install the same version on all nodes"


def test_the_same_versions_are_accepted():
    assert PathNode(Versions.here())
    assert HERE.python.count(".") == 1


def test_another_version_of_warp_is_refused():
    """It compiles other code, so that samples have other bits; `--mixed` accepts it."""
    fingerprint = {**Renderer(room(), device="cpu").strip_tracer().fingerprint(), "warp": "0.1"}
    message = refusal(lambda: load(fingerprint=fingerprint))
    assert message.startswith("samples have other bits there: warp: ")
    assert message.endswith(" there, 0.1 here; --mixed accepts it")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8.00 GiB"),
        RuntimeError("Failed to allocate 8589934592 bytes\non device 'cpu'"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_node_without_enough_memory(monkeypatch, error):
    """Whichever package has found no memory, while it loads the scene or traces."""

    def fail(*arguments, **options):
        raise error

    node = load()
    monkeypatch.setattr(StripTracer, "trace", fail)
    assert refusal(node.work, Unit(0, 0, 64)).startswith("it has not enough memory: ")
    monkeypatch.setattr(StripTracer, "of_job", fail)
    assert refusal(load).startswith("it has not enough memory for the scene: ")


def test_an_error_of_the_program_keeps_its_type(monkeypatch):
    def fail(*arguments):
        raise ValueError("two\nlines")

    node = load()
    monkeypatch.setattr(StripTracer, "trace", fail)
    assert refusal(node.work, Unit(0, 0, 64)) == "ValueError: two lines"


def test_a_scene_larger_than_an_object_store_is_refused():
    """Stores of nodes that are dead, or that do no work, do not count."""

    def node(name, room, *, alive=True, cpus=1.0):
        resources = {"CPU": cpus, "object_store_memory": room}
        return {"Alive": alive, "NodeManagerHostname": name, "Resources": resources}

    job = {"texture": np.zeros(2**22, np.uint8)}
    others = [node("dead", 1.0, alive=False), node("idle", 1.0, cpus=0.0), node("large", 2.0**23)]
    check_size(job, others)
    message = refusal(check_size, job, [*others, node("small", 2.0**21)])
    assert message == (
        "the scene needs 4 MiB, more than the object store of node small holds (2 MiB); start Ray there with a larger "
        "--object-store-memory"
    )
