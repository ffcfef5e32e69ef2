"""Layers in files: EXR files with several parts, which other programs can read, and pictures."""

import numpy as np
import pytest

from nrc_tracer.errors import OutputError
from nrc_tracer.imaging import read_image, write_layers

RANDOM = np.random.default_rng(1)
RGB = RANDOM.random((4, 6, 3), dtype=np.float32)
NORMAL = np.zeros((4, 6, 3), np.float32)
NORMAL[..., 2] = 1.0
NORMAL[0, 0] = 0.0
DEPTH = np.linspace(1.0, 3.0, 24, dtype=np.float32).reshape(4, 6)
DEPTH[0, 0] = np.inf
SHAPE = np.arange(-1, 23, dtype=np.int32).reshape(4, 6)
LAYERS = {
    "albedo": RANDOM.random((4, 6, 3), dtype=np.float32),
    "normal": NORMAL,
    "depth": DEPTH,
    "position": RANDOM.standard_normal((4, 6, 3)).astype(np.float32),
    "shape": SHAPE,
    "material": np.full((4, 6), -1, np.int32),
    "variance": RANDOM.random((4, 6, 3), dtype=np.float32),
}


def test_parts_of_an_exr(tmp_path):
    import OpenEXR

    path = tmp_path / "a.exr"
    assert write_layers(path, RGB, LAYERS) == [path]
    np.testing.assert_array_equal(read_image(path), RGB)  # the first part
    parts = {part.name(): part.channels for part in OpenEXR.File(str(path), separate_channels=True).parts}
    assert list(parts) == ["beauty", *LAYERS]
    for name, letters in (("albedo", "RGB"), ("normal", "XYZ"), ("position", "XYZ"), ("variance", "RGB")):
        for i, letter in enumerate(letters):
            np.testing.assert_array_equal(parts[name][f"{name}.{letter}"].pixels, LAYERS[name][..., i])
    np.testing.assert_array_equal(parts["depth"]["depth.Z"].pixels, DEPTH)
    np.testing.assert_array_equal(parts["shape"]["shape.id"].pixels, SHAPE)
    assert list(parts["material"]) == ["material.id"]


def test_mitsuba_reads_the_exr(tmp_path):
    mitsuba = pytest.importorskip("mitsuba")
    mitsuba.set_variant("scalar_rgb")
    write_layers(tmp_path / "a.exr", RGB, LAYERS)
    parts = {part[0]: np.array(part[1]) for part in mitsuba.Bitmap(str(tmp_path / "a.exr")).split()}
    np.testing.assert_array_equal(next(iter(parts.values())), RGB)


def test_pictures_beside_a_png(tmp_path):
    written = write_layers(tmp_path / "a.png", RGB, LAYERS)
    assert [path.name for path in written] == [f"a.{name}.png" for name in LAYERS]
    pictures = {name: read_image(path).astype(int) for name, path in zip(LAYERS, written, strict=True)}
    assert pictures["normal"][1, 1].tolist() == [128, 128, 255]
    assert pictures["normal"][0, 0].tolist() == [0, 0, 0]
    assert pictures["depth"][0, 0] == 0
    assert pictures["depth"][0, 1] == 255
    assert np.all(np.diff(pictures["depth"].ravel()[1:]) < 0)
    assert pictures["depth"][3, 5] == 26  # the farthest point is brighter than the background
    colors = pictures["shape"].reshape(-1, 3)
    assert colors[0].tolist() == [0, 0, 0]
    far = np.abs(colors[1:, None] - colors[None, 1:]).sum(axis=2) + 999 * np.eye(23, dtype=int)
    assert far.min() > 10
    assert not pictures["material"].any()


def test_arrays_beside_an_npy(tmp_path):
    for name, path in zip(LAYERS, write_layers(tmp_path / "a.npy", RGB, LAYERS), strict=True):
        np.testing.assert_array_equal(np.load(path), LAYERS[name])


def test_impossible_outputs_of_layers_are_refused(tmp_path):
    with pytest.raises(OutputError, match=r"has no layers; use .exr, .npy, .png"):
        write_layers(tmp_path / "a.hdr", RGB, LAYERS)
    with pytest.raises(OutputError, match="there is no folder"):
        write_layers(tmp_path / "none" / "a.exr", RGB, LAYERS)
    assert not list(tmp_path.iterdir())


def test_empty_layers_can_be_written_as_pictures(tmp_path):
    nothing = {"depth": np.full((2, 2), np.inf), "position": np.zeros((2, 2, 3)), "variance": np.zeros((2, 2, 3))}
    for path in write_layers(tmp_path / "a.png", RGB, nothing):
        assert not read_image(path).any()
