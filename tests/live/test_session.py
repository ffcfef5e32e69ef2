"""The state machine of a session, with a fake clock, a fake world and fake clients."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError

import pytest

from nrc_tracer.errors import NrcError
from nrc_tracer.live.resolution import MovingSize
from nrc_tracer.live.session import MOST_EDITS, REST_SECONDS, Session, State
from tests.live.stand_ins import Clock, FakeEdit, FakeWorld, Screen, make_session, view


def rest(session, clock):
    """Let all cameras come to rest."""
    clock.wait(2 * REST_SECONDS)


def test_states_follow_the_camera():
    """A new client moves, settles at full size, is still, and is complete after the requested samples."""
    session, world, screen, clock = make_session(samples=12)
    assert session.state is State.IDLE
    session.look("a", view())
    assert session.state is State.MOVING
    assert session.step()
    assert world.drawn[-1][2].is_moving
    rest(session, clock)
    assert session.state is State.SETTLING
    for _ in range(8):
        assert session.step()
    assert session.state is State.STILL
    budget = world.drawn[-1][2]
    assert (budget.width, budget.height, budget.is_moving) == (640, 360, False)
    for _ in range(4):
        assert session.step()
    assert screen.pictures[-1][2].samples == 12
    assert not session.step()
    session.look("a", view(fov=50.0))
    assert session.state is State.MOVING
    assert session.step()


def test_a_change_of_exposure_is_drawn_but_is_no_move():
    """The samples so far are kept."""
    session, world, _screen, clock = make_session(samples=1)
    session.look("a", view())
    session.step()
    rest(session, clock)
    session.step()
    assert not session.step()
    session.look("a", view(exposure=1.0))
    assert session.state is not State.MOVING
    assert session.step()
    assert world.drawn[-1][1].exposure == 1.0
    assert not world.drawn[-1][2].is_moving


def test_moving_frames_hold_the_frame_rate():
    """Sizes follow the measured times: never below the least, at most the view's, and stable under constant times."""
    session, world, _, _clock = make_session(frames_per_second=20.0, least_pixels=3000)
    session.look("a", view(width=1280, height=720))

    def sizes(count):
        found = []
        for step in range(count):
            session.look("a", view(fov=30.0 + step, width=1280, height=720))
            session.step()
            found.append(world.drawn[-1][2].width * world.drawn[-1][2].height)
        return found

    found = sizes(20)
    assert found[0] < 2 * 3000  # begins fast
    assert len(set(found[10:])) == 1
    assert 0.4 * 0.05 < found[-1] * world.seconds_per_pixel <= 0.05
    world.seconds_per_pixel *= 10
    found = sizes(20)
    assert found[-1] * world.seconds_per_pixel <= 0.05
    world.seconds_per_pixel *= 100
    assert 3000 <= sizes(20)[-1] < 5000
    world.seconds_per_pixel *= 1e-6
    assert sizes(40)[-1] == 1280 * 720


def test_a_view_below_the_least_size_is_not_reduced():
    """The least size is no reason to draw more than the view."""
    assert MovingSize(0.05).size(64, 36) == (64, 36)


def test_a_slow_client_gets_fewer_frames_and_no_queue():
    """Nothing is drawn for a client whose last picture is under way, and others are drawn meanwhile."""
    session, _world, screen, _ = make_session()
    screen.slow.add("slow")
    session.look("slow", view())
    session.look("fast", view())
    for number in range(10):
        session.look("slow", view(fov=60.0 + number))
        session.look("fast", view(fov=60.0 + number))
        session.step()
    shown = [client for client, _, _ in screen.pictures]
    assert shown.count("slow") == 1
    assert shown.count("fast") == 9
    number = next(number for client, number, _ in screen.pictures if client == "slow")
    session.acknowledge("slow", number + 1000)
    session.acknowledge("nobody", number)
    session.step()
    assert [client for client, _, _ in screen.pictures].count("slow") == 1
    session.acknowledge("slow", number)
    session.step()
    session.step()
    slow = [picture for client, _, picture in screen.pictures if client == "slow"]
    assert len(slow) == 2
    assert slow[-1].view.camera.fov == 69.0  # the newest view, not those in between


def test_clients_take_turns():
    """A client that moves does not starve one that is still."""
    session, world, _, clock = make_session()
    session.look("still", view())
    rest(session, clock)
    session.look("moving", view())
    for step in range(12):
        session.look("moving", view(fov=50.0 + step))
        session.step()
    drawn = [client for client, _, _ in world.drawn]
    assert drawn.count("still") == drawn.count("moving") == 6


