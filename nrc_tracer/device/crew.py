"""Threads that wait in native code for the items of a kernel, for work of less than a millisecond.

A thread pool of Python takes a tenth of a millisecond to start work on another thread. Here, the other threads are in a kernel of
their own: after each job they spin for about as long, and then sleep until they are woken. A thread that comes too late for a job
leaves it out, so that nobody waits for it. Jobs are therefore kernels whose items take their work from a common counter: **the
first item alone does all the work if no other one comes**.
"""

# mypy: disable-error-code="empty-body"
# The bodies of native functions are C++

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import sys
import threading
import weakref
from collections.abc import Sequence
from functools import cache

import warp as wp

FUTEX = {"x86_64": 202, "aarch64": 98}
"""The number of Linux's system call futex, by machine."""

MOST_ITEMS = 256
"""Largest number of items of a job."""

LONGEST_JOB = 5.0
"""Longest time for which the interpreter's exit waits for a job, or for a thread to end [s]."""

_WORDS = 32
"""The place of the 64-bit words of a mailbox, after its counters [64-bit words]."""

_MAILBOX = """
    typedef long (*SystemCall)(long, ...);
    typedef void (*Item)(void*, void*);
    // Counters, each in a cache line of its own: the number of jobs so far; the number of threads in the current job, with a bit
    // that is set while no thread may enter; and the number of sleeping threads
    int* jobs = (int*)box;
    int* gate = jobs + 16;
    int* sleeping = jobs + 32;
    int* stop = jobs + 48;
    const int closed = 1 << 30;
    // Addresses of the C function `syscall`, with the number of futex, and of the kernel, its bounds, and its arguments by item
    unsigned long long* words = (unsigned long long*)box + 32;
    const SystemCall system_call = (SystemCall)words[0];
    const long futex = words[1], wait_private = 128, wake_private = 129;
#if defined(__x86_64__)
#define NRC_REST __builtin_ia32_pause()
#else
#define NRC_REST
#endif
"""

_SERVE = (
    _MAILBOX
    + """
    for (int seen = first;;) {
        // Wait for a job: spin, then sleep
        int now, tries = 0;
        while ((now = __atomic_load_n(jobs, __ATOMIC_ACQUIRE)) == seen) {
            if (++tries < 4000) {
                NRC_REST;
                continue;
            }
            __atomic_fetch_add(sleeping, 1, __ATOMIC_SEQ_CST);
            system_call(futex, jobs, wait_private, (long)seen, (void*)0, (void*)0, 0l);
            __atomic_fetch_sub(sleeping, 1, __ATOMIC_SEQ_CST);
            tries = 0;
        }
        seen = now;
        if (__atomic_load_n(stop, __ATOMIC_ACQUIRE)) return;

        // Take part unless it is over
        if (!(__atomic_fetch_add(gate, 1, __ATOMIC_ACQ_REL) & closed) && words[4 + item])
            ((Item)words[2])((void*)words[3], (void*)words[4 + item]);
        __atomic_fetch_sub(gate, 1, __ATOMIC_RELEASE);
    }
"""
)

_LEAD = (
    _MAILBOX
    + """
    // Open the job, wake the threads that sleep, and take part
    __atomic_fetch_and(gate, ~closed, __ATOMIC_ACQ_REL);
    __atomic_fetch_add(jobs, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(sleeping, __ATOMIC_SEQ_CST) > 0)
        system_call(futex, jobs, wake_private, (long)helpers, (void*)0, (void*)0, 0l);
    if (words[4]) ((Item)words[2])((void*)words[3], (void*)words[4]);

    // Close it, and wait for those that take part
    int inside = __atomic_fetch_or(gate, closed, __ATOMIC_ACQ_REL) | closed;
    long twenty_microseconds[2] = {0, 20000};
    for (int tries = 0; inside != closed; inside = __atomic_load_n(gate, __ATOMIC_ACQUIRE)) {
        if (++tries < 20000) NRC_REST;
        else system_call(futex, gate, wait_private, (long)inside, (void*)twenty_microseconds, (void*)0, 0l);
    }
"""
)


@wp.func_native(_SERVE)
def _serve(box: wp.uint64, item: int, first: int): ...


@wp.func_native(_LEAD)
def _lead(box: wp.uint64, helpers: int): ...


_MODULE = wp.get_module("nrc_tracer.device.crew")
_MODULE.options["enable_backward"] = False


@wp.kernel(module=_MODULE, enable_backward=False)
def _serve_kernel(box: wp.uint64, item: int, first: int):
    _serve(box, item, first)


@wp.kernel(module=_MODULE, enable_backward=False)
def _lead_kernel(box: wp.uint64, helpers: int):
    _lead(box, helpers)


