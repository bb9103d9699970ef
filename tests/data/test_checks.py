from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from bowerbird import storage
from bowerbird.data import checks
from bowerbird.data.checks import Checked, check
from bowerbird.errors import ImageError
from drawing import draw_folder


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Six images, one of them cut off, one no image, one absent; all an hour old."""
    paths = sorted(draw_folder(tmp_path / "images", per_class=2).rglob("*.jpg"))
    paths[1].write_bytes(paths[1].read_bytes()[:400])
    paths[2].write_bytes(b"no image")
    for path in paths:
        settle(path)
    return [*paths, tmp_path / "absent.jpg"]


def settle(path: Path) -> None:
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))


def memory() -> Path:
    (file,) = (storage.cache_home() / "checked").glob("*.sqlite")
    return file


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    original = checks.decode

    def counted(data: bytes, **settings: int) -> object:
        calls.append(len(data))
        return original(data, **settings)

    monkeypatch.setattr(checks, "decode", counted)
    return calls


def test_each_file_gets_its_hash_and_reason(files: list[Path]) -> None:
    found = check(files)
    assert [verdict.reason for verdict in found] == [
        None,
        "truncated",
        "not an image",
        None,
        None,
        None,
        "file not found",
    ]
    for path, verdict in zip(files[:-1], found[:-1], strict=True):
        assert verdict.content_hash == storage.hash_file(path)
    assert found[-1] == Checked(None, "file not found")


def test_a_second_look_decodes_nothing(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_decodes(monkeypatch)
    first = check(files)
    assert len(calls) == 6
    assert check(files) == first
    assert check(list(reversed(files))) == list(reversed(first))
    assert len(calls) == 6
    assert check(files, remember=False) == first
    assert len(calls) == 12


def test_a_changed_file_is_read_again(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    check(files)
    files[2].write_bytes(files[0].read_bytes())
    calls = count_decodes(monkeypatch)
    found = check(files)
    assert found[2] == found[0]
    assert len(calls) == 1
    check(files)  # just written: it could change again unseen, so it is not remembered yet
    assert len(calls) == 2


def test_a_missing_file_is_not_remembered(files: list[Path]) -> None:
    check(files)
    files[-1].write_bytes(files[0].read_bytes())
    assert check(files)[-1].reason is None


def test_a_damaged_memory_is_replaced(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = check(files)
    memory().write_bytes(b"this is no database" * 500)
    assert check(files) == first
    check(files)
    calls = count_decodes(monkeypatch)
    assert check(files) == first
    assert not calls


def test_a_damaged_row_is_not_trusted(files: list[Path]) -> None:
    first = check(files)
    with sqlite3.connect(memory()) as connection:
        connection.execute("UPDATE checked SET reason = NULL")
        connection.execute("UPDATE checked SET hash = upper(hash)")
    connection.close()
    assert check(files) == first


def test_a_memory_of_another_shape_is_done_without(files: list[Path]) -> None:
    first = check(files)
    with sqlite3.connect(memory()) as connection:
        connection.execute("DROP TABLE checked")
        connection.execute("CREATE TABLE checked (other)")
    connection.close()
    assert check(files) == first


def test_it_works_where_nothing_can_be_written(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path / "file"))
    assert [verdict.reason is None for verdict in check(files)].count(True) == 4


def test_a_locked_memory_is_done_without(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = check(files)
    original = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, timeout: original(file, timeout=0.01))
    holder = original(memory())
    holder.execute("BEGIN EXCLUSIVE")
    try:
        assert check(files) == first
    finally:
        holder.close()
    assert check(files) == first


def test_several_at_once(files: list[Path]) -> None:
    results: list[list[Checked]] = []
    threads = [threading.Thread(target=lambda: results.append(check(files))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(result == results[0] for result in results)


def test_order_holds_over_chunks(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = check(files, remember=False)
    monkeypatch.setattr(checks, "_CHUNK", 2)
    assert check(files, workers=3) == whole
    assert check(files * 3, workers=1) == whole * 3
    assert check([]) == []


def test_only_verdicts_on_bytes_are_kept(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise ImageError("can't be read: Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(checks, "read_bytes", refuse)
        assert check(files[:1]) == [Checked(None, "can't be read: Permission denied")]
    assert check(files[:1])[0].reason is None
