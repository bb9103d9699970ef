"""What to do next, for each state of a diagnosis: sentences with commands that exist.

Decisions:
- The most promising comes first, three at most. What was done already isn't advised.
- Commands repeat the run with one thing changed, so that the next run tells what it was.
- Which classes need more images is told from how well the frozen features recognise them and
  how many there are: an image of a class with many mistakes and few images takes away most.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from bowerbird.comparison.figures import FEWEST_EPOCHS, Figures
from bowerbird.comparison.phrases import joined
from bowerbird.comparison.symptoms import (
    UNLEARNED,
    Symptom,
    blind,
    blurred,
    improving,
    unlearned,
)
from bowerbird.evaluation.intervals import wilson

if TYPE_CHECKING:
    from bowerbird.models.catalogue import Entry
    from bowerbird.models.siblings import Siblings

__all__ = ["NextStep", "next_steps", "weakest_classes"]

_MOST_STEPS, _MOST_CLASSES = 3, 3
_SLOW = 0.3
"""Share of the mistakes that twice the images take away, below which features come first: to
halve the mistakes takes four times the images, or more."""

Neighbours = Callable[[], "Siblings"]


@dataclass(frozen=True)
class NextStep:
    """Something to do.

    Attributes:
        words: a sentence.
        command: that does it; empty where there is none.
    """

    words: str
    command: str = ""


def next_steps(
    symptom: Symptom, figures: Figures, siblings: Neighbours | None = None
) -> tuple[NextStep, ...]:
    """What to do about a symptom, the most promising first.

    Args:
        symptom: what was found.
        figures: of the run.
        siblings: gives the next smaller and larger network.
    """
    found = _STEPS[symptom.state](figures, siblings)
    if not figures.chosen:
        first = NextStep("Let training come to its end.", f"bowerbird resume {figures.run}")
        found = chain((first,), found)
    return tuple(islice(found, _MOST_STEPS))


def weakest_classes(figures: Figures) -> list[tuple[str, int, int, int]]:
    """Classes that need images most: name, images to add, recognised, and of how many.

    Named are those that are recognised less often than all together, by more than luck; where
    there are none, those with the fewest images, if some have fewer than others. Each is to have
    twice as many, or as many as the class in the middle.
    """
    known: Mapping[str, tuple[int, int]] = (figures.doubts and figures.doubts.classes) or {}
    right, all_of_them = (sum(pair[i] for pair in known.values()) for i in (0, 1))
    overall = right / all_of_them if all_of_them else 0.0
    fewest = min(figures.counts.values(), default=0)
    weak = [name for name, pair in known.items() if wilson(*pair).high < overall]
    if not weak and fewest < 0.75 * max(figures.counts.values(), default=0):
        weak = [name for name in known if figures.counts.get(name) == fewest]
    counts, usual = figures.counts, _usual(figures)

    def urgency(name: str) -> float:
        right, number = known[name]
        return (1 - right / max(number, 1)) / max(counts.get(name, 0), 1)

    chosen = sorted(weak, key=urgency, reverse=True)[:_MOST_CLASSES]
    more = {name: max(counts.get(name, 0), usual - counts.get(name, 0)) for name in chosen}
    return [(name, more[name], *known[name]) for name in chosen]


def _underfitting(figures: Figures, siblings: Neighbours | None) -> Iterator[NextStep]:
    if blind(figures):
        yield from _blind(figures)
        return
    if improving(figures) is not None:
        yield _longer(figures)
    if not figures.pretrained:
        yield NextStep("Start from pretrained weights.", _again(figures, *_PRETRAINED))
    if figures.probed and figures.method in ("probe", "auto") and not figures.epochs:
        yield NextStep("Train layers, too, not the classifier alone.", _tuned(figures))
    elif figures.frozen:
        yield NextStep(
            "Let more layers learn.", f"bowerbird train {figures.same} --method finetune"
        )
    if figures.augment not in ("none", "light") and figures.changes and not figures.probed:
        yield NextStep("Change the images less.", _again(figures, "--augment", "light"))
    lost = unlearned(figures)
    if lost is not None and lost.low > UNLEARNED:
        yield _larger(figures, siblings)


def _blind(figures: Figures) -> Iterator[NextStep]:
    if figures.surgery:
        yield NextStep(
            "The layers that surgery put in begin at random, and batch-norm behind them keeps "
            "statistics of other values: let it learn its own.",
            _again(figures, "--method", "finetune", "--batch-norm", "trained"),
        )
    yield NextStep(
        "If the images themselves are all alike, an audit shows it.",
        f"bowerbird audit {figures.data}",
    )
    yield NextStep("Another network may tell them apart.", _bakeoff(figures))


def _overfitting(figures: Figures, siblings: Neighbours | None) -> Iterator[NextStep]:
    if not figures.pretrained:
        yield NextStep("Start from pretrained weights.", _again(figures, *_PRETRAINED))
    if figures.probed and figures.views < 10:
        yield NextStep("Show it more views of each image.", _again(figures, "--views", "10"))
    elif not figures.probed and figures.augment in _STRONGER:
        level = _STRONGER[figures.augment]
        yield NextStep("Change the images more.", _again(figures, "--augment", level))
    if not figures.probed and figures.pretrained and not figures.frozen and not _beats(figures):
        words = "Learn less: a classifier on frozen features has fewer weights to learn by heart."
        yield NextStep(words, _again(figures, "--method", "probe"))
    if (smaller := _sibling(figures, siblings, "smaller")) is not None:
        words = f"A smaller network: {_sizes(figures, smaller)}."
        yield NextStep(words, _with_model(figures, smaller))
    yield NextStep("Compare networks, small ones, too.", _bakeoff(figures))


def _too_few_images(figures: Figures, siblings: Neighbours | None) -> Iterator[NextStep]:
    curve = figures.doubts.curve if figures.doubts else None
    slow = curve is not None and curve.saved is not None and curve.saved[0] < _SLOW
    if slow and figures.chosen == "probe" and figures.method == "probe":
        words = "More images alone are slow here. Features made for these come first: train layers."
        yield NextStep(words, _tuned(figures))
    yield NextStep(_more_images(figures))
    if not figures.probed and figures.augment in _STRONGER:
        level = _STRONGER[figures.augment]
        words = "Until then, make more of those there are: change them more."
        yield NextStep(words, _again(figures, "--augment", level))
    elif figures.probed and figures.views < 10:
        words = "Until then, make more of those there are: more views of each."
        yield NextStep(words, _again(figures, "--views", "10"))
    yield NextStep("Another network may need fewer.", _bakeoff(figures))


def _noisy_labels(figures: Figures, siblings: Neighbours | None) -> Iterator[NextStep]:
    audit = f"bowerbird audit {figures.data}"
    yield NextStep("Look at the suspect labels and decide; then train again.", audit)
    if figures.tested:
        yield NextStep(
            "Wrong labels in the test images spoil the score, too; no network mends that."
        )


def _done(figures: Figures, siblings: Neighbours | None) -> Iterator[NextStep]:
    held = figures.on_validation
    if figures.stood and held is not None and held.accuracy < 1:
        yield _slower(figures)
    if figures.probed and not figures.epochs and held is not None and held.mistakes.low > 0.01:
        yield NextStep("Features made for these images may go beyond it.", _tuned(figures))
    if held is not None and held.accuracy < 1:
        yield NextStep("Another network may see more.", _bakeoff(figures))
    yield NextStep("See what it does with new images.", f"bowerbird predict {figures.run} IMAGES")


def _slower(figures: Figures) -> NextStep:
    """A tenth of the highest learning rate there was."""
    rates = [float(row.get("learning_rate") or 0) for row in figures.epochs]
    return NextStep(
        "Training layers brought nothing over the probe: try a tenth of the learning rate.",
        _again(figures, "--learning-rate", f"{(max(rates, default=0) or 1e-3) / 10:.1g}"),
    )


def _unclear(figures: Figures, siblings: Neighbours | None) -> Iterator[NextStep]:
    if figures.stood:
        yield _slower(figures)
    if blurred(figures) and not figures.probed and figures.chosen:
        measure = f"bowerbird evaluate {figures.run} --on train"
        yield NextStep("Measure the training score, then write the report again.", measure)
    if not figures.probed and len(figures.last_step) < FEWEST_EPOCHS:
        yield _longer(figures)
    if figures.doubts is not None and figures.gain is None:
        yield NextStep(_more_images(figures))
    if figures.doubts is None:
        yield NextStep(
            "Ask the images themselves: labels, and a learning curve.",
            f"bowerbird audit {figures.data}",
        )
    if figures.gap is None or figures.gap.high - figures.gap.low > 0.1:
        folds = f"bowerbird train {figures.folded}"
        words = "Every image is validation once in a cross-validation."
        yield NextStep("The other folds tell more." if figures.fold else words, folds)
    yield NextStep("See whether another network does better.", _bakeoff(figures))


_STEPS: Mapping[str, Callable[[Figures, Neighbours | None], Iterator[NextStep]]] = {
    "underfitting": _underfitting,
    "overfitting": _overfitting,
    "too few images": _too_few_images,
    "noisy labels": _noisy_labels,
    "done": _done,
    "unclear": _unclear,
}
_PRETRAINED = ("--pretrained", "--weights", "auto")
_STRONGER = {"none": "medium", "light": "medium", "medium": "strong"}


def _beats(figures: Figures) -> bool:
    """Whether what was kept is known to be better than a probe."""
    held, tried = figures.on_validation, [float(r.get("val_accuracy", 0)) for r in figures.path]
    return held is not None and bool(tried) and held.accuracy > max(tried)


def _longer(figures: Figures) -> NextStep:
    number = 2 * (figures.last_phase or len(figures.epochs))
    return NextStep("Train longer.", _again(figures, "--epochs", str(number)))


def _larger(figures: Figures, siblings: Neighbours | None) -> NextStep:
    larger = _sibling(figures, siblings, "larger")
    if larger is None:
        return NextStep("A larger network: compare some.", _bakeoff(figures))
    return NextStep(f"A larger network: {_sizes(figures, larger)}.", _with_model(figures, larger))


def _sibling(figures: Figures, siblings: Neighbours | None, which: str) -> Entry | None:
    """The next of the family; none if surgery has made this one larger or smaller than that."""
    found: Entry | None = getattr(siblings(), which) if siblings is not None else None
    if found is None or not found.parameters or not figures.parameters:
        return found
    grows = found.parameters > figures.parameters
    return found if grows == (which == "larger") else None


def _sizes(figures: Figures, entry: Entry) -> str:
    size = f"{(entry.parameters or 0) / 1e6:.1f} M parameters"
    own = f" instead of {figures.parameters / 1e6:.1f} M" if figures.parameters else ""
    return f"{entry.name} has {size}{own}{'' if entry.here else ', its weights are online'}"


def _more_images(figures: Figures) -> str:
    named = [
        f"{more:,} of {name!r} ({right} of {number} recognised)"
        for name, more, right, number in weakest_classes(figures)
    ]
    first = f"; first of all {joined(named)}" if named else ""
    return f"Twice as many images, about {_usual(figures):,} more of each class{first}."


def _usual(figures: Figures) -> int:
    """Training images of the class in the middle."""
    return sorted(figures.counts.values())[len(figures.counts) // 2] if figures.counts else 0


def _with_model(figures: Figures, entry: Entry) -> str:
    if figures.bound:
        return f"bowerbird train {figures.same} --model {entry.name}"
    return _again(figures, "--model", entry.name)


def _tuned(figures: Figures) -> str:
    return _again(figures, "--method", "finetune")


def _again(figures: Figures, *changes: str) -> str:
    """The command that repeats the run with something changed."""
    if "--method" in changes and figures.method == "gradual":  # its steps are in the file
        return f"bowerbird train {figures.same} {shlex.join(changes)}"
    return shlex.join(["bowerbird", "train", "--config", figures.config, *changes])


def _bakeoff(figures: Figures) -> str:
    return f"bowerbird bakeoff {figures.same}"