class Native:
    """A kernel with the arguments of several items in memory, to be called without the work that Warp does for each launch.

    Args:
        launches: Recorded launches of one kernel on the CPU, of one thread each. Their arguments are copied.
    """

    def __init__(self, launches: Sequence[wp.Launch]) -> None:
        self._launches = launches  # which keep the kernel loaded
        first = launches[0]
        self._call = first.hooks.forward
        self._bounds = first.bounds
        labels = [argument.label for argument in first.kernel.adj.args]
        types = [type(value) for value in first.params[1:]]
        layout = type("Arguments", (ctypes.Structure,), {"_fields_": list(zip(labels, types, strict=True))})
        self._arguments = [layout(*launch.params[1:]) for launch in launches]
        self.function = ctypes.cast(self._call, ctypes.c_void_p).value or 0
        self.bounds = ctypes.addressof(self._bounds)
        self.arguments = [ctypes.addressof(arguments) for arguments in self._arguments]
        self._passed = [(ctypes.byref(self._bounds), ctypes.byref(arguments)) for arguments in self._arguments]

    def run(self, item: int) -> None:
        """Run one item on this thread, without holding the interpreter's lock."""
        self._call(*self._passed[item])


class Crew:
    """Threads that run the items of one job at a time, beside the caller's thread. See the module.

    They end when the crew is no longer in use, or at the interpreter's exit.

    Args:
        helpers: Number of threads; fewer where the system allows no more.
    """

    def __init__(self, helpers: int) -> None:
        self.helpers = helpers = min(helpers, MOST_ITEMS - 1)
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._memory = ctypes.create_string_buffer(8 * (_WORDS + 4 + MOST_ITEMS) + 64)
        box = -(-ctypes.addressof(self._memory) // 64) * 64
        self._words = (ctypes.c_uint64 * (4 + MOST_ITEMS)).from_address(box + 8 * _WORDS)
        self._words[0] = _system_call_address()
        self._words[1] = FUTEX[platform.machine()]
        ctypes.c_int32.from_address(box + 64).value = 1 << 30  # closed
        _MODULE.load("cpu", 1)
        self._lead = Native([_record(_lead_kernel, box, helpers)])
        serve = Native([_record(_serve_kernel, box, item, 0) for item in range(1, helpers + 1)])
        self._job: tuple[Native, int] | None = None
        self._started = started = list[threading.Thread]()
        self._box = box
        self._finalizer = weakref.finalize(self, _dismiss, box, self._memory, self._lead, self._process)
        self._finalizer.atexit = False  # `close` does its work, once no job is under way
        _crews.add(self)
        for item in range(helpers):
            thread = threading.Thread(
                target=_run_helper, args=(serve, item, self._memory), name=f"nrc-crew-{item}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the system's limit of threads is reached
                break
            started.append(thread)
        self.helpers = len(started)

    def run(self, native: Native, items: int) -> None:
        """Run `items` items of a kernel, at most `helpers` + 1, or fewer if the threads are busy or come too late."""
        if self._process != os.getpid() or not self._lock.acquire(blocking=False):
            native.run(0)
            return
        try:
            if self._job is None or self._job[0] is not native or self._job[1] != items:
                self._job = None  # until all of it is written, should Ctrl-C come
                self._words[2], self._words[3] = native.function, native.bounds
                for item in range(self.helpers + 1):
                    self._words[4 + item] = native.arguments[item] if item < items else 0
                self._job = native, items
            self._lead.run(0)
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the threads once the job that is under way is done. Later jobs are done by their callers alone."""
        if self._process != os.getpid() or not self._lock.acquire(timeout=LONGEST_JOB):
            return
        self._finalizer.detach()
        _dismiss(self._box, self._memory, self._lead, self._process)  # the lock is kept
        for thread in self._started:
            thread.join(timeout=LONGEST_JOB)


_crews: weakref.WeakSet[Crew] = weakref.WeakSet()
"""All crews."""


@atexit.register
def _close_all() -> None:
    """End all threads, before the native code that they run is unloaded."""
    for crew in list(_crews):
        crew.close()


@cache
def has_crews() -> bool:
    """Whether this system has what crews need."""
    return sys.platform == "linux" and platform.machine() in FUTEX and ctypes.sizeof(ctypes.c_void_p) == 8


def _record(kernel: wp.Kernel, box: int, *numbers: int) -> wp.Launch:
    return wp.launch(kernel, dim=1, inputs=[wp.uint64(box), *numbers], device="cpu", record_cmd=True)


def _system_call_address() -> int:
    return ctypes.cast(ctypes.CDLL(None).syscall, ctypes.c_void_p).value or 0


def _run_helper(native: Native, item: int, memory: object) -> None:
    """Serve jobs on a thread, which keeps the mailbox in `memory` alive."""
    native.run(item)
    del memory


def _dismiss(box: int, memory: object, lead: Native, process: int) -> None:
    """Tell the threads of a crew, whose mailbox is at `box` in `memory`, to end.

    Does not wait for them: a garbage collection may call this on any thread, with locks that a thread needs in order to end.
    """
    if process != os.getpid():  # after a fork there are no threads
        return
    ctypes.c_uint64.from_address(box + 8 * (_WORDS + 4)).value = 0  # no item
    ctypes.c_int32.from_address(box + 4 * 48).value = 1
    lead.run(0)
    del memory
