"""The matrix against torchvision, the pixels beyond the edges against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from torchvision.transforms import functional
from torchvision.transforms.functional import InterpolationMode

from bowerbird.data.augmenting.warping import affine, box_matrix, warp

MOTIONS = [
    {"angle": 15.0},
    {"angle": -70.0, "shift": (0.1, -0.25)},
    {"shear": (20.0, 0.0)},
    {"shear": (-10.0, 30.0), "angle": 33.0},
    {"zoom": (1.3, 1.3), "shift": (-0.25, 0.5)},
    {"angle": 25.0, "shift": (0.125, 0.25), "shear": (5.0, -8.0), "zoom": (0.7, 0.7)},
]


def noise(width: int = 40, height: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("motion", MOTIONS, ids=str)
def test_a_motion_is_torchvisions(motion: dict[str, object]) -> None:
    image = noise()
    given = {"angle": 0.0, "shift": (0.0, 0.0), "shear": (0.0, 0.0), "zoom": (1.0, 1.0)} | motion
    theirs = functional.affine(
        image,
        angle=-given["angle"],  # clockwise there
        translate=[round(given["shift"][0] * 40), round(given["shift"][1] * 32)],
        scale=given["zoom"][0],
        shear=list(given["shear"]),
        interpolation=InterpolationMode.BILINEAR,
        fill=[7, 8, 9],
    )
    ours = warp(image, affine((40, 32), **motion), (40, 32), (7, 8, 9), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs)).max() <= 1


def test_zooms_of_the_sides_come_first() -> None:
    """A picture that is stretched and then turned is not a sheared one."""
    inverse = affine((10, 10), angle=90, zoom=(2.0, 1.0))
    x, y, _ = inverse @ [5.0, 1.0, 1.0]  # four above the centre: what was two to its right
    assert (x, y) == pytest.approx((7.0, 5.0))


@pytest.mark.parametrize(
    ("fill", "mode"), [("wrap", "grid-wrap"), ("reflect", "reflect"), ("nearest", "nearest")]
)
@pytest.mark.parametrize("motion", [*MOTIONS, {"zoom": (0.2, 0.3)}], ids=str)
def test_what_lies_outside_is_scipys(fill: str, mode: str, motion: dict[str, object]) -> None:
    image, size = noise(), (40, 32)
    matrix = affine(size, **motion)
    ours = np.asarray(warp(image, matrix, size, fill, Image.Resampling.BILINEAR)).astype(int)
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]])  # rows and columns
    centred = swap @ matrix @ swap
    offset = centred[:2, :2] @ [0.5, 0.5] + centred[:2, 2] - 0.5
    for band in range(3):
        theirs = ndimage.affine_transform(
            np.asarray(image)[..., band].astype(float), centred[:2, :2], offset, order=1, mode=mode
        )
        assert np.abs(ours[..., band] - theirs).max() <= 1.01  # Pillow's bilinear cuts decimals


def test_a_window_is_looked_up_where_it_lies() -> None:
    image = noise()
    matrix = box_matrix((10, 4, 30, 24), (20, 20))
    assert (np.asarray(warp(image, matrix, (20, 20), (0, 0, 0))) ==
            np.asarray(image)[4:24, 10:30]).all()  # fmt: skip


@pytest.mark.parametrize("fill", ["wrap", (0, 0, 0)], ids=str)
@pytest.mark.parametrize("times", [2, 5, 17])
def test_a_large_picture_is_averaged(times: int, fill: str | tuple[int, ...]) -> None:
    """A chessboard of single pixels is grey from afar."""
    side = 32 * times
    board = (np.indices((side, side)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = Image.fromarray(np.stack([board] * 3, axis=2))
    matrix = affine((side, side), angle=10) @ box_matrix((0, 0, side, side), (32, 32))
    seen = np.asarray(warp(image, matrix, (32, 32), fill))[8:-8, 8:-8].astype(float)
    assert seen.mean() == pytest.approx(127.5, abs=3)
    assert seen.std() < {2: 60, 5: 25, 17: 12}[times]


def test_a_far_look_beyond_an_edge() -> None:
    matrix = affine((40, 32), shift=(1000.0, 0.0))
    wrapped = np.asarray(warp(noise(), matrix, (40, 32), "nearest", Image.Resampling.NEAREST))
    assert (wrapped == np.asarray(noise())[:, :1]).all()
