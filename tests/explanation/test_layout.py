"""Height and width are found in every kind of value."""

from __future__ import annotations

import pytest
import torch

from bowerbird.explanation.layout import Layout, layout_of


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((2, 64, 7, 7), (224, 224), Layout("NCHW", 7, 7, 64)),
        ((2, 7, 7, 64), (224, 224), Layout("NHWC", 7, 7, 64)),
        ((2, 8, 6, 32), (256, 192), Layout("NHWC", 8, 6, 32)),
        ((2, 32, 8, 6), (250, 190), Layout("NCHW", 8, 6, 32)),
        ((2, 49, 32), (224, 224), Layout("tokens", 7, 7, 32, 0)),
        ((2, 201, 32), (224, 224), Layout("tokens", 14, 14, 32, 5)),
        ((2, 193, 32), (256, 192), Layout("tokens", 16, 12, 32, 1)),
        ((2, 3, 50, 64), (224, 224), None),  # heads of an attention
        ((2, 64, 300, 300), (224, 224), None),
        ((2, 51, 32), (224, 224), Layout("tokens", 7, 7, 32, 2)),
        ((2, 60, 32), (224, 224), None),
        ((2, 32), (224, 224), None),
        ((2, 0, 32), (224, 224), None),
    ],
)
def test_known_shapes(
    shape: tuple[int, ...], size: tuple[int, int], expected: Layout | None
) -> None:
    assert layout_of(shape, size) == expected


def test_where_both_readings_fit_the_network_decides() -> None:
    assert layout_of((1, 7, 7, 7), (224, 224)) == Layout("NCHW", 7, 7, 7)
    assert layout_of((1, 7, 7, 7), (224, 224), channels_last=True) == Layout("NHWC", 7, 7, 7)


def test_a_stated_number_of_prefix_tokens_is_used_or_none() -> None:
    assert layout_of((1, 51, 8), (224, 224), prefix=1) is None
    assert layout_of((1, 49, 8), (224, 224), prefix=1) == Layout("tokens", 7, 7, 8, 0)


def test_values_become_pictures() -> None:
    picture = torch.arange(2 * 3 * 4 * 2.0).reshape(2, 3, 4, 2)
    tokens = picture.flatten(2).transpose(1, 2)
    tokens = torch.cat([torch.full((2, 2, 3), -1.0), tokens], 1)
    assert torch.equal(Layout("tokens", 4, 2, 3, 2).images(tokens), picture)
    assert torch.equal(Layout("NHWC", 4, 2, 3).images(picture.permute(0, 2, 3, 1)), picture)
    assert torch.equal(Layout("NCHW", 4, 2, 3).images(picture), picture)
    assert Layout("NCHW", 4, 2, 3).places == 8
