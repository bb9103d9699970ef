"""Decides once which images are for training, validation and test.

Decisions:
- What may not be separated forms a unit: images of one group, images with the same bytes,
  and whatever hangs together through both.
- Splits given by the source stay as they are; only what is missing is taken from the
  training images. Rows without a split, where others have one, are training images. A
  source that gives nothing but training images counts as giving no splits.
- Shares are met per class as closely as whole units allow: see `partition`.
- The order is drawn by hashing the seed with a unit's first path, so it depends neither on
  the order of the source nor on the version of a library, and images that are added later
  hardly move the others.
- A class needs a unit for each part that is taken from it: three for training, validation
  and test. Classes with fewer are an error that names them: nothing is guessed, since no
  score could be given for them.
- Copies that straddle given splits are reported, not moved: see `Split.leaked`.

Nothing here reads pixels; `checks` does. Writing it down is done in `manifest`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bowerbird import storage
from bowerbird.data.checks import Checked, check
from bowerbird.data.dataset import SPLITS, Dataset, Problem
from bowerbird.data.partition import distribute, rounded, total, units_of
from bowerbird.errors import ConfigError, DataError

__all__ = ["DEFAULT_SHARE", "Split", "split"]

DEFAULT_SHARE = 0.15
"""Share of the images for validation, and for test, where nothing else is said."""


@dataclass(frozen=True)
class Split:
    """Which sample is for what.

    Attributes:
        assignment: per sample of the dataset ``"train"``, ``"val"``, ``"test"``, or None
            where it is left out.
        hashes: per sample the hash of its bytes, or None where they can't be read.
        seed: what the order was drawn from.
        problems: the samples left out, and why.
        notes: what a person should know about the split, in sentences.
    """

    assignment: tuple[str | None, ...]
    hashes: tuple[str | None, ...]
    seed: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        sizes = Counter(self.assignment)
        parts = [f"{sizes[name]} {name}" for name in SPLITS]
        parts += [f"{sizes[None]} left out"] if sizes[None] else []
        return f"Split({', '.join(parts)})"

    def indices(self, name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Indices of the samples in ``"train"``, ``"val"`` or ``"test"``, ascending.

        Raises:
            ConfigError: there is no split of that name.
        """
        if name not in SPLITS:
            raise ConfigError(f"There is no split {name!r}. Expected one of {', '.join(SPLITS)}.")
        return np.array([i for i, part in enumerate(self.assignment) if part == name], np.int64)

    def counts(self, ds: Dataset) -> dict[str, dict[str, int]]:
        """Images per split and class."""
        table = {name: dict.fromkeys(ds.classes, 0) for name in SPLITS}
        for sample, part in zip(ds.samples, self.assignment, strict=True):
            if part is not None and sample.target is not None:
                table[part][ds.classes[sample.target]] += 1
        return table

    @cached_property
    def leaked(self) -> tuple[int, ...]:
        """Indices of validation and test samples whose bytes also occur in training."""
        return self.copies_of(("train",))

    def copies_of(self, learned: Sequence[str]) -> tuple[int, ...]:
        """Indices of the samples outside the splits `learned` whose bytes also occur there."""
        seen = {h for h, part in self._parts() if part in learned}
        return tuple(
            i
            for i, (h, part) in enumerate(self._parts())
            if part is not None and part not in learned and h in seen
        )

    def to_dict(self) -> dict[str, Any]:
        """Sizes, seed, problems, notes and leaked indices for JSON."""
        sizes = Counter(self.assignment)
        return {
            "sizes": {name: sizes[name] for name in SPLITS},
            "seed": self.seed,
            "problems": [{"path": p.path, "reason": p.reason} for p in self.problems],
            "notes": list(self.notes),
            "leaked": list(self.leaked),
        }

    def _parts(self) -> list[tuple[str | None, str | None]]:
        return list(zip(self.hashes, self.assignment, strict=True))


