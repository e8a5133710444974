import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.training.tiny_data import write_data
from training.data.captions import CaptionSet
from training.evaluation.report import choose, data_url, quartiles, score_curves, write_report
from training.evaluation.result import Evaluation, Photo

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">'
BREAKING = '"><b onmouseover=alert(3)>&amp;{{ 7 * 7 }}</li>'
VOID = {"meta", "img"}


class Page(HTMLParser):
    """The elements of a page, its text, and whether every element that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def evaluation(names: list[str], captions: list[str]) -> Evaluation:
    photos = [
        Photo(10 + index, name, caption, cider=float(index), failure=None)
        for index, (name, caption) in enumerate(zip(names, captions, strict=True))
    ]
    return Evaluation(HOSTILE, "data", "dev", {"num_beams": 5}, {"CIDEr": 0.25, "BLEU-4": 0.5}, photos)


@pytest.fixture
def photos(tmp_path: Path) -> CaptionSet:
    images = write_data(tmp_path / "data") / "images"
    names = ["0.png", "1.png", "<i>2.png", "3.png"]
    (images / "2.png").rename(images / names[2])
    return CaptionSet(images, (10, 11, 12, 13), tuple(names), ((BREAKING, "two"), (HOSTILE,), ("c",), ("d",)))


@pytest.fixture
def page(photos: CaptionSet, tmp_path: Path) -> Page:
    result = evaluation(list(photos.names), [HOSTILE, "a dog", BREAKING, ""])
    curves = [{"epoch": 1.0, "loss": 4.0}, {"epoch": 2.0, "loss": 3.0, "cider": 0.125}]
    write_report(tmp_path / "new" / "report.html", result, photos, curves)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]
    return Page((tmp_path / "new" / "report.html").read_text())


def test_text_of_strangers_stays_text(page: Page) -> None:
    assert page.open == []
    assert not page.all("script")
    assert not page.all("b")
    assert not page.all("i")
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    assert page.text.count(HOSTILE) == 4  # the title, the source, a caption, a reference
    assert page.text.count(BREAKING) == 2
    assert "<i>2.png" in page.text
    assert BREAKING in [img["alt"] for img in page.all("img")]


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    assert len(page.all("img")) == 4
    assert all((img["src"] or "").startswith("data:image/webp;base64,") for img in page.all("img"))
    assert not page.all("link")
    assert not [attrs for _, attrs in page.elements if {"href", "srcset", "action"} & attrs.keys()]
    policy = page.all("meta")[1]["content"] or ""
    assert "default-src 'none'" in policy
    assert not re.search(r"url\(|@import", page.text)


def test_it_can_be_read_without_seeing(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert all(img["alt"] for img in page.all("img"))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert len(page.all("svg")) == 3  # loss, CIDEr, distribution
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {section["aria-labelledby"] for section in page.all("section")} == set(ids)
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))


def test_it_says_scores_and_search(page: Page) -> None:
    words = " ".join(page.text.split())
    assert "CIDEr 0.2500" in words
    assert "BLEU-4 0.5000" in words
    assert "SPICE – not scored" in words
    assert "num_beams 5" in words
    assert "(an empty caption)" in words
    assert "0.125" in words  # the table of the curves


def test_failures_are_listed_and_not_shown(photos: CaptionSet, tmp_path: Path) -> None:
    result = evaluation(list(photos.names), ["a", "b", "c", "d"])
    failed = Photo(13, "3.png", "", 0.0, failure=HOSTILE)
    (photos.images / "0.png").write_bytes(b"what only the server reads")
    whole = Evaluation("s", "data", "dev", None, {"SPICE": 0.1}, [*result.photos[:3], failed])
    write_report(tmp_path / "report.html", whole, photos)
    page = Page((tmp_path / "report.html").read_text())
    assert f"3.png: {HOSTILE}" in page.text
    assert len(page.all("img")) == 2
    assert "0.png cannot be shown here" in page.text
    assert "as the server is configured" in page.text
    assert "not scored" not in page.text
    assert "Scores while it was trained" not in page.text


def test_best_worst_and_random_photos_differ_and_stay_the_same() -> None:
    photos = [Photo(index, f"{index}", "c", cider=index % 50 / 10, failure=None) for index in range(100)]
    chosen = choose(photos)
    assert chosen == choose(photos)
    assert [photo.cider for photo in chosen["Best"]] == sorted((p.cider for p in photos), reverse=True)[:12]
    assert [photo.cider for photo in chosen["Worst"]] == sorted(p.cider for p in photos)[:12]
    every = [photo.image_id for kind in chosen.values() for photo in kind]
    assert len(every) == len(set(every)) == 36
    random = [photo.cider for photo in chosen["Random"]]
    assert random != sorted(random)
    assert {kind: len(few) for kind, few in choose(photos[:2]).items()} == {
        "Best": 1,
        "Worst": 1,
        "Random": 0,
    }


def test_photos_are_small_and_keep_nothing_of_the_camera(tmp_path: Path) -> None:
    camera = Image.effect_noise((1600, 800), 64).convert("RGB")
    exif = Image.Exif()
    exif[0x010F] = "the maker"
    camera.save(tmp_path / "a.jpg", exif=exif, icc_profile=b"a profile", quality=95)
    url = data_url(tmp_path / "a.jpg")
    assert url is not None
    data = base64.b64decode(url.partition(",")[2])
    found = Image.open(io.BytesIO(data))
    assert (found.format, found.size) == ("WEBP", (320, 160))
    assert not found.getexif()
    assert "icc_profile" not in found.info
    assert len(data) < 40_000
    assert data_url(tmp_path / "none.jpg") is None


def test_quartiles() -> None:
    assert list(quartiles([4, 0, 1, 3, 2]).values()) == [0, 1, 2, 3, 4]
    assert list(quartiles([7]).values()) == [7] * 5


def test_curves_are_over_epochs_or_else_steps() -> None:
    (name, chart), *more = score_curves([{"step": 100, "bleu4": 0.1}, {"step": 200, "bleu4": 0.2}])
    assert name == "BLEU-4"
    assert not more
    assert "0.1 at 100, 0.2 at 200" in chart
    assert "0.1 at 1" in score_curves([{"step": 100, "epoch": 1, "bleu4": 0.1}])[0][1]
    assert score_curves([{"loss": 1.0}]) == []
