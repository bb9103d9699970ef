"""Google Drive and Hugging Face.

huggingface_hub is the real library, and asks a server on this machine that answers as the hub
does, as far as it is asked; whether the hub itself answers so is not tested here. gdown is the
real library, too, with the host of every request replaced by that server. One test each
replaces the library by a stand-in, where it says so.
"""

from __future__ import annotations

import http.server
import importlib
import json
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bowerbird.data.remote.downloads import downloads
from bowerbird.data.remote.fetch import fetch
from bowerbird.data.remote.hubs import Repository, drive_id, repository
from bowerbird.data.sources import read_images
from bowerbird.errors import DataError, MissingExtraError
from data.remote.test_archives import FILES, contents, zipped
from data.web import Web, served

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A dataset as the hub serves it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.broken: set[str] = set()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()

    class Handler(_Handler):
        site = hub

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    constants = importlib.import_module("huggingface_hub.constants")
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.site.requests.append(path)
        api = "/api/datasets/owner/cats"
        if path in (f"{api}/revision/main", f"{api}/revision/v1", api):
            self._json({"id": "owner/cats", "sha": COMMIT, "siblings": []})
        elif path.startswith(f"{api}/tree/{COMMIT}"):
            folder = path.removeprefix(f"{api}/tree/{COMMIT}").strip("/")
            self._json(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                    for name, data in self.site.files.items()
                    if name.startswith(f"{folder}/" if folder else "")
                ]
            )
        elif path.startswith(f"/datasets/owner/cats/resolve/{COMMIT}/"):
            self._file(path.removeprefix(f"/datasets/owner/cats/resolve/{COMMIT}/"))
        else:
            code = (
                "RevisionNotFound" if "/revision/" in path and "/cats/" in path else "RepoNotFound"
            )
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, name: str) -> None:
        data = self.site.files[name]
        if name in self.site.broken and self.command == "GET":
            self.send_error(403)
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{abs(hash(data)):040x}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


def fails(data: str, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        fetch(data)
    return str(caught.value)


METADATA = b'{"file_name": "1.jpg", "label": "cat"}\n{"file_name": "2.jpg", "label": "dog"}\n'


def test_a_dataset_is_fetched_once(hub: Hub) -> None:
    hub.files = {
        ".gitattributes": b"",
        "README.md": b"# Cats",
        "train/metadata.jsonl": METADATA,
        "train/1.jpg": b"one",
        "train/2.jpg": b"two",
        "data/train-00000.parquet": b"PAR1",
    }
    dataset = read_images("hf://datasets/owner/cats")
    assert [(s.path, dataset.classes[s.target or 0], s.split) for s in dataset.samples] == [
        ("train/1.jpg", "cat", "train"),
        ("train/2.jpg", "dog", "train"),
    ]
    assert not [path for path in hub.requests if path.endswith(".parquet")]
    (found,) = downloads()
    assert (found.version, found.sha256, found.passed_over) == (COMMIT, None, {})
    assert not list(found.folder.rglob(".cache"))
    hub.requests.clear()
    read_images("hf://datasets/owner/cats")
    assert hub.requests == []


def test_a_folder_of_a_revision(hub: Hub) -> None:
    hub.files = {f"photos/{name}": data for name, data in FILES.items()} | {"other/1.jpg": b"x"}
    folder = fetch("hf://datasets/owner/cats@v1/photos")
    assert folder.name == "photos"
    assert contents(folder) == FILES
    assert not any(path.endswith("other/1.jpg") for path in hub.requests)


def test_archives_in_a_dataset_are_unpacked(hub: Hub) -> None:
    hub.files = {"data/images.zip": zipped(FILES), "README.md": b""}
    assert [s.path for s in read_images("hf://datasets/owner/cats").samples] == list(FILES)


def test_a_damaged_archive_in_a_dataset_is_named_and_deleted(hub: Hub) -> None:
    hub.files = {"images.zip": zipped(FILES)[:-30]}
    words = fails("hf://datasets/owner/cats")
    assert words.startswith("hf://datasets/owner/cats holds images.zip, which is damaged")
    hub.files = {"images.zip": zipped(FILES)}
    assert contents(fetch("hf://datasets/owner/cats")) == FILES


def test_a_dataset_of_parquet_is_refused_before_it_is_fetched(hub: Hub) -> None:
    hub.files = {"data/train-00000.parquet": b"PAR1", "README.md": b"", "labels.csv": b""}
    words = fails("hf://datasets/owner/cats")
    assert "holds its images in 1 Parquet files" in words
    assert "load_dataset('owner/cats')" in words
    assert not any("/resolve/" in path for path in hub.requests)


def test_a_dataset_without_images(hub: Hub) -> None:
    hub.files = {"README.md": b""}
    assert "holds no images and no archive" in fails("hf://datasets/owner/cats")


def test_what_came_before_a_break_is_not_fetched_again(hub: Hub) -> None:
    hub.files = {"cat/1.jpg": b"one", "dog/2.jpg": b"two"}
    hub.broken = {"dog/2.jpg"}
    assert "could not be fetched" in fails("hf://datasets/owner/cats")
    assert [found.fetched for found in downloads()] == [None]
    hub.broken.clear()
    hub.requests.clear()
    assert contents(fetch("hf://datasets/owner/cats")) == hub.files


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("hf://datasets/owner/dogs", "no such public dataset"),
        ("hf://datasets/owner/cats@v9", "no such revision"),
    ],
)
def test_what_the_hub_does_not_have(hub: Hub, address: str, hint: str) -> None:
    words = fails(address)
    assert words.startswith(f"{address} could not be fetched")
    assert hint in words


