"""The cache of activations on disk: append-only files of checked records.

A store holds the activations of one network part, preprocessing, view and
precision; within it, records are found by the hash of the image's bytes. So the
same picture under another name or in another folder is never computed twice.

Decisions:
- A record is hash, values, checksum, all of fixed size. Every writer appends to a
  segment of its own: no locks, and a writer that dies leaves at worst half a record
  at its segment's end, which readers skip.
- A record is believed only after its checksum held, once per process; a damaged one
  counts as missing and is computed again.
- Records are read by position, not by mapping the file, so a process's memory doesn't
  grow with the cache; and of many segments only a few are open at a time.
- Stores last used longest ago go first when the limit is reached; a store in use by
  this process never goes. Nothing is deleted that isn't named like a store.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import os
import re
import shutil
import threading
import time
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from bowerbird import storage
from bowerbird.errors import CacheError, RunError

__all__ = ["FeatureCache", "FeatureKey", "Store", "StoreInfo"]

_HASH, _CRC = 16, 4
_FORMAT = 1
_DEFAULT_LIMIT = 20 * 10**9
_CHUNK = 16 << 20
_HANDLES = 8

_in_use: weakref.WeakSet[Store] = weakref.WeakSet()


@dataclasses.dataclass(frozen=True)
class FeatureKey:
    """What a store's activations depend on, besides the images.

    Attributes:
        network: the network's name, for people.
        weights: fingerprint of the part that was run.
        cut: name of the place where it was cut.
        preprocess: the preprocessing as JSON.
        view: name of the enumerated view.
        precision: ``"float32"`` or ``"bfloat16"``.
    """

    network: str
    weights: str
    cut: str
    preprocess: str
    view: str
    precision: str

    def digest(self) -> str:
        """32 hexadecimal digits that name the store."""
        fields = json.dumps([_FORMAT, *dataclasses.astuple(self)])
        return storage.hash_bytes(fields.encode())


@dataclasses.dataclass(frozen=True)
class StoreInfo:
    """One line of ``bowerbird cache``."""

    name: str
    network: str
    cut: str
    view: str
    size: int
    used: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `size` in bytes, `used` in seconds since 1970."""
        return dataclasses.asdict(self)


