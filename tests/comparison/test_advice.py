"""What is advised exists, isn't done already, and names the classes that need it most."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest

from bowerbird.auditing.doubts import Doubts
from bowerbird.cli import app
from bowerbird.comparison.advice import next_steps, weakest_classes
from bowerbird.comparison.figures import Figures, Score
from bowerbird.comparison.symptoms import Symptom
from bowerbird.models.catalogue import Entry
from bowerbird.models.siblings import Siblings

SMALLER = Entry("small_net", "installed", "MIT", (3, 224, 224), 1_000_000, None)
LARGER = Entry("large_net", "online", "MIT", (3, 224, 224), 9_000_000, None)
STATES = ("underfitting", "overfitting", "too few images", "noisy labels", "done", "unclear")
ROW = {
    "phase": "finetune", "epoch": 1.0, "train_accuracy": 0.5, "val_accuracy": 0.5, "val_loss": 1.0,
}  # fmt: skip
FIGURES = Figures(
    [ROW], "finetune", {"cat": 40, "dog": 40, "owl": 10}, 50, parameters=4_000_000,
    held=Score(0.9, 50), data="'some folder' --label-column=kind", config="a run/config.toml",
)  # fmt: skip


def siblings() -> Siblings:
    return Siblings(SMALLER, LARGER)


def commands(state: str, **changes: Any) -> list[str]:
    figures = replace(FIGURES, **changes)
    return [s.command for s in next_steps(Symptom(state, "", None, ()), figures, siblings)]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("chosen", ["finetune", "probe", ""])
@pytest.mark.parametrize("method", ["auto", "probe", "gradual", "plain"])
@pytest.mark.parametrize("pretrained", [True, False])
def test_every_command_is_one_that_the_command_line_takes(
    state: str, chosen: str, method: str, pretrained: bool
) -> None:
    found = commands(state, chosen=chosen, method=method, pretrained=pretrained)
    assert 0 < len(found) <= 3
    for command in filter(None, found):
        program, *words = shlex.split(command)
        assert program == "bowerbird"
        app.parse_args(words, exit_on_error=False, print_error=False)


def test_paths_with_spaces_are_quoted() -> None:
    (longer, *_) = commands("underfitting")
    assert "--config 'a run/config.toml'" in longer


def test_a_larger_and_a_smaller_network_are_named_with_their_size() -> None:
    under = next_steps(Symptom("underfitting", "", None, ()), FIGURES, siblings)
    assert any("large_net has 9.0 M parameters instead of 4.0 M, its" in s.words for s in under)
    assert any(s.command.endswith("--model large_net") for s in under)
    assert any(c.endswith("--model small_net") for c in commands("overfitting"))


def test_a_network_that_surgery_has_made_larger_is_not_exchanged_for_a_larger_one() -> None:
    assert not any("large_net" in c for c in commands("underfitting", parameters=10_600_000))
    assert not any("small_net" in c for c in commands("overfitting", parameters=900_000))


def test_where_all_images_look_alike_to_it_surgery_is_what_is_mended_first() -> None:
    alike = replace(FIGURES, alike=True, history=[ROW | {"train_accuracy": 0.45}])
    under = Symptom("underfitting", "", None, ())
    words = [step.command for step in next_steps(under, replace(alike, surgery=True), siblings)]
    assert words[0].endswith("--method finetune --batch-norm trained")
    assert words[1].startswith("bowerbird audit 'some folder'")
    assert [step.command for step in next_steps(under, alike, siblings)] == words[1:]
    learned = replace(alike, history=[ROW | {"train_accuracy": 0.8}])
    assert next_steps(under, learned, siblings) == next_steps(under, FIGURES, siblings)


def test_where_the_probe_stayed_a_slower_rate_is_tried_and_training_not_advised_again() -> None:
    rows = [{"phase": "probe"}, ROW | {"learning_rate": 0.004}, ROW | {"learning_rate": 0.001}]
    for state in ("done", "unclear"):
        first, *others = commands(state, chosen="probe", history=rows)
        assert first.endswith("--learning-rate 0.0004")
        assert not any("--method finetune" in command for command in others)
    assert any("--method finetune" in c for c in commands("done", chosen="probe", history=[]))
    under = commands("underfitting", chosen="probe", history=rows)
    assert not any("--method finetune" in command for command in under)


def test_where_there_are_too_few_images_for_a_curve_more_come_first() -> None:
    few = Doubts({}, 16, None, False, 0.5, {"cat": (3, 8), "dog": (5, 8)})
    steps = next_steps(
        Symptom("unclear", "", None, ()),
        replace(FIGURES, chosen="probe", history=[], doubts=few, counts={"cat": 6, "dog": 6}),
    )
    assert steps[0].words.startswith("Twice as many images, about 6 more of each class")


def test_wrong_labels_in_test_images_are_told_where_there_are_any() -> None:
    words = [step.words for step in next_steps(Symptom("noisy labels", "", None, ()), FIGURES)]
    assert not any("test images" in sentence for sentence in words)
    tested = replace(FIGURES, tested=30)
    words = [step.words for step in next_steps(Symptom("noisy labels", "", None, ()), tested)]
    assert any("test images" in sentence for sentence in words)


def test_without_a_family_networks_are_compared() -> None:
    found = next_steps(Symptom("underfitting", "", None, ()), FIGURES, lambda: Siblings(None, None))
    assert any(step.command.startswith("bowerbird bakeoff") for step in found)
    asked = next_steps(Symptom("underfitting", "", None, ()), FIGURES)
    assert [step.command for step in asked] == [step.command for step in found]


def test_nobody_is_asked_for_networks_that_are_not_advised() -> None:
    def refuse() -> Siblings:
        raise RuntimeError("asked")

    next_steps(Symptom("noisy labels", "", None, ()), FIGURES, refuse)
    next_steps(Symptom("done", "", None, ()), FIGURES, refuse)
    with pytest.raises(RuntimeError, match="asked"):  # where they are advised, they are asked for
        next_steps(Symptom("overfitting", "", None, ()), FIGURES, refuse)


@pytest.mark.parametrize(
    ("augment", "advised"), [("none", "medium"), ("light", "medium"), ("medium", "strong")]
)
def test_more_changes_than_there_were(augment: str, advised: str) -> None:
    assert commands("overfitting", augment=augment)[0].endswith(f"--augment {advised}")


def test_the_strongest_changes_are_not_advised_again() -> None:
    assert not any("--augment" in command for command in commands("overfitting", augment="strong"))


def test_a_probe_known_to_be_worse_is_not_advised() -> None:
    assert any("--method probe" in command for command in commands("overfitting"))
    probe = {"phase": "probe", "val_accuracy": 0.6, "train_accuracy": 1.0}
    worse = commands("overfitting", history=[probe, ROW])
    assert not any("--method probe" in command for command in worse)
    assert not any("--method probe" in command for command in commands("overfitting", frozen=True))


def test_an_interrupted_run_is_resumed_first() -> None:
    for state in STATES:
        assert commands(state, chosen="")[0] == "bowerbird resume RUN"


def known(**classes: tuple[int, int]) -> Doubts:
    return Doubts({}, 90, None, True, 0.9, classes)


def test_classes_recognised_less_often_need_images_first() -> None:
    figures = replace(FIGURES, doubts=known(cat=(45, 50), dog=(44, 50), owl=(3, 14)))
    assert weakest_classes(figures) == [("owl", 30, 3, 14)]
    found = next_steps(Symptom("too few images", "", None, ()), figures, siblings)
    assert any("first of all 30 of 'owl' (3 of 14 recognised)" in step.words for step in found)


def test_where_all_are_recognised_as_often_the_smallest_comes_first() -> None:
    even = known(cat=(45, 50), dog=(44, 50), owl=(12, 14))
    assert weakest_classes(replace(FIGURES, doubts=even)) == [("owl", 30, 12, 14)]
    gone = replace(FIGURES, counts={"cat": 40, "dog": 40, "owl": 0}, doubts=known(owl=(0, 0)))
    assert weakest_classes(gone) == [("owl", 40, 0, 0)]
    balanced = replace(FIGURES, counts={"cat": 40, "dog": 40, "owl": 40}, doubts=even)
    assert weakest_classes(balanced) == []
    assert weakest_classes(FIGURES) == []
