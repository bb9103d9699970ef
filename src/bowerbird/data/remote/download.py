"""Fetches one file over HTTP, and goes on where an earlier attempt broke off.

Decisions:
- What has come stands in ``NAME.part``, what the server said of it in ``NAME.part.json``. It
  is continued only if the server said by which mark (a strong ETag, else Last-Modified) the
  file can be told from a changed one; with If-Range a changed file starts anew.
- A server that ignores the range sends all of it, and the beginning is dropped.
- A file is complete when as many bytes came as were promised. One that is shorter than
  promised counts as broken off, unless the server itself says, asked for the rest, that
  there is none. One that is longer is cut where the promise ended; whoever opens it finds out.
- Broken connections and errors that pass (429, 5xx) are tried again, with pauses that
  double, as long as every few attempts bring something new. What is wrong at once, a name
  that doesn't resolve or a 404, is not.

Where files are kept, and checksums, are matters of `fetch`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bowerbird import progress, storage
from bowerbird.errors import CacheError, DataError

__all__ = ["Megabytes", "download"]

_TRIES = 4
_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_TIMEOUT = 30.0
_CHUNK = 1 << 18
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_BY_HAND = "Fetch it in a browser and give the file as DATA"


def download(address: str, target: Path) -> None:
    """Fetch `address` to the file `target`, which must not exist.

    Args:
        address: ``http://`` or ``https://``.
        target: where the file goes; what is incomplete stays beside it.

    Raises:
        DataError: it can't be had; the message names the address and the next step.
        CacheError: the disk is full or can't be written to.
    """
    url = _quoted(address)
    part = _Part(target, address)
    failures, furthest, began, came = 0, part.size, part.size, False
    with contextlib.closing(Megabytes("Fetching")) as bar:
        while True:
            try:
                if _attempt(url, part, bar):
                    break
                reason = "the connection broke off"
            except urllib.error.HTTPError as error:
                error.close()
                said = " ".join(str(error.reason).split())
                reason = f"the server answers {error.code} ({said})"
                if error.code not in _PASSING:
                    raise DataError(_refused(address, error.code, reason)) from error
            except (OSError, http.client.HTTPException) as error:
                reason = _reason(error)
                if isinstance(error, urllib.error.URLError) and not came:
                    raise DataError(_unreachable(address, reason, part)) from error
            came = came or part.size != began
            failures = 0 if part.size > furthest else failures + 1
            furthest = max(furthest, part.size)
            if failures >= _TRIES:
                raise DataError(_broken(address, reason, part))
            time.sleep(min(_PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE))
    part.finish()


class Megabytes:
    """A bar in megabytes that begins when it is known how many there will be."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._stack = contextlib.ExitStack()
        self._task: progress.Task | None = None
        self._done = 0

    def reach(self, done: int, total: int | None) -> None:
        """`done` of `total` bytes are there; nothing is shown while `total` is None."""
        if self._task is None and total:
            words = f"{self._description} (MB)"
            bar = progress.task(words, math.ceil(total / 1e6))
            self._task = self._stack.enter_context(bar)
        if self._task is not None and done // 10**6 > self._done:
            self._task.advance(done // 10**6 - self._done)
            self._done = done // 10**6

    def close(self) -> None:
        """Take the bar away."""
        self._stack.close()


class _Part:
    """The beginning of a file, and the marks by which its rest is recognised."""

    def __init__(self, target: Path, address: str) -> None:
        self._target = target
        self.file = target.with_name(f"{target.name}.part")
        self._notes = target.with_name(f"{target.name}.part.json")
        self._address = address
        self.facts: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):  # absent or damaged: from the start
            facts = json.loads(self._notes.read_text(encoding="utf-8"))
            if isinstance(facts, dict) and facts.get("address") == address:
                self.facts = facts
        if not self.mark:
            self.clear()

    @property
    def size(self) -> int:
        try:
            return self.file.stat().st_size
        except OSError:
            return 0

    @property
    def total(self) -> int | None:
        total = self.facts.get("total")
        return total if isinstance(total, int) else None

    @property
    def mark(self) -> str | None:
        """What If-Range takes, or None where a changed file couldn't be told."""
        etag, modified = self.facts.get("etag"), self.facts.get("modified")
        if isinstance(etag, str) and etag and not etag.startswith("W/"):
            return etag
        return modified if isinstance(modified, str) and modified else None

    def begin(self, facts: dict[str, Any]) -> None:
        with _writing(self.file):
            self.clear()
            self.facts = facts | {"address": self._address}
            self._notes.write_text(json.dumps(self.facts), encoding="utf-8")

    def clear(self) -> None:
        self.facts = {}
        self.file.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def finish(self) -> None:
        with _writing(self._target):
            self.file.touch()
            self.file.replace(self._target)
            self._notes.unlink(missing_ok=True)


