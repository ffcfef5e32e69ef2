"""A session: one world, one drawing thread, and clients that look at the world.

The session is a state machine that draws one frame at a time:

* `MOVING`: a client's view has just changed. Its frames are small enough for the frame rate.
* `SETTLING`: all views rest, and a client has seen few samples at full size.
* `STILL`: frames accumulate until all clients have what they may have.
* `TRAINING`: the world is a task in training, and nobody's view moves. Drawing takes a small fraction of the time.

A frame at full size is interrupted when a view moves. A moving frame is not: it is short, and a client that moves without pause
would never see one. Each client has at most one picture under way: the next is drawn after `acknowledge`.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

from nrc_tracer.errors import NrcError, one_line
from nrc_tracer.live.listener import Listener
from nrc_tracer.live.picture import Picture
from nrc_tracer.live.resolution import LEAST_PIXELS, MovingSize
from nrc_tracer.live.turns import Client, Shares, Task
from nrc_tracer.live.view import View
from nrc_tracer.live.world import Budget, Edit, World

Result = TypeVar("Result")

REST_SECONDS = 0.15
"""Time without a change after which a camera counts as still [s]."""

SETTLING_SAMPLES = 8
"""Samples per pixel from which on a client counts as still instead of settling."""

LONGEST_FRAME = 1.0
"""Longest time that a frame aims at once it has accumulated for longer than that [s]."""

MOVING_SHARE, RESTING_SHARE = 0.5, 0.1
"""Fractions of a training world's time spent on drawing, while a view moves and while all rest."""

MOST_EDITS = 256
"""Largest number of edits, of different targets, that wait for the next frame."""

FAILURE_SECONDS = 1.0
"""Time for which a session rests after an error that neither a frame, an edit nor a call accounts for [s]."""

_log = logging.getLogger(__name__)


class State(str, enum.Enum):
    """What a session is doing."""

    IDLE = "idle"  # nobody looks, and nothing trains
    MOVING = "moving"
    SETTLING = "settling"
    STILL = "still"
    TRAINING = "training"

    def __str__(self) -> str:
        return self.value


