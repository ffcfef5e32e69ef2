"""Sending pictures: one under way, the newest one next, two views beside each other."""

import io

import numpy as np
import PIL.Image
import pytest

from nrc_tracer.live.picture import Picture, Statistic
from nrc_tracer.live.view import View
from nrc_tracer.live.web.choices import film_size
from nrc_tracer.live.web.notices import Notices
from nrc_tracer.live.web.plots import MOST_POINTS, History
from nrc_tracer.live.web.sending import DIVIDER_COLOR, Sender, divided, encoded
from nrc_tracer.live.web.statistics import FrameRate, statistics_html
from nrc_tracer.scene.model import Perspective

VIEW = View(Perspective(), 64, 36)


class AtOnce:
    """An executor that runs its work when it is told."""

    def __init__(self):
        self.waiting = []

    def submit(self, function):
        self.waiting.append(function)

    def run(self):
        while self.waiting:
            self.waiting.pop(0)()


class Receiver:
    """A sender, and what it sends and acknowledges."""

    def __init__(self):
        self.frames, self.acknowledged, self.failed = [], [], []
        self.executor = AtOnce()
        self.sender = Sender(
            self.frames.append,
            lambda view, number: self.acknowledged.append((view, number)),
            self.executor,
            lambda picture, ms: None,
            self.failed.append,
        )

    def take(self, number, level, *, view="a", is_final=False):
        pixels = np.full((36, 64, 3), level, np.uint8)
        self.sender.take(view, number, Picture(pixels, VIEW, is_final=is_final), is_main=view == "a")
        self.executor.run()

    def arrive(self):
        self.frames[-1].arrived()
        self.executor.run()


def _pixels(frame):
    return np.asarray(PIL.Image.open(io.BytesIO(frame.rgb_data)))


def test_a_picture_is_sent_and_acknowledged_when_it_has_arrived():
    receiver = Receiver()
    receiver.take(1, 100)
    assert len(receiver.frames) == 1
    assert receiver.acknowledged == []
    receiver.arrive()
    assert receiver.acknowledged == [("a", 1)]
    assert len(receiver.frames) == 1


def test_only_the_newest_picture_follows_the_one_under_way():
    receiver = Receiver()
    for number, level in ((1, 10), (2, 20), (3, 30)):
        receiver.take(number, level)
    assert len(receiver.frames) == 1
    receiver.arrive()
    assert len(receiver.frames) == 2
    assert abs(int(_pixels(receiver.frames[1]).mean()) - 30) <= 2
    receiver.arrive()
    assert receiver.acknowledged == [("a", 1), ("a", 2), ("a", 3)]


def test_final_pictures_lose_nothing():
    receiver = Receiver()
    receiver.take(1, 99)
    receiver.arrive()
    receiver.take(2, 99, is_final=True)
    assert [frame.format for frame in receiver.frames] == ["jpeg", "png"]
    assert np.array_equal(_pixels(receiver.frames[1]), np.full((36, 64, 3), 99))


def test_the_other_view_is_right_of_the_divider_until_it_is_dropped():
    receiver = Receiver()
    receiver.take(1, 0, is_final=True)
    receiver.arrive()
    receiver.take(2, 200, view="b", is_final=True)
    receiver.arrive()
    shown = _pixels(receiver.frames[-1])
    assert np.all(shown[:, :31] == 0)
    assert np.all(shown[:, 33:] == 200)
    receiver.sender.divide(0.25)
    receiver.executor.run()
    receiver.arrive()
    assert np.all(_pixels(receiver.frames[-1])[:, 17:] == 200)
    receiver.sender.drop_other()
    receiver.executor.run()
    assert np.all(_pixels(receiver.frames[-1]) == 0)


def test_a_kept_picture_stays_beside_later_ones():
    receiver = Receiver()
    assert not receiver.sender.keep()
    receiver.take(1, 100, is_final=True)
    receiver.arrive()
    assert receiver.sender.keep()
    receiver.take(2, 200, is_final=True)
    receiver.arrive()
    receiver.sender.show_kept()
    receiver.executor.run()
    assert receiver.frames[-1].format == "png"
    pixels = _pixels(receiver.frames[-1])
    assert pixels[5, 5, 0] == 200
    assert pixels[5, 60, 0] == 100


def test_errors_are_not_repeated_and_not_many():
    clock = [0.0]
    notices = Notices(lambda: clock[0])
    assert notices.is_due("a")
    assert not notices.is_due("a")
    assert [notices.is_due(str(number)) for number in range(4)] == [True, True, False, False]
    clock[0] += 11.0
    assert notices.is_due("a")


def test_plots_keep_a_bounded_number_of_points_over_all_the_time():
    history = History()
    for second in range(5000):
        history.add(float(second), 2.0 * second)
    times, values = history.arrays()
    assert 200 <= len(times) <= MOST_POINTS
    assert times[0] < 20
    assert times[-1] > 4900
    np.testing.assert_array_equal(values, 2.0 * times)
    assert np.diff(times).max() < 50


def test_an_error_of_encoding_is_told_and_the_next_picture_is_sent():
    receiver = Receiver()
    receiver.sender.take("a", 1, Picture(np.zeros((2, 2, 7), np.uint8), VIEW), is_main=True)
    receiver.executor.run()
    assert len(receiver.failed) == 1
    assert receiver.acknowledged == [("a", 1)]
    receiver.take(2, 50)
    assert len(receiver.frames) == 1


def test_pictures_of_different_sizes_are_divided():
    pixels = divided(np.zeros((18, 32, 3), np.uint8), np.full((36, 64, 3), 255, np.uint8), 0.5)
    assert pixels.shape == (36, 64, 3)
    assert np.all(pixels[:, :31] == 0)
    assert np.all(pixels[:, 31:33] == DIVIDER_COLOR)
    assert np.array_equal(divided(pixels, pixels, 1.0), pixels)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_pictures_are_encoded(kind):
    pixels = np.arange(36 * 64 * 3, dtype=np.uint32).reshape(36, 64, 3).astype(np.float64)
    pixels = (pixels / pixels.max() * 255).astype(np.uint8)
    decoded = np.asarray(PIL.Image.open(io.BytesIO(encoded(pixels, kind))))
    assert np.abs(decoded.astype(int) - pixels).max() <= (0 if kind == "png" else 8)


def test_numbers_have_units():
    statistics = {
        "noise": Statistic(3.14159, "%"),
        "samples": Statistic(1024.0, "per pixel"),
        "bias": Statistic(None, "%"),
    }
    picture = Picture(np.zeros((36, 64, 3), np.uint8), VIEW, statistics=statistics, stage_times={"trace <1>": 12.34})
    page = statistics_html(picture, 19.96, 1.0)
    for text in (
        "64 × 36 pixels",
        "20.0 per second",
        "1,024 per pixel",
        "3.14 %",
        "not known yet",
        "12.3 ms",
        "1.0 ms",
    ):
        assert text in page
    assert "trace &lt;1&gt;" in page


def test_frames_are_counted_per_second():
    clock = [0.0]
    rate = FrameRate(lambda: clock[0])
    assert rate.per_second() == 0.0
    for _ in range(100):
        clock[0] += 0.1
        rate.count()
    assert abs(rate.per_second() - 10.0) < 0.01
    clock[0] += 10.0
    assert rate.per_second() == 0.0


def test_films_have_the_shape_of_the_window():
    assert film_size((1280, 720), 0.5, 10**7) == (640, 360)
    assert film_size((1280, 720), 1.0, 320 * 180) == (320, 180)
    assert film_size((1, 0), 0.25, 100) == (1, 1)
