"""Predictions as pages of pictures: what is on them, in which order, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bowerbird import workflow
from bowerbird.cli import main
from bowerbird.config import NetworkConfig, Recipe, TrainConfig
from bowerbird.errors import ConfigError, DataError
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Predictions
from bowerbird.plots import sheet
from bowerbird.progress import log_to
from bowerbird.runs import Run
from bowerbird.workflow.sheets import PER_PAGE, Sheets, evaluation_sheets
from drawing import draw, draw_folder


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each page was to show; drawn, but without pictures, for time."""
    seen: list[dict[str, Any]] = []
    real = sheet.prediction_sheet

    def listed(found: Predictions, rows: Sequence[int], load: Any, *more: Any, **how: Any) -> Any:
        names = [Path(found.paths[row]).name for row in rows]
        seen.append({"files": names, "right": found.correct.tolist(), **how})
        return real(found.select(rows[:1]), [0], lambda _: None, *more, **how)

    monkeypatch.setattr("bowerbird.plots.sheet.prediction_sheet", listed)
    return seen


def predictions(n: int, wrong: int, root: Path | None = None) -> Predictions:
    """The first `wrong` are mistakes; picture k is surer the larger k is."""
    sure = np.linspace(0.6, 0.99, n)
    table = np.stack([sure, 1 - sure], axis=1)
    targets = np.where(np.arange(n) < wrong, 1, 0)
    return Predictions(
        tuple(f"{k:03d}.png" for k in range(n)), ("cat", "dog"), table, targets, root
    )


def test_mistakes_come_first_then_what_was_right(
    pages: list[dict[str, Any]], tmp_path: Path
) -> None:
    evaluation = score(predictions(60, 3), on="test")
    files = evaluation_sheets(evaluation, tmp_path / "sheet.png")
    assert [file.name for file in files] == ["sheet.png", "sheet-2.png", "sheet-3.png"]
    assert all(file.is_file() for file in files)
    assert pages[0]["files"] == ["002.png", "001.png", "000.png"]
    assert pages[0]["title"] == "3 mistakes on test, the most confident first"
    assert pages[1]["title"] == pages[2]["title"] == "57 right on test, the least sure first"
    assert [len(page["files"]) for page in pages] == [3, PER_PAGE, 9]
    assert pages[1]["files"][:2] == ["003.png", "004.png"]
    assert all(page["files"] for page in pages)


def test_room_is_shared_and_what_is_left_out_is_told(
    pages: list[dict[str, Any]], tmp_path: Path
) -> None:
    with log_to(tmp_path / "said"):
        evaluation_sheets(score(predictions(60, 20), on="val"), tmp_path / "a.png", most=10)
        evaluation_sheets(score(predictions(60, 2), on="val"), tmp_path / "b.png", most=10)
        evaluation_sheets(score(predictions(60, 58), on="val"), tmp_path / "c.png", most=10)
    counts = [(len(page["files"]), page["right"][0]) for page in pages]
    assert counts == [(5, False), (5, True), (2, False), (8, True), (8, False), (2, True)]
    said = (tmp_path / "said").read_text()
    assert said.count("50 more are not shown (--sheet-most).") == 3
    assert "10 pictures on 2 pages" in said


def test_without_mistakes_there_is_one_kind_of_page(
    pages: list[dict[str, Any]], tmp_path: Path
) -> None:
    files = evaluation_sheets(score(predictions(5, 0)), tmp_path / "sheet.svg")
    assert [file.name for file in files] == ["sheet.svg"]
    assert pages[0]["title"] == "5 right on test, the least sure first"


