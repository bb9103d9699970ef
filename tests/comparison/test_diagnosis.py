"""Made curves: each state is found where it was put, and not where it wasn't."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bowerbird.auditing.doubts import Doubts
from bowerbird.auditing.results import Errors, LearningCurve
from bowerbird.comparison.diagnosis import Diagnosis, diagnose, read_diagnosis
from bowerbird.comparison.figures import Figures, Row, Score
from bowerbird.errors import DataError
from bowerbird.runs import Run

SIZES = (50, 100, 200, 400)


def curve(saved: tuple[float, float, float], error: float = 0.1) -> LearningCurve:
    accuracy = tuple(1 - error / (1 - saved[0]) ** k for k in (3, 2, 1, 0))
    low, high = (tuple(a + d for a in accuracy) for d in (-0.02, 0.02))
    return LearningCurve(SIZES, accuracy, low, high, (0.9, 0.9, 0.9), saved)


def doubts(
    saved: tuple[float, float, float] = (0.05, -0.02, 0.1), wrong: float = 0, **changes: Any
) -> Doubts:
    errors = Errors(wrong, 0.8 * wrong, 1.2 * wrong + 3)
    suspects = {f"{i}.png": "cat" for i in range(int(wrong))}
    known = {"cat": (240, 250), "dog": (240, 250)}
    found = Doubts(suspects, 1000, errors, True, 0.96, known, curve(saved))
    return replace(found, **changes)


def epochs(train: list[float], val: list[float], losses: list[float] | None = None) -> list[Row]:
    losses = losses or [1 - accuracy for accuracy in val]
    return [
        {
            "phase": "finetune", "epoch": i + 1.0, "step_name": "all layers", "chosen": 0.0,
            "train_accuracy": a, "train_loss": 1 - a, "val_accuracy": b, "val_loss": loss,
        }
        for i, (a, b, loss) in enumerate(zip(train, val, losses, strict=True))
    ]  # fmt: skip


def path(train: list[float], val: list[float], chosen: int) -> list[Row]:
    return [
        {
            "phase": "probe", "step_name": "head", "regularization": 10.0 / 3**i,
            "train_accuracy": a, "val_accuracy": b, "val_loss": 1 - b, "chosen": float(i == chosen),
        }
        for i, (a, b) in enumerate(zip(train, val, strict=True))
    ]  # fmt: skip


def tuned(history: list[Row], **changes: Any) -> Figures:
    given: dict[str, Any] = {"doubts": doubts(), "validation": 500} | changes
    return Figures(history, "finetune", {"cat": 500, "dog": 500}, **given)


def probed(history: list[Row], **changes: Any) -> Figures:
    given: dict[str, Any] = {"doubts": doubts(), "validation": 500, "method": "probe"} | changes
    return Figures(history, "probe", {"cat": 500, "dog": 500}, **given)


GOOD = epochs([0.9, 0.98, 0.99, 0.995], [0.95, 0.985, 0.99, 0.988], [0.3, 0.1, 0.1, 0.11])
GOOD_PROBE = path([0.985, 0.99, 1.0], [0.985, 0.99, 0.985], chosen=1)


def states(figures: Figures) -> tuple[str, ...]:
    return diagnose(figures).states


def words(found: Diagnosis) -> str:
    return " ".join(
        [*(f.verdict for f in found.findings), *(e for f in found.findings for e in f.evidence)]
    ).replace("\xa0", " ")


def test_low_training_score_is_underfitting() -> None:
    found = diagnose(tuned(epochs([0.4, 0.55, 0.6, 0.6], [0.5, 0.6, 0.6, 0.6])))
    assert found.states == ("underfitting",)
    cost = found.findings[0].cost
    assert cost is not None
    assert cost.expected == pytest.approx(0.4)
    assert cost.low == pytest.approx(0.3701, abs=1e-4)  # Wilson, 400 of 1,000
    assert "at best 60 % rightly" in words(found)


@pytest.mark.parametrize(("learned", "alike"), [(0.5, True), (0.53, True), (0.6, False)])
def test_images_that_all_look_alike_are_said(learned: float, alike: bool) -> None:
    """The commonest class is half of the images: saying it always is half of them right."""
    found = diagnose(probed(path([learned], [0.5], chosen=0), alike=True))
    assert found.states == ("underfitting",)
    assert found.findings[0].verdict.startswith("The features of all") == alike
    cost = found.findings[0].cost
    assert cost is not None
    assert cost.expected == pytest.approx(1 - learned)
    assert "features of all" not in diagnose(probed(path([0.5], [0.5], chosen=0))).lines[0]


def test_a_loss_that_still_falls_is_underfitting() -> None:
    history = epochs([0.90, 0.94, 0.95, 0.96], [0.85, 0.88, 0.90, 0.95], [0.8, 0.6, 0.5, 0.4])
    found = diagnose(tuned(history, planned=4, last_phase=4, budget="1m"))
    assert found.states == ("underfitting",)
    said = words(found)
    assert "still getting better" in said
    assert "from 0.8 to 0.4 in the last 4 epochs (p = 0.042)" in said
    assert "The budget of 1m ended training." in said
    assert found.findings[0].steps[0].command.endswith("--epochs 8")


def test_three_epochs_are_too_few_for_a_slope() -> None:
    found = diagnose(tuned(epochs([0.9, 0.95, 0.97], [0.85, 0.88, 0.95], [0.8, 0.6, 0.4])))
    assert "underfitting" not in found.states
    assert any("3 epochs are too few" in sentence for sentence in found.unknown)
    assert found.states == ("unclear",)
    assert found.findings[0].steps[0].words == "Train longer."


def test_a_gap_is_overfitting_and_the_rising_loss_is_named() -> None:
    history = epochs(
        [0.8, 0.95, 0.99, 1.0, 1.0, 1.0], [0.8, 0.86, 0.86, 0.85, 0.84, 0.84],
        [0.5, 0.4, 0.45, 0.5, 0.6, 0.7],
    )  # fmt: skip
    found = diagnose(tuned(history, augment="none"))
    assert found.states == ("overfitting",)
    assert found.findings[0].cost is not None
    assert found.findings[0].cost.expected == pytest.approx(0.09)
    assert found.findings[0].cost.low > 0.05
    assert "Validation loss rises after epoch 2, from 0.4 to 0.7 (p = 0.042)" in words(found)
    assert found.findings[0].steps[0].command.endswith("--augment medium")


def test_twenty_validation_images_show_no_gap() -> None:
    history = epochs([0.8, 0.9, 0.97, 1.0], [0.85, 0.9, 0.94, 0.95], [0.5, 0.4, 0.41, 0.39])
    found = diagnose(tuned(history, validation=20))
    assert found.states == ("unclear",)
    assert any("20 validation images are too few to see a gap" in s for s in found.unknown)
    assert states(tuned(history, validation=2000)) == ("overfitting",)


def test_a_rising_learning_curve_is_too_few_images() -> None:
    history = path([0.95, 1.0, 1.0], [0.78, 0.8, 0.8], chosen=1)
    found = diagnose(probed(history, doubts=doubts((0.2, 0.1, 0.3))))
    assert found.states == ("too few images",)
    cost = found.findings[0].cost
    assert cost is not None
    assert (cost.expected, cost.low, cost.high) == pytest.approx((0.04, 0.02, 0.06))
    assert "2,000 training images instead of 1,000 should bring 4 points (2.0 to 6.0)" in words(
        found
    )
    assert "is what more images narrow" in words(found)
    assert found.curve is not None


def test_a_learning_curve_that_may_be_flat_says_so() -> None:
    history = path([0.95, 1.0, 1.0], [0.78, 0.8, 0.8], chosen=1)
    found = diagnose(probed(history, doubts=doubts((0.2, -0.01, 0.4))))
    assert found.states == ("unclear",)
    assert any("twice as many might bring 8 points, or nothing" in s for s in found.unknown)


def test_wrong_labels_are_noisy_labels() -> None:
    history = path([0.82, 0.9, 0.95], [0.79, 0.78, 0.77], chosen=0)
    found = diagnose(probed(history, doubts=doubts(wrong=200), sure=Score(0.96, 420)))
    assert found.states == ("noisy labels",)
    assert "About 200 of 1,000 labels (160 to 243) are probably wrong." in words(found)
    assert "Without the 80 suspect ones, 96 % of the validation images" in words(found)
    assert found.findings[0].steps[0].command == "bowerbird audit DATA"


def test_wrong_labels_explain_a_low_training_score() -> None:
    history = epochs([0.7, 0.75, 0.78, 0.8], [0.7, 0.78, 0.77, 0.78], [0.9, 0.8, 0.82, 0.81])
    assert "underfitting" in states(tuned(history))
    assert states(tuned(history, doubts=doubts(wrong=200))) == ("noisy labels",)


def test_weak_features_call_no_label_wrong() -> None:
    judged = doubts(wrong=100, sure=False, recognised=0.5)
    found = diagnose(probed(GOOD_PROBE, doubts=judged))
    assert "noisy labels" not in found.states
    assert any("Whether labels are wrong can't be told" in s for s in found.unknown)


@pytest.mark.parametrize("figures", [tuned(GOOD), probed(GOOD_PROBE)], ids=["epochs", "probe"])
def test_nothing_wrong_is_done(figures: Figures) -> None:
    found = diagnose(figures)
    assert found.states == ("done",)
    assert found.findings[0].cost is None
    assert "99 % on validation" in words(found)


def test_without_features_wrong_labels_may_look_like_a_gap() -> None:
    history = epochs([0.8, 0.95, 0.99, 1.0], [0.8, 0.86, 0.86, 0.85], [0.5, 0.4, 0.45, 0.5])
    assert "nobody has looked for any" in words(diagnose(tuned(history, doubts=None)))
    assert "nobody has looked for any" not in words(diagnose(tuned(history)))


def test_without_features_nothing_is_called_done() -> None:
    found = diagnose(tuned(GOOD, doubts=None, why_no_doubts="Nobody asked."))
    assert found.states == ("unclear",)
    assert "Nobody asked." in found.unknown
    assert found.curve is None


def test_what_costs_most_comes_first() -> None:
    history = epochs([0.7, 0.9, 1.0, 1.0], [0.7, 0.75, 0.75, 0.75], [0.6, 0.5, 0.52, 0.53])
    few = doubts((0.2, 0.15, 0.25))
    assert states(tuned(history, doubts=few)) == ("overfitting", "too few images")
    noisy = doubts((0.2, 0.15, 0.25), wrong=200)
    found = diagnose(tuned(history, doubts=noisy))
    assert found.states[0] == "noisy labels"
    costs = [f.cost.expected for f in found.findings if f.cost]
    assert costs == sorted(costs, reverse=True)


def test_the_gap_of_a_probe_is_overfitting_only_where_no_penalty_is_enough() -> None:
    balanced = path([0.9, 1.0, 1.0], [0.78, 0.8, 0.79], chosen=1)
    strongest = path([1.0, 1.0, 1.0], [0.8, 0.79, 0.78], chosen=0)
    assert "overfitting" not in states(probed(balanced))
    assert states(probed(strongest)) == ("overfitting",)
    rising = doubts((0.2, 0.1, 0.3))
    assert states(probed(strongest, doubts=rising)) == ("too few images",)


def test_a_probe_that_could_learn_its_images_is_not_underfitting() -> None:
    """What regularisation holds back, as validation asks, is no lack of capacity."""
    held_back = path([0.7, 0.85, 1.0], [0.68, 0.68, 0.66], chosen=0)
    assert "underfitting" not in states(probed(held_back))
    assert "underfitting" in states(probed(path([0.7, 0.72, 0.74], [0.7, 0.7, 0.7], chosen=1)))


def test_changed_training_images_make_their_score_a_lower_limit() -> None:
    low = epochs([0.6, 0.7, 0.75, 0.75], [0.7, 0.78, 0.8, 0.8], [0.6, 0.5, 0.52, 0.51])
    mild = diagnose(tuned(low, changes=("light changes",)))
    assert mild.states == ("underfitting",)
    assert any("lower limit" in sentence for sentence in mild.unknown)
    strong = diagnose(tuned(low, changes=("strong changes",)))
    assert strong.states == ("unclear",)
    assert strong.findings[0].steps[0].command == "bowerbird evaluate RUN --on train"
    assert any("the score on them says nothing of a gap" in said for said in strong.unknown)
    measured = tuned(low, changes=("strong changes",), learned=Score(0.99, 1000))
    assert states(measured) == ("overfitting",)


def test_mixed_images_say_nothing_of_a_gap() -> None:
    low = epochs([0.3, 0.4, 0.4, 0.4], [0.9, 0.97, 0.98, 0.98], [0.6, 0.5, 0.52, 0.51])
    found = diagnose(tuned(low, changes=("mixing",), mixed=True))
    assert found.states == ("unclear",)
    assert any("--on train" in sentence for sentence in found.unknown)
    assert found.findings[0].steps[0].command == "bowerbird evaluate RUN --on train"


def test_a_training_that_was_interrupted_is_resumed_first() -> None:
    figures = replace(tuned(epochs([0.5, 0.6], [0.5, 0.6])), chosen="")
    found = diagnose(figures)
    assert found.states == ("underfitting",)
    assert found.findings[0].steps[0].command == "bowerbird resume RUN"
    assert any("interrupted" in sentence for sentence in found.unknown)
    nothing = diagnose(replace(figures, history=[]))
    assert nothing.states == ("unclear",)
    assert any("no score on validation" in sentence for sentence in nothing.unknown)


def test_a_loss_that_left_all_bounds_is_no_slope() -> None:
    nan, inf = float("nan"), float("inf")
    history = epochs(
        [0.5, 0.6, 0.5, 0.1, 0.1], [0.5, 0.6, 0.5, 0.5, 0.5], [0.9, 0.8, inf, nan, nan]
    )
    found = diagnose(tuned(history))
    assert "underfitting" in found.states
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_refit_and_a_fold_are_said() -> None:
    found = diagnose(tuned(GOOD, refit=True, fold=True))
    assert any("before the refit" in sentence for sentence in found.unknown)
    assert any("one fold" in sentence for sentence in found.unknown)


def test_two_lines_say_what_it_is_and_what_to_do() -> None:
    history = epochs([0.7, 0.9, 1.0, 1.0], [0.7, 0.75, 0.75, 0.75], [0.6, 0.5, 0.52, 0.53])
    first, second = diagnose(tuned(history, doubts=doubts((0.2, 0.15, 0.25)))).lines
    assert first.startswith("Diagnosis: overfitting. It is 15 points better")
    assert first.endswith("Also: too few images.")
    assert second.startswith("Next: ")
    assert "bowerbird train --config RUN/config.toml" in second


def test_there_and_back(tmp_path: Path) -> None:
    found = diagnose(tuned(GOOD, doubts=doubts((0.5, 0.2, 0.6))))
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert Diagnosis.from_dict(json.loads(text)) == found
    run = Run(tmp_path, None, ())  # type: ignore[arg-type]
    assert read_diagnosis(run) is None
    (tmp_path / "diagnosis.json").write_text(text)
    assert read_diagnosis(run) == found
    (tmp_path / "diagnosis.json").write_text(text[:40])
    assert read_diagnosis(run) is None
    for damaged in ({}, found.to_dict() | {"findings": [3]}, found.to_dict() | {"curve": [1]}):
        with pytest.raises(DataError, match="not complete"):
            Diagnosis.from_dict(damaged)


def test_the_gap_is_that_of_the_epoch_that_was_kept() -> None:
    """Later epochs that learned the images by heart weren't kept."""
    history = epochs(
        [0.7, 0.8, 0.82, 0.9, 0.95, 1.0], [0.75, 0.79, 0.8, 0.76, 0.75, 0.75],
        [0.6, 0.5, 0.48, 0.6, 0.7, 0.8],
    )  # fmt: skip
    assert "overfitting" not in states(tuned(history, validation=2000))


def test_noise_after_the_best_epoch_is_no_rise() -> None:
    """The least loss is lower than all others by choice, so it must not count."""
    losses = [0.5, 0.4, 0.5, 0.48, 0.52, 0.49]
    history = epochs([0.9, 1.0, 1.0, 1.0, 1.0, 1.0], [0.8, 0.82, 0.8, 0.8, 0.8, 0.8], losses)
    assert "doesn't clearly rise after epoch 2" in words(diagnose(tuned(history)))
