"""Choosing how to tell inside from outside, by the mesh's soundness and by where the methods disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import ConfigError, DataError, nearest
from nrc_tracer.tasks.sdf.distance import MeshDistance, SignMethod
from nrc_tracer.tasks.sdf.mesh import UnitMesh
from nrc_tracer.tasks.sdf.samples import SurfaceSampler, key
from nrc_tracer.tasks.sdf.soundness import Soundness, check_soundness, edge_table

SAMPLES = 4096
"""Points at which the methods are compared: half in the mesh's bounding box, half in a band around the surface."""
BAND = 0.01
"""Half the width of that band along each axis, in unit cubes."""
TOLERANCE = 2e-3
"""Fraction of the points at which methods may disagree by rounding."""
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
        reason: The reason for it, in a few words.
        soundness: Soundness of the mesh as it was in the file.
        turned_over: Whether the mesh was inside out and its triangles were reversed.
        disagreement: Fraction of sample points at which two methods disagree, by `normal/parity` and so on.
        wound_backwards: Fraction of the points around which the mesh winds in the wrong direction.
        inside: Fraction of the points that are inside according to the method.
    """

    method: SignMethod
    reason: str
    soundness: Soundness
    turned_over: bool
    disagreement: dict[str, float]
    wound_backwards: float
    inside: float

    def words(self) -> str:
        """The choice as one line of text."""
        shares = ", ".join(f"{names} {share:.2%}" for names, share in self.disagreement.items())
        turned = "; it was inside out and has been turned over" if self.turned_over else ""
        return f"sign: {WORDS[self.method]} ({self.reason}{turned}); methods disagree at {shares}"

    def document(self) -> dict[str, Any]:
        """The choice as JSON data."""
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
    mesh: UnitMesh, launcher: TorchLauncher, *, requested: str = "auto"
) -> tuple[MeshDistance, SurfaceSampler, SignChoice]:
    """The distance to a mesh, a sampler of its points, and the method that tells inside from outside.

    Args:
        mesh: The mesh; if all of it faces inwards, its triangles are reversed.
        launcher: Launches the queries.
        requested: `normal`, `parity`, `winding` or `auto`. With `auto`, watertight and consistently oriented meshes get the
            pseudonormal, closed meshes that are not consistent get parity, and those with holes or intersecting surfaces the
            winding number.

    Raises:
        ConfigError: There is no such method.
        DataError: The mesh encloses no volume.
    """
    if requested != "auto" and requested not in METHODS:
        raise ConfigError(f'sign: unknown method "{requested}"{nearest(requested, ["auto", *METHODS])}')
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
    if requested != "auto":
        name, reason = requested, "as requested"
    choice = SignChoice(
        METHODS[name], reason, soundness, soundness.inside_out, disagreement, backwards, _share(inside[name])
    )
    if choice.inside == 0.0:
        raise DataError(
            f"{mesh.name}: encloses no volume by {WORDS[choice.method]}, so there is no inside to learn; close the surface"
        )
    return field, sampler, choice


def _decide(soundness: Soundness, disagreement: dict[str, float], backwards: float) -> tuple[str, str]:
    """The name of a method, and the reason for it."""
    if not soundness.closed:
        return "winding", "the mesh has holes"
    if not soundness.consistent:
        return "parity", "closed, but triangles face different ways"
    if not soundness.manifold:
        return "winding", "some edges have more than two triangles"
    if max(disagreement["normal/parity"], disagreement["normal/winding"]) <= TOLERANCE:
        return "normal", "watertight and consistently oriented"
    if backwards > TOLERANCE:
        return "parity", "closed, but a part of it is inside out"
    return "winding", "surfaces cross or enclose each other"


def _share(mask: torch.Tensor) -> float:
    return float(mask.float().mean())
