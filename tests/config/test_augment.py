"""Random changes as text: what is read, what is refused, and what a person is told."""

from __future__ import annotations

import pytest

from bowerbird.config import TrainConfig, parse_augment, validated
from bowerbird.config.augment import AUGMENTATIONS, PRESETS, Amount, describe
from bowerbird.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("none", {}),
        ("plain", {}),
        ("", {}),
        ("light", {"crop": (0.35, 1.0), "flip": (1.0, 0.5)}),
        (
            "medium",
            {
                "crop": (0.35, 1.0),
                "flip": (1.0, 0.5),
                "rotate": (15.0, 1.0),
                "brightness": (0.3, 1.0),
                "contrast": (0.3, 1.0),
                "saturation": (0.3, 1.0),
            },
        ),
        (" flip , rotate = 45 @ 0.5,", {"flip": (1.0, 0.5), "rotate": (45.0, 0.5)}),
        ("hue=0.5,grey@1,grey@0.2", {"hue": (0.5, 1.0), "grey": (1.0, 0.2)}),
        (
            "strong",
            {
                "crop": (0.35, 1.0),
                "flip": (1.0, 0.5),
                "trivialaugment": (1.0, 1.0),
                "erasing": (0.33, 0.25),
            },
        ),
        (
            "rotate=15,shift=0.1,shear=0.1,zoom=1.2,fill=wrap,flip@0.5",
            {
                "rotate": (15.0, 1.0),
                "shift": ((0.1, 0.1), 1.0),
                "shear": ((0.1, 0.0), 1.0),
                "zoom": ((1.0, 1.2), 1.0),
                "fill": ("wrap", 1.0),
                "flip": (1.0, 0.5),
            },
        ),
        (
            "shift=0.1x0@0.3,shear=0x5",
            {"shift": ((0.1, 0.0), 0.3), "shear": ((0.0, 5.0), 1.0)},
        ),
        ("zoom=0.8", {"zoom": ((0.8, 1.0), 1.0)}),
        ("zoom=0.8-1.5", {"zoom": ((0.8, 1.5), 1.0)}),
        ("zoom=0.8-1x1-1.2", {"zoom": ((0.8, 1.0, 1.0, 1.2), 1.0)}),
        ("randaugment=3x12", {"randaugment": ((3.0, 12.0), 1.0)}),
        ("randaugment=1", {"randaugment": ((1.0, 9.0), 1.0)}),
        (
            "hflip,grayscale,translate",
            {"flip": (1.0, 0.5), "grey": (1.0, 0.1), "shift": ((0.1, 0.1), 1.0)},
        ),
    ],
)
def test_parse_augment(text: str, found: dict[str, tuple[Amount, float]]) -> None:
    assert parse_augment(text) == found
    assert TrainConfig(augment=text).augment == text


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_every_change_has_a_default_and_says_what_it_does(name: str) -> None:
    if name == "fill":
        return
    found = parse_augment(name)
    change = AUGMENTATIONS[name]
    assert found[name][1] == change.share
    if change.usual:
        assert found == parse_augment(f"{name}={change.usual}")
    words = describe(name, found)
    assert not words[0].isupper()
    assert len(words) > 10
    assert "{" not in words
    assert ("edges" in words) == change.moves


def test_old_defaults_stay() -> None:
    usual = {
        "crop": 0.35, "rotate": 15.0, "brightness": 0.3, "contrast": 0.3, "saturation": 0.3,
        "hue": 0.1,
    }  # fmt: skip
    assert {name: parse_augment(name)[name][0] for name in usual} == usual
    assert parse_augment("flip,grey") == {"flip": (1.0, 0.5), "grey": (1.0, 0.1)}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_lists(name: str) -> None:
    assert parse_augment(name) == parse_augment(PRESETS[name])


