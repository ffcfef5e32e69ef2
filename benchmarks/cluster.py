"""Rendering on a cluster: efficiency on this machine, and a simulation of 1 to 10,000 nodes from measured costs.

    python -m benchmarks.cluster [--seconds 60] [--rounds 3] [--width 512] [--json FILE]
    python -m benchmarks.cluster --simulate [--samples-per-second 1e6] [--size 1920x1080] [--spp 16384] [--json FILE]

The first form renders `scenes/cornell-box.json` in one process with two threads, and on a local Ray cluster of two nodes with one
thread each, in turn; the median of the paired ratios of their times is the efficiency. Starting Ray and loading the scene are
excluded on both sides, and listed. It also measures what the driver does for a unit.

The second form runs the ledger itself against nodes that are simulated event by event: units take time in proportion to their
samples, with a spread from node to node and unit to unit; results cross the driver's one network link, and are added by its one
thread, at measured costs; nodes die at a given rate.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import pickle
import random
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from nrc_tracer.cluster.dispatch import DEPTH, POLL, Joined
from nrc_tracer.cluster.driver import Driver, FilmAssembly, window_of
from nrc_tracer.cluster.ledger import Ledger, Unit
from nrc_tracer.scene.load import load_scene
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.film_sums import BLOCK, BlockSums
from nrc_tracer.tracer.strips import strips_of

SCENE = Path(__file__).resolve().parent.parent / "scenes" / "cornell-box.json"
NODES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
BYTES_SENT = 49
"""Bytes that a unit sends for each of its pixels."""


# Efficiency here


@contextmanager
def two_nodes() -> Iterator[None]:
    """A Ray cluster of two nodes with one CPU each, on the loopback interface."""
    # The nodes have the priority of the process beside them: Ray would give them a niceness of 15
    niceness = {"RAY_worker_niceness": "0"}
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", **niceness}
    import ray
    from ray.cluster_utils import Cluster

    one = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 200 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=one)
    cluster.add_node(**one)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def on_one_machine(width: int, spp: int) -> tuple[float, np.ndarray]:
    """Render with two threads; return the time [s] and the image."""
    renderer = Renderer(load_scene(SCENE), device="cpu", threads=2, width=width)
    renderer.compile()
    start = time.perf_counter()
    renderer.step(spp)
    return time.perf_counter() - start, renderer.image().rgb


def on_two_nodes(width: int, spp: int) -> tuple[float, np.ndarray, float]:
    """Render on two nodes; return the time from when both are ready [s], the image, and the time until then [s]."""
    from nrc_tracer.cluster.ray_nodes import RayPathNodes

    renderer = Renderer(load_scene(SCENE), device="cpu", threads=1, width=width)
    tracer = renderer.strip_tracer()
    begin = time.perf_counter()
    with RayPathNodes(
        tracer.job(), device="cpu", accel=renderer.accel.value, threads=1, fingerprint=tracer.fingerprint()
    ) as nodes:
        joined: list[Any] = []
        while len(joined) < 2:
            joined += [event for event in nodes.events(0.1) if isinstance(event, Joined)]
        start = time.perf_counter()
        driver = Driver(renderer, _Ready(nodes, joined), end=spp, say=print)
        driver.run(is_over=lambda: False, stop=lambda: False, progress=lambda progress: None)
        return time.perf_counter() - start, renderer.image().rgb, start - begin


class _Ready:
    """Nodes that have joined already."""

    def __init__(self, nodes: Any, joined: list[Any]) -> None:
        self._nodes, self._joined = nodes, joined
        self.give = nodes.give

    @property
    def expects_more(self) -> bool:
        return self._nodes.expects_more

    def events(self, timeout: float) -> list[Any]:
        joined, self._joined = self._joined, []
        return joined or self._nodes.events(timeout)


def measure_efficiency(width: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Time both ways in turn, and check that they give the same image."""
    rate = 8 / on_one_machine(width, 8)[0]
    spp = max(BLOCK, round(seconds * rate / BLOCK) * BLOCK)
    pairs = []
    with two_nodes():
        for _ in range(rounds):
            alone, first = on_one_machine(width, spp)
            together, second, loading = on_two_nodes(width, spp)
            if not np.array_equal(first, second):
                raise SystemExit("the images differ")
            pairs.append((alone, together, loading))
            print(f"  one process {alone:.1f} s, two nodes {together:.1f} s, ratio {alone / together:.3f}", flush=True)
    return {
        "width": width,
        "spp": spp,
        "units": len(strips_of(width, width)) * spp // BLOCK,
        "efficiency": statistics.median(alone / together for alone, together, _ in pairs),
        "seconds": pairs,
    }


