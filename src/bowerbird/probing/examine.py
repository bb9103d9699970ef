"""Takes a table of features apart: classifiers, rankings, sweep, interpretability, top images.

Decisions:
- Forests with seeds 42, 43, … rank the features; the first of them is the study's classifier,
  and the one that is scored.
- A logistic regression is always fitted: coefficients, the effect of switching a feature off
  and the comparison of stages are its.
- A class's important features are those with the largest share of its impurity decrease among
  the features that the class excites.
- A feature's top images are those that excite it most, or those where it adds most to the
  class's score (activation × gradient).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from bowerbird import machine, progress
from bowerbird.errors import ConfigError
from bowerbird.probing import ranking as rank
from bowerbird.probing.contributions import Contribute
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
from bowerbird.probing.projection import check_map, project
from bowerbird.probing.results import Probe, StageScore, TopImages
from bowerbird.probing.sweep import numbers_of_features, sweep
from bowerbird.probing.table import FeatureTable

__all__ = ["DEFAULT_ESTIMATORS", "FIRST_SEED", "RANK_IMAGES", "check_asked", "probe_table"]

RANK_IMAGES = ("activation", "gradient")
"""What orders a feature's top images."""

DEFAULT_ESTIMATORS = ("random_forest", "logistic_regression")
FIRST_SEED = 42
_PER_CLASS, _IMAGES = 5, 10


def probe_table(
    table: FeatureTable,
    *,
    estimators: Sequence[str] = (),
    top_k: Sequence[int | str] = (),
    seeds: int = 3,
    stages: Iterable[FeatureTable] = (),
    contribute: Contribute | None = None,
    map: str = "pca",
    notes: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    keep: Sequence[str] = (),
) -> Probe:
    """Examine features.

    Args:
        table: of all images.
        estimators: names, or import paths; by default random forest and logistic regression.
        top_k: numbers of features for the sweep, and ``"all"``; by default log-spaced.
        seeds: how many forests rank the features.
        stages: tables of the network's stages, to be compared, one at a time.
        contribute: tells activation × gradient, to order top images by; by default they are by
            activation.
        map: how images are put on a plane: ``"pca"``, ``"tsne"`` or ``"umap"``.
        notes: kept in the result.
        settings: kept in the result.
        keep: estimators to be scored, too, and given back.

    Raises:
        ConfigError: there is no such estimator, or a number makes no sense.
    """
    kinds = check_asked((*(estimators or DEFAULT_ESTIMATORS), *keep), top_k, seeds, map=map)
    numbers, left_out = numbers_of_features(top_k, table.values.shape[1])
    clock = _Clock()
    with clock("stages"):  # first: what can't be read any more is found before all else is done
        compared = _stages(stages)
    with clock("estimators"):
        forests, forest = _forests(table, seeds)
        full = {"random_forest": forest}
        for kind in [*kinds, ESTIMATORS["logistic_regression"]]:
            if kind.name not in full:
                full[kind.name] = fit(kind, table, None, FIRST_SEED)
        scores = tuple(measure(full[kind.name], table) for kind in kinds)
        kept = {name: full[name] for name in keep}
        del full["random_forest"], forest  # its facts are enough
    with clock("rankings"):
        rankings = _rankings(table, list(forests.values()), list(full.values()))
        agreement = rank.agreement(rankings)
        stable = tuple(found for r in rankings if (found := rank.stability(r)))
    with clock("sweep"):
        swept = sweep(table, kinds, numbers, forests, full, left_out)
    with clock("interpretability"):
        meaning = interpret(table, full["logistic_regression"])
        tops = tuple(_tops(table, rankings[0], contribute, full["logistic_regression"]))
    with clock("map"):
        plane = project(table, map)
    said = [*table.notes, *left_out, *notes, *_left_out(scores, full, kinds)]
    said += [*_without_features(table, tops), *_on_order(tops, table), *plane.notes]
    return Probe(
        table, scores, rankings, agreement, stable, swept, meaning, tops, plane, compared,
        tuple(said), dict(settings or {}), clock.seconds, kept,
    )  # fmt: skip


def check_asked(
    estimators: Sequence[str],
    top_k: Sequence[int | str],
    seeds: int,
    rank_images: str = RANK_IMAGES[0],
    map: str = "pca",
) -> list[Kind]:
    """The kinds of classifiers that are meant, before any work.

    Raises:
        ConfigError: there is no such estimator, order or map, or a number makes no sense.
    """
    check_map(map)
    if rank_images not in RANK_IMAGES:
        raise ConfigError(
            f"Top images are ranked by {' or '.join(RANK_IMAGES)}. Found: {rank_images!r}."
        )
    if seeds < 1:
        raise ConfigError(f"Ranking needs one seed or more. Found: {seeds}.")
    numbers_of_features(top_k, 1)
    return [kind_of(name) for name in dict.fromkeys(estimators or DEFAULT_ESTIMATORS)]


class _Clock:
    """Seconds per part of the work. What a part has freed goes back to the system."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        progress.say(f"Probing: {part}")
        began = time.monotonic()
        yield
        machine.give_back_memory()
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


def _tops(
    table: FeatureTable, ranking: rank.Ranking, contribute: Contribute | None, linear: Fitted
) -> Iterator[TopImages]:
    """For each class its most important features, for each the images that excite it most."""
    rows = table.rows("train", unique=True)
    for target in range(len(table.classes)):
        columns = ranking.for_class(target)[:_PER_CLASS]
        columns = columns[ranking.per_class[target, columns] > 0]
        values = table.values[np.ix_(rows, columns)]
        order = values if contribute is None else contribute(linear, target, columns, rows)
        tops = top_rows(order, _IMAGES)
        for place, column in enumerate(map(int, columns)):
            best = [row for row in tops[:, place] if order[row, place] > -np.inf]
            yield TopImages(
                target, place + 1, column, tuple(map(int, rows[best])),
                tuple(map(float, values[best, place])),
                () if contribute is None else tuple(map(float, order[best, place])),
            )  # fmt: skip


def _on_order(tops: Sequence[TopImages], table: FeatureTable) -> Iterator[str]:
    """What a person should know of an order by activation × gradient."""
    ordered = [top for top in tops if top.contributions]
    if ordered and all(list(t.values) == sorted(t.values, reverse=True) for t in ordered):
        yield (
            "By activation × gradient, top images come in the same order as by activation, as "
            "they must where only a linear classifier follows the layer."
        )
    against = [top for top in ordered if top.contributions[0] <= 0]
    if against:
        names = ", ".join(
            f"{table.numbers[top.column]} ({table.classes[top.target]})" for top in against[:5]
        )
        more = f" and {len(against) - 5} others" if len(against) > 5 else ""
        yield (
            f"In no image that was looked at does feature {names}{more} add to its class's score, "
            "though the class excites it: the first of its images are those where it harms least."
        )


def _stages(tables: Iterable[FeatureTable]) -> tuple[StageScore, ...]:
    return tuple(map(_stage, tables))  # a loop would keep one table until the next is read


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
        if kind.name != "random_forest" and full[kind.name].coefficients is None:
            yield f"{kind.name}: has no coefficients, so no ranking of its own."
    if not len(scores) or "val" not in scores[0].evaluations:
        yield (
            "There are no validation images: no permutation importance, no effect of switching "
            "features off, and no smallest number of features."
        )
