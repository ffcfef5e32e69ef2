"""The viewer's page in a real browser: Debian's Chromium without a display, in which all other hosts are blocked."""

import io
import shutil
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

import nrc_tracer as nrc
from nrc_tracer.cli import main
from nrc_tracer.imaging import eight_bits, tone_map
from nrc_tracer.live.viewing import show_scene
from nrc_tracer.live.web.binding import bound_socket
from nrc_tracer.scene.model import (
    Diffuse,
    Film,
    Integrator,
    LookAt,
    Perspective,
    Rectangle,
    Rotate,
    Scale,
    Scene,
    SceneDescription,
    Sphere,
    Translate,
)

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
PATIENCE = 120.0
"""Time after which a test gives up waiting [s]: other processes may need the cores for long."""

SAMPLES = 16
WINDOW = {"width": 960, "height": 540}
FREE = (slice(180, 540), slice(0, 480))
"""Rows and columns of the window without panels and without the notice that WebGL has no GPU."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium (Debian: apt-get install chromium)"),
]

ROOM = SceneDescription(
    camera=Perspective(to_world=(LookAt((0.0, 0.6, 4.0), (0.0, 0.0, 0.0)),), fov=40.0),
    film=Film(width=160, height=90),
    integrator=Integrator(max_depth=4),
    materials={"red": Diffuse(reflectance=(0.7, 0.1, 0.1)), "floor": Diffuse(reflectance=(0.2, 0.5, 0.2))},
    shapes=(
        Sphere(center=(0.0, 0.0, 0.0), radius=0.8, material="red"),
        Rectangle(to_world=(Scale(6.0), Rotate((1.0, 0.0, 0.0), -90.0), Translate((0.0, -0.8, 0.0))), material="floor"),
        Sphere(center=(2.0, 4.0, 2.0), radius=0.7, emission=20.0),
        Sphere(center=(0.0, 0.0, 0.0), radius=50.0, emission=0.3),
    ),
)


@pytest.fixture(scope="module")
def browser():
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def viewer():
    with nrc.view(Scene(ROOM), samples=SAMPLES, frames_per_second=10.0) as viewer:
        yield viewer


@pytest.fixture
def tab(browser, viewer):
    tab = open_tab(browser, viewer)
    yield tab
    tab.context.close()
    wait_until(lambda: viewer.pages == 0, "the end of the page's connection")


def open_tab(browser, viewer):
    tab = browser.new_context(viewport=WINDOW, accept_downloads=True).new_page()
    tab.set_default_timeout(1000 * PATIENCE)
    tab.goto(viewer.url)
    wait_for_samples(tab)
    return tab


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)


def wait_for_samples(tab):
    """Wait until the still picture of a page is complete."""
    tab.locator(".nrc-statistics", has_text=f"{SAMPLES} per pixel").wait_for()


def view_of(viewer):
    """What the page that was opened last shows."""
    return viewer.views[-1]


def canvas(tab):
    """The free part of the page's window, float [height, width, 3] in [0, 1]."""
    image = PIL.Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    return np.asarray(image)[FREE] / 255.0