def test_a_move_interrupts_a_still_frame_and_not_a_moving_one():
    """An interrupted frame is not shown, and the next frame shows the new view."""
    session, world, screen, clock = make_session()
    session.look("a", view())
    world.during = lambda: session.look("a", view(fov=50.0))
    session.step()
    assert len(screen.pictures) == 1  # a moving frame
    rest(session, clock)
    world.during = lambda: session.look("a", view(fov=60.0))
    session.step()
    assert not world.drawn[-1][2].is_moving
    assert len(screen.pictures) == 1
    world.during = None
    session.step()
    assert screen.pictures[-1][2].view == view(fov=60.0)


def test_a_client_that_goes_in_the_middle_of_a_frame_is_forgotten():
    """Its picture is not shown, and the world releases what it keeps for it."""
    session, world, screen, _ = make_session()
    session.look("a", view())
    world.during = lambda: session.forget("a")
    session.step()
    session.step()
    assert screen.pictures == []
    assert world.forgotten == ["a"]
    assert not session.step()
    assert session.state is State.IDLE
    session.forget("a")
    assert not session.step()


def test_errors_become_messages():
    """A frame that fails is not repeated until something changes, and the session continues."""
    session, world, screen, _ = make_session()
    session.look("a", view())
    world.error = ValueError("out of\nink")
    session.step()
    assert screen.messages == [("a", "out of ink")]
    assert not session.step()
    world.error = None
    session.look("a", view(fov=50.0))
    session.step()
    assert len(screen.pictures) == 1
    session.edit(FakeEdit("lamp", "bad"))
    session.step()
    assert screen.messages[-1] == ("", "a bad edit")


def test_a_listener_that_raises_ends_nothing(caplog):
    """Its client gets no more pictures until its next change, and the others go on."""
    session, _world, screen, _ = make_session()
    shown = screen.show

    def show(client, number, picture):
        if client == "a":
            raise RuntimeError("no screen")
        shown(client, number, picture)

    screen.show = show
    session.look("a", view())
    session.step()
    assert screen.messages == [("a", "a picture could not be shown: no screen")]
    assert not session.step()
    session.look("b", view())
    session.step()
    assert [client for client, _, _ in screen.pictures] == ["b"]
    screen.show = shown
    session.look("a", view(fov=50.0))
    session.step()
    assert [client for client, _, _ in screen.pictures] == ["b", "a"]

    screen.fail = show  # of another number of arguments
    session.edit(FakeEdit("lamp", "bad"))
    session.step()
    assert "a bad edit" in caplog.text


def test_the_thread_survives_what_nothing_accounts_for():
    """An error of the world beside a frame becomes a message, and pictures follow."""
    world, screen = FakeWorld(Clock()), Screen()
    errors = [RuntimeError("lost")]

    def forget(client):
        if errors:
            raise errors.pop()

    world.forget = forget
    with Session(world, screen, samples=3) as session:
        screen.session = session
        session.look("gone", view())
        session.forget("gone")
        session.look("a", view())
        deadline = time.monotonic() + 60.0
        while not (screen.messages and screen.pictures):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert screen.messages[0] == ("", "lost")


def test_a_client_that_starts_anew_begins_fast():
    """What it has is released, and its first frame is a moving one."""
    session, world, _, clock = make_session()
    session.look("a", view())
    rest(session, clock)
    session.step()
    clock.wait(100.0)
    session.step()
    assert world.drawn[-1][2].seconds > 0.5  # after a long rest
    session.restart("a")
    session.restart("nobody")
    session.step()
    assert world.forgotten == ["a"]
    assert world.drawn[-1][2].is_moving
    clock.wait(1.0)
    session.step()
    assert world.drawn[-1][2].seconds < 0.1


def test_who_made_an_edit_is_told_that_it_failed():
    """Only of the edit that was made, not of one that it has replaced."""
    session, world, _, _ = make_session()
    told = []
    session.edit(FakeEdit("lamp", "bad"), lambda: told.append("first"))
    session.edit(FakeEdit("lamp", "bad"), lambda: told.append("second"))
    session.edit(FakeEdit("wall", "good"), lambda: told.append("third"))
    session.step()
    assert told == ["second"]
    assert [edit.value for edit in world.edits] == ["good"]


