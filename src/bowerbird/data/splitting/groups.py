"""Finds what belongs together: a column of a table, a folder, or a part of the path.

Decisions:
- A grouping that was asked for and groups nothing, or everything, is an error: it is a
  mistake in the pattern more often than a fact about the data.
- ``folder`` is the whole way from the class (or split) down to the image, so that
  ``ill/p7/a.png`` and ``healthy/p7/b.png`` are one group; images directly in the folder of
  their class belong to none.
- ``path`` is searched for anywhere in the path below the root, with forward slashes; an
  image that it isn't found in belongs to no group.
- What is asked for comes instead of the groups that the source gives.

How groups are kept together is the matter of `splits`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bowerbird.config import ReadConfig
from bowerbird.config.data import parse_group_by
from bowerbird.data.dataset import Dataset, Sample, split_named
from bowerbird.data.sources import read_images
from bowerbird.errors import ConfigError, DataError

__all__ = ["group_by", "read_grouped"]


def read_grouped(
    data: str | Path, config: ReadConfig | None = None, how: str | None = None
) -> Dataset:
    """Read labelled images, and group them.

    Args:
        data: a folder or a table, as for `read_images`.
        config: columns and root folder of a table.
        how: as for `group_by`; None: as the source gives it.

    Raises:
        ConfigError: `how` means nothing, or not what `config` says.
        DataError: the images can't be read, or nothing or everything is grouped.
    """
    config = config or ReadConfig()
    if how is None:
        return read_images(data, config)
    kind, name = _parsed(how)
    if kind != "column":
        return group_by(read_images(data, config), how)
    if config.group_column not in (None, name):
        raise ConfigError(
            f"--group-by {how} and --group-column {config.group_column} name different columns. "
            "Leave one out."
        )
    try:
        dataset = read_images(data, config.model_copy(update={"group_column": name}))
    except (ConfigError, DataError) as error:
        words = str(error)
        if config.group_column is not None or "--group-column" not in words:
            raise
        words = words.replace("--group-column", "--group-by")
        raise type(error)(
            f"{words} Without a column: --group-by folder, or --group-by 'path:REGEX'."
        ) from error
    return group_by(dataset, how)


def group_by(ds: Dataset, how: str) -> Dataset:
    r"""The same images, grouped: images of one group never straddle a split.

    Args:
        ds: the images.
        how: ``"folder"``, ``"path:REGEX"``, or ``"column:NAME"`` for groups that were read
            from that column of a table already (``ReadConfig(group_column=NAME)``).

    Raises:
        ConfigError: `how` means nothing.
        DataError: nothing, or everything, would be in one group.

    >>> samples = tuple(Sample(f"cat/{name}.jpg", 0) for name in ("7_l", "7_r", "8_l"))
    >>> found = group_by(Dataset(Path("/x"), samples, ("cat",)), r"path:(\d+)_")
    >>> [sample.group for sample in found.samples]
    ['7', '7', '8']
    """
    kind, pattern = _parsed(how)
    if kind == "column":
        groups = [sample.group for sample in ds.samples]
    else:
        find = _folder_of(ds.classes) if kind == "folder" else _found_by(pattern)
        groups = [find(sample) for sample in ds.samples]
    _sensible(ds, groups, how)
    pairs = zip(ds.samples, groups, strict=True)
    return replace(ds, samples=tuple(replace(sample, group=group) for sample, group in pairs))


def _parsed(how: str) -> tuple[str, str]:
    try:
        return parse_group_by(how)
    except ValueError as error:
        raise ConfigError(f"--group-by: {error}.") from error


def _found_by(pattern: str) -> Callable[[Sample], str | None]:
    """What a regular expression finds in a path: its first group, or all of it."""
    compiled = re.compile(pattern)

    def find(sample: Sample) -> str | None:
        found = compiled.search(sample.path)
        if found is None:
            return None
        return _named(found[1] if compiled.groups else found[0])

    return find


def _folder_of(classes: Sequence[str]) -> Callable[[Sample], str | None]:
    """The folders of a path, less those of its class and its split."""

    def find(sample: Sample) -> str | None:
        label = None if sample.target is None else classes[sample.target]
        folders = sample.path.split("/")[:-1]
        for _ in range(2):
            if folders and _sorts(folders[0], label, sample.split):
                folders = folders[1:]
        return _named("/".join(folders))

    return find


def _sorts(folder: str, label: str | None, split: str | None) -> bool:
    """Whether a folder is there to tell classes or splits apart."""
    return unicodedata.normalize("NFC", folder) == label or (
        split is not None and split_named(folder) == split
    )


def _named(text: str | None) -> str | None:
    """A group's name as a table can hold it, or None."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text or "").strip() or None


def _sensible(ds: Dataset, groups: Sequence[str | None], how: str) -> None:
    """Refuse what groups nothing or everything."""
    sizes = Counter(group for group in groups if group is not None)
    example = ds.samples[0].path if ds.samples else ""
    if not sizes:
        raise DataError(
            f"--group-by {how} groups nothing: none of the {len(ds)} images has such a group, for "
            f"example {example!r}. {_WAYS}"
        )
    if max(sizes.values()) == 1:
        raise DataError(
            f"--group-by {how} groups nothing: each of its {len(sizes)} groups is a single image, "
            f"for example {next(iter(sizes))!r}. {_WAYS}"
        )
    if len(sizes) == 1 and sizes.total() == len(ds):
        raise DataError(
            f"--group-by {how} puts all {len(ds)} images into one group, {next(iter(sizes))!r}: "
            f"nothing could be held out. {_WAYS}"
        )


_WAYS = (
    "Name a column of the table (column:NAME), folder, or path:REGEX for a part of the path that "
    "images which belong together share; or leave it out."
)
