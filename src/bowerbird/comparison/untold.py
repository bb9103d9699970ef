"""What a diagnosis says where nothing is wrong: that it is done, or what couldn't be told.

Done is claimed only where all four questions have an answer: the gap, the number of images,
their labels, and, by the training score, whether the network can learn them at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bowerbird.comparison.figures import FEWEST_EPOCHS, WRONG, Figures
from bowerbird.comparison.phrases import joined, of_wrong_labels, points, share, with_interval
from bowerbird.comparison.symptoms import GAIN, GAP, Symptom, blurred

__all__ = ["nothing_wrong", "remarks", "unknown"]

_CAN_TELL = 0.06


def nothing_wrong(figures: Figures, open_questions: Sequence[str]) -> Symptom:
    """The verdict where no symptom was found: done, or unclear."""
    return _unclear(figures) if open_questions else _done(figures)


def unknown(figures: Figures) -> tuple[str, ...]:
    """What would have to be known to call a run done, and isn't."""
    judged = (_about_epochs, _about_gap, _about_images, _about_labels)
    return tuple(filter(None, (judge(figures) for judge in judged)))


def remarks(figures: Figures) -> list[str]:
    """What a reader should know of how it was told."""
    said = []
    if not figures.epochs:
        said.append("A probe has no epochs: its regularisation and its two scores tell instead.")
    if figures.stood:
        best = max(float(row.get("val_accuracy", 0)) for row in figures.epochs)
        epochs = len(figures.epochs)
        said.append(
            f"Layers were trained, but the best of {epochs} epochs named {share(best)} of the "
            "validation images rightly, no better than the probe, which was kept and is what is "
            "judged here."
        )
    train = figures.on_training
    if not figures.exact and train is not None and train.accuracy < 1:
        exactly = f" Exactly: bowerbird evaluate {figures.run} --on train" if figures.chosen else ""
        said.append(
            f"The training score is a lower limit: {joined(figures.changes)} make training images "
            f"harder.{exactly}"
        )
    if figures.refit:
        said.append(
            "All this is of the training before the refit: since then validation is learned from."
        )
    if figures.fold:
        said.append("This is one fold of several: its validation images are its own.")
    if not figures.chosen:
        said.append("Training was interrupted; this is as far as it got.")
    return said


def _done(figures: Figures) -> Symptom:
    held, gap, gained = figures.on_validation, figures.gap, figures.gain
    evidence = []
    if figures.best_learned is not None:
        evidence.append(f"Training images: {share(figures.best_learned.accuracy)} right.")
    if gap is not None and held is not None:
        evidence.append(
            f"Validation images: {share(held.accuracy)} of {held.images:,} right, a gap of "
            f"{with_interval(gap)}{_gap_words(figures)}."
        )
    if gained is not None:
        evidence.append(
            f"Twice the images would bring {with_interval(gained)}, by frozen features."
        )
    if figures.doubts is not None and figures.doubts.errors is not None:
        evidence.append(f"Wrong labels: {of_wrong_labels(figures)}.")
    reached = f"{share(held.accuracy)} on validation" if held else "this"
    verdict = f"With {reached}, {figures.model} has given what it gives, trained like this."
    return Symptom("done", verdict, None, tuple(evidence))


def _gap_words(figures: Figures) -> str:
    if not figures.probed or figures.gap is None or figures.gap.low <= GAP:
        return ""
    return " that no other regularisation narrows without loss"


def _unclear(figures: Figures) -> Symptom:
    held = figures.on_validation
    verdict = "Nothing is clearly wrong, but not all of it could be told."
    evidence = []
    if held is not None:
        evidence.append(f"Validation images: {share(held.accuracy)} of {held.images:,} right.")
    if figures.gap is not None:
        evidence.append(f"The gap to training images is {with_interval(figures.gap)}.")
    return Symptom("unclear", verdict, None, tuple(evidence))


def _about_epochs(figures: Figures) -> str:
    held, number = figures.on_validation, len(figures.last_step)
    if figures.probed or number >= FEWEST_EPOCHS or held is None or 1 - held.accuracy <= GAP:
        return ""
    epochs = "1 epoch is" if number == 1 else f"{number} epochs are"
    return f"{epochs} too few to tell whether more would help."


def _about_gap(figures: Figures) -> str:
    gap, held = figures.gap, figures.on_validation
    if held is None:
        return "There is no score on validation yet, so nothing can be held against it."
    if figures.mixed and not figures.probed and figures.learned is None:
        return (
            "Training images are mixed with each other, so the score on them says nothing of a "
            f"gap. It can be measured: bowerbird evaluate {figures.run} --on train"
        )
    if gap is None:
        return "There is no score on training images."
    if gap.low <= GAP and not figures.probed and blurred(figures):
        return (
            f"{joined(figures.changes).capitalize()} make training images so much harder that "
            "the score on them says nothing of a gap. It can be measured: "
            f"bowerbird evaluate {figures.run} --on train"
        )
    width = (gap.high - gap.low) / 2
    if width > _CAN_TELL and gap.low <= GAP < gap.high:
        return (
            f"{held.images} validation images are too few to see a gap: it is "
            f"{with_interval(gap)}. About {_needed(held.images, width):,} would do."
        )
    return ""


def _about_images(figures: Figures) -> str:
    gained = figures.gain
    if figures.doubts is None:
        return figures.why_no_doubts
    if gained is None:
        return "There are too few images for a learning curve."
    if gained.low <= 0 and gained.high > 3 * GAIN:
        return (
            "Whether more images would help can't be told: twice as many might bring "
            f"{points(max(gained.high, 0.0))}, or nothing."
        )
    return ""


def _about_labels(figures: Figures) -> str:
    found = figures.doubts
    if found is None or found.errors is None or found.sure:
        return ""
    if found.errors.low <= WRONG * found.images:
        return ""
    return (
        f"Whether labels are wrong can't be told: frozen features recognise "
        f"{share(found.recognised)}, too few to judge. Up to {math.ceil(found.errors.high):,} of "
        f"{found.images:,} may be."
    )


def _needed(images: int, width: float) -> int:
    """Validation images with which the gap's interval would be narrow enough."""
    return math.ceil(images * (width / _CAN_TELL) ** 2 / 10) * 10
