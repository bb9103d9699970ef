"""A manifest as people keep it: every image with its class, and what was changed by hand.

Columns: path, class, split, group, content_hash and reason, as in a run's `manifest`, and two
more: ``was``, the class that the source gives where it is another, and ``change``, which is
``relabel``, ``drop`` or nothing. A run's manifest can be read, too: its split is then used
again.

Decisions:
- What is not changed is as the source says, so a manifest can be thrown away: nothing is lost.
- An image that is dropped keeps its line, with the reason but without a class: whatever else
  reads the manifest as a table leaves it out, too.
- A manifest is laid over what is read from DATA. Images that are gone and images that are
  new since it was written are told in one sentence; new ones are left out, since nobody
  has said that they belong to it.
- What a manifest changes, it changes for the picture that it was made for. Where another one
  has its name now (other bytes than `content_hash`), that one stays as the source says, or is
  left out if the manifest says otherwise; both are told.
- People edit manifests: a mistake is named with its line.

What changes come from is in `auditing.fixes`; the manifest of a run is in `manifest`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bowerbird import progress, storage
from bowerbird.data.dataset import SPLITS, Dataset, Problem, Sample, split_named
from bowerbird.errors import DataError

__all__ = ["Entry", "entries_of", "for_these_pictures", "lay_over", "read_entries", "read_table",
           "with_manifest", "write_entries"]  # fmt: skip

COLUMNS = ("path", "class", "split", "group", "content_hash", "reason", "was", "change")
_NEEDED = ("path", "class")
_CHANGES = ("", "relabel", "drop")

Order = Callable[[Iterable[str]], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a manifest.

    Attributes:
        path: as in `Sample.path`.
        label: its class now; empty where it has none.
        split: ``"train"``, ``"val"``, ``"test"``, or None where nobody has said.
        group: images of one group stay together, or None.
        content_hash: of the file's bytes when the manifest was written, or None.
        reason: why it was changed or left out.
        was: its class in the source where `label` is another or empty.
        change: ``"relabel"``, ``"drop"`` or empty.
    """

    path: str
    label: str = ""
    split: str | None = None
    group: str | None = None
    content_hash: str | None = None
    reason: str = ""
    was: str = ""
    change: str = ""

    @property
    def left_out(self) -> bool:
        """Whether it takes no part in anything."""
        return not self.label or self.change == "drop" or (not self.change and bool(self.reason))

    @property
    def source_label(self) -> str:
        """Its class in the source."""
        return self.was or self.label


def entries_of(ds: Dataset, hashes: Sequence[str | None]) -> tuple[Entry, ...]:
    """A dataset as the source gives it; what it can't use comes last, with the reason.

    Args:
        ds: labelled images.
        hashes: content hash per sample.
    """
    inside = [
        Entry(
            sample.path,
            "" if sample.target is None else ds.classes[sample.target],
            sample.split,
            sample.group,
            content_hash,
        )
        for sample, content_hash in zip(ds.samples, hashes, strict=True)
    ]
    return (*inside, *(Entry(problem.path, reason=problem.reason) for problem in ds.problems))


def write_entries(path: Path, entries: Iterable[Entry]) -> None:
    """Write a manifest.

    Raises:
        RunError: it can't be written.
    """
    storage.write_text(path, storage.comma_separated(COLUMNS, map(_cells, entries)))


def read_entries(path: Path) -> tuple[Entry, ...]:
    """Read a manifest, also that of a run.

    Raises:
        DataError: it is missing, or a line makes no sense; the message names it.
    """
    header, rows = read_table(path, "manifest")
    _refuse_columns(path, header)
    entries = []
    seen: set[str] = set()
    for line, cells in rows:
        row = dict(zip(header, cells, strict=False))
        reason = _mistake(row, len(cells), len(header), seen)
        if reason:
            raise DataError(f"The manifest {path} has a mistake in line {line}: {reason}.")
        seen.add(row["path"])
        entries.append(_entry(row))
    return tuple(entries)


def with_manifest(ds: Dataset, path: Path, order: Order) -> Dataset:
    """A dataset with the classes, splits, groups and omissions of a manifest.

    Args:
        ds: as it is read from the source.
        path: the manifest.
        order: brings class names into the order of indices.

    Raises:
        DataError: the manifest can't be read, or belongs to other data.
    """
    from bowerbird.data.checks import check

    entries = read_entries(path)
    lay_over(ds, entries, order, path.name)  # refuses one of other data before any file is opened
    hashed = {entry.path for entry in entries if entry.content_hash}
    names = [sample.path for sample in ds.samples if sample.path in hashed]
    verdicts = check([ds.root / name for name in names])
    now = {name: verdict.content_hash for name, verdict in zip(names, verdicts, strict=True)}
    entries = for_these_pictures(ds, entries, now, path.name)
    found = lay_over(ds, entries, order, path.name)
    listed = {entry.path for entry in entries}
    there = {sample.path for sample in ds.samples}
    gone = sum(not entry.left_out and entry.path not in there for entry in entries)
    new = sum(sample.path not in listed for sample in ds.samples)
    if gone or new:
        progress.say(
            f"{path.name} is older than the data: {gone} of its images are gone, and {new} that "
            "are new are left out. To take the data as it is now, apply the list of changes that "
            "lies beside the manifest again."
        )
    return found


