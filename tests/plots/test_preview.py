"""The sheet of a preview: everything is said once, nothing touches anything else."""

from __future__ import annotations

import io
import itertools
from unittest import mock

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bowerbird.config import parse_augment
from bowerbird.config.augment import AUGMENTATIONS, describe
from bowerbird.data.augmenting.preview import Preview, PreviewRow
from bowerbird.plots import preview_sheet, render

EVERY = ",".join(f"{name}@0.5" for name in AUGMENTATIONS if name != "fill") + ",fill=reflect"


def made(augment: str, rows: int = 3, draws: int = 3, shape: tuple[int, int] = (40, 60)) -> Preview:
    changes = parse_augment(augment)
    alone = [name for name in changes if name != "fill"]
    count = 1 + len(alone) + draws
    pictures = tuple(np.full((*shape, 3), 20 * n % 256, np.uint8) for n in range(count))
    words = ("", *(describe(n, changes) for n in alone), "as training draws them")
    return Preview(
        augment,
        ("original", *alone, *["all together"] * draws),
        (*words, *[""] * (draws - 1)),
        tuple(
            PreviewRow(f"a rather long class name, number {n}", f"{n}.jpg", pictures, ("",) * count)
            for n in range(rows)
        ),
    )


def texts(figure: Figure) -> list[Text]:
    drawn: list[Text] = []

    def record(text: Text, renderer: object) -> None:
        drawn.append(text)

    with mock.patch.object(Text, "draw", record):
        figure.draw_without_rendering()
    return [text for text in drawn if text.get_visible() and text.get_text().strip()]


@pytest.mark.parametrize("augment", ["flip", "strong", EVERY], ids=["flip", "strong", "every"])
@pytest.mark.parametrize("draws", [1, 9])
@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (10, 300)])
def test_no_words_touch_or_leave(augment: str, draws: int, shape: tuple[int, int]) -> None:
    figure = preview_sheet(made(augment, rows=2, draws=draws, shape=shape))
    shown = texts(figure)
    boxes = [text.get_window_extent() for text in shown]
    pictures = [image.get_window_extent() for image in figure.axes[0].images]
    for text, box in zip(shown, boxes, strict=True):
        assert box.x0 >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1, text
        assert box.y0 >= -1, text
        assert box.y1 <= figure.bbox.y1 + 1, text
        assert not any(box.overlaps(picture) for picture in pictures), text
    for one, two in itertools.combinations(zip(shown, boxes, strict=True), 2):
        inner = one[1].shrunk(0.98, 0.8)
        assert not inner.overlaps(two[1].shrunk(0.98, 0.8)), (one[0], two[0])


def test_each_thing_is_said_once() -> None:
    figure = preview_sheet(made("rotate=15,flip,fill=wrap", rows=2))
    words = [text.get_text() for text in texts(figure)]
    for title in ("original", "rotate", "flip", "all together"):
        assert words.count(title) == 1
    together = " ".join(words)
    assert "turned up to 15° either way, edges wrapped" in together
    assert len(figure.axes[0].images) == 2 * 6


def test_many_changes_take_several_bands() -> None:
    figure = preview_sheet(made(EVERY, rows=1, draws=3))
    assert figure.get_figwidth() < 22
    words = [text.get_text() for text in texts(figure)]
    assert words.count("0.jpg") == 2
    assert all(words.count(name) == 1 for name in AUGMENTATIONS if name != "fill")


def test_pictures_keep_their_shape_and_place() -> None:
    figure = preview_sheet(made("flip", rows=2, shape=(40, 60)))
    boxes = [image.get_extent() for image in figure.axes[0].images]
    for x0, x1, y1, y0 in boxes:
        assert (x1 - x0) / (y1 - y0) == pytest.approx(1.5)
    assert len({round(box[0], 6) for box in boxes}) == 5
    assert len({round(box[2], 6) for box in boxes}) == 2


def test_it_can_be_drawn() -> None:
    drawn = Image.open(io.BytesIO(render(preview_sheet(made("strong", rows=1)), dpi=50)))
    assert drawn.size[0] > 300
