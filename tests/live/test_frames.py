"""Frames without a session: still images are those of `Renderer`, moving ones are averaged without blur, ghosts or old light."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nrc_tracer.imaging.tonemap import eight_bits, tone_map
from nrc_tracer.live.frames import Frames
from nrc_tracer.live.world import Budget
from nrc_tracer.scene.model import Checkerboard, Rectangle, Scale, Translate
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.interactive import InteractiveRenderer
from tests.live.rooms import HEIGHT, WIDTH, camera, moving, relative_error, room, still, view
from tests.tracer.tiny_scenes import scene


def frames(described=None, **options) -> Frames:
    """Frames of the room, or of another scene."""
    return Frames(InteractiveRenderer(described or room(), device="cpu"), **options)


@cache
def reference(step: float) -> np.ndarray:
    """The room from a place of the camera, with little noise."""
    renderer = Renderer(room(), device="cpu", camera=camera(step))
    renderer.step(256)
    return renderer.image().rgb


@pytest.mark.parametrize("samples", [3, 20])
def test_a_still_image_is_that_of_a_new_renderer(samples):
    """After moving at another size, it has the same bits, however its samples were spread over frames."""
    pipeline = frames()
    for step in range(3):
        pipeline.draw(view(step), moving(32, 18))
    while True:
        picture = pipeline.draw(view(2), Budget(WIDTH, HEIGHT, seconds=0.01, most_samples=samples))
        if picture.samples == samples:
            break
    fresh = Renderer(room(), device="cpu", camera=camera(2), width=WIDTH, height=HEIGHT)
    fresh.step(samples)
    assert picture.is_final
    np.testing.assert_array_equal(pipeline.renderer.image().rgb, fresh.image().rgb)
    np.testing.assert_array_equal(picture.pixels, eight_bits(tone_map(fresh.image().rgb)))


def test_moving_frames_are_better_than_frames_of_the_same_cost():
    """The error is below a quarter of the mean error of plain frames with twice as many samples."""
    last = 15
    truth = reference(last)
    averaged, plain = frames(), frames(reprojects=False)
    for step in range(last + 1):
        picture = averaged.draw(view(step), moving())
    assert picture.pixels.shape == (HEIGHT, WIDTH, 3)
    assert not picture.is_final
    assert {"trace", "surfaces", "reproject", "tone"} <= set(picture.stage_times)
    errors = []
    for seed in range(4):
        plain.renderer.look(camera(last), seed=100 + seed)
        plain.renderer.step(2)
        errors.append(relative_error(plain.renderer.image().rgb, truth))
    assert relative_error(averaged.radiance, truth) < 0.25 * np.mean(errors)


def striped():
    """A glowing chequered wall behind a glowing plate: no noise, but edges everywhere."""
    return scene(
        Rectangle(emission="squares", to_world=(Scale(4.0), Translate((0.0, 0.0, -2.0)))),
        Rectangle(emission=3.0, to_world=(Scale((0.3, 0.8, 1.0)), Translate((0.2, 0.0, 1.0)))),
        textures={"squares": Checkerboard(color0=0.1, color1=1.0, to_uv=(Scale((12.0, 12.0, 1.0)),))},
        film=(WIDTH, HEIGHT),
    )


def test_moving_edges_stay_sharp():
    """Where there are only edges to get wrong, averaging makes nothing worse: neither blur nor ghosts at silhouettes."""
    last = 15
    sharp = Renderer(striped(), device="cpu", camera=camera(last))
    sharp.step(64)
    truth = sharp.image().rgb
    averaged, plain = frames(striped()), frames(striped(), reprojects=False)
    for step in range(last + 1):
        averaged.draw(view(step), moving())
    plain.draw(view(last), moving())
    error, plain_error = (np.mean(np.square(each.radiance - truth)) for each in (averaged, plain))
    assert error < plain_error
    # Away from the edges of the plate and of the squares nothing is smeared
    flat = np.ones((HEIGHT, WIDTH), bool)
    for axis in (0, 1):
        for shift in (-2, -1, 1, 2):
            flat &= np.abs(np.roll(truth, shift, axis) - truth).max(axis=2) < 1e-3
    assert flat.sum() > 100
    wrong = np.abs(averaged.radiance - truth).max(axis=2)[flat]
    assert np.median(wrong) < 1e-3
    assert np.mean(wrong > 0.05) < 0.05


def test_frames_of_other_sizes_are_averaged_as_well():
    """The history moves from a small film to a larger one."""
    truth = reference(0)
    averaged = frames()
    for _ in range(12):
        averaged.draw(view(0), moving(48, 27))
    averaged.draw(view(0), moving())
    plain = frames(reprojects=False)
    plain.draw(view(0), moving())
    assert relative_error(averaged.radiance, truth) < 0.5 * relative_error(plain.radiance, truth)


def test_settling_is_not_noisier_than_moving():
    """The first still samples are averaged with the frames before them, and the final image without."""
    pipeline, alone = frames(), frames()
    for _ in range(12):
        pipeline.draw(view(0), moving())
    truth = reference(0)
    budget = Budget(WIDTH, HEIGHT, seconds=0.0)
    picture = pipeline.draw(view(0), budget)
    alone.draw(view(0), budget)
    assert not picture.is_final
    assert relative_error(pipeline.radiance, truth) < 0.5 * relative_error(alone.radiance, truth)


def test_an_interrupted_frame_keeps_its_samples():
    """It gives no picture, and the next frame continues."""
    pipeline = frames()
    asked = []

    def interrupted():
        asked.append(True)
        return len(asked) > 2

    budget = Budget(WIDTH, HEIGHT, seconds=1e3, most_samples=64, interrupted=interrupted)
    assert pipeline.draw(view(0), budget) is None
    samples = pipeline.renderer.samples
    assert 0 < samples < 64
    assert pipeline.draw(view(0, exposure=1.0), still(64)).samples == 64


def test_layers_are_shown_in_colours():
    """Layers have the view's size, and differ."""
    pipeline = frames()
    seen = [pipeline.draw(view(0, layer=name), still(1)).pixels for name in ("normal", "depth", "shape", "albedo")]
    assert all(pixels.shape == (HEIGHT, WIDTH, 3) and pixels.std() > 5 for pixels in seen)
    assert all((seen[0] != other).any() for other in seen[1:])
    moved = pipeline.draw(view(1, layer="normal"), moving(32, 18))
    assert moved.pixels.shape == (18, 32, 3)
    assert not moved.is_final
    assert pipeline.draw(view(1, layer="normal"), still(1)).pixels.shape == (HEIGHT, WIDTH, 3)


def resident() -> int:
    """Memory of this process [bytes]."""
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the memory of the process from /proc")
def test_memory_is_flat():
    """Over 100 frames of changing sizes, moving and still."""
    pipeline = frames()

    def draw(count):
        for step in range(count):
            pipeline.draw(view(step % 7), moving(40 + step % 5 * 6, 24))
            pipeline.draw(view(step % 7), still(1))

    draw(10)
    before = resident()
    draw(50)
    assert resident() - before < 8e6  # a film and its history take 0.4 MB
