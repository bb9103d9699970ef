"""Archives that are whole, damaged, and mean harm; all are made here."""

from __future__ import annotations

import bz2
import errno
import gzip
import importlib
import io
import lzma
import os
import random
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bowerbird.data.remote import archives, members
from bowerbird.data.remote.archives import Limits, is_archive, opened_at, unpack, unpack_inside
from bowerbird.errors import CacheError, DataError, MissingExtraError

zstd = importlib.import_module(
    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"  # of the extra
)

FILES = {"cat/1.jpg": b"one", "cat/2.jpg": b"", "dog/3.jpg": b"three" * 1000}
RANDOM = random.Random(0)


def zipped(files: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", kind) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return data.getvalue()


def tarred(files: dict[str, bytes], *others: tarfile.TarInfo) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        for other in others:
            file.addfile(other)
    return data.getvalue()


KINDS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": zipped,
    "stored zip": lambda files: zipped(files, zipfile.ZIP_STORED),
    "tar": tarred,
    "tar.gz": lambda files: gzip.compress(tarred(files)),
    "tar.bz2": lambda files: bz2.compress(tarred(files)),
    "tar.xz": lambda files: lzma.compress(tarred(files)),
    "tar.zst": lambda files: zstd.compress(tarred(files)),
}


def opened(tmp_path: Path, data: bytes, limits: Limits | None = None) -> dict[str, bytes]:
    """What is unpacked from `data`."""
    (tmp_path / "archive").write_bytes(data)
    unpack(tmp_path / "archive", tmp_path / "content", limits=limits)
    return contents(tmp_path / "content")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def refused(tmp_path: Path, data: bytes, limits: Limits | None = None) -> str:
    """The error; nothing may be left, and nothing may be outside."""
    place = tmp_path / "deep" / "er"
    place.mkdir(parents=True)
    (place / "archive").write_bytes(data)
    with pytest.raises(DataError) as caught:
        unpack(place / "archive", place / "content", limits=limits)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["archive"]
    assert [path.name for path in place.iterdir()] == ["archive"]
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_are_told_by_their_bytes(tmp_path: Path, kind: str) -> None:
    assert opened(tmp_path, KINDS[kind](FILES)) == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "content"]


def test_a_tar_of_the_seventies(tmp_path: Path) -> None:
    data = bytearray(tarred({"a.jpg": b"x"}))
    data[257:265] = bytes(8)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    assert opened(tmp_path, bytes(data)) == {"a.jpg": b"x"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.03, 0.5, 0.75])
def test_what_is_cut_off_is_damaged(tmp_path: Path, kind: str, share: float) -> None:
    files = {f"{number}.jpg": RANDOM.randbytes(3000) for number in range(9)}
    data = KINDS[kind](files)
    assert "damaged" in refused(tmp_path, data[: int(len(data) * share)])


def test_a_tar_that_ends_between_two_files_is_damaged(tmp_path: Path) -> None:
    """Python's own reader takes it for whole."""
    data = tarred({"a.jpg": b"x" * 512, "b.jpg": b"y" * 512})
    assert "it ends in the middle" in refused(tmp_path, data[:1024])


def test_a_tar_with_a_broken_header_in_the_middle_is_damaged(tmp_path: Path) -> None:
    """Python's own reader stops there without a word."""
    data = bytearray(tarred({"a.jpg": b"x" * 512, "b.jpg": b"y" * 512}))
    data[1024 + 148] ^= 1
    assert "it ends in the middle" in refused(tmp_path, bytes(data))


