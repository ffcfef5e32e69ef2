"""`nrc-tracer fit nerf`, and `decode` of its snapshots."""

import json
import math
import shutil

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.cli.fit_nerf import default_name
from nrc_tracer.imaging.files import read_image
from nrc_tracer.tasks.nerf.neural_scene import NeuralScene
from tests.tasks.nerf.analytic import ball_photographs

STEPS = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A ball's photographs as a Blender data set."""
    folder = tmp_path_factory.mktemp("ball")
    views = ball_photographs(count=10, side=24, test=2)
    for split, members in (("train", views.train), ("test", views.test)):
        frames = []
        for view in members:
            PIL.Image.fromarray(view.pixels).save(folder / f"{view.name}.png")
            pose = [*view.camera.to_world.tolist(), [0.0, 0.0, 0.0, 1.0]]
            frames.append({"file_path": f"./{view.name}", "transform_matrix": pose})
        angle = 2.0 * math.atan(0.5 * 24 / view.camera.fx)
        document = {"camera_angle_x": angle, "scale": 1.0, "offset": [0.0, 0.0, 0.0], "frames": frames}
        (folder / f"transforms_{split}.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A configuration of a small model."""
    from tests.tasks.nerf.test_fit import small_config

    path = tmp_path_factory.mktemp("config") / "small.json"
    path.write_text(json.dumps(small_config()))
    return path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def fitted(data, config, tmp_path_factory):
    """The result of a fit, its snapshot and its arguments."""
    snapshot = tmp_path_factory.mktemp("fit") / "ball.safetensors"
    arguments = ["--steps", STEPS, "--config", config, "--batch", 4096, "--snapshot", snapshot, "--device", "cpu"]
    result = run("fit", "nerf", data, *arguments, "--json", "--preview", snapshot.with_suffix(".png"))
    assert result.exit_code == 0, result.output
    return result, snapshot, arguments


def test_the_summary_describes_the_fit(fitted):
    """The summary contains the steps, views, backgrounds and colour space, and the scores for each background."""
    result, snapshot, _ = fitted
    summary = json.loads(result.stdout)
    assert (summary["task"], summary["steps"], summary["train_views"], summary["test_views"]) == ("nerf", STEPS, 8, 2)
    assert summary["backgrounds"] == ["black", "white"]
    assert summary["space"] == "srgb"
    assert {"psnr_black", "psnr_white", "ssim_black", "ssim_white", "views"} == set(summary["scores"])
    assert "on held-out views" in result.stderr
    assert read_image(snapshot.with_suffix(".png")).shape == (24, 24, 3)


def test_resumes_to_the_same_bytes(fitted, data, tmp_path):
    """Half of the steps and then the rest from the snapshot give the bytes of a single run."""
    _, snapshot, arguments = fitted
    place = tmp_path / "ball.safetensors"
    arguments = [place if argument == snapshot else argument for argument in arguments]
    arguments[1] = STEPS // 2
    assert run("fit", "nerf", data, *arguments, "--quiet", "--evaluate", "quick").exit_code == 0
    arguments[1] = STEPS
    result = run("fit", "nerf", data, *arguments, "--resume", "--quiet", "--evaluate", "quick")
    assert result.exit_code == 0, result.output
    assert place.read_bytes() == snapshot.read_bytes()


def test_decodes_views_depth_video_and_mesh(fitted, tmp_path):
    """Decoding does not need the data set."""
    _, snapshot, _ = fitted
    outputs = [tmp_path / name for name in ("view.png", "views", "view.exr")]
    result = run(
        "decode",
        "nerf",
        snapshot,
        "-o",
        outputs[0],
        "--depth",
        "--background",
        "transparent",
        "--device",
        "cpu",
        "--json",
    )
    assert result.exit_code == 0, result.output
    assert read_image(outputs[0]).shape == (24, 24, 4)
    largest = json.loads(result.stdout)["outputs"][0]["largest_distance"][0]
    exr, png = read_image(tmp_path / "view.depth.exr"), read_image(tmp_path / "view.depth.png")
    assert exr.max() == pytest.approx(largest)
    np.testing.assert_allclose(png[..., 0] / 65535.0 * largest, exr[..., 0], atol=1e-4 * largest)

    assert (
        run("decode", "nerf", snapshot, "-o", outputs[1], "--view", "test", "--scale", "0.5", "--quiet").exit_code == 0
    )
    images = sorted(outputs[1].iterdir())
    assert [read_image(image).shape for image in images] == [(12, 12, 3)] * 2
    assert run("decode", "nerf", snapshot, "-o", outputs[2], "--view", "train:3", "--quiet").exit_code == 0
    assert read_image(outputs[2]).dtype == np.float32

    frames = tmp_path / "frames"
    result = run("decode", "nerf", snapshot, "-o", frames, "--camera-path", "orbit", "--frames", 3, "--quiet")
    assert result.exit_code == 0, result.output
    assert len(list(frames.iterdir())) == 3

    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("skimage")
    mesh = tmp_path / "mesh.ply"
    result = run("decode", "nerf", snapshot, "-o", mesh, "--mesh-resolution", 32, "--mesh-density", 0.7, "--quiet")
    assert result.exit_code == 0, result.output
    loaded = trimesh.load(mesh)
    assert len(loaded.faces) > 20
    assert np.abs(loaded.vertices - 0.5).max() <= 0.5 + 1e-5  # in this data set the unit of length is one unit cube
    assert loaded.visual.kind == "vertex"


def test_files_have_the_requested_names(fitted, tmp_path, monkeypatch):
    """Extensions in capitals are kept, too."""
    monkeypatch.chdir(tmp_path)
    _, snapshot, _ = fitted
    result = run("decode", "nerf", snapshot, "-o", "view.PNG", "-o", "view.EXR", "--json")
    assert result.exit_code == 0, result.output
    names = [entry["file"] for entry in json.loads(result.stdout)["outputs"]]
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir()) == ["view.EXR", "view.PNG"]
    assert read_image(tmp_path / "view.PNG").shape == read_image(tmp_path / "view.EXR").shape


