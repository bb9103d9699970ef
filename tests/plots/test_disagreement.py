"""Where two networks disagree: which pictures, in which order, with which words."""

from __future__ import annotations

from PIL import Image

from bowerbird.plots.disagreement import disagreement, disagreement_sheet
from comparison.contenders import said


def test_disagreements_are_sorted_and_shown_once() -> None:
    a, b = said([True, True, False, False, True]), said([False, False, True, False, True], 2)
    hashes = ("same", "same", "x", "y", "z")
    found = disagreement(("one", "two"), a, b, hashes)
    assert (found.only_a, found.only_b, found.neither) == ((0,), (2,), (3,))
    assert disagreement(("one", "two"), a, b).only_a == (0, 1)
    assert [title for title, _ in found.parts][-1] == "Both are wrong, differently"


def test_the_surest_disagreement_comes_first() -> None:
    a, b = said([True, True]), said([False, False])
    a.probabilities[1] = [0.02, 0.96, 0.02]
    assert disagreement(("one", "two"), a, b).only_a == (1, 0)


def test_long_names_that_differ_in_the_middle_are_told_apart() -> None:
    names = tuple(f"flowers102-efficientnet-lite0-{x}-of-november-2026-once-more" for x in "ab")
    a, b = said([True, False]), said([False, True])
    found = disagreement((names[0], names[1]), a, b)
    assert [title.rpartition("-")[2] for title, _ in found.parts] == ["a… is right", "b… is right"]
    texts = disagreement_sheet(found, a, b, lambda path: None).axes[0].texts
    words = {text.get_text() for text in texts}
    assert {"…efficientnet-lite0-a…", "…efficientnet-lite0-b…"} <= words


def test_the_sheet_has_true_classes_both_answers_and_missing_files() -> None:
    a, b = said([True] * 15 + [False]), said([False] * 15 + [False], 2)
    found = disagreement(("one", "two"), a, b)
    picture = Image.new("RGB", (60, 40), "red")
    figure = disagreement_sheet(found, a, b, lambda path: None if path == "0.png" else picture)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "Only one is right: 15, the surest 12" in words
    assert {"is ant", "✓ ant 80 %", "✗ bee 80 %", "one", "two"} <= set(words)
    assert "can't be read:\n0.png" in words
    same = disagreement(("one", "two"), a, a)
    sheet = disagreement_sheet(same, a, a, lambda path: picture)
    assert "agree on every image" in sheet.axes[0].texts[0].get_text()
