"""Threads and memory stay flat in a long process, whatever objects it makes and drops, and the process ends."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import gc, json, os, sys, threading, time
import numpy as np, PIL.Image, torch
import nrc_tracer as nrc, nrc_tracer.nn as nn

kind, threads, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
config = {
    "encoding": {"otype": "HashGrid", "n_levels": 2, "log2_hashmap_size": 10},
    "network": {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 1},
    "optimizer": {"otype": "Ema", "nested": {"otype": "Adam"}},
}
scene = nrc.load_scene(nrc.__path__[0] + "/../scenes/cornell-box.json")
x = torch.rand(4096, 2)
cube = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)], np.float32)
quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
cube = (cube, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))
field = {
    "encoding": {"otype": "Composite", "nested": [
        {"n_dims_to_encode": 3, "otype": "HashGrid", "n_levels": 8, "log2_hashmap_size": 12},
        {"n_dims_to_encode": 3, "otype": "SphericalHarmonics", "degree": 2},
    ]},
    "network": {"otype": "RadianceField"},
}
PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder + "/a.png")

def render(**options):
    nrc.render(scene, width=8, height=8, spp=2, threads=threads, **options)

def failing():
    def watch(progress):
        raise RuntimeError
    try:
        render(progress=watch)
    except RuntimeError:
        return
    raise AssertionError

def model():
    nn.Model(2, 1, config, threads=threads)(x)

def trainer():
    made = nn.Model(2, 1, config, threads=threads)
    nn.Trainer(made).step(x, x[:, :1])
    made(x)

def task():
    nrc.tasks.fit_image(folder + "/a.png", config=config, steps=1, threads=threads, batch=1024)

def shape():
    made = nrc.tasks.fit_sdf(cube, config=config, steps=2, threads=threads, batch=1024)
    made.model.surface(8)
    made.model.render(16)

def photographs():
    from tests.tasks.nerf.analytic import ball_photographs
    made = nrc.tasks.fit_nerf(ball_photographs(6, 16), config=field, steps=2, threads=threads, batch=1024)
    scene = made.model
    scene.view(scene.cameras["train"][0])

def broken_off():
    def watch(progress):
        raise RuntimeError
    for fit, data in ((nrc.tasks.fit_sdf, cube), (nrc.tasks.fit_image, folder + "/a.png")):
        try:
            fit(data, config=config, steps=9, threads=threads, batch=1024, progress=watch)
        except RuntimeError:
            continue
        raise AssertionError

def cached():
    nrc.Renderer(scene, width=8, height=8, cache=nrc.RadianceCache(), threads=threads, max_depth=-1).step(1)

def session():
    from nrc_tracer.live.scene_world import SceneWorld
    from nrc_tracer.live.session import Session
    from tests.live.rooms import room, view
    seen = threading.Event()
    class Listener:
        def show(self, client, number, picture):
            seen.set()
        def fail(self, client, message):
            raise AssertionError(message)
    with Session(SceneWorld(room(), device="cpu", threads=threads), Listener()) as opened:
        opened.look("a", view())
        assert seen.wait(60)

def viewer():
    with nrc.view(scene, width=8, height=8, threads=threads):
        pass
    gc.collect()  # the page's panels and the server refer to each other

def alive():
    return len(os.listdir("/proc/self/task"))

def memory():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

def settled(most):
    end = time.monotonic() + 20
    while alive() > most and time.monotonic() < end:
        time.sleep(0.02)
    return alive()

def work():
    for name in kind.split("+"):
        globals()[name]()

quiet = alive()
for _ in range(3):
    work()
gc.collect()
gc.disable()  # so that memory that only a collection frees would grow
first = settled(quiet + threads)
before, peak, sizes = memory(), 0, []
for _ in range(count):
    work()
    peak = max(peak, alive())
    sizes.append(memory())
# The allocator keeps and returns tens of MiB as it likes; what leaks is in every size that follows
grown = min(sizes[count // 2:]) - before
print(json.dumps({"quiet": quiet, "peak": peak, "left": settled(first), "first": first, "grown": grown}))
"""


def measured(tmp_path, kind, threads, count):
    """The report of a process that makes and drops `count` objects."""
    arguments = [sys.executable, "-c", SCRIPT, kind, str(threads), str(count), str(tmp_path)]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=540, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize(("kind", "threads", "count"), [("render+failing+trainer", 8, 8)])
def test_threads_end_with_the_objects_they_worked_for(tmp_path, kind, threads, count):
    """Without a garbage collection: nothing refers to itself, and no thread keeps its pool alive."""
    found = measured(tmp_path, kind, threads, count)
    # A pool that has been dropped may still be ending while the next one works
    assert found["peak"] <= found["quiet"] + 5 * threads, found
    assert found["left"] <= found["first"], found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize(
    ("kind", "threads", "count"),
    [
        ("render", 1, 1000),
        ("render", 8, 300),
        ("model", 64, 100),
        ("trainer", 64, 60),
        ("task", 8, 10),
        ("shape+photographs+broken_off+session", 8, 4),
        ("viewer", 8, 16),
        ("cached", 8, 8),
    ],
)
def test_a_long_process_stays_flat(tmp_path, kind, threads, count):
    """Threads and memory after many renders, models, trainers, tasks, caches and viewers, also those that an exception ends."""
    if kind == "viewer":
        pytest.importorskip("viser")
    found = measured(tmp_path, kind, threads, count)
    assert found["left"] <= found["first"], found
    assert found["grown"] < 64.0 + 0.02 * count, found
