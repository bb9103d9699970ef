"""The next smaller and the next larger network of the same family, for who wants less or more.

A family is found in the names: networks whose name differs in one number or one word of size,
such as ``tf_efficientnet_lite0`` and ``tf_efficientnet_lite1``, or ``vit_tiny_patch16_224`` and
``vit_small_patch16_224``. There is no table of families. That the larger one is larger is
checked by its parameters; one whose weights are on this machine comes first.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from bowerbird.config import NetworkConfig
from bowerbird.errors import ModelError
from bowerbird.models.catalogue import Entry, list_networks
from bowerbird.models.networks import TORCHVISION
from bowerbird.models.summary import without_weights

__all__ = ["Siblings", "siblings"]

_WORDS = (
    "atto", "femto", "pico", "nano", "micro", "mini", "tiny", "xsmall", "small", "medium", "base",
    "large", "xlarge", "huge", "giant", "gigantic",
)  # fmt: skip
_SIZES = re.compile(rf"\d+|{'|'.join(sorted(_WORDS, key=len, reverse=True))}")
_TRIED = 3


class Siblings(NamedTuple):
    """Neighbours in size; None where the family has none."""

    smaller: Entry | None
    larger: Entry | None


def siblings(name: str) -> Siblings:
    """The neighbours in size of a network.

    Args:
        name: timm's name, or ``torchvision:NAME``; a tag of weights after a dot doesn't count.
    """
    family = _family(name.partition(".")[0])
    place = next((i for i, member in enumerate(family) if member == name.partition(".")[0]), 0)
    own = _parameters(name) if len(family) > 1 else None
    if own is None:
        return Siblings(None, None)
    return Siblings(
        _nearest(family[:place][::-1], lambda other: other < own),
        _nearest(family[place + 1 :], lambda other: other > own),
    )


def _family(name: str) -> list[str]:
    """Names that differ in one size, the smallest first; the name alone where there are none."""
    library = TORCHVISION if name.startswith(TORCHVISION) else ""
    short = name.removeprefix(TORCHVISION)
    for start, end in _places(short):
        pattern = f"{library}{short[:start]}*{short[end:]}"
        known = {entry.name for entry in _listed(pattern)}
        size = re.compile(
            re.escape(library + short[:start]) + f"({_SIZES.pattern})" + re.escape(short[end:])
        )
        found = {other: match[1] for other in known if (match := size.fullmatch(other))}
        alike = [other for other in found if found[other].isdigit() == short[start:end].isdigit()]
        if name in alike and len(alike) > 1:
            return sorted(alike, key=lambda other: _rank(found[other]))
    return [name]


def _places(name: str) -> Iterator[tuple[int, int]]:
    """Where sizes stand: words first, since numbers are often a resolution or a version."""
    spans = [match.span() for match in _SIZES.finditer(name)]
    yield from (span for span in spans if not name[slice(*span)].isdigit())
    yield from (span for span in spans if name[slice(*span)].isdigit())


def _rank(size: str) -> int:
    return int(size) if size.isdigit() else _WORDS.index(size)


def _listed(pattern: str) -> list[Entry]:
    try:
        return list_networks(pattern, details=False)
    except ModelError:  # nothing has such a name
        return []


def _nearest(names: Sequence[str], fits: Callable[[int], bool]) -> Entry | None:
    """The first few whose size fits; of these, one whose weights are here comes first."""
    entries = [e for name in names[:_TRIED] for e in _listed(name) if e.weights != "none"]
    for entry in sorted(entries, key=lambda entry: not entry.here):
        count = _parameters(entry.name)
        if count is not None and fits(count):
            return dataclasses.replace(entry, parameters=count)
    return None


def _parameters(name: str) -> int | None:
    try:
        return without_weights(NetworkConfig(model=name), None).parameters
    except (ModelError, ValueError):  # it needs arguments, or a package that isn't here
        return None
