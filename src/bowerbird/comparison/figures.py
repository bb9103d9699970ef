"""What a diagnosis rests on: the figures of one training, and what follows from them at once.

Decisions:
- The training score of a probe is exact. That of an epoch was counted while its weights were
  still moving, on images as training changed them: then it is a lower limit, and whoever
  uses it says so. With mixed images (mixup, CutMix) it says nothing at all.
- The score that it is held against is on validation, of what was kept. What was chosen on these
  images scores a little too well on them; a gap is therefore, if anything, larger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bowerbird.auditing.doubts import Doubts
from bowerbird.comparison.trends import difference
from bowerbird.evaluation.intervals import wilson
from bowerbird.evaluation.results import Interval

WRONG = 0.01
"""Share of wrong labels that is worth a word."""
FEWEST_EPOCHS, MOST_EPOCHS = 4, 15
"""That a slope is told from; fewer can't fall by more than luck."""

__all__ = ["Cost", "Figures", "Row", "Score"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """A share of images named rightly, and of how many."""

    accuracy: float
    images: int

    @property
    def mistakes(self) -> Interval:
        """95 % interval of the share named wrongly (Wilson)."""
        found = wilson(round(self.accuracy * self.images), self.images)
        return Interval(1 - found.high, 1 - found.low)


@dataclass(frozen=True)
class Cost:
    """An amount of accuracy, 0 to 1, with its 95 % interval."""

    expected: float
    low: float
    high: float

    def __repr__(self) -> str:
        return f"{100 * self.expected:.1f} points [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True)
class Figures:
    """Of one training; nothing in it was measured on test images, doubts about labels apart.

    Attributes:
        history: rows of ``history.csv``.
        chosen: ``"probe"``, ``"finetune"``, or ``""`` for a training that hasn't ended.
        counts: training images by class.
        validation: number of validation images.
        tested: number of test images.
        held: score of the final network on validation, if it was measured.
        learned: score of the final network on its training images as they are, if it was
            measured.
        sure: score on validation without suspect labels.
        doubts: what the frozen features say of the images; None if nobody asked them.
        why_no_doubts: the reason, as a sentence.
        changes: how training changes its images, layers or labels at random, in words.
        mixed: whether images are mixed.
        planned: epochs planned in all phases, `last_phase` in the last; 0 if unknown.
        budget: as asked for, e.g. ``"5m"``; empty where it was epochs, or neither.
        model, parameters, pretrained, method: of the network, and how it was trained.
        frozen: whether someone asked for layers to stay frozen.
        alike: whether the frozen features of all training images were the same.
        surgery: whether layers were put in, cut off or replaced.
        bound: whether settings name layers or weights of this network, which no other has.
        augment, views: settings of that name.
        fold: whether this is one fold of several.
        refit: whether the final network learned from the validation images, too.
        config: the file that repeats the run; `run`: the run's folder, as commands take it.
        data: the images as commands take them, with the options that they are read with; `same`:
            and split with, so that what was held out stays so; `folded`: and each validation once.
    """

    history: Sequence[Row]
    chosen: str
    counts: Mapping[str, int]
    validation: int
    held: Score | None = None
    learned: Score | None = None
    sure: Score | None = None
    doubts: Doubts | None = None
    why_no_doubts: str = ""
    changes: tuple[str, ...] = ()
    mixed: bool = False
    planned: int = 0
    last_phase: int = 0
    budget: str = ""
    model: str = "the network"
    parameters: int = 0
    pretrained: bool = True
    method: str = "auto"
    frozen: bool = False
    alike: bool = False
    surgery: bool = False
    tested: int = 0
    bound: bool = False
    augment: str = "light"
    views: int = 2
    fold: bool = False
    refit: bool = False
    config: str = "RUN/config.toml"
    data: str = "DATA"
    same: str = "DATA"
    folded: str = "DATA --folds 5"
    run: str = "RUN"

    @property
    def training_images(self) -> int:
        """How many images were learned from."""
        return sum(self.counts.values())

    @cached_property
    def path(self) -> list[Row]:
        """The probe's rows, from strong to weak regularisation."""
        rows = [row for row in self.history if row.get("phase") == "probe"]
        return sorted(rows, key=lambda row: -float(row.get("regularization", 0)))

    @cached_property
    def epochs(self) -> list[Row]:
        """All other rows, in order."""
        return [row for row in self.history if row.get("phase") != "probe"]

    @property
    def probed(self) -> bool:
        """Whether what was kept, or got so far, is a classifier on frozen features."""
        return self.chosen == "probe" or not self.epochs

    @property
    def stood(self) -> bool:
        """Whether layers were trained, and no epoch was better than the probe, which stayed."""
        return self.chosen == "probe" and bool(self.epochs)

    @cached_property
    def kept(self) -> Row:
        """The row of what was kept; of a training under way, the best so far."""
        rows = self.path if self.probed else self.epochs
        marked = [row for row in rows if row.get("chosen")]
        scored = [row for row in rows if "val_accuracy" in row]
        if marked or not scored:
            return (marked or rows or [{}])[-1]
        return max(scored, key=lambda row: (row["val_accuracy"], -row.get("val_loss", 0.0)))

    @cached_property
    def on_validation(self) -> Score | None:
        """The score on validation of what was kept."""
        if self.held is not None:
            return self.held
        found = self.kept.get("val_accuracy")
        if found is None or not self.validation:
            return None
        return Score(float(found), self.validation)

    @cached_property
    def on_training(self) -> Score | None:
        """The score on training images of what was kept; of epochs as counted on the way."""
        if self.learned is not None:
            return self.learned
        found = self.kept.get("train_accuracy")
        if found is None or not self.training_images or (self.mixed and not self.probed):
            return None
        return Score(float(found), self.training_images)

    @cached_property
    def best_learned(self) -> Score | None:
        """The best score on training images by any regularisation or epoch."""
        rows = [*self.path, *([] if self.mixed else self.epochs)]
        found = [float(row["train_accuracy"]) for row in rows if "train_accuracy" in row]
        found += [self.learned.accuracy] if self.learned else []
        return Score(max(found), self.training_images) if found and self.training_images else None

    @property
    def exact(self) -> bool:
        """Whether the training score is of the images as they are."""
        return self.learned is not None or self.probed or not self.changes

    @cached_property
    def gap(self) -> Cost | None:
        """Accuracy on training images less that on validation."""
        train, held = self.on_training, self.on_validation
        if train is None or held is None:
            return None
        found = difference(train.accuracy, train.images, held.accuracy, held.images)
        return Cost(train.accuracy - held.accuracy, found.low, found.high)

    @cached_property
    def noise(self) -> Cost:
        """Share of labels expected to be wrong; nothing where it is small, or can't be told."""
        found = self.doubts
        if found is None or found.errors is None or not found.sure or not found.images:
            return Cost(0.0, 0.0, 0.0)
        errors, n = found.errors, found.images
        if errors.low <= WRONG * n:
            return Cost(0.0, 0.0, 0.0)
        return Cost(errors.expected / n, errors.low / n, errors.high / n)

    @cached_property
    def gain(self) -> Cost | None:
        """Accuracy that twice the images would bring, by the learning curve of frozen features.

        The share of mistakes that it saves, of this run's mistakes on validation.
        """
        held, found = self.on_validation, self.doubts
        if held is None or found is None or found.curve is None or found.curve.saved is None:
            return None
        # no mistake seen still allows for some
        error = 1 - held.accuracy if held.accuracy < 1 else held.mistakes.high / 2
        expected, low, high = (error * saved for saved in found.curve.saved)
        return Cost(expected, low, high)

    @cached_property
    def last_step(self) -> list[Row]:
        """Epochs with a validation loss, in which the same layers learned as in the last."""
        last = self.epochs[-1].get("step_name") if self.epochs else None
        same = [row for row in self.epochs if row.get("step_name") == last]
        return [row for row in same if math.isfinite(row.get("val_loss", math.nan))]

    @cached_property
    def last_losses(self) -> list[float]:
        """Validation losses of the last third of these epochs."""
        losses = [float(row["val_loss"]) for row in self.last_step]
        return losses[-min(MOST_EPOCHS, max(FEWEST_EPOCHS, math.ceil(len(losses) / 3))) :]
