"""Pages of an image, a shape and a radiance field that train while a real browser shows them."""

import math

import numpy as np
import pytest

from nrc_tracer.live.task_viewing import training_world, view_world
from nrc_tracer.live.web.binding import bound_socket
from nrc_tracer.tasks.image.arrays import array_source
from nrc_tracer.tasks.image.fit import ImageTask
from nrc_tracer.tasks.nerf.fit import NerfTask
from nrc_tracer.tasks.sdf.fit import SdfTask
from nrc_tracer.tasks.training import Training
from tests.live.test_task_worlds import photographs, picture, sphere_mesh
from tests.live.web.test_browser import (
    CHROMIUM,
    PATIENCE,
    WINDOW,
    blocks,
    browser,  # noqa: F401  # a fixture
    canvas,
    wait_until,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium (Debian: apt-get install chromium)"),
]

TASKS = {
    "image": lambda: ImageTask(array_source(picture(120, 90)), batch=2**12),
    "sdf": lambda: SdfTask(sphere_mesh(), batch=2**10),
    "nerf": lambda: NerfTask(photographs(), device="cpu"),
}


@pytest.mark.parametrize("kind", TASKS)
def test_a_page_shows_a_model_while_it_trains(kind, browser):  # noqa: F811  # the fixture
    """The picture is not blank, it changes with the camera, and the training goes on and tells its numbers."""
    task = TASKS[kind]()
    world = training_world(task, Training(task, seconds=math.inf))
    with view_world(world, kind, bound_socket("127.0.0.1", 0)) as viewer:
        context = browser.new_context(viewport=WINDOW)
        tab = context.new_page()
        tab.set_default_timeout(1000 * PATIENCE)
        tab.goto(viewer.url)
        tab.locator(".nrc-statistics").wait_for()
        wait_until(lambda: blocks(canvas(tab)).std() > 0.01, "a picture that is not blank")
        steps, before = task.number, blocks(canvas(tab))
        x, y = WINDOW["width"] // 4, WINDOW["height"] // 2
        tab.mouse.move(x, y)
        tab.mouse.down()
        tab.mouse.move(x + 150, y + 40, steps=5)
        tab.mouse.up()
        wait_until(lambda: np.abs(blocks(canvas(tab)) - before).mean() > 0.005, "a change of the picture")
        wait_until(lambda: task.number > steps, "more training")
        tab.get_by_role("tab", name="Training").click()
        tab.locator(".nrc-training", has_text="steps/s").wait_for()
        tab.get_by_role("button", name="Pause").click()
        tab.locator(".nrc-training", has_text="paused").wait_for()
        assert not world.is_training
        context.close()
