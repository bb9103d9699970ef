"""What was done, as text and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bowerbird.config import Preprocess
from bowerbird.data.augmenting.notation import from_text, noted, to_text
from bowerbird.data.augmenting.policies import Operation
from bowerbird.data.augmenting.transforms import Augmentation, draw
from bowerbird.errors import DataError

ALL = (
    "crop,flip,vflip,rotate,shift,shear=5x5,zoom=0.8-1.2x1-2,fill=wrap,brightness,contrast,"
    "saturation,hue,grey,blur,erasing,trivialaugment,randaugment=4x7"
)


@pytest.mark.parametrize(
    ("done", "text"),
    [
        (Augmentation(), "none"),
        (Augmentation(mirror=True, upturn=True, grey=True), "flip vflip grey"),
        (
            Augmentation(angle=-7.3, shift=(0.05, -0.02), zoom=(1.1, 1.1), fill="wrap"),
            "rotate=-7.3 shift=0.05x-0.02 zoom=1.1x1.1 fill=wrap",
        ),
        (Augmentation(area=0.5, ratio=1.25, place=(0.0, 1.0)), "crop=0.5x1.25x0x1"),
        (Augmentation(ratio=1.25, place=(0.2, 0.3)), "none"),
        (
            Augmentation(operations=(Operation("ShearX", -0.033), Operation("Equalize"))),
            "ShearX=-0.033 Equalize=0",
        ),
        (Augmentation(erased=(0.1, 2.0, 0.5, 0.25)), "erasing=0.1x2x0.5x0.25"),
    ],
)
def test_as_text(done: Augmentation, text: str) -> None:
    assert to_text(done) == text
    assert to_text(from_text(text)) == text


@given(st.integers(0, 2**32))
def test_what_is_noted_repeats_the_pixels(seed: int) -> None:
    drawn = draw(np.random.default_rng(seed), ALL)
    done = noted(drawn)
    assert noted(done) == done
    assert from_text(to_text(done)) == done
    assert done.angle == pytest.approx(drawn.angle, abs=1e-3)
    assert done.zoom == pytest.approx(drawn.zoom, abs=1e-4)


def test_five_digits_hardly_change_the_pixels() -> None:
    y, x = np.mgrid[:64, :64]
    image = Image.fromarray(np.stack([x * 3, y * 3, (x + y) * 2], axis=2).astype(np.uint8))
    whole = Preprocess(input_size=(64, 64), crop_pct=1.0)
    for seed in range(20):
        drawn = draw(np.random.default_rng(seed), "rotate,shift,shear,zoom,fill=reflect")
        exact, kept = (d.apply(image, whole).astype(int) for d in (drawn, noted(drawn)))
        assert np.abs(exact - kept).max() <= 1


@pytest.mark.parametrize(
    "text", ["turn=3", "rotate=x", "rotate=1x2", "shift=1", "crop=0.5", "flip=2", "Shear"]
)
def test_what_is_no_change(text: str) -> None:
    with pytest.raises(DataError, match=r"is no change of an image\. Expected for example"):
        from_text(text)
