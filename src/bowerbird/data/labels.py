"""Chooses the tables of a folder that tell the labels, and finds their images.

Decisions:
- A table counts if it can be read and at least half of its images are there.
- ``train.csv``, ``val.csv`` … belong together; several others don't, and nothing is guessed.
- Where the folder itself has no such table, those called ``metadata`` in folders below are
  looked at, as Hugging Face's image folders have them: names start from the table's own
  folder, and the split is that of a folder on the way to it. A table for one split without
  labels leaves out that split.
- A ``metadata`` table without a split column takes the splits from the folders that its names
  begin with, if these are of more than one split.

What becomes of the rows is a matter of `sources`.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bowerbird.config import ReadConfig
from bowerbird.data.dataset import Problem, split_named
from bowerbird.data.locate import Located, locate
from bowerbird.data.scan import Listing
from bowerbird.data.tables import Table, read_table
from bowerbird.errors import DataError

__all__ = ["image_root", "located", "usable_tables"]

_Where = tuple[Table, Located]


def usable_tables(listing: Listing, config: ReadConfig) -> tuple[list[_Where], DataError | None]:
    """The tables to read labels from, or why there is none.

    Raises:
        DataError: there are several, and nothing says which one to read.
    """
    tables, mistakes = _among(listing.tables, listing, config)
    below, more = _among(listing.metadata, listing, config) if not tables else ([], [])
    parts = [(_part(table), table, where) for table, where in tables]
    if any(part == "train" for part, _, _ in parts):
        return [(_with_split(table, part), where) for part, table, where in parts if part], None
    if len(tables) > 1:
        names = ", ".join(table.path.name for table, _ in tables)
        raise DataError(f"{listing.root} holds several tables: {names}. Give the one to read.")
    return tables or below, next(iter(mistakes + more), None)


def located(table: Table, root: Path) -> _Where:
    """A table and where its images are.

    Raises:
        DataError: less than half of them are there.
    """
    where = locate(root, table.rows, _part(table))
    rows = len(where.paths)
    if rows and where.found * 2 >= rows:
        return table, where
    if not rows:
        raise DataError(f"No row of {table.path.name} names an image and its label.")
    example = next(path.path for path in where.paths if isinstance(path, Problem))
    places = ", ".join(str(root / folder) for folder in where.folders[:6])
    raise DataError(
        f"Of the {rows} images in {table.path.name}, {where.found} were found; missing for "
        f"example {example!r}. Looked in {places}. "
        "Name the folder they are in with --image-root FOLDER."
    )


def image_root(folder: Path, config: ReadConfig) -> Path:
    """The folder that names in a table of `folder` start from.

    Raises:
        DataError: the one that was named doesn't exist.
    """
    if config.image_root is None:
        return folder
    given = config.image_root.expanduser()
    for root in (Path(os.path.abspath(given)), folder / given):  # noqa: PTH100
        if root.is_dir():
            return root
    raise DataError(f"The folder {given} (--image-root) does not exist.")


def _among(
    names: Sequence[str], listing: Listing, config: ReadConfig
) -> tuple[list[_Where], list[DataError]]:
    """Those of some tables that can be used, and what is wrong with the others."""
    usable: list[_Where] = []
    mistakes: list[DataError] = []
    for name in names:
        try:
            table = _below(read_table(listing.root / name, config, labelled=True), name)
            usable.append(located(table, image_root(listing.root, config)))
        except DataError as mistake:
            mistakes.append(mistake)
    return usable, mistakes


def _below(table: Table, name: str) -> Table:
    """The table with names that start from the root, and splits that its folders give."""
    folder = posixpath.dirname(name)
    part = next(filter(None, map(split_named, folder.split("/"))), None)
    if folder:
        rows = [replace(row, name=posixpath.normpath(f"{folder}/{row.name}")) for row in table.rows]
        table = replace(table, rows=tuple(rows))
    elif table.path.name.lower().startswith("metadata."):
        return _split_by_folder(table)
    return _with_split(table, part) if part else table


def _split_by_folder(table: Table) -> Table:
    parts = [split_named(row.name.split("/")[0]) for row in table.rows]
    if any(row.split for row in table.rows) or None in parts or len(set(parts)) < 2:
        return table
    rows = [replace(row, split=part) for row, part in zip(table.rows, parts, strict=True)]
    return replace(table, rows=tuple(rows))


def _with_split(table: Table, part: str) -> Table:
    rows = tuple(row if row.split else replace(row, split=part) for row in table.rows)
    return replace(table, rows=rows)


def _part(table: Table) -> str | None:
    """The split that a table's own name gives: ``train.csv``, ``labels_val.csv``."""
    words = re.split(r"[_\-. ]", table.path.name)
    return next(filter(None, map(split_named, words)), None)
