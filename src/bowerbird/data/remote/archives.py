"""Unpacks zip and tar archives that may be damaged, or mean harm.

Decisions:
- Everything goes to a new folder beside the target, which is renamed when all of it is
  there and on the disk: a folder under the target's name is whole.
- A name that leads outside the folder, or is absolute, condemns the archive. Links and
  devices are never made: they are passed over and counted. Permissions and times of the
  archive don't count.
- Limits are kept on the bytes that come out, whatever the headers say.
- If there are archives but no image in it, these are unpacked, too, each to a folder of its
  name; not deeper.

How archives are read is a matter of `members`, what is kept where one of `fetch`.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bowerbird import progress, storage
from bowerbird.data.dataset import split_named
from bowerbird.data.remote.members import Member, members
from bowerbird.data.scan import TABLE_EXTENSIONS, is_hidden, is_image
from bowerbird.errors import CacheError, DataError
from bowerbird.storage import readable

__all__ = ["ARCHIVE_EXTENSIONS", "Limits", "is_archive", "opened_at", "unpack", "unpack_inside"]

ARCHIVE_EXTENSIONS = (
    ".zip", ".tar", ".tgz", ".tbz2", ".tbz", ".txz", ".tzst",
    ".gz", ".bz2", ".xz", ".zst", ".rar", ".7z",
)  # fmt: skip
"""Endings of what is meant to be an archive; the last two are refused with a clear word."""

_CHUNK = 1 << 20
_MEGABYTE = 10**6
_INNER = re.compile(r".\.(zip|tgz|tbz2?|txz|tzst|tar(\.(gz|bz2|xz|zst))?)$", re.IGNORECASE)

_BAD_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ)


@dataclass(frozen=True)
class Limits:
    """What an archive may become.

    Attributes:
        size: bytes of all files in it.
        count: files and folders.
        ratio: bytes that come out per byte of the archive, once more than `free` came out.
        free: bytes for which the ratio is not looked at; a few flat pictures pack very well.
    """

    size: int = 500 * 10**9
    count: int = 3_000_000
    ratio: int = 200
    free: int = 10**9


def is_archive(name: str) -> bool:
    """Whether a file's ending is that of an archive.

    >>> is_archive("images.tar.gz"), is_archive("images.csv")
    (True, False)
    """
    return name.lower().endswith(ARCHIVE_EXTENSIONS)


def unpack(archive: Path, target: Path, *, limits: Limits | None = None) -> Counter[str]:
    """Unpack `archive` to a new folder `target`, all of it or nothing.

    Args:
        archive: a zip or tar.
        target: must not exist yet; its parent must.
        limits: what the archive may become.

    Returns:
        What was passed over, by reason.

    Raises:
        DataError: the archive is damaged, does harm, or is none; a clause without its name.
        CacheError: the disk is full or can't be written to.
        MissingExtraError: it is packed with Zstandard, and Python can't read that.
    """
    beside = target.with_name(f".unpacking-{secrets.token_hex(8)}")
    try:
        beside.mkdir()
        budget = _Budget(archive.stat().st_size, limits or Limits())
        passed = _unpack(archive, beside, budget) + _unpack_inner(beside, budget)
        if not any(beside.iterdir()):
            raise DataError("holds no files")
        if hasattr(os, "sync"):
            os.sync()  # a name must not outlast a power cut that what it names does not
        beside.replace(target)
    except OSError as error:
        raise _of_the_disk(error, target) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return passed


def unpack_inside(folder: Path, *, limits: Limits | None = None) -> Counter[str]:
    """If `folder` holds archives and no image, replace each by a folder of its name.

    Returns:
        What was passed over, by reason.

    Raises:
        DataError: one is damaged, does harm, or is none; a clause without the folder's name.
        CacheError: the disk is full or can't be written to.
    """
    packed = storage.folder_size(folder)
    try:
        return _unpack_inner(folder, _Budget(packed, limits or Limits()))
    except OSError as error:
        raise _of_the_disk(error, folder) from error


def opened_at(folder: Path) -> Path:
    """Where the images begin: an only folder with folders or a table in it is opened.

    A folder called train, val or test is not opened: its name says something.
    """
    while True:
        visible = [entry for entry in sorted(folder.iterdir()) if not is_hidden(entry.name)]
        folders = [entry for entry in visible if entry.is_dir()]
        others = [e for e in visible if e.is_file() and (is_image(e.name) or _is_table(e.name))]
        if len(folders) != 1 or others or split_named(folders[0].name):
            return folder
        inside = [entry for entry in folders[0].iterdir() if not is_hidden(entry.name)]
        if not any(entry.is_dir() or _is_table(entry.name) for entry in inside):
            return folder
        folder = folders[0]


def _is_table(name: str) -> bool:
    return name.lower().endswith(TABLE_EXTENSIONS)


class _Budget:
    """Counts what comes out of an archive, and stops it at the limits."""

    def __init__(self, packed: int, limits: Limits) -> None:
        self._limits, self._packed = limits, packed
        self._bytes = self._count = 0

    def entry(self) -> None:
        self._count += 1
        if self._count > self._limits.count:
            raise DataError(f"holds more than {self._limits.count:,} files; it is not unpacked")

    def take(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._limits.size:
            raise DataError(f"holds more than {self._limits.size / 1e9:g} GB; it is not unpacked")
        most = max(self._limits.free, self._limits.ratio * self._packed)
        if self._bytes > most:
            raise DataError(
                f"grows to more than {self._limits.ratio} times its size, as no images do; "
                "it is not unpacked"
            )


def _unpack(archive: Path, folder: Path, budget: _Budget) -> Counter[str]:
    passed: Counter[str] = Counter()
    total = archive.stat().st_size // _MEGABYTE
    done = 0
    with progress.task("Unpacking (MB)", total) as bar, members(archive, budget.take) as found:
        for member in found:
            budget.entry()
            _put(member, folder, budget, passed)
            reached = max(done, member.read_to // _MEGABYTE)
            bar.advance(reached - done)
            done = reached
    return passed


def _put(entry: Member, folder: Path, budget: _Budget, passed: Counter[str]) -> None:
    """Write one member below `folder`."""
    parts = _parts(entry.name)
    if parts[:1] == ["__MACOSX"]:
        return
    if entry.kind not in ("file", "folder"):
        passed[entry.kind] += 1
        return
    place = folder.joinpath(*parts)
    try:
        if entry.kind == "folder":
            place.mkdir(parents=True, exist_ok=True)
            return
        if not parts:
            raise DataError("is damaged: it holds a file without a name")
        place.parent.mkdir(parents=True, exist_ok=True)
        with entry.open() as source, place.open("wb") as file:
            while chunk := source.read(_CHUNK):
                budget.take(len(chunk))
                file.write(chunk)
    except FileExistsError as error:
        raise DataError(f"is damaged: {readable(entry.name)} is a file and a folder") from error
    except OSError as error:
        if error.errno not in _BAD_NAME:
            raise
        name = readable(entry.name)
        short = name if len(name) < 100 else f"{name[:100]}…"
        raise DataError(
            f"holds a name that can't be written here: {short} ({error.strerror})"
        ) from error


def _parts(name: str) -> list[str]:
    """The folders and file of a member's name; it must stay inside."""
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if plain.startswith("/") or re.match(r"[A-Za-z]:", plain):
        raise DataError(f"is not safe: it wants to write to {readable(name)!r}, an absolute path")
    if ".." in parts or "\0" in name:
        raise DataError(f"is not safe: it wants to write outside its folder, to {readable(name)!r}")
    return parts


