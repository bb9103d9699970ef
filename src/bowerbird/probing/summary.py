"""A probe in sentences: how good, how many features, which agree, what they respond to, where.

Each sentence says what was found, with its figures; none promises more than they bear. Page,
report and command line show the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from bowerbird.probing.interpretability import jaccard, top_rows

if TYPE_CHECKING:
    from bowerbird.probing.estimators import EstimatorScore
    from bowerbird.probing.results import Probe, StageScore

__all__ = ["come_apart", "plain_name", "shared_images", "summary"]

_SPLITS = {"train": "training", "val": "validation", "test": "test"}
_TOP = 20


def summary(probe: Probe) -> tuple[str, ...]:
    """What was found, in a few sentences."""
    return (
        *_on_scores(probe), *_on_numbers(probe), *_on_rankings(probe), *_on_meaning(probe),
        *_on_overlap(probe), *_on_stages(probe),
    )  # fmt: skip


def plain_name(name: str) -> str:
    """An estimator's name for a person.

    >>> plain_name("random_forest"), plain_name("sklearn.naive_bayes:GaussianNB")
    ('random forest', 'GaussianNB')
    """
    return name.rpartition(":")[2].replace("_", " ")


def come_apart(probe: Probe) -> StageScore | None:
    """The first stage whose interval overlaps the best stage's; None without stages."""
    on = probe.scored_on
    if not probe.stages:
        return None
    best = max(probe.stages, key=lambda stage: stage.accuracy[on]).interval[on]
    return next(stage for stage in probe.stages if stage.interval[on].high >= best.low)


def shared_images(probe: Probe) -> tuple[float | None, float | None]:
    """What two top features have in common of their top images, on average, as a share.

    Returns:
        Of two features of the same class, and of two classes; None where there are no two.
    """
    table = probe.table
    pairs = list(dict.fromkeys((top.target, top.column) for top in probe.tops))
    if len(pairs) < 2:
        return None, None
    columns = np.array([column for _, column in pairs])
    overlap = jaccard(top_rows(table.values[np.ix_(table.rows("train", unique=True), columns)],
                      _TOP))  # fmt: skip
    same: list[float] = []
    other: list[float] = []
    for (i, one), (j, two) in combinations(enumerate(pairs), 2):
        if one[1] != two[1]:
            share = overlap[i, j]
            (same if one[0] == two[0] else other).append(2 * share / (1 + share))
    return (float(np.mean(same)) if same else None), (float(np.mean(other)) if other else None)


def _on_scores(probe: Probe) -> Iterator[str]:
    on = probe.scored_on
    ordered = sorted(probe.scores, key=lambda s: -s.evaluations[on].accuracy)
    best = ordered[0].evaluations[on]
    text = (
        f"On all {len(probe.table.numbers):,} features, {plain_name(ordered[0].name)} names "
        f"{_percent(best.accuracy)} of {best.n:,} {_SPLITS[on]} images rightly (95 % interval "
        f"{_percent(best.interval.low)} to {_percent(best.interval.high)})"
    )
    text += "".join(_another(score, on) for score in ordered[1:])
    yield text + "."


def _another(score: EstimatorScore, on: str) -> str:
    return f", {plain_name(score.name)} {_percent(score.evaluations[on].accuracy)}"


def _on_numbers(probe: Probe) -> Iterator[str]:
    swept = probe.sweep
    for name in swept.estimators:
        enough, curve = swept.enough(name), dict(_means(probe, name))
        if enough is None:
            continue
        if enough == max(curve) > min(curve):
            yield (
                f"For {plain_name(name)}, it takes all {enough:,} features: fewer are worse on "
                "validation by more than a standard error."
            )
            continue
        text = (
            f"For {plain_name(name)}, {enough:,} of {swept.width:,} features are enough: fewer "
            "are worse on validation by more than a standard error"
        )
        if enough == min(curve):
            text = (
                f"For {plain_name(name)}, the smallest number tried, {enough:,} of "
                f"{swept.width:,} features, is within a standard error of the best on validation"
            )
        if probe.scored_on == "test":
            text += (
                f". On test these reach {_percent(curve[enough])}, "
                f"{max(curve):,} reach {_percent(curve[max(curve)])}"
            )
        yield text + "."


def _means(probe: Probe, name: str) -> Iterator[tuple[int, float]]:
    for number, mean, _, _ in probe.sweep.curve(name, probe.scored_on):
        yield number, mean


def _on_rankings(probe: Probe) -> Iterator[str]:
    for found in probe.stability:
        mean, least, most = found.top
        if found.method == "impurity":
            ends = f" ({_rough(least)} to {_rough(most)})" if least < most else ""
            yield (
                f"Of the {found.best} most important features of a forest, another seed's has "
                f"{_rough(mean)} among its own{ends}."
            )
    names = [ranking.method.replace("_", " ") for ranking in probe.rankings]
    pairs = sorted(
        combinations(range(len(names)), 2), key=lambda pair: -float(probe.agreement[pair])
    )
    if len(pairs) > 1:
        (a, b), (c, d) = pairs[0], pairs[-1]
        yield (
            f"Rankings agree most between {names[a]} and {names[b]} (rank correlation "
            f"{probe.agreement[a, b]:.2f}), least between {names[c]} and {names[d]} "
            f"({probe.agreement[c, d]:.2f})."
        )


def _on_meaning(probe: Probe) -> Iterator[str]:
    found = probe.interpretability
    good = int(found.interpretable.sum())
    counts = np.bincount(found.chosen[found.interpretable], minlength=len(found.classes))
    order = np.argsort(-counts, kind="stable")[:5]
    words = ", ".join(f"{counts[i]:,} for {found.classes[i]}" for i in order if counts[i])
    more = ", most" if int((counts > 0).sum()) > len(order) else ""
    yield (
        f"{good:,} of {len(found.numbers):,} features can be interpreted as answering to one "
        f"class{f' ({words}{more})' if words else ''}."
    )


def _on_overlap(probe: Probe) -> Iterator[str]:
    same, other = shared_images(probe)
    parts = []
    if same is not None:
        parts.append(f"two top features of the same class share {_rough(same)}")
    if other is not None:
        parts.append(f"two of different classes {_rough(other)}")
    if parts:
        yield f"Of their {_TOP} top images, {' and '.join(parts)} on average."


def _on_stages(probe: Probe) -> Iterator[str]:
    found, on = come_apart(probe), probe.scored_on
    if found is None:
        return
    first = probe.stages[0]
    best = max(probe.stages, key=lambda stage: stage.accuracy[on])
    text = (
        f"After the first stage, {first.name}, {_percent(first.accuracy[on])} of {_SPLITS[on]} "
        "images are named rightly; "
    )
    last = f"{_percent(best.accuracy[on])} after {best.name}"
    if best is found:
        yield text + f"the most, {last}, and clearly fewer before."
    else:
        yield text + (
            f"{_percent(found.accuracy[on])} after {found.name}, the first whose interval overlaps "
            f"that of the best, {last}."
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _rough(share: float) -> str:
    return f"{100 * share:.0f} %"