def test_interrupted_views_are_counted(fitted, tmp_path, monkeypatch):
    """Ctrl-C comes in the second view of a folder."""
    monkeypatch.chdir(tmp_path)
    _, snapshot, _ = fitted
    view, calls = NeuralScene.view, []

    def interrupted(field, camera):
        calls.append(camera)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return view(field, camera)

    monkeypatch.setattr(NeuralScene, "view", interrupted)
    result = run("decode", "nerf", snapshot, "-o", "views", "--view", "train", "--quiet")
    assert (result.exit_code, result.stderr) == (130, "interrupted; written: 1 of 8 views in views\n")
    assert len(list((tmp_path / "views").iterdir())) == 1


def test_video(fitted, tmp_path):
    """The .mp4 file has the requested number of frames."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    _, snapshot, _ = fitted
    video = tmp_path / "ball.mp4"
    result = run("decode", "nerf", snapshot, "-o", video, "--frames", 5, "--fps", 10, "--quiet")
    assert result.exit_code == 0, result.output
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(video))
    assert frames == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "a.gif"], "not written as"),
        (["-o", "a.png", "--view", "7"], "numbered 0 to 1"),
        (["-o", "a.png", "--view", "test"], "give a folder"),
        (["-o", "a.mp4", "--background", "transparent"], "not transparent"),
        (["-o", "a.ply", "--mesh-density", "1e6", "--mesh-resolution", "16"], "no surface"),
        (["-o", "a.ply", "--mesh-box", "3"], "at most 1"),
        (["-o", "a.png", "--camera-path", "orbit"], "makes a video"),
        (["-o", "a.ply", "-o", "a.png", "--camera-path", "orbit"], "makes a video"),
        (["-o", "frames", "--camera-path", "orbit", "--background", "transparent"], "not transparent"),
        (["-o", "a.png", "-o", "views", "--view", "test"], "give a folder"),
        (["-o", "views", "-o", "a.png", "--view", "\N{SUPERSCRIPT TWO}"], "numbered 0 to 1"),
        (["-o", "a.mp4", "--fps", "nan"], "finite"),
        (["-o", "a.png", "-o", "nowhere/a.ply"], "there is no folder"),
        (["-o", "nowhere/a.png"], "there is no folder"),
    ],
)
def test_impossible_outputs_are_refused(fitted, arguments, words, tmp_path, monkeypatch):
    """Each error is reported without a traceback, and no file is written."""
    _, snapshot, _ = fitted
    monkeypatch.chdir(tmp_path)
    result = run("decode", "nerf", snapshot, *arguments)
    assert result.exit_code != 0
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_missing_images_are_listed_once(data, config, tmp_path):
    """Missing images are left out, with a single warning."""
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    (folder / "ball-0.png").unlink()
    arguments = ["--steps", 1, "--config", config, "--batch", 1024, "--snapshot", tmp_path / "a.safetensors"]
    result = run("fit", "nerf", folder, *arguments, "--evaluate", "quick", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("ball-0") == 1
    assert json.loads(result.stdout)["train_views"] == 7


def test_a_missing_data_set_is_refused(tmp_path):
    """The error names the problem, without a traceback."""
    result = run("fit", "nerf", tmp_path / "nothing")
    assert result.exit_code != 0
    assert "no such file or folder" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("garden", "garden"),
        ("garden/dense/0", "garden"),
        ("garden/sparse/0", "garden"),
        ("garden/colmap/sparse/1", "garden"),
        ("garden/transforms.json", "garden"),
        ("garden/transforms_train.json", "garden"),
        ("garden/room.json", "room"),
    ],
)
def test_snapshots_are_named_after_what_is_photographed(tmp_path, folder, name):
    """COLMAP's numbered folders give no name, and neither does a `transforms.json`."""
    assert default_name(tmp_path / folder) == name


def test_images_of_another_folder(data, tmp_path):
    """`--images` names the folder of the photographs; a folder that does not exist is refused by name."""
    result = run("fit", "nerf", data, "--images", tmp_path / "small", "--snapshot", tmp_path / "a.safetensors")
    assert result.exit_code == 1
    assert f"{tmp_path / 'small'}: there is no such folder of images" in result.stderr


def test_an_evaluation_that_takes_too_long_is_cut_short(data, config, tmp_path):
    """Without time for a single photograph, the score is that of every 16th pixel, and it is named so."""
    arguments = ["--config", config, "--steps", 2, "--device", "cpu", "--snapshot", tmp_path / "a.safetensors"]
    result = run("fit", "nerf", data, *arguments, "--evaluate-time", 1e-9, "--json")
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)["scores"]
    assert scores["evaluated_pixels"] == "every 16th in x and y"
    assert scores["psnr_black"] > 0.0
    assert "views" not in scores


def test_a_quick_evaluation_keeps_to_its_time(data, config, tmp_path):
    """It ends in the middle of a view, and what was not scored is said."""
    arguments = ["--config", config, "--steps", 2, "--device", "cpu", "--snapshot", tmp_path / "a.safetensors"]
    result = run("fit", "nerf", data, *arguments, "--evaluate", "quick", "--evaluate-time", 1e-9, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["scores"] == {"evaluated_views": 0}
    assert "no held-out view could be scored in the time" in result.stderr
