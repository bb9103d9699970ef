"""Writes a split down in `manifest.csv` and class names in `classes.txt`, and reads them back.

The manifest has one line per image, in the order of the dataset: path, class, split, group,
content_hash and, for images that are left out, the reason. What the source names but the
dataset doesn't hold (a missing file, a row without label) comes last, without a class.

Decisions:
- Reading gives the same samples, classes, problems, assignment and hashes back, whatever
  is in their names; `Sample.split` is then the frozen split. Seed and notes are not in it.
- Class order is that of `classes.txt`, one name per line. Names hold no line breaks: see
  `sources`.
- Both are written atomically, and a damaged one is an error that names the line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bowerbird import storage
from bowerbird.data.dataset import SPLITS, Dataset, Problem, Sample
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import RunError

__all__ = ["read_classes", "read_manifest", "write_classes", "write_manifest"]

_COLUMNS = ["path", "class", "split", "group", "content_hash", "reason"]


def write_manifest(path: Path, ds: Dataset, split: Split) -> None:
    """Write the manifest of `ds`, split as in `split`.

    Raises:
        RunError: it can't be written.
    """
    rows: list[list[str]] = []
    reasons = {problem.path: problem.reason for problem in split.problems}
    for sample, part, content_hash in zip(ds.samples, split.assignment, split.hashes, strict=True):
        name = "" if sample.target is None else ds.classes[sample.target]
        reason = "" if part else reasons.get(sample.path, "left out")
        rows.append([sample.path, name, part or "", sample.group or "", content_hash or "", reason])
    rows += [[problem.path, "", "", "", "", problem.reason] for problem in ds.problems]
    storage.write_text(path, storage.comma_separated(_COLUMNS, rows))


def read_manifest(
    path: Path, root: Path, classes: Sequence[str], seed: int = 0
) -> tuple[Dataset, Split]:
    """Read a manifest.

    Args:
        path: `manifest.csv`.
        root: folder that its paths start from.
        classes: class names in index order.
        seed: what the split was drawn from, if known.

    Raises:
        RunError: it is missing or damaged; the message names line and reason.
    """
    index = {name: number for number, name in enumerate(classes)}
    lines = [_line(path, number, cells, index) for number, cells in _rows(path)]
    inside = [line for line in lines if line.target is not None]
    absent = [line for line in lines if line.target is None]
    samples = tuple(Sample(x.path, x.target, x.split, x.group) for x in inside)
    listed = tuple(Problem(x.path, x.reason) for x in absent)
    left_out = tuple(Problem(x.path, x.reason) for x in inside if x.split is None)
    split = Split(
        tuple(x.split for x in inside), tuple(x.content_hash for x in inside), seed, left_out
    )
    return Dataset(root, samples, tuple(classes), listed), split


def write_classes(path: Path, classes: Sequence[str]) -> None:
    """Write class names in index order, one per line.

    Raises:
        RunError: it can't be written.
    """
    storage.write_text(path, "".join(f"{name}\n" for name in classes))


def read_classes(path: Path) -> tuple[str, ...]:
    """Read class names in index order.

    Raises:
        RunError: the file is missing, empty, cut off, or names a class twice.
    """
    text = _text(path)
    names = text.split("\n")
    if not text.endswith("\n"):
        raise RunError(f"{path} is damaged: its last line is cut off. Train again.")
    names.pop()
    if len(set(names)) != len(names) or not all(names):
        raise RunError(f"{path} is damaged: a class is empty or named twice. Train again.")
    return tuple(names)


@dataclass(frozen=True, slots=True)
class _Line:
    path: str
    target: int | None
    split: str | None
    group: str | None
    content_hash: str | None
    reason: str


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of each row below the header."""
    text = _text(path)
    if not text.endswith("\n"):
        raise _damaged(path, text.count("\n") + 1, "it is cut off")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend((reader.line_num, cells) for cells in reader)
    except csv.Error as error:
        raise _damaged(path, reader.line_num, str(error)) from error
    if rows[0][1] != _COLUMNS:
        raise _damaged(path, 1, f"expected the columns {', '.join(_COLUMNS)}")
    seen: set[str] = set()
    for number, cells in rows[1:]:
        if cells and cells[0] in seen and cells[1:2] != [""]:
            raise _damaged(path, number, f"{cells[0]!r} is listed twice")
        seen.update(cells[:1])
    return rows[1:]


def _line(path: Path, number: int, cells: list[str], index: dict[str, int]) -> _Line:
    if len(cells) != len(_COLUMNS):
        raise _damaged(path, number, f"expected {len(_COLUMNS)} cells, found {len(cells)}")
    name, label, part, group, content_hash, reason = cells
    if label and label not in index:
        raise _damaged(path, number, f"the class {label!r} is not in classes.txt")
    if part and part not in SPLITS:
        raise _damaged(path, number, f"{part!r} is not one of {', '.join(SPLITS)}")
    if content_hash and not re.fullmatch("[0-9a-f]{32}", content_hash):
        raise _damaged(path, number, f"{content_hash!r} is not a content hash")
    if bool(part) == bool(reason) or (part and not label):
        raise _damaged(path, number, "expected either a class and a split, or a reason")
    target = index[label] if label else None
    return _Line(name, target, part or None, group or None, content_hash or None, reason)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise RunError(f"{path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RunError(
            f"{path} is damaged: byte {error.start} is not UTF-8. Train again."
        ) from error


def _damaged(path: Path, line: int, reason: str) -> RunError:
    return RunError(f"{path} is damaged in line {line}: {reason}. Restore it, or train again.")
