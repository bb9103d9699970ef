"""Copies, leaks, conflicts: images that are one picture, and what follows from it.

Three tiers: the same bytes; certain near-duplicates by their prints (`data.prints`), told
apart into the same pixels and changed ones; and pairs for a person to look at, which are
alike by prints or features, but not certain.

Decisions:
- What hangs together through certain pairs is one group: a leak if it straddles splits, a
  conflict if it has several labels (both, if it does both), else copies.
- Of a leak, the images that are learned from are proposed to go, so that the test stays the
  same. Of copies, the first by path stays. For a conflict nothing is proposed but the class
  that all other images favour, beside each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bowerbird.auditing.results import Action, Case, Finding
from bowerbird.data.checks import Checked
from bowerbird.data.dataset import Dataset
from bowerbird.data.images import decode
from bowerbird.data.prints import groups_of, near_pairs
from bowerbird.errors import ImageError

__all__ = ["Copies", "copies", "findings", "review"]

_REVIEWED = 200
_SAME_LOOK = 0.995


class Copies:
    """Groups of images that are one picture.

    Attributes:
        groups: indices of samples, ascending within a group.
        how: per pair of a group's images (smaller index first) how they are alike.
        possible: pairs that are not certain, and their similarity.
    """

    def __init__(
        self,
        groups: Sequence[tuple[int, ...]],
        how: Mapping[tuple[int, int], str],
        possible: Mapping[tuple[int, int], float],
    ) -> None:
        self.groups, self.how, self.possible = tuple(groups), dict(how), dict(possible)

    def __repr__(self) -> str:
        return f"Copies({len(self.groups)} groups, {len(self.possible)} pairs to look at)"

    def words(self, group: Sequence[int]) -> str:
        """How the images of a group are alike: the loosest of its ties."""
        inside = set(group)
        ties = {how for (a, b), how in self.how.items() if a in inside and b in inside}
        return next(how for how in (_CHANGED, _PIXELS, _BYTES) if how in ties)


_BYTES, _PIXELS, _CHANGED = "the same file", "the same pixels", "the same picture, changed"


def copies(ds: Dataset, checked: Sequence[Checked]) -> Copies:
    """Find them among the readable images.

    Args:
        ds: the images.
        checked: verdicts on them, with hashes and prints.
    """
    how: dict[tuple[int, int], str] = {}
    first: dict[str, int] = {}
    for i, verdict in enumerate(checked):
        if verdict.reason is None and verdict.content_hash is not None:
            earlier = first.setdefault(verdict.content_hash, i)
            if earlier != i:
                how[earlier, i] = _BYTES
    lone = list(first.values())
    found = near_pairs([checked[i].look for i in lone])
    possible: dict[tuple[int, int], float] = {}
    for (a, b), alike in zip(found.pairs, found.similarity, strict=True):
        low, high = sorted((lone[a], lone[b]))
        if alike < found.certain:
            possible[low, high] = float(alike)
        else:
            same = alike >= _SAME_LOOK and _same_pixels(ds, low, high)
            how[low, high] = _PIXELS if same else _CHANGED
    return Copies(groups_of(list(how)), how, possible)


def findings(ds: Dataset, found: Copies, favoured: npt.NDArray[np.int64] | None) -> list[Finding]:
    """Conflicts, leaks and copies.

    Args:
        ds: the images.
        found: groups of them.
        favoured: per sample the class index that all other images favour, or -1.
    """
    results = []
    default = "train" if any(sample.split for sample in ds.samples) else None  # as in a split
    for group in found.groups:
        labels = {ds.samples[i].target for i in group} - {None}
        splits = {ds.samples[i].split or default for i in group} - {None}
        how = found.words(group)
        if len(labels) > 1:
            results.append(_conflict(ds, group, how, favoured))
        if len(splits) > 1:
            results.append(_leak(ds, group, how, splits))
        if len(labels) < 2 and len(splits) < 2:
            cases = tuple(_case(ds, i, "drop" if n else "keep") for n, i in enumerate(group))
            results.append(Finding("copy", how, float(_CERTAINTY[how]), cases))
    return results


def review(ds: Dataset, found: Copies, alike: Sequence[tuple[int, int, float]]) -> list[Finding]:
    """Pairs that may be one picture, most alike first, none of them in one group already.

    Args:
        ds: the images.
        found: groups, and pairs by their prints.
        alike: pairs by their features, with the cosine.
    """
    group = {i: number for number, members in enumerate(found.groups) for i in members}
    pairs: dict[tuple[int, int], tuple[float, str]] = {}
    for pair, value in found.possible.items():
        pairs[pair] = (value, f"alike at a glance ({value:.2f})")
    for a, b, value in alike:
        earlier = pairs.get((a, b), (0.0, ""))
        pairs[a, b] = max(earlier, (value, f"alike by features ({value:.2f})"))
    kept = {
        (a, b): each
        for (a, b), each in pairs.items()
        if a not in group or b not in group or group[a] != group[b]
    }
    best = sorted(kept.items(), key=lambda each: -each[1][0])[:_REVIEWED]
    return [
        Finding("review", words, value, (_case(ds, a), _case(ds, b)))
        for (a, b), (value, words) in best
    ]


_CERTAINTY = {_BYTES: 3, _PIXELS: 2, _CHANGED: 1}


def _case(ds: Dataset, i: int, action: Action = "keep", caption: str = "", new: int = -1) -> Case:
    sample = ds.samples[i]
    label = None if sample.target is None else ds.classes[sample.target]
    proposed = ds.classes[new] if new >= 0 else None
    return Case(sample.path, label, sample.split, caption, action, proposed)


def _conflict(
    ds: Dataset, group: Sequence[int], how: str, favoured: npt.NDArray[np.int64] | None
) -> Finding:
    cases = []
    for i in group:
        best = -1 if favoured is None else int(favoured[i])
        differs = best >= 0 and best != ds.samples[i].target
        caption = "" if best < 0 else f"the others say {ds.classes[best]}"
        cases.append(_case(ds, i, caption=caption, new=best if differs else -1))
    return Finding("conflict", f"{how}, {len({c.label for c in cases})} labels",
                   float(_CERTAINTY[how]), tuple(cases))  # fmt: skip


def _leak(ds: Dataset, group: Sequence[int], how: str, splits: set[str | None]) -> Finding:
    held = "test" if "test" in splits else "val"
    cases = tuple(_case(ds, i, "keep" if ds.samples[i].split == held else "drop") for i in group)
    names = " and ".join(sorted(str(name) for name in splits))
    return Finding("leak", f"{how}, in {names}", float(_CERTAINTY[how]), cases)


def _same_pixels(ds: Dataset, a: int, b: int) -> bool:
    try:
        one, other = decode(ds.path(a)), decode(ds.path(b))
    except ImageError:
        return False
    return one.size == other.size and one.tobytes() == other.tobytes()
