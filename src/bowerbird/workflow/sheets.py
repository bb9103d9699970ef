"""Predictions as pages of pictures, in files: no screen is needed.

Decisions:
- A page holds 48 pictures. ``sheet.png`` is the first, ``sheet-2.png`` the next and so on.
- Pages are drawn as predictions come, so that 20,000 images take no more memory than 48.
- Of labelled images the mistakes come first, the most confident one at the head, then on
  pages of their own the right ones, the least sure at the head.
- A picture that can't be read is a grey tile with its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird import progress, storage
from bowerbird.errors import ConfigError, DataError, ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from bowerbird.evaluation.results import Evaluation, Predictions

__all__ = ["MOST", "PER_PAGE", "Sheets", "check_sheet", "evaluation_sheets"]

PER_PAGE = 48
MOST = 480
"""Pictures that are shown where nothing is said: ten pages."""

_COLUMNS, _PIXELS, _DPI = 6, 160, 90


def check_sheet(file: Path, most: int = MOST) -> None:
    """Refuse, before any work, what can't be drawn.

    Raises:
        ConfigError: the file's ending is no figure's, or `most` is no number of pictures.
    """
    if file.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ConfigError(
            f"--sheet {file}: sheets are written as png, svg or pdf. Found the ending "
            f"{file.suffix or '(none)'!r}; write for example sheet.png."
        )
    if most < 1:
        raise ConfigError(f"--sheet-most {most}: at least one picture must be shown.")


class Sheets:
    """Pages that fill as predictions come. A context manager: its end writes the last page.

    Args:
        file: of the first page: png, svg or pdf.
        most: pictures in all.

    Raises:
        ConfigError: the file's ending is none of these, or `most` is no number of pictures.
    """

    def __init__(self, file: Path, most: int = MOST) -> None:
        check_sheet(file, most)
        self.file, self.most = file.expanduser().absolute(), most
        self.pages: list[Path] = []
        self.seen = self.shown = 0
        self._waiting: list[tuple[Predictions, Path, int]] = []
        self._title = ""

    def __enter__(self) -> Sheets:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.turn()
            self._tell()

    def add(
        self,
        predictions: Predictions,
        root: Path | None,
        rows: Sequence[int] | None = None,
        room: int | None = None,
    ) -> None:
        """Show these rows, by default all, as long as there is room.

        Args:
            predictions: where rows point.
            root: the folder that their paths start from.
            rows: which, in the order to show.
            room: at most so many of them.

        Raises:
            RunError: a page can't be written.
        """
        wanted = range(len(predictions)) if rows is None else rows
        left = self.most - self.shown
        self.seen += len(wanted)
        for row in wanted[: left if room is None else min(left, room)]:
            self._waiting.append((predictions, root or Path(), int(row)))
            self.shown += 1
            if len(self._waiting) == PER_PAGE:
                self.turn()

    def turn(self, title: str = "") -> None:
        """Write the page that has begun, if any; the next ones have this title."""
        if self._waiting:
            self._write()
        self._waiting, self._title = [], title or self._title

    def _write(self) -> None:
        from bowerbird import plots
        from bowerbird.plots.sheet import prediction_sheet

        page, number = _page(self._waiting), len(self.pages) + 1
        name = self.file if number == 1 else _numbered(self.file, number)
        storage.make_folder(name.parent)
        figure = prediction_sheet(
            page, range(len(page)), _load, _COLUMNS, title=self._title, names=True
        )
        self.pages.append(plots.save(figure, name, dpi=_DPI))

    def _tell(self) -> None:
        if not self.pages:
            progress.say(f"No sheet is written to {self.file}: there is no picture to show.")
            return
        words = f"{self.shown:,} pictures on {len(self.pages)} pages: {self.pages[0]}"
        if len(self.pages) == 1:
            words = f"{self.shown:,} pictures: {self.pages[0]}"
        elif len(self.pages) > 1:
            words += f" to {self.pages[-1].name}"
        progress.say(words)
        if self.seen > self.shown:
            progress.say(f"{self.seen - self.shown:,} more are not shown (--sheet-most).")
        older = _numbered(self.file, len(self.pages) + 1)
        if older.exists():
            progress.say(f"{older.name} and what follows are pages of an earlier sheet.")


def evaluation_sheets(evaluation: Evaluation, file: str | Path, most: int = MOST) -> list[Path]:
    """Draw the mistakes of an evaluation, then what was right.

    Args:
        evaluation: with its predictions.
        file: of the first page.
        most: pictures in all; half of them are mistakes, unless one kind needs less.

    Returns:
        The pages.

    Raises:
        ConfigError: the file's ending is no figure's.
        DataError: the evaluation holds no predictions.
        RunError: a page can't be written.
    """
    from bowerbird.report.content import split_words

    found = evaluation.predictions
    if found is None:
        raise DataError("There are no predictions to draw. Evaluate the run again.")
    wrong = found.worst(len(found))
    right = [row for row in found.least_sure(len(found)) if found.correct[row]]
    on = f"on {split_words(evaluation.on)}"
    with Sheets(Path(file), most) as sheets:
        room = max(most // 2, most - len(right))
        mistakes = f"{len(wrong):,} mistake{'s' * (len(wrong) != 1)}"
        sheets.turn(f"{mistakes} {on}, the most confident first")
        sheets.add(found, found.root, wrong, room)
        sheets.turn(f"{len(right):,} right {on}, the least sure first")
        sheets.add(found, found.root, right)
    return sheets.pages


def _page(waiting: Sequence[tuple[Predictions, Path, int]]) -> Predictions:
    """The rows as one table, with whole paths."""
    import numpy as np

    from bowerbird.evaluation.results import Predictions

    first = waiting[0][0]
    return Predictions(
        tuple(str(root / found.paths[row]) for found, root, row in waiting),
        first.classes,
        np.stack([found.probabilities[row] for found, _, row in waiting]),
        np.array([found.targets[row] for found, _, row in waiting], np.int64),
        soft=first.soft,
    )


def _load(path: str) -> Image | None:
    from bowerbird.data.images import decode

    try:
        return decode(Path(path), min_size=_PIXELS)
    except ImageError:  # shown as a grey tile with the file's name
        return None


def _numbered(file: Path, number: int) -> Path:
    return file.with_name(f"{file.stem}-{number}{file.suffix}")