def measure_driver(width: int, height: int) -> dict[str, float]:
    """Cost of the driver's own work for a unit: unpacking it, adding it to the film, and keeping the ledger [s of one core]."""
    renderer = Renderer(load_scene(SCENE), device="cpu", threads=1, width=width, height=height)
    renderer.compile()
    strips = strips_of(width, height)
    film = FilmAssembly(renderer, strips)
    sums = [
        pickle.dumps(
            BlockSums(*(np.ones((s.rows, width, 3)) for _ in range(2)), np.zeros((s.rows, width), np.uint8)), protocol=5
        )
        for s in strips
    ]
    start = time.process_time()
    blocks = 4
    for block in range(blocks):
        for number, data in enumerate(sums):
            film.add(Unit(block * BLOCK, number, BLOCK), pickle.loads(data))
    adding = (time.process_time() - start) / (blocks * len(strips))
    ledger = Ledger(len(strips), first=0, end=None)
    nodes = [f"n{number}" for number in range(100)]
    for node in nodes:
        ledger.join(node)
    start, count = time.process_time(), 0
    while count < 5000:
        given = [(node, unit) for node in nodes if (unit := ledger.give(node, count)) is not None]
        for node, unit in given:
            ledger.finish(node, unit, count + 1.0)
        count += len(given)
    return {"add": adding, "ledger": (time.process_time() - start) / count}


# Simulation


@dataclass(frozen=True)
class Model:
    """The costs of a simulated cluster.

    Attributes:
        rate: Samples of pixels that a node traces in a second.
        spread: Standard deviation of the logarithm of a unit's time, and of a node's speed.
        add: Time of the driver for a unit [s].
        bandwidth: Of the driver's link [bytes/s].
        latency: Of a message [s].
        mean_life: Mean time after which a node dies and is replaced [s].
        restart: Time until a replacement is ready [s].
    """

    rate: float
    spread: float
    add: float
    bandwidth: float
    latency: float
    mean_life: float
    restart: float


def simulate(model: Model, nodes: int, width: int, height: int, spp: int, seed: int = 0) -> dict[str, float]:
    """Render an image on simulated nodes, which the ledger gives units.

    Returns:
        `seconds`, the time of the render; `efficiency`, the time that the nodes would need without any loss, over that time; and
        the fraction of the time for which the driver's link and thread are busy, `link` and `driver`.
    """
    chance = random.Random(seed)
    strips = strips_of(width, height)
    ledger = Ledger(len(strips), first=0, end=spp, window=window_of(width, height))
    speed = {f"n{i}": model.rate * chance.lognormvariate(0.0, model.spread) for i in range(nodes)}
    queues: dict[str, deque[Unit]] = {node: deque() for node in speed}
    lives = dict.fromkeys(speed, 0)
    events: list[tuple[float, int, str, str, Any]] = []
    number = iter(range(10**12))
    link_free = driver_free = link_busy = driver_busy = now = 0.0
    idle: dict[str, None] = {}

    def post(when: float, kind: str, node: str = "", data: Any = None) -> None:
        heapq.heappush(events, (when, next(number), kind, node, data))

    def begin(node: str) -> None:
        """Let a node trace the first unit of its queue."""
        unit = queues[node][0]
        work = unit.samples * strips[unit.strip].rows * width
        seconds = work / speed[node] * chance.lognormvariate(0.0, model.spread)
        post(now + seconds, "traced", node, (unit, lives[node]))

    def give(node: str) -> None:
        """Fill a node's queue; a node with room in it asks again at the next poll."""
        idle.pop(node, None)
        while ledger.load(node) < DEPTH:
            unit = ledger.give(node, now)
            if unit is None:
                idle[node] = None
                return
            queues[node].append(unit)
            if len(queues[node]) == 1:
                begin(node)

    for node in speed:
        ledger.join(node)
        post(chance.expovariate(1.0 / model.mean_life), "dies", node)
        give(node)
    post(POLL, "polls")
    while not ledger.is_finished:
        now, _, kind, node, data = heapq.heappop(events)
        if kind == "polls":
            for waiting in list(idle):
                give(waiting)
            post(now + POLL, "polls")
        elif kind == "dies":
            lives[node] += 1
            queues[node].clear()
            idle.pop(node, None)
            ledger.leave(node, "it died")
            post(now + model.restart, "joins", node)
        elif kind == "joins":
            ledger.join(node)
            post(now + chance.expovariate(1.0 / model.mean_life), "dies", node)
            give(node)
        elif kind == "traced":
            unit, life = data
            if life != lives[node]:
                continue
            size = BYTES_SENT * strips[unit.strip].rows * width / model.bandwidth
            link_free = max(link_free, now + model.latency) + size
            driver_free = max(driver_free, link_free) + model.add
            link_busy, driver_busy = link_busy + size, driver_busy + model.add
            post(driver_free, "added", node, data)
            queues[node].popleft()
            if queues[node]:
                begin(node)
        else:
            unit, life = data
            ledger.finish(node, unit, now)
            if life == lives[node]:
                give(node)
    ideal = width * height * spp / sum(speed.values())
    busy = {"link": link_busy / now, "driver": driver_busy / now}
    return {"seconds": now, "efficiency": ideal / now, **busy}