def test_a_call_that_changes_nothing_draws_nothing():
    """Pictures that are complete stay so."""
    session, world, _, clock = make_session(samples=1)
    session.look("a", view())
    rest(session, clock)
    session.step()
    drawn = len(world.drawn)
    future = session.ask(lambda world: 7, redraws=False)
    session.step()
    assert future.result(timeout=0) == 7
    assert len(world.drawn) == drawn
    session.ask(lambda world: 7)
    session.step()
    session.step()
    assert len(world.drawn) == drawn + 1


def test_edits_are_made_before_the_next_frame():
    """Edits of one target replace each other, and the picture follows them as it follows a camera."""
    session, world, _, clock = make_session(samples=1)
    session.look("a", view())
    session.step()
    rest(session, clock)
    session.step()
    assert not session.step()
    for value in range(5):
        session.edit(FakeEdit("lamp", value))
    session.edit(FakeEdit("table", 7))
    assert session.step()
    assert [(edit.target, edit.value) for edit in world.edits] == [("lamp", 4), ("table", 7)]
    assert session.state is State.MOVING
    for number in range(MOST_EDITS):
        session.edit(FakeEdit(f"chair {number}"))
    with pytest.raises(NrcError, match="fewer at a time"):
        session.edit(FakeEdit("one too many"))


def test_training_and_drawing_share_the_time():
    """Drawing takes a tenth of the time while the camera is still, and half while it moves."""
    session, world, _, clock = make_session(frames_per_second=20.0)
    world.trains = True
    session.look("a", view())
    rest(session, clock)
    session.step()
    start, before = clock.time, world.trained
    while clock.time < start + 60.0:
        session.step()
    assert session.state is State.TRAINING
    assert (world.trained - before) / 60.0 == pytest.approx(0.9, abs=0.03)
    start, before, fov = clock.time, world.trained, 20.0
    while clock.time < start + 60.0:
        fov += 0.01
        session.look("a", view(fov=fov))
        session.step()
    assert (world.trained - before) / 60.0 == pytest.approx(0.5, abs=0.05)


def test_training_goes_on_without_clients_and_ends_after_an_error():
    """An error of training is told once."""
    session, world, screen, _ = make_session()
    world.trains = True
    assert session.step()
    assert session.step()
    assert world.trained > 0.0

    def fail(_):
        raise NrcError("no more data")

    world.advance = fail
    session.step()
    assert not session.step()
    assert screen.messages == [("", "training has stopped: no more data")]


def test_asking_runs_a_function_with_the_world():
    """Its result, its exception or its cancellation arrives in the future, also from a session's own thread."""
    session, world, screen, _ = make_session()
    future = session.ask(lambda world: world.trains)
    failing = session.ask(lambda world: 1 / 0)
    assert session.step()
    assert future.result(timeout=0) is False
    with pytest.raises(ZeroDivisionError):
        failing.result(timeout=0)
    waiting = session.ask(lambda world: 1)
    session.close()
    with pytest.raises(CancelledError):
        waiting.result(timeout=0)
    with pytest.raises(CancelledError):
        session.ask(lambda world: 1).result(timeout=0)

    with Session(world, screen) as running:
        assert running.ask(lambda world: threading.current_thread().name).result(timeout=60) == "nrc-session"
    assert "nrc-session" not in [thread.name for thread in threading.enumerate()]


def test_a_session_draws_on_its_own_thread():
    """It wakes up for a client, draws until the picture is complete, and ends when it is closed."""
    _, world, screen, _ = make_session()
    done = threading.Event()

    def show(client, number, picture):
        screen.session.acknowledge(client, number)
        if picture.samples >= 3:
            done.set()

    screen.show = show
    with Session(world, screen, samples=3) as running:
        screen.session = running
        running.look("a", view())
        assert done.wait(timeout=60)


def test_a_start_anew_during_the_last_frame_is_not_lost():
    """The picture begins again, although the frame that was under way was complete or failed."""
    for error in (None, NrcError("no film")):
        session, world, _screen, clock = make_session(samples=1)
        session.look("a", view())
        session.step()
        rest(session, clock)
        world.error, world.during = error, lambda session=session: session.restart("a")
        assert session.step()
        world.error = world.during = None
        rest(session, clock)
        assert session.step()
        assert world.forgotten == ["a"]
        assert not world.drawn[-1][2].is_moving
        assert not session.step()
