from __future__ import annotations

import csv
import errno
import io
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from bowerbird import storage
from bowerbird.errors import RunError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "ours.txt", "äöü\n")
    (tmp_path / "plain.txt").write_text("x")
    assert (tmp_path / "ours.txt").read_bytes() == "äöü\n".encode()
    ours, plain = (stat.S_IMODE((tmp_path / f).stat().st_mode) for f in ("ours.txt", "plain.txt"))
    assert ours == plain


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_an_exception_while_writing_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "a.txt"
    storage.write_text(target, "old")

    def write() -> None:
        with storage.atomic(target) as file:
            file.write(b"half of the n")
            raise error

    with pytest.raises(error):
        write()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "No space left .* before is intact.*Free some space"),
        (errno.EDQUOT, "No space left"),
        (errno.EROFS, "Read-only file system.*--out"),
        (errno.EACCES, "Permission denied.*--out"),
        (errno.EIO, "Input/output error.*--out"),
    ],
)
def test_a_disk_that_fails_is_one_sentence_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    target = tmp_path / "a.txt"
    storage.write_text(target, "old")

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match=words) as caught:
        storage.write_text(target, "new")
    assert str(target) in str(caught.value)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_folder_that_takes_no_file_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(self: Path, *_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(RunError, match="Choose a folder of your own with --out"):
        storage.write_bytes(tmp_path / "a", b"x")
    assert names(tmp_path) == []


def test_a_missing_folder_and_a_file_in_the_way_are_explained(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="can't be written"):
        storage.write_text(tmp_path / "missing" / "a.txt", "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't be written"):
        storage.make_folder(tmp_path / "file" / "below")


def test_a_place_is_judged_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    storage.check_writable(tmp_path / "new" / "run")
    storage.check_writable(tmp_path)
    with pytest.raises(RunError, match=f"{tmp_path / 'file'} is a file"):
        storage.check_writable(tmp_path / "file" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_longest_file_name_works(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)
    storage.write_text(target, "x")
    assert target.read_text() == "x"


def test_many_threads_leave_the_process_umask_alone(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for _ in range(20):
            storage.write_text(tmp_path / str(number), "x")

    before = os.umask(0o027)
    try:
        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert os.umask(0o027) == 0o027
        assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o640}
    finally:
        os.umask(before)


def test_a_reader_sees_the_old_or_the_new_content(tmp_path: Path) -> None:
    target = tmp_path / "a"
    contents = [bytes([n]) * 200_000 for n in range(2)]
    storage.write_bytes(target, contents[0])
    done = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(target.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(60):
        storage.write_bytes(target, contents[n % 2])
    done.set()
    reader.join()
    assert seen <= set(contents)


def test_json_refuses_what_json_is_not_and_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    storage.write_json(target, {"ä": [1]})
    assert target.read_text(encoding="utf-8") == '{\n  "ä": [\n    1\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(target, float("nan"))
    assert target.read_text(encoding="utf-8").startswith("{")


def test_hashes_are_blake2b_of_16_bytes(tmp_path: Path) -> None:
    # `printf abc | b2sum -l 128`
    known = "cf4ab791c62b8d2b2109c90275287816"
    (tmp_path / "a").write_bytes(b"abc")
    assert storage.hash_bytes(b"abc") == storage.hash_file(tmp_path / "a") == known
    big = os.urandom((1 << 20) + 17)
    (tmp_path / "b").write_bytes(big)
    assert storage.hash_file(tmp_path / "b") == storage.hash_bytes(big)


def test_cache_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOWERBIRD_CACHE", "/somewhere/else")
    assert storage.cache_home() == Path("/somewhere/else")
    monkeypatch.delenv("BOWERBIRD_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert storage.cache_home() == Path("/x/bowerbird")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert storage.cache_home() == Path("~/.cache/bowerbird").expanduser()
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert storage.cache_home() == Path("/local/bowerbird")
    monkeypatch.setattr("sys.platform", "darwin")
    assert storage.cache_home() == Path("~/Library/Caches/bowerbird").expanduser()


def test_csv_reads_again_whatever_is_in_it() -> None:
    rows = [["a,b", 'say "x"', "plain"], ["car\rriage", "line\nfeed", "ümlaut 🌷"], ["", "0", " "]]
    text = storage.comma_separated(["one", "two", "three"], rows)
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["one", "two", "three"], *rows]
    assert text.startswith("one,two,three\n")