class Session:
    """Draws a world for clients.

    `look`, `restart`, `forget`, `acknowledge`, `edit`, `ask`, `state` and `close` may be called from any thread. `step` draws, on
    the thread that `start` begins, or on the caller's thread in tests.

    Args:
        world: What is drawn. Only the session's thread uses it.
        listener: Receives pictures and messages.
        frames_per_second: Goal while a camera moves [1/s].
        samples: Samples per pixel after which a still picture is complete; None for ever.
        least_pixels: Fewest pixels of a moving frame, unless the view itself has fewer.
        now: The clock [s].
    """

    def __init__(
        self,
        world: World,
        listener: Listener,
        *,
        frames_per_second: float = 20.0,
        samples: int | None = None,
        least_pixels: int = LEAST_PIXELS,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._world, self._listener, self._now = world, listener, now
        self._frame_seconds, self._most_samples = 1.0 / frames_per_second, samples
        self._least_pixels = least_pixels
        self._changed = threading.Condition()  # guards what follows
        self._clients: dict[str, Client] = {}
        self._gone: list[str] = []
        self._edits: dict[Hashable, tuple[Edit, Callable[[], None] | None]] = {}
        self._tasks: list[Task] = []
        self._is_closed = self._has_news = self._is_interrupted = self._is_training = False

        self._shares = Shares()
        self._turn = self._number = 0
        self._training_failed = False
        self._thread: threading.Thread | None = None

    # What any thread may call

    def look(self, client: str, view: View) -> None:
        """Let a client appear, or change its view. A change of the camera, the size or the mode counts as a move."""
        with self._changed:
            known = self._clients.get(client)
            if known is None:
                # The first picture is drawn as if the client had moved: it appears soon
                size = MovingSize(self._frame_seconds, self._least_pixels)
                self._clients[client] = Client(view, size, self._now())
                self._notify(interrupts=True)
            elif view != known.view:
                moves = view.moves_from(known.view)
                known.view = view
                known.begin(self._now() if moves else known.changed)
                self._notify(interrupts=moves)

    def restart(self, client: str) -> None:
        """Drop what has accumulated for a client and begin its picture again. Unknown clients are ignored."""
        with self._changed:
            known = self._clients.get(client)
            if known is not None:
                self._gone.append(client)
                known.begin(self._now())
                self._notify(interrupts=True)

    def forget(self, client: str) -> None:
        """Forget a client, who has gone, and release what is kept for it."""
        with self._changed:
            if self._clients.pop(client, None) is not None:
                self._gone.append(client)
                self._notify(interrupts=True)

    def acknowledge(self, client: str, number: int) -> None:
        """Take note that a client has received a picture. Unknown clients and old numbers are ignored."""
        with self._changed:
            known = self._clients.get(client)
            if known is not None and known.under_way == number:
                known.under_way = None
                self._notify()

    def edit(self, edit: Edit, failed: Callable[[], None] | None = None) -> None:
        """Change the world before the next frame. An earlier edit of the same target that still waits is dropped.

        Args:
            edit: The change.
            failed: Called on the session's thread if the world refuses the change; must return soon.

        Raises:
            NrcError: Too many edits wait.
        """
        with self._changed:
            if edit.target not in self._edits and len(self._edits) >= MOST_EDITS:
                raise NrcError(f"{MOST_EDITS} edits wait for the next frame already; send fewer at a time")
            self._edits[edit.target] = edit, failed
            self._notify(interrupts=True)

    def ask(self, function: Callable[[World], Result], *, redraws: bool = True) -> Future[Result]:
        """Call a function with the world between two frames, on the session's thread.

        Args:
            function: The function.
            redraws: Whether pictures that are complete are drawn again, as the function may have changed the world.

        Returns:
            The future of its result. It is cancelled if the session is closed first.
        """
        future: Future[Result] = Future()
        with self._changed:
            if self._is_closed:
                future.cancel()
            else:
                self._tasks.append(Task(function, future, redraws))
                self._notify()
        return future

    @property
    def state(self) -> State:
        """What the session is doing."""
        with self._changed:
            clients = list(self._clients.values())
            if any(self._moves(client) for client in clients):
                return State.MOVING
            if self._is_training:
                return State.TRAINING
            if not clients:
                return State.IDLE
            settling = any(client.samples < SETTLING_SAMPLES and not client.is_complete for client in clients)
            return State.SETTLING if settling else State.STILL

    def start(self) -> None:
        """Begin to draw, on a thread of its own."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="nrc-session", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop drawing after the current pass, and cancel what waits. May be called again."""
        with self._changed:
            self._is_closed = True
            tasks, self._tasks = self._tasks, []
            self._edits.clear()
            self._notify(interrupts=True)
        for task in tasks:
            task.future.cancel()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Session:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _notify(self, *, interrupts: bool = False) -> None:
        """Wake the session's thread. The lock is held."""
        self._has_news = True
        self._is_interrupted |= interrupts
        self._changed.notify_all()

    def _moves(self, client: Client) -> bool:
        return self._now() - client.changed < REST_SECONDS

    # What the session's thread does

    def _run(self) -> None:
        while not self._is_closed:
            try:
                has_worked = self.step()
            except Exception as error:  # without this the thread would end, and all pages would wait for ever
                self._fail("", one_line(error))
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed, FAILURE_SECONDS)
                continue
            if not has_worked:
                with self._changed:
                    self._changed.wait_for(lambda: self._has_news or self._is_closed)

    def _fail(self, client: str, message: str) -> None:
        """Tell the listener about an error. An error of the listener itself is logged."""
        try:
            self._listener.fail(client, message)
        except Exception as error:
            _log.warning('the message "%s" could not be shown: %s', message, one_line(error))

    def _show(self, name: str, client: Client, number: int, picture: Picture) -> None:
        """Give the listener a picture. If it raises, the client gets no more pictures until its next change."""
        try:
            self._listener.show(name, number, picture)
        except Exception as error:
            with self._changed:
                client.under_way, client.is_complete = None, True
            self._fail(name, f"a picture could not be shown: {one_line(error)}")

    def step(self) -> bool:
        """Make the waiting edits and calls, then draw one frame or train for the time of one; return whether there was work."""
        has_served = self._serve()
        client, name = self._next_client()
        if self._is_training and (client is None or self._shares.training_is_due(self._drawing_share())):
            self._train()
            return True
        if client is None:
            return has_served
        self._draw(name, client)
        return True

    def _serve(self) -> bool:
        """Forget clients that have gone, and make the edits and calls that wait; return whether there were any."""
        with self._changed:
            self._has_news = self._is_interrupted = False
            gone, self._gone = self._gone, []
            edits, self._edits = self._edits, {}
            tasks, self._tasks = self._tasks, []
        for name in gone:
            self._world.forget(name)
        for edit, failed in edits.values():
            try:
                self._world.edit(edit)
            except Exception as error:
                if failed is not None:
                    failed()
                self._fail("", one_line(error))
        for task in tasks:
            task.run(self._world)
        if edits or any(task.redraws for task in tasks):
            self._training_failed = False
            with self._changed:
                for client in self._clients.values():
                    # After an edit the picture follows as it follows a camera
                    client.begin(self._now() if edits else client.changed)
        self._is_training = self._world.is_training and not self._training_failed
        return bool(gone or edits or tasks)

    def _next_client(self) -> tuple[Client | None, str]:
        """The client that has waited longest among those who may have a frame, and its name."""
        with self._changed:
            waiting = [
                (client.turn, name)
                for name, client in self._clients.items()
                if client.under_way is None and not client.is_complete
            ]
            if not waiting:
                return None, ""
            _, name = min(waiting)
            return self._clients[name], name

    def _drawing_share(self) -> float:
        with self._changed:
            moving = any(self._moves(client) for client in self._clients.values())
        return MOVING_SHARE if moving else RESTING_SHARE

    def _train(self) -> None:
        start = self._now()
        try:
            self._world.advance(self._frame_seconds)
        except Exception as error:
            self._training_failed = True  # until the next edit or call: it would only fail again
            self._fail("", f"training has stopped: {one_line(error)}")
        self._shares.training += self._now() - start
        with self._changed:
            for client in self._clients.values():
                client.is_complete = False

    def _draw(self, name: str, client: Client) -> None:
        with self._changed:
            client.turn = self._turn = self._turn + 1
            view, start, generation = client.view, self._now(), client.generation
            moving = self._moves(client)
            budget = self._budget(name, client, moving, start)
        picture = message = None
        try:
            picture = self._world.draw(name, view, budget)
        except Exception as error:
            message = one_line(error)
        seconds = self._now() - start
        self._shares.drawing += seconds

        with self._changed:
            if self._clients.get(name) is not client:  # gone meanwhile
                return
            if moving and picture is not None:
                client.size.measured(budget.width, budget.height, seconds)
            is_current = client.generation == generation  # or its picture has begun anew during the frame
            if message is not None and is_current:
                client.is_complete = True  # until the next change: it would only fail again
            outdated = client.view.moves_from(view) and not moving
            if picture is not None and is_current and not moving:
                client.samples = picture.samples
                enough = self._most_samples is not None and picture.samples >= self._most_samples
                client.is_complete = picture.is_complete or enough
            is_shown = picture is not None and not outdated and picture is not client.shown
            if is_shown:
                client.under_way = self._number = self._number + 1
                if is_current:
                    client.shown = picture
            number = self._number
        if message is not None:
            self._fail(name, message)
        elif picture is not None and is_shown:
            self._show(name, client, number, picture)

    def _budget(self, name: str, client: Client, moving: bool, start: float) -> Budget:
        view = client.view
        if moving:
            return Budget(
                *client.size.size(view.width, view.height),
                is_moving=True,
                seconds=self._frame_seconds,
                most_samples=self._most_samples,
                interrupted=lambda: self._is_closed or self._clients.get(name) is not client,
            )
        if client.rested is None:
            client.rested = start
        seconds = self._frame_seconds
        if len(self._clients) == 1 and not self._is_training:
            # Pictures that have accumulated for long change little: fewer of them leave more time for samples
            seconds = min(max(seconds, 0.25 * (start - client.rested)), LONGEST_FRAME)
        return Budget(
            view.width,
            view.height,
            seconds=seconds,
            most_samples=self._most_samples,
            interrupted=lambda: self._is_interrupted,
        )