def split(
    ds: Dataset,
    val: float | None = None,
    test: float | None = None,
    seed: int = 0,
    checked: Sequence[Checked] | None = None,
) -> Split:
    """Split a labelled dataset.

    Args:
        ds: the images.
        val: a share below 1, or that many images per class, or 0 for none. None: as the
            source gives it, else `DEFAULT_SHARE`.
        test: the same; with None there is none if the source gives validation but no test.
        seed: which of the possible splits.
        checked: verdicts on the samples, if `check` has been called already.

    Raises:
        ConfigError: `val` or `test` can't be what was meant.
        DataError: nothing is labelled, nothing is readable, or a class is too small.
    """
    if not ds.classes:
        raise DataError(f"The images in {ds.root} have no labels, so they can't be split.")
    if checked is None:
        checked = check([ds.path(i) for i in range(len(ds))])
    readable = [i for i in range(len(ds)) if checked[i].reason is None]
    if not readable:
        raise DataError(f"None of the {len(ds)} images in {ds.root} can be read. {_first(checked)}")
    hashes = tuple(verdict.content_hash for verdict in checked)
    given = _given(ds, readable)
    amounts = _amounts(given, val, test)
    pool = [i for i in readable if given.get(i, "train") == "train"]
    units = units_of(ds, hashes, pool)
    parts = _carved(ds, units, amounts, seed)
    assigned = {i: given.get(i, "train") for i in readable} | parts
    assignment = tuple(assigned.get(i) for i in range(len(ds)))
    problems = tuple(
        Problem(ds.samples[i].path, verdict.reason)
        for i, verdict in enumerate(checked)
        if verdict.reason is not None
    )
    plain = Split(assignment, hashes, seed, problems)
    return Split(assignment, hashes, seed, problems, _notes(ds, plain, given, amounts))


def _first(checked: Sequence[Checked]) -> str:
    reasons = Counter(verdict.reason for verdict in checked)
    return "Found: " + ", ".join(f"{n} × {reason}" for reason, n in reasons.most_common(3)) + "."


def _given(ds: Dataset, readable: Iterable[int]) -> dict[int, str]:
    """What the source says of each sample; empty if it says nothing but train."""
    parts = {i: ds.samples[i].split or "train" for i in readable}
    return parts if set(parts.values()) - {"train"} else {}


def _amounts(given: Mapping[int, str], val: float | None, test: float | None) -> dict[str, float]:
    """How much is to be taken from the training images, by split."""
    present = set(given.values())
    if given and "train" not in present:
        raise DataError(
            f"The source gives {' and '.join(sorted(present))} images, but none for training. "
            "Add some, or remove the splits."
        )
    _plausible("val", val)
    _plausible("test", test)
    asked = {"val": val, "test": test}
    for name in sorted(present & {n for n, amount in asked.items() if amount is not None}):
        raise ConfigError(
            f"The data gives its own {name} images, so {name}={asked[name]:g} can't be honoured. "
            f"Leave --{name} out, or name a table or folder that gives no splits."
        )
    usual = {"val": DEFAULT_SHARE, "test": 0.0 if given else DEFAULT_SHARE}
    wanted = {name: usual[name] if amount is None else amount for name, amount in asked.items()}
    amounts = {name: a for name, a in wanted.items() if a and name not in present}
    shares = [amount for amount in amounts.values() if amount < 1]
    if sum(shares) >= 1:
        raise ConfigError(
            f"val and test together are {sum(shares):g}: nothing is left to train on."
        )
    return amounts


def _plausible(name: str, amount: float | None) -> None:
    if amount is None or 0 <= amount < 1 or (amount >= 1 and float(amount).is_integer()):
        return
    raise ConfigError(
        f"{name} must be a share below 1, e.g. 0.15, or a whole number of images per class, "
        f"e.g. 20. Found: {amount!r}."
    )


def _carved(
    ds: Dataset, units: Sequence[tuple[int, ...]], amounts: Mapping[str, float], seed: int
) -> dict[int, str]:
    """Split per sample of the training pool."""
    contents = [
        Counter(t for i in unit if (t := ds.samples[i].target) is not None) for unit in units
    ]
    _large_enough(ds, contents, amounts)
    if not amounts:
        return {}
    keys = [storage.hash_bytes(f"{seed}\0{ds.samples[unit[0]].path}".encode()) for unit in units]
    places = distribute(contents, keys, rounded(contents, len(ds.classes), amounts))
    return {i: places[u] for u, unit in enumerate(units) for i in unit}


