"""What a person should know about a split, in sentences: sizes, copies, groups, classes.

Nothing is decided here; `splits` decides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bowerbird.data.dataset import SPLITS, Dataset

__all__ = ["about", "plural", "provenance"]

Assignment = Sequence[str | None]


def about(
    ds: Dataset,
    assignment: Assignment,
    hashes: Sequence[str | None],
    together: Sequence[Sequence[int]] = (),
) -> Iterable[str]:
    """Sentences on copies, groups, images that look alike, and classes without an image."""
    yield from _copies(ds, assignment, hashes)
    yield from _groups(ds, assignment)
    yield from _alike(ds, assignment, hashes, together)
    yield from _classes(ds, assignment)


def provenance(
    assignment: Assignment, given: Mapping[int, str], amounts: Mapping[str, float]
) -> Iterable[str]:
    """Sentences on where validation and test images come from."""
    sizes = Counter(assignment)
    for name in ("val", "test"):
        if name in amounts:
            amount = amounts[name]
            how = f"a share of {amount:.3g}" if amount < 1 else f"{amount:g} per class"
            yield f"{name}: {plural(sizes[name], 'image')}, {how} of those not held out by DATA."
        elif name in given.values():
            yield f"{name}: {plural(sizes[name], 'image')}, as given."
        else:
            yield f"{name}: none."


def plural(count: int, noun: str) -> str:
    """A number of things.

    >>> plural(1, "image"), plural(2, "image")
    ('1 image', '2 images')
    """
    return f"{count} {noun}{'s' * (count != 1)}"


def _copies(ds: Dataset, assignment: Assignment, hashes: Sequence[str | None]) -> Iterable[str]:
    copies: dict[str, list[int]] = defaultdict(list)
    for i, content_hash in enumerate(hashes):
        if content_hash is not None and assignment[i] is not None:
            copies[content_hash].append(i)
    sets = [unit for unit in copies.values() if len(unit) > 1]
    parts = [{assignment[i] for i in unit} for unit in sets]
    held_out = sum(places == {"val", "test"} for places in parts)
    unlike = [u for u in sets if len({ds.samples[i].target for i in u}) > 1]
    if together := sum(len(places) == 1 for places in parts):
        yield f"{plural(together, 'set')} of exact copies kept together in one split."
    learned = {h for h, part in zip(hashes, assignment, strict=True) if part == "train"}
    for name in ("val", "test"):
        leaked = [i for i, part in enumerate(assignment) if part == name and hashes[i] in learned]
        if leaked:
            yield (
                f"Of the {name} images, {len(leaked)} can be found in training as exact copies, "
                f"as given, e.g. {ds.samples[leaked[0]].path}."
            )
    if held_out:
        yield f"{plural(held_out, 'set')} of exact copies straddle val and test, as given."
    if unlike:
        pair = ", ".join(ds.samples[i].path for i in unlike[0][:2])
        yield f"{plural(len(unlike), 'set')} of exact copies with different labels, e.g. {pair}."


def _groups(ds: Dataset, assignment: Assignment) -> Iterable[str]:
    places: dict[str, Counter[str]] = defaultdict(Counter)
    alone = 0
    for sample, part in zip(ds.samples, assignment, strict=True):
        if part is not None and sample.group is not None:
            places[sample.group][part] += 1
        alone += part is not None and sample.group is None
    if not places:
        return
    largest = max(sorted(places), key=lambda group: places[group].total())
    rest = f"; {plural(alone, 'image')} in none" if alone else ""
    yield (
        f"{plural(len(places), 'group')} of images that stay together, the largest "
        f"{largest!r} with {plural(places[largest].total(), 'image')}{rest}."
    )
    straddling = sorted(group for group, parts in places.items() if len(parts) > 1)
    if straddling:
        yield (
            f"Of the groups, {len(straddling)} straddle the given splits, e.g. "
            f"{straddling[0]!r}: scores may flatter."
        )


def _alike(
    ds: Dataset,
    assignment: Assignment,
    hashes: Sequence[str | None],
    together: Sequence[Sequence[int]],
) -> Iterable[str]:
    """On the sets that aren't just exact copies, of which `_copies` has told."""
    used = [sorted({i for i in unit if assignment[i] is not None}) for unit in together]
    sets = [unit for unit in used if len({hashes[i] for i in unit}) > 1]
    straddling = [unit for unit in sets if len({assignment[i] for i in unit}) > 1]
    if kept := len(sets) - len(straddling):
        yield f"{plural(kept, 'set')} of images that look alike kept together in one split."
    if straddling:
        first = straddling[0]
        other = next(i for i in first if assignment[i] != assignment[first[0]])
        pair = f"{ds.samples[first[0]].path} ({assignment[first[0]]})"
        pair += f" and {ds.samples[other].path} ({assignment[other]})"
        yield (
            f"{plural(len(straddling), 'set')} of images that look alike straddle the given "
            f"splits, e.g. {pair}: scores may flatter."
        )


def _classes(ds: Dataset, assignment: Assignment) -> Iterable[str]:
    present: dict[str, set[int | None]] = defaultdict(set)
    for sample, part in zip(ds.samples, assignment, strict=True):
        if part is not None:
            present[part].add(sample.target)
    for part in (name for name in SPLITS if name in present):
        absent = [name for t, name in enumerate(ds.classes) if t not in present[part]]
        if absent:
            yield f"{part} holds no image of {', '.join(map(repr, absent[:8]))}."