def _unpack_inner(folder: Path, budget: _Budget) -> Counter[str]:
    """Unpack the archives in `folder` to folders of their names, if there is no image."""
    passed: Counter[str] = Counter()
    inner: list[Path] = []
    for place, _, names in os.walk(folder):
        visible = [name for name in names if not is_hidden(name)]
        if any(map(is_image, visible)):
            return passed
        inner += [Path(place, name) for name in visible if _INNER.search(name)]
    for archive in sorted(inner):
        try:
            passed += _unpack_beside(archive, budget)
        except DataError as error:
            raise DataError(f"holds {readable(archive.name)}, which {error}") from error
    return passed


def _unpack_beside(archive: Path, budget: _Budget) -> Counter[str]:
    """Replace `archive` by a folder of its name."""
    beside = archive.with_name(f".unpacking-{secrets.token_hex(8)}")
    beside.mkdir()
    passed = _unpack(archive, beside, budget)
    if next(beside.glob("*.cls"), None) is not None:
        raise DataError(
            "is a shard of WebDataset, with labels in files of their own; expected folders per "
            "class or a table"
        )
    archive.unlink()
    place = _free(archive.with_name(_INNER.sub(lambda found: found[0][0], archive.name)))
    _only_folder(beside, place.name).replace(place)
    shutil.rmtree(beside, ignore_errors=True)
    return passed


def _only_folder(folder: Path, name: str) -> Path:
    """The only folder in `folder`, if nothing is lost when it is called `name`."""
    visible = [entry for entry in folder.iterdir() if not is_hidden(entry.name)]
    only = visible[0] if len(visible) == 1 and visible[0].is_dir() else None
    if only is None or (split_named(only.name) and only.name != name):
        return folder
    return only


def _free(place: Path) -> Path:
    number, candidate = 1, place
    while candidate.exists():
        number += 1
        candidate = place.with_name(f"{place.name}-{number}")
    return candidate


def _of_the_disk(error: OSError, target: Path) -> CacheError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CacheError(
            f"No space left while unpacking to {target}; what was unpacked is deleted again. Free "
            "some space (`bowerbird cache --clear`), or name another disk with the environment "
            "variable BOWERBIRD_CACHE."
        )
    return CacheError(
        f"Can't unpack to {target}: {error.strerror or error}. Name another folder with the "
        "environment variable BOWERBIRD_CACHE."
    )
