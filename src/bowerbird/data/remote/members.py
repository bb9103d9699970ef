"""Reads the members of zip and tar archives, and says what is wrong with damaged ones.

Decisions:
- What an archive is, its first bytes tell, not its name. Tar may be plain or packed with
  gzip, bzip2, xz or, where Python or an extra can, Zstandard.
- Whole means: every checksum held, a packed stream was read to its end, and a tar has its
  end mark, without which one that was cut off between two files looks sound.
- A tar's headers are never believed so far that memory would suffer.

What may be written where is decided in `archives`.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from bowerbird.errors import DataError, MissingExtraError
from bowerbird.storage import readable

__all__ = ["Member", "members"]

_CHUNK = 1 << 20
_LARGEST_READ = 64 << 20

_MAGIC = (
    (0, b"PK\x03\x04", "zip"), (0, b"PK\x05\x06", "zip"), (257, b"ustar", "tar"),
    (0, b"\x1f\x8b", "gzip"), (0, b"BZh", "bzip2"), (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"Rar!", "a RAR archive"), (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"\xff\xd8\xff", "a JPEG image"), (0, b"\x89PNG", "a PNG image"),
    (0, b"PAR1", "a Parquet file"),
)  # fmt: skip

_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError,
    struct.error, OverflowError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: as it stands there; not yet safe.
        kind: ``"file"`` or ``"folder"``, or what it is instead, in words.
        read_to: how many bytes of the archive come before its end, about.
        open: opens a file for reading.
    """

    name: str
    kind: str
    read_to: int
    open: Callable[[], IO[bytes]]


@contextlib.contextmanager
def members(archive: Path, take: Callable[[int], None]) -> Iterator[Iterator[Member]]:
    """The members of `archive`, to be read in the order they come and inside the block.

    Args:
        archive: a zip or tar.
        take: is told of bytes that come out of the archive but belong to no member.

    Raises:
        DataError: at the beginning, or inside the block where something is read: the archive is
            damaged, or none. A clause without its name.
        MissingExtraError: it is packed with Zstandard, and Python can't read that.
    """
    kind = _kind(archive)
    try:
        with ExitStack() as stack:
            if kind == "zip":
                yield _of_zip(stack.enter_context(zipfile.ZipFile(archive)))
            else:
                yield _of_tar(stack.enter_context(archive.open("rb")), kind, stack, take)
    except RuntimeError as error:  # zip knows packings and passwords that Python doesn't
        raise DataError(f"is packed in a way that Python can't read: {_words(error)}") from error
    except _BROKEN as error:
        raise DataError(f"is damaged: {_words(error)}") from error
    except OSError as error:
        if error.errno is None:  # what gzip and bzip2 say of bad data
            raise DataError(f"is damaged: {_words(error)}") from error
        raise


def _of_zip(file: zipfile.ZipFile) -> Iterator[Member]:
    read = 0
    for info in file.infolist():
        if info.flag_bits & 1:
            raise DataError("is protected by a password; unpack it yourself and give the folder")
        read += max(0, info.compress_size)
        mode = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
        kind = "folder" if info.filename.endswith("/") else "file"  # a name may be empty
        if stat.S_ISLNK(mode):
            kind = "link in the archive"
        elif mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            kind = "special file in the archive"
        yield Member(_zip_name(info), kind, read, partial(file.open, info))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """UTF-8 names without the mark that says so, as macOS writes them, are read as UTF-8."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _of_tar(
    raw: IO[bytes], kind: str, stack: ExitStack, take: Callable[[int], None]
) -> Iterator[Member]:
    source = _Source(_unpacked(raw, kind, stack))
    try:
        tar: Any = stack.enter_context(tarfile.open(fileobj=source, mode="r:"))  # type: ignore[call-overload]  # noqa: SIM115
    except tarfile.ReadError as error:
        packed = f"{kind}, but there is no sound tar in it" if kind != "tar" else "no sound tar"
        raise DataError(f"is damaged, or no archive of files: {packed}") from error
    for entry in tar:
        tar.members = []  # else it keeps all of them
        what = "link in the archive" if entry.issym() or entry.islnk() else ""
        what = "folder" if entry.isdir() else "file" if entry.isreg() else what
        what = what or "special file in the archive"
        yield Member(entry.name, what, raw.tell(), partial(tar.extractfile, entry))
    if len(source.last) != tarfile.BLOCKSIZE or source.last.strip(b"\0"):
        raise EOFError("it ends in the middle")
    while chunk := source.read(_CHUNK):  # so that the stream's own checksum is looked at
        take(len(chunk))


class _Source:
    """A stream for `tarfile`: remembers the last piece, and refuses to read a huge one.

    Only a header that lies asks for a huge piece; files are read by `_CHUNK`.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.last = b""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise EOFError(f"a header claims {size:,} bytes")
        try:
            self.last = self._stream.read(size)
        except Exception as error:
            if type(error).__name__ == "ZstdError":  # an extra's, known when it is installed
                raise EOFError(str(error)) from error
            raise
        return self.last

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _unpacked(raw: IO[bytes], kind: str, stack: ExitStack) -> IO[bytes]:
    """The tar's own bytes."""
    openers: dict[str, Callable[[IO[bytes]], Any]] = {
        "gzip": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
        "bzip2": bz2.BZ2File,
        "xz": lzma.LZMAFile,
        "zstd": lambda file: _zstd().ZstdFile(file),
    }
    return stack.enter_context(openers[kind](raw)) if kind in openers else raw


def _zstd() -> Any:
    for name in ("compression.zstd", "backports.zstd"):  # Python 3.14 brings it
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingExtraError(
        "An archive packed with Zstandard needs Python 3.14 or the package backports.zstd. "
        "Install it with: pip install 'bowerbird[fetch]'"
    )


def _kind(archive: Path) -> str:
    """``zip``, ``tar``, or how a tar is packed.

    Raises:
        DataError: it is something else; the clause says what.
    """
    with archive.open("rb") as file:
        head = file.read(512)
    kind = next((k for at, mark, k in _MAGIC if head[at:].startswith(mark)), "")
    if kind and " " not in kind:
        return kind
    if len(head) == 512 and tarfile.is_tarfile(archive):  # of the time before `ustar`
        return "tar"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        kind = "a web page"
    what = kind or (f"something that begins with {head[:16]!r}" if head else "empty")
    raise DataError(f"is {what}; expected a zip, or a tar (plain, .gz, .bz2, .xz, .zst)")


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return readable(text[:200]).rstrip(".")
