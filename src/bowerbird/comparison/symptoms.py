"""The four judgements of a diagnosis: each takes the figures, and says whether its state holds.

What counts as worth a word is fixed here, in points of accuracy: 5 for what isn't learned, 2 for
a gap, 1 for what more images would bring, 1 in 100 for wrong labels. These are no verdicts: a
verdict needs an interval that lies beyond them.

Decisions:
- Underfitting: the lower end of the training error, less the wrong labels, is above 5 points;
  or validation loss still falls at the end; or the frozen features of all images were the same,
  and nothing was learned beyond them. For the training error the best counts that any
  regularisation or epoch reached: what could be learned, but is held back, is no lack of
  capacity.
- Overfitting: the lower end of the gap, less the wrong labels, is above 2 points, and
  validation doesn't get better any more. That its loss rises again is said beside it. A probe
  has its regularisation chosen on validation, so its gap is overfitting only where validation
  asks for the strongest that was tried, and more images don't narrow it.
- Too few images: the slope of the learning curve is more than luck, and twice the images are
  expected to bring a point or more. The curve is that of frozen features; the share of mistakes
  that it saves is applied to the mistakes of the run itself.
- Noisy labels: the lower end of the expected share of wrong labels is above 1 in 100, and the
  features know the classes well enough that it is more than an upper limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from bowerbird.comparison.figures import FEWEST_EPOCHS, MOST_EPOCHS, Cost, Figures
from bowerbird.comparison.phrases import (
    joined,
    of_wrong_labels,
    points,
    share,
    times_to_halve,
    with_interval,
)
from bowerbird.comparison.trends import p_falling, p_rising
from bowerbird.evaluation.results import Interval

__all__ = [
    "GAIN",
    "GAP",
    "UNLEARNED",
    "Symptom",
    "blind",
    "blurred",
    "improving",
    "symptoms",
    "unlearned",
]

UNLEARNED, GAP, GAIN = 0.05, 0.02, 0.01
_BY_LUCK = 0.05
_STILL = 0.05


@dataclass(frozen=True)
class Symptom:
    """A state that holds.

    Attributes:
        state: its name.
        verdict: one sentence.
        cost: in accuracy; None where there is none.
        evidence: sentences with figures.
    """

    state: str
    verdict: str
    cost: Cost | None
    evidence: tuple[str, ...]


def symptoms(figures: Figures) -> list[Symptom]:
    """The states that hold, what costs most first; empty where none does."""
    judged = (_underfitting, _overfitting, _too_few_images, _noisy_labels)
    found = [symptom for judge in judged if (symptom := judge(figures)) is not None]
    return sorted(found, key=lambda symptom: -symptom.cost.expected if symptom.cost else 0.0)


def improving(figures: Figures) -> Interval | None:
    """Validation loss at the beginning and end of the last epochs, if it still falls there."""
    losses = figures.last_losses
    if len(losses) < FEWEST_EPOCHS or p_falling(losses) > _BY_LUCK:
        return None
    least = min(losses)
    return Interval(least, losses[0]) if least < (1 - _STILL) * losses[0] else None


def unlearned(figures: Figures) -> Cost | None:
    """Share of the training images that are not learned, wrong labels apart.

    None where it isn't known, or where images are changed so much that it says nothing.
    """
    best, noise = figures.best_learned, figures.noise
    if best is None or blurred(figures):
        return None
    error = best.mistakes
    return Cost(
        max(0.0, 1 - best.accuracy - noise.expected),
        max(0.0, error.low - noise.high),
        max(0.0, error.high - noise.low),
    )


def _underfitting(figures: Figures) -> Symptom | None:
    held, lost, falling = figures.on_validation, unlearned(figures), improving(figures)
    evidence = tuple(filter(None, (*_on_training(figures), _falling_words(figures))))
    if blind(figures):
        verdict = "The features of all its training images are the same: it can't tell them apart."
        return Symptom("underfitting", verdict, lost, evidence)
    if lost is not None and lost.low > UNLEARNED:
        verdict = f"It doesn't learn {share(lost.expected)} of the very images that it is shown."
        return Symptom("underfitting", verdict, lost, evidence)
    if falling is None or held is None or 1 - held.accuracy <= GAP:
        return None
    gained = _gained(figures)
    cost = Cost(gained, 0.0, gained) if gained else None
    verdict = "It was still getting better when training ended."
    return Symptom("underfitting", verdict, cost, evidence)


def _overfitting(figures: Figures) -> Symptom | None:
    gap, train, held = figures.gap, figures.on_training, figures.on_validation
    if gap is None or train is None or held is None or not _gap_tells(figures):
        return None
    noise = figures.noise
    if gap.low - noise.high <= GAP:
        return None
    cost = Cost(max(0.0, gap.expected - noise.expected), gap.low - noise.high, gap.high - noise.low)
    lower = not figures.exact and train.accuracy < 1
    limit = f" or more ({joined(figures.changes)} make them harder)" if lower else ""
    evidence = [
        f"Training images: {share(train.accuracy)} right{limit}. Validation images: "
        f"{share(held.accuracy)} of {held.images:,}. The gap is {with_interval(gap)}."
    ]
    if noise.expected:
        evidence.append(f"Of it, {of_wrong_labels(figures)} being wrong explain a part.")
    evidence.append(_after_best(figures))
    if figures.doubts is None:
        evidence.append("Wrong labels, learned by heart, look the same; nobody has looked for any.")
    words = f"It is {points(cost.expected)} better on images that it has learned than on new ones."
    return Symptom("overfitting", words, cost, tuple(filter(None, evidence)))


def _too_few_images(figures: Figures) -> Symptom | None:
    gained = figures.gain
    if gained is None or figures.doubts is None or figures.doubts.curve is None:
        return None
    curve, saved = figures.doubts.curve, figures.doubts.curve.saved
    if saved is None or gained.low <= 0 or gained.expected < GAIN:
        return None
    twice, n = 2 * figures.training_images, figures.training_images
    evidence = [
        f"On frozen features, {share(curve.accuracy[-2])} of new images are recognised after "
        f"{curve.images[-2]:,} images, {share(curve.accuracy[-1])} after {curve.images[-1]:,}. "
        f"Each doubling takes away {share(saved[0])} of the mistakes ({share(saved[1])} to "
        f"{share(saved[2])}).",
        f"If that goes on, {times_to_halve(saved[0])} times the images halve the mistakes.",
    ]
    if figures.gap is not None and figures.gap.low > GAP:
        evidence.append(
            f"The gap between training and validation images, {with_interval(figures.gap)}, is "
            "what more images narrow."
        )
    verdict = f"{twice:,} training images instead of {n:,} should bring {with_interval(gained)}."
    return Symptom("too few images", verdict, gained, tuple(evidence))


def _noisy_labels(figures: Figures) -> Symptom | None:
    noise, found = figures.noise, figures.doubts
    if found is None or not noise.low:
        return None
    evidence = [
        f"Where the frozen features are surest, they contradict {share(noise.expected)} of the "
        f"labels ({share(noise.low)} to {share(noise.high)}), and no more often where they "
        "are less sure, as wrong labels do.",
        f"{len(found.suspects):,} labels are suspect one by one; doubts.json names them.",
    ]
    sure, held = figures.sure, figures.on_validation
    if sure is not None and held is not None and sure.images < held.images:
        evidence.append(
            f"Without the {held.images - sure.images} suspect ones, {share(sure.accuracy)} of "
            f"the validation images are named rightly, with them {share(held.accuracy)}; the "
            "difference is an upper limit, since the same features judge both."
        )
    return Symptom(
        "noisy labels", f"{of_wrong_labels(figures).capitalize()} are probably wrong.", noise,
        tuple(evidence),
    )  # fmt: skip


def blind(figures: Figures) -> bool:
    """Whether the network sees no difference between images, and training didn't mend that.

    Mended it is once training images are named better than by always saying the commonest class.
    """
    best, commonest = figures.best_learned, max(figures.counts.values(), default=0)
    constant = commonest / max(figures.training_images, 1)
    return figures.alike and (best is None or 1 - best.mistakes.high <= constant)


def blurred(figures: Figures) -> bool:
    """Whether training images are changed so much that a low score on them says nothing."""
    if figures.exact:
        return False
    return figures.mixed or any(word not in _MILD for word in figures.changes)


_MILD = ("light changes",)


def _on_training(figures: Figures) -> list[str]:
    """What is learned, and what that is worth on validation."""
    best, lost, held, said = figures.best_learned, unlearned(figures), figures.on_validation, []
    if best is not None and lost is not None:
        limit = "" if figures.exact else f", while {joined(figures.changes)} made them harder"
        words = f"Of its own training images it names at best {share(best.accuracy)} rightly{limit}"
        if figures.noise.expected:
            words += f"; {of_wrong_labels(figures)} may be wrong, which explains a part"
        said.append(f"{words}. Not learned: {with_interval(lost)}.")
    if held is not None:
        said.append(f"On validation it names {share(held.accuracy)} rightly.")
    return said


def _falling_words(figures: Figures) -> str:
    """How validation loss still falls, and what ended training."""
    falling, said = improving(figures), ""
    if falling is not None:
        said = (
            f"Validation loss still falls at the end, from {falling.high:.3g} to {falling.low:.3g} "
            f"in the last {len(figures.last_losses)} epochs (p = "
            f"{p_falling(figures.last_losses):.2g}). "
        )
    if figures.budget and 0 < figures.planned <= len(figures.epochs):
        said += f"The budget of {figures.budget} ended training."
    return said.strip()


def _gap_tells(figures: Figures) -> bool:
    """Whether a gap is overfitting.

    Not while validation still gets better, too. Of a probe only where even the strongest
    regularisation isn't enough; where more images narrow its gap, that is the better word.
    """
    if not figures.probed:
        return improving(figures) is None
    strongest = len(figures.path) > 1 and figures.kept is figures.path[0]
    return strongest and _too_few_images(figures) is None


def _after_best(figures: Figures) -> str:
    """How validation loss goes on after its best epoch; of a probe, what it asked for."""
    if figures.probed:
        return "Validation asks for the strongest regularisation that was tried."
    losses = [float(row["val_loss"]) for row in figures.last_step]
    if not losses:
        return ""
    place = losses.index(min(losses))
    best, after = int(figures.last_step[place].get("epoch", 0)), losses[place + 1 :][:MOST_EPOCHS]
    if len(after) < FEWEST_EPOCHS:
        return "Too few epochs came after the best to tell whether validation loss rises again."
    p_value = p_rising(after)  # without the best: from the least one on, all would rise
    if p_value <= _BY_LUCK:
        return (
            f"Validation loss rises after epoch {best}, from {min(losses):.3g} to {after[-1]:.3g} "
            f"(p = {p_value:.2g})."
        )
    return f"Validation loss doesn't clearly rise after epoch {best} (p = {p_value:.2g})."


def _gained(figures: Figures) -> float:
    """Accuracy won on validation in the last epochs."""
    number = len(figures.last_losses)
    found = [float(row["val_accuracy"]) for row in figures.epochs if "val_accuracy" in row]
    return max(0.0, found[-1] - found[-number]) if found else 0.0
