"""Kills actors, raylets and drivers of renders on real Ray at random moments, and checks what is left.

    python -m tests.cluster.kills [--count 20] [--seed N]

Each kill hits one render by the command line on a cluster of two raylets. If the command itself was killed, it is run again with
`--auto-resume`. The image must have the bits of one machine; no actor may be left, and no file but the image and the checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

from tests.cluster.raylets import RAYLET, actors, ended, running
from tests.tracer.test_determinism import room

WIDTH, SPP = 80, 320
KINDS = ("actor", "raylet", "driver")
LONGEST = 300.0
"""Longest time of one command [s]."""


class Killer:
    """Renders one scene on a cluster, again and again, and kills something each time.

    Args:
        cluster: The cluster, as `ray.cluster_utils.Cluster`. It has at least one raylet that is not its head.
        folder: An empty folder to work in.
        seed: Seed of the moments and of the victims.

    Attributes:
        hits: Number of kills that hit a running process, by kind.
    """

    def __init__(self, cluster, folder: Path, seed: int) -> None:
        self._cluster, self._folder, self._chance = cluster, folder, random.Random(seed)
        self.hits: Counter[str] = Counter()
        (folder / "tmp").mkdir()
        (folder / "out").mkdir()
        self._scene = folder / "scene.json"
        self._scene.write_bytes(msgspec.json.encode(room(sampler="sobol").description))
        self._whole = self._one_machine()
        start = time.monotonic()
        self._finish(self._start())
        self._usual = time.monotonic() - start
        self._check("no kill")

    def kill(self, kind: str) -> None:
        """Kill one thing of a kind at a random moment of a render, and check the image and what is left."""
        wait = self._chance.uniform(0.2, 1.0) * self._usual
        command = self._start()
        end = time.monotonic() + wait
        while time.monotonic() < end and command.poll() is None:
            time.sleep(0.02)
        self.hits[kind] += getattr(self, f"_kill_{kind}")(command)
        if kind == "driver":
            command.wait()
            command = self._start()
        self._finish(command)
        self._check(f"{kind}, after {wait:.2f} s")

    def _kill_actor(self, command) -> bool:
        """Kill an actor as soon as there is one."""
        while command.poll() is None:
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(self._chance.choice(actors()), signal.SIGKILL)
                return True
            time.sleep(0.02)
        return False

    def _kill_raylet(self, command) -> bool:
        """Kill a raylet that is not the head; another joins."""
        running = command.poll() is None
        victim = self._chance.choice(sorted(self._cluster.worker_nodes, key=str))
        self._cluster.remove_node(victim, allow_graceful=False)
        self._cluster.add_node(**RAYLET)
        return running

    def _kill_driver(self, command) -> bool:
        running = command.poll() is None
        command.kill()
        return running

    def _command(self, *arguments: str) -> subprocess.Popen:
        common = [sys.executable, "-m", "nrc_tracer", "render", str(self._scene), "--width", str(WIDTH)]
        common += ["--spp", str(SPP), "--device", "cpu", "--quiet"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(self._folder / "tmp")}
        return subprocess.Popen(
            [*common, *arguments],
            cwd=self._folder / "out",
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _start(self) -> subprocess.Popen:
        saves = ("--checkpoint", "c", "--checkpoint-every", "0.01", "--auto-resume")
        return self._command("-o", "a.npy", *saves, "--cluster", self._cluster.address)

    def _one_machine(self) -> bytes:
        """The image of one machine."""
        self._finish(self._command("-o", "a.npy"))
        image = (self._folder / "out" / "a.npy").read_bytes()
        (self._folder / "out" / "a.npy").unlink()
        return image

    @staticmethod
    def _finish(command) -> None:
        """Wait for a command, which must succeed."""
        errors = command.communicate(timeout=LONGEST)[1]
        assert command.returncode == 0, errors

    def _check(self, what: str) -> None:
        """Check the image and what is left, and remove both."""
        out = self._folder / "out"
        assert (out / "a.npy").read_bytes() == self._whole, f"{what}: another image"
        assert ended(actors), f"{what}: actors are left"
        left = sorted(path.name for path in out.iterdir())
        assert left == ["a.npy", "c"], f"{what}: {left}"
        temporary = list((self._folder / "tmp").iterdir())
        assert not temporary, f"{what}: {temporary}"
        for path in out.iterdir():
            path.unlink()


def kill_randomly(cluster, folder: Path, count: int, seed: int, say=lambda line: None) -> Counter[str]:
    """Do so many kills, of each kind as often, in a random order; return how many hit a running process, by kind."""
    chance = random.Random(seed)
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    chance.shuffle(kinds)
    killer = Killer(cluster, folder, seed)
    for number, kind in enumerate(kinds, 1):
        start = time.monotonic()
        killer.kill(kind)
        say(f"{number}/{count}: {kind}: the image is right, nothing is left ({time.monotonic() - start:.1f} s)")
    return killer.hits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="number of kills")
    parser.add_argument("--seed", type=int, help="seed of their moments; a random one unless given")
    arguments = parser.parse_args()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    with running(2) as cluster, tempfile.TemporaryDirectory(prefix="nrc-kills-") as folder:
        hits = kill_randomly(cluster, Path(folder), arguments.count, seed, lambda line: print(line, flush=True))
    print(f"{arguments.count} kills, of which hit a running process: {dict(hits)}")


if __name__ == "__main__":
    main()
