"""Checkpoints: the same bits after continuing, and a clear error for a file that is damaged or belongs to another render."""

import contextlib
import dataclasses
import errno
import os
import stat
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nrc_tracer.errors import CheckpointError
from nrc_tracer.files import atomic
from nrc_tracer.scene.model import (
    Bitmap,
    Conductor,
    Diffuse,
    LookAt,
    Perspective,
    PointLight,
    Scene,
    Sphere,
    TriangleMesh,
)
from nrc_tracer.tracer import Renderer
from tests.tracer.test_determinism import accumulated, room
from tests.tracer.tiny_scenes import needs_embree, rendered


@pytest.mark.parametrize("sampler", ["independent", "sobol"])
def test_a_resumed_render_has_the_same_bits(tmp_path, sampler):
    """Three and five samples with a checkpoint between them, in other blocks and threads, equal eight samples at once."""
    whole = rendered(room(sampler=sampler), 8, threads=1)
    rendered(room(sampler=sampler), 3).save_checkpoint(tmp_path / "a")
    renderer = Renderer(room(sampler=sampler), device="cpu", threads=2, block_size=7)
    renderer.load_checkpoint(tmp_path / "a")
    assert (renderer.samples, renderer.seconds > 0) == (3, True)
    renderer.step(5)
    np.testing.assert_array_equal(accumulated(renderer), accumulated(whole))


@pytest.mark.parametrize("before", [64, 100])
def test_going_on_at_and_within_a_block_of_samples(tmp_path, before):
    """A file written at the end of a block, or in the middle of one, leads to the bits of 150 samples at once."""
    whole = rendered(room(), 150)
    rendered(room(), before).save_checkpoint(tmp_path / "a")
    renderer = Renderer(room(), device="cpu", block_size=7)
    renderer.load_checkpoint(tmp_path / "a")
    renderer.step(150 - before)
    np.testing.assert_array_equal(accumulated(renderer), accumulated(whole))


def test_an_older_format_is_refused_with_the_reason(written, tmp_path):
    from nrc_tracer.tracer import checkpoint

    renderer, _ = written
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "VERSION", 3)
        renderer.save_checkpoint(tmp_path / "older")
    assert "an older release, whose sums of samples have other bits" in _refusal(renderer, tmp_path / "older")


