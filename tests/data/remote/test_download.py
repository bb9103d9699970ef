"""HTTP against a server in a thread that breaks off, lies and changes its mind."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bowerbird.data.remote import download as module
from bowerbird.data.remote.download import download
from bowerbird.errors import CacheError, DataError
from data.web import Web, served

DATA = np.random.default_rng(0).bytes(100_000)


@pytest.fixture
def web() -> Iterator[Web]:
    with served() as web:
        yield web


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nothing waits; how long it would have, is listed."""
    waited: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waited.append)
    return waited


def fails(address: str, target: Path, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        download(address, target)
    assert not target.exists()
    return str(caught.value)


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_comes_whole_and_alone(web: Web, tmp_path: Path, pauses: list[float]) -> None:
    download(web.put("/x", DATA), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA
    assert left(tmp_path / "x") == ["x"]
    assert web.asked == [None]
    assert pauses == []


def test_what_breaks_off_goes_on_where_it_was(web: Web, tmp_path: Path) -> None:
    download(web.put("/x", DATA, break_after=[30_000, 20_000]), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA
    assert web.asked == [None, "bytes=30000-", "bytes=50000-"]


def test_a_date_is_enough_to_go_on(web: Web, tmp_path: Path) -> None:
    date = "Sun, 01 Nov 2026 10:00:00 GMT"
    address = web.put("/x", DATA, etag=None, modified=date, break_after=[30_000])
    download(address, tmp_path / "x")
    assert web.asked == [None, "bytes=30000-"]
    assert (tmp_path / "x").read_bytes() == DATA


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_what_could_have_changed_unseen_starts_anew(
    web: Web, tmp_path: Path, etag: str | None
) -> None:
    download(web.put("/x", DATA, etag=etag, break_after=[30_000]), tmp_path / "x")
    assert web.asked == [None, None]
    assert (tmp_path / "x").read_bytes() == DATA


def test_a_server_that_ignores_ranges_starts_anew(web: Web, tmp_path: Path) -> None:
    download(web.put("/x", DATA, ranges=False, break_after=[30_000]), tmp_path / "x")
    assert web.asked == [None, "bytes=30000-"]
    assert (tmp_path / "x").read_bytes() == DATA


def test_another_command_goes_on_where_the_first_gave_up(web: Web, tmp_path: Path) -> None:
    address = web.put("/x", DATA, break_after=[30_000, 0, 0, 0, 0])
    words = fails(address, tmp_path / "x")
    assert "at 30,000 bytes of the 100,000 that were promised" in words
    assert "0.0 of 0.1 MB are kept; the same command goes on" in words
    web.pages["/x"].break_after.clear()
    web.requests.clear()
    download(address, tmp_path / "x")
    assert web.asked == ["bytes=30000-"]
    assert (tmp_path / "x").read_bytes() == DATA


@pytest.mark.parametrize("ignore_if_range", [False, True], ids=["If-Range", "206 for another"])
def test_a_file_that_changed_meanwhile_is_not_mixed(
    web: Web, tmp_path: Path, ignore_if_range: bool
) -> None:
    address = web.put("/x", DATA, break_after=[30_000, 0, 0, 0, 0])
    fails(address, tmp_path / "x")
    other = DATA[::-1]
    web.put("/x", other, etag='"two"', ignore_if_range=ignore_if_range)
    download(address, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == other


def test_a_changed_file_of_the_same_mark_but_another_length_starts_anew(
    web: Web, tmp_path: Path
) -> None:
    address = web.put("/x", DATA, break_after=[30_000, 0, 0, 0, 0])
    fails(address, tmp_path / "x")
    web.put("/x", DATA[:-1])
    download(address, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA[:-1]


def test_fewer_bytes_than_promised_count_when_there_are_no_more(web: Web, tmp_path: Path) -> None:
    """The server promises too much; asked for the rest it says that there is none (416)."""
    download(web.put("/x", DATA, claim=len(DATA) + 500), tmp_path / "x")
    assert web.asked == [None, "bytes=100000-"]
    assert (tmp_path / "x").read_bytes() == DATA


def test_fewer_bytes_than_promised_again_and_again_is_an_error(web: Web, tmp_path: Path) -> None:
    address = web.put("/x", DATA, claim=len(DATA) + 500, ranges=False)
    words = fails(address, tmp_path / "x")
    assert "100,000 bytes of the 100,500 that were promised" in words
    assert address in words
    assert len(web.requests) == 5


def test_more_bytes_than_promised_are_cut_off(web: Web, tmp_path: Path) -> None:
    """HTTP ends the answer there; that the archive is damaged shows when it is opened."""
    download(web.put("/x", DATA, claim=60_000), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA[:60_000]


def test_no_length_means_until_the_end(web: Web, tmp_path: Path) -> None:
    download(web.put("/x", DATA, claim=False), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA


def test_an_empty_file_is_a_file(web: Web, tmp_path: Path) -> None:
    download(web.put("/x", b""), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b""


def test_a_part_that_is_too_long_starts_anew(web: Web, tmp_path: Path) -> None:
    address = web.put("/x", DATA, break_after=[30_000, 0, 0, 0, 0])
    fails(address, tmp_path / "x")
    (tmp_path / "x.part").write_bytes(DATA + b"more")
    download(address, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA


def test_damaged_notes_start_anew(web: Web, tmp_path: Path) -> None:
    address = web.put("/x", DATA, break_after=[30_000, 0, 0, 0, 0])
    fails(address, tmp_path / "x")
    (tmp_path / "x.part.json").write_text("{")
    web.requests.clear()
    download(address, tmp_path / "x")
    assert web.asked == [None]


def test_redirects_are_followed_with_their_range(web: Web, tmp_path: Path) -> None:
    web.put("/there", DATA, break_after=[30_000])
    download(web.put("/here", b"", redirect="/there"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA
    assert web.requests[-1] == ("/there", "bytes=30000-")


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", "/loop"])
def test_redirects_elsewhere_are_refused(web: Web, tmp_path: Path, place: str) -> None:
    address = web.put("/loop", b"", redirect=place)
    assert address in fails(address, tmp_path / "x")


@pytest.mark.parametrize(
    ("code", "hint"),
    [(404, "nothing at this address"), (403, "needs permission"), (418, "in a browser")],
)
def test_what_is_refused_is_asked_for_once(web: Web, tmp_path: Path, code: int, hint: str) -> None:
    address = web.put("/x", DATA, codes=[code])
    words = fails(address, tmp_path / "x")
    assert words.startswith(f"{address} could not be fetched: the server answers {code}")
    assert hint in words
    assert len(web.requests) == 1


def test_errors_that_pass_are_waited_for(web: Web, tmp_path: Path, pauses: list[float]) -> None:
    download(web.put("/x", DATA, codes=[500, 503, 429]), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA
    assert pauses == [1, 2, 4]


def test_errors_that_don_t_pass_end_it(web: Web, tmp_path: Path) -> None:
    address = web.put("/x", DATA, codes=[500] * 9)
    assert "answers 500 (Internal Server Error), 4 times in a row" in fails(address, tmp_path / "x")


def test_without_network_it_says_so_at_once(tmp_path: Path, pauses: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/x.zip"
        words = fails(address, tmp_path / "x")
    assert words.startswith(f"{address} can't be reached: Connection refused.")
    assert "give the file as DATA" in words
    assert pauses == []


def test_odd_characters_are_quoted(web: Web, tmp_path: Path) -> None:
    web.put("/a%20b/%C3%A4.zip?q=1%202", DATA)
    download(f"{web.address}/a b/ä.zip?q=1%202", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("http://", "names no server"),
        ("http://[::1", "is not a link"),
        ("http://host:port/x", "is not a link"),
        ("http://me:secret@127.0.0.1/x", "user's name or password"),
    ],
)
def test_what_is_no_link(tmp_path: Path, address: str, hint: str) -> None:
    words = fails(address, tmp_path / "x")
    assert hint in words
    assert "secret" not in words


def test_a_full_disk_is_not_taken_for_a_bad_connection(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: _Usage(50_000))
    address = web.put("/x", DATA)
    assert "BOWERBIRD_CACHE" in fails(address, tmp_path / "x", CacheError)
    assert len(web.requests) == 1


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_a_disk_that_fills_up_keeps_what_came(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def full(self: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        if mode == "ab":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, mode, *more, **named)

    monkeypatch.setattr(Path, "open", full)
    words = fails(web.put("/x", DATA), tmp_path / "x", CacheError)
    assert "No space left on device" in words
    assert len(web.requests) == 1
