"""Predictions of any images as rows of CSV or JSON, written one by one as they come.

Decisions:
- A file appears whole, at the end; standard output gets each row at once. No more than a
  row is held either way.
- Names of files that are not valid Unicode are written out (``caf\\udce9.jpg``): in JSON
  that is the same name again, in CSV a person can still tell which file it was.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bowerbird import storage
from bowerbird.data.dataset import Problem
from bowerbird.errors import RunError
from bowerbird.evaluation.results import Predictions

__all__ = ["Row", "rows_of", "writing"]


@dataclass(frozen=True, slots=True)
class Row:
    """One image: a class and probabilities, or why there are none.

    Attributes:
        path: of the file.
        predicted: name of the most probable class, or None.
        confidence: its probability, or None where the classifier gives none.
        probabilities: per class, in their order; empty then.
        error: why the image can't be used, or None.
    """

    path: str
    predicted: str | None = None
    confidence: float | None = None
    probabilities: tuple[float, ...] = ()
    error: str | None = None


def rows_of(found: Predictions, problems: Sequence[Problem], root: Path) -> Iterator[Row]:
    """A row per image, those that can't be used last; six decimals."""
    columns = (found.paths, found.predicted, found.confidence, found.probabilities)
    for path, predicted, confidence, shares in zip(*columns, strict=True):
        name = found.classes[predicted]
        if found.soft:
            known = tuple(round(float(share), 6) for share in shares)
            yield Row(str(root / path), name, round(float(confidence), 6), known)
        else:
            yield Row(str(root / path), name)
    for problem in problems:
        yield Row(str(root / problem.path), error=problem.reason)


@contextlib.contextmanager
def writing(
    output: Path | None, classes: Sequence[str], *, as_json: bool = False
) -> Iterator[Callable[[Row], None]]:
    """A function that writes a row, to a file or to standard output.

    Args:
        output: the file, which is there when the block has ended well; None is standard
            output.
        classes: in index order.
        as_json: a list of objects; else CSV with a column ``p:NAME`` per class.

    Raises:
        RunError: the file can't be written.
    """
    with _opened(output) as file:
        if not as_json:
            table = csv.writer(file, lineterminator="\n")
            table.writerow([*_COLUMNS, *(f"p:{name}" for name in classes)])
            yield lambda row: table.writerow(_cells(row, len(classes)))
            return
        before = iter(["[\n"])
        yield lambda row: _write_object(file, next(before, ",\n"), row, classes)
        file.write("[]\n" if next(before, "") else "\n]\n")


_COLUMNS = ("path", "class", "confidence", "error")


class _Sink(Protocol):
    def write(self, text: str, /) -> object: ...


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[_Sink]:
    if output is None:
        yield _Printed()
        sys.stdout.flush()
        return
    if output.is_dir() or not output.absolute().parent.is_dir():
        what = "is a folder" if output.is_dir() else "lies in no folder that there is"
        raise RunError(f"{output} can't be written: it {what}. Name a file with --output.")
    with storage.atomic(output) as file:
        text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
        yield text
        text.flush()
        text.detach()


class _Printed:
    """Standard output, for any name of a file."""

    def write(self, text: str, /) -> None:
        sys.stdout.write(storage.readable(text))


def _cells(row: Row, classes: int) -> list[Any]:
    cells = [row.path, row.predicted, row.confidence, row.error]
    return [*cells, *(row.probabilities or [None] * classes)]


def _write_object(file: _Sink, before: str, row: Row, classes: Sequence[str]) -> None:
    values = {
        "path": row.path,
        "class": row.predicted,
        "confidence": row.confidence,
        "probabilities": dict(zip(classes, row.probabilities, strict=False)),
        "error": row.error,
    }
    text = json.dumps(values, indent=2, ensure_ascii=False)
    file.write(before + textwrap.indent(text, "  ", lambda line: True))
