"""Reads every image once: is it readable, what is the hash of its bytes, what does it look like?

Decisions:
- Readable means that the decoder decodes all of it; a large JPEG scaled while decoding,
  which passes through every byte and costs half.
- The print, by which near-duplicates are found, costs little once an image is decoded.
- Verdicts are remembered by absolute path, size and modification time, so that a second
  look costs one `stat` per file. A file changed in the last two seconds is not remembered:
  it could change again within one tick of the file system's clock.
- The memory is an SQLite file per version of Pillow and of this module, and each row carries
  its own checksum. Whatever is damaged, locked or can't be written is done without.
- Only what was found in a file's bytes is remembered; that it couldn't be opened is not.

Which images are left out of what is decided in `splits`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL

from bowerbird import storage
from bowerbird.data.images import decode, read_bytes
from bowerbird.data.prints import PRINT_SIDE, print_of
from bowerbird.errors import ImageError
from bowerbird.machine import cores
from bowerbird.progress import Task, task

__all__ = ["Checked", "check"]

_VERSION = 2
_CHUNK = 512
_SETTLED_NS = 2_000_000_000

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS checked (path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, "
    "hash TEXT, reason TEXT, print BLOB, proof INTEGER) WITHOUT ROWID"
)

_COLUMNS = "path, size, mtime, hash, reason, print, proof"

_Mark = tuple[bytes, int, int]


@dataclass(frozen=True, slots=True)
class Checked:
    """What one file turned out to be.

    Attributes:
        content_hash: `storage.hash_bytes` of its bytes; None if they can't be read.
        reason: why it can't be used, or None if it can.
        look: `prints.print_of` the picture; None if it is flat or can't be used.
    """

    content_hash: str | None
    reason: str | None
    look: bytes | None = None


def check(
    paths: Sequence[Path], workers: int | None = None, remember: bool = True
) -> list[Checked]:
    """Hash and decode each file once; one verdict per path, in the same order.

    Args:
        paths: the files; what can't be read gets a verdict, too.
        workers: threads; by default one per core that this process may use.
        remember: use and extend the memory of earlier checks.
    """
    verdicts: list[Checked] = []
    workers = workers or cores()
    with (
        task("Checking images", len(paths)) as bar,
        contextlib.closing(_Memory(remember)) as memory,
        ThreadPoolExecutor(workers, thread_name_prefix="check") as pool,
    ):
        for start in range(0, len(paths), _CHUNK):
            chunk = paths[start : start + _CHUNK]
            marks = [_mark(path) for path in chunk]
            known = memory.recall(marks)
            unknown = [path for path, mark in zip(chunk, marks, strict=True) if mark not in known]
            bar.advance(len(chunk) - len(unknown))
            fresh = _advancing(pool.map(_verdict, unknown), bar)
            found = [
                known[mark] if mark is not None and mark in known else next(fresh) for mark in marks
            ]
            memory.keep((m, v) for m, v in zip(marks, found, strict=True) if m not in known)
            verdicts += found
    return verdicts


def _mark(path: Path) -> _Mark | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return os.fsencode(os.path.abspath(path)), status.st_size, status.st_mtime_ns  # noqa: PTH100


def _advancing(verdicts: Iterator[Checked], bar: Task) -> Iterator[Checked]:
    for verdict in verdicts:
        bar.advance()
        yield verdict


def _verdict(path: Path) -> Checked:
    try:
        data = read_bytes(path)
    except ImageError as error:
        return Checked(None, str(error))
    content_hash = storage.hash_bytes(data)
    try:
        image = decode(data, min_size=PRINT_SIDE, channels=1)
    except ImageError as error:
        return Checked(content_hash, str(error))
    return Checked(content_hash, None, print_of(image))


class _Memory:
    """Verdicts of earlier checks in SQLite; silently absent where it can't be had."""

    def __init__(self, wanted: bool) -> None:
        self._file = storage.cache_home() / "checked" / f"{_VERSION}-{PIL.__version__}.sqlite"
        self._connection = self._open() if wanted else None

    def recall(self, marks: Sequence[_Mark | None]) -> dict[_Mark | None, Checked]:
        paths = [mark[0] for mark in marks if mark is not None]
        query = f"SELECT {_COLUMNS} FROM checked WHERE path IN ({','.join('?' * len(paths))})"
        known: dict[_Mark | None, Checked] = {}
        for path, size, mtime, *found, proof in self._run(query, paths):
            if proof == _proof(path, size, mtime, *found):
                known[path, size, mtime] = Checked(*found)
        return {mark: known[mark] for mark in marks if mark in known}

    def keep(self, found: Iterator[tuple[_Mark | None, Checked]]) -> None:
        settled = time.time_ns() - _SETTLED_NS
        rows = [
            (*values, _proof(*values))
            for mark, v in found
            if mark is not None and mark[2] < settled and v.content_hash is not None
            for values in [(*mark, v.content_hash, v.reason, v.look)]
        ]
        if self._connection is None or not rows:
            return
        try:
            with self._connection:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO checked VALUES (?, ?, ?, ?, ?, ?, ?)", rows
                )
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> sqlite3.Connection | None:
        for _ in range(2):
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(self._file, timeout=5)
            except (OSError, sqlite3.Error):
                return None
            self._connection = connection
            try:
                connection.execute("PRAGMA synchronous=OFF")
                connection.execute(_SCHEMA)
                return connection
            except sqlite3.Error as error:
                self._give_up(error)
        return None

    def _run(self, query: str, values: Sequence[bytes]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            return []
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._give_up(error)
            return []

    def _give_up(self, error: sqlite3.Error) -> None:
        """Go on without; a damaged file is removed, and the next check begins a new one."""
        self.close()
        self._connection = None
        if getattr(error, "sqlite_errorname", "") in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
            with contextlib.suppress(OSError):
                self._file.unlink(missing_ok=True)


def _proof(*values: object) -> int:
    return zlib.crc32(repr(values).encode())