@pytest.mark.parametrize("kind", ["zip", "stored zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_checksums_are_looked_at(tmp_path: Path, kind: str) -> None:
    data = bytearray(KINDS[kind]({"a.jpg": RANDOM.randbytes(50_000)}))
    data[25_000] ^= 1
    assert "damaged" in refused(tmp_path, bytes(data))


def test_the_checksum_at_the_end_of_gzip_is_looked_at(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(tarred(FILES)))
    data[-6] ^= 1
    assert "CRC check failed" in refused(tmp_path, bytes(data))


@pytest.mark.parametrize("kind", KINDS)
def test_chance_damage_is_never_a_defect_of_ours(tmp_path: Path, kind: str) -> None:
    """Whatever bytes are changed: all files come out as they were named, or a DataError."""
    whole = KINDS[kind]({f"{n}/a.jpg": RANDOM.randbytes(200) for n in range(5)})
    for trial in range(60):
        data = bytearray(whole)
        for _ in range(RANDOM.choice([1, 3, 20])):
            data[RANDOM.randrange(len(data))] = RANDOM.randrange(256)
        (tmp_path / "archive").write_bytes(data)
        try:
            unpack(tmp_path / "archive", tmp_path / f"content{trial}")
        except DataError:
            assert not (tmp_path / f"content{trial}").exists()
    assert not list(tmp_path.glob(".unpacking-*"))


@pytest.mark.parametrize("make", [zipped, tarred], ids=["zip", "tar"])
@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "C:\\evil", "..\\evil", "c:evil", "//host/evil"]
)
def test_nothing_is_written_outside(
    tmp_path: Path, make: Callable[[dict[str, bytes]], bytes], name: str
) -> None:
    words = refused(tmp_path, make({"good.jpg": b"x", name: b"evil"}))
    assert words.startswith("is not safe")
    assert "evil" in words


def test_links_and_devices_of_a_tar_are_passed_over(tmp_path: Path) -> None:
    """A file behind a link would be written through it: here it lands in a folder."""
    link, hard, device, pipe = (tarfile.TarInfo(name) for name in ("out", "hard", "dev", "pipe"))
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    hard.type, hard.linkname = tarfile.LNKTYPE, "/etc/passwd"
    device.type, pipe.type = tarfile.CHRTYPE, tarfile.FIFOTYPE
    through = tarfile.TarInfo("out/evil.jpg")
    (tmp_path / "archive").write_bytes(tarred({"a.jpg": b"x"}, link, hard, device, pipe, through))
    passed = unpack(tmp_path / "archive", tmp_path / "content")
    assert passed == {"link in the archive": 2, "special file in the archive": 2}
    assert contents(tmp_path / "content") == {"a.jpg": b"x", "out/evil.jpg": b""}
    assert not (tmp_path / "evil.jpg").exists()
    assert not any(path.is_symlink() for path in (tmp_path / "content").rglob("*"))


def test_links_of_a_zip_are_passed_over(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive", "w") as file:
        for name, mode in (("link", stat.S_IFLNK), ("pipe", stat.S_IFIFO), ("a", stat.S_IFREG)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (mode | 0o777) << 16
            file.writestr(info, "/etc/passwd")
    passed = unpack(tmp_path / "archive", tmp_path / "content")
    assert passed == {"link in the archive": 1, "special file in the archive": 1}
    assert os.listdir(tmp_path / "content") == ["a"]  # noqa: PTH208


def test_permissions_of_the_archive_do_not_count(tmp_path: Path) -> None:
    info = tarfile.TarInfo("folder")
    info.type, info.mode = tarfile.DIRTYPE, 0
    (tmp_path / "archive").write_bytes(tarred({"folder/a.jpg": b"x"}, info))
    unpack(tmp_path / "archive", tmp_path / "content")
    assert (tmp_path / "content/folder").stat().st_mode & 0o700 == 0o700


@pytest.mark.parametrize("kind", KINDS)
def test_limits(tmp_path: Path, kind: str) -> None:
    data = KINDS[kind](FILES)
    assert "more than 2 files" in refused(tmp_path / "a", data, Limits(count=2))
    assert "GB" in refused(tmp_path / "b", data, Limits(size=5002))
    assert opened(tmp_path, data, Limits(count=3, size=10**5)) == FILES


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_a_bomb_is_stopped(tmp_path: Path, kind: str) -> None:
    data = KINDS[kind]({"a.bmp": bytes(3_000_000)})
    words = refused(tmp_path, data, Limits(free=10**6))
    assert "grows to more than 200 times its size" in words


def test_a_bomb_behind_the_end_of_the_tar_is_stopped(tmp_path: Path) -> None:
    data = gzip.compress(tarred({"a.jpg": b"x"}) + bytes(3_000_000))
    assert "200 times" in refused(tmp_path, data, Limits(free=10**6))


def test_a_header_that_claims_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30
    assert "a header claims" in refused(tmp_path, info.tobuf() + bytes(2048))


def test_a_zip_within_a_bomb_counts_together(tmp_path: Path) -> None:
    inner = zipped({"a.bin": bytes(800_000)})
    outer = zipped({"one.zip": inner, "two.zip": inner})
    assert "two.zip, which grows" in refused(tmp_path, outer, Limits(free=10**6))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b"\n <!DOCTYPE html><html>Sign in", "a web page"),
        (b"<html>", "a web page"),
        (b"Rar!\x1a\x07", "a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"\xff\xd8\xff\xe0", "a JPEG image"),
        (b"path,label\n", "begins with b'path,label"),
    ],
)
def test_what_is_no_archive_is_named(tmp_path: Path, data: bytes, what: str) -> None:
    words = refused(tmp_path, data)
    assert what in words
    assert "expected a zip, or a tar" in words


