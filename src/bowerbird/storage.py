"""Files written so that a reader never sees half of one.

A file is written under a temporary name beside its target, flushed to the disk
and renamed: after a crash there is the old file or the new one. A full disk or
a read-only folder becomes one clear `RunError`, and the old file stays.

It also says where caches live. It knows nothing of runs or images.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from bowerbird.errors import RunError

__all__ = [
    "FREE_SPACE",
    "atomic",
    "cache_home",
    "check_writable",
    "comma_separated",
    "folder_size",
    "hash_bytes",
    "hash_file",
    "is_folder",
    "is_full",
    "make_folder",
    "readable",
    "write_bytes",
    "write_json",
    "write_text",
]

FREE_SPACE = "Free some space, or choose another disk with --out, and run the command again."
"""The next step when a disk is full, for whoever knows a better one."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` for writing; rename it there at the end.

    Raises:
        RunError: the disk is full, or the folder can't be written to.
    """
    temporary: Path | None = None
    try:
        name = path.with_name(f".part-{secrets.token_hex(8)}")
        with name.open("xb") as file:  # its permissions are those of any new file
            temporary = name
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN is refused, since it is not JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def comma_separated(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV with quotes where they are needed; also for carriage returns, which `csv` forgets."""
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(header)
    for row in rows:
        (quoted if any("\r" in str(cell) for cell in row) else plain).writerow(row)
    return text.getvalue()


def make_folder(path: Path) -> Path:
    """Create `path` and its parents.

    Raises:
        RunError: it can't be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _explained(error, path) from error
    return path


def check_writable(folder: Path) -> None:
    """Refuse, before any work, a folder that couldn't be made or written to; nothing is made.

    Raises:
        RunError: it is a file, or lies in one, or there is no permission.
    """
    above = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not is_folder(above):
        raise RunError(f"{folder} can't be written: {above} is a file. Choose another with --out.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise RunError(
            f"{folder} can't be written: no permission in {above}. Choose a folder of your own "
            "with --out."
        )


def is_folder(path: Path) -> bool:
    """Whether there is such a folder, and it can be seen."""
    try:
        return path.is_dir()
    except OSError:  # too long a name, or a folder above that is closed
        return False


def hash_bytes(data: bytes) -> str:
    """128-bit blake2b of `data`, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def hash_file(path: Path) -> str:
    """128-bit blake2b of a file's bytes, read in pieces."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def folder_size(folder: Path) -> int:
    """Bytes of all files below `folder`; what vanishes meanwhile doesn't count."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def is_full(error: BaseException) -> bool:
    """Whether an error comes from a full disk."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        cause = cause.__cause__
    return False


def readable(name: str | Path) -> str:
    r"""A file's name as valid Unicode: bytes that are none are written out.

    >>> readable("caf\udce9.jpg")
    'caf\\udce9.jpg'
    """
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def cache_home() -> Path:
    """Where Bowerbird keeps what it can compute again.

    ``$BOWERBIRD_CACHE``, else the platform's cache folder (``~/.cache/bowerbird``).
    """
    if named := os.environ.get("BOWERBIRD_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", "~"))
    elif sys.platform == "darwin":
        base = Path("~/Library/Caches")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return base.expanduser() / "bowerbird"


_FULL = (errno.ENOSPC, errno.EDQUOT)


def _explained(error: OSError, path: Path) -> RunError:
    if error.errno in _FULL:
        return RunError(
            f"No space left while writing {path}. What was saved before is intact. {FREE_SPACE}"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RunError(
            f"{path} can't be written: {error.strerror}. Choose a folder of your own with --out."
        )
    return RunError(
        f"{path} can't be written: {error.strerror or error}. Choose another folder with --out."
    )
