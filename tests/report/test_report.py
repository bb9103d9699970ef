"""The report: one valid, self-contained, escaped page, whatever the run was like."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bowerbird import plots
from bowerbird.data.dataset import Problem
from bowerbird.errors import DataError, RunError
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Evaluation, Predictions
from bowerbird.report import ModelFacts, ReportData, write_model_card, write_report
from bowerbird.report.content import duration, headline, limits, percent, promise, warnings
from bowerbird.report.figures import draw_charts, draw_sheets, save_all

NASTY = ('<b>cats</b> & "co"', "l'été | 猫", "x" * 200)
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Checks nesting, and remembers tags, identifiers and words."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words += data

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def evaluation(
    classes: tuple[str, ...], n: int, sharp: float = 2.5, on: str = "test", leaked: range = range(0)
) -> Evaluation:
    random, k = np.random.default_rng(len(classes)), len(classes)
    targets = np.arange(n) % k
    logits = random.normal(size=(n, k))
    logits[np.arange(n), targets] += sharp
    table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    paths = tuple(f"some folder/{i}.jpg" for i in range(n))
    return score(Predictions(paths, classes, table, targets), on, leaked=leaked)


def picture(path: str) -> Image.Image:
    random = np.random.default_rng(len(path))
    return Image.fromarray(random.integers(0, 255, (90, 120, 3), dtype=np.uint8))


def run(classes: tuple[str, ...] = ("cat", "dog"), n: int = 60, **changes: object) -> ReportData:
    given = changes.pop("evaluation", None) or evaluation(classes, n)
    assert isinstance(given, Evaluation)
    data = ReportData(
        name="a run",
        created="3 October 2025",
        command="bowerbird train DATA --seed 0",
        classes=classes,
        counts={"train": dict.fromkeys(classes, 40), "test": dict.fromkeys(classes, n)},
        evaluations={given.on: given},
        model=ModelFacts("tf_efficientnet_lite0", 3_400_000, 2562, (224, 224), "packaged"),
        usage={"Command line": "bowerbird predict RUN IMAGES"},
        load=picture,
    )
    return replace(data, **changes)  # type: ignore[arg-type]


@pytest.fixture
def page(tmp_path: Path) -> Callable[[ReportData], Page]:
    def write(data: ReportData) -> Page:
        path = write_report(data, tmp_path / "report.html")
        return Page(path.read_text(encoding="utf-8"))

    return write


HISTORY = [
    {"phase": "probe", "regularization": 10.0**i, "val_loss": 0.2, "val_accuracy": 0.9, "chosen": 0}
    for i in range(3)
]


def test_it_says_what_a_manager_wants_to_know(page: Callable[[ReportData], Page]) -> None:
    found = page(run(timings={"total": 83.0}, notes=("Fine-tuning was skipped.",), history=HISTORY))
    main = headline(run())
    for text in (
        promise(main),
        "accuracy on 60 test pictures",
        percent(main.interval.low),
        "1 min 23 s",
        "50.0\xa0%",
        "3.4 M",
        "Fine-tuning was skipped.",
        "bowerbird train DATA --seed 0",
        "bowerbird predict RUN IMAGES",
    ):
        assert text in found.words
    assert "optimistic" not in found.words


def test_it_loads_nothing(page: Callable[[ReportData], Page]) -> None:
    found = page(run(history=HISTORY))
    tags = {tag for tag, _ in found.tags}
    assert not tags & {"script", "iframe", "object", "embed", "video", "audio", "base", "form"}
    assert all(value.startswith("data:") for value in found.attributes("src"))
    assert all(value.startswith(("#", "data:")) for value in found.attributes("href"))
    styles = "".join(found.attributes("style"))
    assert "url(" not in styles


def test_style_sheet_loads_nothing(tmp_path: Path) -> None:
    text = write_report(run(), tmp_path / "report.html").read_text(encoding="utf-8")
    sheet = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert sheet is not None
    assert not re.search(r"url\(|@import|https?:", sheet[1])


def test_it_is_accessible(page: Callable[[ReportData], Page]) -> None:
    found = page(run(history=HISTORY))
    assert ("html", {"lang": "en"}) in found.tags
    assert all(attributes.get("alt") for tag, attributes in found.tags if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in found.tags if tag == "th")
    identifiers = found.attributes("id")
    assert len(identifiers) == len(set(identifiers))
    targets = {href[1:] for href in found.attributes("href") if len(href) > 1 and href[0] == "#"}
    assert targets <= set(identifiers)
    assert [tag for tag, _ in found.tags].count("h1") == 1


def test_everything_is_escaped(page: Callable[[ReportData], Page]) -> None:
    evil = "<script>alert(1)</script>"
    data = run(
        NASTY,
        evaluation=evaluation(NASTY, 60),
        name=evil,
        command=evil,
        notes=(evil,),
        problems=(Problem(evil, evil),),
        ignored={evil: 2},
        config={"train": {evil: evil}},
        environment={"a": evil},
        usage={evil: evil},
        examples={NASTY[0]: [f"{evil}.jpg"]},
        load=lambda path: None,
    )
    found = page(data)
    assert "script" not in {tag for tag, _ in found.tags}
    assert "b" not in {tag for tag, attributes in found.tags if "onerror" in attributes}
    assert found.words.count(evil) >= 8
    for name in NASTY:
        assert name in found.words


def test_broken_file_names_do_not_stop_it(page: Callable[[ReportData], Page]) -> None:
    classes = ("a\udcff", "b")
    assert "a?" in page(run(classes, problems=(Problem("\udcfe.jpg", "truncated"),))).words


@pytest.mark.parametrize(("k", "n", "limit"), [(2, 300, 1_200_000), (102, 600, 4_000_000)])
def test_it_stays_small(tmp_path: Path, k: int, n: int, limit: int) -> None:
    classes = tuple(f"class number {i}" for i in range(k))
    data = run(classes, n, evaluation=evaluation(classes, n, 3.5), history=HISTORY)
    path = write_report(data, tmp_path / "report.html")
    assert path.stat().st_size < limit
    found = Page(path.read_text(encoding="utf-8"))
    assert all(name in found.words for name in classes)


def test_no_mistakes(page: Callable[[ReportData], Page]) -> None:
    perfect = evaluation(("cat", "dog"), 50, 60.0)
    found = page(run(evaluation=perfect))
    assert "No mistakes" in found.words
    assert "expect 93 or more" in found.words
    assert "Most often confused" not in found.words


def test_missing_pictures_are_named(page: Callable[[ReportData], Page]) -> None:
    found = page(run(load=lambda path: None))
    assert "can’t be read: 0.jpg" in found.words
    assert not [src for src in found.attributes("src") if src.startswith("data:image/jpeg")]


def test_without_predictions_counts_or_history(page: Callable[[ReportData], Page]) -> None:
    bare = replace(evaluation(("cat", "dog"), 60), predictions=None)
    found = page(run(evaluation=bare, counts={"train": {"cat": 0}}))
    assert "aren’t at hand here" in found.words
    assert "How training went" not in found.words
    assert "Pictures per class" not in found.words


def test_unlabelled_pictures_are_shown_as_open(page: Callable[[ReportData], Page]) -> None:
    given = Predictions(
        ("a.jpg", "b.jpg"), ("cat", "dog"), np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([0, -1])
    )
    found = page(run(evaluation=score(given)))
    assert "open" in found.attributes("class")
    assert "accuracy on 1 test picture95 %" in found.words


def test_classes_without_pictures_have_no_figures(page: Callable[[ReportData], Page]) -> None:
    given = Predictions(
        ("a.jpg", "b.jpg"), ("cat", "dog"), np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 0])
    )
    found = page(run(evaluation=score(given)))
    assert "no pictures" in found.words
    assert "Not clearly better than a constant answer" in found.words


def test_left_out_files_are_listed_up_to_a_number(page: Callable[[ReportData], Page]) -> None:
    problems = [Problem(f"broken{i}.jpg", "truncated JPEG") for i in range(250)]
    found = page(run(problems=problems, ignored={"hidden": 3, "not an image": 2}))
    assert "250 images could not be used" in found.words
    assert "broken199.jpg" in found.words
    assert "broken200.jpg" not in found.words
    assert "And 50 more" in found.words
    assert "3 hidden, 2 not an image." in found.words


def test_leaks_stand_beside_the_score(page: Callable[[ReportData], Page]) -> None:
    given = evaluation(("cat", "dog"), 60, leaked=range(7))
    assert given.without_leaks is not None
    found = page(run(evaluation=given))
    assert "test without leaked pictures" in found.words
    assert "7 left out" in found.words
    assert percent(given.without_leaks.accuracy) in found.words


def test_warnings_and_limits() -> None:
    on_val = run(evaluation=evaluation(("cat", "dog"), 400, on="val"))
    assert [title for title, _ in warnings(on_val)] == ["This score is optimistic"]
    assert warnings(run(n=400)) == []
    assert [title for title, _ in warnings(run(n=30))] == ["Few pictures to measure on"]
    guess = run(evaluation=evaluation(("cat", "dog"), 400, 0.0))
    assert "Not clearly better" in warnings(guess)[0][0]
    assert any("Nobody looked" in text for text in limits(run()))
    assert not any("Nobody looked" in text for text in limits(run(leaked=0)))
    assert any("fewer than 20" in text and "cat, dog" in text for text in limits(run(n=30)))


def test_test_counts_before_validation() -> None:
    test, val = evaluation(("a", "b"), 40), evaluation(("a", "b"), 50, on="val")
    assert headline(run(evaluations={"val": val, "test": test})) is test
    assert headline(run(evaluations={"val": val})) is val
    with pytest.raises(DataError, match="no score to report"):
        headline(run(evaluations={}))


@pytest.mark.parametrize(
    ("right", "n", "sentence"),
    [
        (982, 1000, "Of 100 new pictures like these, about 98 (97–99) will be named rightly."),
        (997, 1000, "Of 1,000 new pictures like these, about 997 (991–999) will be named rightly."),
        (45, 50, "Of 100 new pictures like these, about 90 (79–96) will be named rightly."),
    ],
)
def test_promise(right: int, n: int, sentence: str) -> None:
    said = np.array([0] * right + [1] * (n - right))
    given = Predictions(tuple(map(str, range(n))), ("a", "b"), np.eye(2)[said], np.zeros(n, int))
    assert promise(score(given)) == sentence


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (0.04, "40 ms"),
        (0.0996, "0.1 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (3599.7, "1 h"),
        (5400, "1 h 30 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_model_card(tmp_path: Path) -> None:
    data = run(
        NASTY,
        evaluation=evaluation(NASTY, 60),
        name="# a *run*\n---",
        usage={"Python": "print('```')"},
    )
    text = write_model_card(data, tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\nlibrary_name: timm\n")
    assert r"\<b\>cats\</b\> \& " in text
    assert r"l'été \| 猫" in text
    assert "# \\# a \\*run\\* \\-\\-\\-\n" in text
    assert "````\nprint('```')\n````" in text
    assert "bowerbird train DATA --seed 0" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    unescaped = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    assert set(unescaped) == {3, 6}


def test_page_and_card_tell_how_it_was_trained(
    page: Callable[[ReportData], Page], tmp_path: Path
) -> None:
    data = run(training="Layers were released <step by step>.", history=HISTORY)
    assert "Layers were released <step by step>." in page(data).words
    text = write_model_card(data, tmp_path / "README.md").read_text(encoding="utf-8")
    assert r"Layers were released \<step by step\>." in text


def test_random_weights_come_from_nowhere(
    page: Callable[[ReportData], Page], tmp_path: Path
) -> None:
    data = run(model=ModelFacts("resnet18", 11_000_000, 11_000_000, (32, 32)))
    card = write_model_card(data, tmp_path / "README.md").read_text(encoding="utf-8")
    for text in (page(data).words, card):
        assert "It started from random weights." in text
        assert "icence" not in text


def test_a_network_that_timm_cannot_load_is_not_said_to_be_its(tmp_path: Path) -> None:
    facts = ModelFacts("torchvision:alexnet", 57_000_000, 4098, (224, 224), "file: x")
    for data, count in ((run(), 2), (run(model=replace(facts, in_timm=False)), 0)):
        text = write_model_card(data, tmp_path / "README.md").read_text(encoding="utf-8")
        head = text.split("---")[1]
        assert head.count("timm") == count
        assert "bowerbird]" in head
        assert "\n\n\n\n" not in text


@pytest.mark.parametrize(("facts", "columns"), [(4, 4), (5, 5), (6, 6), (7, 4), (8, 4)])
def test_facts_stand_in_rows_of_nearly_the_same_length(
    page: Callable[[ReportData], Page], facts: int, columns: int
) -> None:
    given = evaluation(("cat", "dog"), 60, leaked=range(7) if facts > 5 else range(0))
    given = replace(given, kappa=0.5 if facts > 6 else None)
    given = replace(given, top_k={5: 0.9} if facts > 7 else {})
    data = run(evaluation=given, timings={"total": 3.0} if facts > 4 else {})
    found = page(data)
    values = [a for _, a in found.tags if a.get("class") == "value"]
    assert len(values) == facts
    assert f"--columns:{columns}" in found.attributes("style")


def test_a_figure_drawn_before_is_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = run(history=HISTORY)
    charts = draw_charts(data)
    save_all(charts, tmp_path, dpi=50)
    assert {p.stem for p in tmp_path.iterdir()} == set(charts)
    fresh = write_report(data, tmp_path / "fresh.html").stat().st_size

    def refuse(*_: object) -> None:
        pytest.fail("drawn again")

    for name in ("confusion_matrix", "class_distribution", "curves", "per_class_recall"):
        monkeypatch.setattr(plots, name, refuse)
    again = write_report(data, tmp_path / "again.html", charts).stat().st_size
    assert again == pytest.approx(fresh, rel=0.05)


def test_sheets_are_for_pictures_that_are_there() -> None:
    assert set(draw_sheets(run())) == {"mistakes", "least_sure", "surest"}
    perfect = evaluation(("cat", "dog"), 50, 60.0)
    assert "mistakes" not in draw_sheets(run(evaluation=perfect))
    assert draw_sheets(run(evaluation=replace(perfect, predictions=None))) == {}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="can't be written"):
        write_report(run(), tmp_path / "no such folder" / "report.html")
    assert list(tmp_path.iterdir()) == []
