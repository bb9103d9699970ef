"""Reads a table of labelled images: which columns there are, and what each row says.

Decisions:
- Separator (comma, semicolon, tab, bar) is the one that gives the most columns in the
  first line. Encoding is UTF-8 or UTF-16 by their marks, UTF-8, else Latin-1.
- Columns are found by their usual names, in any case; a setting overrides that. Among
  several that could be the label, one that corresponds one to one to the others and is not
  numeric is taken; if they say different things, nothing is guessed.
- A first line that holds an image's name is no header: columns are called column1, column2 …
- A split column counts only if it holds train, val or test under a usual name, so fold
  numbers are none.
- JSON Lines (``.jsonl``, ``.ndjson``) is a table, too: an object per line, and a column for
  every key that any of them has. A line that is no object is a problem of that line. A list
  of one thing is that thing.

Where the images are is found out in `locate`.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bowerbird.config import ReadConfig
from bowerbird.data.dataset import Problem, split_named
from bowerbird.data.scan import is_image
from bowerbird.errors import DataError

__all__ = ["Row", "Table", "read_table"]

# fmt: off
_IMAGE = [
    "path", "file_path", "filepath", "image_path", "img_path", "imagepath", "file", "filename",
    "file_name", "image", "image_name", "img_name", "image_file", "img", "images", "image_id",
    "img_id", "imageid", "photo", "picture",
]
_IMAGE_IF_NOTHING_BETTER = ["id", "name"]
_LABEL = [
    "label", "labels", "class", "classes", "class_name", "classname", "class_label", "label_name",
    "category", "category_name", "target", "species", "level", "grade", "diagnosis", "dx", "breed",
    "y",
]
_LABEL_NUMBER = [
    "class_id", "classid", "class_index", "class_idx", "label_id", "label_index", "label_idx",
    "category_id", "target_id", "species_id", "breed_id",
]
_SPLIT = ["split", "subset", "set", "partition", "fold", "phase", "usage"]
_GROUP = [
    "group", "group_id", "groupid", "patient", "patient_id", "patientid", "subject", "subject_id",
    "subjectid", "person", "person_id", "participant", "participant_id", "lesion_id",
]
# fmt: on

_JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; what it doesn't say is None."""

    name: str
    label: str | None
    split: str | None
    group: str | None


@dataclass(frozen=True)
class Table:
    """A table of images.

    Attributes:
        rows: what can be used.
        problems: what can't, by the image's name or the row's number.
        labelled: whether there is a label column.
    """

    path: Path
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    labelled: bool


def read_table(path: Path, config: ReadConfig, *, labelled: bool) -> Table:
    """Read a table: CSV, TSV or JSON Lines.

    Raises:
        DataError: it can't be read, or a column is missing or can't be told.
    """
    header, lines, problems = _lines(path)
    first = 1 if path.suffix.lower() in _JSON_LINES else 2
    columns = _Columns(path.name, header, lines)
    image = columns.image(config.image_column)
    split = columns.split(config.split_column)
    group = columns.usual(config.group_column, _GROUP, "--group-column")
    taken = {image, split, group}
    label = columns.label(config.label_column, taken) if labelled else None
    rows: list[Row] = []
    for number, cells in enumerate(lines, start=first):
        row = _row(cells, len(header), (image, label, split, group))
        if isinstance(row, Row) and row.name:
            rows.append(row)
        else:
            reason = row if isinstance(row, str) else "no image name"
            name = cells[image].strip() if image < len(cells) else ""
            problems.append(Problem(name or f"({path.name}, row {number})", reason))
    return Table(path, tuple(rows), tuple(problems), label is not None)


def _row(
    cells: list[str], width: int, columns: tuple[int, int | None, int | None, int | None]
) -> Row | str:
    """The row, or why it can't be used."""
    if any(cell.strip() for cell in cells[width:]):
        return f"{len(cells)} cells in its row, but {width} columns"
    image, label, split, group = (
        cells[i].strip() if i is not None and i < len(cells) else None for i in columns
    )
    part = split_named(split) if split else None
    if split and part is None:
        return f"unknown split {split!r}"
    if columns[1] is not None and (not label or label.lower() == "nan"):
        return "no label"
    return Row(image or "", label, part, group or None)


def _lines(path: Path) -> tuple[list[str], list[list[str]], list[Problem]]:
    """Header, rows, and what is no row; empty lines are dropped."""
    try:
        text = _decoded(path.read_bytes())
    except OSError as error:
        raise DataError(f"The table {path} can't be read: {error.strerror}.") from error
    if path.suffix.lower() in _JSON_LINES:
        return _objects(path.name, text)
    return *_cells(path.name, text), []


