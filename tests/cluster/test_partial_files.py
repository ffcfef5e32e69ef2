"""Partial files: merged in any order they are the image of one render; anything else is refused in one line."""

import itertools
import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nrc_tracer.cluster.merge import merge
from nrc_tracer.cluster.partial_file import PartialRender, write_partial
from nrc_tracer.cluster.settings import Cluster
from nrc_tracer.errors import CheckpointError
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.scene_digests import digest
from nrc_tracer.tracer.strips import Strip, StripTracer, strips_of
from tests.tracer.test_determinism import room
from tests.tracer.tiny_scenes import rendered

RANGES = [(0, 128), (128, 192), (192, 200)]


def write(path, first, end, *, stop=lambda: False, strips=None, **changes):
    """Render samples of the room into a file; `changes` are other settings of the renderer."""
    fingerprint = changes.pop("fingerprint", {})
    renderer = Renderer(room(), device="cpu", **changes)
    renderer.compile()
    tracer = renderer.strip_tracer()
    here = {**tracer.fingerprint(), **fingerprint}
    render = PartialRender(renderer.width, renderer.height, first, end, renderer.identity(), here)
    strips = strips or strips_of(renderer.width, renderer.height)
    return write_partial(path, render, strips, tracer.trace, stop=stop, progress=lambda done: None)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Files with samples 0:128, 128:192 and 192:200 of the room."""
    folder = tmp_path_factory.mktemp("parts")
    for first, end in RANGES:
        assert write(folder / f"{first}", first, end) == end
    return [folder / f"{first}" for first, _ in RANGES]


def test_a_strip_is_cut_out_of_the_film():
    """The sums of a strip's block are those of a renderer, whatever the strips."""
    renderer = rendered(room(), 64)
    tracer = Renderer(room(), device="cpu", threads=2).strip_tracer()
    for strips in ([Strip(0, 16)], [Strip(row, 1) for row in range(16)], [Strip(0, 5), Strip(5, 11)]):
        sums = np.concatenate([tracer.trace(strip, 0, 64).sums for strip in strips])
        np.testing.assert_array_equal(sums / 64, renderer.moments()[0])


def test_a_strip_of_a_crop_window():
    described = room(crop=(5, 3, 9, 8))
    tracer = Renderer(described, device="cpu").strip_tracer()
    sums = np.concatenate([tracer.trace(Strip(row, 4), 0, 3).sums for row in (0, 4)])
    np.testing.assert_array_equal(sums / 3, rendered(described, 3).moments()[0])


def test_a_job_is_traced_elsewhere_with_the_same_bits():
    """What is sent to other machines is all that they need: it comes through pickling."""
    import pickle

    from nrc_tracer.tracer.vocabulary import Accel

    here = Renderer(room(sampler="sobol"), device="cpu", seed=5, max_depth=4, width=40).strip_tracer()
    job = pickle.loads(pickle.dumps(here.job()))
    accel = Accel(here.fingerprint()["accel"])
    there = StripTracer.of_job(job, device="cpu", threads=1, accel=accel)
    assert there.fingerprint() == here.fingerprint()
    strip = Strip(3, 9)
    np.testing.assert_array_equal(there.trace(strip, 64, 5).sums, here.trace(strip, 64, 5).sums)


@pytest.mark.parametrize(("width", "height"), [(20, 16), (1, 1), (1920, 1080), (8192, 8192), (65536, 3), (3, 65536)])
def test_strips_cover_the_image(width, height):
    strips = strips_of(width, height)
    assert [row for strip in strips for row in range(strip.first, strip.first + strip.rows)] == list(range(height))
    assert all(strip.rows == 1 or strip.rows * width <= 2**16 for strip in strips)
    assert len(strips) >= min(height, 16) / 2


def test_any_order_gives_the_bits_of_one_render(parts):
    whole = rendered(room(), 200)
    for order in itertools.permutations(parts):
        merged = merge(order)
        np.testing.assert_array_equal(merged.image.rgb, whole.image().rgb)
        assert (merged.image.samples, merged.noise, merged.differences) == (200, whole.noise(), ())


def test_dropped_samples_are_counted(tmp_path):
    """Samples that are not finite are left out as in one render."""
    from nrc_tracer.tracer.film_sums import BlockSums

    def lossy(strip, first, count):
        block = tracer.trace(strip, first, count)
        return BlockSums(block.sums, block.squares, np.full_like(block.dropped, 2))

    renderer = Renderer(room(), device="cpu")
    renderer.compile()
    tracer = renderer.strip_tracer()
    strips = strips_of(20, 16)
    render = PartialRender(20, 16, 0, 100, renderer.identity(), tracer.fingerprint())
    write_partial(tmp_path / "a", render, strips, lossy, stop=lambda: False, progress=lambda done: None)
    image = merge([tmp_path / "a"]).image
    assert image.dropped == 2 * 2 * 320
    np.testing.assert_allclose(image.rgb, rendered(room(), 100).image().rgb * 100 / 96, rtol=1e-6)