def _large_enough(
    ds: Dataset, contents: Sequence[Counter[int]], amounts: Mapping[str, float]
) -> None:
    units = Counter(target for content in contents for target in content)
    images = total(contents)
    least = 1 + len(amounts)
    wanted = 1 + sum(int(amount) for amount in amounts.values() if amount >= 1)
    wanted += sum(1 for amount in amounts.values() if amount < 1)
    present = range(len(ds.classes)) if amounts else ()
    small = [t for t in present if units[t] < least or images[t] < wanted]
    if not small:
        return
    names = ", ".join(f"{ds.classes[t]!r} ({_plural(images[t], 'image')})" for t in small[:8])
    more = f" and {len(small) - 8} more" if len(small) > 8 else ""
    parts = " and ".join(("training", *amounts))
    options = " ".join(f"--{name} 0" for name in amounts)
    raise DataError(
        f"{len(small)} of {len(ds.classes)} classes are too small to split: {names}{more}. "
        f"{parts.capitalize()} need at least {max(least, wanted)} readable images per class that "
        "are neither copies nor of one group. Add images, remove these classes, or hold out "
        f"less ({options})."
    )


def _notes(
    ds: Dataset, result: Split, given: Mapping[int, str], amounts: Mapping[str, float]
) -> tuple[str, ...]:
    return (
        *_provenance(result, given, amounts),
        *_about_copies(ds, result),
        *_about_groups(ds, result),
        *_about_classes(ds, result),
    )


def _provenance(
    result: Split, given: Mapping[int, str], amounts: Mapping[str, float]
) -> Iterable[str]:
    sizes = Counter(result.assignment)
    for name in ("val", "test"):
        if name in amounts:
            amount = amounts[name]
            how = f"a share of {amount:.3g}" if amount < 1 else f"{amount:g} per class"
            yield f"{name}: {_plural(sizes[name], 'image')}, {how} of those not held out by DATA."
        elif name in given.values():
            yield f"{name}: {_plural(sizes[name], 'image')}, as given."
        else:
            yield f"{name}: none."
    if result.problems:
        yield f"{_plural(len(result.problems), 'image')} left out: can't be read."


def _about_copies(ds: Dataset, result: Split) -> Iterable[str]:
    copies: dict[str, list[int]] = defaultdict(list)
    for i, content_hash in enumerate(result.hashes):
        if content_hash is not None and result.assignment[i] is not None:
            copies[content_hash].append(i)
    sets = [unit for unit in copies.values() if len(unit) > 1]
    together = [u for u in sets if len({result.assignment[i] for i in u}) == 1]
    held_out = [u for u in sets if {result.assignment[i] for i in u} == {"val", "test"}]
    unlike = [u for u in sets if len({ds.samples[i].target for i in u}) > 1]
    if together:
        yield f"{_plural(len(together), 'set')} of exact copies kept together in one split."
    for name in ("val", "test"):
        leaked = [i for i in result.leaked if result.assignment[i] == name]
        if leaked:
            yield (
                f"Of the {name} images, {len(leaked)} can be found in training as exact copies, "
                f"as given, e.g. {ds.samples[leaked[0]].path}."
            )
    if held_out:
        yield f"{_plural(len(held_out), 'set')} of exact copies straddle val and test, as given."
    if unlike:
        pair = ", ".join(ds.samples[i].path for i in unlike[0][:2])
        yield f"{_plural(len(unlike), 'set')} of exact copies with different labels, e.g. {pair}."


def _about_groups(ds: Dataset, result: Split) -> Iterable[str]:
    groups: dict[str, set[str]] = defaultdict(set)
    for sample, part in zip(ds.samples, result.assignment, strict=True):
        if sample.group is not None and part is not None:
            groups[sample.group].add(part)
    straddling = sorted(group for group, parts in groups.items() if len(parts) > 1)
    if straddling:
        yield (
            f"Of the groups, {len(straddling)} straddle the given splits, e.g. "
            f"{straddling[0]!r}: scores may flatter."
        )


def _about_classes(ds: Dataset, result: Split) -> Iterable[str]:
    counts = result.counts(ds)
    used = [name for name in SPLITS if any(counts[name].values())]
    for part in used:
        absent = [name for name, count in counts[part].items() if not count]
        if absent:
            yield f"{part} holds no image of {', '.join(map(repr, absent[:8]))}."


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
