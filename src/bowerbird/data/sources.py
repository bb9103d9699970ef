"""Turns a folder, a table or single images into a `Dataset`.

Forms, recognised without being told:

- class folders: ``cat/…``, ``dog/…``; folders below a class belong to it
- ``train``, ``val``, ``test`` folders under any usual name, with class folders inside;
  or class folders with those inside
- a table (CSV, TSV, JSON Lines) with columns for path and label and, if it likes, split and
  group; or a folder that holds one, or holds ``train.csv``, ``val.csv`` …
- an image folder of Hugging Face: ``metadata.csv`` or ``metadata.jsonl`` with ``file_name``,
  in the folder or in its ``train``, ``test`` … folders
- an archive of any of these, or a link to one: see `fetch`
- for prediction (``labelled=False``): a folder of any kind, an image, a list of paths

Decisions:
- A table in the folder goes first if it can be read and its images are there, so that the
  folders beside it are not taken for classes.
- Classes are sorted: as numbers where all are whole numbers ("2" before "10"), else in
  natural order with upper case before lower ("class2" before "class10"). Names are
  brought to Unicode NFC, and line breaks in them become spaces.
- Samples are sorted by path; a list of paths keeps its order.
- An image named twice counts once; if its label or split differs, it is left out.
- Names that are not valid Unicode are read as they are where nothing is labelled.
- Nothing is opened here but tables, and nothing is ever written but what is fetched.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bowerbird import progress
from bowerbird.config import ReadConfig
from bowerbird.data.dataset import Dataset, Problem, Sample, split_named
from bowerbird.data.entries import with_manifest
from bowerbird.data.labels import image_root, located, usable_tables
from bowerbird.data.locate import IMAGE_FOLDERS, Located
from bowerbird.data.remote.fetch import fetch
from bowerbird.data.scan import TABLE_EXTENSIONS, Listing, is_image, scan
from bowerbird.data.tables import Table, read_table
from bowerbird.errors import ConfigError, DataError
from bowerbird.storage import readable

__all__ = ["class_order", "read_images"]

_LAYOUT = (
    "Expected one folder per class (cat/…, dog/…), or train, val and test folders of those, "
    "or a table with columns for path and label."
)
_PARQUET = " Parquet files are not read: write their images out as files, in a folder per class."


@dataclass(frozen=True, slots=True)
class _Found:
    """An image on its way to being a `Sample`."""

    path: str
    label: str
    split: str | None = None
    group: str | None = None


def read_images(
    data: str | Path | Sequence[str | Path],
    config: ReadConfig | None = None,
    *,
    labelled: bool = True,
) -> Dataset:
    """Find images, and what is known of them.

    Args:
        data: a folder or a table (CSV, TSV, JSON Lines); a zip or tar of one, here or behind a
            link: ``https://…``, Google Drive, ``hf://datasets/OWNER/NAME[@REVISION][/FOLDER]``.
            Links are fetched and archives unpacked once, into Bowerbird's cache; ``#sha256=…``
            behind a link is verified. With ``labelled=False`` also an image, or several paths.
        config: columns and root folder of a table, where they are not usual.
        labelled: whether labels are needed; without, `classes` is empty and targets are None.

    Raises:
        ConfigError: `config` names what only a table has, and there is none.
        DataError: there is nothing there, or no labels, or fewer than two classes; or it can't be
            fetched or unpacked.
        CacheError: what is fetched or unpacked can't be written.
        MissingExtraError: fetching or unpacking needs a package that isn't installed.
    """
    config = config or ReadConfig()
    if labelled and config.manifest is not None:
        source = read_images(data, config.model_copy(update={"manifest": None}))
        return with_manifest(source, config.manifest.expanduser(), class_order)
    if not isinstance(data, (str, Path)):
        return _from_list([fetch(item) for item in data], labelled)
    path = fetch(data)
    try:
        return _from_path(Path(os.path.abspath(path.expanduser())), config, labelled)  # noqa: PTH100
    except DataError as error:
        if str(path) == str(Path(data)):
            raise
        raise DataError(f"{error} (That folder is what {data} holds.)") from error


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in the order that fixes class indices.

    >>> class_order(["class10", "class2", "Class3"]), class_order(["10", "2", "0"])
    (('Class3', 'class2', 'class10'), ('0', '2', '10'))
    """
    distinct = set(names)
    if all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct, key=_natural))


