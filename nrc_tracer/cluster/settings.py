"""Which cluster to work on, and what its nodes have in common with the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypedDict

from nrc_tracer.tracer import Renderer


class NodeSettings(TypedDict):
    """Settings of all nodes: arguments of `RayNodes`."""

    device: str | None
    accel: str | None
    threads: int | None
    fingerprint: Mapping[str, str] | None


@dataclass(frozen=True)
class Cluster:
    """Which cluster to work on, and how.

    Attributes:
        address: `auto`, or an address of a Ray cluster, as `connected` takes it.
        device: `cpu` or `cuda`, or None for a GPU where a node has one. The number in `cuda:1` is ignored: Ray gives each node
            a GPU.
        threads: Threads on a node's CPU; None for as many as Ray counts CPUs there.
        mixed: Whether nodes that give samples with other bits may take part.
    """

    address: str
    device: str | None = None
    threads: int | None = None
    mixed: bool = False

    def node_settings(self, renderer: Renderer, fingerprint: Callable[[], Mapping[str, str]]) -> NodeSettings:
        """The settings of nodes for the image of a renderer; `fingerprint` computes that of the driver, if it is needed.

        Nodes have the driver's device and what intersects triangles there. Nodes that may give other bits choose for themselves.
        """
        if self.mixed:
            return {
                "device": self.device and _kind(self.device),
                "accel": None,
                "threads": self.threads,
                "fingerprint": None,
            }
        return {
            "device": _kind(renderer.device),
            "accel": renderer.accel.value,
            "threads": self.threads,
            "fingerprint": fingerprint(),
        }


def _kind(device: str) -> str:
    """A device's name without its number."""
    return device.partition(":")[0]