def test_other_programs_read_the_file(tmp_path):
    import safetensors.numpy

    renderer = rendered(room(), 4)
    path = renderer.save_checkpoint(tmp_path / "a.safetensors")
    tensors = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal((tensors["sums"] + tensors["block_sums"]) / 4, renderer.moments()[0])
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A renderer and the bytes of its checkpoint."""
    renderer = rendered(room(), 2, threads=1)
    path = renderer.save_checkpoint(tmp_path_factory.mktemp("checkpoint") / "good")
    return renderer, path


def _refusal(renderer, path):
    """The one-line message of the error that loading raises, after checking that the renderer has not changed."""
    before = (renderer.samples, accumulated(renderer))
    with pytest.raises(CheckpointError) as caught:
        renderer.load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert renderer.samples == before[0]
    np.testing.assert_array_equal(accumulated(renderer), before[1])
    return str(caught.value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_always_detected(written, tmp_path, data):
    """Flipped bits, missing ends and extra bytes anywhere are errors or, in spaces of the header, leave the samples unchanged."""
    renderer, path = written
    good = path.read_bytes()
    header = int.from_bytes(good[:8], "little") + 8
    place = data.draw(st.one_of(st.integers(0, header - 1), st.integers(header, len(good) - 1)))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "zero the rest"]))
    if kind == "flip":
        bad = good[:place] + bytes([good[place] ^ (1 << data.draw(st.integers(0, 7)))]) + good[place + 1 :]
    elif kind == "cut":
        bad = good[:place]
    elif kind == "insert":
        bad = good[:place] + data.draw(st.binary(min_size=1, max_size=9)) + good[place:]
    else:
        bad = good[:place] + bytes(len(good) - place)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(bad)
    before = accumulated(renderer)
    with contextlib.suppress(CheckpointError):
        renderer.load_checkpoint(damaged)
    assert renderer.samples == 2
    np.testing.assert_array_equal(accumulated(renderer), before)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such checkpoint"),
        (b"", "not a checkpoint"),
        (b"\x00" * 100, "not a checkpoint"),
        (b"\xff" * 7 + b"\x7f{", "its header would have"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}" + b" " * 14, "a safetensors file, but not a checkpoint"),
    ],
)
def test_files_that_are_not_checkpoints_are_refused(written, tmp_path, content, message):
    path = tmp_path / "other"
    if content is not None:
        path.write_bytes(content)
    assert message in _refusal(written[0], path)


def test_paths_that_are_not_files_are_refused(written, tmp_path):
    assert "it is not a file" in _refusal(written[0], tmp_path)
    assert "not a file name" in _refusal(written[0], "a\0b")


def test_a_newer_format_is_named(written, tmp_path):
    """The digest covers the text, so the file is written again with another version."""
    from nrc_tracer.tracer import checkpoint

    renderer, _ = written
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "VERSION", checkpoint.VERSION + 1)
        renderer.save_checkpoint(tmp_path / "newer")
    expected = (
        f"written by a newer release (format {checkpoint.VERSION + 1}, this one reads up to {checkpoint.VERSION})"
    )
    assert expected in _refusal(renderer, tmp_path / "newer")


def _with(described, **changes):
    return Scene(msgspec.structs.replace(described.description, **changes), images=described.images)


def _materials(**changes):
    return {**room().description.materials, **changes}


def _shapes(*more):
    return (*room().description.shapes, *more)


OTHERS = {
    "seed is 0 there and 5 here": (room(), {"seed": 5}),
    "max_depth is without limit there and 6 here": (room(), {"max_depth": 6}),
    "rr_depth is 5 there and 9 here": (room(rr_depth=9), {}),
    "sampler is independent there and sobol here": (room(), {"sampler": "sobol"}),
    "width is 20 there and 40 here; height is 16 there and 32 here": (room(), {"width": 40}),
    "filter is box there and tent here": (room(), {"filter": "tent"}),
    "crop differs": (room(crop=(0, 0, 20, 8)), {}),
    "camera differs": (
        _with(room(), camera=Perspective(to_world=(LookAt(origin=(0, 0, 5), target=(0, 0, 0)),))),
        {},
    ),
    "1 of the materials differs (glass)": (_with(room(), materials=_materials(glass=Diffuse())), {}),
    "3 of the materials differ (glass, metal, red)": (
        _with(room(), materials=_materials(glass=Diffuse(), metal=Conductor(), red=Diffuse(reflectance=(1, 0, 0)))),
        {},
    ),
    "1 of the shapes differs (4 (ball))": (_with(room(), shapes=_shapes(Sphere(name="ball"))), {}),
    "1 of the lights differs (2)": (_with(room(), lights=(*room().description.lights, PointLight())), {}),
}


@pytest.mark.parametrize("message", OTHERS)
def test_differences_from_another_render_are_named(written, message):
    described, options = OTHERS[message]
    renderer = Renderer(described, device="cpu", **options)
    assert _refusal(renderer, written[1]).endswith(f"good: of another render: {message}")


@needs_embree
def test_another_intersector_is_refused(written):
    renderer = Renderer(room(), device="cpu", accel="warp")
    assert "accel is embree there and warp here" in _refusal(renderer, written[1])


def test_contents_of_files_matter_and_their_folder_does_not():
    """A changed texel or vertex makes another scene; the same files in another folder do not."""
    from nrc_tracer.tracer.scene_digests import scene_digests

    described = _with(room(), textures={"wood": Bitmap(file="wood.png")})
    mesh = TriangleMesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
    images = {"wood.png": np.zeros((2, 2, 3), np.uint8)}
    first = dataclasses.replace(described, images=images, meshes={"a.ply": mesh}, source=Path("here/a.json"))
    parts = scene_digests(first)
    assert scene_digests(dataclasses.replace(first, source=Path("there/b.json"))) == parts

    image = images["wood.png"].copy()
    image[1, 1, 2] = 1
    moved = dataclasses.replace(mesh, positions=mesh.positions * np.float32(1.0000001))
    assert (moved.positions != mesh.positions).any()
    coloured = dataclasses.replace(mesh, colors=np.ones((3, 4), np.float32))
    for kind, other in (
        ("image files", dataclasses.replace(first, images={"wood.png": image})),
        ("image files", dataclasses.replace(first, images={"wood.png": image.reshape(4, 1, 3) * 0})),
        ("mesh files", dataclasses.replace(first, meshes={"a.ply": moved})),
        ("mesh files", dataclasses.replace(first, meshes={"a.ply": coloured})),
    ):
        there = scene_digests(other)
        assert [name for name in parts if parts[name] != there[name]] == [kind]


def test_a_full_disk_keeps_the_old_checkpoint(written, tmp_path, monkeypatch):
    renderer, good = written
    path = tmp_path / "a"
    path.write_bytes(good.read_bytes())

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(CheckpointError, match="a: cannot be written: No space left on device"):
        renderer.save_checkpoint(path)
    assert path.read_bytes() == good.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_saving_before_the_first_sample_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no samples yet"):
        Renderer(room(), device="cpu").save_checkpoint(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_reset_image_is_another_render(tmp_path):
    """`reset` with another seed or camera makes the render another one."""
    renderer = rendered(room(), 1)
    renderer.save_checkpoint(tmp_path / "a")
    renderer.reset(seed=8)
    assert "seed is 0 there and 8 here" in _refusal(renderer, tmp_path / "a")
    renderer.reset(seed=0, camera=Perspective())
    assert "camera differs" in _refusal(renderer, tmp_path / "a")
