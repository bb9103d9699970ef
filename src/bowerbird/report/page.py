"""The report: one HTML file that needs nothing else, no network and no script.

Decisions:
- What a manager reads in ten seconds stands on top; what an engineer checks follows.
- Everything from the data (names, paths, notes) is escaped by the template.
- How many pictures are shown is bounded, so that a page of 100 classes stays below 4 MB.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bowerbird import plots
from bowerbird.evaluation.intervals import wilson
from bowerbird.evaluation.results import ClassScore, Evaluation, Interval, Predictions
from bowerbird.report.content import ReportData, duration, headline, percent, split_words, told
from bowerbird.report.figures import draw_charts
from bowerbird.report.pictures import Chart, chart, thumbnails
from bowerbird.storage import write_bytes

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

__all__ = ["templates", "write_report"]

WORST, LEAST_SURE, SUREST, PAIRS, LISTED = 18, 12, 6, 12, 200
WIDEST = 6
"""Facts side by side, at most."""


@dataclass(frozen=True)
class Tile:
    """A picture on the page. `verdict` is "right", "wrong", "open" (unlabelled) or "" (none)."""

    path: str
    said: str = ""
    sure: float = 0.0
    truth: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class ClassRow:
    """A line of the table of classes: `said` pictures were given this name."""

    score: ClassScore
    recall_interval: Interval
    said: int


def write_report(data: ReportData, path: Path, figures: Mapping[str, Figure] | None = None) -> Path:
    """Write the report of a run as one HTML file.

    Args:
        data: what to report.
        path: of the file; an older one is replaced.
        figures: of `figures.draw_charts`, if they are drawn already.

    Raises:
        DataError: there is no evaluation.
        RunError: the file can't be written.
    """
    main = headline(data)
    galleries = _galleries(data, main)
    shown = [tile.path for tiles in galleries.values() for tile in tiles]
    drawn = draw_charts(data) if figures is None else figures
    tiles = _facts(data, main)
    text = (
        templates()
        .get_template("report.html.jinja")
        .render(
            **told(data),
            tiles=tiles,
            columns=-(-len(tiles) // -(-len(tiles) // WIDEST)),
            charts=_charts(data, main, drawn),
            examples=[(name, tiles) for name, tiles in galleries.items() if name in data.classes],
            galleries={
                name: galleries.get(f"\0{name}", []) for name in ("worst", "unsure", "surest")
            },
            thumbnails=thumbnails(shown, data.load),
            pairs=_pairs(main),
            mistakes=main.n - round(main.accuracy * main.n),
            rows=_class_rows(main),
            scores=_score_rows(data),
            settings=list(_flat(data.config)),
            environment=list(_flat(data.environment)),
            listed=LISTED,
        )
    )
    write_bytes(path, text.encode("utf-8", "replace"))
    return path


@functools.cache
def templates() -> Environment:
    """The templates beside this module; those of HTML escape what is put into them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("bowerbird.report"),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "duration": duration,
        "split_words": split_words,
        "breakable": _breakable,
        "thousands": lambda number: f"{number:,}",
    }
    return environment


def _facts(data: ReportData, main: Evaluation) -> list[tuple[str, str, str]]:
    """The small figures below the score: (label, value, hint)."""
    commonest = max(main.per_class, key=lambda s: s.support).name
    wrong = main.n - round(main.accuracy * main.n)
    facts = [
        (f"{split_words(main.on)} pictures", f"{main.n:,}", _seen(main)),
        ("mistakes", f"{wrong:,}", f"balanced accuracy {percent(main.balanced_accuracy)}"),
        (
            "always the same answer",
            percent(main.majority_baseline),
            f"if it were “{plots.shortened(commonest, 30)}” each time",
        ),
    ]
    if main.on == "train":
        facts[0] = (facts[0][0], facts[0][1], "the model learned from them")
    if main.on == "val":
        facts[0] = (facts[0][0], facts[0][1], "the model was chosen on them")
    if rest := main.without_leaks:
        facts.append(
            ("without leaked pictures", percent(rest.accuracy), f"{main.n - rest.n:,} left out")
        )
    if sure := main.without_doubts:
        facts.append(("without suspect labels", percent(sure.accuracy), _judged(main.n - sure.n)))
    if main.kappa is not None:
        facts.append(("quadratic kappa", f"{main.kappa:.3f}", "1 is perfect, 0 is chance"))
    for k, share in list(main.top_k.items())[-1:]:
        facts.append((f"among the first {k}", percent(share), f"top-{k} accuracy"))
    if total := data.timings.get("total"):
        facts.append(("time, all in all", duration(total), "reading, training, evaluation"))
    facts.append(
        (
            "parameters",
            _rounded(data.model.parameters),
            f"{data.model.input_size[0]} × {data.model.input_size[1]} px, "
            f"{_rounded(data.model.trainable)} trained",
        )
    )
    return facts


