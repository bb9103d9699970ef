"""Fetches from Google Drive, by gdown, and from Hugging Face, by huggingface_hub.

Decisions:
- Both libraries go on where they broke off; what they put on the screen is replaced by our
  own bar.
- From Hugging Face the branch is resolved to a commit first, and every file is asked for by
  it, so that a commit in between is not mixed in. Files are compared with the sizes listed.
- Parquet and Arrow files are not fetched. Where a dataset has nothing else, that is said
  before anything is fetched.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bowerbird import progress, storage
from bowerbird.data.remote.archives import is_archive
from bowerbird.data.remote.download import Megabytes
from bowerbird.data.scan import TABLE_EXTENSIONS, is_image
from bowerbird.errors import CacheError, DataError, MissingExtraError

__all__ = ["Repository", "drive_id", "from_drive", "from_hub", "repository"]

_DRIVE = frozenset({"drive.google.com", "docs.google.com", "drive.usercontent.google.com"})
_PACKED = (".parquet", ".arrow")
_FORM = "hf://datasets/OWNER/NAME, with @REVISION and /FOLDER behind it if need be"
_WORKERS = 8
_TIMEOUT = 30.0


@dataclass(frozen=True)
class Repository:
    """A dataset on Hugging Face; `folder` is ``""`` for all of it."""

    name: str
    revision: str
    folder: str


def drive_id(address: str) -> str | None:
    """The file's identifier, if `address` is a link to Google Drive.

    >>> drive_id("https://drive.google.com/file/d/1aB-c_9/view?usp=sharing")
    '1aB-c_9'

    Raises:
        DataError: it leads to a folder, or to no file.
    """
    parts = urlsplit(address)
    if parts.hostname not in _DRIVE:
        return None
    if "/folders/" in parts.path:
        raise DataError(
            f"{address} is a folder of Google Drive; expected a zip or tar. Pack the folder, or "
            "download it in a browser and give the file as DATA."
        )
    found = re.search(r"/d/([\w-]+)", parts.path)
    named = found[1] if found else parse_qs(parts.query).get("id", [""])[0]
    if not re.fullmatch(r"[\w-]+", named):
        raise DataError(
            f"{address} names no file of Google Drive. Expected, for example, "
            "https://drive.google.com/file/d/ID/view."
        )
    return named


def from_drive(address: str, identifier: str, target: Path) -> None:
    """Fetch a file of Google Drive to `target`.

    Raises:
        DataError: it can't be had.
        MissingExtraError: gdown is not installed.
    """
    try:
        gdown: Any = importlib.import_module("gdown")
    except ImportError as error:
        raise MissingExtraError(
            "A link to Google Drive needs the package gdown. Install it with: "
            "pip install 'bowerbird[fetch]'"
        ) from error
    errors: Any = importlib.import_module("gdown.exceptions")
    with contextlib.closing(Megabytes("Fetching")) as bar:
        try:
            gdown.download(
                id=identifier, output=str(target), quiet=True, use_cookies=False, resume=True,
                timeout=_TIMEOUT, progress=bar.reach,
            )  # fmt: skip
        except (errors.DownloadError, OSError) as error:
            raise _failed(address, error, target) from error


def repository(address: str) -> Repository:
    """What an ``hf://`` address names.

    >>> repository("hf://datasets/cats/in-hats@v1.0/photos")
    Repository(name='cats/in-hats', revision='v1.0', folder='photos')

    Raises:
        DataError: it has another form.
    """
    word = r"[\w.-]+"
    revision = r"refs/(?:convert|pr)/[^/@]+|[^/@]+"
    form = rf"hf://datasets/({word}/{word})(?:@({revision}))?(?:/(.*))?"
    found = re.fullmatch(form, address)
    if found is None:
        raise DataError(f"{address} is not understood. Expected {_FORM}.")
    folder = (found[3] or "").strip("/")
    if ".." in folder.split("/"):
        raise DataError(f"{address} leads out of the dataset. Expected {_FORM}.")
    return Repository(found[1], unquote(found[2] or "main"), folder)


def from_hub(address: str, wanted: Repository, target: Path) -> str:
    """Fetch the files of a dataset to the folder `target`; what is there already stays.

    Returns:
        The commit they are from.

    Raises:
        DataError: it can't be had, or holds no files of images.
    """
    hub: Any = importlib.import_module("huggingface_hub")
    try:
        commit, files = _listed(hub, wanted)
        chosen = _chosen(address, wanted, files)
        progress.say(
            f"Fetching {len(chosen)} files, {sum(chosen.values()) / 1e6:.1f} MB, of {address}."
        )
        _get(hub, wanted, commit, chosen, target)
    except Exception as error:
        if not _of_the_hub(error):
            raise
        raise _failed(address, error, target) from error
    return commit


def _listed(hub: Any, wanted: Repository) -> tuple[str, dict[str, int]]:
    """The commit that the revision stands for, and sizes of its files."""
    api = hub.HfApi()
    commit = api.repo_info(wanted.name, repo_type="dataset", revision=wanted.revision).sha
    tree = api.list_repo_tree(
        wanted.name, wanted.folder or None, recursive=True, revision=commit, repo_type="dataset"
    )
    return str(commit), {entry.path: entry.size for entry in tree if hasattr(entry, "size")}


def _chosen(address: str, wanted: Repository, files: Mapping[str, int]) -> dict[str, int]:
    if outside := [path for path in files if ".." in path.split("/") or path.startswith("/")]:
        raise DataError(f"{address} is not safe: it names a file outside itself, {outside[0]!r}.")
    chosen = {path: size for path, size in files.items() if not path.endswith(_PACKED)}
    if any(is_image(path) or is_archive(path) for path in chosen):
        return chosen
    packed = sum(path.endswith(_PACKED) for path in files)
    tables = sum(path.lower().endswith(TABLE_EXTENSIONS) for path in chosen)
    if packed:
        raise DataError(
            f"{address} holds its images in {packed} Parquet files, which Bowerbird doesn't read. "
            "Expected image files, or a zip or tar of them. With the package datasets they can be "
            f"written out: load_dataset({wanted.name!r}) gives images to save into a folder per "
            "class."
        )
    found = f" Found: {len(files)} files, {tables} of them tables." if files else " It is empty."
    raise DataError(f"{address} holds no images and no archive of them.{found}")


def _get(hub: Any, wanted: Repository, commit: str, files: Mapping[str, int], target: Path) -> None:
    def get(path: str) -> int:
        hub.hf_hub_download(
            wanted.name, path, repo_type="dataset", revision=commit, local_dir=str(target)
        )
        found = target.joinpath(*PurePosixPath(path).parts).stat().st_size
        if found != files[path]:
            raise DataError(
                f"{path} of {wanted.name} came with {found:,} bytes instead of {files[path]:,}. "
                "Run the command again."
            )
        return found

    total, done = sum(files.values()), 0
    pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="hub")
    try:
        with contextlib.closing(Megabytes("Fetching")) as bar, _quiet(hub):
            for future in as_completed([pool.submit(get, path) for path in files]):
                done += future.result()
                bar.reach(done, total)
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _quiet(hub: Any) -> Iterator[None]:
    """Without the library's own bars, unless they were off anyway."""
    already = hub.utils.are_progress_bars_disabled()
    if not already:
        hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        if not already:
            hub.utils.enable_progress_bars()


