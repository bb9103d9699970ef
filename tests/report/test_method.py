"""What the report says of the training: from what was done, for every method."""

from __future__ import annotations

from typing import Any

import pytest

from bowerbird.config import NetworkConfig, Recipe, TrainConfig
from bowerbird.report.method import kept_rows, training_words

PROBE: list[dict[str, Any]] = [
    {"phase": "probe", "step_name": "head", "regularization": 10.0**i, "chosen": float(i == 1),
     "val_accuracy": 0.8, "val_loss": 0.5}
    for i in range(3)
]  # fmt: skip


def epochs(*names: str, best: int | None = None) -> list[dict[str, Any]]:
    """One row per name; the `best`-th, counted from 1, has the highest accuracy."""
    return [
        {"phase": "finetune", "epoch": float(n), "step_name": name, "val_loss": 0.4,
         "val_accuracy": 0.9 if n == best else 0.7}
        for n, name in enumerate(names, start=1)
    ]  # fmt: skip


def words(
    history: list[dict[str, Any]], chosen: str = "finetune", kind: str = "packaged", **train: Any
) -> str:
    recipe = Recipe(network=NetworkConfig(), train=TrainConfig(**train))
    facts = {"chosen": chosen, "network": {"weights": {"kind": kind}}}
    return training_words(recipe, facts, kept_rows(history, facts))


CLASSIFIER = "Only the classifier was trained, on the features that the frozen network gives."


def test_a_probe() -> None:
    assert words(PROBE, "probe", method="probe") == CLASSIFIER
    assert words(PROBE, "probe") == CLASSIFIER


def test_fine_tuning_that_was_no_better() -> None:
    history = PROBE + epochs("from layer4", "from layer4", "from layer3")
    assert words(history, "probe") == (
        f"{CLASSIFIER} Training the layers from layer4 on and the layers from layer3 on, too, was "
        "tried for 3 epochs and was no better on validation."
    )


def test_fine_tuning_after_a_probe() -> None:
    history = PROBE + epochs("from blocks.6", "from blocks.4", "from blocks.4", best=2)
    assert words(history) == (
        "First the classifier was trained, on the features that the frozen network gives; then "
        "the layers from blocks.6 on for 1 epoch, then the layers from blocks.4 on for 2 epochs. "
        "All that comes before stayed as it was. "
        "What was kept is epoch 2 of 3, the best on validation."
    )


def test_fine_tuning_that_left_what_it_began_with() -> None:
    said = words(PROBE + epochs("from layer4"), method="finetune")
    assert said.endswith(
        "No epoch was better on validation than what it began with, which was kept."
    )
    unseen = [{"phase": "finetune", "epoch": 1.0, "step_name": "head", "train_loss": 0.3}]
    assert "kept" not in words(unseen, method="plain")


def test_gradual_unfreezing() -> None:
    history = epochs("head", "head", "from layer4", "all layers", best=4)
    assert words(history, method="gradual") == (
        "Layers were released step by step over 4 epochs: at first the classifier, from epoch 3 on "
        "the layers from layer4 on, from epoch 4 on all layers. "
        "What was kept is epoch 4 of 4, the best on validation."
    )


def test_the_plain_loop() -> None:
    history = epochs("all layers", "all layers", best=2)
    assert words(history, kind="none", method="plain") == (
        "Trained were all layers for 2 epochs, beginning with random weights. "
        "What was kept is epoch 2 of 2, the best on validation."
    )
    frozen = words(epochs("from conv1", best=1), method="plain", freeze="bn1,layer1.*")
    assert (
        "for 1 epoch, beginning with pretrained weights. Frozen throughout: bn1,layer1.*" in frozen
    )
    until = words(epochs("from layer4", best=1), method="plain", freeze_until="layer4")
    assert "the layers from layer4 on" in until
    assert "All that comes before stayed as it was." in until


def test_a_refit_and_a_mean_of_epochs_are_told() -> None:
    history = epochs("head", "head", "head")
    history[0]["chosen"] = history[2]["chosen"] = 1
    said = words(history, method="plain", refit=True)
    assert "What was kept is the mean of the epochs 1, 3." in said
    assert said.endswith("from the training and validation pictures together.")


def test_nothing_is_claimed_of_a_history_that_is_lost() -> None:
    assert words([], "finetune") == ""


# Which epoch was kept


def kept(history: list[dict[str, Any]], chosen: str = "finetune") -> list[float]:
    rows = kept_rows(history, {"chosen": chosen})
    return [row["epoch"] for row in rows if row["phase"] == "finetune" and row.get("chosen")]


def test_the_first_best_epoch_was_kept() -> None:
    history = PROBE + epochs("a", "a", "a", best=2)
    history.append(history[-2] | {"epoch": 4.0})
    assert kept(history) == [2]
    assert not any(row.get("chosen") for row in history[3:])  # what was given stays as it is


def test_loss_decides_between_equal_accuracies() -> None:
    history = epochs("a", "a", "a")
    history[1]["val_loss"] = 0.1
    assert kept(history) == [2]


def test_an_epoch_no_better_than_the_probe_was_not_kept() -> None:
    assert kept(PROBE + epochs("a", "a")) == []
    assert kept(PROBE + epochs("a", best=1), "probe") == []


@pytest.mark.parametrize("marks", [(1,), (1, 3)])
def test_what_the_training_has_marked_stays(marks: tuple[int, ...]) -> None:
    history = PROBE + epochs("a", "a", "a", best=2)
    for mark in marks:
        history[2 + mark]["chosen"] = 1.0
    assert kept(history) == list(marks)


def test_without_validation_nothing_is_marked() -> None:
    history = [{"phase": "finetune", "epoch": 1.0, "train_loss": 0.3}]
    assert kept(history) == []
