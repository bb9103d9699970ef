"""Writes a split as a table of images that can be trained on, here or by another tool.

Columns: path, class, split, group, content_hash; with folds fold (its number, empty for test
images) and fold_1, fold_2 …, which say train, val or test for each fold.

Decisions:
- Paths start from the table's own folder, so that table and images can be moved together.
- Images that are left out of the split are not in the table.
- What was written is read again and compared, so that a name which a table can't hold (a
  blank at its end, a class called "nan") is an error and not another split.
- A table is never overwritten.

Reading is done in `tables`; which splits there are is decided in `splits`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from bowerbird import storage
from bowerbird.config import ReadConfig
from bowerbird.data.dataset import Dataset
from bowerbird.data.sources import read_images
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import DataError, RunError

__all__ = ["check_table", "write_split_table"]


def check_table(path: Path) -> None:
    """Refuse, before any work, a table that couldn't be written or read.

    Raises:
        RunError: its name isn't that of a CSV file, or there is one.
    """
    if path.suffix.lower() != ".csv":
        raise RunError(f"{path} doesn't end in .csv, as a table must. Choose with --out split.csv.")
    if os.path.lexists(path):
        raise RunError(f"{path} exists already and is never overwritten. Choose with --out.")


def write_split_table(path: Path, ds: Dataset, splits: Sequence[Split]) -> None:
    """Write one split, or the folds of a cross-validation.

    Args:
        path: a new CSV file.
        ds: the images.
        splits: one, or one per fold.

    Raises:
        DataError: a name can't be written so that it reads again.
        RunError: there is such a file, or it can't be written.
    """
    check_table(path)
    folder = path.expanduser().absolute().parent
    header, *rows = _rows(folder, ds, splits)
    storage.make_folder(folder)
    storage.write_text(path, storage.comma_separated(header, rows))
    try:
        for column, split in _columns(splits):
            _compare(path, ds, split, column)
    except DataError:
        path.unlink(missing_ok=True)
        raise


def _columns(splits: Sequence[Split]) -> list[tuple[str, Split]]:
    if len(splits) == 1:
        return [("split", splits[0])]
    return [(f"fold_{number}", split) for number, split in enumerate(splits, start=1)]


def _rows(folder: Path, ds: Dataset, splits: Sequence[Split]) -> Iterator[list[str]]:
    several = len(splits) > 1
    names = [name for name, _ in _columns(splits)] if several else []
    header = ["path", "class", "split", "group", "content_hash"]
    yield header + (["fold", *names] if several else [])
    for i, sample in enumerate(ds.samples):
        parts = [split.assignment[i] for split in splits]
        if parts[0] is None or sample.target is None:
            continue
        kept = "test" if "test" in parts else "train" if several else parts[0]
        row = [_way(folder, ds.path(i)), ds.classes[sample.target], kept, sample.group or ""]
        row.append(splits[0].hashes[i] or "")
        if several:
            fold = str(parts.index("val") + 1) if "val" in parts else ""
            row += [fold, *(part or "" for part in parts)]
        yield row


def _way(folder: Path, image: Path) -> str:
    """Path of an image from the table's folder."""
    try:
        return Path(os.path.relpath(image, folder)).as_posix()
    except ValueError:  # on another drive
        return image.as_posix()


def _compare(path: Path, ds: Dataset, split: Split, column: str) -> None:
    """Read the table as training would, and raise where it says anything else."""
    wanted = {
        os.path.realpath(ds.path(i)): (ds.classes[sample.target], part, sample.group)
        for i, (sample, part) in enumerate(zip(ds.samples, split.assignment, strict=True))
        if part is not None and sample.target is not None
    }
    again = read_images(path, ReadConfig(split_column=column))
    found = {
        os.path.realpath(again.path(i)): (again.classes[s.target], s.split, s.group)
        for i, s in enumerate(again.samples)
        if s.target is not None
    }
    wrong = [name for name, facts in wanted.items() if found.get(name) != facts]
    if wrong:
        raise DataError(
            f"A table can't hold {len(wrong)} of the {len(wanted)} images so that they read "
            f"again the same, for example {wrong[0]}. Rename the image, its class or its group: "
            "blanks at the ends and the class 'nan' are lost in tables."
        )