def test_without_network_the_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    words = fails("hf://datasets/owner/cats")
    assert words.startswith("hf://datasets/owner/cats could not be fetched")
    assert "the network is needed, once" in words


def test_a_file_that_came_short_is_not_believed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """hf_hub_download is replaced: it leaves a shorter file than was listed."""

    def short(_: str, path: str, *, local_dir: str, **__: object) -> None:
        Path(local_dir).mkdir(exist_ok=True)
        (Path(local_dir) / path).write_bytes(b"o")

    hub.files = {"1.jpg": b"one"}
    monkeypatch.setattr("huggingface_hub.hf_hub_download", short)
    assert "1.jpg of owner/cats came with 1 bytes instead of 3" in fails("hf://datasets/owner/cats")


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("hf://datasets/a/b", Repository("a/b", "main", "")),
        ("hf://datasets/a/b/", Repository("a/b", "main", "")),
        ("hf://datasets/a/b@1.0/c/d", Repository("a/b", "1.0", "c/d")),
        ("hf://datasets/a/b@refs/pr/3/c", Repository("a/b", "refs/pr/3", "c")),
        ("hf://datasets/a/b@refs%2Fpr%2F3", Repository("a/b", "refs/pr/3", "")),
    ],
)
def test_addresses_of_the_hub(address: str, wanted: Repository) -> None:
    assert repository(address) == wanted


@pytest.mark.parametrize(
    "address", ["hf://a/b", "hf://datasets/cats", "hf://models/a/b", "hf://datasets/a/b/../c"]
)
def test_addresses_that_are_not_of_a_dataset(address: str) -> None:
    words = fails(address)
    assert address in words
    assert "Expected hf://datasets/OWNER/NAME" in words


# Google Drive


@pytest.mark.parametrize(
    "address",
    [
        "https://drive.google.com/file/d/1aB-c_9/view?usp=sharing",
        "https://drive.google.com/open?id=1aB-c_9",
        "https://drive.google.com/uc?id=1aB-c_9&export=download",
        "https://drive.usercontent.google.com/download?id=1aB-c_9&confirm=t",
    ],
)
def test_links_to_drive(address: str) -> None:
    assert drive_id(address) == "1aB-c_9"


def test_links_that_are_not_to_a_file_of_drive() -> None:
    assert drive_id("https://example.org/file/d/1aB/view") is None
    with pytest.raises(DataError, match="Pack the folder"):
        drive_id("https://drive.google.com/drive/folders/1aB")
    with pytest.raises(DataError, match="names no file"):
        drive_id("https://drive.google.com/")


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """The real gdown, whose requests go to a server here."""
    requests: Any = pytest.importorskip("requests")
    pytest.importorskip("gdown")
    real = requests.Session.get

    def get(session: Any, url: str, **named: Any) -> Any:
        return real(session, url.replace("https://drive.google.com", web.address), **named)

    with served() as web:
        monkeypatch.setattr(requests.Session, "get", get)
        yield web


def test_a_file_of_drive(drive: Web) -> None:
    """gdown asks for ``/uc?id=ID`` and takes what comes."""
    drive.put("/uc?id=1aB", zipped(FILES))
    folder = fetch("https://drive.google.com/file/d/1aB/view?usp=sharing")
    assert contents(folder) == FILES
    assert fetch("https://drive.google.com/open?id=1aB") == folder
    assert len(drive.requests) == 1


def test_a_file_of_drive_that_is_not_shared(drive: Web) -> None:
    drive.put("/uc?id=1aB", b"<html>Sign in</html>", kind="text/html")
    words = fails("https://drive.google.com/file/d/1aB/view")
    assert words.startswith("https://drive.google.com/file/d/1aB/view could not be fetched")
    assert "Is it shared with anyone who has the link?" in words


def test_a_file_of_drive_that_is_not_there(drive: Web) -> None:
    words = fails("https://drive.google.com/file/d/1aB/view")
    assert words.startswith("https://drive.google.com/file/d/1aB/view could not be fetched")


def test_what_gdown_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """gdown is replaced by a stand-in that notes what it was given, and moves the bar."""
    given: dict[str, Any] = {}

    def get(**named: Any) -> None:
        given.update(named)
        named["progress"](1, None)
        named["progress"](2_000_000, 3_000_000)
        Path(named["output"]).write_bytes(zipped(FILES))

    stand_in, errors = types.ModuleType("gdown"), types.ModuleType("gdown.exceptions")
    stand_in.download = get  # type: ignore[attr-defined]
    errors.DownloadError = type("DownloadError", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gdown", stand_in)
    monkeypatch.setitem(sys.modules, "gdown.exceptions", errors)
    assert contents(fetch("https://drive.google.com/open?id=1aB")) == FILES
    assert given["id"] == "1aB"
    assert given["resume"]
    assert not given["use_cookies"]


def test_without_gdown_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    words = fails("https://drive.google.com/open?id=1aB", MissingExtraError)
    assert "pip install 'bowerbird[fetch]'" in words
