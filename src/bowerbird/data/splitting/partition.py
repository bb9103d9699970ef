"""Puts units of images into splits so that every class gets its share in each.

A unit is a tuple of sample indices that stay together. Its content is how many images of
each class it holds.

Decisions:
- Shares become whole numbers so that each class is within one image of its share and the
  sum over the classes is, too; every class gets at least one image per split.
- Units go, largest first and else in the order of their keys, to where most images of their
  classes are missing. After Sechidis, Tsoumakas, Vlahavas: On the stratification of
  multi-label data (2011); differs: whole units instead of images, and all classes of a unit
  at once instead of the rarest first. Sizes come out right at the price that the largest
  units tend to be for training.
- Where that leaves a class out of a split, a small unit is moved there.
- Folds are dealt in the same way: each is to have its k-th part of every class, and what
  doesn't divide goes to the next fold in turn, so that folds are of one size, too.

What a unit is for, what is asked and whether there is enough of it is decided in `splits`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bowerbird.data.dataset import Dataset

__all__ = ["dealt", "distribute", "rounded", "total", "units_of"]


def units_of(
    ds: Dataset,
    hashes: Sequence[str | None],
    pool: Sequence[int],
    together: Sequence[Sequence[int]] = (),
) -> list[tuple[int, ...]]:
    """Samples of `pool` that stay together: one group, the same bytes, or a chain of these.

    `together` are further sets of samples that do; what of them isn't in the pool is passed
    over. Each unit is sorted by path, and the units are by their first paths.
    """
    parent = {i: i for i in pool}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    seen: dict[tuple[str, str], int] = {}
    ordered = sorted(pool, key=lambda i: ds.samples[i].path)
    for i in ordered:
        for tie in (("group", ds.samples[i].group), ("copy", hashes[i])):
            if tie[1] is not None:
                parent[root(i)] = root(seen.setdefault((tie[0], tie[1]), i))
    for alike in together:
        inside = [i for i in alike if i in parent]
        for i in inside[1:]:
            parent[root(i)] = root(inside[0])
    members: dict[int, list[int]] = defaultdict(list)
    for i in ordered:
        members[root(i)].append(i)
    return [tuple(unit) for unit in members.values()]


def total(contents: Iterable[Counter[int]]) -> Counter[int]:
    """Images per class in all units together."""
    images: Counter[int] = Counter()
    for content in contents:
        images.update(content)
    return images


def rounded(
    contents: Sequence[Counter[int]], classes: int, amounts: Mapping[str, float]
) -> dict[str, list[int]]:
    """Images per split and class for shares below 1 or numbers per class; train is the rest.

    >>> rounded([Counter({0: 10}), Counter({1: 10})], 2, {"val": 0.15})
    {'train': [8, 9], 'val': [2, 1]}
    """
    images = total(contents)
    rest = [images[target] for target in range(classes)]
    counts: dict[str, list[int]] = {}
    for number, (name, amount) in enumerate(amounts.items()):
        still_needed = len(amounts) - number
        counts[name] = _rounded(amount, images, rest, still_needed)
        rest = [have - taken for have, taken in zip(rest, counts[name], strict=True)]
    return {"train": rest, **counts}


def _rounded(
    amount: float, images: Mapping[int, int], rest: Sequence[int], still_needed: int
) -> list[int]:
    """One split's count per class; what rounding loses in one class, the next makes up for."""
    due, taken = 0.0, 0
    counts: list[int] = []
    for target, have in enumerate(rest):
        share = amount * images[target] if amount < 1 else amount
        due += share
        low, high = max(1, int(share)), int(share) + (share > int(share))
        count = max(low, min(round(due) - taken, high))
        count = max(0, min(count, have - still_needed))
        taken += count
        counts.append(count)
    return counts


def dealt(contents: Sequence[Counter[int]], classes: int, k: int) -> dict[str, list[int]]:
    """Images per fold (``"1"`` to ``"k"``) and class, as even as whole images can be.

    >>> dealt([Counter({0: 5, 1: 7})], 2, 3)
    {'1': [2, 2], '2': [2, 2], '3': [1, 3]}
    """
    images, turn = total(contents), 0
    counts = [[images[target] // k for target in range(classes)] for _ in range(k)]
    for target in range(classes):
        for _ in range(images[target] % k):
            counts[turn % k][target] += 1
            turn += 1
    return {str(fold + 1): count for fold, count in enumerate(counts)}


def distribute(
    contents: Sequence[Counter[int]],
    keys: Sequence[str],
    targets: Mapping[str, Sequence[int]],
) -> list[str]:
    """The split of each unit.

    Args:
        contents: images per class in each unit.
        keys: one per unit; among units of one size, this is the order they come in.
        targets: images wanted per split and class.
    """
    order = sorted(range(len(contents)), key=lambda u: (-contents[u].total(), keys[u]))
    missing = {name: list(counts) for name, counts in targets.items()}
    places = [""] * len(contents)
    for u in order:
        content = contents[u]
        scores = {name: sum(n * m[t] for t, n in content.items()) for name, m in missing.items()}
        places[u] = max(scores, key=lambda name: scores[name])
        for target, n in content.items():
            missing[places[u]][target] -= n
    _repair(contents, order, places, list(targets))
    return places


def _repair(
    contents: Sequence[Counter[int]], order: Sequence[int], places: list[str], names: Sequence[str]
) -> None:
    """Give every split a unit of every class, where large units left one without.

    Moves the smallest unit that its own split can spare: no class may vanish from there.
    """
    have = {name: Counter[int]() for name in names}
    holders: dict[int, list[int]] = defaultdict(list)
    for u in reversed(order):
        have[places[u]].update(contents[u].keys())
        for target in contents[u]:
            holders[target].append(u)
    for target, units in sorted(holders.items()):
        for name in names:
            if have[name][target]:
                continue
            spare = (u for u in units if all(have[places[u]][t] > 1 for t in contents[u]))
            u = next(spare, -1)
            if u >= 0:
                have[places[u]].subtract(contents[u].keys())
                places[u] = name
                have[name].update(contents[u].keys())
