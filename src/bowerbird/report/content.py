"""What a report says, before it has a shape: `ReportData` and the sentences drawn from it.

Decisions:
- The headline is the test split if there is one; a score on validation is called what it
  is, optimistic.
- Sentences promise what the interval supports, in whole pictures, and say so when a score
  could be reached by always giving the same answer.
- What a score can't say is part of the report (`limits`), each with the run's own figures.

Not here: HTML, Markdown, figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bowerbird.data.dataset import Problem
from bowerbird.errors import DataError
from bowerbird.evaluation.results import Evaluation

if TYPE_CHECKING:
    from PIL.Image import Image

    from bowerbird.comparison.diagnosis import Diagnosis
    from bowerbird.report.probe_section import ProbeSection
    from bowerbird.report.where_it_looks import WhereItLooks

__all__ = [
    "ModelFacts",
    "ReportData",
    "duration",
    "headline",
    "limits",
    "many",
    "percent",
    "promise",
    "split_words",
    "summary",
    "told",
    "warnings",
]

FEW = 20
_SPLIT_WORDS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class ModelFacts:
    """What the network is.

    Attributes:
        name: as timm knows it.
        parameters: weights in all; `trainable` of them were learned in this run.
        input_size: height and width in pixels.
        weights: where the weights came from; empty if they were random.
        licence: of the weights, as far as known.
        in_timm: whether timm alone can load it.
    """

    name: str
    parameters: int
    trainable: int
    input_size: tuple[int, int]
    weights: str = ""
    licence: str = "unknown"
    in_timm: bool = True


@dataclass(frozen=True)
class ReportData:
    """Everything a report needs.

    Attributes:
        name: of the run.
        created: date and time for people.
        command: repeats the run.
        classes: in index order.
        counts: pictures by split, then by class name.
        evaluations: by split; their `predictions` are shown as pictures where present.
        model: facts about the network.
        history: rows as `plots.curves` takes them.
        config: resolved settings, nested.
        environment: versions and machine.
        problems: images left out, and why.
        ignored: counts of files passed over, by reason.
        notes: sentences to show as they are, e.g. on leaks between the splits.
        training: sentences on how it was trained.
        examples: paths by class name to show what the data looks like; by default taken
            from the evaluated pictures.
        timings: seconds by step; the step "total" is shown as the whole.
        leaked: evaluated pictures known to be in the training data, too; None if nobody
            looked.
        usage: code to use the model, by title.
        where_it_looks: pictures beside the network's heat maps; None leaves the section out.
        probing: what the feature lab found in the run's folder; None leaves the section out.
        diagnosis: what holds the network back; None leaves the section out.
        load: gives a picture by path, or None where it can't be read; called from several
            threads at once.
    """

    name: str
    created: str
    command: str
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    evaluations: Mapping[str, Evaluation]
    model: ModelFacts
    history: Sequence[Mapping[str, float | str]] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    training: str = ""
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    leaked: int | None = None
    usage: Mapping[str, str] = field(default_factory=dict)
    where_it_looks: WhereItLooks | None = None
    probing: ProbeSection | None = None
    diagnosis: Diagnosis | None = None
    load: Callable[[str], Image | None] = lambda path: None

    def __repr__(self) -> str:
        return (
            f"ReportData({self.name}, {len(self.classes)} classes, {len(self.evaluations)} scores)"
        )


def told(data: ReportData) -> dict[str, Any]:
    """What page and model card both say, by the names in their templates.

    Raises:
        DataError: there is no evaluation.
    """
    main = headline(data)
    return {
        "data": data,
        "main": main,
        "promise": promise(main),
        "summary": summary(data),
        "warnings": warnings(data),
        "limits": limits(data),
    }


def headline(data: ReportData) -> Evaluation:
    """The evaluation that counts: test, else validation, else the first.

    Raises:
        DataError: there is none.
    """
    for split in ("test", "val", *data.evaluations):
        if split in data.evaluations:
            return data.evaluations[split]
    raise DataError(f"The run {data.name} has no score to report. Evaluate it first.")


def split_words(split: str) -> str:
    """A split's name in a sentence: "validation" for val."""
    return _SPLIT_WORDS.get(split, split)


def promise(evaluation: Evaluation) -> str:
    """What the score means for new pictures, in whole pictures."""
    low, high = evaluation.interval.low, evaluation.interval.high
    unit = 1000 if evaluation.accuracy > 0.985 and evaluation.n >= 500 else 100
    about, least, most = (round(unit * share) for share in (evaluation.accuracy, low, high))
    if evaluation.accuracy == 1:
        return (
            f"All {evaluation.n:,} pictures were named rightly. That doesn't make it perfect: of "
            f"{unit:,} new pictures like these, expect {least:,} or more to be named rightly."
        )
    return (
        f"Of {unit:,} new pictures like these, about {about:,} ({least:,}–{most:,}) will be "
        "named rightly."
    )