def _attempt(url: str, part: _Part, bar: Megabytes) -> bool:
    """One request; whether the file is complete."""
    headers = {"User-Agent": f"bowerbird/{version('bowerbird')}", "Accept-Encoding": "identity"}
    if part.size and part.mark:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.mark}
    request = urllib.request.Request(url, headers=headers)
    try:
        with _opener().open(request, timeout=_TIMEOUT) as response:
            if not _placed(response, part):
                return False
            _check_room(part)
            _receive(response, part, bar)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        whole = error.headers.get("Content-Range", "") == f"bytes */{part.size}"
        error.close()
        if not whole:
            part.clear()
        return whole
    return part.total is None or part.size == part.total


def _placed(response: http.client.HTTPResponse, part: _Part) -> bool:
    """Bring `part` to where the answer begins; False where the answer fits nowhere."""
    headers = response.headers
    said = {"etag": headers.get("ETag"), "modified": headers.get("Last-Modified")}
    if response.status != 206:
        part.begin(said | {"total": response.length})
        return True
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
    same = all(value in (None, part.facts.get(name)) for name, value in said.items())
    total = int(found[3]) if found and found[3] != "*" else part.total
    fits = found and int(found[1]) == part.size > 0 and total == part.total
    if not (fits and same):
        part.clear()
        return False
    return True


def _receive(response: http.client.HTTPResponse, part: _Part, bar: Megabytes) -> None:
    size = part.size
    bar.reach(size, part.total)
    with _writing(part.file):
        file = part.file.open("ab")
    with file:
        while chunk := response.read1(min(_CHUNK, (part.total or size + _CHUNK) - size)):
            with _writing(part.file):
                file.write(chunk)
                file.flush()
            size += len(chunk)
            bar.reach(size, part.total)


def _check_room(part: _Part) -> None:
    wanted = (part.total or 0) - part.size
    with _writing(part.file):
        free = shutil.disk_usage(part.file.parent).free
    if wanted > free:
        raise CacheError(
            f"The download takes {wanted / 1e9:.1f} GB, but {part.file.parent} has "
            f"{free / 1e9:.1f} GB left. Free some space, or name another disk with the environment "
            "variable BOWERBIRD_CACHE."
        )


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https, and what they redirect to of these; nothing on this machine."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.UnknownHandler,
        urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener


def _quoted(address: str) -> str:
    """The address with what a request can't hold written as %XX, and the host as DNS has it."""
    try:
        parts = urllib.parse.urlsplit(address)
        host, _ = parts.hostname or "", parts.port
        network = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    except ValueError as error:
        raise DataError(f"{address} is not a link: {error}.") from error
    if not host:
        raise DataError(f"{address} is not a link: it names no server.")
    if "@" in parts.netloc:
        raise DataError(f"A link with a user's name or password in it isn't followed. {_BY_HAND}.")
    safe = "%/:=&?~+!$,;'@()*[]"
    path, query = (urllib.parse.quote(text, safe=safe) for text in (parts.path, parts.query))
    return urllib.parse.urlunsplit((parts.scheme, network, path or "/", query, ""))


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Errors of the disk are not taken for errors of the network."""
    try:
        yield
    except OSError as error:
        kept = "What has come is kept. " if path.exists() else ""
        raise CacheError(
            f"{path} can't be written: {error.strerror or error}. {kept}Free some space "
            "(`bowerbird cache --clear`), or name another disk with the environment variable "
            "BOWERBIRD_CACHE."
        ) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.URLError):
        inner = error.reason
        text = (inner.strerror if isinstance(inner, OSError) else None) or str(inner)
    else:
        text = str(error)
    return storage.readable(text.strip() or type(error).__name__)


def _kept(part: _Part) -> str:
    if not part.size or not part.mark:
        return ""
    of = f" of {part.total / 1e6:.1f}" if part.total else ""
    return f" {part.size / 1e6:.1f}{of} MB are kept; the same command goes on from there."


def _unreachable(address: str, reason: str, part: _Part) -> str:
    return (
        f"{address} can't be reached: {reason}. It has not been fetched before, so the network is "
        f"needed, once. Check the link and the connection, or fetch it elsewhere and give the "
        f"file as DATA.{_kept(part)}"
    )


def _broken(address: str, reason: str, part: _Part) -> str:
    promised = f" of the {part.total:,} that were promised" if part.total else ""
    return (
        f"{address} could not be fetched: {reason}, {_TRIES} times in a row with nothing new, at "
        f"{part.size:,} bytes{promised}. Try again later. {_BY_HAND} if that fails, too."
        f"{_kept(part)}"
    )


def _refused(address: str, code: int, reason: str) -> str:
    if code in (401, 403):
        hint = f"It needs permission. {_BY_HAND}, or find a link that works without signing in."
    elif code in (404, 410):
        hint = "There is nothing at this address (any more). Check the link."
    else:
        hint = f"{_BY_HAND}."
    return f"{address} could not be fetched: {reason}. {hint}"