def _from_path(path: Path, config: ReadConfig, labelled: bool) -> Dataset:
    if labelled and readable(path) != str(path):
        raise DataError(
            f"The name {readable(path)} is not valid Unicode and can't be written down. Rename it."
        )
    if path.is_dir():
        return _from_folder(path, config, labelled)
    if not path.is_file():
        raise DataError(_absent(path))
    if is_image(path.name):
        return _from_list([path], labelled)
    if path.suffix.lower() not in (*TABLE_EXTENSIONS, ".txt"):
        raise DataError(
            f"{path} is neither a folder, nor a table (.csv, .tsv, .jsonl), nor an archive (.zip, "
            ".tar, .tar.gz …), nor an image."
        )
    root = image_root(path.parent, config)
    table = located(read_table(path, config, labelled=labelled), root)
    return _from_tables(root, [table], labelled=labelled, ignored=Counter())


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    pieces = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in pieces], name


def _from_list(data: Sequence[str | Path], labelled: bool) -> Dataset:
    """Images in the order given; a folder in the list stands for all images in it."""
    if labelled:
        raise DataError(f"A single image or a list of paths has no labels. {_LAYOUT}")
    if not data:
        raise DataError("No images were given. Name image files or folders of them.")
    paths = [Path(os.path.abspath(Path(item).expanduser())) for item in data]  # noqa: PTH100
    root = Path(os.path.commonpath([path.parent for path in paths]))
    ignored: Counter[str] = Counter()
    problems: list[Problem] = []
    names: list[str] = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            listing = scan(path, any_name=True)
            ignored += listing.ignored
            problems += listing.problems
            names += [f"{name}/{image}" for image in listing.images]
        elif path.is_file():
            names.append(name)
        else:
            problems.append(Problem(name, "file not found"))
    distinct = dict.fromkeys(names)
    ignored["listed twice"] += len(names) - len(distinct)
    samples = tuple(Sample(name) for name in distinct)
    return Dataset(root, samples, (), tuple(problems), dict(+ignored))


def _from_folder(root: Path, config: ReadConfig, labelled: bool) -> Dataset:
    listing = scan(root, any_name=not labelled)
    if labelled:
        return _labelled_folder(listing, config)
    if not listing.images:
        words = readable(root)
        raise DataError(f"There are no images in {words}.{_passed_over(listing.ignored)}")
    samples = tuple(Sample(path) for path in listing.images)
    return Dataset(root, samples, (), tuple(listing.problems), dict(listing.ignored))


def _labelled_folder(listing: Listing, config: ReadConfig) -> Dataset:
    _tell_unfinished(listing.root)
    tables, mistake = usable_tables(listing, config)
    unread = len(listing.tables) + len(listing.metadata) - len(tables)
    unused = Counter({"table without images and labels": unread})
    if tables:
        root = image_root(listing.root, config)
        return _from_tables(root, tables, labelled=True, ignored=unused)
    told = [name for name, value in config if value is not None]
    if mistake and (told or not _looks_sorted(listing)):
        raise mistake
    if told:
        options = " and ".join("--" + name.replace("_", "-") for name in told)
        raise ConfigError(
            f"{options} {'are' if len(told) > 1 else 'is'} for a table of images and labels, and "
            f"{listing.root} holds none: its folders are the classes. Name the table as the data, "
            f"or leave out {options}."
        )
    try:
        found = _from_class_folders(listing)
    except DataError as error:
        raise mistake or error from error
    return _labelled(listing.root, found, listing.problems, listing.ignored + unused, listing)


def _tell_unfinished(root: Path) -> None:
    """An expansion (`augmenting.expand`) writes its request first and its manifest last."""
    if (root / "expansion.json").is_file() and not (root / "manifest.csv").is_file():
        progress.say(
            f"{root} is an expansion that has not come to its end: images are missing, and nothing "
            "says which are children of which. Run the same `bowerbird expand` command again first."
        )


def _looks_sorted(listing: Listing) -> bool:
    """Whether folders, not a table that can't be used, seem to hold the classes."""
    top = {path.split("/")[0] for path in listing.images if "/" in path}
    containers = [name for name in top if name.lower() in IMAGE_FOLDERS]
    return not containers and (len(top) > 1 or any(split_named(name) for name in top))


def _from_tables(
    root: Path,
    tables: Sequence[tuple[Table, Located]],
    *,
    labelled: bool,
    ignored: Counter[str],
) -> Dataset:
    problems: list[Problem] = []
    listed: dict[str, list[_Found]] = {}
    unlisted: list[int] = []
    for table, where in tables:
        problems += table.problems
        unlisted.append(where.unlisted)
        for row, path in zip(table.rows, where.paths, strict=True):
            if isinstance(path, Problem):
                problems.append(path)
            else:
                found = _Found(path, _class_name(row.label or ""), row.split, row.group)
                listed.setdefault(path, []).append(found)
    if len(tables) == 1:
        ignored["image not in the table"] += unlisted[0]
    once = _each_once(listed, problems, ignored)
    if labelled:
        return _labelled(root, once, problems, ignored, None)
    samples = tuple(Sample(item.path) for item in sorted(once, key=lambda item: item.path))
    return Dataset(root, samples, (), tuple(problems), dict(+ignored))


