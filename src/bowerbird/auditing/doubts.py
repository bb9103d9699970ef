"""What a training says of its own labels: those that all other images contradict.

The features are those of the network before training, which the probe has computed anyway;
only test images are added. So the judge hasn't learned from the labels that it judges, except
through all other images.
"""

from __future__ import annotations

import numpy as np

from bowerbird.auditing.labels import leave_one_out, rows_together
from bowerbird.data.dataset import Dataset
from bowerbird.data.splitting.splits import Split
from bowerbird.features.cache import FeatureCache
from bowerbird.features.extraction import Extractor, Image, extract

__all__ = ["suspect_labels"]


def suspect_labels(
    extractor: Extractor,
    ds: Dataset,
    split: Split,
    *,
    cache: FeatureCache | None = None,
    workers: int | None = None,
) -> dict[str, str]:
    """The class that all others favour, by path, of each image whose label is suspect.

    Args:
        extractor: the frozen part of the network.
        ds: the images.
        split: those in no part of it are left out.
        cache: by default the user's.
        workers: threads; by default one per core.

    Raises:
        CacheError: the features can't be kept.
    """
    used = [i for i, part in enumerate(split.assignment) if part and split.hashes[i]]
    images = [Image(ds.path(i), str(split.hashes[i])) for i in used]
    (found,), lost = extract(
        extractor.network, images, cache=cache, workers=workers, extractor=extractor
    )
    gone = {problem.path for problem in lost}
    rows = [i for i in used if str(ds.path(i)) not in gone]
    targets = np.array([ds.samples[i].target for i in rows], np.int64)
    if len(np.unique(targets)) < 2:
        return {}
    values = found.numpy().reshape(len(rows), -1)
    judged = leave_one_out(
        values, targets, len(ds.classes), rows_together(ds, rows, _copies(split))
    )
    return {
        ds.samples[rows[row]].path: ds.classes[int(judged.suggestion[row])]
        for row in map(int, judged.flagged)
    }


def _copies(split: Split) -> list[tuple[int, ...]]:
    """Sets of samples with the same bytes, and those that look alike."""
    same: dict[str, list[int]] = {}
    for i, content_hash in enumerate(split.hashes):
        if content_hash is not None:
            same.setdefault(content_hash, []).append(i)
    return [*map(tuple, same.values()), *split.alike]