def for_these_pictures(
    ds: Dataset, entries: Sequence[Entry], now: Mapping[str, str | None], name: str
) -> tuple[Entry, ...]:
    """Entries without what they say of other pictures than those that have their names now.

    Args:
        ds: as it is read from the source.
        entries: of a manifest.
        now: present content hash by path, where it is known.
        name: of the manifest, for the message.
    """
    source = {s.path: "" if s.target is None else ds.classes[s.target] for s in ds.samples}
    found: list[Entry] = []
    others: list[str] = []
    for entry in entries:
        present = now.get(entry.path)
        other = bool(entry.content_hash and present and present != entry.content_hash)
        decided = other and not entry.left_out and entry.label != source.get(entry.path)
        others += [entry.path] if other and not entry.left_out else []
        reason = f"another picture than when {name} said that it is {entry.label!r}"
        found.append(Entry(entry.path, reason=reason) if decided else entry)
    if others:
        out = sum(entry.left_out for entry in found) - sum(entry.left_out for entry in entries)
        progress.say(
            f"{len(others)} images are other pictures than when {name} was written, e.g. "
            f"{others[0]}. {out} of them, whose class it had changed, are left out; the others are "
            "of the class that the data say."
        )
    return tuple(found)


def lay_over(
    ds: Dataset, entries: Sequence[Entry], order: Order, name: str, least: int = 2
) -> Dataset:
    """A dataset as entries say; `name` is what they came from, for messages.

    Raises:
        DataError: most of them are not in the dataset, or fewer than `least` classes are left.
    """
    there = {sample.path for sample in ds.samples}
    known = {problem.path for problem in ds.problems}
    wanted = [entry for entry in entries if not entry.left_out]
    kept = [entry for entry in wanted if entry.path in there]
    if 2 * len(kept) < len(wanted) or not kept:
        missing = next((e.path for e in wanted if e.path not in there), "")
        raise DataError(_of_other_data(ds.root, name, len(kept), len(wanted), missing))
    classes = order(entry.label for entry in kept)
    if len(classes) < least:
        raise DataError(
            f"With {name}, only the class {classes[0]!r} is left, of {len(kept)} images. "
            "A classifier needs at least two: keep or relabel some images of another."
        )
    index = {label: number for number, label in enumerate(classes)}
    samples = (Sample(e.path, index[e.label], e.split, e.group) for e in kept)
    problems = tuple(_problems(entries, there, known))
    listed = {entry.path for entry in entries}
    new = sum(sample.path not in listed for sample in ds.samples)
    dropped = sum(entry.change == "drop" for entry in entries)
    ignored = {"image not in the manifest": new, "dropped in the manifest": dropped}
    return replace(
        ds,
        samples=tuple(sorted(samples, key=lambda sample: sample.path)),
        classes=classes,
        problems=ds.problems + problems,
        ignored=dict(ds.ignored) | {words: number for words, number in ignored.items() if number},
    )


def read_table(path: Path, what: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header, and the line number and cells of each row, of a CSV file that people may edit.

    Commas, semicolons or tabs, with or without a byte order mark; empty lines are passed over.

    Raises:
        DataError: it can't be read.
    """
    text = _text(path, what)
    first = text.split("\n", 1)[0]
    mark = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((line + 1, cells))
            line = reader.line_num
    except csv.Error as error:
        raise DataError(
            f"The {what} {path} can't be read beyond line {line + 1}: {error}. Nothing was changed."
        ) from error
    if not rows:
        raise DataError(f"The {what} {path} is empty.")
    return [name.strip().lower() for name in rows[0][1]], rows[1:]


def _text(path: Path, what: str) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"The {what} {path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"The {what} {path} is not UTF-8 (byte {error.start}). Save it as CSV in UTF-8."
        ) from error


def _refuse_columns(path: Path, header: Sequence[str]) -> None:
    missing = [name for name in _NEEDED if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if missing or unknown or len(set(header)) < len(header):
        raise DataError(
            f"{path} is not a manifest. Expected the columns {', '.join(COLUMNS)}; found "
            f"{', '.join(header)}. `bowerbird apply` and every run write one."
        )


def _mistake(row: dict[str, str], cells: int, width: int, seen: set[str]) -> str | None:
    if cells != width:
        return f"expected {width} cells, found {cells}"
    if not row["path"]:
        return "it names no image"
    if row["path"] in seen and (row["class"] or row.get("change")):
        return f"{row['path']!r} is listed twice"
    part, change = row.get("split", ""), row.get("change", "")
    if part and split_named(part) is None:
        return f"{part!r} is not one of {', '.join(SPLITS)}"
    if change not in _CHANGES:
        return f"the change {change!r} is not relabel, drop or nothing"
    if not row["class"] and not row.get("reason") and change != "drop":
        return "it has neither a class nor a reason to be left out"
    return None


def _entry(row: dict[str, str]) -> Entry:
    part = row.get("split", "")
    return Entry(
        row["path"],
        row["class"],
        split_named(part) if part else None,
        row.get("group") or None,
        row.get("content_hash") or None,
        row.get("reason", ""),
        row.get("was", ""),
        row.get("change", ""),
    )


def _cells(entry: Entry) -> tuple[str, ...]:
    return (
        entry.path,
        entry.label,
        entry.split or "",
        entry.group or "",
        entry.content_hash or "",
        entry.reason,
        entry.was,
        entry.change,
    )


def _problems(entries: Iterable[Entry], there: set[str], known: set[str]) -> Iterator[Problem]:
    """Images that are gone, or that a run had left out; those known already are not told."""
    for entry in entries:
        if entry.path in known or entry.change == "drop":
            continue
        if entry.left_out:
            yield Problem(entry.path, entry.reason)
        elif entry.path not in there:
            yield Problem(entry.path, "file not found")


def _of_other_data(root: Path, name: str, kept: int, wanted: int, missing: str) -> str:
    if not wanted:
        return f"{name} leaves no image of {root}: all are dropped."
    return (
        f"{name} belongs to other data: of the {wanted} images in it, {kept} are in {root}; "
        f"missing for example {missing!r}. Name the data that it was made for."
    )
