"""A client of the viewer without a browser: it moves a camera and controls, and notes when each picture arrives."""

from __future__ import annotations

import io
import math
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import numpy as np
import PIL.Image
import viser
import zstandard
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from nrc_tracer.live.web.cameras import Pose


class Arrival(NamedTuple):
    """A picture that has arrived.

    Attributes:
        time: When [s].
        kind: `jpeg` while something moves, `png` when still.
        data: The encoded picture.
    """

    time: float
    kind: str
    data: bytes

    def pixels(self) -> np.ndarray:
        """The picture, uint8 [height, width, 3]."""
        return np.asarray(PIL.Image.open(io.BytesIO(self.data)).convert("RGB"))


class PageClient:
    """A page that shows nothing.

    Args:
        url: The link of a viewer, with its token.
        size: Width and height of its window [pixels].
        pose: The pose of its camera, such as `nrc_tracer.live.web.cameras.pose_of` returns.
    """

    def __init__(self, url: str, size: tuple[int, int], pose: Pose) -> None:
        parts = urlsplit(url)
        self._connection = connect(
            f"ws://{parts.netloc}/?{parts.query}",
            subprotocols=[Subprotocol(f"viser-v{viser.__version__}")],
            max_size=None,
            compression=None,
        )
        self._size, self._pose = size, pose
        self.arrivals: list[Arrival] = []
        self.controls: dict[str, dict[str, Any]] = {}  # the properties of each control, by its label
        self._changed = threading.Condition()
        self.turn(0.0)
        threading.Thread(target=self._read, daemon=True).start()

    def turn(self, degrees: float) -> None:
        """Turn the camera about its vertical axis, from where it was at first."""
        position, up = np.array(self._pose.position), np.array(self._pose.up)
        forward = np.array(self._pose.look_at) - position
        angle = math.radians(degrees)
        turned = forward * math.cos(angle) + np.cross(up, forward) * math.sin(angle)
        turned += up * (up @ forward) * (1.0 - math.cos(angle))
        z = turned / np.linalg.norm(turned)
        x = np.cross(z, up)
        x /= np.linalg.norm(x)
        self.send(
            type="ViewerCameraMessage",
            wxyz=_quaternion(np.stack([x, np.cross(z, x), z], axis=1)),
            position=position.tolist(),
            look_at=(position + turned).tolist(),
            up_direction=up.tolist(),
            fov=self._pose.fov,
            near=0.01,
            far=1000.0,
            image_width=self._size[0],
            image_height=self._size[1],
        )

    def choose(self, label: str, value: Any) -> None:
        """Give a control another value."""
        self.send(type="GuiUpdateMessage", uuid=self.controls[label]["uuid"], updates={"value": value})

    def drag(self, name: str, position: Any, phase: str = "Update") -> None:
        """Drag a gizmo to a place; the phases are `DragStart`, `Update` and `DragEnd`."""
        pose = {"wxyz": [1.0, 0.0, 0.0, 0.0], "position": [float(x) for x in position]} if phase == "Update" else {}
        self.send(type=f"TransformControls{phase}Message", name=name, owner="", **pose)

    def send(self, **message: Any) -> None:
        """Send a message."""
        self._connection.send(msgspec.msgpack.encode(message))

    def wait(self, condition: Callable[[PageClient], object], seconds: float) -> bool:
        """Wait until a function of this client is true, which is called after each packet; return whether it was in time."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(condition(self)), seconds)

    def since(self, start: float) -> list[Arrival]:
        """The pictures that have arrived since a time [s]."""
        with self._changed:
            return [arrival for arrival in self.arrivals if arrival.time >= start]

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _read(self) -> None:
        try:
            for raw in self._connection:
                now = time.perf_counter()
                assert isinstance(raw, bytes)
                size = int.from_bytes(raw[8:16], "little")
                messages = msgspec.msgpack.decode(zstandard.decompress(raw[16 : 16 + size]))["messages"]
                with self._changed:
                    for message in messages:
                        if message["type"] == "BackgroundImageMessage":
                            self.arrivals.append(Arrival(now, message["format"], message["rgb_data"]))
                        elif "props" in message and "uuid" in message and "label" in message["props"]:
                            self.controls[message["props"]["label"]] = {**message, **message["props"]}
                        elif message["type"] == "TransformControlsMessage":
                            self.controls[message["name"]] = message
                    self._changed.notify_all()
        except ConnectionClosed:
            pass


def _quaternion(matrix: np.ndarray) -> list[float]:
    """The unit quaternion (w, x, y, z) of a rotation, [3, 3]."""
    # The eigenvector of the largest eigenvalue (Bar-Itzhack, 2000)
    m = matrix
    k = np.array(
        [
            [m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1]],
        ]
    )
    values, vectors = np.linalg.eigh(k)
    return [float(x) for x in vectors[:, int(np.argmax(values))]]
