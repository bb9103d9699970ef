"""Makes a folder of whatever DATA names: a link, an archive, or a folder already.

Forms:

- ``https://…`` or ``http://…``: a zip or tar; ``#sha256=…`` behind it is verified
- a link to Google Drive (package gdown)
- ``hf://datasets/OWNER/NAME``, with ``@REVISION`` and ``/FOLDER`` behind it if need be
- a zip or tar on this machine
- anything else is taken for a path and comes back as it is

Decisions:
- What was fetched is never fetched again, nor is it asked whether it has changed: a run reads
  the same images tomorrow, with or without a network.
- An archive is deleted once it is unpacked; its SHA-256 is kept. One that is damaged is
  deleted at once, so that the next try fetches it anew; what is the user's own, never.
- An archive on this machine is unpacked once per path, size and time.
- Unpacking itself is `archives`, HTTP is `download`, the two hubs are `hubs`, and where
  things are kept is `downloads`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from bowerbird import progress
from bowerbird.data.remote.archives import is_archive, opened_at, unpack, unpack_inside
from bowerbird.data.remote.downloads import Download, Place, place_of
from bowerbird.errors import DataError
from bowerbird.storage import readable

__all__ = ["fetch", "found_again", "is_link", "name_of"]

_LINK = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)
_PIECE = 1 << 20


@dataclass(frozen=True)
class _Source:
    """What DATA names, if it is to be fetched or unpacked.

    Attributes:
        address: the link without a fragment, or the archive's absolute path.
        key: what its place is named after.
        sha256: what the archive must have, if that was given.
        archive: the archive, where it lies on this machine.
    """

    address: str
    key: str
    sha256: str | None = None
    archive: Path | None = None


def fetch(data: str | Path) -> Path:
    """A local path for `data`; links are fetched and archives unpacked, once.

    Args:
        data: a folder, table, image, archive or link; see above.

    Returns:
        `data` itself where it is a path of no archive; else the folder in the cache where the
        images begin, absolute.

    Raises:
        DataError: it can't be fetched or unpacked; the message names the address and what to do.
        CacheError: the cache folder is full or can't be written to.
        MissingExtraError: an optional package is needed; the message names the extra.

    >>> fetch("photos/cats").as_posix()
    'photos/cats'
    """
    source = _source(data)
    if source is None:
        return Path(data)
    place = place_of(source.key)
    record = place.record()
    if record is not None:
        _tell(source, record)
    else:
        with place.locked(source.address), place.tidied():
            record = place.record() or _fetched(source, place)
    if source.sha256 and record.sha256 != source.sha256:
        raise DataError(
            f"What was fetched from {source.address} before has the SHA-256 {record.sha256}, but "
            f"the link says {source.sha256}. Correct the link, or let it be fetched anew: "
            "bowerbird cache --clear"
        )
    return _opened(source, place)


def is_link(data: str | Path) -> bool:
    """Whether `data` is a link rather than a path.

    >>> is_link("https://example.org/cats.zip"), is_link("cats.zip")
    (True, False)
    """
    return _LINK.match(str(data)) is not None and not os.path.lexists(data)


def found_again(root: Path, data: str | None) -> Path:
    """Where the images of a run are that once lay in `root`, read from `data`.

    If `root` is gone, because the cache was cleared or is another one now, what `data` names
    is fetched or unpacked anew.

    Raises:
        DataError, CacheError, MissingExtraError: as in `fetch`.
    """
    if root.is_dir() or not data or (source := _source(data)) is None:
        return root
    fetch(data)
    content = place_of(source.key).content
    below = re.search(r"[/\\]downloads[/\\][0-9a-f]{32}[/\\]content(?:[/\\](.*))?$", str(root))
    return content / (below[1] or "") if below else root


def name_of(data: str | Path) -> str:
    """A short name for what `data` names, without endings.

    >>> name_of("https://example.org/sets/cats.tar.gz?download=1#sha256=00")
    'cats'
    """
    text = str(data)
    if is_link(data):
        parts = urlsplit(text)
        text = unquote(parts.path.rstrip("/")) or parts.netloc
        text = text.partition("@")[0] if parts.scheme == "hf" else text
    name = Path(text).name
    while is_archive(name):
        name = Path(name).stem
    return name if is_archive(text) or is_link(data) else Path(text).stem


def _source(data: str | Path) -> _Source | None:
    """What is to be fetched or unpacked, or None for a plain path."""
    if is_link(data):
        return _link(str(data))
    path = Path(os.path.abspath(os.path.expanduser(data)))  # noqa: PTH100, PTH111
    if not is_archive(path.name) or not path.is_file():
        return None
    status = path.stat()
    key = f"{path}\0{status.st_size}\0{status.st_mtime_ns}"
    return _Source(str(path), key, archive=path)


def _link(text: str) -> _Source:
    from bowerbird.data.remote.hubs import drive_id, repository

    found = _LINK.match(text)
    scheme = found[1].lower() if found else ""
    address, fragment = urldefrag(f"{scheme}://{text[found.end() :] if found else ''}")
    if scheme == "hf":
        wanted = repository(address)
        return _Source(address, f"hf {wanted}")
    if scheme not in ("http", "https"):
        raise DataError(
            f"Links of {scheme}:// are not followed. Expected https://, http:// or "
            f"hf://datasets/OWNER/NAME, or a path. Found: {readable(text)}."
        )
    identifier = drive_id(address)
    key = f"drive {identifier}" if identifier else address
    return _Source(address, key, _expected(address, fragment))


def _expected(address: str, fragment: str) -> str | None:
    if not fragment.startswith("sha256="):
        return None
    digits = fragment.removeprefix("sha256=").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise DataError(
            f"The checksum behind {address} must be 64 hexadecimal digits, as sha256sum writes "
            f"them. Found: {digits!r}."
        )
    return digits


def _fetched(source: _Source, place: Place) -> Download:
    """Fetch and unpack to `place`, whose lock is held."""
    shutil.rmtree(place.content, ignore_errors=True)  # of a process that died before it noted it
    for left in place.folder.glob(".unpacking-*"):
        shutil.rmtree(left, ignore_errors=True)
    place.write(source.address)
    if source.address.startswith("hf://"):
        return _from_hub(source, place)
    archive = source.archive or _downloaded(source, place)
    sha256 = _sha256(archive)
    if source.sha256 not in (None, sha256):
        archive.unlink()
        raise DataError(
            f"The file from {source.address} is not the one that was meant: its SHA-256 is "
            f"{sha256}, the link says {source.sha256}. It is deleted again. Ask where the link "
            "is from, or correct its checksum."
        )
    try:
        passed = unpack(archive, place.content)
    except DataError as error:
        raise _no_use(source, archive, error) from error
    size = archive.stat().st_size
    record = _noted(source, place, passed, sha256=sha256)
    if source.archive is None:
        archive.unlink()
    progress.say(f"Unpacked {source.address} ({size / 1e6:.1f} MB, SHA-256 {sha256}).")
    return record


def _downloaded(source: _Source, place: Place) -> Path:
    if place.archive.is_file():
        return place.archive  # whole, but the process that fetched it never unpacked it
    progress.say(f"Fetching {source.address}.")
    if source.key.startswith("drive "):
        from bowerbird.data.remote.hubs import from_drive

        from_drive(source.address, source.key.removeprefix("drive "), place.archive)
    else:
        from bowerbird.data.remote.download import download

        download(source.address, place.archive)
    return place.archive


def _from_hub(source: _Source, place: Place) -> Download:
    from bowerbird.data.remote.hubs import from_hub, repository

    coming = place.folder / "coming"
    commit = from_hub(source.address, repository(source.address), coming)
    shutil.rmtree(coming / ".cache", ignore_errors=True)
    try:
        passed = unpack_inside(coming)
    except DataError as error:
        shutil.rmtree(coming, ignore_errors=True)
        raise DataError(
            f"{source.address} {error}. What was fetched is deleted again. Run the command once "
            "more; if that fails, too, tell the owner of the dataset."
        ) from error
    coming.replace(place.content)
    return _noted(source, place, passed, version=commit)


def _noted(source: _Source, place: Place, passed: Counter[str], **facts: str) -> Download:
    place.write(source.address, fetched=time.time(), passed_over=dict(passed), **facts)
    if passed:
        words = ", ".join(f"{count} × {reason}" for reason, count in passed.items())
        progress.say(f"Not unpacked from {source.address}: {words}.")
    return place.described()


def _no_use(source: _Source, archive: Path, error: DataError) -> DataError:
    """What is said of an archive that can't be unpacked; ours is deleted."""
    if source.archive is not None:
        return DataError(f"{source.address} {error}. Copy or fetch it again, or repack it.")
    archive.unlink(missing_ok=True)
    page = " Open the link in a browser: it may ask for a login, or lead to a page whose button "
    page += "has the link of the file itself."
    return DataError(
        f"What came from {source.address} {error}. It is deleted again, and the next try fetches "
        f"it anew.{page if 'web page' in str(error) else ' If that fails, too, check the link.'}"
    )


def _tell(source: _Source, record: Download) -> None:
    if source.archive is None:
        day = time.strftime("%Y-%m-%d", time.localtime(record.fetched))
        progress.say(f"{source.address} was fetched on {day} and is read from the cache.")


def _opened(source: _Source, place: Place) -> Path:
    folder = place.content
    if source.address.startswith("hf://"):
        from bowerbird.data.remote.hubs import repository

        folder = folder.joinpath(*filter(None, repository(source.address).folder.split("/")))
    return opened_at(folder) if folder.is_dir() else place.content


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error
    return digest.hexdigest()