def test_packed_but_no_tar(tmp_path: Path) -> None:
    assert "gzip, but there is no sound tar" in refused(tmp_path, gzip.compress(b"a,b\n" * 999))


def test_empty_archives_hold_nothing(tmp_path: Path) -> None:
    assert refused(tmp_path / "zip", zipped({})) == "holds no files"
    assert refused(tmp_path / "tar", tarred({})) == "holds no files"


def test_a_password_is_named(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.jpg": b"x"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "password" in refused(tmp_path, bytes(data))


def test_an_unknown_packing_is_named(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.jpg": b"x"}))
    for mark, at in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        data[data.index(mark) + at] = 9  # deflate64
    assert "packed in a way that Python can't read" in refused(tmp_path, bytes(data))


def test_without_zstandard_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(members.importlib, "import_module", absent)
    (tmp_path / "archive").write_bytes(zstd.compress(tarred(FILES)))
    with pytest.raises(MissingExtraError, match=r"bowerbird\[fetch\]"):
        unpack(tmp_path / "archive", tmp_path / "content")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_names_in_any_alphabet(tmp_path: Path) -> None:
    names = {"käfer/ä.jpg": b"x", "猫/1.jpg": b"y"}
    assert opened(tmp_path, zipped(names)) == names


def test_names_of_macos_are_utf8_without_the_mark(tmp_path: Path) -> None:
    data = bytearray(zipped({"ä.jpg": b"x", "__MACOSX/._ä.jpg": b"y"}))
    for mark, at in ((b"PK\x01\x02", 9), (b"PK\x03\x04", 7)):
        data[data.index(mark) + at] = 0
    assert opened(tmp_path, bytes(data)) == {"ä.jpg": b"x"}


def test_slashes_of_windows(tmp_path: Path) -> None:
    assert opened(tmp_path, tarred({"cat\\a.jpg": b"x"})) == {"cat/a.jpg": b"x"}


def test_a_name_that_cannot_be_written(tmp_path: Path) -> None:
    words = refused(tmp_path, zipped({"x" * 300 + ".jpg": b"x"}))
    assert words.startswith("holds a name that can't be written here: xxx")
    assert len(words) < 220


def test_a_member_without_a_name(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": b"x"}))
    for mark, at in ((b"PK\x01\x02", 46), (b"PK\x03\x04", 30)):
        data[data.index(mark) + at] = 0  # names end there
    assert "without a name" in refused(tmp_path, bytes(data))


def test_a_file_and_a_folder_of_one_name(tmp_path: Path) -> None:
    assert refused(tmp_path, zipped({"a": b"x", "a/b": b"y"}))


def test_a_file_named_twice_is_the_later(tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as file:
        for content in (b"long ago", b"now"):
            info = tarfile.TarInfo("a.jpg")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    assert opened(tmp_path, data.getvalue()) == {"a.jpg": b"now"}


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives, "_put", full)
    (tmp_path / "archive").write_bytes(zipped(FILES))
    with pytest.raises(CacheError, match=r"No space left.*BOWERBIRD_CACHE"):
        unpack(tmp_path / "archive", tmp_path / "content")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


# Archives in archives


def test_archives_without_images_beside_are_unpacked(tmp_path: Path) -> None:
    """As Kaggle packs its competitions."""
    inner = {"train/cat.1.jpg": b"x", "train/dog.1.jpg": b"y"}
    outer = {"train.zip": zipped(inner), "test.tar.gz": gzip.compress(tarred({"1.jpg": b"z"}))}
    found = opened(tmp_path, zipped(outer | {"labels.csv": b"a,b\n", "labels.csv.gz": b"?"}))
    assert found == {
        "train/cat.1.jpg": b"x",
        "train/dog.1.jpg": b"y",
        "test/1.jpg": b"z",
        "labels.csv": b"a,b\n",
        "labels.csv.gz": b"?",
    }


def test_archives_beside_images_stay(tmp_path: Path) -> None:
    files = FILES | {"docs.zip": zipped({"read.me": b""})}
    assert opened(tmp_path, zipped(files)) == files


def test_a_folder_that_has_the_name_already(tmp_path: Path) -> None:
    found = opened(tmp_path, zipped({"a/x.txt": b"", "a.zip": zipped({"1.jpg": b"x"})}))
    assert found == {"a/x.txt": b"", "a-2/1.jpg": b"x"}


def test_a_split_in_an_inner_archive_keeps_its_name(tmp_path: Path) -> None:
    found = opened(tmp_path, zipped({"images.zip": zipped({"train/cat/1.jpg": b"x"})}))
    assert found == {"images/train/cat/1.jpg": b"x"}


def test_a_damaged_inner_archive_is_named(tmp_path: Path) -> None:
    words = refused(tmp_path, zipped({"a/train.zip": zipped(FILES)[:-30]}))
    assert words.startswith("holds train.zip, which is damaged")


def test_an_inner_archive_that_leads_outside(tmp_path: Path) -> None:
    assert "is not safe" in refused(tmp_path, zipped({"a.zip": zipped({"../../../evil": b"x"})}))


def test_shards_of_webdataset_are_refused(tmp_path: Path) -> None:
    shard = tarred({"1.jpg": b"x", "1.cls": b"0"})
    assert "WebDataset" in refused(tmp_path, zipped({"train-0000.tar": shard}))


def test_a_folder_with_archives(tmp_path: Path) -> None:
    (tmp_path / "cats.tar").write_bytes(tarred({"1.jpg": b"x"}))
    assert unpack_inside(tmp_path) == {}
    assert contents(tmp_path) == {"cats/1.jpg": b"x"}


# Where it is opened


@pytest.mark.parametrize(
    ("names", "at"),
    [
        (["cat/1.jpg", "dog/1.jpg"], ""),
        (["set/cat/1.jpg", "set/dog/1.jpg"], "set"),
        (["a/b/cat/1.jpg", "a/b/dog/1.jpg", "README.txt", "a/LICENSE", ".x/y"], "a/b"),
        (["set/labels.csv", "set/1.jpg"], "set"),
        (["set/metadata.jsonl", "set/1.jpg"], "set"),
        (["cat/1.jpg", "cat/2.jpg"], ""),
        (["images/cat/1.jpg", "labels.csv"], ""),
        (["train/cat/1.jpg", "train/dog/1.jpg"], ""),
        (["set/train/cat/1.jpg", "set/train/dog/1.jpg"], "set"),
        (["a.jpg"], ""),
    ],
)
def test_an_only_folder_is_opened(tmp_path: Path, names: list[str], at: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert opened_at(tmp_path) == tmp_path / at


def test_endings() -> None:
    assert all(map(is_archive, ["a.zip", "A.ZIP", "a.tar.zst", "a.tgz", "a.rar"]))
    assert not any(map(is_archive, ["zip", "a.csv", "a.zip/", "photos.zip.d"]))