class FeatureCache:
    """Stores in a folder, held below a size.

    Args:
        folder: by default ``features`` in Bowerbird's cache folder.
        limit: bytes; by default ``$BOWERBIRD_CACHE_GB``, else 20 GB.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = folder or storage.cache_home() / "features"
        self.limit = limit if limit is not None else _limit_from_environment()

    def store(self, key: FeatureKey, shape: tuple[int, ...]) -> Store:
        """Open the store for `key`, making it if need be; `shape` is that of one image."""
        folder = self.folder / key.digest()
        try:
            storage.make_folder(folder)
            meta = dataclasses.asdict(key) | {"shape": list(shape), "format": _FORMAT}
            storage.write_json(folder / "meta.json", meta)
        except RunError as error:
            raise CacheError(
                f"The cache folder {self.folder} can't be written: {_reason(error)}. Free some "
                "space there, or name another with the environment variable BOWERBIRD_CACHE."
            ) from error
        return Store(folder, shape, key.precision)

    def contents(self) -> list[StoreInfo]:
        """All stores, the last used first."""
        return sorted((_info(folder) for folder in self._stores()), key=lambda s: -s.used)

    def clear(self) -> int:
        """Delete every store and return the bytes freed."""
        freed = 0
        for folder in self._stores():
            before = storage.folder_size(folder)
            shutil.rmtree(folder, ignore_errors=True)
            freed += before - storage.folder_size(folder)
        return freed

    def make_room(self, wanted: int = 0) -> None:
        """Delete the stores last used longest ago until `wanted` bytes fit the limit."""
        contents = self.contents()
        in_use = {store.folder for store in _in_use}
        total = sum(s.size for s in contents) + wanted
        for info in reversed(contents):
            if total <= self.limit:
                return
            if self.folder / info.name not in in_use:
                shutil.rmtree(self.folder / info.name, ignore_errors=True)
                total -= info.size

    def _stores(self) -> list[Path]:
        named = (f for f in self.folder.glob("*") if re.fullmatch("[0-9a-f]{32}", f.name))
        return [folder for folder in named if folder.is_dir()]


class Store:
    """Activations of one part of a network, found by image hash.

    Values are float32, or bfloat16 kept as its 16 bits.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], precision: str) -> None:
        self.folder, self.shape = folder, shape
        self.kind: np.dtype[Any] = np.dtype(np.uint16 if precision == "bfloat16" else np.float32)
        self._payload = int(np.prod(shape)) * self.kind.itemsize
        self._record = _HASH + self._payload + _CRC
        self._segments: list[Path] = []
        self._handles: OrderedDict[int, IO[bytes]] = OrderedDict()
        self._where: dict[bytes, tuple[int, int]] = {}
        self._checked: set[bytes] = set()
        self._lock = threading.Lock()
        self._writing: tuple[int, IO[bytes]] | None = None
        for segment in sorted(folder.glob("*.seg")):
            self._read_hashes(segment)
        _in_use.add(self)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # not even made
            self.close()

    @property
    def record_size(self) -> int:
        """Bytes on disk per image."""
        return self._record

    def __contains__(self, content_hash: str) -> bool:
        return bytes.fromhex(content_hash) in self._where

    def missing(self, hashes: Sequence[str]) -> list[str]:
        """Those of `hashes`, each once, that are absent or whose checksum fails."""
        wanted = [bytes.fromhex(h) for h in dict.fromkeys(hashes)]
        unchecked = [h for h in wanted if h in self._where and h not in self._checked]
        sound: set[bytes] = set()
        for rows, block in self._runs(unchecked):
            pairs = zip(rows, block, strict=True)
            sound.update(unchecked[r] for r, record in pairs if _sound(record, unchecked[r]))
        self._checked |= sound
        for name in set(unchecked) - sound:
            del self._where[name]
        return [h.hex() for h in wanted if h not in self._where]

    def append(self, hashes: Sequence[str], values: npt.NDArray[Any]) -> None:
        """Keep `values` [N, *shape] under `hashes`. Safe to call from several threads."""
        if values.shape[1:] != self.shape or values.dtype != self.kind:
            raise CacheError(f"The store takes {self.shape} {self.kind}, not {values.shape}.")
        names = [bytes.fromhex(h) for h in hashes]
        pieces = []
        for name, value in zip(names, np.ascontiguousarray(values), strict=True):
            body = name + value.tobytes()
            pieces.append(body + zlib.crc32(body).to_bytes(_CRC, "little"))
        with self._lock:
            self._write(names, b"".join(pieces))

    def read(self, hashes: Sequence[str]) -> npt.NDArray[Any]:
        """Stored values [N, *shape], float32 or the 16 bits of bfloat16.

        Raises:
            CacheError: a hash isn't there, or its file was deleted or cut short meanwhile.
        """
        names = [bytes.fromhex(h) for h in hashes]
        if absent := [n for n in names if n not in self._where]:
            raise CacheError(f"{len(absent)} of {len(names)} images are not in the cache.")
        result = np.empty((len(names), self._payload), dtype=np.uint8)
        expected = np.frombuffer(b"".join(names), np.uint8).reshape(-1, _HASH)
        found = 0
        for rows, block in self._runs(names):
            result[rows] = block[:, _HASH : _HASH + self._payload]
            found += int(np.all(block[:, :_HASH] == expected[rows], axis=1).sum())
        if found != len(names):
            raise CacheError(
                f"The feature cache {self.folder} was changed by something else while it was in "
                f"use: {len(names) - found} of {len(names)} records are gone. Run the command "
                "again; what is missing is computed anew."
            )
        return result.view(self.kind).reshape(len(names), *self.shape)

    def close(self) -> None:
        """Close the files; what was appended is kept."""
        with self._lock:
            self._stop_writing()
            while self._handles:
                self._handles.popitem()[1].close()
            self._where.clear()

    def _write(self, names: list[bytes], data: bytes) -> None:
        try:
            number, file = self._writing or self._new_segment()
            position = file.seek(0, os.SEEK_END)
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
        except OSError as error:
            self._stop_writing()  # what followed half a record would be read at a wrong place
            raise CacheError(
                f"The feature cache can't be written: {error.strerror or error}. Free some space "
                "(`bowerbird cache --clear`), or name another disk with the environment variable "
                "BOWERBIRD_CACHE. What is stored already stays."
            ) from error
        for record, name in enumerate(names, start=position // self._record):
            self._where[name] = (number, record)
            self._checked.add(name)

    def _new_segment(self) -> tuple[int, IO[bytes]]:
        self.folder.mkdir(parents=True, exist_ok=True)  # another process may have made room
        segment = self.folder / f"{time.time_ns():020d}-{os.getpid()}.seg"
        self._writing = len(self._segments), segment.open("xb", buffering=0)
        self._segments.append(segment)
        return self._writing

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing[1].close()
        self._writing = None

    def _read_hashes(self, segment: Path) -> None:
        number = len(self._segments)
        self._segments.append(segment)
        with contextlib.suppress(OSError):  # deleted meanwhile, or unreadable: computed again
            for record in range(segment.stat().st_size // self._record):
                name = self._at(number, record * self._record, _HASH)
                self._where[name] = (number, record)

    def _at(self, number: int, position: int, size: int) -> bytes:
        with self._lock:
            if number not in self._handles:
                while len(self._handles) >= _HANDLES:
                    self._handles.popitem(last=False)[1].close()
                self._handles[number] = self._segments[number].open("rb", buffering=0)
            self._handles.move_to_end(number)
            self._handles[number].seek(position)
            return self._handles[number].read(size)

    def _runs(
        self, names: Sequence[bytes]
    ) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8]]]:
        """Whole records [n, record] with their rows; neighbours on disk are read in one go."""
        places = np.array([self._where[name] for name in names], dtype=np.int64).reshape(-1, 2)
        order = np.lexsort((places[:, 1], places[:, 0]))
        ordered = places[order]
        gaps = np.any(np.diff(ordered, axis=0) != [0, 1], axis=1)
        most = max(1, _CHUNK // self._record)
        starts = [0, *(np.flatnonzero(gaps) + 1).tolist(), len(order)]
        for begin, end in itertools.pairwise(starts):
            for first in range(begin, end, most):
                rows = order[first : min(first + most, end)]
                file, record = ordered[first].tolist()
                size = len(rows) * self._record
                data = np.frombuffer(b"", np.uint8)
                with contextlib.suppress(OSError):  # the segment is gone, or its disk is broken
                    data = np.frombuffer(self._at(file, record * self._record, size), np.uint8)
                whole = len(data) // self._record  # fewer where the file has been cut short
                block = data[: whole * self._record].reshape(whole, self._record)
                yield rows[:whole], block


def _sound(record: npt.NDArray[np.uint8], name: bytes) -> bool:
    body, checksum = record[:-_CRC], record[-_CRC:]
    named = record[:_HASH].tobytes() == name
    return named and zlib.crc32(body.tobytes()).to_bytes(_CRC, "little") == checksum.tobytes()


def _limit_from_environment() -> int:
    text = os.environ.get("BOWERBIRD_CACHE_GB")
    if text is None:
        return _DEFAULT_LIMIT
    try:
        size = float(text) * 10**9
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise CacheError(
            f"The environment variable BOWERBIRD_CACHE_GB must be a number of gigabytes, e.g. 20. "
            f"Found: {text!r}."
        )
    return int(size)


def _reason(error: RunError) -> str:
    return str(getattr(error.__cause__, "strerror", None) or error)


def _info(folder: Path) -> StoreInfo:
    """What `folder` holds; a store without a readable description counts, too."""
    meta, used = {}, 0.0
    with contextlib.suppress(OSError, ValueError):
        used = folder.stat().st_mtime
        used = (folder / "meta.json").stat().st_mtime
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    known = meta if isinstance(meta, dict) else {}
    words = {field: str(known.get(field, "unknown")) for field in ("network", "cut", "view")}
    return StoreInfo(name=folder.name, size=storage.folder_size(folder), used=used, **words)