def summary(data: ReportData) -> str:
    """The whole run in one sentence."""
    counts = {split: sum(by_class.values()) for split, by_class in data.counts.items()}
    parts = [f"{n:,} for {split_words(split)}" for split, n in counts.items() if n]
    listed = " and ".join(", ".join(parts).rsplit(", ", 1))
    k = len(data.classes)
    return (
        f"{data.model.name} tells {k} class{'es' * (k != 1)} apart, from "
        f"{sum(counts.values()):,} pictures{': ' if listed else ''}{listed}."
    )


def warnings(data: ReportData) -> list[tuple[str, str]]:
    """What a reader must know beside the score: (title, sentence)."""
    evaluation, found = headline(data), []
    if evaluation.on == "val":
        held_out = sum(data.counts.get("test", {}).values())
        found.append(
            (
                "This score is optimistic",
                "It was measured on the validation pictures, and the model was chosen because it "
                "does well on just these. "
                + (
                    f"The {held_out:,} test pictures are locked; they give a score to rely on."
                    if held_out
                    else "Hold out test pictures (--test 0.15) for a score to rely on."
                ),
            )
        )
    if evaluation.on == "train":
        found.append(
            (
                "This score says little about new pictures",
                "It was measured on the pictures that the model learned from.",
            )
        )
    if evaluation.interval.low <= evaluation.majority_baseline and len(data.classes) > 1:
        commonest = max(evaluation.per_class, key=lambda s: s.support).name
        found.append(
            (
                "Not clearly better than a constant answer",
                f"Always saying “{commonest}” would be right for "
                f"{percent(evaluation.majority_baseline)} of these pictures.",
            )
        )
    if evaluation.n < FEW * len(data.classes) and evaluation.n < 200:
        found.append(
            (
                "Few pictures to measure on",
                f"Only {evaluation.n:,} pictures stand behind this score, so that it may be off by "
                f"{_points(evaluation)} either way.",
            )
        )
    return found


def limits(data: ReportData) -> list[str]:
    """What the score doesn't say."""
    evaluation, k = headline(data), len(data.classes)
    found = [
        "The interval covers the luck of the draw. It holds for pictures like these: another "
        "camera, season, place or clinic can be much harder.",
        f"The model always answers with one of its {k} classes, also for a picture that shows "
        "none of them.",
    ]
    if evaluation.predictions is not None:
        known = evaluation.predictions.labelled
        sure = float(np.mean(evaluation.predictions.confidence[known]))
        found.append(
            f"Its confidence is not a promise. Here it was {percent(sure)} sure on average and "
            f"right in {percent(evaluation.accuracy)}."
        )
    if few := [s.name for s in evaluation.per_class if s.support < FEW]:
        which = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
        found.append(
            f"Figures of single classes are rough where there are fewer than {FEW} "
            f"{split_words(evaluation.on)} pictures: {which}."
        )
    if data.leaked is None:
        found.append(
            "Nobody looked for pictures that are nearly the same in training and "
            f"{split_words(evaluation.on)}; such pairs would flatter the score."
        )
    if data.problems:
        found.append(f"{len(data.problems):,} images couldn't be used and are in no score.")
    return found


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(0.004), duration(0.34), duration(83), duration(7260)
    ('4 ms', '0.3 s', '1 min 23 s', '2 h 1 min')
    """
    if 0 < seconds < 0.0995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def many(number: int, word: str) -> str:
    """A number of things.

    >>> many(1, "epoch"), many(1200, "picture")
    ('1 epoch', '1,200 pictures')
    """
    return f"{number:,} {word}{'s' * (number != 1)}"


def percent(share: float) -> str:
    """A share with one decimal; more where that would round it up to all, none where it is all.

    >>> percent(0.986), percent(0.9996), percent(1)
    ('98.6\xa0%', '99.96\xa0%', '100\xa0%')
    """
    text = f"{100 * share:.1f}"
    if text == "100.0":
        text = "100" if share == 1 else f"{100 * share:.2f}"
    return f"{text}\N{NO-BREAK SPACE}%"


def _points(evaluation: Evaluation) -> str:
    half = 100 * (evaluation.interval.high - evaluation.interval.low) / 2
    return f"{half:.0f} percentage points"