def refusal(paths, **options):
    with pytest.raises(CheckpointError) as caught:
        merge(paths, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_gaps_overlaps_and_open_blocks_are_refused(parts, tmp_path):
    assert refusal(parts[1:]) == "samples 0:128 are missing; render them with --samples 0:128"
    assert "samples 128:192 are missing" in refusal([parts[0], parts[2]])
    assert "has samples 0:128, and" in refusal([*parts, parts[0]])
    assert "has them up to 128 already" in refusal([*parts, parts[0]])
    write(tmp_path / "open", 0, 100)
    assert "open: ends at sample 100, within a block of 64" in refusal([tmp_path / "open", parts[1]])
    assert "no partial file" in refusal([])


def test_another_image_is_refused_even_if_mixed(parts, tmp_path):
    write(tmp_path / "other", 128, 192, seed=5)
    for mixed in (False, True):
        message = refusal([parts[0], tmp_path / "other"], mixed=mixed)
        assert message.endswith(": seed is 5 there and 0 here")


def test_another_machine_is_refused_unless_mixed(parts, tmp_path):
    """The difference is named: of the processors, only what one of them lacks."""
    machine = {"processor": "sse2 avx512_new", "warp": "9.9"}
    write(tmp_path / "other", 128, 192, fingerprint=machine)
    message = refusal([parts[0], tmp_path / "other"])
    assert "other: rendered where samples have other bits" in message
    assert "processor: avx512_new there, " in message
    assert "warp: 9.9 there, " in message
    merged = merge([parts[0], tmp_path / "other", parts[2]], mixed=True)
    assert len(merged.differences) == 2
    np.testing.assert_array_equal(merged.image.rgb, merge(parts).image.rgb)


def test_a_stopped_render_keeps_its_finished_blocks(tmp_path):
    """The rest goes into another file, and together they are the whole."""
    calls = itertools.count()
    strips = [Strip(0, 8), Strip(8, 8)]
    end = write(tmp_path / "a", 0, 200, strips=strips, stop=lambda: next(calls) >= 5)
    assert end == 128
    write(tmp_path / "b", end, 200)
    np.testing.assert_array_equal(merge([tmp_path / "b", tmp_path / "a"]).image.rgb, rendered(room(), 200).image().rgb)


def test_a_render_stopped_in_its_first_block_leaves_nothing(tmp_path):
    assert write(tmp_path / "a", 64, 128, stop=lambda: True) == 64
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_noticed(parts, tmp_path, data):
    """A flipped bit, a missing end or bytes too many: an error in one line or, in spaces of the header, the same image."""
    good = parts[1].read_bytes()
    header = int.from_bytes(good[:8], "little") + 8
    place = data.draw(st.one_of(st.integers(0, header - 1), st.integers(header, len(good) - 1)))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    bad = {
        "flip": good[:place] + bytes([good[place] ^ (1 << data.draw(st.integers(0, 7)))]) + good[place + 1 :],
        "cut": good[:place],
        "insert": good[:place] + b"12345678" + good[place:],
    }[kind]
    (tmp_path / "damaged").write_bytes(bad)
    image, message = None, ""
    try:
        image = merge([parts[0], tmp_path / "damaged", parts[2]]).image
    except CheckpointError as error:
        message = str(error)
    assert "\n" not in message
    if image is not None:
        assert place < header
        np.testing.assert_array_equal(image.rgb, merge(parts).image.rgb)


def test_other_files_are_refused(tmp_path):
    path = rendered(room(), 1).save_checkpoint(tmp_path / "checkpoint")
    assert "a checkpoint, not a partial file" in refusal([path])
    assert "cannot be read" in refusal([tmp_path / "none"])
    (tmp_path / "text").write_text("0123456789")
    assert "not a partial file" in refusal([tmp_path / "text"])


@pytest.mark.parametrize("text", ["[]", "7", '"a"', "null", "{}"])
def test_metadata_of_another_form_is_refused(tmp_path, text):
    """A digest that matches does not make it a header."""
    path = tmp_path / "a"
    about = {"__metadata__": {"nrc_tracer": text, "digest": digest(text.encode())}}
    encoded = json.dumps(about).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded)
    assert refusal([path]).startswith(f"{path}: ")


@pytest.mark.parametrize(("device", "expected"), [("cuda:1", "cuda"), ("cuda", "cuda"), ("cpu", "cpu"), (None, None)])
def test_nodes_are_told_no_number_of_a_gpu(device, expected):
    """Ray numbers the GPUs of a node; another number would name a GPU that the node does not see."""
    renderer = Renderer(room(), device="cpu")
    settings = Cluster("auto", device, mixed=True).node_settings(renderer, lambda: {})
    assert settings["device"] == expected
