"""The nodes of a Ray cluster: one actor on each node that does units of work, and what happens to these actors, as events."""

from __future__ import annotations

import pickle
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from nrc_tracer.cluster.dispatch import Delivered, Event, Failed, Joined, Left, Refused
from nrc_tracer.cluster.ledger import TRIES, Unit
from nrc_tracer.cluster.node import NO_MEMORY, Node, PathNode, PathResult, Versions
from nrc_tracer.errors import ClusterError, one_line
from nrc_tracer.tracer.strips import PathJob

if TYPE_CHECKING:
    from typing_extensions import Self

    from nrc_tracer.tracer.cached_strips import Round

J = TypeVar("J")
"""What nodes are told once."""
R = TypeVar("R")
"""What they return for a unit."""

LOOK = 1.0
"""Time between two looks for nodes that have joined [s]."""


@dataclass
class _Actor:
    """An actor and its units; `loading` is the pending result of loading the scene, None once it has arrived."""

    handle: Any
    ray_node: str
    loading: Any
    units: dict[Any, Unit] = field(default_factory=dict)


class RayNodes(Generic[J, R]):
    """Keeps one actor on every node of the cluster, or one per GPU, and starts it again if it dies. A context manager.

    Args:
        kind: Class of the actors. Its method `work` takes a unit, and what `with_units` was given last.
        job: Scene and settings, sent once through Ray's object store to each node.
        device: `cpu`, or None for a GPU where there is one.
        accel: What intersects triangles; None for Embree where it is available.
        threads: Threads on a CPU; None for as many as Ray counts CPUs there.
        fingerprint: That of the driver, which nodes must have; None to accept any.
        cached: Whether the image has a radiance cache.

    Raises:
        ClusterError: The scene is larger than the object store of a node.
    """

    def __init__(
        self,
        kind: type[Node[J]],
        job: J,
        *,
        device: str | None,
        accel: str | None,
        threads: int | None,
        fingerprint: Mapping[str, str] | None,
        cached: bool = False,
    ) -> None:
        import ray

        self._ray, self._kind, self._device, self._accel = ray, kind, device, accel
        self._threads, self._fingerprint, self._cached = threads, fingerprint, cached
        self._with_units: tuple[Any, ...] = ()
        self._actors: dict[str, _Actor] = {}
        self._deaths: dict[str, int] = {}  # of actors of a name since its last delivery
        self._refused: set[str] = set()
        self._looked = 0.0
        check_size(job, ray.nodes())
        self._job = ray.put(job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor.handle)
        self._actors.clear()

    @property
    def expects_more(self) -> bool:
        """Whether actors are being started."""
        return any(actor.loading is not None for actor in self._actors.values()) or self._looked == 0.0

    def give(self, node: str, unit: Unit) -> None:
        """Send a unit to a node."""
        actor = self._actors[node]
        actor.units[actor.handle.work.remote(unit, *self._with_units)] = unit

    def with_units(self, *arguments: Any) -> None:
        """Send these arguments with units that are given from now on; units that are still out are forgotten."""
        self._with_units = arguments
        for actor in self._actors.values():
            actor.units.clear()

    def events(self, timeout: float) -> Sequence[Event[R]]:
        """The events since the last call; if there are none, wait up to `timeout` [s] for one."""
        if clock.monotonic() - self._looked > LOOK:
            try:
                self._start_actors()
            except (self._ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
                raise ClusterError(f"the head of the cluster does not answer any more: {one_line(error)}") from error
            self._looked = clock.monotonic()
        waiting = {ref: name for name, actor in self._actors.items() for ref in self._references(actor)}
        if not waiting:
            clock.sleep(timeout)
            return []
        ready, rest = self._ray.wait(list(waiting), num_returns=1, timeout=timeout)
        if ready and rest:
            ready += self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        return [event for ref in ready for event in self._event(waiting[ref], ref)]

    @staticmethod
    def _references(actor: _Actor) -> list[Any]:
        return [*([actor.loading] if actor.loading is not None else []), *actor.units]

    def _event(self, name: str, ref: Any) -> list[Event[R]]:
        """The event for a result that has arrived; none if its actor is no longer there."""
        errors, actor = self._ray.exceptions, self._actors.get(name)
        if actor is None or (ref is not actor.loading and ref not in actor.units):
            return []  # it came when its actor died
        try:
            result = self._ray.get(ref)
        except errors.RayTaskError as error:
            reason = _reason(error)
            if ref is actor.loading:
                return self._refuse(name, reason)
            return [Failed(name, actor.units.pop(ref), reason)]
        except errors.RayError as error:
            return self._bury(name, error)
        if ref is actor.loading:
            actor.loading = None
            return [Joined(name)]
        self._deaths.pop(name, None)
        return [Delivered(name, actor.units.pop(ref), result)]

    def _refuse(self, name: str, reason: str) -> list[Event[R]]:
        """Stop using a node."""
        self._ray.kill(self._actors.pop(name).handle)
        self._refused.add(name)
        return [Refused(name, reason)]

    def _bury(self, name: str, error: Exception) -> list[Event[R]]:
        """Note that an actor is dead. It is started again, unless it dies again and again or could not be made."""
        reason = _reason(error)
        actor = self._actors.pop(name)
        self._ray.kill(actor.handle)  # one that cannot be reached may still run
        self._deaths[name] = self._deaths.get(name, 0) + 1
        made = isinstance(error, self._ray.exceptions.ActorDiedError) and "creation task" in str(error)
        if (made and actor.loading is not None) or self._deaths[name] >= TRIES:
            self._refused.add(name)
            return [Refused(name, reason)]
        self._looked = 0.0
        return [Left(name, reason)]

    def _start_actors(self) -> None:
        """Start an actor wherever there is none yet."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        for node in self._ray.nodes():
            cpus, gpus = (int(node["Resources"].get(kind, 0)) for kind in ("CPU", "GPU"))
            if not node["Alive"] or not cpus:
                continue
            count = max(1, gpus) if self._device != "cpu" else 1
            for number in range(count):
                name = f"{node['NodeManagerHostname']} ({node['NodeID'][:8]}{f', GPU {number}' if gpus > 1 else ''})"
                if name in self._actors or name in self._refused:
                    continue
                share = max(1, cpus // count)
                # Ray's types do not say that the methods of a handle have `remote`
                handle: Any = (
                    self._ray.remote(self._kind)
                    .options(
                        num_cpus=share,
                        num_gpus=1 if gpus and self._device != "cpu" else 0,
                        max_restarts=0,  # this class starts actors again, and the ledger repeats units
                        max_task_retries=0,
                        scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
                    )
                    .remote(Versions.here())
                )
                threads = self._threads or share
                loading = handle.load.remote(
                    self._job, self._device, self._accel, threads, self._fingerprint, self._cached
                )
                self._actors[name] = _Actor(handle, node["NodeID"], loading)


class RayPathNodes(RayNodes[PathJob, PathResult]):
    """Nodes that trace units of an image. Arguments and errors are those of `RayNodes`."""

    def __init__(self, job: PathJob, **settings: Any) -> None:
        super().__init__(PathNode, job, **settings)

    def begin_round(self, number: Round | None) -> None:
        """Let units that are given from now on be traced with this cache, which goes out once; None for no cache."""
        self.with_units(None, None if number is None else self._ray.put(number))

    def begin_image(self, seed: int) -> None:
        """Let units that are given from now on belong to the same image with another seed."""
        self.with_units(seed)


def check_size(job: object, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Check that the scene fits into the object store of every node. Raises `ClusterError`."""
    buffers: list[pickle.PickleBuffer] = []
    size = len(pickle.dumps(job, protocol=5, buffer_callback=buffers.append))
    size += sum(buffer.raw().nbytes for buffer in buffers)
    for node in nodes:
        room = node["Resources"].get("object_store_memory")
        if node["Alive"] and node["Resources"].get("CPU") and room is not None and size > room:
            raise ClusterError(
                f"the scene needs {size / 2**20:.0f} MiB, more than the object store of node {node['NodeManagerHostname']} "
                f"holds ({room / 2**20:.0f} MiB); start Ray there with a larger --object-store-memory"
            )


def _reason(error: Exception) -> str:
    """The cause of an error of Ray, in one line."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, ClusterError):
        return one_line(cause)
    words = str(error)
    if "OutOfMemory" in type(error).__name__ or "OutOfMemory" in words or "low on memory" in words:
        return f"{NO_MEMORY}, and Ray has ended its process"
    if isinstance(cause, BaseException):
        return f"{type(cause).__name__}: {one_line(cause)}"
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    found = next((line for line in lines if "ClusterError: " in line or "ModuleNotFoundError: " in line), "")
    if found:
        return found.partition("ClusterError: ")[2] or found
    return f"its process has ended ({lines[0]})" if lines else type(error).__name__