def _judged(left_out: int) -> str:
    """Whoever leaves out what its own features doubt flatters itself: say so."""
    return f"{left_out:,} left out, by the features’ own judgement: an upper limit"


def _seen(main: Evaluation) -> str:
    """What training has seen of the scored pictures."""
    if main.without_leaks is None:
        return "never seen in training"
    return f"{main.n - main.without_leaks.n} of them copies of training pictures"


def _rounded(number: int) -> str:
    for size, unit in ((1_000_000, " M"), (1_000, " k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def _charts(data: ReportData, main: Evaluation, figures: Mapping[str, Figure]) -> dict[str, Chart]:
    k, on = len(data.classes), split_words(main.on)
    words = {
        "confusion_matrix": f"Confusion matrix of {k} classes on {on}; the commonest confusions "
        "are listed below.",
        "class_distribution": "Pictures per class and split; the table of classes below has the "
        "figures.",
        "curves": "Loss and accuracy on training and validation pictures.",
        "learning_curve": "Accuracy on frozen features against the number of training pictures.",
    }
    return {name: chart(figures[name], alt) for name, alt in words.items() if name in figures}


def _galleries(data: ReportData, main: Evaluation) -> dict[str, list[Tile]]:
    """Tiles by class name (examples) and by "\\0worst", "\\0unsure", "\\0surest"."""
    predictions = main.predictions
    tiles = {name: [Tile(path) for path in paths] for name, paths in _examples(data, predictions)}
    if predictions is not None:
        for name, indices in (
            ("worst", predictions.worst(WORST)),
            ("unsure", predictions.least_sure(LEAST_SURE)),
            ("surest", _surest_per_class(predictions)),
        ):
            tiles[f"\0{name}"] = [_tile(predictions, i) for i in indices]
    return tiles


def _examples(
    data: ReportData, predictions: Predictions | None
) -> Iterator[tuple[str, Sequence[str]]]:
    """A few paths per class; of very many classes, two dozen spread over all."""
    k = len(data.classes)
    per_class = 8 if k <= 12 else 1
    step = 1 if k <= 12 else max(1, k // 24)
    for index, name in list(enumerate(data.classes))[::step][:24]:
        paths = data.examples.get(name, ())
        if not paths and predictions is not None:
            paths = [predictions.paths[i] for i in (predictions.targets == index).nonzero()[0]]
        if paths:
            yield name, paths[:: max(1, len(paths) // per_class)][:per_class]


def _surest_per_class(predictions: Predictions) -> list[int]:
    """Right answers, the surest of each class, at most `SUREST`."""
    found: dict[int, int] = {}
    for index in predictions.most_sure(len(predictions)):
        if predictions.correct[index]:
            found.setdefault(int(predictions.targets[index]), index)
    return list(found.values())[:SUREST]


def _tile(predictions: Predictions, index: int) -> Tile:
    target = int(predictions.targets[index])
    right = bool(predictions.correct[index])
    return Tile(
        path=predictions.paths[index],
        said=predictions.classes[predictions.predicted[index]],
        sure=float(predictions.confidence[index]),
        truth=predictions.classes[target] if target >= 0 else "",
        verdict="open" if target < 0 else "right" if right else "wrong",
    )


def _class_rows(main: Evaluation) -> list[ClassRow]:
    """One row per class: in their order up to 12, beyond that the worst recall first."""
    said = main.confusion.counts.sum(axis=0)
    rows = [
        ClassRow(s, wilson(round(s.recall * s.support), s.support), int(n))
        for s, n in zip(main.per_class, said, strict=True)
    ]
    if len(rows) > 12:
        rows.sort(key=lambda row: (row.score.support == 0, row.score.recall))
    return rows


def _pairs(main: Evaluation) -> list[tuple[str, str, int]]:
    """The commonest confusions; those that happened once only if there is nothing else."""
    pairs = main.confusion.most_confused(PAIRS)
    return [pair for pair in pairs if pair[2] > 1] or pairs[:5]


def _score_rows(data: ReportData) -> list[tuple[str, Evaluation]]:
    """Every evaluation, and after each those without leaked pictures and suspect labels."""
    rows = []
    for split, evaluation in data.evaluations.items():
        rows.append((split_words(split), evaluation))
        if evaluation.without_leaks:
            rows.append((f"{split_words(split)} without leaked pictures", evaluation.without_leaks))
        if evaluation.without_doubts:
            words = (
                "suspect labels and leaked pictures"
                if evaluation.without_leaks
                else ("suspect labels")
            )
            rows.append((f"{split_words(split)} without {words}", evaluation.without_doubts))
    return rows


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as rows: ("train.model", "resnet18")."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "–" if value is None else str(value)


def _breakable(name: str) -> str:
    """A name that may break after an underscore, as HTML."""
    from markupsafe import Markup, escape

    return escape(name).replace("_", Markup("_<wbr>"))
