"""Which settings an ablation tries, and what it refuses before anything is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bowerbird.comparison.arms import Arm, ladder_arms, leave_one_out_arms, vary_arms
from bowerbird.config import Recipe, TrainConfig, load_recipe, parse_augment
from bowerbird.errors import ConfigError

RECIPE = Recipe(data="x")
STUDY = Path(__file__).parents[2] / "recipes" / "001-orchids"


def names(arms: tuple[Arm, ...]) -> list[str]:
    return [arm.name for arm in arms]


def values(arms: tuple[Arm, ...], place: str) -> list[object]:
    return [arm.settings[place] for arm in arms]


def test_the_usual_ladder_is_that_of_the_study() -> None:
    arms = ladder_arms()
    steps = ("1-none", "2-flip", "3-rotate", "4-colour", "5-grey")
    for arm, step in zip(arms, steps, strict=True):
        wanted = load_recipe(STUDY / f"alexnet-{step}.toml").train.augment
        assert parse_augment(str(arm.settings["train.augment"])) == parse_augment(wanted)
    assert [arm.before for arm in arms] == [None, *names(arms)[:-1]]
    assert [arm.parts for arm in arms] == [0, 1, 2, 3, 4]
    assert [arm.slug for arm in arms] == ["none", "flip", "rotation", "colour", "greyscale"]


def test_a_list_is_taken_apart_and_words_are_steps() -> None:
    one = ladder_arms(["flip,rotate=45,fill=0,hue=0.1"])
    assert names(one)[1:] == ["+ flip", "+ rotate=45, fill=0", "+ hue=0.1"]
    several = ladder_arms(["flip,rotate=45", "brightness=0.5,contrast=0.5"])
    assert values(several, "train.augment") == [
        "none", "flip,rotate=45", "flip,rotate=45,brightness=0.5,contrast=0.5",
    ]  # fmt: skip
    assert names(ladder_arms(["medium"]))[:3] == ["no augmentation", "+ crop", "+ flip"]
    assert ladder_arms([""]) == ladder_arms()
    named = ladder_arms(["flip", "colour:hue=0.1,contrast=0.5"])
    assert names(named)[1:] == ["+ flip", "+ colour"]
    assert named[2].settings["train.augment"] == "flip,hue=0.1,contrast=0.5"


def test_each_change_is_left_out_in_turn() -> None:
    arms = leave_one_out_arms(["flip,rotate=45,fill=0,shift=0.1"])
    assert dict(zip(names(arms), values(arms, "train.augment"), strict=True)) == {
        "all augmentations": "flip,rotate=45,fill=0,shift=0.1",
        "without flip": "rotate=45,fill=0,shift=0.1",
        "without rotate=45, fill=0": "flip,shift=0.1,fill=0",  # the shift still shows edges
        "without shift=0.1": "flip,rotate=45,fill=0",
    }
    assert [arm.parts for arm in arms] == [3, 2, 2, 2]
    assert [arm.slug for arm in arms[:2]] == ["all", "without-flip"]
    assert values(leave_one_out_arms(["flip"]), "train.augment") == ["flip", "none"]
    groups = leave_one_out_arms(["brightness=0.5,contrast=0.5", "rotate=10,fill=0"])
    assert values(groups, "train.augment")[1:] == [
        "rotate=10,fill=0",
        "brightness=0.5,contrast=0.5",
    ]


def test_settings_are_varied_one_at_a_time_or_as_a_grid() -> None:
    arms = vary_arms(["lr=1e-3,3e-4,1e-4", "head=none,512"], RECIPE)
    assert names(arms) == [
        "base", "learning-rate=0.0003", "learning-rate=0.0001", "head=512",
    ]  # fmt: skip
    assert arms[3].settings == {"train.learning_rate": 1e-3, "network.head": "512"}
    assert [arm.parts for arm in arms] == [0, 1, 1, 1]
    grid = vary_arms(["lr=1e-3,3e-4", "head=none,512"], RECIPE, grid=True)
    assert len(grid) == 4
    assert names(grid)[0] == "base"
    assert names(grid)[-1] == "learning-rate=0.0003, head=512"
    assert [arm.parts for arm in grid] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("text", "place", "wanted"),
    [
        ("learning_rate=none,3e-4", "train.learning_rate", [None, 3e-4]),
        ("--batch-size=16,32", "train.batch_size", [16, 32]),
        ("bs=auto,8", "train.batch_size", ["auto", 8]),
        ("pretrained=true,false", "network.pretrained", [True, False]),
        ("augment=none;flip,rotate=45", "train.augment", ["none", "flip,rotate=45"]),
        ("head=512;1024,256", "network.head", ["512", "1024,256"]),
        ("surgery=none;cut layer4", "network.surgery", [(), ("cut layer4",)]),
        ("freeze=none,backbone", "train.freeze", [None, "backbone"]),
        ("network.weights=auto,none", "network.weights", ["auto", "none"]),
        ("model=resnet18,resnet34,resnet18", "network.model", ["resnet18", "resnet34"]),
    ],
)
def test_names_and_values_as_people_write_them(text: str, place: str, wanted: list[object]) -> None:
    assert values(vary_arms([text], RECIPE), place) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lerning-rate=1,2", "no setting 'lerning-rate'. Did you mean learning-rate"),
        ("xyzzy=1,2", "no setting 'xyzzy'. Known: accumulate,"),
        ("lr", "write NAME=VALUE"),
        ("lr=", "write NAME=VALUE"),
        ("lr=1e-3", "has one value"),
        ("head=none,linear", "has one value"),
        ("lr=1e-3,fast", "--vary learning-rate: .*valid number.*Found: 'fast'"),
        ("lr=1e-3,-1", "--vary learning-rate: .*greater than 0"),
        ("optimizer-x=a,b", "Did you mean optimizer"),
        ("augment=none,flp", "Did you mean flip"),
        ("method=auto,fintune", "--vary method: "),
        ("seed=1,2", "--seeds"),
        ("refit=true,false", "learns from the validation images"),
        ("val=0.1,0.2", "judged on the same images"),
        ("split-seed=1,2", "judged on the same images"),
        ("data=a,b", "judged on the same images"),
    ],
)
def test_what_cannot_be_varied_is_told(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        vary_arms([text], RECIPE)


def test_a_setting_varied_twice() -> None:
    with pytest.raises(ConfigError, match="--vary learning-rate is given twice"):
        vary_arms(["lr=1,2", "learning-rate=3,4"], RECIPE)


@pytest.mark.parametrize("words", [["flop"], ["flip", "rotate=999"], ["medium", "hue=0.1"]])
def test_changes_that_are_none(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="The step"):
        ladder_arms(words)


def test_a_mistake_in_a_list_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean flip"):
        leave_one_out_arms(["flop,hue=0.1"])
    with pytest.raises(ConfigError, match="nothing to leave out"):
        leave_one_out_arms(["none"])
    with pytest.raises(ConfigError, match="given twice"):
        leave_one_out_arms(["flip", "flip"])
    with pytest.raises(ConfigError, match="given twice"):
        ladder_arms(["flip", "flip"])


def test_an_arm_is_a_recipe() -> None:
    (_, arm) = vary_arms(["unfreeze=0=head;0=head,2=layer4"], RECIPE)
    assert arm.settings["train.unfreeze"] == "0=head,2=layer4"  # judged with the whole arm
    gradual = RECIPE.model_copy(update={"train": TrainConfig(method="gradual")})
    assert arm.apply(gradual).train.unfreeze == ("0=head", "2=layer4")
    with pytest.raises(ConfigError, match=re.escape("the arm unfreeze=0=head,2=layer4")):
        arm.apply(RECIPE)


def test_slugs_are_names_of_folders_and_unique() -> None:
    arms = vary_arms(["model=a/b,a b,A-B,hf-hub:x/../y"], RECIPE)
    slugs = [arm.slug for arm in arms]
    assert len({slug.lower() for slug in slugs}) == len(slugs)
    assert all("/" not in slug and not slug.startswith(".") for slug in slugs)
