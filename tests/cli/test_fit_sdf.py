"""`nrc-tracer fit sdf`, and `decode` of its snapshots."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.errors import DataError
from nrc_tracer.imaging import read_image
from nrc_tracer.scene.mesh_files import load_mesh
from nrc_tracer.scene.model import TriangleMesh
from nrc_tracer.scene.ply_writer import write_ply
from nrc_tracer.tasks.sdf import metrics
from nrc_tracer.tasks.sdf.shape import NeuralShape
from tests.tasks.sdf.shapes import flipped, sphere, torus
from tests.tasks.sdf.small import SMALL


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with meshes and the configuration of a small model. Scores use fewer points than usual."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(metrics, "POINTS", dict.fromkeys(metrics.POINTS, 2**14))
    meshes = {"ring": torus(around=64, across=32), "inside-out": flipped(sphere(3)), "open": sphere(3)}
    for name, (positions, indices) in meshes.items():
        indices = indices[4:] if name == "open" else indices
        write_ply(TriangleMesh(positions.astype(np.float32), indices.astype(np.int32)), tmp_path / f"{name}.ply")
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def fit(mesh, *arguments):
    options = ("--config", "small.json", "--batch", 1024, "--device", "cpu", "--mesh-resolution", 32, "--json")
    return run("fit", "sdf", mesh, *options, *arguments)


def test_fit_and_decode(folder):
    """Scores are reported, and the snapshot gives a mesh and pictures."""
    pytest.importorskip("skimage")
    trimesh = pytest.importorskip("trimesh")
    result = fit("ring.ply", "--steps", 300, "--preview", "preview.png")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["scores"]["iou"] > 0.95
    assert summary["scores"]["chamfer"] < 0.005
    assert summary["sign"]["method"] == "normal"
    assert summary["mesh"] == "ring.ply"
    assert summary["batch"] == 1024
    assert "watertight and consistently oriented" in result.stderr
    assert "methods disagree at normal/parity 0.00%" in result.stderr
    assert read_image(folder / "preview.png").shape == (320, 320, 3)

    files = [folder / f"out.{kind}" for kind in ("ply", "obj", "glb", "stl", "png")]
    outputs = [word for file in files for word in ("-o", file)]
    result = run(
        "decode",
        "sdf",
        "ring.safetensors",
        *outputs,
        "--mesh-resolution",
        40,
        "--width",
        50,
        "--elevation",
        60,
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    assert [entry["file"] for entry in json.loads(result.stdout)["outputs"]] == [str(file) for file in files]
    mesh = load_mesh(folder / "out.ply")
    closed = trimesh.Trimesh(mesh.positions, mesh.indices, process=False)
    assert closed.is_watertight
    # The volume of the ring: 2 pi^2 R r^2
    assert closed.volume == pytest.approx(2.0 * np.pi**2 * 0.35**2, rel=0.06)
    assert len(load_mesh(folder / "out.stl").indices) == len(mesh.indices)
    image = read_image(folder / "out.png")
    assert image.shape == (50, 50, 3)
    assert image.astype(float).std() > 10.0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "inside-out.ply",
            "pseudonormal at the nearest point (watertight and consistently oriented; it was inside out",
        ),
        ("open.ply", "winding number (the mesh has holes)"),
    ],
)
def test_the_sign_method_is_reported(folder, name, words):
    result = fit(name, "--steps", 1)
    assert result.exit_code == 0, result.stderr
    assert words in result.stderr


def test_resume_from_the_command_line(folder):
    """Ten steps followed by ten more give the same bytes as twenty; another mesh is refused."""
    for arguments in (
        ("--steps", 20, "--snapshot", "whole.safetensors"),
        ("--steps", 10, "--snapshot", "halves.safetensors"),
        ("--steps", 20, "--snapshot", "halves.safetensors", "--resume"),
    ):
        result = fit("ring.ply", *arguments)
        assert result.exit_code == 0, result.stderr
    assert (folder / "whole.safetensors").read_bytes() == (folder / "halves.safetensors").read_bytes()
    result = fit("open.ply", "--steps", 30, "--snapshot", "halves.safetensors", "--resume")
    assert result.exit_code == 1
    assert "another mesh (ring.ply)" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 0\n", "no triangles"),
        ("v 0 0 0\nv 1 0 0\nv 0 nan 0\nf 1 2 3\n", "v has a number that is not finite"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "encloses no volume"),
        ("v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "in one point"),
        (None, "broken.obj"),
    ],
)
def test_broken_meshes_give_one_line_errors(folder, text, message):
    if text is not None:
        (folder / "broken.obj").write_text(text)
    result = fit("broken.obj", "--steps", 1)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert "broken.obj" in result.stderr
    assert not (folder / "broken.safetensors").exists()


def test_outputs_are_checked_before_any_is_written(folder):
    assert fit("ring.ply", "--steps", 1).exit_code == 0
    for name, words in (("ring.fbx", 'not written as ".fbx"'), ("no/ring.obj", "there is no folder")):
        result = run("decode", "sdf", "ring.safetensors", "-o", "ring.png", "-o", name)
        assert result.exit_code == 1
        assert words in result.stderr
        assert not (folder / "ring.png").exists()


def test_missing_scores_are_explained_in_the_summary(folder):
    """A model without negative distances has no surface to extract; the summary contains the other scores and a warning."""
    (folder / "small.json").write_text(
        json.dumps(SMALL | {"network": SMALL["network"] | {"output_activation": "ReLU"}})
    )
    result = fit("ring.ply", "--steps", 1)
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    (warning,) = summary["warnings"]
    assert warning.startswith("no scores of the extracted mesh: ")
    assert f"warning: {warning}\n" in result.stderr
    assert "chamfer" not in summary["scores"]


def test_decoding_keeps_torch_to_one_thread(folder, monkeypatch):
    """Several threads of torch would wait in busy loops beside those of the kernels."""
    arguments = ("--steps", 2, "--config", "small.json", "--batch", 256, "--device", "cpu", "--quiet")
    assert run("fit", "sdf", "ring.ply", *arguments).exit_code == 0
    seen = []

    def surface(shape, resolution, **options):
        seen.append(torch.get_num_threads())
        raise DataError("no surface")

    monkeypatch.setattr(NeuralShape, "surface", surface)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        result = run("decode", "sdf", "ring.safetensors", "-o", "ring.ply", "--device", "cpu")
        assert (result.exit_code, seen, torch.get_num_threads()) == (1, [1], 3), result.output
    finally:
        torch.set_num_threads(before)