def _each_once(
    listed: Mapping[str, list[_Found]], problems: list[Problem], ignored: Counter[str]
) -> list[_Found]:
    once: list[_Found] = []
    for path, items in listed.items():
        if len({item.label for item in items}) > 1:
            problems.append(Problem(path, "listed twice with different labels"))
        elif len({item.split for item in items}) > 1:
            problems.append(Problem(path, "listed twice in different splits"))
        else:
            once.append(items[0])
            ignored["listed twice"] += len(items) - 1
    return once


def _from_class_folders(listing: Listing) -> list[_Found]:
    """Images with the labels and splits that their folders give."""
    paths = [(path, path.split("/")) for path in listing.images]
    split_folders = {p[0] for _, p in paths if len(p) > 1 and split_named(p[0])}
    if any(len(p) > 2 and p[0] in split_folders for _, p in paths):
        return _below_splits(paths, listing)
    if split_folders and all(p[0] in split_folders for _, p in paths if len(p) > 1):
        raise DataError(
            f"{listing.root} has images in {', '.join(sorted(split_folders))}, but no class "
            f"folders in there. {_LAYOUT}"
        )
    inside = [(path, p) for path, p in paths if len(p) > 1]
    listing.ignored["image outside the class folders"] += len(paths) - len(inside)
    named = {p[0] for _, p in inside}
    empty = {folder for folder in listing.folders if "/" not in folder} - named
    listing.ignored["class folder without images"] += len(empty)
    splits = [split_named(p[1]) if len(p) > 2 else None for _, p in inside]
    given = all(splits)
    return [
        _Found(path, _class_name(p[0]), split if given else None)
        for (path, p), split in zip(inside, splits, strict=True)
    ]


def _below_splits(paths: Sequence[tuple[str, list[str]]], listing: Listing) -> list[_Found]:
    found: list[_Found] = []
    for path, parts in paths:
        split = split_named(parts[0]) if len(parts) > 1 else None
        if split and len(parts) > 2:
            found.append(_Found(path, _class_name(parts[1]), split))
        elif split:
            listing.ignored[f"image in {parts[0]}, but in no class folder"] += 1
        else:
            listing.ignored["image outside the train, val and test folders"] += 1
    folders = {
        f.split("/")[1]
        for f in listing.folders
        if f.count("/") == 1 and split_named(f.split("/")[0])
    }
    empty = {_class_name(folder) for folder in folders} - {item.label for item in found}
    listing.ignored["class folder without images"] += len(empty)
    return found


def _labelled(
    root: Path,
    found: Sequence[_Found],
    problems: Sequence[Problem],
    ignored: Counter[str],
    listing: Listing | None,
) -> Dataset:
    classes = class_order(item.label for item in found)
    if len(classes) < 2:
        raise DataError(_too_few(root, classes, found, ignored, listing))
    index = {name: number for number, name in enumerate(classes)}
    samples = tuple(
        Sample(item.path, index[item.label], item.split, item.group)
        for item in sorted(found, key=lambda item: item.path)
    )
    return Dataset(root, samples, classes, tuple(problems), dict(+ignored))


def _class_name(text: str) -> str:
    plain = unicodedata.normalize("NFC", text)
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", " ", plain).strip()


def _too_few(
    root: Path,
    classes: Sequence[str],
    found: Sequence[_Found],
    ignored: Counter[str],
    listing: Listing | None,
) -> str:
    if not classes:
        images = len(listing.images) if listing else 0
        what = f"{images} images, but no class folders" if images else "no images"
        return f"{root} holds {what}. {_LAYOUT}{_passed_over(ignored)}"
    inner = {p.split("/")[1] for p in (item.path for item in found) if p.count("/") > 1}
    hint = f" If the classes are the folders in it, give {root / classes[0]}." if inner else ""
    return (
        f"{root} has only one class: {classes[0]!r} ({len(found)} images). A classifier needs at "
        f"least two; add images of another.{hint}{_passed_over(ignored)}"
    )


def _passed_over(ignored: Mapping[str, int]) -> str:
    counts = ", ".join(f"{count} × {reason}" for reason, count in ignored.items() if count)
    hint = _PARQUET if any(".parquet" in reason for reason in ignored) else ""
    return f" Passed over: {counts}.{hint}" if counts else ""


def _absent(path: Path) -> str:
    try:
        beside = os.listdir(path.parent)  # noqa: PTH208
    except OSError:
        beside = []
    close = difflib.get_close_matches(path.name, beside, n=1)
    hint = f" Did you mean {path.parent / close[0]}?" if close else ""
    return f"There is no folder or table {path}.{hint}"
