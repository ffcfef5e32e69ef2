"""What receives the pictures of a session."""

from __future__ import annotations

from typing import Protocol

from nrc_tracer.live.picture import Picture


class Listener(Protocol):
    """Receives pictures. Its methods are called on the session's thread and must return soon."""

    def show(self, client: str, number: int, picture: Picture) -> None:
        """Take a picture for a client, who gets the next after `Session.acknowledge(client, number)`."""

    def fail(self, client: str, message: str) -> None:
        """Take the message of an error that occurred while drawing for a client, or while making an edit (client `""`)."""
