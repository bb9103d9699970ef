"""Refuses splits and folds that a class is too small for, and says which classes.

What may not be separated counts once: a class of ten copies of one image is as small as one
of a single image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bowerbird.data.dataset import Dataset
from bowerbird.data.splitting.notes import plural
from bowerbird.data.splitting.partition import total
from bowerbird.errors import DataError

__all__ = ["enough_for", "enough_for_folds"]


def enough_for(ds: Dataset, contents: Sequence[Counter[int]], amounts: Mapping[str, float]) -> None:
    """Refuse to take `amounts` where that leaves a class out of a part.

    Args:
        ds: the images.
        contents: images per class in each unit.
        amounts: shares below 1 or numbers per class, by split.

    Raises:
        DataError: classes are too small; they are named.
    """
    units = Counter(target for content in contents for target in content)
    images = total(contents)
    least = 1 + len(amounts)
    wanted = 1 + sum(int(amount) for amount in amounts.values() if amount >= 1)
    wanted += sum(1 for amount in amounts.values() if amount < 1)
    present = range(len(ds.classes)) if amounts else ()
    small = [t for t in present if units[t] < least or images[t] < wanted]
    if not small:
        return
    parts = " and ".join(("training", *amounts))
    options = " ".join(f"--{name} 0" for name in amounts)
    raise DataError(
        f"{len(small)} of {len(ds.classes)} classes are too small to split: "
        f"{_listed(ds, small, images)}. {parts.capitalize()} need at least {max(least, wanted)} "
        f"readable images per class {_APART}. Add images, remove these classes, or hold out less "
        f"({options})."
    )


def enough_for_folds(ds: Dataset, contents: Sequence[Counter[int]], k: int) -> None:
    """Refuse k folds where a class can't be in each.

    Raises:
        DataError: classes are too small; they are named.
    """
    units = Counter(target for content in contents for target in content)
    small = [t for t in range(len(ds.classes)) if units[t] < k]
    if not small:
        return
    most = min(units[t] for t in range(len(ds.classes)))
    less = f", or make fewer folds (--folds {most})" if most > 1 else ""
    raise DataError(
        f"{len(small)} of {len(ds.classes)} classes are too small for {k} folds: "
        f"{_listed(ds, small, total(contents))}. Each fold needs at least one readable image per "
        f"class, so {k} {_APART}. Add images, remove these classes{less}."
    )


_APART = "that don't belong together (copies, a group, images that look alike)"


def _listed(ds: Dataset, targets: Sequence[int], images: Mapping[int, int]) -> str:
    names = ", ".join(f"{ds.classes[t]!r} ({plural(images[t], 'image')})" for t in targets[:8])
    return names + (f" and {len(targets) - 8} more" if len(targets) > 8 else "")
