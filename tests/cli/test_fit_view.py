"""`nrc-tracer fit ... --view`: a page while the model trains."""

import re
import signal
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import PIL.Image
import pytest

PATIENCE = 240.0
"""Time after which a test gives up waiting [s]."""

pytestmark = pytest.mark.slow


@pytest.fixture
def started(tmp_path):
    """`fit image` of a small image with a page, which is killed if it does not end by itself."""
    pytest.importorskip("viser")
    rows, _ = np.mgrid[:20, :30]
    PIL.Image.fromarray((rows * 12).astype(np.uint8)).save(tmp_path / "ramp.png")
    words = ["fit", "image", "ramp.png", "--steps", "5", "--batch", "1024", "--view", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nrc_tracer", *words],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    guard = threading.Timer(PATIENCE, process.kill)
    guard.start()
    yield process
    guard.cancel()
    process.kill()
    process.wait()


def test_the_page_stays_until_ctrl_c_and_the_model_is_then_scored(started, tmp_path):
    """The link is printed, the page is served after the training too, and the snapshot has all steps."""
    link = None
    for line in started.stderr:
        link = line.strip() if line.startswith("http") else link
        if "the training is complete" in line:
            break
    assert link is not None
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=\S+", link)
    with urllib.request.urlopen(link, timeout=60) as page:
        assert b"ramp - nrc_tracer" in page.read()
    assert (tmp_path / "ramp.safetensors").exists()
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate()
    assert started.returncode == 0, errors
    assert "PSNR" in errors
    assert "5 steps" in errors
