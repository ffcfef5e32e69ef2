"""The report: a self-contained HTML file, and files that agree with it."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

import nrc_tracer.report
from nrc_tracer.errors import OutputError
from nrc_tracer.imaging import read_image, tone_map
from nrc_tracer.report.bias import Bias
from nrc_tracer.report.compare import Circumstances, _compared, _mean, prepare_folder, write_report
from nrc_tracer.report.measure import Look
from tests.report.conftest import BUDGETS
from tests.report.stand_in import SETTINGS, SIZE

HEIGHT, WIDTH = SIZE
VOID = {"meta", "img", "br", "input", "source", "link", "hr"}


class Page(HTMLParser):
    """Collects elements and checks that they are closed in the right order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="session")
def folder(tmp_path_factory, shots, measured, reference):
    folder = tmp_path_factory.mktemp("report")
    prepare_folder(folder)
    about = Circumstances("rooms/a <b> & c.json", "cpu (none)", "independent", -1, 4, {"spread": 0.01}, ("beware",))
    write_report(folder, shots, measured, reference, Look("agx", 0.5), about)
    return folder


@pytest.fixture(scope="session")
def text(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def page(text):
    return Page(text)


def test_nothing_is_loaded_from_elsewhere(text, page):
    assert not re.search(r"https?:|//\w+\.\w+/|@import|url\(", text)
    for _, attributes in page.elements:
        for name in ("src", "srcset", "href"):
            assert attributes.get(name, "data:").startswith("data:")


def test_all_pictures_decode_and_are_shown_with_words(page):
    images = page.all("img")
    # The reference; image, error and bias of each setting at two budgets; four figures
    assert len(images) == 1 + 3 * 3 * 2 + 4
    assert all(image["alt"] for image in images)
    for address in [*(image["src"] for image in images), *(source["srcset"] for source in page.all("source"))]:
        head, _, data = address.partition(",")
        assert head == "data:image/png;base64"
        with PIL.Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            picture.load()
            assert picture.format == "PNG"


def test_pictures_use_the_tone_mapping_of_the_report(page, reference):
    address = next(image["src"] for image in page.all("img") if image.get("id") == "image-0")
    shown = np.array(PIL.Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))
    assert np.array_equal(shown, (tone_map(reference.mean, "agx", 0.5) * 255 + 0.5).astype(np.uint8))


def test_the_script_uses_elements_that_exist(text, page):
    data = json.loads(next(t for tag, t in page.texts if tag == "script" and t.startswith("{")))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert all(image["id"] in ids for image in data["images"])
    assert set(re.findall(r'getElementById\("([\w-]+)"\)', text)) <= set(ids)
    assert (data["width"], data["height"]) == (WIDTH, HEIGHT)
    assert [data["images"][data[side]]["name"] for side in ("left", "right")] == ["uncached, 4 s", "uncorrected, 4 s"]
    for crop in data["crops"]:
        assert 0 <= crop["x"] <= WIDTH - crop["side"]
    canvases = [canvas for canvas in page.all("canvas") if "data-crop" in canvas]
    assert len(canvases) == len(data["crops"]) * len(data["images"])


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_script_is_javascript():
    script = Path(nrc_tracer.report.__file__).with_name("page.js")
    checked = subprocess.run(["node", "--check", str(script)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_text_is_escaped_and_numbers_are_shown(text, page, measured):
    assert "a <b> & c.json" in [t for tag, t in page.texts if tag == "h1"]
    assert "<b> &" not in text
    assert [t for tag, t in page.texts if tag == "p" and t == "beware"]
    cells = [t for tag, t in page.texts if tag == "td"]
    for result in measured.results:
        assert any(cell.startswith(f"{result.rel_mse:.3g}") for cell in cells)
    sentences = [t for tag, t in page.texts if tag == "li"]
    assert any(
        sentence.startswith("uncorrected at equal samples (64 spp), compared with uncached: relMSE")
        for sentence in sentences
    )
    assert any(sentence.startswith("uncached overtakes uncorrected: after ") for sentence in sentences)


def test_metrics_and_images(folder, measured, shots, reference):
    data = json.loads((folder / "metrics.json").read_text())
    assert data["reference"]["error"] == reference.error
    assert [r["rel_mse"] for r in data["results"]] == [r.rel_mse for r in measured.results]
    assert {(r["setting"], r["budget"]) for r in data["reports"]} == {
        (s.name, b.name) for s in SETTINGS[1:] for b in BUDGETS
    }
    assert data["warnings"] == ["beware"]
    images = {path.name for path in (folder / "images").iterdir()}
    assert images == {"reference.exr"} | {f"{s.name}-{b}.exr" for s in SETTINGS for b in ("64-spp", "4-s")}
    first = shots.images[SETTINGS[1], BUDGETS[0]][0].rgb
    assert np.array_equal(read_image(folder / "images" / "uncorrected-64-spp.exr"), first)


def test_figures_are_not_blank(folder):
    figures = {path.stem: np.array(PIL.Image.open(path)) for path in (folder / "figures").iterdir()}
    assert set(figures) == {"bias", "bias-legend", "convergence", "error-legend", "errors", "images", "parts"}
    assert all(figure.std() > 10 and min(figure.shape[:2]) > 80 for figure in figures.values())


def test_an_impossible_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/report: cannot be made: .*; choose another folder with --output"):
        prepare_folder(tmp_path / "file" / "report")


def test_sentences_claim_a_difference_only_beyond_the_errors_of_so_few_seeds():
    def mean(percent, seeds):
        bias = Bias((percent / 100.0,) * 3, (0.01,) * 3, (), (), 1, seeds)
        return _mean(SimpleNamespace(bias=bias))

    assert mean(1.9, 100) == "not measurably wrong: +1.9 % with a standard error of 1 %"
    assert mean(2.5, 4) == "not measurably wrong: +2.5 % with a standard error of 1 %"
    assert mean(-3.5, 4) == "3.5 % too dark, with a standard error of 1 %"
    assert _compared((1.5, 0.15), (1.0, 0.1), seeds=100) == "1.5 times smaller"
    assert _compared((1.5, 0.15), (1.0, 0.1), seeds=2) == "not measurably different"
