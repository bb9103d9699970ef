"""Pages of pictures: what stands above and below them, and that it keeps to its tile."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bowerbird.evaluation.results import Predictions
from bowerbird.plots.sheet import prediction_sheet

LONG = (
    "bishop of llandaff, a dahlia with very dark leaves", "WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW",
    "猫" * 40,
)  # fmt: skip


def given(classes: tuple[str, ...], targets: list[int], soft: bool = True) -> Predictions:
    """Each picture is taken for one class after the other, with 100 %."""
    table = np.eye(len(classes))[np.arange(len(targets)) % len(classes)]
    paths = tuple(f"{'long_' * 9}{n}.png" for n in range(len(targets)))
    return Predictions(paths, classes, table, targets, soft=soft)


def texts(figure: Figure) -> list[Text]:
    figure.draw_without_rendering()
    return [text for text in figure.findobj(Text) if text.get_text()]


def grey(_: str) -> Image.Image:
    return Image.new("RGB", (40, 30), "grey")


def test_where_no_class_is_known_there_is_no_mark() -> None:
    figure = prediction_sheet(given(("cat", "dog"), [-1, 1, 0]), range(3), grey)
    shown = {text.get_text() for text in texts(figure)}
    assert shown == {"cat 100 %", "✓ dog 100 %", "✓ cat 100 %"}


@pytest.mark.parametrize(
    ("pictures", "shown", "soft", "title"),
    [
        (3, 3, True, "What 3 images were taken for, and how surely"),
        (3, 2, True, "What 2 of 3 images were taken for, and how surely"),
        (1, 1, False, "What 1 image was taken for"),
    ],
)
def test_a_page_with_file_names_has_a_title(
    pictures: int, shown: int, soft: bool, title: str
) -> None:
    found = given(("cat", "dog"), [-1] * pictures, soft)
    words = [t.get_text() for t in texts(prediction_sheet(found, range(shown), grey, names=True))]
    assert title in words
    assert title not in [t.get_text() for t in texts(prediction_sheet(found, range(shown), grey))]
    mine = prediction_sheet(found, range(shown), grey, names=True, title="Mine")
    assert {"Mine", title} & {t.get_text() for t in texts(mine)} == {"Mine"}


@pytest.mark.filterwarnings("ignore:Glyph .* missing from")
@pytest.mark.parametrize("columns", [3, 6])
def test_words_are_no_wider_than_their_picture(columns: int) -> None:
    found = given(LONG, [1, 2, 0, -1, -1, -1, 0, 1, 2])
    figure = prediction_sheet(found, range(9), grey, columns, title="Title", names=True)
    (axes,) = figure.axes
    drawn = [text for text in texts(figure) if text.get_text() != "Title"]
    assert len(drawn) == 9 + 3 + 9
    tile = axes.transData.transform((1, 0))[0] - axes.transData.transform((0, 0))[0]
    for text in drawn:
        assert text.get_window_extent().width < 0.95 * tile
    assert sum(text.get_text().endswith(" 100 %") for text in drawn) == 9
    assert any("…" in text.get_text() for text in drawn)


def test_names_that_fit_stay_whole() -> None:
    figure = prediction_sheet(given(("anthurium", "love in the mist"), [0, 1]), range(2), grey)
    drawn = {text.get_text(): text.get_weight() for text in texts(figure)}
    assert drawn == {"✓ anthurium 100 %": "bold", "✓ love in the mist 100 %": "normal"}
