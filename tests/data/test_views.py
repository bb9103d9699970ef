from __future__ import annotations

import math

import numpy as np
import pytest
import timm.data
from PIL import Image

from bowerbird.config import Preprocess
from bowerbird.data.views import PLAIN, View, enumerate_views, to_input, working_size
from bowerbird.errors import ConfigError


def smooth(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(width).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3))
    return Image.fromarray(noise.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


def ramp(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 0 * x], -1).round().astype(np.uint8))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(224, 224), (96, 128)])
def test_the_plain_view_is_what_timm_does(
    interpolation: str, crop_mode: str, size: tuple[int, int]
) -> None:
    for crop_pct in (0.875, 0.9, 1.0):
        preprocess = Preprocess.model_validate(
            {
                "input_size": size,
                "crop_pct": crop_pct,
                "crop_mode": crop_mode,
                "interpolation": interpolation,
            }
        )
        transform = timm.data.create_transform(
            (3, *size),
            is_training=False,
            normalize=False,
            interpolation=interpolation,
            crop_pct=crop_pct,
            crop_mode=crop_mode,
            mean=preprocess.mean,
        )
        for width, height in [(640, 427), (191, 256), (224, 224), (300, 31), (50, 33), (1, 1)]:
            image = smooth(width, height)
            wanted = np.asarray(transform(image)).transpose(1, 2, 0).astype(int)
            difference = np.abs(to_input(image, preprocess) - wanted)
            assert difference.max() <= 2
            assert (difference > 1).mean() < 1e-3


def test_an_input_is_contiguous_writable_bytes() -> None:
    for view in enumerate_views(10):
        pixels = to_input(smooth(300, 200), Preprocess(input_size=(64, 80)), view)
        assert pixels.shape == (64, 80, 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous and pixels.flags.writeable


def test_ten_views_are_distinct_in_name_and_pixels() -> None:
    views = enumerate_views(10)
    assert [view.name for view in views] == [
        "plain",
        "mirror",
        "zoom1.15",
        "mirror-zoom1.15",
        "zoom1.15-0.1-0.1",
        "mirror-zoom1.15-0.1-0.1",
        "zoom1.15+0.1+0.1",
        "mirror-zoom1.15+0.1+0.1",
        "zoom1.15+0.1-0.1",
        "mirror-zoom1.15+0.1-0.1",
    ]
    image, preprocess = smooth(300, 260), Preprocess(input_size=(64, 64))
    assert len({to_input(image, preprocess, view).tobytes() for view in views}) == 10
    assert enumerate_views(4) == views[:4]


def test_a_mirror_view_is_the_mirrored_plain_one() -> None:
    image, preprocess = smooth(300, 260), Preprocess(input_size=(64, 64))
    mirrored = to_input(image, preprocess, View(mirror=True))
    assert (mirrored[:, ::-1] == to_input(image, preprocess)).all()


def test_zoom_shows_less_and_shift_moves_the_window_right_and_down() -> None:
    preprocess = Preprocess(input_size=(100, 100), crop_pct=1.0)
    image = ramp(400, 400)

    def edges(view: View) -> list[float]:
        pixels = to_input(image, preprocess, view).astype(float)
        return [
            pixels[50, 0, 0] / 255,
            pixels[50, -1, 0] / 255,
            pixels[0, 50, 1] / 255,
            pixels[-1, 50, 1] / 255,
        ]

    assert edges(PLAIN) == pytest.approx([0, 1, 0, 1], abs=0.01)
    assert edges(View(zoom=2)) == pytest.approx([0.25, 0.75, 0.25, 0.75], abs=0.01)
    moved = edges(View(zoom=2, shift=(0.2, -0.3)))
    assert moved == pytest.approx([0.35, 0.85, 0.10, 0.60], abs=0.01)
    clamped = edges(View(zoom=2, shift=(5, -5)))
    assert clamped == pytest.approx([0.5, 1.0, 0.0, 0.5], abs=0.01)


def test_an_angle_turns_counter_clockwise_and_fills_with_the_mean() -> None:
    preprocess = Preprocess(input_size=(100, 100), crop_pct=1.0, mean=(0.2, 0.4, 0.6))
    turned = to_input(ramp(400, 400), preprocess, View(angle=90))
    assert turned[0, 50, 0] > 245  # what was on the right is now at the top
    assert turned[-1, 50, 0] < 10
    tilted = to_input(ramp(400, 400), preprocess, View(angle=45))
    assert tilted[0, 0].tolist() == [51, 102, 153]


def test_zooming_out_pads_with_the_mean() -> None:
    preprocess = Preprocess(input_size=(100, 100), crop_pct=1.0, mean=(0.2, 0.4, 0.6))
    small = to_input(Image.new("RGB", (50, 50), "white"), preprocess, View(zoom=0.5))
    assert small[0, 0].tolist() == [51, 102, 153]
    assert (small[25:75, 25:75] == 255).all()


def test_a_box_leaves_out_what_is_not_the_picture() -> None:
    preprocess = Preprocess(input_size=(32, 32), crop_pct=1.0, crop_mode="squash")
    image = Image.new("RGB", (65, 64), "white")
    image.paste("black", (64, 0, 65, 64))
    # bicubic looks two pixels beyond the box, torchvision's way of cropping after resizing
    assert (
        to_input(image, preprocess)[:, -1].mean()
        < to_input(image, preprocess, box=(0, 0, 63.5, 64))[:, -1].mean()
    )


def test_the_working_size_follows_crop_and_zoom() -> None:
    assert working_size(Preprocess()) == 256
    assert working_size(Preprocess(input_size=(96, 128), crop_pct=1.0)) == 128
    assert working_size(Preprocess(), View(zoom=1.5)) == 384
    assert working_size(Preprocess(), View(zoom=0.5)) == 256


@pytest.mark.parametrize("n", [0, 11, -1])
def test_a_wrong_number_of_views_is_refused(n: int) -> None:
    with pytest.raises(ConfigError, match="from 1 to 10"):
        enumerate_views(n)


@pytest.mark.parametrize(
    "wrong", [{"zoom": 0}, {"zoom": math.nan}, {"shift": (math.inf, 0)}, {"angle": math.nan}]
)
def test_an_impossible_view_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        View(**wrong)  # type: ignore[arg-type]


def test_names_tell_views_apart() -> None:
    views = [PLAIN, View(zoom=1.1500001), View(zoom=1.15), View(angle=5), View(angle=-5)]
    views += [View(shift=(0.1, 0)), View(shift=(0, 0.1)), View(mirror=True, angle=5)]
    assert len({view.name for view in views}) == len(views)
    assert repr(View(angle=5)) == "View(angle+5)"
    assert View(zoom=2).to_dict() == {"mirror": False, "zoom": 2, "shift": (0, 0), "angle": 0}
