"""The folder of what was fetched and unpacked, below Bowerbird's cache.

``downloads/KEY/content`` holds the images, ``record.json`` says where they came from; a
place without a record is not whole. The key is made of the address.

Decisions:
- Who fetches holds a lock; another process that wants the same waits and finds it done.
  Who reads needs none: what has a record is never changed, only deleted on request.
- The record goes first when a place is cleared, so that half of it is never taken for whole.
- Nothing is deleted to make room: it is what a run's images are read from, and what a later
  day may not find at its address any more. `bowerbird cache --clear` does it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bowerbird import progress, storage
from bowerbird.errors import CacheError, RunError

__all__ = ["Download", "Place", "clear_downloads", "downloads", "place_of"]


@dataclasses.dataclass(frozen=True)
class Download:
    """What was fetched, or unpacked from an archive here.

    Attributes:
        address: link or archive.
        size: bytes on the disk now.
        sha256: checksum of the archive; None where there was none, or it isn't whole yet.
        version: commit of a repository, else None.
        fetched: seconds since 1970; None where it isn't whole yet.
        passed_over: what of the archive was not unpacked, by reason.
        folder: where it lies.
    """

    address: str
    size: int
    sha256: str | None
    version: str | None
    fetched: float | None
    passed_over: Mapping[str, int]
    folder: Path

    def __repr__(self) -> str:
        state = "" if self.fetched else ", incomplete"
        return f"Download({self.address}, {self.size / 1e6:.1f} MB{state})"

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `size` in bytes."""
        return dataclasses.asdict(self) | {"folder": str(self.folder)}


class Place:
    """Where one address is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.archive = folder / "archive"
        self.content = folder / "content"
        self._record = folder / "record.json"

    def record(self) -> Download | None:
        """What is there, if all of it is."""
        found = self._read()
        if found.get("fetched") is None or not self.content.is_dir():
            return None
        return self.described()

    def described(self, *, measured: bool = False) -> Download:
        """What is there, whole or not; its size only if it is to be `measured`."""
        found = self._read()
        size = storage.folder_size(self.folder) if measured else 0
        return Download(
            address=str(found.get("address") or "unknown"),
            size=size,
            sha256=found.get("sha256"),
            version=found.get("version"),
            fetched=found.get("fetched"),
            passed_over=found.get("passed_over") or {},
            folder=self.content,
        )

    def write(self, address: str, **facts: Any) -> None:
        """Write the record; without `fetched` it only says what is coming here."""
        with self._writable():
            storage.make_folder(self.folder)
            storage.write_json(self._record, {"address": address} | facts)

    def clear(self) -> None:
        """Delete all of it."""
        self._record.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def tidied(self) -> Iterator[None]:
        """Leave nothing behind of what failed before anything came."""
        try:
            yield
        finally:
            if self.folder.is_dir() and set(self.folder.iterdir()) <= {self._record}:
                self.clear()

    @contextlib.contextmanager
    def locked(self, address: str) -> Iterator[None]:
        """Be the only one that writes here; waits for another process that does."""
        from filelock import Timeout

        with self._writable():
            storage.make_folder(self.folder.parent)
            lock = self._lock()
            try:
                lock.acquire(timeout=0.5)
            except Timeout:
                progress.say(f"Another process is fetching {address}; waiting for it.")
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def idle(self) -> Iterator[bool]:
        """Hold the lock if nobody does; whether it could be had."""
        from filelock import Timeout

        lock = self._lock()
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _lock(self) -> Any:
        from filelock import FileLock

        return FileLock(self.folder.with_name(f"{self.folder.name}.lock"))

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self._record.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RunError) as error:
            reason = getattr(error.__cause__ or error, "strerror", None) or error
            raise CacheError(
                f"The cache folder {self.folder.parent} can't be written: {reason}. Free some "
                "space there, or name another with the environment variable BOWERBIRD_CACHE."
            ) from error


def place_of(key: str) -> Place:
    """The place of what `key` stands for; it needn't exist."""
    return Place(_home() / storage.hash_bytes(key.encode("utf-8", "surrogateescape")))


def downloads() -> list[Download]:
    """What is there, the last fetched first; what isn't whole comes last."""
    found = [place.described(measured=True) for place in _places()]
    return sorted(found, key=lambda download: -(download.fetched or 0))


def clear_downloads() -> int:
    """Delete what no process is fetching just now, and return the bytes freed."""
    freed = 0
    for place in _places():
        with place.idle() as idle:
            if idle:
                before = storage.folder_size(place.folder)
                place.clear()
                freed += before - storage.folder_size(place.folder)
    return freed


def _places() -> list[Place]:
    named = (f for f in _home().glob("*") if re.fullmatch("[0-9a-f]{32}", f.name))
    return [Place(folder) for folder in named if folder.is_dir()]


def _home() -> Path:
    return storage.cache_home() / "downloads"
