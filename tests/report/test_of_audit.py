"""What an audit writes: a table, JSON, and a page that is valid, bounded and loads nothing."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bowerbird.auditing.results import (
    KINDS,
    Audit,
    Case,
    Errors,
    Finding,
    LearningCurve,
    Shortcut,
    in_order,
)
from bowerbird.errors import RunError
from bowerbird.report import of_audit_cards
from bowerbird.report.of_audit import found_words, write_audit
from bowerbird.report.of_audit_cards import cards_of
from drawing import draw_folder

NASTY = '</script><b>&amp; "l\'été" 猫'


class Page(HTMLParser):
    """Checks nesting, and remembers tags and words outside of scripts."""

    void = frozenset({"meta", "link", "img", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words, self.scripts = "", [""]
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "script":
            self.scripts.append("")
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.words = f"{self.words} {' '.join(data.split())}".strip()


def an_audit(root: Path, classes: tuple[str, ...] = ("cat", "dog")) -> Audit:
    draw_folder(root, classes[:2], 6, size=300)
    cat, dog = (f"{name}/{name}" for name in classes[:2])
    sure = Case(f"{cat}_000.jpg", classes[0], "train", "probability .98", "relabel", classes[1])
    beside = (Case(f"{dog}_003.jpg", classes[1]), Case(f"{cat}_003.jpg", classes[0]))
    findings = (
        Finding("suspect", f"looks like {classes[1]}", 0.91, (sure,), beside),
        Finding("suspect", "odd", 0.5, (Case(f"{dog}_000.jpg", classes[1], "test"),), beside),
        Finding(
            "copy",
            "same bytes",
            1.0,
            (Case(f"{cat}_001.jpg", classes[0]), Case(f"{cat}_000.jpg", classes[0], action="drop")),
        ),
        Finding("unreadable", "truncated JPEG", 1.0, (Case("gone.jpg", None, action="drop"),)),
    )
    return Audit(
        root,
        classes,
        {"test": dict.fromkeys(classes, 2), "train": dict.fromkeys(classes, 4)},
        in_order(findings),
        (Shortcut("image size", 0.9, 0.5, 0.005, "wide"), Shortcut("format", 0.53, 0.5, 0.01)),
        LearningCurve((10, 20), (0.8, 0.9), (0.7, 0.85), (0.9, 0.95), (0.95, 0.9, 0.97)),
        Errors(1.6, 1, 4),
        {f"{cat}_000.jpg": "a" * 32},
        ("A note.",),
        {"model": "test_resnet"},
    )


def page(audit: Audit, folder: Path) -> Page:
    write_audit(audit, folder)
    return Page((folder / "audit.html").read_text(encoding="utf-8"))


def embedded(found: Page) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(found.scripts[1])
    return data


def test_a_row_per_finding_and_image(tmp_path: Path) -> None:
    write_audit(an_audit(tmp_path / "data"), tmp_path / "audit")
    with (tmp_path / "audit" / "issues.csv").open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert [(r["kind"], r["image"], r["suggestion"]) for r in rows] == [
        ("unreadable", "gone.jpg", "drop"),
        ("suspect", "cat/cat_000.jpg", "relabel to dog"),
        ("suspect", "dog/dog_000.jpg", "keep"),
        ("copy", "cat/cat_001.jpg", "keep"),
        ("copy", "cat/cat_000.jpg", "drop"),
    ]
    assert rows[1] == {
        "kind": "suspect", "image": "cat/cat_000.jpg", "class": "cat", "score": "0.91",
        "suggestion": "relabel to dog", "partner": "", "split": "train", "reason": "looks like dog",
        "evidence": "dog/dog_003.jpg | cat/cat_003.jpg",
    }  # fmt: skip
    assert rows[3]["partner"] == "cat/cat_000.jpg"


def test_the_json_is_the_audit(tmp_path: Path) -> None:
    audit = an_audit(tmp_path / "data")
    write_audit(audit, tmp_path / "audit")
    found = json.loads((tmp_path / "audit" / "audit.json").read_text(encoding="utf-8"))
    assert found == json.loads(json.dumps(audit.to_dict()))


def test_the_page_says_what_was_found(tmp_path: Path) -> None:
    found = page(an_audit(tmp_path / "data"), tmp_path / "audit")
    for words in (
        "1 file can’t be read",
        "2 labels look wrong",
        "1 picture is there more than once (2 files)",
        "and not found: leaks between splits · one picture, several labels · ",
        "95 % interval 1 to 4",
        "The classes are of the same size.",
        "Twice the images would bring about 5.0 points: 95.0 % ",
        "A note.",
        "image size",
    ):
        assert words in found.words.replace("\xa0", " ")
    tells = [attributes for tag, attributes in found.tags if attributes.get("class") == "tells"]
    assert len(tells) == 1


def test_the_page_loads_nothing_and_ends_where_it_should(tmp_path: Path) -> None:
    root = tmp_path / "data"
    audit = an_audit(root)
    worst = Case(f"{NASTY}.jpg", NASTY, NASTY, NASTY, "relabel", NASTY)
    audit = replace(
        audit,
        classes=("cat", NASTY),
        findings=(Finding("odd", NASTY, 1.0, (worst,), (worst,)),),
        notes=(NASTY,),
        settings={NASTY: NASTY},
    )
    found = page(audit, tmp_path / "audit")
    assert NASTY in found.words
    assert embedded(found)["images"]["path"] == [f"{NASTY}.jpg"]
    for name in ("src", "href"):
        values = [a[name] for _, a in found.tags if name in a]
        assert values and all(value.startswith(("#", "data:")) for value in values)
    assert "default-src 'none'" in next(
        a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    text = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    assert not re.search(
        r"https?://(?!www\.w3\.org|matplotlib)", re.sub(r"base64,[^\"]+", "", text)
    )


def test_each_picture_is_in_the_page_once(tmp_path: Path) -> None:
    cards = cards_of(an_audit(tmp_path / "data"))
    images = cards.data["images"]
    assert len(cards.pictures) == len(set(cards.pictures)) == 5
    assert len(images["path"]) == len(set(images["path"])) == 6
    assert images["picture"][images["path"].index("gone.jpg")] == -1
    assert images["hash"][images["path"].index("cat/cat_000.jpg")] == "a" * 32
    assert cards.left_out == 0


def test_pictures_are_whole_and_upright(tmp_path: Path) -> None:
    import base64
    import io

    tall = Image.new("RGB", (400, 100), "white")
    exif = tall.getexif()
    exif[0x0112] = 6
    tall.save(tmp_path / "turned.jpg", exif=exif)
    audit = Audit(tmp_path, (), {}, (Finding("odd", "EXIF", 1.0, (Case("turned.jpg"),)),))
    with Image.open(io.BytesIO(base64.b64decode(cards_of(audit).pictures[0]))) as shown:
        assert shown.size == (64, 256)


def test_many_findings_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_audit_cards, "PICTURES", 4)
    monkeypatch.setattr(of_audit_cards, "CASES", 40)
    root = draw_folder(tmp_path / "data", ("cat", "dog"), 12)
    cases = [Case(f"cat/cat_{n:03d}.jpg", "cat") for n in range(12)]
    beside = (Case("dog/dog_000.jpg", "dog"),)
    findings = [Finding("suspect", "s", 1 - n / 99, (c,), beside) for n, c in enumerate(cases)]
    findings += [Finding("odd", "o", 1.0, tuple(cases)) for _ in range(3)]
    audit = Audit(root, ("cat", "dog"), {"all": {"cat": 12, "dog": 12}}, in_order(findings))
    cards = cards_of(audit)
    assert len(cards.pictures) == 4
    assert len(cards.data["findings"]) == 14
    assert cards.left_out == 1
    last = cards.data["findings"][11]
    assert last[3] == []  # beside an image without picture, nothing is compared
    write_audit(audit, tmp_path / "audit")
    page = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    assert "1 further finding can be seen in issues.csv only" in page


def test_pictures_stop_at_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = an_audit(tmp_path / "data")
    monkeypatch.setattr(of_audit_cards, "BYTES", 2 * len(cards_of(audit).pictures[0]) + 99)
    assert 1 <= len(cards_of(audit).pictures) < 5


def test_a_page_of_no_findings_says_so(tmp_path: Path) -> None:
    audit = replace(an_audit(tmp_path / "data"), findings=(), shortcuts=(), curve=None, errors=None)
    found = page(audit, tmp_path / "audit")
    assert "Nothing was found None of the 12 images gave cause for doubt" in found.words
    assert all(kind.title in found.words and kind.words in found.words for kind in KINDS.values())
    assert "script" not in {tag for tag, _ in found.tags}
    rows = (tmp_path / "audit" / "issues.csv").read_text().splitlines()
    assert rows == ["kind,image,class,score,suggestion,partner,evidence,split,reason"]


@pytest.mark.parametrize("many", [0, 1, 2, 102])
def test_balance_of_any_number_of_classes(tmp_path: Path, many: int) -> None:
    names = tuple(f"class {n}" for n in range(many))
    counts = {"all": {name: 3 * n for n, name in enumerate(names)}}
    found = page(Audit(tmp_path / "data", names, counts), tmp_path / "audit")
    bars = [attributes for tag, attributes in found.tags if tag == "li" and "title" in attributes]
    assert len(bars) == many
    if many > 1:
        assert "“class 0” has no readable image." in found.words
    if many > 12:
        assert bars[0]["title"] == "class 101: 303"


def test_sentences_have_their_numbers() -> None:
    case = Case("a.png")
    findings = tuple(Finding(kind, "r", 1.0, (case,)) for kind in KINDS)
    words = dict(found_words(Audit(Path("/x"), (), {}, findings)))
    assert list(words) == list(KINDS)
    assert all(sentence.startswith("1 ") for sentence in words.values())


def test_the_command_reads_the_data_as_the_audit_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = {"data": "data", "read": {"manifest": "my list.csv", "label_column": "it's"}}
    audit = replace(an_audit(tmp_path / "data"), settings=asked)
    assert embedded(page(audit, tmp_path / "audit"))["command"] == (
        f"bowerbird apply {tmp_path}/data fixes.csv --manifest '{tmp_path}/my list.csv' "
        "--label-column 'it'\"'\"'s'"
    )
    elsewhere = replace(audit, settings={"data": "hf://datasets/a/b"})
    command = embedded(page(elsewhere, tmp_path / "audit"))["command"]
    assert command == "bowerbird apply hf://datasets/a/b fixes.csv"


def test_nothing_is_written_among_the_images(tmp_path: Path) -> None:
    audit = an_audit(tmp_path / "data")
    with pytest.raises(RunError, match="only ever read"):
        write_audit(audit, tmp_path / "data" / "audit")
    assert not (tmp_path / "data" / "audit").exists()
