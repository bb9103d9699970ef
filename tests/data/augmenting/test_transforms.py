"""What random changes do to pixels, by hand; and that the numbers drawn stay the same."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bowerbird.config import Preprocess, parse_augment
from bowerbird.config.augment import AUGMENTATIONS
from bowerbird.data.augmenting.transforms import Augmentation, draw, strongest
from bowerbird.data.views import View, to_input
from bowerbird.errors import ConfigError

WHOLE = Preprocess(input_size=(8, 8), crop_pct=1.0, crop_mode="squash", interpolation="nearest")
GREY = WHOLE.model_copy(update={"mean": (0.2,), "std": (1.0,)})
ALPHA = WHOLE.model_copy(update={"mean": (0.2, 0.4, 0.6, 0.8), "std": (1.0,) * 4})


FIELDS = {
    "crop": "area", "rotate": "angle", "flip": "mirror", "brightness": "brightness",
    "contrast": "contrast", "saturation": "saturation", "hue": "hue", "grey": "grey",
    "vflip": "upturn", "shift": "shift", "shear": "shear", "zoom": "zoom", "blur": "blur",
    "erasing": "erased", "trivialaugment": "operations", "randaugment": "operations",
}  # fmt: skip
EVERY = ",".join(f"{name}@1" for name in FIELDS)


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
    every = draw(np.random.default_rng(5), EVERY)
    for name, field in FIELDS.items():
        only = draw(np.random.default_rng(5), f"{name}@1")
        if field != "operations":
            assert getattr(only, field) == getattr(every, field)
        others = {f for f in FIELDS.values() if f != field}
        assert all(getattr(only, f) == getattr(Augmentation(), f) for f in others)
    picked = [draw(np.random.default_rng(5), f"{n}augment").operations for n in ("trivial", "rand")]
    assert every.operations == picked[0] + picked[1]


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
    if name == "fill":
        return
    same = draw(np.random.default_rng(0), "none")
    for share in (0.2, 0.7):
        drawn = [draw(np.random.default_rng(seed), f"{name}@{share}") for seed in range(3000)]
        field = FIELDS[name]
        changed = sum(getattr(d, field) != getattr(same, field) for d in drawn) / 3000
        assert changed == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 3000))


def test_changes_happen_apart_from_each_other() -> None:
    drawn = [draw(np.random.default_rng(s), "rotate@0.5,hue@0.5,grey@0.5") for s in range(2000)]
    happened = np.array([[d.angle != 0, d.hue != 0, d.grey] for d in drawn], float)
    assert np.abs(np.corrcoef(happened.T) - np.eye(3)).max() < 0.1


def test_every_change_is_tested() -> None:
    assert set(FIELDS) == set(AUGMENTATIONS) - {"fill"}


def test_the_later_numbers_are_what_they_always_were() -> None:
    generator = np.random.default_rng(8)
    generator.random(17)
    drawn = generator.random(31).tolist()
    text = "vflip@1,shift=0.1x0.2,shear=5x6,zoom=0.5-1x1-2,blur=2,erasing=0.33@1,fill=wrap"
    found = draw(np.random.default_rng(8), text)
    assert found.upturn
    assert found.fill == "wrap"
    swings = [2 * value - 1 for value in drawn[8:12]]
    assert found.shift == pytest.approx((0.1 * swings[0], 0.2 * swings[1]))
    assert found.shear == pytest.approx((5 * swings[2], 6 * swings[3]))
    assert found.zoom == pytest.approx((0.5 + 0.5 * drawn[12], 1 + drawn[13]))
    assert found.blur == pytest.approx(0.1 + 1.9 * drawn[14])
    shape = math.exp(math.log(0.3) + math.log(11) * drawn[16])
    assert found.erased == pytest.approx((0.02 + 0.31 * drawn[15], shape, *drawn[17:19]))
    alike = draw(np.random.default_rng(8), "zoom=0.5-1").zoom
    assert alike == pytest.approx((0.5 + 0.5 * drawn[12],) * 2)


def test_later_amounts_are_the_furthest_that_happens() -> None:
    text = "shift=0.1,shear=10,zoom=0.8-1.2,blur=3,erasing=0.5@1"
    found = [draw(np.random.default_rng(seed), text) for seed in range(2000)]
    for values, low, high in (
        ([f.shift[0] for f in found], -0.1, 0.1),
        ([f.shift[1] for f in found], -0.1, 0.1),
        ([f.shear[0] for f in found], -10, 10),
        ([f.zoom[0] for f in found], 0.8, 1.2),
        ([f.blur for f in found], 0.1, 3),
        ([f.erased[0] for f in found if f.erased], 0.02, 0.5),
        ([f.erased[1] for f in found if f.erased], 0.3, 3.3),
    ):
        assert len(values) == len(found)
        assert low <= min(values) < low + 0.01 * (high - low)
        assert high >= max(values) > high - 0.01 * (high - low)
    assert {f.shear[1] for f in found} == {0.0}
    assert all(f.zoom[0] == f.zoom[1] for f in found)


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
    for text in ("none", "light", "medium", "strong", EVERY, f"{EVERY},fill=reflect"):
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
    st.sampled_from(
        [
            "light",
            "strong",
            "crop=0.01,rotate=180,brightness=1,contrast=1,hue=0.5",
            "crop=0.01,rotate=180,shift=1,shear=60x60,zoom=0.1-10x0.1-10,fill=wrap",
            "shift=1,shear=60,zoom=0.1,fill=reflect,blur=20,erasing=1@1",
            "rotate,zoom=0.1-0.1,fill=nearest,randaugment=4x30",
        ]
    ),
    st.sampled_from([GREY, WHOLE, ALPHA]),
)
def test_no_image_is_too_odd(
    seed: int, width: int, height: int, text: str, preprocess: Preprocess
) -> None:
    image = noise(size=(width, height), seed=seed % 1000)
    found = draw(np.random.default_rng(seed), text).apply(image, preprocess)
    assert found.shape == (8, 8, len(preprocess.mean))


# The window seen through a motion


CENTRE = Preprocess(input_size=(64, 64), crop_pct=0.8, interpolation="bilinear")


def drawn_photo(width: int, height: int) -> Image.Image:
    """Smooth, and different everywhere: sampling is exact to a level or two."""
    y, x = np.mgrid[:height, :width]
    bands = [
        127 + 100 * np.sin(x / 9 + 1), 127 + 100 * np.cos(y / 7), 127 + 60 * np.sin((x + y) / 11),
    ]  # fmt: skip
    return Image.fromarray(np.stack(bands, axis=2).round().astype(np.uint8))


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_a_motion_that_moves_nothing_shows_what_evaluation_shows(crop_mode: str) -> None:
    image = drawn_photo(90, 70)
    preprocess = CENTRE.model_copy(update={"crop_mode": crop_mode})
    still = Augmentation(zoom=(1.0, 1.0000001)).apply(image, preprocess).astype(int)
    assert np.abs(still - to_input(image, preprocess)).max() <= 2


@pytest.mark.parametrize("area", [None, 0.5])
def test_one_resampling_shows_what_a_turn_and_a_cut_show(area: float | None) -> None:
    image = drawn_photo(200, 160)
    turned = Augmentation(angle=20, area=area, place=(0.4, 0.6))
    both = Augmentation(angle=20, area=area, place=(0.4, 0.6), zoom=(1.0, 1.0000001))
    one, two = (x.apply(image, CENTRE)[12:-12, 12:-12].astype(int) for x in (turned, both))
    assert np.abs(one - two).max() <= 4
    assert np.abs(one - two).mean() < 0.6


def test_a_shift_moves_right_and_down() -> None:
    image = plain((0, 0, 0), side=8)
    image.putpixel((2, 3), (255, 255, 255))
    moved = Augmentation(shift=(0.25, 0.125)).apply(image, WHOLE)
    assert np.argwhere(moved[..., 0] == 255).tolist() == [[4, 4]]
    assert moved[0, 0].tolist() == [124, 116, 104]  # the mean: what was left of it is not there


def test_a_zoom_enlarges_about_the_centre() -> None:
    image = plain((0, 0, 0), side=8)
    image.paste((255, 255, 255), (3, 3, 5, 5))
    larger = Augmentation(zoom=(2.0, 1.0)).apply(image, WHOLE)[..., 0]
    assert np.argwhere(larger == 255).min(axis=0).tolist() == [3, 2]
    assert np.argwhere(larger == 255).max(axis=0).tolist() == [4, 5]


@pytest.mark.parametrize(
    ("fill", "wanted"),
    [
        ("wrap", [70, 80, 10, 20, 30, 40, 50, 60]),
        ("reflect", [20, 10, 10, 20, 30, 40, 50, 60]),
        ("nearest", [10, 10, 10, 20, 30, 40, 50, 60]),
        ("#000000", [0, 0, 10, 20, 30, 40, 50, 60]),
        ("#0a141e", [10, 10, 10, 20, 30, 40, 50, 60]),
    ],
)
def test_what_lies_outside_by_hand(fill: str, wanted: list[int]) -> None:
    row = np.arange(10, 90, 10, dtype=np.uint8)
    image = Image.fromarray(np.broadcast_to(row[None, :, None], (8, 8, 3)).copy())
    moved = Augmentation(shift=(0.25, 0.0), fill=fill).apply(image, WHOLE)
    assert moved[4, :, 0].tolist() == wanted
    if fill == "#0a141e":
        assert moved[4, 0].tolist() == [10, 20, 30]


def test_a_turn_can_be_filled_with_a_colour() -> None:
    black = Augmentation(angle=45, fill="#000000").apply(plain((255, 255, 255), side=64), WHOLE)
    assert black[0, 0].tolist() == [0, 0, 0]
    grey = Augmentation(angle=45, fill="#0000ff").apply(plain(255, "L", side=64), GREY)
    assert grey[0, 0].tolist() == [29]
    alpha = Augmentation(angle=45, fill="#0000ff").apply(plain((9, 9, 9, 0), "RGBA", 64), ALPHA)
    assert alpha[0, 0].tolist() == [0, 0, 255, 255]


def test_a_padded_input_keeps_its_bars() -> None:
    border = WHOLE.model_copy(update={"crop_mode": "border", "input_size": (8, 16)})
    moved = Augmentation(shift=(0.5, 0.0), fill="wrap").apply(plain((9, 9, 9), side=8), border)
    assert moved[:, :4].tolist() == [[[124, 116, 104]] * 4] * 8
    assert moved[:, 4:12].tolist() == [[[9, 9, 9]] * 8] * 8


# The rest


def test_upside_down() -> None:
    image = noise(size=(8, 8))
    turned = Augmentation(upturn=True, mirror=True).apply(image, WHOLE)
    assert (turned == np.asarray(image)[::-1, ::-1]).all()


def test_a_blur_is_gaussian() -> None:
    """Pillow's three box filters against torchvision's kernel."""
    functional = pytest.importorskip("torchvision.transforms.functional")
    image = noise(size=(64, 64))
    pre = WHOLE.model_copy(update={"input_size": (64, 64)})
    for sigma in (0.5, 1.0, 2.0, 4.0):
        ours = Augmentation(blur=sigma).apply(image, pre).astype(int)
        theirs = np.asarray(functional.gaussian_blur(image, [33, 33], [sigma, sigma])).astype(int)
        inside = np.abs(ours - theirs)[20:-20, 20:-20]
        spread = np.asarray(theirs)[20:-20, 20:-20].std()
        assert inside.mean() < 0.08 * spread + 0.5


def test_a_rectangle_in_the_mean() -> None:
    pre = WHOLE.model_copy(update={"input_size": (20, 40)})
    found = Augmentation(erased=(0.25, 2.0, 1.0, 0.0)).apply(plain((9, 9, 9)), pre)
    erased = (found == [124, 116, 104]).all(axis=2)
    assert erased[:10, 20:].all()  # 10 × 20 of 20 × 40 pixels, in the upper right corner
    assert erased.sum() == 200
    whole = Augmentation(erased=(1.0, 3.3, 0.5, 0.5)).apply(plain((9, 9, 9)), pre)
    assert (whole == [124, 116, 104]).all(axis=2).sum() == 16 * 40  # 51 pixels don't fit


def test_each_change_by_itself_at_its_strongest() -> None:
    changes = parse_augment(f"{EVERY},zoom=0.5-1.2,shift=0.1x0.2,shear=5,fill=wrap")
    image, pre = drawn_photo(64, 64), WHOLE.model_copy(update={"input_size": (64, 64)})
    for name, field in FIELDS.items():
        found = strongest(name, changes)
        others = {f for f in FIELDS.values() if f != field}
        assert all(getattr(found, f) == getattr(Augmentation(), f) for f in others)
        assert (found.apply(image, pre) != to_input(image, pre)).any()
    assert strongest("zoom", changes).zoom == (0.5, 0.5)
    assert strongest("shift", changes) == Augmentation(shift=(0.1, 0.2), fill="wrap")
    assert strongest("crop", changes).area == 0.35


@pytest.mark.parametrize("seed", range(8))
def test_mirrored_before_the_colours_is_mirrored_after_them(seed: int) -> None:
    """As it once was done: a resumed run sees the same bits."""
    drawn = draw(np.random.default_rng(seed), "medium" if seed % 2 else "hue,grey,crop")
    once, never = (dataclasses.replace(drawn, mirror=mirror) for mirror in (True, False))
    image = noise(size=(50, 40))
    assert (once.apply(image, WHOLE) == never.apply(image, WHOLE)[:, ::-1]).all()