@pytest.mark.parametrize(
    ("text", "fill"),
    [
        ("mean", "mean"),
        ("constant", "mean"),
        ("0", "#000000"),
        ("black", "#000000"),
        ("255", "#ffffff"),
        ("128", "#808080"),
        ("#12aBff", "#12abff"),
        ("WRAP", "wrap"),
        ("reflect", "reflect"),
        ("nearest", "nearest"),
    ],
)
def test_what_lies_outside(text: str, fill: str) -> None:
    assert parse_augment(f"rotate,fill={text}")["fill"] == (fill, 1.0)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("rotate=15,fill=wrap", "rotate", "turned up to 15° either way, edges wrapped"),
        ("rotate=15,fill=0", "rotate", "turned up to 15° either way, edges black"),
        ("flip", "flip", "left and right exchanged, in 50 % of the images"),
        ("brightness=0.5", "brightness", "brightness times 0.5 to 1.5"),
        ("hue=0.1@0.25", "hue", "hues turned up to 10 % of the circle, in 25 % of the images"),
        ("shift=0.1x0,fill=reflect", "shift", "moved up to 10 % sideways, edges mirrored"),
        (
            "shift=0.1,fill=nearest",
            "shift",
            "moved up to 10 % sideways and 10 % up or down, edges drawn out",
        ),
        ("zoom=1.2,fill=#ff0000", "zoom", "scaled to 100 to 120 %, edges #ff0000"),
        (
            "zoom=0.8333-1x0.8333-1,fill=wrap",
            "zoom",
            "width and height scaled to 83.3 to 100 %, each by itself, edges wrapped",
        ),
    ],
)  # fmt: skip
def test_in_words(text: str, name: str, words: str) -> None:
    assert describe(name, parse_augment(text)) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fog", "no change 'fog'; known: crop, flip"),
        ("light,fog", "no change 'light'"),
        ("flip=2", "flip has no amount, only a probability: flip@0.5"),
        ("rotate=200", "amounts go to 180"),
        ("rotate=0", "amounts go to 180"),
        ("hue=0.6", "amounts go to 0.5"),
        ("crop=1.1", "amounts go to 1"),
        ("flip@0", "probabilities to 1"),
        ("flip@1.5", "probabilities to 1"),
        ("rotate=nan", "amounts go to 180"),
        ("rotate=much", "write for example rotate@0.5; amounts are numbers"),
        ("flip@often", "write for example flip@0.5"),
        ("trivialaugment=3", "trivialaugment has no amount, only a probability"),
        ("shift=2", "shift: amounts go to 1"),
        ("shift=0", "shift: amounts go to 1"),
        ("shift=0.1x0.1x0.1", "amounts are numbers, e.g. shift=0.1"),
        ("shear=80", "amounts go to 60"),
        ("zoom=1", "zoom: amounts go from 0.1 to 10"),
        ("zoom=0", "zoom: amounts go from 0.1 to 10"),
        ("zoom=1.2-0.8", "zoom: amounts go from 0.1 to 10"),
        ("zoom=1-2x1-2x1-2", "zoom: amounts go from 0.1 to 10"),
        ("zoom=nan", "zoom: amounts go from 0.1 to 10"),
        ("zoom=1-inf", "zoom: amounts go from 0.1 to 10"),
        ("randaugment=9x9", "COUNTxSTRENGTH, to 4 and 30"),
        ("randaugment=2x31", "COUNTxSTRENGTH, to 4 and 30"),
        ("randaugment=2.5", "amounts are numbers, e.g. randaugment=2x9"),
        ("rotate,fill=pink", "fill: colours are mean, wrap, reflect, nearest, 0 to 255"),
        ("rotate,fill=300", "fill: colours are mean, wrap"),
        ("rotate,fill=wrap@0.5", "fill has no probability"),
        ("flip,fill=wrap", "it goes with rotate, shift, shear, zoom"),
        ("rotat=5", "no change 'rotat'; known: .* Did you mean rotate"),
        ("mixup", "mixup mixes two images and is a setting of its own: --mixup 0.2"),
        ("strong,hue", "strong stands alone; it is short for crop,flip,trivialaugment"),
    ],
)
def test_what_is_no_augmentation_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"augment in here: .*{words}"):
        validated(TrainConfig, {"augment": text}, "here")
