"""Features with known answers: one tells the class, one copies another, the rest is noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bowerbird.probing.table import FeatureTable

INDICATOR, ORIGINAL, COPY = 3, 5, 9


def planted(
    *,
    classes: int = 2,
    per_class: int = 60,
    width: int = 40,
    signal: float = 6.0,
    permuted: bool = False,
    seed: int = 0,
) -> FeatureTable:
    """Features of noise; column 3 is high in class 1, column 9 is column 5 once more.

    Of each class two thirds are training, the rest validation and test.
    """
    random = np.random.default_rng(seed)
    n = classes * per_class
    targets = np.arange(n) % classes
    values = random.normal(size=(n, width)).astype(np.float32)
    values[:, INDICATOR] += signal * (targets == 1)
    values[:, COPY] = 2 * values[:, ORIGINAL] + 1
    if permuted:
        targets = random.permutation(targets)
    place = np.arange(n) // classes / per_class
    parts = np.where(place < 2 / 3, "train", np.where(place < 5 / 6, "val", "test"))
    return FeatureTable(
        values=values,
        numbers=np.arange(width),
        width=width,
        targets=targets.astype(np.int64),
        parts=parts,
        paths=tuple(f"{i:04d}.png" for i in range(n)),
        root=Path("/nowhere"),
        classes=tuple(f"class {i}" for i in range(classes)),
        network="planted",
        layer="features",
        twin=np.arange(n),
    )
