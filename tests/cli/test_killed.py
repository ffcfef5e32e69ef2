"""A killed training continues from its last snapshot."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

CONFIG = {
    "encoding": {"otype": "HashGrid", "n_levels": 4, "log2_hashmap_size": 10},
    "network": {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 1},
    "loss": {"otype": "L2"},
    "optimizer": {"otype": "Ema", "decay": 0.95, "nested": {"otype": "Adam", "learning_rate": 1e-2}},
}


def steps_of(path) -> int:
    """Number of training steps in a snapshot."""
    with safe_open(path, "numpy") as file:
        return json.loads(file.metadata()["nrc_tracer"])["training"]["steps"]


@pytest.mark.slow
def test_a_killed_and_resumed_training_gives_the_same_bits(tmp_path):
    """`fit image` with very frequent snapshots is killed by SIGKILL and resumed; the result equals that of one run."""
    picture = np.random.default_rng(5).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "noise.png")
    (tmp_path / "tiny.json").write_text(json.dumps(CONFIG))
    command = [
        sys.executable,
        "-m",
        "nrc_tracer",
        "fit",
        "image",
        "noise.png",
        "--config",
        "tiny.json",
        "--batch",
        "256",
    ]
    command += ["--device", "cpu", "--quiet"]
    killed, whole = tmp_path / "killed.safetensors", tmp_path / "whole.safetensors"
    process = subprocess.Popen(
        [*command, "--steps", "10000000", "--snapshot", killed.name, "--snapshot-every", "0.1"], cwd=tmp_path
    )
    try:
        deadline = time.monotonic() + 120.0
        while not (killed.exists() and steps_of(killed) > 0) and time.monotonic() < deadline:
            assert process.poll() is None, "ended before it was killed"
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    steps = steps_of(killed) + 20
    subprocess.run([*command, "--steps", str(steps), "--snapshot", killed.name, "--resume"], cwd=tmp_path, check=True)
    subprocess.run([*command, "--steps", str(steps), "--snapshot", whole.name], cwd=tmp_path, check=True)
    assert steps_of(killed) == steps
    assert killed.read_bytes() == whole.read_bytes()
