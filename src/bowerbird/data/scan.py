"""Lists the images below a folder, and counts what it passes over, by reason.

Decisions:
- What is an image is told by its ending; whether it can be read is found out in `checks`.
- Hidden files and folders and what operating systems leave behind (``Thumbs.db``,
  ``__MACOSX``) are passed over, a hidden folder counting once.
- Links to files and folders are followed, except to a folder that the link lies in.
- Names that are not valid Unicode can't be written into a manifest: they are problems,
  unless there will be none.

Nothing here knows of classes. It only lists names: 100,000 take well under a second.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bowerbird.data.dataset import Problem
from bowerbird.data.images import IMAGE_EXTENSIONS
from bowerbird.errors import DataError
from bowerbird.storage import readable

__all__ = [
    "TABLE_EXTENSIONS",
    "Listing",
    "is_hidden",
    "is_image",
    "is_table",
    "list_folder",
    "scan",
]

TABLE_EXTENSIONS = (".csv", ".tsv", ".jsonl", ".ndjson")

_LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})


@dataclass
class Listing:
    """What lies below a folder.

    Attributes:
        root: the folder.
        images: paths relative to `root`, forward slashes, sorted.
        folders: the same for folders that are not hidden, empty ones included.
        tables: names of the tables in `root` itself.
        metadata: paths of tables called ``metadata`` in folders below, as Hugging Face has them.
        problems: images whose names can't be written down.
        ignored: counts of what was passed over, by reason.
    """

    root: Path
    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def scan(root: Path, *, any_name: bool = False) -> Listing:
    """List everything below `root`.

    Args:
        root: the folder.
        any_name: whether names that are not valid Unicode count as images, too.

    Raises:
        DataError: `root` itself can't be listed.
    """
    listing = Listing(root)
    pending: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]
    while pending:
        folder, trail = pending.pop()
        try:
            entries = list_folder(root / folder)
        except OSError as error:
            if not folder:
                raise DataError(f"The folder {root} can't be read: {error.strerror}.") from error
            listing.ignored["folder that can't be read"] += 1
            continue
        pending += _sorted_out(entries, folder, trail, listing)
    if not any_name:
        _refuse_odd_names(listing)
    listing.images.sort()
    listing.folders.sort()
    listing.tables.sort()
    listing.metadata.sort()
    return listing


def list_folder(folder: Path) -> list[os.DirEntry[str]]:
    """Entries of one folder; raises OSError."""
    with os.scandir(folder) as entries:
        return list(entries)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is not meant for the eye."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def is_table(name: str) -> bool:
    """Whether a file's ending is that of a table.

    >>> is_table("data/labels.csv"), is_table("data")
    (True, False)
    """
    return _ending(name.rpartition("/")[2]) in TABLE_EXTENSIONS


def is_image(name: str) -> bool:
    """Whether a file's ending is that of an image."""
    return _ending(name) in IMAGE_EXTENSIONS


def _sorted_out(
    entries: list[os.DirEntry[str]], folder: str, trail: tuple[str, ...], listing: Listing
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Put files where they belong in `listing`; yield the folders to go on with."""
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if is_hidden(entry.name):
            listing.ignored["hidden"] += 1
        elif entry.is_dir():
            real = _real(entry, trail)
            if real is None:
                listing.ignored["link to a folder that it lies in"] += 1
            else:
                listing.folders.append(path)
                yield path, (*trail, real)
        elif not entry.is_file():
            listing.ignored["broken link or special file"] += 1
        else:
            _file(path, entry.name, listing)


def _real(entry: os.DirEntry[str], trail: tuple[str, ...]) -> str | None:
    """The folder's real path, or None where a link leads back to where we came from."""
    if not entry.is_symlink():
        return os.path.join(trail[-1], entry.name)  # noqa: PTH118
    real = os.path.realpath(entry.path)
    below = real.rstrip(os.sep) + os.sep
    loops = any(place == real or place.startswith(below) for place in trail)
    return None if loops else real


def _file(path: str, name: str, listing: Listing) -> None:
    ending = _ending(name)
    if ending in IMAGE_EXTENSIONS:
        listing.images.append(path)
    elif ending in TABLE_EXTENSIONS and path == name:
        listing.tables.append(name)
    elif ending in TABLE_EXTENSIONS and name.lower().startswith("metadata."):
        listing.metadata.append(path)
    else:
        listing.ignored[f"other file type ({ending or 'no ending'})"] += 1


def _refuse_odd_names(listing: Listing) -> None:
    names = [(path, readable(path)) for path in listing.images]
    listing.images = [path for path, told in names if told == path]
    listing.problems += [
        Problem(told, "name is not valid Unicode") for path, told in names if told != path
    ]


def _ending(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""
