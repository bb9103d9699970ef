"""A probe as tables: estimators, sweep, stages, features, features per class, top images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from bowerbird import storage
from bowerbird.probing.results import Probe

__all__ = ["csv_tables"]

_PER_CLASS = 20


def csv_tables(probe: Probe) -> dict[str, str]:
    """CSV texts by file name."""
    ends = ("accuracy", "low", "high", "images", "predict_seconds")
    splits = probe.table.splits
    columns = [f"{on}_{end}" for on in splits for end in ends]
    return {
        "estimators.csv": _csv(["estimator", "strength", "fit_seconds", *columns, "left_out"],
                               _estimators(probe)),
        "sweep.csv": _csv(["estimator", "features", "seed", *splits, "strength", "fit_seconds"],
                          _sweep(probe)),
        "stages.csv": _csv(["stage", "features", *(f"{on}_{e}" for on in splits for e in ends[:3])],
                           _stages(probe)),
        "features.csv": _csv(_feature_columns(probe), _features(probe)),
        "class_features.csv": _csv(["class", "method", "place", "feature", "score"],
                                   _per_class(probe)),
        "top_images.csv": _csv(["for_class", "place", "feature", "rank", "path", "class",
                                "activation", "contribution"], _top_images(probe)),
    }  # fmt: skip


def _estimators(probe: Probe) -> Iterator[list[Any]]:
    for score in probe.scores:
        cells: list[Any] = []
        for on, found in score.evaluations.items():
            ends = found.interval
            cells += [found.accuracy, ends.low, ends.high, found.n, score.predict_seconds[on]]
        left_out = "; ".join((*score.left_out, *score.notes))
        yield [score.name, score.strength, score.fit_seconds, *cells, left_out]


def _sweep(probe: Probe) -> Iterator[list[Any]]:
    for point in probe.sweep.points:
        accuracies = [point.accuracy[on] for on in probe.table.splits]
        yield [
            point.estimator, point.features, point.seed, *accuracies, point.strength, point.seconds
        ]  # fmt: skip


def _stages(probe: Probe) -> Iterator[list[Any]]:
    for stage in probe.stages:
        cells: list[Any] = []
        for on in probe.table.splits:
            cells += [stage.accuracy[on], stage.interval[on].low, stage.interval[on].high]
        yield [stage.name, stage.features, *cells]


def _feature_columns(probe: Probe) -> list[str]:
    columns = list(probe.interpretability.row(0))
    for ranking in probe.rankings:
        columns += [f"{ranking.method}_rank", ranking.method]
        if len(ranking.by_seed) > 1:
            columns += [f"{ranking.method}_low", f"{ranking.method}_high"]
    return columns


def _features(probe: Probe) -> Iterator[list[Any]]:
    """A row per feature, the most important by the first ranking first."""
    ranks = [np.argsort(np.argsort(-r.scores, kind="stable")) + 1 for r in probe.rankings]
    ends = [ranking.intervals() for ranking in probe.rankings]
    for column in map(int, probe.rankings[0].order):
        cells = list(probe.interpretability.row(column).values())
        for ranking, rank, (low, high) in zip(probe.rankings, ranks, ends, strict=True):
            cells += [int(rank[column]), float(ranking.scores[column])]
            if len(ranking.by_seed) > 1:
                cells += [float(low[column]), float(high[column])]
        yield cells


def _per_class(probe: Probe) -> Iterator[list[Any]]:
    for target, name in enumerate(probe.table.classes):
        for ranking in probe.rankings:
            order = ranking.for_class(target)[:_PER_CLASS]
            for place, column in enumerate(map(int, order), start=1):
                found = float(ranking.per_class[target, column])
                if found > 0:
                    feature = int(probe.table.numbers[column])
                    yield [name, ranking.method, place, feature, found]


def _top_images(probe: Probe) -> Iterator[list[Any]]:
    table = probe.table
    for top in probe.tops:
        head = [table.classes[top.target], top.place, int(table.numbers[top.column])]
        added = top.contributions or [None] * len(top.rows)
        for rank, (row, value, more) in enumerate(
            zip(top.rows, top.values, added, strict=True), start=1
        ):
            name = table.classes[int(table.targets[row])]
            yield [*head, rank, storage.readable(table.paths[row]), name, value, more]


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return storage.comma_separated(columns, ([_cell(value) for value in row] for row in rows))


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else value
