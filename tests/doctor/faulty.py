"""Checks with faults of every kind, as a list that the examination's process loads by its name."""

import os
import time

import torch

from nrc_tracer.doctor.check import Check, Comparison

HERE = __name__


def agree(device):
    return [Comparison("difference", 0.5, 1.0)]


def differ(device):
    return [Comparison("small difference", 0.5, 1.0), Comparison("large difference", 2.0, 1.0)]


def not_a_number(device):
    return [Comparison("difference", float("nan"), 1.0)]


def compare_nothing(device):
    return []


def fail(device):
    raise ValueError("the kernel\nfailed")


def exhaust_memory(device):
    torch.empty(2**60, dtype=torch.uint8)


def hang(device):
    time.sleep(3600)


def crash(device):
    os.write(2, b"Warp CUDA error 700: an illegal memory access was encountered\n")
    os.abort()


POISONED = []
"""Not empty after an error that stays, as on a GPU."""


def poison(device):
    POISONED.append(device)
    raise RuntimeError("an illegal memory access")


def agree_unless_poisoned(device):
    if POISONED:
        raise RuntimeError("an illegal memory access")
    return agree(device)


def talk(device):
    print('{"a library": "that talks"}')
    return agree(device)


def _check(name, **options):
    return Check(
        name.replace("_", " "),
        f"{HERE}:{name}",
        peer="nothing",
        advice=f"advice of {name}",
        uses_torch=False,
        **options,
    )


FUNCTIONS = (
    agree,
    differ,
    not_a_number,
    compare_nothing,
    fail,
    exhaust_memory,
    hang,
    crash,
    talk,
    poison,
    agree_unless_poisoned,
)
CHECKS = (
    *(_check(function.__name__) for function in FUNCTIONS),
    _check("agree_on_gpus", cuda_only="only GPUs have it"),
)
SOUND = (_check("agree", first_use=True), _check("talk", first_use=True))
