"""Threads that wait in native code: each does its share of a job, none is waited for in vain, and they end with their crew."""

import gc
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import warp as wp

from nrc_tracer.device.crew import Crew, Native, has_crews
from nrc_tracer.device.launch import Launcher, initialize

pytestmark = pytest.mark.skipif(not has_crews(), reason="crews need Linux on x86-64 or ARM64")

PIECES = 1000


@pytest.fixture(autouse=True)
def warp():
    """Warp, which crews expect to be initialized."""
    initialize()


@wp.func_native("return __atomic_fetch_add((int*)counter, 1, __ATOMIC_RELAXED);")
def take_piece(counter: wp.uint64) -> int: ...


@wp.kernel
def count_pieces(item: int, counter: wp.uint64, times: wp.array[int], done: wp.array2d[int]):
    piece = take_piece(counter)
    while piece < done.shape[1]:
        done[item, piece] = 1 + done[item, piece]
        piece = take_piece(counter)
    times[item] = times[item] + 1


class Job:
    """A kernel whose items take pieces of work from a counter, and what each of them did."""

    def __init__(self, items: int) -> None:
        count_pieces.module.load("cpu", 1)
        self.counter = np.zeros(1, np.int32)
        self.times = np.zeros(items, np.int32)
        self.done = np.zeros((items, PIECES), np.int32)
        arrays = [wp.array(values, dtype=int, device="cpu", copy=False) for values in (self.times, self.done)]
        self.native = Native(
            [
                wp.launch(
                    count_pieces,
                    dim=1,
                    inputs=[item, wp.uint64(self.counter.ctypes.data), *arrays],
                    device="cpu",
                    record_cmd=True,
                )
                for item in range(items)
            ]
        )

    def run(self, crew: Crew, items: int) -> None:
        self.counter[0] = 0
        crew.run(self.native, items)


@pytest.mark.parametrize("helpers", [1, 3])
def test_every_piece_is_done_once_in_each_of_many_jobs(helpers):
    crew, job = Crew(helpers), Job(helpers + 1)
    for number in range(1, 301):
        job.run(crew, helpers + 1)
        assert (job.done.sum(axis=0) == number).all()
        if number % 100 == 0:
            time.sleep(0.01)  # the threads sleep, and have to be woken


def test_jobs_with_fewer_items_leave_the_other_threads_out():
    crew, job = Crew(3), Job(4)
    for _ in range(50):
        job.run(crew, 2)
    assert (job.done.sum(axis=0) == 50).all()
    assert job.times[2:].tolist() == [0, 0]


def test_two_callers_at_once_both_get_their_work_done():
    crew, jobs = Crew(1), [Job(2), Job(2)]

    def many(job):
        for _ in range(200):
            job.run(crew, 2)

    threads = [threading.Thread(target=many, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for job in jobs:
        assert (job.done.sum(axis=0) == 200).all()


def test_other_threads_take_part_if_there_is_time():
    crew, job = Crew(1), Job(2)
    for _ in range(1000):
        job.run(crew, 2)
        if job.times[1]:
            break
        time.sleep(0.002)
    assert job.times[1] > 0


def test_the_threads_end_with_the_last_reference_to_their_launcher():
    before = {thread.ident for thread in threading.enumerate()}
    launcher = Launcher("cpu", threads=3)
    job = Job(3)
    job.run(launcher.crew, 3)
    own = [thread for thread in threading.enumerate() if thread.ident not in before and "crew" in thread.name]
    assert len(own) == 2
    del launcher
    gc.collect()
    for thread in own:
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_a_collection_waits_for_no_thread():
    """It may come while its thread holds a lock that other threads need in order to end."""
    ended = threading.Event()

    def collect():
        crew = Crew(1)
        Job(2).run(crew, 2)
        with threading._active_limbo_lock:
            del crew
            gc.collect()
        ended.set()

    threading.Thread(target=collect, daemon=True).start()
    assert ended.wait(timeout=60)


AT_EXIT = """
import atexit, threading, time

def report():  # after all that is registered later
    before = job.done.sum(axis=0).min()
    time.sleep(0.05)
    print(sum("nrc-crew" in t.name for t in threading.enumerate()), before < job.done.sum(axis=0).min())

atexit.register(report)
from nrc_tracer.device.crew import Crew
from nrc_tracer.device.launch import initialize
from tests.device.test_crew import Job
initialize()
crew, job = Crew(3), Job(4)

def work():
    while True:
        job.run(crew, 4)

threading.Thread(target=work, daemon=True).start()
while job.done.sum() < 100_000:
    time.sleep(0.01)
"""


def test_threads_end_at_exit_while_a_daemon_works():
    """Its jobs go on without them until the process ends."""
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_after_a_fork_the_caller_does_all_the_work():
    crew, job = Crew(1), Job(2)
    job.run(crew, 2)
    child = os.fork()
    if child == 0:
        job.run(crew, 2)
        os._exit(0 if (job.done.sum(axis=0) == 2).all() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_crew_works_with_the_threads_that_the_system_allows(monkeypatch):
    """Threads that cannot be started are done without."""
    start, count = threading.Thread.start, iter(range(100))

    def limited(thread):
        if next(count) >= 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    crew = Crew(5)
    assert crew.helpers == 2
    job = Job(3)
    for _ in range(20):
        job.run(crew, 3)
    assert (job.done.sum(axis=0) == 20).all()
