"""From whatever DATA names to a folder: links against a server in a thread, archives, places."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bowerbird import storage
from bowerbird.data.remote import download as http
from bowerbird.data.remote import downloads as kept
from bowerbird.data.remote import fetch as module
from bowerbird.data.remote.downloads import clear_downloads, downloads
from bowerbird.data.remote.fetch import fetch, found_again, is_link, name_of
from bowerbird.data.sources import read_images
from bowerbird.errors import CacheError, DataError
from data.remote.test_archives import FILES, contents, tarred, zipped
from data.web import Web, served

ZIP = zipped({f"set/{name}": data for name, data in FILES.items()})


@pytest.fixture
def web() -> Iterator[Web]:
    with served() as web:
        yield web


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_PAUSE", 0.0)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    words: list[str] = []
    monkeypatch.setattr("bowerbird.progress.say", words.append)
    return words


def fails(data: str | Path, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        fetch(data)
    return str(caught.value)


def cached() -> set[str]:
    """Names of what is in the cache, but for locks."""
    home = storage.cache_home() / "downloads"
    return {path.name for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"}


# Links


def test_a_link_becomes_a_folder(web: Web, said: list[str]) -> None:
    address = web.put("/set.zip", ZIP)
    folder = fetch(address)
    assert folder.is_absolute()
    assert folder.name == "set"
    assert contents(folder) == FILES
    assert cached() == {"record.json", "1.jpg", "2.jpg", "3.jpg"}  # the archive is gone
    (found,) = downloads()
    assert (found.address, found.sha256) == (address, hashlib.sha256(ZIP).hexdigest())
    assert found.fetched
    assert repr(found).startswith(f"Download({address}, 0.0 MB)")
    assert said == [
        f"Fetching {address}.",
        f"Unpacked {address} (0.0 MB, SHA-256 {found.sha256}).",
    ]


def test_it_is_never_fetched_twice_nor_asked_for_again(web: Web, said: list[str]) -> None:
    address = web.put("/set.zip", ZIP)
    folder = fetch(address)
    web.pages.clear()
    assert fetch(address) == folder == fetch(f"{address}#a-fragment")
    assert len(web.requests) == 1
    assert "is read from the cache" in said[-1]


def test_a_path_that_was_made_of_a_link_is_a_link(web: Web) -> None:
    """`Path` makes one slash of two."""
    assert contents(fetch(Path(web.put("/set.zip", ZIP)))) == FILES


def test_a_link_without_an_ending(web: Web) -> None:
    assert contents(fetch(web.put("/download?id=5", tarred(FILES)))) == FILES


def test_what_broke_off_in_one_command_goes_on_in_the_next(web: Web) -> None:
    address = web.put("/set.zip", ZIP, break_after=[300, 0, 0, 0, 0])
    assert "300 bytes" in fails(address)
    assert [str(found) for found in downloads()] == [f"Download({address}, 0.0 MB, incomplete)"]
    web.requests.clear()
    assert contents(fetch(address)) == FILES
    assert web.asked == ["bytes=300-"]


def test_a_checksum_that_fits(web: Web) -> None:
    digest = hashlib.sha256(ZIP).hexdigest()
    assert contents(fetch(f"{web.put('/set.zip', ZIP)}#sha256={digest.upper()}")) == FILES


def test_a_checksum_that_does_not_fit(web: Web) -> None:
    address = web.put("/set.zip", ZIP)
    words = fails(f"{address}#sha256={'0' * 64}")
    assert hashlib.sha256(ZIP).hexdigest() in words
    assert cached() == set()
    fetch(address)
    words = fails(f"{address}#sha256={'0' * 64}")
    assert "was fetched" in words
    assert "bowerbird cache --clear" in words
    assert len(web.requests) == 2


def test_a_checksum_that_is_none(web: Web) -> None:
    assert "64 hexadecimal digits" in fails(f"{web.put('/set.zip', ZIP)}#sha256=12ab")
    assert web.requests == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ZIP[:-40], "is damaged: "),
        (ZIP[: len(ZIP) // 2], "is damaged: "),
        (b"<!DOCTYPE html><title>Sign in</title>", "Open the link in a browser"),
        (zipped({"../../evil.jpg": b"x"}), "is not safe"),
        (b"", "is empty"),
    ],
    ids=["no directory", "half", "web page", "unsafe", "empty"],
)
def test_what_is_no_use_is_deleted_and_fetched_anew(web: Web, data: bytes, words: str) -> None:
    address = web.put("/set.zip", data)
    told = fails(address)
    assert told.startswith(f"What came from {address} ")
    assert words in told
    assert "deleted again, and the next try fetches it anew" in told
    assert cached() == set()
    web.put("/set.zip", ZIP)
    assert contents(fetch(address)) == FILES


def test_a_server_that_promises_too_little_gives_a_damaged_archive(web: Web) -> None:
    address = web.put("/set.tar", tarred(FILES), claim=2000)
    assert "is damaged" in fails(address)
    assert cached() == set()


def test_a_server_that_promises_too_much(web: Web) -> None:
    assert contents(fetch(web.put("/set.zip", ZIP, claim=len(ZIP) + 99))) == FILES


def test_an_answer_that_is_none(web: Web) -> None:
    address = f"{web.address}/nothing.zip"
    assert "answers 404" in fails(address)
    assert downloads() == []


@pytest.mark.parametrize(
    "address", ["ftp://example.org/x.zip", "s3://bucket/x.zip", "file:///x.zip", "gs://b/x"]
)
def test_other_links(address: str) -> None:
    words = fails(address)
    assert "hf://datasets/OWNER/NAME" in words
    assert address in words


def test_an_unpacking_that_was_killed_is_not_taken_for_whole(web: Web) -> None:
    """The archive is there, half of its content, too: nothing is fetched again."""
    address = web.put("/set.zip", ZIP)
    place = kept.place_of(address)
    for folder in (place.content, place.folder / ".unpacking-1"):
        folder.mkdir(parents=True)
        (folder / "half.jpg").touch()
    place.archive.write_bytes(ZIP)
    assert contents(fetch(address)) == FILES
    assert web.requests == []
    assert "half.jpg" not in cached()


def test_an_interrupted_unpacking_leaves_the_archive(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    address = web.put("/set.zip", ZIP)
    with monkeypatch.context() as patch:
        patch.setattr("bowerbird.data.remote.archives._put", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(address)
    assert cached() == {"record.json", "archive"}
    assert contents(fetch(address)) == FILES
    assert len(web.requests) == 1


def test_two_threads_fetch_once(web: Web, said: list[str]) -> None:
    address = web.put("/set.zip", ZIP)
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(fetch(address))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == 1
    assert len(folders) == 4
    assert len(web.requests) == 1


def test_two_processes_fetch_once(web: Web) -> None:
    """Each begins when both are ready; one fetches, the other waits and finds it done."""
    address = web.put("/set.zip", ZIP)
    code = (
        "import sys; from bowerbird.data.remote.fetch import fetch; print(flush=True); "
        "sys.stdin.readline(); print(fetch(sys.argv[1]))"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", code, address], **pipes) for _ in "ab"]  # type: ignore[call-overload]
    for process in both:
        process.stdout.readline()
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    found = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(found) == 1
    assert contents(Path(found.pop())) == FILES
    assert len(web.requests) == 1


def test_a_cache_that_cannot_be_written(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path / "file"))
    assert "BOWERBIRD_CACHE" in fails(web.put("/set.zip", ZIP), CacheError)
    assert web.requests == []


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"fetched": 1}'])
def test_a_damaged_record_is_no_record(web: Web, record: str) -> None:
    address = web.put("/set.zip", ZIP)
    fetch(address)
    (kept.place_of(address).folder / "record.json").write_text(record)
    if record == '{"fetched": 1}':
        (kept.place_of(address).content / "set").rename(kept.place_of(address).folder / "x")
        kept.place_of(address).content.rmdir()
    assert contents(fetch(address)) == FILES
    assert len(web.requests) == 2


# Archives on this machine


@pytest.mark.parametrize("name", ["set.zip", "set.tar", "Set.TAR.GZ", "set.tgz"])
def test_an_archive_here_is_unpacked_once(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(ZIP)  # bytes count, not the ending
    folder = fetch(tmp_path / name)
    assert contents(folder) == FILES
    monkeypatch.setattr(module, "unpack", None)
    monkeypatch.chdir(tmp_path)
    assert fetch(name) == folder
    assert (tmp_path / name).read_bytes() == ZIP
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208


def test_a_changed_archive_is_unpacked_anew(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(ZIP)
    first = fetch(path)
    path.write_bytes(zipped({"cat/9.jpg": b"nine", "dog/9.jpg": b""}))
    assert contents(fetch(path)) == {"cat/9.jpg": b"nine", "dog/9.jpg": b""}
    assert contents(first) == FILES


def test_a_damaged_archive_here_stays(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(ZIP[:-40])
    words = fails(path)
    assert words.startswith(f"{path} is damaged")
    assert path.read_bytes() == ZIP[:-40]


def test_paths_come_back_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").mkdir()
    (tmp_path / "book.xlsx").write_bytes(ZIP)
    for path in ("photos", "~/x.csv", tmp_path / "photos.zip", tmp_path / "book.xlsx", "no.zip"):
        assert fetch(path) == Path(path)
    assert downloads() == []


def test_what_is_passed_over_is_told(tmp_path: Path, said: list[str]) -> None:
    import tarfile

    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "a"
    (tmp_path / "x.tar").write_bytes(tarred(FILES, link))
    fetch(tmp_path / "x.tar")
    assert f"Not unpacked from {tmp_path / 'x.tar'}: 1 × link in the archive." in said
    assert downloads()[0].passed_over == {"link in the archive": 1}


# Reading, and reading again


def test_reading_a_link_or_an_archive(web: Web, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(ZIP)
    for data in (web.put("/set.zip", ZIP), tmp_path / "set.zip", str(tmp_path / "set.zip")):
        dataset = read_images(data)
        assert [sample.path for sample in dataset.samples] == list(FILES)
        assert dataset.classes == ("cat", "dog")
    several = read_images([tmp_path / "set.zip"], labelled=False)
    assert len(several) == 3


def test_an_error_in_an_archive_names_it(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(zipped({"a.parquet": b"PAR1", "b.txt": b""}))
    with pytest.raises(DataError) as caught:
        read_images(path)
    assert "Parquet files are not read" in str(caught.value)
    assert str(caught.value).endswith(f"(That folder is what {path} holds.)")


def test_images_of_a_run_are_found_again(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = web.put("/set.zip", ZIP)
    root = read_images(address).root
    assert found_again(root, address) == root
    clear_downloads()
    assert found_again(root, address) == root
    assert contents(root) == FILES
    clear_downloads()
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path / "moved"))
    again = found_again(root, address)
    assert again.is_relative_to(tmp_path / "moved")
    assert contents(again) == FILES
    assert found_again(Path("/never/in/a/cache"), address) == Path("/never/in/a/cache")
    assert len(web.requests) == 3


def test_without_root_and_network_it_says_what_is_missing(web: Web) -> None:
    with pytest.raises(DataError, match=r"gone\.zip could not be fetched"):
        found_again(Path("/gone"), f"{web.address}/gone.zip")
    assert found_again(Path("/gone"), "/other") == Path("/gone")
    assert found_again(Path("/gone"), None) == Path("/gone")


# The cache


def test_clearing_frees_everything_but_what_is_being_fetched(web: Web) -> None:
    one, two = web.put("/one.zip", ZIP), web.put("/two.zip", ZIP)
    fetch(one)
    fetch(two)
    assert {found.address for found in downloads()} == {one, two}
    size = sum(found.size for found in downloads())
    place = kept.place_of(two)
    with place.locked(two):
        assert 0 < clear_downloads() < size
    assert [found.address for found in downloads()] == [two]
    assert clear_downloads() > 0
    assert downloads() == []
    assert cached() == set()


def test_nothing_there_is_nothing() -> None:
    assert downloads() == []
    assert clear_downloads() == 0


# Names


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("photos", "photos"),
        ("/x/labels.csv", "labels"),
        ("/x/photos.zip", "photos"),
        ("/x/photos.tar.gz", "photos"),
        ("https://example.org/a/flowers.tgz?x=1.2#sha256=ab", "flowers"),
        ("https://example.org/", "example.org"),
        ("https://example.org/v1.2", "v1.2"),
        ("hf://datasets/owner/cats@main/some", "cats"),
        ("hf://datasets/owner/cats", "cats"),
        ("hf://datasets/owner/cats/photos", "photos"),
    ],
)
def test_short_names(data: str, name: str) -> None:
    assert name_of(data) == name


def test_what_is_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_link("HTTPS://example.org")
    assert not any(map(is_link, ["C:\\photos", "C:/photos", "a:b", "/x", "", "http:", "caf\udce9"]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    (tmp_path / "http:/x").mkdir()
    assert not is_link("http:/x")