def _cells(name: str, text: str) -> tuple[list[str], list[list[str]]]:
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text))
        lines = [cells for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise DataError(f"{name} is not a readable table: {error}. Save it as CSV.") from error
    if not lines:
        raise DataError(f"{name} is empty. Expected a header line and a row per image.")
    header = [cell.strip() for cell in lines[0]]
    if any(is_image(cell) for cell in header):
        return [f"column{i + 1}" for i in range(len(header))], lines
    if len(lines) == 1:
        raise DataError(f"{name} has a header ({', '.join(header)}), but no rows.")
    return header, lines[1:]


def _objects(name: str, text: str) -> tuple[list[str], list[list[str]], list[Problem]]:
    """The table that JSON Lines make."""
    objects: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            reason = "" if isinstance(value, dict) else "it is no object of names and values"
        except (ValueError, RecursionError) as error:
            value, reason = {}, str(error)
        if reason:
            problems.append(Problem(f"({name}, line {number})", f"not JSON Lines: {reason}"))
        else:
            objects.append(value)
    if not objects:
        found = f" Line {problems[0].path.rpartition(' ')[2][:-1]}: " if problems else ""
        found += problems[0].reason.removeprefix("not JSON Lines: ") + "." if problems else ""
        raise DataError(
            f"{name} holds no rows. Expected JSON Lines: an object per line, such as "
            f'{{"file_name": "1.jpg", "label": "cat"}}.{found}'
        )
    header = list(dict.fromkeys(key for value in objects for key in value))
    return header, [[_cell(value.get(key)) for key in header] for value in objects], problems


def _cell(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _separator(text: str) -> str:
    first = text.lstrip("\r\n").split("\n", 1)[0]
    counts = {mark: len(next(csv.reader([first], delimiter=mark), [])) for mark in ",\t;|"}
    return max(counts, key=lambda mark: counts[mark])


class _Columns:
    """Finds the columns of one table."""

    def __init__(self, table: str, header: list[str], lines: list[list[str]]) -> None:
        self._table, self._header, self._lines = table, header, lines
        self._plain = ["_".join(name.lower().replace("-", " ").split()) for name in header]

    def image(self, named: str | None) -> int:
        found = self.usual(named, _IMAGE, "--image-column")
        if found is None:
            found = next((i for i in range(len(self._header)) if self._holds_images(i)), None)
        if found is None:
            found = self.usual(None, _IMAGE_IF_NOTHING_BETTER, "--image-column")
        if found is None:
            raise self._missing("image", "--image-column", self._header)
        return found

    def split(self, named: str | None) -> int | None:
        found = self.usual(named, _SPLIT, "--split-column")
        if found is None:
            return None
        values = sorted({value for value in self._values(found) if value})
        if any(split_named(value) for value in values):
            return found
        if named is None:
            return None
        raise DataError(
            f"The column {named!r} of {self._table} names no split: expected train, val or test. "
            f"Found: {', '.join(values[:5]) or 'nothing'}."
        )

    def label(self, named: str | None, taken: set[int | None]) -> int:
        if named is not None:
            return self._named(named, "--label-column")
        rest = [i for i in range(len(self._header)) if i not in taken]
        words = [w for w in _LABEL + _LABEL_NUMBER if w != "y" or "x" not in self._plain]
        found = [i for i in rest if self._plain[i] in words]
        if not found:
            endings = tuple(f"_{word}" for word in words if word != "y")
            found = [i for i in rest if self._plain[i].endswith(endings)]
        if not found and len(rest) == 1 and self._header[0] == "column1":
            found = rest
        if not found:
            raise self._missing("label", "--label-column", [self._header[i] for i in rest])
        return self._agreed(found)

    def usual(self, named: str | None, words: Sequence[str], option: str) -> int | None:
        """The column that was named, or the first of `words` that is a column."""
        if named is not None:
            return self._named(named, option)
        return next((self._plain.index(word) for word in words if word in self._plain), None)

    def _named(self, named: str, option: str) -> int:
        if named in self._header:
            return self._header.index(named)
        alike = [i for i, name in enumerate(self._header) if name.lower() == named.strip().lower()]
        if len(alike) == 1:
            return alike[0]
        raise self._missing(named, option, difflib.get_close_matches(named, self._header, n=1))

    def _agreed(self, found: list[int]) -> int:
        """The one among several columns that say the same; names before numbers."""
        first = self._values(found[0])
        for other in found[1:]:
            values = self._values(other)
            pairs = set(zip(first, values, strict=True))
            if not len(pairs) == len(set(first)) == len(set(values)):
                names = [self._header[i] for i in found]
                raise DataError(
                    f"Several columns of {self._table} could be the label, and they say different "
                    f"things: {', '.join(names)}. Name one with --label-column {names[0]}."
                )
        return min(found, key=lambda i: all(_is_number(v) for v in self._values(i)))

    def _missing(self, what: str, option: str, suggestions: Sequence[str]) -> DataError:
        suggestion = suggestions[0] if len(suggestions) == 1 else "NAME"
        if any(mark in suggestion for mark in " '\""):
            suggestion = f'"{suggestion}"'
        return DataError(
            f"The {what!r} column is missing from {self._table}. "
            f"Found: {', '.join(self._header)}. Name it with {option} {suggestion}."
        )

    def _holds_images(self, column: int) -> bool:
        values = self._values(column)[:50]
        return sum(is_image(value) for value in values) * 2 > len(values)

    def _values(self, column: int) -> list[str]:
        return [cells[column].strip() if column < len(cells) else "" for cells in self._lines]


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True