# The command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of a render in one process [s]")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of renders")
    parser.add_argument("--width", type=int, default=512, help="width and height of the measured render [pixels]")
    parser.add_argument("--simulate", action="store_true", help="simulate 1 to 10,000 nodes instead")
    parser.add_argument("--samples-per-second", type=float, default=1e6, help="samples that a simulated node traces")
    parser.add_argument("--bandwidth", type=float, default=1.25e9, help="bandwidth of the driver's link [bytes/s]")
    parser.add_argument("--spread", type=float, default=0.1, help="spread of a unit's time, and of the speed of nodes")
    parser.add_argument("--mean-life", type=float, default=86400.0, help="mean time until a node dies [s]")
    parser.add_argument("--restart", type=float, default=60.0, help="time until a dead node is replaced [s]")
    parser.add_argument("--size", default="1920x1080,8192x8192", help="sizes of simulated images")
    parser.add_argument("--spp", type=int, default=16384, help="samples per pixel of simulated images")
    parser.add_argument("--most", type=int, default=10_000, help="largest number of simulated nodes")
    parser.add_argument("--json", type=Path, help="file to write")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": describe_machine(("warp-lang",))}
    if arguments.simulate:
        result["simulation"] = _simulate_all(arguments)
    else:
        result["efficiency"] = measure_efficiency(arguments.width, arguments.seconds, arguments.rounds)
        print(f"efficiency of two nodes with one thread each: {result['efficiency']['efficiency']:.3f} (median)")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def _simulate_all(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for size in arguments.size.split(","):
        width, height = map(int, size.split("x"))
        costs = measure_driver(width, min(height, 1080))
        strips = strips_of(width, height)
        sent = BYTES_SENT * strips[0].rows * width
        print(
            f"{size}, {arguments.spp} spp: {len(strips)} strips, {window_of(width, height)} blocks in work at most; a unit is "
            f"{BLOCK * strips[0].rows * width / arguments.samples_per_second:.2f} s of work, {sent / 2**20:.1f} MiB on the wire, "
            f"{1e3 * costs['add']:.2f} ms to add, {1e3 * costs['ledger']:.3f} ms in the ledger"
        )
        model = Model(
            rate=arguments.samples_per_second,
            spread=arguments.spread,
            add=costs["add"] + costs["ledger"],
            bandwidth=arguments.bandwidth,
            latency=1e-3,
            mean_life=arguments.mean_life,
            restart=arguments.restart,
        )
        for nodes in NODES:
            if nodes > arguments.most:
                break
            found = simulate(model, nodes, width, height, arguments.spp)
            rows.append({"size": size, "spp": arguments.spp, "nodes": nodes, "costs": costs, **found})
            print(
                f"  {nodes:6d} nodes: {found['seconds']:10.1f} s, efficiency {found['efficiency']:.2f}, link busy "
                f"{100 * found['link']:.0f} %, driver {100 * found['driver']:.0f} %",
                flush=True,
            )
    return rows


if __name__ == "__main__":
    main()