def blocks(pixels, size=30):
    """Means of square blocks, which hide noise and interpolation."""
    height, width = pixels.shape[0] // size * size, pixels.shape[1] // size * size
    return pixels[:height, :width].reshape(height // size, size, width // size, size, 3).mean((1, 3))


def seen_by(view):
    """The room with the camera and the size of a view."""
    return Scene(replace(ROOM, camera=view.camera, film=Film(width=view.width, height=view.height)))


def choose(tab, label, option):
    """Choose an option of a dropdown."""
    tab.get_by_label(label, exact=True).first.click()
    tab.get_by_role("option", name=option, exact=True).first.click()


def drag(tab):
    x, y = WINDOW["width"] // 4, WINDOW["height"] // 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 120, y + 20, steps=5)
    tab.mouse.up()


def test_the_page_shows_what_render_shows(tab, viewer):
    view = view_of(viewer)
    pixels = eight_bits(tone_map(nrc.render(seen_by(view), spp=64).rgb))
    image = PIL.Image.fromarray(pixels).resize((WINDOW["width"], WINDOW["height"]))
    reference = blocks(np.asarray(image)[FREE] / 255.0)
    difference = []

    def agrees():
        difference[:] = [np.abs(blocks(canvas(tab)) - reference)]
        return difference[0].mean() < 0.02

    wait_until(agrees, "a picture like that of render")
    assert reference.std() > 0.05  # so that a blank page would not agree


def test_dragging_moves_the_camera_and_the_picture(tab, viewer):
    before, camera = blocks(canvas(tab)), view_of(viewer).camera
    drag(tab)
    wait_until(lambda: view_of(viewer).camera != camera, "a change of the camera")
    wait_until(lambda: np.abs(blocks(canvas(tab)) - before).mean() > 0.01, "a change of the picture")
    wait_for_samples(tab)
    tab.get_by_role("tab", name="Camera").click()
    tab.get_by_role("button", name="Start view").click()
    wait_until(lambda: np.abs(blocks(canvas(tab)) - before).mean() < 0.01, "the return to the first view")


def test_the_mode_control_and_the_divider_act(tab, viewer):
    before = blocks(canvas(tab))
    choose(tab, "Beside", "layer: albedo")
    wait_until(lambda: np.abs(blocks(canvas(tab)) - before).max() < 0.05, "the main view on the left")
    choose(tab, "Show", "layer: albedo")
    red = (0.7, 0.1, 0.1)
    wait_until(lambda: np.abs(canvas(tab)[90, -20] - red).max() < 0.3, "the albedo of the sphere")
    assert view_of(viewer).layer == "albedo"


def test_the_saved_picture_is_that_of_the_command_line(tab, viewer, tmp_path):
    saved = {}
    for button in ("PNG", "Scene"):
        with tab.expect_download() as download:
            tab.get_by_role("button", name=button, exact=True).click()
        saved[button] = Path(shutil.copy(download.value.path(), tmp_path / download.value.suggested_filename))
    assert saved["PNG"].name == f"scene-{SAMPLES}spp.png"
    output = tmp_path / "command-line.png"
    result = CliRunner().invoke(main, ["render", str(saved["Scene"]), "-o", str(output), "--spp", str(SAMPLES)])
    assert result.exit_code == 0, result.output
    assert saved["PNG"].read_bytes() == output.read_bytes()


def test_tabs_live_and_die_alone(tab, browser, viewer):
    other = open_tab(browser, viewer)
    assert viewer.pages == 2
    other.context.close()
    wait_until(lambda: viewer.pages == 1, "the end of the second page")
    before = blocks(canvas(tab))
    drag(tab)
    wait_until(lambda: np.abs(blocks(canvas(tab)) - before).mean() > 0.01, "a change of the first page's picture")


def test_the_address_bar_does_not_keep_the_token(tab, viewer):
    assert "token" not in tab.url
    tab.reload()
    wait_for_samples(tab)


def test_a_page_recovers_when_the_viewer_is_started_again(browser):
    """At the same port, with the same token: as `nrc-tracer view` does."""
    listener = bound_socket("127.0.0.1", 0)
    port = listener.getsockname()[1]
    options = {"cache": None, "cache_mode": "on", "host": "127.0.0.1", "frames_per_second": 10.0, "samples": SAMPLES}
    with show_scene(Scene(ROOM), listener, token="t" * 32, **options) as first:
        tab = open_tab(browser, first)
        before = blocks(canvas(tab))
    with show_scene(Scene(ROOM), bound_socket("127.0.0.1", port), token="t" * 32, **options) as second:
        wait_until(lambda: second.pages == 1, "the page's return")
        wait_for_samples(tab)
        wait_until(lambda: np.abs(blocks(canvas(tab)) - before).mean() < 0.02, "the picture's return")
        tab.context.close()
