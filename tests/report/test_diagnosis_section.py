"""The diagnosis on the page and in the model card: all of it, escaped, or not at all."""

from __future__ import annotations

from pathlib import Path

from bowerbird.auditing.results import LearningCurve
from bowerbird.comparison.advice import NextStep
from bowerbird.comparison.diagnosis import Diagnosis, Finding
from bowerbird.comparison.figures import Cost
from bowerbird.report import write_model_card, write_report
from bowerbird.report.figures import draw_charts
from report.test_report import NASTY, Page, run

CURVE = LearningCurve(
    (50, 100, 200), (0.7, 0.8, 0.85), (0.6, 0.7, 0.8), (0.8, 0.9, 0.9), (0.88, 0.86, 0.9)
)
FEW = Finding(
    "too few images", f"More of {NASTY[0]} should help.", Cost(0.04, 0.02, 0.06),
    ("Each doubling takes away 20 % of the mistakes.",),
    (NextStep(f"More of {NASTY[1]}."), NextStep("Compare.", "bowerbird bakeoff '<data>'")),
)  # fmt: skip
NOISY = Finding("noisy labels", "About 9 labels are wrong.", Cost(0.01, 0.005, 0.02))
DIAGNOSIS = Diagnosis((FEW, NOISY), ("Three epochs are too few.",), CURVE, 200)


def test_the_page_says_all_of_it(tmp_path: Path) -> None:
    path = write_report(run(diagnosis=DIAGNOSIS), tmp_path / "report.html")
    found = Page(path.read_text(encoding="utf-8"))
    for text in (
        "Too few images", f"More of {NASTY[0]} should help.", "Each doubling takes away",
        f"More of {NASTY[1]}.", "bowerbird bakeoff '<data>'", "Noisy labels",
        "Three epochs are too few.", "What costs most comes first.", "What more pictures bring",
    ):  # fmt: skip
        assert text in found.words
    assert "#diagnosis" in found.attributes("href")
    assert any("Accuracy on frozen features" in alt for alt in found.attributes("alt"))


def test_without_a_curve_there_is_no_figure(tmp_path: Path) -> None:
    plain = Diagnosis((NOISY,))
    assert "learning_curve" not in draw_charts(run(diagnosis=plain))
    path = write_report(run(diagnosis=plain), tmp_path / "report.html")
    found = Page(path.read_text(encoding="utf-8"))
    assert "About 9 labels are wrong." in found.words
    assert "What more pictures bring" not in found.words
    assert "What this can’t tell" not in found.words


def test_who_is_done_needs_no_figure() -> None:
    done = Diagnosis((Finding("done", "It is."),), curve=CURVE)
    assert "learning_curve" not in draw_charts(run(diagnosis=done))
    assert "learning_curve" in draw_charts(run(diagnosis=DIAGNOSIS))


def test_without_a_diagnosis_there_is_no_section(tmp_path: Path) -> None:
    path = write_report(run(), tmp_path / "report.html")
    assert "diagnosis" not in Page(path.read_text(encoding="utf-8")).attributes("id")


def test_the_card_has_a_line(tmp_path: Path) -> None:
    card = write_model_card(run(diagnosis=DIAGNOSIS), tmp_path / "README.md").read_text()
    assert "Diagnosis: too few images. More of" in card
    assert "Also: noisy labels" in card
    assert "<b>" not in card
    assert "Diagnosis" not in write_model_card(run(), tmp_path / "CARD.md").read_text()
