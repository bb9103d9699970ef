from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird import storage
from bowerbird.errors import CacheError
from bowerbird.features.cache import FeatureCache, FeatureKey, Store

KEY = FeatureKey("net", "w", "cut", "{}", "plain", "float32")


def names(count: int, start: int = 0) -> list[str]:
    return [storage.hash_bytes(str(n).encode()) for n in range(start, start + count)]


def values(count: int, start: int = 0, shape: tuple[int, ...] = (3, 2)) -> Any:
    first = np.arange(start, start + count, dtype=np.float32)
    size = int(np.prod(shape))
    return (first[:, None] * 1000 + np.arange(size, dtype=np.float32)).reshape(count, *shape)


def opened(folder: Path) -> Store:
    return FeatureCache(folder).store(KEY, (3, 2))


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.seg"))


def test_values_come_back_in_any_order_and_after_reopening(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.append(names(5), values(5))
    store.append(names(5, 5), values(5, 5))
    for one in (store, opened(tmp_path)):
        assert one.missing(names(12)) == names(2, 10)
        order = [7, 0, 9, 9, 3, 4, 5]
        found = one.read([names(10)[n] for n in order])
        np.testing.assert_array_equal(found, values(10)[order])
        assert found.dtype == np.float32
        assert names(1)[0] in one
        assert names(1, 10)[0] not in one
    assert store.read([]).shape == (0, 3, 2)


def test_16_bits_come_back_as_16_bits(tmp_path: Path) -> None:
    key = FeatureKey("net", "w", "cut", "{}", "plain", "bfloat16")
    store = FeatureCache(tmp_path).store(key, (4,))
    bits = np.array([[0, 1, 65535, 32768]], np.uint16)
    store.append(names(1), bits)
    np.testing.assert_array_equal(FeatureCache(tmp_path).store(key, (4,)).read(names(1)), bits)
    assert store.record_size == 16 + 8 + 4


def test_each_field_of_the_key_makes_another_store() -> None:
    import dataclasses

    keys = [KEY] + [dataclasses.replace(KEY, **{f: "x"}) for f in KEY.__dataclass_fields__]
    assert len({key.digest() for key in keys}) == 7
    shifted = FeatureKey("n", "etw", "cut", "{}", "plain", "float32")
    assert shifted.digest() != FeatureKey("ne", "tw", "cut", "{}", "plain", "float32").digest()


def test_what_doesnt_fit_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for wrong in (values(1, shape=(2, 3)), values(1).astype(np.float64), values(1).view(np.int32)):
        with pytest.raises(CacheError, match=r"The store takes \(3, 2\) float32"):
            store.append(names(1), wrong)
    with pytest.raises(CacheError, match="1 of 2 images are not in the cache"):
        store.append(names(1), values(1))
        store.read(names(2))


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10 * 44 - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_loses_one_record_and_believes_none(place: int, bit: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = opened(Path(folder))
        store.append(names(10), values(10))
        store.close()
        file = segments(Path(folder))[0]
        data = bytearray(file.read_bytes())
        assert len(data) == 10 * store.record_size == 10 * 44
        data[place] ^= 1 << bit
        file.write_bytes(data)
        again = opened(Path(folder))
        record = place // 44
        assert again.missing(names(10)) == names(1, record)
        again.append(names(1, record), values(1, record))
        for one in (again, opened(Path(folder))):
            assert one.missing(names(10)) == []
            np.testing.assert_array_equal(one.read(names(10)), values(10))
        again.close()


def test_a_name_changed_into_another_images_name_is_not_believed(tmp_path: Path) -> None:
    opened(tmp_path).append(names(2), values(2))
    file = segments(tmp_path)[0]
    data = bytearray(file.read_bytes())
    data[:16] = bytes.fromhex(names(2)[1])
    file.write_bytes(data)
    again = opened(tmp_path)
    missing = again.missing(names(2))
    again.append(missing, np.concatenate([values(1, names(2).index(m)) for m in missing]))
    np.testing.assert_array_equal(again.read(names(2)), values(2))


@pytest.mark.parametrize("cut", [1, 43, 44, 45, 100, 440 - 1, 440])
def test_a_truncated_tail_loses_only_itself(tmp_path: Path, cut: int) -> None:
    opened(tmp_path).append(names(10), values(10))
    file = segments(tmp_path)[0]
    os.truncate(file, 440 - cut)
    whole = (440 - cut) // 44
    again = opened(tmp_path)
    assert again.missing(names(10)) == names(10 - whole, whole)
    again.append(names(10 - whole, whole), values(10 - whole, whole))
    np.testing.assert_array_equal(opened(tmp_path).read(names(10)), values(10))


def test_zeros_at_the_end_as_after_a_power_cut(tmp_path: Path) -> None:
    opened(tmp_path).append(names(2), values(2))
    with segments(tmp_path)[0].open("ab") as file:
        file.write(bytes(44 * 3 + 5))
    again = opened(tmp_path)
    assert again.missing(names(3)) == names(1, 2)
    np.testing.assert_array_equal(again.read(names(2)), values(2))


def test_a_file_cut_short_while_it_is_open_is_not_read_as_garbage(tmp_path: Path) -> None:
    opened(tmp_path).append(names(4), values(4))
    store = opened(tmp_path)
    assert store.missing(names(4)) == []
    os.truncate(segments(tmp_path)[0], 44 * 2)
    np.testing.assert_array_equal(store.read(names(2)), values(2))
    with pytest.raises(CacheError, match=r"2 of 4 records are gone. Run the command again"):
        store.read(names(4))
    segments(tmp_path)[0].write_bytes(bytes(44 * 4))
    with pytest.raises(CacheError, match="4 of 4 records are gone"):
        store.read(names(4))


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    stores = [opened(tmp_path), opened(tmp_path)]

    def write(which: int, thread: int) -> None:
        for number in range(25):
            start = (which * 4 + thread) * 100 + number * 4
            stores[which].append(names(4, start), values(4, start))

    threads = [threading.Thread(target=write, args=(w, t)) for w in range(2) for t in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = opened(tmp_path)
    assert again.missing(names(800)) == []
    np.testing.assert_array_equal(again.read(names(800)), values(800))
    assert len(segments(tmp_path)) == 2


def test_the_same_images_from_two_writers(tmp_path: Path) -> None:
    for store in [opened(tmp_path), opened(tmp_path)]:
        store.append(names(3), values(3))
    again = opened(tmp_path)
    assert again.missing(names(3)) == []
    np.testing.assert_array_equal(again.read(names(3)), values(3))


def test_far_more_segments_than_open_files(tmp_path: Path) -> None:
    """A prediction a day, for years: each run leaves a segment."""
    for number in range(150):
        store = opened(tmp_path)
        store.append(names(1, number), values(1, number))
        store.close()
    assert len(segments(tmp_path)) == 150
    code = (
        "import resource, sys, numpy as np; from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from bowerbird import storage\n"
        "from bowerbird.features.cache import FeatureCache, FeatureKey\n"
        "key = FeatureKey('net', 'w', 'cut', '{}', 'plain', 'float32')\n"
        "store = FeatureCache(Path(sys.argv[1])).store(key, (3, 2))\n"
        "names = [storage.hash_bytes(str(n).encode()) for n in range(150)]\n"
        "assert store.missing(names) == []\n"
        "print(int(store.read(names[::-1])[:, 0, 0].sum()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == (str(sum(range(150)) * 1000), 0), done.stderr


def test_no_file_stays_open_when_a_store_is_gone(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for number in range(20):
        store = opened(tmp_path)
        store.append(names(1, number), values(1, number))
        store.read(names(number + 1))
    del store
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


class FullDisk:
    """A file that takes `room` bytes, then fails as a full disk does: half a record first."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def seek(self, *place: int) -> int:
        return int(self.file.seek(*place))

    def write(self, data: Any) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = int(self.file.write(bytes(data[: self.room])))
        self.room -= taken
        return taken

    def close(self) -> None:
        self.file.close()


@pytest.mark.parametrize("room", [0, 10, 44, 60, 88])
def test_a_full_disk_keeps_what_is_whole_and_the_store_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    store = opened(tmp_path)
    original = Store._new_segment
    with monkeypatch.context() as patched:

        def small(self: Store) -> Any:
            number, file = original(self)
            self._writing = number, FullDisk(file, room)  # type: ignore[assignment]
            return self._writing

        patched.setattr(Store, "_new_segment", small)
        with pytest.raises(CacheError, match=r"No space left.*bowerbird cache --clear"):
            store.append(names(3), values(3))
        assert store.missing(names(3)) == names(3)
    store.append(names(3, 3), values(3, 3))  # space again
    np.testing.assert_array_equal(store.read(names(3, 3)), values(3, 3))
    again = opened(tmp_path)
    assert again.missing(names(6)) == names(3 - room // 44, room // 44)
    np.testing.assert_array_equal(again.read(names(3, 3)), values(3, 3))


def test_a_write_in_pieces_is_a_whole_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Store._new_segment

    class Pieces(FullDisk):
        def write(self, data: Any) -> int:
            return int(self.file.write(bytes(data[:7])))

    def slow(self: Store) -> Any:
        number, file = original(self)
        self._writing = number, Pieces(file, 0)  # type: ignore[assignment]
        return self._writing

    monkeypatch.setattr(Store, "_new_segment", slow)
    store = opened(tmp_path)
    store.append(names(3), values(3))
    store.append(names(2, 3), values(2, 3))
    np.testing.assert_array_equal(opened(tmp_path).read(names(5)), values(5))


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"can't be written: Not a directory.*BOWERBIRD_CACHE"):
        opened(tmp_path / "file" / "below")

    def fail(_: int) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CacheError, match=r"can't be written: Read-only.*BOWERBIRD_CACHE") as caught:
        opened(tmp_path / "cache")
    assert "--out" not in str(caught.value)


def test_a_store_deleted_meanwhile_is_made_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    FeatureCache(tmp_path).clear()
    store.append(names(2), values(2))
    np.testing.assert_array_equal(store.read(names(2)), values(2))
    assert FeatureCache(tmp_path).contents()[0].size == 88
    np.testing.assert_array_equal(opened(tmp_path).read(names(2)), values(2))


def test_a_segment_that_vanishes_while_a_store_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path).append(names(2), values(2))
    folder = segments(tmp_path)[0].parent
    gone = folder / "00000000000000000000-1.seg"
    found = [gone, *segments(tmp_path)]
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(found))
    assert Store(folder, (3, 2), "float32").missing(names(3)) == names(1, 2)


def fill(cache: FeatureCache, view: str, count: int, used: float) -> Path:
    key = FeatureKey("net", "w", "cut", "{}", view, "float32")
    store = cache.store(key, (3, 2))
    store.append(names(count), values(count))
    folder = store.folder
    store.close()
    os.utime(folder / "meta.json", (used, used))
    return folder


def test_stores_last_used_longest_ago_go_first(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, limit=10**9)
    folders = [fill(cache, view, 100, used) for view, used in (("b", 2), ("a", 1), ("c", 3))]
    listed = cache.contents()
    assert [info.view for info in listed] == ["c", "b", "a"]
    assert all(info.size > 4400 and info.network == "net" for info in listed)
    sizes = sum(info.size for info in listed)
    FeatureCache(tmp_path, limit=sizes).make_room()
    assert [f.exists() for f in folders] == [True, True, True]
    FeatureCache(tmp_path, limit=sizes).make_room(1)
    assert [f.exists() for f in folders] == [True, False, True]
    FeatureCache(tmp_path, limit=0).make_room()
    assert [f.exists() for f in folders] == [False, False, False]


def test_opening_a_store_makes_it_the_last_used(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, limit=0)
    old, new = fill(cache, "old", 10, 1), fill(cache, "new", 10, 2)
    cache.store(FeatureKey("net", "w", "cut", "{}", "old", "float32"), (3, 2)).close()
    assert [info.view for info in cache.contents()] == ["old", "new"]
    cache.make_room()
    assert not old.exists()
    assert not new.exists()


def test_a_store_in_use_is_kept_whichever_cache_object_makes_room(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.append(names(2), values(2))
    FeatureCache(tmp_path, limit=0).make_room(10**6)
    np.testing.assert_array_equal(store.read(names(2)), values(2))
    assert store.folder.exists()
    folder = store.folder
    del store
    FeatureCache(tmp_path, limit=0).make_room()
    assert not folder.exists()


def test_a_store_without_a_sound_description_is_still_counted_and_cleared(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    for view, damage in (("a", b""), ("b", b"[]"), ("c", b"\xff"), ("d", None)):
        meta = fill(cache, view, 10, 1) / "meta.json"
        if damage is None:
            meta.unlink()
        else:
            meta.write_bytes(damage)
    assert [info.network for info in cache.contents()] == ["unknown"] * 4
    assert all(info.size >= 440 for info in cache.contents())
    FeatureCache(tmp_path, limit=0).make_room()
    assert cache.contents() == []


def test_clear_frees_what_it_says_and_touches_nothing_else(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_bytes(b"mine")
    (tmp_path / "notes.txt").write_text("mine")
    fill(cache, "a", 10, 1)
    size = cache.contents()[0].size
    assert cache.clear() == size > 440
    assert cache.contents() == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["holiday", "notes.txt"]
    FeatureCache(tmp_path, limit=0).make_room(100)
    assert (tmp_path / "holiday" / "photo.jpg").read_bytes() == b"mine"
    shutil.rmtree(tmp_path)
    assert (cache.contents(), cache.clear()) == ([], 0)


def test_the_limit_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FeatureCache().limit == 20 * 10**9
    monkeypatch.setenv("BOWERBIRD_CACHE_GB", "1.5")
    assert FeatureCache().limit == 1_500_000_000
    assert FeatureCache(limit=7).limit == 7
    for wrong in ("", "many", "nan", "inf", "-1", "1e400"):
        monkeypatch.setenv("BOWERBIRD_CACHE_GB", wrong)
        with pytest.raises(CacheError, match="must be a number of gigabytes"):
            FeatureCache()
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path))
    assert FeatureCache(limit=1).folder == tmp_path / "features"
