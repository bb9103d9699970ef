"""What random changes do to pixels, by hand; and that the numbers drawn stay the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bowerbird.config import Preprocess, parse_augment
from bowerbird.config.texts import AUGMENTATIONS
from bowerbird.data.transforms import Augmentation, draw
from bowerbird.data.views import View, to_input
from bowerbird.errors import ConfigError

WHOLE = Preprocess(input_size=(8, 8), crop_pct=1.0, crop_mode="squash", interpolation="nearest")
GREY = WHOLE.model_copy(update={"mean": (0.2,), "std": (1.0,)})
ALPHA = WHOLE.model_copy(update={"mean": (0.2, 0.4, 0.6, 0.8), "std": (1.0,) * 4})


def plain(colour: tuple[int, ...] | int, mode: str = "RGB", side: int = 8) -> Image.Image:
    return Image.new(mode, (side, side), colour)


def noise(mode: str = "RGB", size: tuple[int, int] = (30, 20), seed: int = 0) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0]) if bands == 1 else (size[1], size[0], bands)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode)


def first(
    augmentation: Augmentation, image: Image.Image, preprocess: Preprocess = WHOLE
) -> list[int]:
    """The first pixel."""
    found: list[int] = augmentation.apply(image, preprocess)[0, 0].tolist()
    return found


# Drawing


@pytest.mark.parametrize("seed", range(20))
def test_light_and_medium_draw_what_they_always_drew(seed: int) -> None:
    generator = np.random.default_rng([seed, 3, 7])
    area, shape, left, top, mirror = generator.random(5)
    angle, brightness, contrast, saturation = generator.uniform(-1, 1, 4)
    light = Augmentation(
        area=0.35 + 0.65 * area, ratio=math.exp((2 * shape - 1) * math.log(4 / 3)),
        place=(left, top), mirror=bool(mirror < 0.5),
    )  # fmt: skip
    medium = Augmentation(
        area=light.area, ratio=light.ratio, place=light.place, mirror=light.mirror,
        angle=15 * angle, brightness=1 + 0.3 * brightness, contrast=1 + 0.3 * contrast,
        saturation=1 + 0.3 * saturation,
    )  # fmt: skip
    for level, wanted in (("light", light), ("medium", medium)):
        assert draw(np.random.default_rng([seed, 3, 7]), level) == wanted
        assert draw(np.random.default_rng([seed, 3, 7]), parse_augment(level)) == wanted


def test_one_change_does_not_move_another() -> None:
    every = draw(np.random.default_rng(5), ",".join(f"{name}@1" for name in AUGMENTATIONS))
    alone = {
        "crop": "area", "rotate": "angle", "flip": "mirror", "brightness": "brightness",
        "contrast": "contrast", "saturation": "saturation", "hue": "hue", "grey": "grey",
    }  # fmt: skip
    assert set(alone) == set(AUGMENTATIONS)
    for name, field in alone.items():
        only = draw(np.random.default_rng(5), f"{name}@1")
        assert getattr(only, field) == getattr(every, field)
        others = {f for f in alone.values() if f != field}
        assert all(getattr(only, f) == getattr(Augmentation(), f) for f in others)


def test_nothing_is_drawn_from_nothing() -> None:
    for text in ("none", ""):
        found = draw(np.random.default_rng(0), text)
        image = noise()
        assert (found.apply(image, WHOLE) == to_input(image, WHOLE)).all()


def test_amounts_are_the_furthest_that_happens() -> None:
    text = "crop=0.6,rotate=45,brightness=0.5,contrast=0.2,saturation=1,hue=0.1"
    found = [draw(np.random.default_rng(seed), text) for seed in range(2000)]
    for values, low, high in (
        ([f.area for f in found], 0.6, 1.0),
        ([f.angle for f in found], -45, 45),
        ([f.brightness for f in found], 0.5, 1.5),
        ([f.contrast for f in found], 0.8, 1.2),
        ([f.saturation for f in found], 0.0, 2.0),
        ([f.hue for f in found], -0.1, 0.1),
    ):
        known = [value for value in values if value is not None]
        assert len(known) == len(values)
        assert low <= min(known) < low + 0.01 * (high - low)
        assert high >= max(known) > high - 0.01 * (high - low)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_probabilities_are_shares_of_the_images(name: str) -> None:
    same = draw(np.random.default_rng(0), "none")
    for share in (0.2, 0.7):
        drawn = [draw(np.random.default_rng(seed), f"{name}@{share}") for seed in range(3000)]
        field = {"crop": "area", "flip": "mirror", "rotate": "angle"}.get(name, name)
        changed = sum(getattr(d, field) != getattr(same, field) for d in drawn) / 3000
        assert changed == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 3000))


def test_changes_happen_apart_from_each_other() -> None:
    drawn = [draw(np.random.default_rng(s), "rotate@0.5,hue@0.5,grey@0.5") for s in range(2000)]
    happened = np.array([[d.angle != 0, d.hue != 0, d.grey] for d in drawn], float)
    assert np.abs(np.corrcoef(happened.T) - np.eye(3)).max() < 0.1


# Colours


@pytest.mark.parametrize(
    ("augmentation", "colour", "wanted"),
    [
        (Augmentation(brightness=1.5), (100, 40, 200), [150, 60, 255]),
        (Augmentation(brightness=0.5), (100, 40, 200), [50, 20, 100]),
        (Augmentation(contrast=0.5), (100, 100, 100), [100, 100, 100]),
        (Augmentation(saturation=0.0), (255, 0, 0), [76, 76, 76]),  # 0.299 × 255
        (Augmentation(saturation=2.0), (100, 100, 100), [100, 100, 100]),
        (Augmentation(hue=1 / 3), (255, 0, 0), [0, 255, 0]),
        (Augmentation(hue=-1 / 3), (255, 0, 0), [0, 0, 255]),
        (Augmentation(hue=0.5), (255, 0, 0), [0, 252, 255]),  # half a step past cyan
        (Augmentation(hue=1 / 3), (0, 0, 200), [200, 0, 0]),
        (Augmentation(hue=0.5), (90, 90, 90), [90, 90, 90]),
        (Augmentation(grey=True), (0, 255, 0), [150, 150, 150]),  # 0.587 × 255
        (Augmentation(grey=True), (0, 0, 255), [29, 29, 29]),  # 0.114 × 255
        (Augmentation(grey=True, brightness=0.5), (0, 254, 0), [75, 75, 75]),
    ],
)  # fmt: skip
def test_a_colour_by_hand(
    augmentation: Augmentation, colour: tuple[int, int, int], wanted: list[int]
) -> None:
    assert first(augmentation, plain(colour)) == wanted


def test_contrast_stretches_from_the_mean() -> None:
    half = plain((100, 100, 100))
    half.paste((200, 200, 200), (0, 0, 4, 8))
    pixels = Augmentation(contrast=0.5).apply(half, WHOLE)
    assert pixels[0, 0].tolist() == [175] * 3
    assert pixels[0, 7].tolist() == [125] * 3


def test_a_whole_turn_of_the_hues_changes_nothing() -> None:
    image = noise()
    for hue in (1.0, -1.0, 0.001):
        assert (Augmentation(hue=hue).apply(image, WHOLE) == to_input(image, WHOLE)).all()


def test_a_turned_hue_keeps_value_and_saturation() -> None:
    image = noise(size=(8, 8))
    turned = Augmentation(hue=0.3).apply(image, WHOLE).astype(int)
    before = np.asarray(image).astype(int)
    assert (turned.max(axis=2) == before.max(axis=2)).all()
    assert np.abs(turned.min(axis=2) - before.min(axis=2)).max() <= 1  # of 255 steps


# Shapes


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(300, 200), (50, 97), (1, 1), (7, 300)])
def test_without_a_crop_the_image_is_prepared_as_in_evaluation(
    interpolation: str, crop_mode: str, size: tuple[int, int]
) -> None:
    preprocess = Preprocess.model_validate(
        {"input_size": (64, 80), "interpolation": interpolation, "crop_mode": crop_mode}
    )
    image = noise(size=size)
    plainly = to_input(image, preprocess)
    assert (draw(np.random.default_rng(1), "none").apply(image, preprocess) == plainly).all()
    mirrored = draw(np.random.default_rng(1), "flip@1").apply(image, preprocess)
    assert (mirrored == to_input(image, preprocess, View(mirror=True))).all()
    darker = Augmentation(brightness=0.5).apply(image, preprocess)
    assert np.abs(darker - plainly / 2).max() <= 1


def test_a_crop_lies_where_it_should() -> None:
    columns = np.broadcast_to(np.arange(8, dtype=np.uint8)[None, :, None] * 10, (8, 8, 3))
    image = Image.fromarray(columns.copy())
    left = Augmentation(area=0.25, place=(0.0, 0.5)).apply(image, WHOLE)
    assert left[0, :, 0].tolist() == [0, 0, 10, 10, 20, 20, 30, 30]
    right = Augmentation(area=0.25, place=(1.0, 0.5), mirror=True).apply(image, WHOLE)
    assert right[0, :, 0].tolist() == [70, 70, 60, 60, 50, 50, 40, 40]


def test_a_turn_is_counter_clockwise_and_fills_with_the_mean() -> None:
    image = plain((0, 0, 0), side=64)
    image.paste((255, 255, 255), (32, 0, 64, 64))
    pre = WHOLE.model_copy(update={"input_size": (64, 64), "mean": (0.2, 0.4, 0.6)})
    turned = Augmentation(angle=90).apply(image, pre)
    assert turned[10, 32].tolist() == [255] * 3  # what was on the right is now at the top
    assert turned[54, 32].tolist() == [0] * 3
    assert Augmentation(angle=45).apply(image, pre)[0, 0].tolist() == [51, 102, 153]


# Channels


@pytest.mark.parametrize("preprocess", [GREY, WHOLE, ALPHA], ids=["grey", "colour", "alpha"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("crop_mode", ["squash", "border", "center"])
def test_every_change_of_every_kind_of_image(
    preprocess: Preprocess, mode: str, crop_mode: str
) -> None:
    pre = preprocess.model_copy(update={"crop_mode": crop_mode, "input_size": (16, 24)})
    for text in ("none", "light", "medium", ",".join(f"{name}@1" for name in AUGMENTATIONS)):
        found = draw(np.random.default_rng(2), text).apply(noise(mode), pre)
        assert found.shape == (16, 24, len(pre.mean))
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous


def test_hue_saturation_and_grey_change_nothing_in_a_grey_image() -> None:
    image = noise("L", (8, 8))
    for change in (
        Augmentation(hue=0.3),
        Augmentation(saturation=0.0),
        Augmentation(saturation=2.0),
        Augmentation(grey=True),
    ):
        assert (change.apply(image, GREY)[..., 0] == np.asarray(image)).all()
    assert first(Augmentation(brightness=1.5), plain(100, "L"), GREY) == [150]


def test_colour_changes_leave_alpha_alone() -> None:
    image = noise("RGBA", (8, 8))
    changed = Augmentation(brightness=0.5, contrast=1.5, saturation=0.3, hue=0.2, grey=True).apply(
        image, ALPHA
    )
    assert (changed[..., 3] == np.asarray(image)[..., 3]).all()
    assert (changed[..., :3] != np.asarray(image)[..., :3]).any()


def test_alpha_moves_with_the_colours_but_does_not_weigh_them() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (200, 100, 50, 0)  # wholly transparent, and still a colour
    pixels[:, 4:] = (10, 20, 30, 255)
    image = Image.fromarray(pixels)
    mirrored = Augmentation(mirror=True).apply(image, ALPHA)
    assert mirrored[0, 0].tolist() == [10, 20, 30, 255]
    assert mirrored[0, 7].tolist() == [200, 100, 50, 0]
    smooth = ALPHA.model_copy(update={"interpolation": "bilinear", "input_size": (4, 4)})
    cut = Augmentation(area=1.0).apply(image, smooth)
    assert cut[0, 0].tolist() == [200, 100, 50, 0]
    turned = Augmentation(angle=45).apply(image, ALPHA)
    assert turned[0, 0].tolist() == [51, 102, 153, 204]  # the means


def test_images_do_not_have_two_channels() -> None:
    two = WHOLE.model_copy(update={"mean": (0.5, 0.5), "std": (1.0, 1.0)})
    with pytest.raises(ConfigError, match="1, 3 or 4 channels; the network wants 2"):
        Augmentation().apply(plain((1, 2, 3)), two)


@given(
    st.integers(0, 2**32),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["light", "medium", "crop=0.01,rotate=180,brightness=1,contrast=1,hue=0.5"]),
    st.sampled_from([GREY, WHOLE, ALPHA]),
)
def test_no_image_is_too_odd(
    seed: int, width: int, height: int, text: str, preprocess: Preprocess
) -> None:
    image = noise(size=(width, height), seed=seed % 1000)
    found = draw(np.random.default_rng(seed), text).apply(image, preprocess)
    assert found.shape == (8, 8, len(preprocess.mean))
