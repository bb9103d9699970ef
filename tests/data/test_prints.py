from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from bowerbird.data.prints import PRINT_SIDE, groups_of, near_groups, near_pairs, print_of


def cloud(seed: int, side: int = 160) -> Image.Image:
    """A picture with large and small shapes, as photos have them: noise of many scales."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((side, side, 3))
    for cells in (4, 8, 16, 32, 64):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) / cells
    return Image.fromarray((255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8))


def recompressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=20)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda image: image.resize((80, 80)),
    "JPEG of quality 20": recompressed,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "grey": lambda image: image.convert("L"),
    "another aspect": lambda image: image.resize((110, 160)),
} | {way.name: (lambda image, way=way: image.transpose(way)) for way in Image.Transpose}  # type: ignore[misc]

PICTURES = [cloud(seed) for seed in range(60)]
PRINTS = [print_of(picture) for picture in PICTURES]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(change: str) -> None:
    copies = [print_of(CHANGES[change](picture)) for picture in PICTURES[:10]]
    found = near_pairs(PRINTS + copies)
    assert [tuple(pair) for pair in found.pairs[found.sure]] == [(i, 60 + i) for i in range(10)]


def test_nothing_is_found_among_different_pictures() -> None:
    found = near_pairs(PRINTS)
    assert not found.sure.any()
    assert found.chance < found.certain


def test_what_all_pictures_share_counts_for_nothing() -> None:
    """A bright disc on black, as in eye photographs, with something of its own in each."""
    y, x = np.mgrid[:160, :160]
    disc = (np.hypot(x - 80, y - 80) < 70)[..., None]

    def eye(picture: Image.Image) -> Image.Image:
        own = np.asarray(picture, float) * 0.25
        return Image.fromarray(np.where(disc, 120 + own, 0).astype(np.uint8))

    eyes = [eye(picture) for picture in PICTURES]
    found = near_pairs([print_of(image) for image in [*eyes, eyes[3].resize((90, 90))]])
    assert [tuple(pair) for pair in found.pairs[found.sure]] == [(3, 60)]


@pytest.mark.parametrize("number", [2, 5])
def test_few_pictures_are_enough(number: int) -> None:
    prints = [*PRINTS[:number], print_of(recompressed(PICTURES[1]))]
    found = near_pairs(prints)
    assert [tuple(pair) for pair in found.pairs[found.sure]] == [(1, number)]


def test_flat_pictures_have_no_print() -> None:
    assert print_of(Image.new("RGB", (90, 50), "red")) is None
    found = near_pairs([None, *PRINTS[:3], None, PRINTS[0]])
    assert [tuple(pair) for pair in found.pairs[found.sure]] == [(1, 5)]


@pytest.mark.parametrize("prints", [[], [None, None], [PRINTS[0]]])
def test_too_few_to_compare(prints: list[bytes | None]) -> None:
    found = near_pairs(prints)
    assert len(found) == 0
    assert found.pairs.shape == (0, 2)


def test_the_similarity_is_that_of_the_best_way() -> None:
    turned = print_of(PICTURES[5].transpose(Image.Transpose.ROTATE_90))
    found = near_pairs([*PRINTS, turned])
    (place,) = np.flatnonzero(found.sure)
    assert found.similarity[place] == pytest.approx(1, abs=1e-3)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = PRINTS + [print_of(recompressed(picture)) for picture in PICTURES[:9]]
    whole = near_pairs(prints)
    monkeypatch.setattr("bowerbird.data.prints._BLOCK_BYTES", 8 * len(prints) * 7)
    parts = near_pairs(prints)
    assert np.array_equal(whole.pairs, parts.pairs)
    assert np.allclose(whole.similarity, parts.similarity, atol=1e-6)


def test_prints_are_small_and_the_same_every_time() -> None:
    again = print_of(cloud(0))
    assert again == PRINTS[0]
    assert len(again or b"") == 512
    assert PRINT_SIDE == 64


def test_groups_hang_together_through_pairs() -> None:
    pairs = np.array([[8, 9], [0, 3], [3, 5], [1, 2], [5, 0]])
    assert groups_of(pairs) == [(0, 3, 5), (1, 2), (8, 9)]
    assert groups_of([]) == []


def test_forty_times_the_same_picture_is_one_group() -> None:
    assert near_groups(PRINTS[:1] * 40) == (tuple(range(40)),)


def test_equal_prints_are_pairs_with_the_first_of_them() -> None:
    found = near_pairs([PRINTS[0], PRINTS[1], PRINTS[0], PRINTS[2], PRINTS[0]])
    assert [tuple(pair) for pair in found.pairs] == [(0, 2), (0, 4)]


def test_few_pictures_with_much_in_common_are_no_copies() -> None:
    """Twenty eye photographs: a bright disc on black."""
    y, x = np.mgrid[:160, :160]
    disc = (np.hypot(x - 80, y - 80) < 70)[..., None]
    eyes = [
        Image.fromarray(np.where(disc, 120 + np.asarray(p, float) * 0.25, 0).astype(np.uint8))
        for p in PICTURES[:20]
    ]
    found = near_pairs([print_of(image) for image in [*eyes, eyes[3].resize((90, 90))]])
    assert [tuple(pair) for pair in found.pairs[found.sure]] == [(3, 20)]


def test_long_series_of_a_picture_stay_together() -> None:
    random = np.random.default_rng(0)

    def frame(picture: Image.Image) -> bytes | None:
        pixels = np.asarray(picture, float) * random.uniform(0.9, 1.1)
        noisy = pixels + random.normal(0, 3, pixels.shape)
        return print_of(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))

    prints = [frame(picture) for picture in PICTURES[:10] for _ in range(12)]
    assert near_groups(prints) == tuple(tuple(range(12 * i, 12 * i + 12)) for i in range(10))
