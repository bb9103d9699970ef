from __future__ import annotations

import pytest
import torch
from torch import nn

from bowerbird.errors import ModelError
from bowerbird.models.shapes import shape_after, shape_before, shape_of_output, words

SHAPE = (2, 3, 8, 8)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 36, 5)
    )


def test_shapes_on_the_way() -> None:
    module = network()
    assert shape_before(module, "0", SHAPE) == SHAPE
    assert shape_after(module, "0", SHAPE) == (2, 4, 6, 6)
    assert shape_before(module, "4", SHAPE) == (2, 144)
    assert shape_of_output(module, SHAPE) == (2, 5)
    assert words((2, 4, 6, 6)) == "4 × 6 × 6"


def test_nothing_changes_by_a_pass() -> None:
    module = network().train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    shape_of_output(module, SHAPE)
    assert all(part.training for part in module.modules())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not any(p._forward_hooks or p._forward_pre_hooks for p in module.modules())


def test_the_innermost_layer_that_does_not_fit_is_named() -> None:
    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, width, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = x + self.conv(x)
            return y

    outer = nn.Sequential(nn.Sequential(Block(3), Block(4)), nn.Flatten())
    with pytest.raises(ModelError, match=r"0.1 \(Block\) can't work on .*, 3 × 8 × 8: "):
        shape_of_output(outer, SHAPE)
    with pytest.raises(ModelError, match=r"0.0.conv \(Conv2d.*takes 3 channels, and gets 7"):
        shape_of_output(outer, (2, 7, 8, 8))


@pytest.mark.parametrize(
    ("layer", "mend"),
    [
        (nn.Linear(7, 4), "Linear(_, 4)"),
        (nn.Linear(7, 4, bias=False), "Linear(_, 4, bias=False)"),
        (nn.Conv2d(7, 4, (3, 1), bias=False), "Conv2d(_, 4, kernel_size=(3, 1), "),
        (nn.BatchNorm2d(7), "BatchNorm2d(_, eps=1e-05, "),
    ],
)
def test_the_mend_keeps_the_layers_own_settings(layer: nn.Module, mend: str) -> None:
    with pytest.raises(ModelError) as caught:
        shape_of_output(nn.Sequential(nn.Identity(), layer), SHAPE)
    assert f"Mend it with the surgery: replace 1 {mend}" in str(caught.value)


def test_values_that_are_no_tensor_are_said() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(ModelError, match="Expected one tensor there, found tuple"):
        shape_of_output(Two(), SHAPE)
    with pytest.raises(ModelError, match="Expected one tensor there, found tuple"):
        shape_before(nn.Sequential(Two(), nn.Identity()), "1", SHAPE)