def test_pages_of_an_earlier_sheet_are_told(pages: list[dict[str, Any]], tmp_path: Path) -> None:
    evaluation_sheets(score(predictions(5, 2)), tmp_path / "sheet.png")
    with log_to(tmp_path / "said"):
        evaluation_sheets(score(predictions(5, 0)), tmp_path / "sheet.png")
    assert (
        "sheet-2.png and what follows are pages of an earlier sheet"
        in (tmp_path / "said").read_text()
    )
    assert len(pages) == 3


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"png, svg or pdf. Found the ending '.jpg'"):
        Sheets(tmp_path / "sheet.jpg")
    with pytest.raises(ConfigError, match=r"\(none\)"):
        Sheets(tmp_path / "sheet")
    with pytest.raises(ConfigError, match="--sheet-most 0"):
        Sheets(tmp_path / "sheet.png", 0)
    import dataclasses

    empty = dataclasses.replace(score(predictions(2, 1)), predictions=None)
    with pytest.raises(DataError, match="no predictions to draw"):
        evaluation_sheets(empty, tmp_path / "sheet.png")
    with log_to(tmp_path / "said"), Sheets(tmp_path / "none.png"):
        pass
    assert "there is no picture to show" in (tmp_path / "said").read_text()
    assert not (tmp_path / "none.png").exists()


def test_a_page_shows_class_truth_sureness_and_name(tmp_path: Path) -> None:
    from matplotlib.text import Text

    for number in range(2):
        draw(number, random=np.random.default_rng(number)).save(tmp_path / f"00{number}.png")
    found = predictions(3, 1)
    loaded = {name: Image.open(tmp_path / name) for name in ("000.png", "001.png")}
    figure = sheet.prediction_sheet(found, range(3), loaded.get, 2, title="A title", names=True)
    shown = [text.get_text() for text in figure.findobj(Text)]
    for words in ("A title", "✗ cat 60 %", "is dog", "✓ cat 80 %", "000.png", "002.png"):
        assert words in shown
    assert len(figure.axes[0].images) == 2
    unsure = Predictions(("x",), ("cat", "dog"), np.array([[1.0, 0.0]]), [-1], soft=False)
    shown = [t.get_text() for t in sheet.prediction_sheet(unsure, [0], loaded.get).findobj(Text)]
    assert "cat" in shown


# From the command line


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("sheets")
    data = draw_folder(folder / "shapes", split={"train": 6, "val": 3, "test": 4}, size=40)
    network = NetworkConfig(model="test_resnet", weights="none", image_size=32, offline=True)
    settings = TrainConfig(method="probe", views=1, precision="float32", workers=1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOWERBIRD_CACHE", str(folder / "cache"))
        patch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
        run = workflow.train(
            Recipe(data=str(data), network=network, train=settings), folder / "run"
        )[0]
    torch.set_num_threads(before)
    return run


def command(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_predict_draws_what_it_names(
    trained: Run, tmp_path: Path, pages: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    images = Path(trained.recipe.data or "") / "test"
    (tmp_path / "bad.png").write_bytes(b"no picture")
    code = command(
        "predict", trained.path, images, tmp_path / "bad.png", "--sheet", tmp_path / "s" / "a.png",
        "--output", tmp_path / "rows.csv",
    )  # fmt: skip
    assert code == 0
    assert (tmp_path / "s" / "a.png").is_file()
    assert len(pages) == 1
    assert len(pages[0]["files"]) == 12
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 14
    assert "12 pictures: " in capsys.readouterr().err


def test_evaluate_draws_its_split(
    trained: Run, tmp_path: Path, pages: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.png"
    code = command("evaluate", trained.path, "--on", "val", "--sheet", out, "--sheet-most", 4)
    assert code == 0
    assert sum(len(page["files"]) for page in pages) == 4
    assert out.is_file()
    assert "5 more are not shown" in capsys.readouterr().err


def test_a_wrong_ending_is_told_before_anything_is_predicted(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    data = trained.recipe.data
    assert command("predict", trained.path, data, "--sheet", "a.gif", "--output", rows) == 2
    assert not rows.exists()
    assert command("evaluate", trained.path, "--sheet", "a.gif") == 2
    assert "png, svg or pdf" in capsys.readouterr().err
