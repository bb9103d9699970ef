"""Takes a table of features apart: classifiers, rankings, sweep, interpretability, top images.

Decisions:
- Forests with seeds 42, 43, … rank the features; the first of them is the study's classifier,
  and the one that is scored.
- A logistic regression is always fitted: coefficients, the effect of switching a feature off
  and the comparison of stages are its.
- A class's important features are those with the largest share of its impurity decrease among
  the features that the class excites.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bowerbird import progress
from bowerbird.errors import ConfigError
from bowerbird.probing import ranking as rank
from bowerbird.probing.estimators import (
    ESTIMATORS,
    EstimatorScore,
    Fitted,
    Kind,
    fit,
    kind_of,
    measure,
)
from bowerbird.probing.forests import ForestFacts, facts_of
from bowerbird.probing.interpretability import interpret, top_rows
from bowerbird.probing.projection import project
from bowerbird.probing.results import Probe, StageScore, TopImages
from bowerbird.probing.sweep import numbers_of_features, sweep
from bowerbird.probing.table import FeatureTable

__all__ = ["DEFAULT_ESTIMATORS", "FIRST_SEED", "check_asked", "probe_table"]

DEFAULT_ESTIMATORS = ("random_forest", "logistic_regression")
FIRST_SEED = 42
_PER_CLASS, _IMAGES = 5, 10


def probe_table(
    table: FeatureTable,
    *,
    estimators: Sequence[str] = (),
    top_k: Sequence[int | str] = (),
    seeds: int = 3,
    stages: Sequence[FeatureTable] = (),
    notes: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Probe:
    """Examine features.

    Args:
        table: of all images.
        estimators: names, or import paths; by default random forest and logistic regression.
        top_k: numbers of features for the sweep, and ``"all"``; by default log-spaced.
        seeds: how many forests rank the features.
        stages: tables of the network's stages, to be compared.
        notes: kept in the result.
        settings: kept in the result.

    Raises:
        ConfigError: there is no such estimator, or a number makes no sense.
    """
    kinds = check_asked(estimators, top_k, seeds)
    numbers, left_out = numbers_of_features(top_k, table.values.shape[1])
    clock = _Clock()
    with clock("estimators"):
        forests, first = _forests(table, seeds)
        full = {"random_forest": first}
        for kind in [*kinds, ESTIMATORS["logistic_regression"]]:
            if kind.name not in full:
                full[kind.name] = fit(kind, table, None, FIRST_SEED)
        scores = tuple(measure(full[kind.name], table) for kind in kinds)
    with clock("rankings"):
        rankings = _rankings(table, list(forests.values()), list(full.values()))
        agreement = rank.agreement(rankings)
        stable = tuple(found for r in rankings if (found := rank.stability(r)))
    with clock("sweep"):
        swept = sweep(table, kinds, numbers, forests, full, left_out)
    with clock("interpretability"):
        meaning = interpret(table, full["logistic_regression"])
        tops = tuple(_tops(table, rankings[0]))
        plane = project(table)
    with clock("stages"):
        compared = tuple(_stage(found) for found in stages)
    said = [*table.notes, *left_out, *notes, *_left_out(scores, full, kinds)]
    said += _without_features(table, tops)
    return Probe(
        table, scores, rankings, agreement, stable, swept, meaning, tops, plane, compared,
        tuple(said), dict(settings or {}), clock.seconds,
    )  # fmt: skip


def check_asked(estimators: Sequence[str], top_k: Sequence[int | str], seeds: int) -> list[Kind]:
    """The kinds of classifiers that are meant, before any work.

    Raises:
        ConfigError: there is no such estimator, or a number makes no sense.
    """
    if seeds < 1:
        raise ConfigError(f"Ranking needs one seed or more. Found: {seeds}.")
    numbers_of_features(top_k, 1)
    return [kind_of(name) for name in dict.fromkeys(estimators or DEFAULT_ESTIMATORS)]


class _Clock:
    """Seconds per part of the work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        progress.say(f"Probing: {part}")
        began = time.monotonic()
        yield
        self.seconds[part] = time.monotonic() - began


def _forests(table: FeatureTable, seeds: int) -> tuple[dict[int, ForestFacts], Fitted]:
    """What the forest of each seed says, and the first one; never two forests at a time."""
    kind = ESTIMATORS["random_forest"]
    others = {
        FIRST_SEED + i: facts_of(fit(kind, table, None, FIRST_SEED + i), table, i)
        for i in range(1, seeds)
    }
    first = fit(kind, table, None, FIRST_SEED)
    return {FIRST_SEED: facts_of(first, table, 0)} | others, first


def _rankings(
    table: FeatureTable, forests: Sequence[ForestFacts], full: Sequence[Fitted]
) -> tuple[rank.Ranking, ...]:
    found = [rank.impurity(forests, table), rank.permutation(forests, table)]
    found += [rank.coefficients(fitted, table) for fitted in full]
    found += [rank.mutual_information(table), rank.anova(table)]
    return tuple(ranking for ranking in found if ranking is not None)


def _tops(table: FeatureTable, ranking: rank.Ranking) -> Iterator[TopImages]:
    """For each class its most important features, for each the images that excite it most."""
    rows = table.rows("train", unique=True)
    values = table.values[rows]
    for target in range(len(table.classes)):
        order = ranking.for_class(target)[:_PER_CLASS]
        for place, column in enumerate(map(int, order), start=1):
            if ranking.per_class[target, column] <= 0:
                break
            tops = top_rows(values[:, [column]], _IMAGES)[:, 0]
            shown = tuple(map(int, rows[tops]))
            yield TopImages(target, place, column, shown, tuple(map(float, values[tops, column])))


def _stage(table: FeatureTable) -> StageScore:
    found = measure(fit(ESTIMATORS["logistic_regression"], table), table)
    accuracy = {on: e.accuracy for on, e in found.evaluations.items()}
    interval = {on: e.interval for on, e in found.evaluations.items()}
    return StageScore(table.layer, table.width, accuracy, interval)


def _without_features(table: FeatureTable, tops: Sequence[TopImages]) -> Iterator[str]:
    named = {top.target for top in tops}
    names = [name for index, name in enumerate(table.classes) if index not in named]
    if names:
        more = f" and {len(names) - 5} others" if len(names) > 5 else ""
        yield f"No feature that the forest uses is excited by {', '.join(names[:5])}{more}."


def _left_out(
    scores: Sequence[EstimatorScore], full: Mapping[str, Fitted], kinds: Sequence[Any]
) -> Iterator[str]:
    for score in scores:
        for words in (*score.left_out, *score.notes):
            yield f"{score.name}: {words}."
    for kind in kinds:
        fitted = full[kind.name]
        if kind.name != "random_forest" and fitted.coefficients is None:
            yield f"{kind.name}: has no coefficients, so no ranking of its own."
    if not len(scores) or "val" not in scores[0].evaluations:
        yield (
            "There are no validation images: no permutation importance, no effect of switching "
            "features off, and no smallest number of features."
        )