def _of_the_hub(error: Exception) -> bool:
    """Whether an error is one of the network, the disk, or of what was asked for."""
    if isinstance(error, OSError):
        return True
    module = type(error).__module__.split(".")[0]
    return module in ("huggingface_hub", "httpx", "httpx2", "httpcore", "requests", "urllib3")


def _failed(address: str, error: Exception, target: Path) -> DataError | CacheError:
    if storage.is_full(error):
        return CacheError(
            f"No space left while fetching to {target}. What has come is kept. Free some space "
            "(`bowerbird cache --clear`), or name another disk with the environment variable "
            "BOWERBIRD_CACHE."
        )
    kind = type(error).__name__
    hints = {
        "RepositoryNotFoundError": "There is no such public dataset. Check owner and name; for a "
        "private one, log in with `hf auth login`.",
        "GatedRepoError": "Its owner wants to be asked: accept the terms on its page, and log in "
        "with `hf auth login`.",
        "RevisionNotFoundError": "There is no such revision. Check what stands behind the @.",
        "RemoteEntryNotFoundError": "There is no such folder in it. Check what stands last.",
        "EntryNotFoundError": "There is no such folder in it. Check what stands last.",
        "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set; unset it, once.",
        "FileURLRetrievalError": "Is it shared with anyone who has the link? If so, too many may "
        "have fetched it today: fetch it in a browser and give the file as DATA.",
    }
    hint = hints.get(
        kind,
        "It has not been fetched before, so the network is needed, once. Check the link and the "
        "connection, and run the command again: it goes on from where it broke off.",
    )
    first = next(iter(str(error).strip().splitlines()), kind)
    return DataError(f"{address} could not be fetched: {first[:200].rstrip('.: ')}. {hint}")
