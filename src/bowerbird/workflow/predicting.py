"""From files and folders to rows of class probabilities, written as they come."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird import machine, progress
from bowerbird.data.dataset import Dataset
from bowerbird.data.remote.fetch import fetch
from bowerbird.data.sources import read_images
from bowerbird.errors import DataError
from bowerbird.runs import load_run
from bowerbird.workflow.sheets import MOST, Sheets

if TYPE_CHECKING:
    pass


__all__ = ["predict"]


_CHUNK = 4096


def predict(
    run: str | Path,
    names: Sequence[str | Path],
    output: Path | None = None,
    *,
    estimator: str | None = None,
    ensemble: Sequence[str | Path] = (),
    sheet: Path | None = None,
    sheet_most: int = MOST,
    as_json: bool = False,
) -> None:
    """Write class probabilities of files and folders to a file, or to standard output.

    Images that can't be read are rows with an error and no class, folders without images
    are told; the rest goes on. A row is written as soon as its image is done.

    Args:
        run: a finished run's folder.
        names: files and folders.
        output: a file, or None for standard output.
        estimator: name of one that the run keeps, to be used in place of its classifier.
        ensemble: folders of other runs; the mean of all their probabilities is taken.
        sheet: draw the images with what they were taken for into this file, and more pages
            beside it; see `sheets`.
        sheet_most: images that are drawn, in all.
        as_json: JSON instead of CSV.

    Raises:
        ConfigError: the sheet's name is no figure's, or the runs tell different classes apart.
        DataError: nothing was named, or no image is there.
    """
    opened, drawn = load_run(run), Sheets(sheet, sheet_most) if sheet else None
    machine.load("timm", "bowerbird.evaluation.predict")
    from bowerbird.evaluation.predict import predict as predict_images
    from bowerbird.evaluation.predict import predictor_of
    from bowerbird.evaluation.rows import rows_of, writing

    predictor = predictor_of(opened, estimator, [load_run(other) for other in ensemble])
    if not predictor.soft:
        progress.say(f"{estimator} gives no probabilities: their columns stay empty.")
    named = [fetch(name).expanduser() for name in names if str(name)]
    if not named:
        raise DataError("No images are named. Use: bowerbird predict RUN IMAGES")
    parts = _unlabelled(named)
    total = sum(len(part) for part in parts)
    with (
        progress.without_bars()
        if output is None and progress.in_terminal()
        else contextlib.nullcontext(),
        drawn or contextlib.nullcontext(),
        writing(output, opened.classes, as_json=as_json) as write,
        progress.task("Predicting", total) as task,
    ):
        for part in _chunks(parts):
            found, problems = predict_images(opened, part, predictor=predictor)
            for row in rows_of(found, problems, part.root):
                write(row)
            if drawn is not None:
                drawn.add(found, part.root)
            task.advance(len(part))


def _unlabelled(named: Sequence[Path]) -> list[Dataset]:
    """The images in folders, and the files; a folder without images is told."""
    parts: list[Dataset] = []
    empty: list[str] = []
    for folder in (name for name in named if name.is_dir()):
        try:
            parts.append(read_images(folder, labelled=False))
        except DataError as error:
            empty.append(str(error))
    if files := [name for name in named if not name.is_dir()]:
        parts.append(read_images(files, labelled=False))
    if not parts:
        raise DataError(" ".join(empty))
    for words in empty:
        progress.say(words)
    return parts


def _chunks(parts: Sequence[Dataset]) -> Iterator[Dataset]:
    """So few images at a time that their probabilities fit any memory."""
    for part in parts:
        for start in range(0, max(1, len(part)), _CHUNK):
            samples = part.samples[start : start + _CHUNK]
            problems = () if start else part.problems
            yield dataclasses.replace(part, samples=samples, problems=problems)
