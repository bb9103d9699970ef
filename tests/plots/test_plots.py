"""Figures: what they say is there, nothing is cut off, names can be told apart."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bowerbird import plots
from bowerbird.errors import DataError, RunError
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Confusion, Evaluation, Predictions
from bowerbird.plots.style import labels, percent


def evaluation(k: int, n: int, sharp: float = 3.0) -> Evaluation:
    random = np.random.default_rng(k)
    targets = np.arange(n) % k
    logits = random.normal(size=(n, k))
    logits[np.arange(n), targets] += sharp
    table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = tuple(f"a rather long name for class number {i} of them" for i in range(k))
    return score(Predictions(tuple(f"{i}.png" for i in range(n)), names, table, targets), "val")


def texts(figure: Figure) -> list[Text]:
    """The words that are really drawn: ticks out of view are not."""
    drawn: list[Text] = []

    def record(text: Text, renderer: object) -> None:
        drawn.append(text)

    with mock.patch.object(Text, "draw", record):
        figure.draw_without_rendering()
    return [t for t in drawn if t.get_visible() and t.get_text().strip()]


def words(figure: Figure) -> str:
    return "\n".join(t.get_text() for t in texts(figure))


def assert_nothing_is_cut_off(figure: Figure) -> None:
    edge = figure.bbox
    for text in texts(figure):
        box = text.get_window_extent()
        inside = (
            box.x0 >= edge.x0 - 1
            and box.y0 >= edge.y0 - 1
            and box.x1 <= edge.x1 + 1
            and box.y1 <= edge.y1 + 1
        )
        assert inside, f"{text.get_text()!r} at {box} leaves {edge}"


def assert_rows_do_not_touch(figure: Figure) -> None:
    """Of a figure that has been laid out."""
    for axes in figure.axes:
        boxes = [t.get_window_extent() for t in axes.get_yticklabels() if t.get_text()]
        boxes.sort(key=lambda box: box.y0)
        for below, above in itertools.pairwise(boxes):
            assert above.y0 >= below.y0 + 0.7 * below.height


PROBE: list[dict[str, Any]] = [
    {
        "phase": "probe",
        "regularization": 10.0 ** (i - 3),
        "train_loss": 0.5 / (i + 1),
        "val_loss": 0.6 / (i + 1),
        "train_accuracy": 0.9 + 0.02 * i,
        "val_accuracy": 0.88 + 0.02 * i,
        "chosen": int(i == 2),
    }
    for i in range(5)
]
TUNED: list[dict[str, Any]] = [
    {
        "phase": "finetune",
        "epoch": i + 1,
        "step_name": "head" if i < 2 else "blocks.6",
        "train_loss": 0.5 - 0.05 * i,
        "val_loss": 0.5 - 0.04 * i,
        "train_accuracy": 0.9 + 0.01 * i,
        "val_accuracy": 0.9 + 0.005 * i,
        "chosen": 0,
    }
    for i in range(5)
]


@pytest.mark.parametrize(("k", "n"), [(2, 40), (20, 300), (102, 500)])
def test_matrix_and_rows_fit_their_figures(k: int, n: int) -> None:
    found = evaluation(k, n)
    counts = {"train": dict.fromkeys(found.confusion.classes, 30), "val": {}}
    for figure in (
        plots.confusion_matrix(found.confusion),
        plots.per_class_recall(found),
        plots.class_distribution(counts),
    ):
        assert_nothing_is_cut_off(figure)
        assert_rows_do_not_touch(figure)


def test_many_long_names_stay_apart() -> None:
    names = [f"a rather long name for class number {i} of them" for i in range(219)]
    assert len(set(labels(names))) == 219
    assert max(map(len, labels(names))) <= 40


def test_every_class_is_named_in_a_large_matrix() -> None:
    names = tuple(f"class{i}" for i in range(102))
    figure = plots.confusion_matrix(Confusion(np.eye(102, dtype=np.int64), names, "test"))
    shown = words(figure)
    assert all(f"class{i}" in shown.split() for i in range(102))
    assert "Confusion on test" in shown


def test_matrix_shows_shares_or_counts() -> None:
    table = Confusion(np.array([[3, 1], [0, 0]]), ("a", "b"), "val")
    shares = words(plots.confusion_matrix(table)).split("\n")
    assert {"75.0", "25.0", "Confusion on val", "predicted class", "true class"} <= set(shares)
    counts = words(plots.confusion_matrix(table, normalize=False)).split("\n")
    assert {"3", "1", "pictures"} <= set(counts)


def test_rare_mistakes_are_not_rounded_away() -> None:
    counts = np.diag([1000] * 6)
    counts[0, 1] = 1
    shown = words(plots.confusion_matrix(Confusion(counts, tuple("abcdef")))).split("\n")
    assert {"<1", ">99", "100"} <= set(shown)


def test_rows_without_pictures_are_hatched() -> None:
    table = Confusion(np.array([[3, 1], [0, 0]]), ("a", "b"))
    hatched = [
        patch for patch in plots.confusion_matrix(table).axes[0].patches if patch.get_hatch()
    ]
    assert [patch.get_y() + 0.5 for patch in hatched] == [1.0]  # type: ignore[attr-defined]


def test_matrix_of_nothing_still_draws() -> None:
    empty = Confusion(np.zeros((2, 2), np.int64), ("a", "b"))
    assert_nothing_is_cut_off(plots.confusion_matrix(empty, normalize=False))


@pytest.mark.parametrize(
    "history", [PROBE, TUNED, PROBE + TUNED, TUNED[:1], PROBE[:1]], ids=lambda h: str(len(h))
)
def test_curves_draw_and_fit(history: list[dict[str, Any]]) -> None:
    figure = plots.curves(history)
    assert len(figure.axes) == 2 * len({row["phase"] for row in history})
    assert_nothing_is_cut_off(figure)


def test_curves_say_what_was_kept_and_what_was_unfrozen() -> None:
    shown = words(plots.curves(PROBE + TUNED))
    assert "92 %" in shown
    assert "kept" in shown
    assert "blocks.6" in shown
    assert "stronger" in shown


def steps(*names: str, kept: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    """An epoch per name."""
    return [
        TUNED[0]
        | {
            "epoch": n,
            "step_name": name,
            "val_accuracy": 0.5 + n / 50,
            "chosen": int(n in kept),
        }
        for n, name in enumerate(names, start=1)
    ]


@pytest.mark.parametrize(("kept", "words"), [((3,), "kept: 56 %"), ((2, 4), "kept")])
def test_the_epochs_that_were_kept_have_a_ring(kept: tuple[int, ...], words: str) -> None:
    axes = plots.curves(steps("head", "head", "layer4", "layer4", "layer4", kept=kept)).axes[1]
    ring = next(line for line in axes.lines if str(line.get_label()).startswith("kept"))
    assert ring.get_label() == words
    assert list(ring.get_xdata()) == list(kept)
    assert list(ring.get_ydata()) == pytest.approx([0.5 + n / 50 for n in kept])


@pytest.mark.parametrize(
    "names",
    [
        ["from blocks.6"] * 6 + ["from blocks.4"] * 12,
        ["head", "head", "from layer4", "from layer4", "from layer3", "from layer2"],
        [f"from stages.{n}.blocks" for n in range(20)],
        ["from features.denseblock3.denselayer12", "from a", "from features.transition2"],
        ["all layers"],
    ],
    ids=len,
)
def test_names_of_steps_lie_over_no_line_and_not_over_each_other(names: list[str]) -> None:
    figure = plots.curves(steps(*names))
    assert_nothing_is_cut_off(figure)
    for axes in figure.axes:
        boxes = [note.get_window_extent() for note in axes.texts]
        distinct = 1 + sum(a != b for a, b in itertools.pairwise(names))
        assert len(boxes) == distinct
        title = axes.title.get_window_extent() if axes.title.get_text() else None
        title = title or axes._left_title.get_window_extent()  # type: ignore[attr-defined]
        for box in boxes:
            assert box.y0 >= axes.bbox.y1
            assert box.y1 <= title.y0
        for left, right in itertools.pairwise(sorted(boxes, key=lambda box: box.x0)):
            assert left.x1 <= right.x0


def test_steps_are_named_whole_where_there_is_room() -> None:
    shown = words(plots.curves(steps(*["from blocks.6"] * 6, *["from blocks.4"] * 12)))
    assert "from blocks.6" in shown and "from blocks.4" in shown


def test_training_without_a_probe_is_not_called_fine_tuning() -> None:
    assert "Loss while training" in words(plots.curves(TUNED))
    assert "Loss while fine-tuning" in words(plots.curves(PROBE + TUNED))


def test_curves_follow_the_strength_not_the_order() -> None:
    line = plots.curves(PROBE[::-1]).axes[0].lines[0]
    assert list(line.get_xdata()) == pytest.approx([1e-3, 1e-2, 1e-1, 1, 10])


def test_curves_read_text_and_leave_out_what_is_missing() -> None:
    rows = [{k: str(v) for k, v in row.items()} | {"train_loss": ""} for row in PROBE]
    figure = plots.curves(rows)
    shown = [line.get_label() for line in figure.axes[0].lines]
    assert "validation" in shown
    assert "training" not in shown


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(DataError, match="no row"):
        plots.curves([])
    with pytest.raises(DataError, match="no picture"):
        plots.class_distribution({"train": {"a": 0}})
    found = evaluation(2, 4)
    assert found.predictions is not None
    with pytest.raises(DataError, match="no index"):
        plots.prediction_sheet(found.predictions, [], lambda path: None)


def test_distribution_stacks_splits_and_totals() -> None:
    figure = plots.class_distribution({"train": {"b": 7, "a": 5}, "test": {"a": 1, "c": 2}})
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["b", "a", "c"]
    assert [bar.get_width() for bar in axes.patches] == [7, 5, 0, 0, 1, 2]
    assert {"train", "test", "7", "6", "2"} <= set(words(figure).split("\n"))


def test_recall_is_sorted_and_leaves_out_empty_classes() -> None:
    table = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    given = Predictions(tuple("xyz"), ("weak", "strong", "absent"), table, np.array([0, 1, 1]))
    axes = plots.per_class_recall(score(given)).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["weak", "strong"]
    assert list(axes.lines[0].get_xdata()) == [1.0, 0.5]


def test_sheet_tells_right_wrong_unlabelled_and_missing() -> None:
    table = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])
    given = Predictions(
        ("a.png", "b.png", "c.png", "gone.png"), ("cat", "dog"), table, [0, 1, -1, 1]
    )
    pictures = {name: Image.new("L", (40, 20), 90) for name in ("a.png", "b.png", "c.png")}
    figure = plots.prediction_sheet(given, range(4), pictures.get, columns=3)
    shown = words(figure)
    for text in ("✓ cat 90 %", "✗ cat 90 %", "is dog", "dog 80 %", "gone.png"):
        assert text in shown
    assert len(figure.axes[0].images) == 3
    assert_nothing_is_cut_off(figure)


def test_names_are_shown_as_they_are() -> None:
    names = ("a$b$c", "x_y^2\nz")
    figure = plots.confusion_matrix(Confusion(np.eye(2, dtype=np.int64), names))
    assert "a$b$c" in words(figure)
    assert not any(t.get_parse_math() for t in texts(figure) if "$" in t.get_text())
    plots.render(figure)


def test_unknown_scripts_and_broken_names_do_not_stop_a_figure(tmp_path: Path) -> None:
    names = ("猫", "\udcff broken", "क्ष")
    figure = plots.confusion_matrix(Confusion(np.eye(3, dtype=np.int64), names))
    assert plots.save(figure, tmp_path / "figure.svg").stat().st_size > 1000


def test_saving(tmp_path: Path) -> None:
    figure = plots.per_class_recall(evaluation(2, 20))
    path = plots.save(figure, tmp_path / "a.png", dpi=50)
    with Image.open(path) as image:
        assert image.size == tuple(np.round(figure.get_size_inches() * 50))
    assert plots.save(figure, tmp_path / "a.svg").read_bytes().startswith(b"<?xml")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.svg"]
    with pytest.raises(RunError, match="can't be written"):
        plots.save(figure, tmp_path / "no such folder" / "a.png")


def test_same_figure_gives_the_same_bytes() -> None:
    first, second = (
        plots.render(plots.per_class_recall(evaluation(2, 20)), "svg") for _ in range(2)
    )
    assert first == second


def test_no_global_state() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.curves(PROBE)
    assert dict(matplotlib.rcParams) == before


def test_importing_is_cheap_and_drawing_needs_no_pyplot() -> None:
    code = (
        "import sys, bowerbird.plots as p; "
        "assert not {'matplotlib', 'torch', 'sklearn'} & set(sys.modules); "
        "p.class_distribution({'train': {'a': 1}}); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize(
    ("share", "text"), [(0.9375, "93.8 %"), (1.0, "100 %"), (0.05, "5 %"), (0.0, "0 %")]
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize("length", [5, 6, 24])
def test_shortened_keeps_both_ends(length: int) -> None:
    short = plots.shortened("abcdefghijklmnopqrstuvwxyz 0123456789", length)
    assert len(short) == length
    assert short[0] == "a"
    assert short[-1] == "9"
    assert plots.shortened("abc", length) == "abc"
