"""Decides once which images are for training, validation and test.

Decisions:
- What may not be separated forms a unit: images of one group, images with the same bytes,
  sets that the caller names (near-duplicates), and whatever hangs together through these.
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
- Folds are made of all that isn't test, given validation images among it. There is a test
  split only if one is given or asked for, and it is the same for every fold. Each class
  needs a unit per fold.

Nothing here reads pixels; `checks` does. Which classes are too small is found out in `enough`,
what is told of a split is in `split_notes`, the groups come from `groups`, and writing a split
down is done in `manifest` and `split_table`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bowerbird import storage
from bowerbird.config import SplitConfig
from bowerbird.data import prints
from bowerbird.data.checks import Checked, check
from bowerbird.data.dataset import SPLITS, Dataset, Problem
from bowerbird.data.splitting.enough import enough_for, enough_for_folds
from bowerbird.data.splitting.notes import about, plural, provenance
from bowerbird.data.splitting.partition import dealt, distribute, rounded, units_of
from bowerbird.errors import ConfigError, DataError

__all__ = ["DEFAULT_SHARE", "Split", "folds", "hold_out", "split"]

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
        alike: sets of indices of samples that stay together, or that straddle a given split:
            near-duplicates, and what the caller has named.
    """

    assignment: tuple[str | None, ...]
    hashes: tuple[str | None, ...]
    seed: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    alike: tuple[tuple[int, ...], ...] = ()

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
        """Indices of validation and test samples whose picture also occurs in training."""
        return self.copies_of(("train",))

    def copies_of(self, learned: Sequence[str]) -> tuple[int, ...]:
        """Indices of the samples outside the splits `learned` whose picture also occurs there.

        The same bytes, or a near-duplicate.
        """
        inside = [part in learned for part in self.assignment]
        seen = {h for h, mine in zip(self.hashes, inside, strict=True) if mine}
        near = {i for unit in self.alike if any(inside[j] for j in unit) for i in unit}
        return tuple(
            i
            for i, part in enumerate(self.assignment)
            if part is not None and not inside[i] and (self.hashes[i] in seen or i in near)
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


def split(
    ds: Dataset,
    val: float | None = None,
    test: float | None = None,
    seed: int = 0,
    checked: Sequence[Checked] | None = None,
    together: Sequence[Sequence[int]] = (),
) -> Split:
    """Split a labelled dataset.

    Args:
        ds: the images.
        val: a share below 1, or that many images per class, or 0 for none. None: as the
            source gives it, else `DEFAULT_SHARE`.
        test: the same; with None there is none if the source gives validation but no test.
        seed: which of the possible splits.
        checked: verdicts on the samples, if `check` has been called already.
        together: sets of indices of samples that stay together, besides those of one group,
            those with the same bytes, and near-duplicates.

    Raises:
        ConfigError: `val`, `test` or `together` can't be what was meant.
        DataError: nothing is labelled, nothing is readable, or a class is too small.
    """
    checked = _verdicts(ds, checked, together)
    together = (*together, *prints.near_groups([verdict.look for verdict in checked]))
    hashes = tuple(verdict.content_hash for verdict in checked)
    readable = [i for i in range(len(ds)) if checked[i].reason is None]
    given = _given(ds, readable)
    amounts = _amounts(given, val, test)
    pool = [i for i in readable if given.get(i, "train") == "train"]
    units = units_of(ds, hashes, pool, together)
    parts = _carved(ds, units, amounts, seed)
    assigned = {i: given.get(i, "train") for i in readable} | parts
    result = _split(ds, assigned, checked, seed)
    origin = provenance(result.assignment, given, amounts)
    return _noted(ds, result, together, origin)


def folds(
    ds: Dataset,
    k: int,
    test: float | None = None,
    seed: int = 0,
    checked: Sequence[Checked] | None = None,
    together: Sequence[Sequence[int]] = (),
) -> tuple[Split, ...]:
    """Split a labelled dataset k times, so that each image is validation once.

    Classes have the same share in every fold, as closely as whole units allow. Test images
    are the same in every fold, and never training or validation.

    Args:
        ds: the images.
        k: number of folds.
        test: a share below 1, or that many images per class. None: as the source gives it,
            else none.
        seed: which of the possible folds.
        checked: as for `split`.
        together: as for `split`.

    Raises:
        ConfigError: `k`, `test` or `together` can't be what was meant.
        DataError: nothing is labelled, nothing is readable, or a class is too small.
    """
    if k < 2:
        raise ConfigError(f"Cross-validation needs 2 folds or more. Found: {k}.")
    checked = _verdicts(ds, checked, together)
    together = (*together, *prints.near_groups([verdict.look for verdict in checked]))
    hashes = tuple(verdict.content_hash for verdict in checked)
    readable = [i for i in range(len(ds)) if checked[i].reason is None]
    given = _given(ds, readable)
    merged = {i: "test" if part == "test" else "train" for i, part in given.items()}
    held_out = 0.0 if test is None and "test" not in given.values() else test
    amounts = _amounts(merged, 0.0, held_out)
    pool = [i for i in readable if merged.get(i, "train") == "train"]
    units = units_of(ds, hashes, pool, together)
    tested = merged | _carved(ds, units, amounts, seed)
    units = [unit for unit in units if tested.get(unit[0], "train") == "train"]
    places = _dealt(ds, units, k, seed)
    found: list[Split] = []
    for fold in range(1, k + 1):
        chosen = {i: "val" if places[i] == str(fold) else "train" for unit in units for i in unit}
        result = _split(ds, dict.fromkeys(readable, "test") | chosen, checked, seed)
        origin = _about_fold(result, fold, k, given, amounts)
        found.append(_noted(ds, result, together, origin))
    return tuple(found)


def hold_out(
    ds: Dataset,
    config: SplitConfig,
    checked: Sequence[Checked] | None = None,
    together: Sequence[Sequence[int]] = (),
) -> tuple[Split, ...]:
    """Split as the settings say: once, or k times where they say folds and choose none.

    Raises:
        ConfigError: as for `split` and `folds`.
        DataError: as for `split` and `folds`.
    """
    if config.folds is None:
        return (split(ds, config.val, config.test, config.split_seed, checked, together),)
    found = folds(ds, config.folds, config.test, config.split_seed, checked, together)
    return found if config.fold is None else (found[config.fold - 1],)


def _verdicts(
    ds: Dataset, checked: Sequence[Checked] | None, together: Sequence[Sequence[int]]
) -> Sequence[Checked]:
    """Verdicts on all samples, of which some must be good."""
    if not ds.classes:
        raise DataError(f"The images in {ds.root} have no labels, so they can't be split.")
    outside = [i for unit in together for i in unit if not 0 <= i < len(ds)]
    if outside:
        raise ConfigError(
            f"together names sample {outside[0]}, but the dataset holds 0 to {len(ds) - 1}."
        )
    if checked is None:
        checked = check([ds.path(i) for i in range(len(ds))])
    if all(verdict.reason is not None for verdict in checked):
        raise DataError(f"None of the {len(ds)} images in {ds.root} can be read. {_first(checked)}")
    return checked


def _split(
    ds: Dataset, assigned: Mapping[int, str], checked: Sequence[Checked], seed: int
) -> Split:
    problems = tuple(
        Problem(sample.path, verdict.reason)
        for sample, verdict in zip(ds.samples, checked, strict=True)
        if verdict.reason is not None
    )
    assignment = tuple(assigned.get(i) for i in range(len(ds)))
    return Split(assignment, tuple(verdict.content_hash for verdict in checked), seed, problems)


def _noted(
    ds: Dataset, result: Split, together: Sequence[Sequence[int]], origin: Iterable[str]
) -> Split:
    words = list(origin)
    if result.problems:
        words.append(f"{plural(len(result.problems), 'image')} left out: can't be read.")
    words += about(ds, result.assignment, result.hashes, together)
    if len(ds) > prints.SEARCHED:
        words.append(
            f"Among more than {prints.SEARCHED:,} images, only exact copies are looked for; "
            "bowerbird audit finds the others."
        )
    return replace(result, notes=tuple(words), alike=tuple(map(tuple, together)))


def _about_fold(
    result: Split, fold: int, k: int, given: Mapping[int, str], amounts: Mapping[str, float]
) -> Iterable[str]:
    yield f"Fold {fold} of {k}: {plural(len(result.indices('val')), 'image')} for validation."
    if "val" in given.values():
        yield "The validation images that DATA gives are dealt into the folds, too."
    yield from list(provenance(result.assignment, given, amounts))[1:]


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
    contents = _contents(ds, units)
    enough_for(ds, contents, amounts)
    if not amounts:
        return {}
    places = distribute(
        contents, _keys(ds, units, seed), rounded(contents, len(ds.classes), amounts)
    )
    return {i: places[u] for u, unit in enumerate(units) for i in unit}


def _dealt(ds: Dataset, units: Sequence[tuple[int, ...]], k: int, seed: int) -> dict[int, str]:
    """Fold per sample, ``"1"`` to ``"k"``."""
    contents = _contents(ds, units)
    enough_for_folds(ds, contents, k)
    places = distribute(contents, _keys(ds, units, seed), dealt(contents, len(ds.classes), k))
    return {i: places[u] for u, unit in enumerate(units) for i in unit}


def _contents(ds: Dataset, units: Sequence[tuple[int, ...]]) -> list[Counter[int]]:
    """Images per class in each unit."""
    targets = [sample.target for sample in ds.samples]
    return [Counter(t for i in unit if (t := targets[i]) is not None) for unit in units]


def _keys(ds: Dataset, units: Sequence[tuple[int, ...]], seed: int) -> list[str]:
    return [storage.hash_bytes(f"{seed}\0{ds.samples[unit[0]].path}".encode()) for unit in units]
