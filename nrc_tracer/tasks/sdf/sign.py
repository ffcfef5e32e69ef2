"""Choosing how inside is told from outside, by what the mesh is like and by where the methods disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import ConfigError, DataError, nearest
from nrc_tracer.tasks.sdf.distance import MeshDistance, SignMethod
from nrc_tracer.tasks.sdf.mesh import SurfaceMesh
from nrc_tracer.tasks.sdf.samples import SurfaceSampler, key
from nrc_tracer.tasks.sdf.soundness import Soundness, check_soundness, edge_table

SAMPLES = 4096
"""Points at which the methods are compared: half of them in the mesh' bounding box, half at most `BAND` beside the surface."""
BAND = 0.01
TOLERANCE = 2e-3
"""Share of the points at which methods may disagree by rounding."""
METHODS = {"normal": SignMethod.NORMAL, "parity": SignMethod.PARITY, "winding": SignMethod.WINDING}
WORDS = {
    SignMethod.NORMAL: "pseudonormal at the nearest point",
    SignMethod.PARITY: "parity of the crossings of rays",
    SignMethod.WINDING: "winding number",
}


@dataclass(frozen=True)
class SignChoice:
    """How the sign is found, and why.

    Attributes:
        method: The method.
        reason: What decided, in few words.
        soundness: What the mesh is like, as it was in the file.
        turned_over: Whether the mesh was inside out and its triangles were turned over.
        disagreement: Share of a sample of points at which two methods do not agree, by `normal/parity` and so on.
        wound_backwards: Share of the points around which the mesh winds in the wrong sense.
        inside: Share of the points that are inside by the method.
    """

    method: SignMethod
    reason: str
    soundness: Soundness
    turned_over: bool
    disagreement: dict[str, float]
    wound_backwards: float
    inside: float

    def words(self) -> str:
        """One line for people."""
        shares = ", ".join(f"{names} {share:.2%}" for names, share in self.disagreement.items())
        turned = "; it was inside out and has been turned over" if self.turned_over else ""
        return f"sign: {WORDS[self.method]} ({self.reason}{turned}); methods disagree at {shares}"

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "method": self.method.name.lower(),
            "reason": self.reason,
            "turned_over": self.turned_over,
            "disagreement": self.disagreement,
            "wound_backwards": self.wound_backwards,
            "closed": self.soundness.closed,
            "boundary_edges": self.soundness.boundary_edges,
            "non_manifold_edges": self.soundness.non_manifold_edges,
            "inconsistent_edges": self.soundness.inconsistent_edges,
            "degenerate_triangles": self.soundness.degenerate,
        }


def choose_sign(
    mesh: SurfaceMesh, launcher: TorchLauncher, *, wanted: str = "auto"
) -> tuple[MeshDistance, SurfaceSampler, SignChoice]:
    """The distance to a mesh, a sampler of its points, and the method to tell inside from outside.

    Args:
        mesh: The mesh; where all of it faces inwards, it is turned over.
        launcher: Runs the queries.
        wanted: `normal`, `parity` or `winding`, or `auto`: watertight and consistently oriented meshes get the pseudonormal,
            closed ones that are not consistent get parity, those with holes or crossing surfaces the winding number.

    Raises:
        ConfigError: There is no such method.
        DataError: Nothing is inside.
    """
    if wanted != "auto" and wanted not in METHODS:
        raise ConfigError(f'sign: unknown "{wanted}"{nearest(wanted, ["auto", *METHODS])}')
    edges = edge_table(mesh.indices)
    soundness = check_soundness(mesh, edges)
    if soundness.inside_out:
        mesh = mesh.turned_over()
        edges = edge_table(mesh.indices)
    field = MeshDistance(mesh, launcher, edges)
    sampler = SurfaceSampler(mesh.positions, mesh.indices, launcher)

    points = torch.cat(
        [
            sampler.in_box(key(0, "sign in box"), SAMPLES // 2, *mesh.box),
            sampler.band(key(0, "sign in band"), SAMPLES // 2, BAND),
        ]
    )
    inside = {name: field.signed(points, method) < 0.0 for name, method in METHODS.items()}
    pairs = (("normal", "parity"), ("normal", "winding"), ("parity", "winding"))
    disagreement = {f"{a}/{b}": _share(inside[a] != inside[b]) for a, b in pairs}
    backwards = _share(field.wound_backwards(points))
    name, reason = _decide(soundness, disagreement, backwards)
    if wanted != "auto":
        name, reason = wanted, "as asked"
    choice = SignChoice(
        METHODS[name], reason, soundness, soundness.inside_out, disagreement, backwards, _share(inside[name])
    )
    if choice.inside == 0.0:
        raise DataError(
            f"{mesh.name}: encloses no volume by {WORDS[choice.method]}, so there is no inside to learn; close the surface"
        )
    return field, sampler, choice


def _decide(soundness: Soundness, disagreement: dict[str, float], backwards: float) -> tuple[str, str]:
    """The name of a method and why."""
    if not soundness.closed:
        return "winding", "the mesh has holes"
    if not soundness.consistent:
        return "parity", "closed, but triangles face different ways"
    if not soundness.manifold:
        return "winding", "edges of more than two triangles"
    if max(disagreement["normal/parity"], disagreement["normal/winding"]) <= TOLERANCE:
        return "normal", "watertight and consistently oriented"
    if backwards > TOLERANCE:
        return "parity", "closed, but a part of it is inside out"
    return "winding", "surfaces cross or enclose each other"


def _share(mask: torch.Tensor) -> float:
    return float(mask.float().mean())
